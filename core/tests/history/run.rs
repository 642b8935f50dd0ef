//! One history: writers, readers and the upkeep thread for a while, judged by the model.

use crate::model::Model;
use crate::reader::Reader;
use crate::support::Dice;
use crate::upkeep::Upkeep;
use crate::writer::Writer;
use hypercache_core::{PolicyKind, Pool, PoolConfig, StoreConfig};
use std::time::{Duration, Instant};

/// What a history is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    pub policy: PolicyKind,
    pub seconds: f64,
    pub keys: u32,
    pub writers: u32,
    pub readers: u32,
    pub limit: u64,
    pub seed: u64,
    /// Of a filter before the index; 0: none.
    pub filter_fpr: f64,
    /// Keys that most calls are about, and their share in per cent.
    pub hot: (u32, u64),
}

impl Setup {
    pub fn new(policy: PolicyKind, seconds: f64) -> Self {
        Self {
            policy,
            seconds,
            keys: 20_000,
            writers: 2,
            readers: 4,
            limit: 6 << 20,
            seed: hypercache_core::clock::monotonic_ns(),
            filter_fpr: 0.0,
            hot: (96, 60),
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    pub violation: Option<String>,
    pub reads: u64,
    pub hits: u64,
    pub writes: u64,
    pub refused_writes: u64,
    pub refused_pins: u64,
    pub upkeep: u64,
    pub clears: u64,
    pub slowest_upkeep: (u64, &'static str),
    pub slowest_read_ms: u64,
    pub slowest_write_ms: u64,
    pub seconds: f64,
    pub filter_skips: u64,
}

pub fn pick_key(dice: &mut Dice, setup: &Setup) -> u32 {
    let (hot, share) = setup.hot;
    let bound = if dice.below(100) < share { hot } else { setup.keys };
    dice.below(u64::from(bound)) as u32
}

/// Runs a history to its end, or up to the first violation.
pub fn run(setup: &Setup) -> Report {
    let config = PoolConfig {
        limit_max_bytes: 2 * setup.limit,
        pin_limit_bytes: setup.limit / 3,
        ..PoolConfig::new(setup.limit)
    };
    let pool = Pool::create(&config).unwrap();
    let config = StoreConfig {
        policy: setup.policy,
        filter_fpr: setup.filter_fpr,
        ..StoreConfig::default()
    };
    let store = pool.open_store(&config).unwrap();
    let model = Model::new(setup.keys);
    let mut report = Report::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let (pool, store, model) = (&pool, &store, &model);
        let writers: Vec<_> = (0..setup.writers)
            .map(|number| {
                scope.spawn(move || {
                    let mut writer = Writer::new(store, model, setup, number);
                    writer.run();
                    (writer.writes, writer.refused, writer.slowest_ms)
                })
            })
            .collect();
        let readers: Vec<_> = (0..setup.readers)
            .map(|number| {
                let seed = setup.seed.wrapping_add(1_000 + u64::from(number));
                scope.spawn(move || {
                    let mut reader = Reader::new(store, model, setup, seed);
                    reader.run();
                    (reader.reads, reader.hits, reader.refused, reader.slowest_ms)
                })
            })
            .collect();
        let upkeep = scope.spawn(move || {
            let mut upkeep = Upkeep::new(pool, store, model, setup);
            upkeep.run();
            (upkeep.rounds, upkeep.clears, upkeep.slowest)
        });
        let mut next_check = Duration::from_secs(1);
        while !model.is_over() && start.elapsed().as_secs_f64() < setup.seconds {
            std::thread::sleep(Duration::from_millis(10));
            if start.elapsed() > next_check {
                next_check += Duration::from_secs(1);
                for result in [store.validate(), pool.validate()] {
                    if let Err(error) = result {
                        model.blame(|| format!("validate: {error}"));
                    }
                }
            }
        }
        model.end();
        for writer in writers {
            let (writes, refused, slowest) = writer.join().unwrap();
            report.writes += writes;
            report.refused_writes += refused;
            report.slowest_write_ms = report.slowest_write_ms.max(slowest);
        }
        for reader in readers {
            let (reads, hits, refused, slowest) = reader.join().unwrap();
            report.reads += reads;
            report.hits += hits;
            report.refused_pins += refused;
            report.slowest_read_ms = report.slowest_read_ms.max(slowest);
        }
        (report.upkeep, report.clears, report.slowest_upkeep) = upkeep.join().unwrap();
    });
    for result in [store.validate(), pool.validate()] {
        if let Err(error) = result {
            model.blame(|| format!("validate at the end: {error}"));
        }
    }
    report.filter_skips = store.stats().filter_skips;
    report.seconds = start.elapsed().as_secs_f64();
    report.violation = model.violation();
    report
}
