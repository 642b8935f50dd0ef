//! One load for minutes, while the sizes of values drift up and down, and whether throughput and
//! memory stay what they were.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hypercache_core::{Pool, PoolConfig, StoreConfig};

use super::figure;
use super::world::{Outside, Tally, World};
use crate::report::Unit;
use crate::suite::Findings;

const LIMIT: u64 = 64 << 20;
const WORKERS: usize = 2;
/// The time is cut in so many parts.
const PARTS: u32 = 12;
/// The longest of the usual values in each part, over and over.
const USUAL: [u64; 6] = [64, 300, 1_000, 4_000, 1_000, 300];

pub(super) fn run(seed: u64, time: Duration, findings: &mut Findings) -> Result<()> {
    let pool = Pool::create(&PoolConfig::new(LIMIT)).context("the pool")?;
    let store = pool.open_store(&StoreConfig::default()).context("the store")?;
    let world = World::new(store, WORKERS, 100_000, 200_000);
    let workers: Vec<_> = (0..WORKERS).map(|number| world.worker(number, seed)).collect();
    let mut outside = Outside::begin();
    let tally = std::thread::scope(|scope| -> Result<Tally> {
        let world = &world;
        let workers: Vec<_> = workers.into_iter().map(|one| scope.spawn(|| one.run())).collect();
        let watched = (outside.look_from_now(world, Instant::now() + time))
            .and_then(|()| watch(world, time, &mut outside, findings));
        world.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for worker in workers {
            all.add(worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??);
        }
        watched.map(|()| all)
    })?;
    world.read_back()?;
    let charged = world.close()?;
    drop(pool);
    let case = format!("endurance of {} s, then closed", time.as_secs_f64());
    let mut say = |metric, unit, value| findings.figure(figure(&case, metric, unit, value));
    say("operations", Unit::PerSecond, tally.operations as f64 / time.as_secs_f64());
    say("resident by limit", Unit::Ratio, outside.worst);
    say("hits", Unit::Share, tally.hits as f64 / tally.reads.max(1) as f64);
    say("refused", Unit::Count, tally.refused as f64);
    say("charged after", Unit::Bytes, charged as f64);
    say("resident after", Unit::Bytes, outside.left() as f64);
    Ok(())
}

/// A figure each part of the time.
fn watch(
    world: &World,
    time: Duration,
    outside: &mut Outside,
    findings: &mut Findings,
) -> Result<()> {
    let begun = Instant::now();
    for part in 0..PARTS {
        let usual = USUAL[part as usize % USUAL.len()];
        world.usual.store(usual, Ordering::Relaxed);
        let (from, before) = (Instant::now(), world.done.load(Ordering::Relaxed));
        let until = begun + time * (part + 1) / PARTS;
        let mut peak = 0;
        while Instant::now() < until && !world.stop.load(Ordering::Relaxed) {
            std::thread::sleep((until - Instant::now().min(until)).min(Duration::from_millis(50)));
            peak = peak.max(outside.look(&world.pool, LIMIT)?);
        }
        let seconds = from.elapsed().as_secs_f64();
        let operations = world.done.load(Ordering::Relaxed) - before;
        let case = format!("endurance, part {}", part + 1);
        let at = begun.elapsed().as_secs_f64();
        let mut say = |metric, unit, value| {
            findings.figure(figure(&case, metric, unit, value).at(at));
        };
        say("operations", Unit::PerSecond, operations as f64 / seconds);
        say("resident by limit", Unit::Ratio, peak as f64 / LIMIT as f64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_endurance_has_all_its_parts() {
        let mut findings = Findings::default();
        run(1, Duration::from_millis(600), &mut findings).unwrap();
        let parts =
            findings.figures().iter().filter(|figure| figure.case.starts_with("endurance, part"));
        assert_eq!(parts.count(), 2 * PARTS as usize);
    }
}
