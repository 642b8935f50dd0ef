//! What it takes to have memory and to give it back: pools, blocks, views, another limit.

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use hypercache_bench::workload::{ValueBytes, key_of};
use hypercache_core::{AllocOptions, Pool, PoolConfig, Store, StoreConfig};

const LIMIT: u64 = 16 << 20;
/// Long enough that a view shows it where it lies.
const LONG: usize = 16 << 10;

fn opened() -> Store {
    let pool = PoolConfig { limit_max_bytes: 2 * LIMIT, ..PoolConfig::new(LIMIT) };
    let store = Pool::create(&pool).and_then(|pool| pool.open_store(&StoreConfig::default()));
    let Ok(store) = store else { panic!("a pool of {LIMIT} bytes cannot be opened") };
    store
}

/// A store with values of this length put into it, twice as many as fit.
fn filled(len: usize) -> Store {
    let store = opened();
    let values = ValueBytes::new(len, 1);
    for id in 0..2 * LIMIT / len as u64 {
        assert!(store.set(&key_of(id), values.get(id, len)).is_ok(), "a set was refused");
    }
    store
}

fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    group.bench_function("open and close a pool", |bencher| bencher.iter(opened));
    let pool = opened().pool().clone();
    for len in [64, 4 << 10, 256 << 10] {
        group.bench_function(format!("alloc and free {len} B"), |bencher| {
            bencher.iter(|| {
                let Ok(block) = pool.alloc(black_box(len), 0, AllocOptions::default()) else {
                    panic!("an empty pool refused {len} bytes");
                };
                // SAFETY: allocated just above, freed once.
                unsafe { pool.free(block.as_ptr()) }
            });
        });
    }
    let store = filled(LONG);
    let last = key_of(2 * LIMIT / LONG as u64 - 1);
    group.bench_function(format!("pin and unpin {LONG} B"), |bencher| {
        bencher.iter(|| assert!(matches!(store.pin(black_box(&last), false), Ok(Some(_)))));
    });
    // There and back, with all that has to go and comes no more.
    let store = filled(super::VALUE_LEN);
    group.bench_function("half the limit and all of it", |bencher| {
        bencher.iter(|| {
            for limit in [LIMIT / 2, LIMIT] {
                assert!(store.pool().set_limit(limit).is_ok(), "a limit of {limit} was refused");
            }
        });
    });
    group.finish();
}

criterion_group!(suite, memory);
