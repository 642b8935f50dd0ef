//! The same calls of every cache that is built in, within the last-level cache.

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use hypercache_bench::cache::Kind;
use hypercache_bench::workload::{Rng, key_of};

use super::{VALUE_LEN, filled, values};

const ENTRIES: u64 = 200_000;

fn baseline(criterion: &mut Criterion) {
    let values = values();
    for &kind in Kind::BUILT {
        let mut group = criterion.benchmark_group(format!("baseline/{kind}"));
        let mut rng = Rng::new(1);
        let mut buf = vec![0; VALUE_LEN];
        let cache = filled(kind, ENTRIES, 2);
        group.bench_function("get", |bencher| {
            bencher.iter(|| cache.get(&key_of(rng.below(ENTRIES)), black_box(&mut buf)));
        });
        group.bench_function("overwrite", |bencher| {
            bencher.iter(|| {
                let id = rng.below(ENTRIES);
                cache.set(&key_of(id), values.get(id, VALUE_LEN));
            });
        });
        let cache = filled(kind, 2 * ENTRIES, 1);
        let mut id = 2 * ENTRIES;
        group.bench_function("set into a full cache", |bencher| {
            bencher.iter(|| {
                id += 1;
                cache.set(&key_of(id), values.get(id, VALUE_LEN));
            });
        });
        group.finish();
    }
}

criterion_group!(suite, baseline);
