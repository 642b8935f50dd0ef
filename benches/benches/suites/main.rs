//! Criterion suites: statistics, outliers and comparison with the last run, for work on one path at
//! a time. Comparisons that a reader sees are those of `hypercache-bench`, which interleaves.
//!
//! They are one program, since linking nine takes longer than running one; a word after `--` picks
//! by name: `cargo bench -p hypercache-bench -- policies`.
#![allow(missing_docs, reason = "criterion's macros write functions without any")]

mod baseline;
mod concurrency;
mod ffi;
mod filter;
mod latency;
mod memory;
mod policies;
mod stress;
mod throughput;

use criterion::criterion_main;
use hypercache_bench::cache::{Kind, Spec};
use hypercache_bench::drive::Subject;
use hypercache_bench::workload::{KEY_LEN, ValueBytes};

const VALUE_LEN: usize = 64;
/// Entries of a working set that fits the second-level cache, and of one that fits none.
const SIZES: [(&str, u64); 2] = [("l2", 3_000), ("dram", 3_000_000)];

/// A budget for `room` times so many entries.
fn budget(entries: u64, room: u64) -> u64 {
    (entries * (KEY_LEN + VALUE_LEN) as u64 * room).max(1 << 20)
}

fn values() -> ValueBytes {
    ValueBytes::new(VALUE_LEN, 1)
}

/// A cache with `entries` put into it and room for `room` times as many.
fn filled(kind: Kind, entries: u64, room: u64) -> Box<dyn Subject> {
    let budget = budget(entries, room);
    let Ok(cache) = kind.build(&Spec::new(budget, VALUE_LEN as u64)) else {
        panic!("{kind} cannot be built with {budget} bytes");
    };
    cache.fill(0..entries, VALUE_LEN, &values());
    cache
}

criterion_main!(
    throughput::suite,
    latency::suite,
    memory::suite,
    concurrency::suite,
    stress::suite,
    policies::suite,
    ffi::suite,
    filter::suite,
    baseline::suite
);
