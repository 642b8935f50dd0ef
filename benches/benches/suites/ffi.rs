//! The C interface beside the Rust one that it is made of: the difference is what the boundary
//! costs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use hypercache_bench::c_interface::{CStore, StoreSpec};
use hypercache_bench::cache::Kind;
use hypercache_bench::workload::{ABSENT, Rng, key_of};

use super::{SIZES, VALUE_LEN, budget, filled, values};

fn ffi(criterion: &mut Criterion) {
    let values = values();
    let (size, entries) = SIZES[0];
    let rust = filled(Kind::Ours, entries, 2);
    let spec = StoreSpec {
        limit: budget(entries, 2),
        policy: "default".to_owned(),
        policy_options: None,
        hash_seed: 1,
    };
    let Ok(c) = CStore::open(&spec) else { panic!("no store through the C interface") };
    for id in 0..entries {
        c.set(&key_of(id), values.get(id, VALUE_LEN), 0);
    }
    let mut rng = Rng::new(1);
    let mut buf = [0; VALUE_LEN];
    let mut group = criterion.benchmark_group(format!("ffi/{size}"));
    group.bench_function("get, Rust", |bencher| {
        bencher.iter(|| rust.get(&key_of(rng.below(entries)), black_box(&mut buf)));
    });
    group.bench_function("get, C", |bencher| {
        bencher.iter(|| c.get(&key_of(rng.below(entries)), black_box(&mut buf)));
    });
    group.bench_function("miss, Rust", |bencher| {
        bencher.iter(|| rust.get(&key_of(ABSENT | rng.next() >> 8), black_box(&mut buf)));
    });
    group.bench_function("miss, C", |bencher| {
        bencher.iter(|| c.get(&key_of(ABSENT | rng.next() >> 8), black_box(&mut buf)));
    });
    group.bench_function("overwrite, Rust", |bencher| {
        bencher.iter(|| {
            let id = rng.below(entries);
            rust.set(&key_of(id), values.get(id, VALUE_LEN));
        });
    });
    group.bench_function("overwrite, C", |bencher| {
        bencher.iter(|| {
            let id = rng.below(entries);
            c.set(&key_of(id), values.get(id, VALUE_LEN), 0)
        });
    });
    group.finish();
}

criterion_group!(suite, ffi);
