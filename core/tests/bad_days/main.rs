//! Bad input and bad days: each gets its status, nothing is lost or aborted, and every invariant
//! holds afterwards.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod arguments;
mod budget;
mod children;
mod common;
mod faults;
