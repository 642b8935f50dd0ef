//! A share of all charges, commits and reservations of memory fails, in every call of every thread.
//!
//! The hooks are those of the engine's tests, so this is built with their feature, into a program
//! of its own. The pool is small and its limit moves, so that much of what is done asks for memory;
//! stores and pools are opened all the while. Whatever fails has to say that memory is short, and
//! leave a pool whose invariants hold; when nothing fails any more, everything has to work again.

use anyhow::{Context, Result, ensure};
use hypercache_core::memory::sys::testing::{fail_share, failures};
use hypercache_core::{ErrorKind, Pool, PoolConfig, StoreConfig};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::figure;
use super::world::{Tally, Worker, World};
use crate::report::Unit;
use crate::suite::Findings;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 4 * MIB;
const WORKERS: usize = 2;

pub(super) fn run(seed: u64, operations: u64, share: u32, findings: &mut Findings) -> Result<()> {
    let config =
        PoolConfig { limit_max_bytes: 2 * LIMIT, pin_limit_bytes: LIMIT, ..PoolConfig::new(LIMIT) };
    let pool = Pool::create(&config).context("the pool")?;
    let config = StoreConfig { value_len_max: MIB, shards: 2, ..StoreConfig::default() };
    let store = pool.open_store(&config).context("the store")?;
    let world = World::new(store, WORKERS, 20_000, 60_000);
    let begun = Instant::now();
    let (tally, injected) = std::thread::scope(|scope| -> Result<(Tally, u64)> {
        let world = &world;
        let work = |number| {
            scope.spawn(move || {
                fail_share(f64::from(share) / 100.0, seed ^ number as u64);
                let worked = work(world.worker(number, seed), world, operations / WORKERS as u64);
                world.stop.store(true, Ordering::Relaxed);
                worked.map(|tally| (tally, failures()))
            })
        };
        let workers: Vec<_> = (0..WORKERS).map(work).collect();
        let (mut all, mut injected) = (Tally::default(), 0);
        for worker in workers {
            let (tally, failed) =
                worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
            all.add(tally);
            injected += failed;
        }
        Ok((all, injected))
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    // Nothing fails on this thread.
    pool.validate().context("after the failures")?;
    let _ = pool.set_limit(LIMIT).context("the first limit again")?;
    let mut after = world.worker(0, !seed);
    for _ in 0..20_000 {
        after.step().context("after the failures")?;
    }
    after.give_all_back()?;
    let refused_after = after.tally.refused;
    drop(after);
    world.read_back()?;
    let charged = world.close()?;
    drop(pool);

    let case = format!("faults, {share} % of them");
    let mut say = |metric, unit, value| findings.figure(figure(&case, metric, unit, value));
    say("operations", Unit::PerSecond, tally.operations as f64 / seconds);
    say("failures", Unit::Count, injected as f64);
    say("refused", Unit::Count, tally.refused as f64);
    say("refused afterwards", Unit::Count, refused_after as f64);
    say("charged after", Unit::Bytes, charged as f64);
    ensure!(injected > 0, "nothing was made to fail");
    Ok(())
}

fn work(mut worker: Worker<'_>, world: &World, operations: u64) -> Result<Tally> {
    let mut worked = Ok(());
    for nth in 0..operations {
        // Not once the other worker is done, or has failed.
        if worked.is_err() || world.stop.load(Ordering::Relaxed) {
            break;
        }
        if nth % 256 == 255 {
            worked = unusual(world, nth / 256, &mut worker.tally);
        }
        worked = worked.and_then(|()| worker.step());
    }
    let closed = worker.give_all_back();
    worked.and(closed).map(|()| worker.tally)
}

/// What is not done often: another limit, another store, another pool.
fn unusual(world: &World, nth: u64, tally: &mut Tally) -> Result<()> {
    let done = match nth % 4 {
        0 | 2 => world.pool.set_limit((3 + nth % 5) * MIB).map(drop),
        1 => {
            let config = StoreConfig { shards: 2, ..StoreConfig::default() };
            world.pool.open_store(&config).and_then(|store| store.set(b"key", b"value").map(drop))
        }
        _ => Pool::create(&PoolConfig::new(MIB)).and_then(|pool| {
            let store = pool.open_store(&StoreConfig::default())?;
            let set = store.set(b"key", &[1; 2_000]).map(drop);
            pool.validate()?;
            set
        }),
    };
    match done {
        Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::NoMemory) => {
            tally.refused += 1;
            Ok(())
        }
        done => done.context("a call that may only be refused for want of memory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_of_failures_is_survived() {
        for share in super::super::FAULTS {
            let mut findings = Findings::default();
            run(1, 20_000, share, &mut findings).unwrap();
            let failures = findings.figures().iter().find(|figure| figure.metric == "failures");
            assert!(failures.unwrap().value > 0.0);
        }
    }
}
