//! Calls while something works against them: a limit that moves, a crowd on a key that is written.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use hypercache_bench::cache::{Cache, Kind, Spec, ours::Ours};
use hypercache_bench::drive::{Task, run_lanes};
use hypercache_bench::workload::{Rng, key_of};

use super::{VALUE_LEN, budget, filled, values};

const ENTRIES: u64 = 200_000;
/// More than most machines have processors for.
const CROWD: usize = 32;

fn stress(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stress");
    let values = values();
    let most = budget(ENTRIES, 1);
    let Ok(cache) = Ours::new(&Spec::new(most, VALUE_LEN as u64)) else {
        panic!("a cache of {most} bytes cannot be built");
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for limit in [most / 2, most].into_iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                assert!(cache.resize(limit), "another limit was refused");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut rng = Rng::new(1);
        let mut buf = [0; VALUE_LEN];
        group.bench_function("read through while the limit moves", |bencher| {
            bencher.iter(|| {
                let id = rng.below(ENTRIES);
                let key = key_of(id);
                if cache.get(&key, black_box(&mut buf)).is_none() {
                    cache.set(&key, values.get(id, VALUE_LEN));
                }
            });
        });
        stop.store(true, Ordering::Relaxed);
    });

    let cache = filled(Kind::Ours, ENTRIES, 2);
    let mut lanes = vec![Task::GetOne { id: 7 }; CROWD];
    lanes.push(Task::Overwrite { keys: 8, len: VALUE_LEN, values: &values });
    let mut round = 0;
    group.bench_function(format!("{CROWD} readers of one key while it is written"), |bencher| {
        bencher.iter_custom(|iters| {
            round += 1;
            let sample = run_lanes(&[&*cache], &lanes, iters, round);
            Duration::from_nanos(sample.wall_ns / lanes.len() as u64)
        });
    });
    group.finish();
}

criterion_group!(suite, stress);
