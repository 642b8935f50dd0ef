//! The behaviour list in `conformance/`, run in Rust through the engine's crate and in C through
//! the header.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod in_c;
mod in_rust;
mod list;
#[path = "../support/mod.rs"]
mod support;
