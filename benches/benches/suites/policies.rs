//! Every policy under the same read-through load: Zipf over four times what fits.

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use hypercache_bench::cache::{Cache, Spec, ours::Ours};
use hypercache_bench::workload::{Rng, Zipf, key_of};
use hypercache_core::{PolicyKind, StoreConfig};

use super::{VALUE_LEN, budget, values};

const ENTRIES: u64 = 200_000;

fn policies(criterion: &mut Criterion) {
    let values = values();
    let zipf = Zipf::new(4 * ENTRIES, 0.99);
    let mut group = criterion.benchmark_group("policies");
    for (name, policy) in PolicyKind::ALL {
        let store = StoreConfig { policy, ..StoreConfig::default() };
        let Ok(cache) = Ours::with(&Spec::new(budget(ENTRIES, 1), VALUE_LEN as u64), &store) else {
            panic!("a store with policy {name} cannot be opened");
        };
        let mut rng = Rng::new(1);
        let mut buf = [0; VALUE_LEN];
        let mut ask = || {
            let id = zipf.sample(&mut rng);
            let key = key_of(id);
            if cache.get(&key, black_box(&mut buf)).is_none() {
                cache.set(&key, values.get(id, VALUE_LEN));
            }
        };
        // Long enough that the policy has seen what it decides by.
        (0..8 * ENTRIES).for_each(|_| ask());
        group.bench_function(name, |bencher| bencher.iter(&mut ask));
    }
    group.finish();
}

criterion_group!(suite, policies);
