//! One cache that threads share: what a call takes each of them on the wall.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use hypercache_bench::cache::Kind;
use hypercache_bench::drive::{Task, run_lanes};

use super::{VALUE_LEN, filled, values};

const ENTRIES: u64 = 200_000;

fn concurrency(criterion: &mut Criterion) {
    let values = values();
    let cache = filled(Kind::Ours, ENTRIES, 2);
    let tasks = [
        ("get", Task::Get { keys: ENTRIES }),
        ("get one key", Task::GetOne { id: 7 }),
        ("overwrite", Task::Overwrite { keys: ENTRIES, len: VALUE_LEN, values: &values }),
    ];
    for threads in [1_usize, 2, 4] {
        let mut group = criterion.benchmark_group(format!("concurrency/{threads} threads"));
        group.throughput(Throughput::Elements(threads as u64));
        for (name, task) in &tasks {
            let lanes = vec![*task; threads];
            let mut round = 0;
            group.bench_function(*name, |bencher| {
                bencher.iter_custom(|iters| {
                    round += 1;
                    let sample = run_lanes(&[&*cache], &lanes, iters, round);
                    Duration::from_nanos(sample.wall_ns / threads as u64)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(suite, concurrency);
