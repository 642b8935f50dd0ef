//! What a request of each standard scenario takes on average, from the moment it was meant to be
//! sent: the open loop of `scenario`, on one thread, at a rate that every cache serves.

use std::time::Duration;

use criterion::{Criterion, criterion_group};
use hypercache_bench::cache::Kind;
use hypercache_bench::measure::Ticker;
use hypercache_bench::scenario::load::{Arrivals, Load};
use hypercache_bench::scenario::run::{prepared, terms};
use hypercache_bench::scenario::{Entrant, Scenario, plan::Drawer, serve::Tally, standard};
use hypercache_bench::workload::ValueBytes;

/// Requests a second.
const RATE: f64 = 50_000.0;
const SEED: u64 = 1;

fn latency(criterion: &mut Criterion) {
    let scenarios = standard().unwrap_or_default();
    assert!(!scenarios.is_empty(), "the standard scenarios are not as they should be");
    let mut group = criterion.benchmark_group("latency");
    for scenario in scenarios {
        let load = Load::Constant { rate: RATE, arrivals: Arrivals::Poisson };
        let scenario = Scenario { load, threads: 1, seconds: 86_400.0, ..scenario };
        let values = ValueBytes::new(scenario.values.longest() as usize, SEED);
        let Ok(cache) = prepared(&scenario, &Entrant::Within(Kind::Ours), SEED, &values) else {
            panic!("{} cannot be prepared", scenario.name);
        };
        let terms = terms(&scenario, &values, 1);
        group.bench_function(&scenario.name, |bencher| {
            bencher.iter_custom(|iters| {
                let mut drawer = Drawer::new(&scenario, 0, SEED);
                let until = scenario.warm_up_seconds + iters as f64 / RATE;
                drawer.slice(0.0, scenario.warm_up_seconds);
                let requests = drawer.slice(scenario.warm_up_seconds, until);
                let mut tally = Tally::default();
                cache.paced(&requests, Ticker::now(), &terms, &mut tally);
                Duration::from_nanos((tally.response.mean() * iters as f64) as u64)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = suite;
    // In an open loop, as in life, a second of requests takes a second.
    config = Criterion::default().sample_size(20);
    targets = latency
}
