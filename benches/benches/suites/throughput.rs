//! The hot paths, call by call.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use hypercache_bench::cache::Kind;
use hypercache_bench::drive::BATCH;
use hypercache_bench::workload::{ABSENT, Rng, key_of};

use super::{SIZES, VALUE_LEN, filled, values};

fn throughput(criterion: &mut Criterion) {
    let values = values();
    for (size, entries) in SIZES {
        let cache = filled(Kind::Ours, entries, 2);
        let mut group = criterion.benchmark_group(format!("throughput/{size}"));
        let mut rng = Rng::new(1);
        let mut buf = vec![0; BATCH * VALUE_LEN];
        group.throughput(Throughput::Elements(1));
        group.bench_function("get", |bencher| {
            bencher.iter(|| cache.get(&key_of(rng.below(entries)), black_box(&mut buf)));
        });
        group.bench_function("miss", |bencher| {
            bencher.iter(|| cache.get(&key_of(ABSENT | rng.next() >> 8), black_box(&mut buf)));
        });
        group.bench_function("overwrite", |bencher| {
            bencher.iter(|| {
                let id = rng.below(entries);
                cache.set(&key_of(id), values.get(id, VALUE_LEN));
            });
        });
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function("get_many", |bencher| {
            bencher.iter(|| {
                let keys: [_; BATCH] = std::array::from_fn(|_| key_of(rng.below(entries)));
                cache.get_many(&keys.each_ref().map(|key| &key[..]), black_box(&mut buf))
            });
        });
        group.finish();
    }
    let cache = filled(Kind::Ours, SIZES[1].1, 1);
    let mut id = SIZES[1].1;
    criterion.bench_function("throughput/set into a full cache", |bencher| {
        bencher.iter(|| {
            id += 1;
            cache.set(&key_of(id), values.get(id, VALUE_LEN));
        });
    });
}

criterion_group!(suite, throughput);
