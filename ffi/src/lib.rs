//! The C boundary of HyperCache: translation and nothing else.
//!
//! Every function here does the same four things: it checks what only this side can check
//! (pointers, sizes, reserved fields, unknown enumerators), it borrows the engine's object behind
//! the handle, it calls one method of the engine, and it turns the answer into a status. No rule
//! of the cache lives here, so that a program in C, Rust, Python or Node meets the same cache.
//!
//! Invariants:
//! * A handle (`hc_pool`, `hc_store`, `hc_filter`) *is* the engine's shared pointer in its raw form. Using it
//!   borrows it: no reference count is touched on a read or a write.
//! * Nothing unwinds into the caller: every call runs inside [`boundary::call`].
//! * Nothing allocates between a hot call and the engine; batches go through arrays on the stack.
//! * `include/hypercache.h` is the contract and carries the prose. A test proves it equal to what
//!   this crate defines: names, signatures, layouts and constants.
#![allow(non_camel_case_types, reason = "the names are those of include/hypercache.h")]
#![allow(
    missing_docs,
    clippy::missing_safety_doc,
    reason = "include/hypercache.h is the contract: prose in two places would drift apart"
)]

mod abi;
mod batch;
mod boundary;
mod convert;
mod filter;
mod lease;
mod log;
mod pool;
mod read;
#[cfg(feature = "reserve")]
mod reserve;
mod stats;
mod store;
mod version;
mod walk;
mod write;

pub use abi::*;
pub use batch::*;
pub use filter::*;
pub use lease::*;
pub use log::*;
pub use pool::*;
pub use read::*;
pub use stats::*;
pub use store::*;
pub use version::*;
pub use walk::*;
pub use write::*;
