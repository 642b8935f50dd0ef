//! The eviction policies, driven as a store drives them: against reference twins step by step, and
//! against published simulators on real traces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod contest;
mod exact;
mod reduction;
mod sim;
mod times;
#[path = "../../../benches/src/trace/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the benchmarks use the rest of it")]
mod trace;
mod traces;
mod twins;
