//! Threads load a pool whose limit moves between an eighth and twice what it was made with, while
//! another store comes and goes, and raw memory is taken until the pressure is critical.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hypercache_core::{AllocOptions, Pool, PoolConfig, Pressure, StoreConfig};

use super::figure;
use super::world::{Outside, Tally, World};
use crate::report::Unit;
use crate::suite::Findings;
use crate::workload::Rng;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 32 * MIB;
/// Threads of the load: more than there are processors, so that they lose theirs anywhere.
const WORKERS: usize = 4;
/// Raw memory is taken in blocks of this many bytes.
const BLOCK: usize = 128 << 10;

/// What was done to the pool.
#[derive(Default)]
struct Done {
    limits: u64,
    stores: u64,
    critical: u64,
}

pub(super) fn run(seed: u64, time: Duration, findings: &mut Findings) -> Result<()> {
    let config = PoolConfig { limit_max_bytes: 2 * LIMIT, ..PoolConfig::new(LIMIT) };
    let pool = Pool::create(&config).context("the pool")?;
    let config = StoreConfig { value_len_max: MIB, ..StoreConfig::default() };
    let store = pool.open_store(&config).context("the store")?;
    let world = World::new(store, WORKERS, 100_000, LIMIT / 128);
    let workers: Vec<_> = (0..WORKERS).map(|number| world.worker(number, seed)).collect();
    let mut outside = Outside::begin();
    let begun = Instant::now();
    let (tally, done) = std::thread::scope(|scope| -> Result<(Tally, Done)> {
        let world = &world;
        let workers: Vec<_> = workers.into_iter().map(|one| scope.spawn(|| one.run())).collect();
        let agitated = (outside.look_from_now(world, begun + time))
            .and_then(|()| agitate(world, begun + time, seed, &mut outside));
        world.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for worker in workers {
            all.add(worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??);
        }
        Ok((all, agitated?))
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    world.read_back()?;
    let charged = world.close()?;
    drop(pool);

    let case = format!("pressure, {WORKERS} threads at 4 to 64 MiB");
    let mut say = |metric, unit, value| findings.figure(figure(&case, metric, unit, value));
    say("operations", Unit::PerSecond, tally.operations as f64 / seconds);
    say("refused", Unit::Count, tally.refused as f64);
    say("limits set", Unit::PerSecond, done.limits as f64 / seconds);
    say("stores opened", Unit::PerSecond, done.stores as f64 / seconds);
    say("pressure made critical", Unit::PerSecond, done.critical as f64 / seconds);
    say("resident beyond the limit", Unit::Bytes, outside.beyond as f64);
    say("charged after", Unit::Bytes, charged as f64);
    say("resident after", Unit::Bytes, outside.left() as f64);
    Ok(())
}

/// Changes what can be changed until it is time or a worker failed.
fn agitate(world: &World, until: Instant, seed: u64, outside: &mut Outside) -> Result<Done> {
    let mut rng = Rng::new(!seed);
    let mut done = Done::default();
    let mut highest = world.pool.stats().limit_bytes;
    while Instant::now() < until && !world.stop.load(Ordering::Relaxed) {
        let limit = (4 * MIB) << rng.below(5);
        let _ = world.pool.set_limit(limit).context("another limit")?;
        done.limits += 1;
        highest = highest.max(world.pool.stats().limit_bytes);
        match done.limits % 4 {
            0 => {
                visit(world)?;
                done.stores += 1;
            }
            2 => done.critical += u64::from(press(world)?),
            _ => std::thread::sleep(Duration::from_millis(rng.below(10))),
        }
        outside.look(&world.pool, highest)?;
        highest = world.pool.stats().limit_bytes;
    }
    Ok(done)
}

/// Another store comes, takes some room and goes.
fn visit(world: &World) -> Result<()> {
    let config = StoreConfig { name: Some("visitor".to_owned()), ..StoreConfig::default() };
    let store = world.pool.open_store(&config).context("a store that visits")?;
    for id in 0..1_000_u32 {
        // A refusal is an answer, too: the limit may be small now.
        let _ = store.set(&id.to_le_bytes(), &[7; 500]);
    }
    store.destroy();
    Ok(())
}

/// Takes raw memory until the pressure is critical or there is no more, and gives it back. Whether
/// it was.
fn press(world: &World) -> Result<bool> {
    let mut blocks = Vec::new();
    let options = AllocOptions { evict: true, zero: false };
    while world.pool.pressure() < Pressure::Critical
        && let Ok(block) = world.pool.alloc(BLOCK, 0, options)
    {
        // SAFETY: the block has so many bytes and is this function's.
        unsafe { block.as_ptr().write_bytes(1, BLOCK) };
        blocks.push(block);
    }
    let is_critical = world.pool.pressure() == Pressure::Critical;
    for block in blocks {
        // SAFETY: allocated above, freed once.
        unsafe { world.pool.free(block.as_ptr()) }.context("a block given back")?;
    }
    Ok(is_critical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_under_pressure() {
        let mut findings = Findings::default();
        run(1, Duration::from_millis(500), &mut findings).unwrap();
        let of = |metric: &str| {
            findings.figures().iter().find(|figure| figure.metric == metric).unwrap().value
        };
        assert!(of("operations") > 0.0 && of("limits set") > 0.0);
    }
}
