//! Bad input and bad days: each gets its status, nothing is lost or aborted, and every invariant
//! holds afterwards.
//!
//! `HYPERCACHE_EVERY_FAULT=1` makes every single allocation of the script fail, not only the first
//! hundred and ever fewer of the rest; `HYPERCACHE_MANY_POOLS=1` makes 100,000 pools, not 10,000.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod arguments;
mod budget;
mod children;
mod common;
mod faults;
#[path = "../support/mod.rs"]
mod support;
