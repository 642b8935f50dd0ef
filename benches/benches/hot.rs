//! The hot paths under criterion: statistics, outliers and comparison with the last run, for work
//! on one path at a time. Comparisons with peers are `hypercache-bench speed`, which interleaves.
#![allow(missing_docs, reason = "criterion's macros write functions without any")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hypercache_bench::cache::{Kind, Spec};
use hypercache_bench::drive::{BATCH, Subject};
use hypercache_bench::workload::{ABSENT, KEY_LEN, Rng, ValueBytes, key_of};

const VALUE_LEN: usize = 64;
/// Entries of a working set that fits the second-level cache, and of one that fits none.
const SIZES: [(&str, u64); 2] = [("l2", 3_000), ("dram", 3_000_000)];

fn filled(kind: Kind, entries: u64, room: u64) -> Box<dyn Subject> {
    let budget = (entries * (KEY_LEN + VALUE_LEN) as u64 * room).max(1 << 20);
    let Ok(cache) = kind.build(&Spec::new(budget, VALUE_LEN as u64)) else {
        panic!("{kind} cannot be built with {budget} bytes");
    };
    cache.fill(0..entries, VALUE_LEN, &ValueBytes::new(VALUE_LEN, 1));
    cache
}

fn hot(criterion: &mut Criterion) {
    let values = ValueBytes::new(VALUE_LEN, 1);
    for kind in [Kind::Quick, Kind::Ours].into_iter().filter(|kind| Kind::BUILT.contains(kind)) {
        for (size, entries) in SIZES {
            let cache = filled(kind, entries, 2);
            let mut group = criterion.benchmark_group(format!("{kind}/{size}"));
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
        let cache = filled(kind, 3_000_000, 1);
        let mut id = 3_000_000;
        criterion.bench_function(&format!("{kind}/set into a full cache"), |bencher| {
            bencher.iter(|| {
                id += 1;
                cache.set(&key_of(id), values.get(id, VALUE_LEN));
            });
        });
    }
}

criterion_group!(benches, hot);
criterion_main!(benches);
