//! The cuckoo filter, in the second-level cache and in memory.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use hypercache_bench::workload::{ABSENT, Rng, key_of};
use hypercache_core::{Filter, FilterConfig};

const BATCH: usize = 32;

fn filter(criterion: &mut Criterion) {
    for (size, keys) in [("l2", 100_000), ("dram", 10_000_000)] {
        let Ok(filter) = Filter::create(&FilterConfig::new(keys)) else {
            panic!("no filter for {keys} keys");
        };
        assert!((0..keys).all(|id| filter.add(&key_of(id)).is_ok()), "a key was refused");
        let mut rng = Rng::new(1);
        let mut group = criterion.benchmark_group(format!("filter/{size}"));
        group.bench_function("present", |bencher| {
            bencher.iter(|| filter.contains(&key_of(rng.below(keys))));
        });
        group.bench_function("absent", |bencher| {
            bencher.iter(|| filter.contains(&key_of(ABSENT | rng.next() >> 8)));
        });
        group.bench_function("remove and add", |bencher| {
            bencher.iter(|| {
                let key = key_of(rng.below(keys));
                (filter.remove(&key), filter.add(&key))
            });
        });
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function("batch of 32", |bencher| {
            bencher.iter(|| {
                let keys: [_; BATCH] = std::array::from_fn(|_| key_of(rng.below(keys)));
                let mut found = [false; BATCH];
                let keys = keys.each_ref().map(|key| &key[..]);
                (filter.contains_many(&keys, black_box(&mut found)), found)
            });
        });
        group.finish();
    }
}

criterion_group!(suite, filter);
