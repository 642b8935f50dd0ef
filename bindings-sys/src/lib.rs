//! `include/hypercache.h` as Rust declarations, for the extension modules of other languages.
//!
//! The header is the contract and carries the prose; a test proves these declarations equal to it.
//! Nothing here is a copy of the engine: an extension that uses this crate *loads*
//! `libhypercache.so.0`, the one library of the process, so that C, C++, Python and Node see the
//! same pools, stores and counters.
//!
//! Linking: the build script makes a stub with the real library's SONAME and versioned symbols and
//! no code, and the extension is linked with that. At run time the loader finds the real library by
//! its SONAME: already in the process, or beside the extension, where the extension's own build
//! script asks for it:
//!
//! ```text
//! println!("cargo:rustc-cdylib-link-arg=-Wl,-rpath,$ORIGIN");
//! ```
//!
//! (A program without such a path finds it through `LD_LIBRARY_PATH` or the system's folders.) What
//! must run with older libraries looks calls of later releases up by name instead.
#![no_std]
#![allow(non_camel_case_types, reason = "the names are those of include/hypercache.h")]
#![allow(
    missing_docs,
    clippy::missing_safety_doc,
    reason = "include/hypercache.h is the contract: prose in two places would drift apart"
)]

mod calls;
mod types;

pub use calls::*;
pub use types::*;
