//! A crowd on one key.
//!
//! First all read it, copying and by views, while one thread writes it as fast as it can. Then it is
//! missing, and all claim it at once: one of them has to be told to load it, all others have to get
//! what it loads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hypercache_core::store::Copied;
use hypercache_core::{
    Claim, ClaimOptions, ErrorKind, Pool, PoolConfig, PutOptions, Store, StoreConfig,
};
use std::mem::MaybeUninit;

use super::{figure, value};
use crate::measure::median;
use crate::report::Unit;
use crate::suite::{Findings, emptied::emptied};
use crate::workload::key_of;

/// Bytes of the value: long enough to be torn, short enough to be copied by a view.
const LEN: usize = 500;
/// How long the source takes.
const SOURCE: Duration = Duration::from_millis(20);
const STACK: usize = 128 << 10;
const HOT: u64 = 7;

pub(super) fn run(
    threads: usize,
    time: Duration,
    crowds: u32,
    findings: &mut Findings,
) -> Result<()> {
    let pool = Pool::create(&PoolConfig::new(64 << 20)).context("the pool")?;
    let store = pool.open_store(&StoreConfig::default()).context("the store")?;
    let read = read_it(&store, threads, time)?;
    let case = format!("herd, {threads} threads");
    let mut say = |metric, unit, value| findings.figure(figure(&case, metric, unit, value));
    say("reads", Unit::PerSecond, read.reads as f64 / read.seconds);
    say("writes meanwhile", Unit::PerSecond, read.writes as f64 / read.seconds);
    let mut times = Vec::new();
    for nth in 0..u64::from(crowds) {
        times.push(claim_it(&store, threads, 1_000 + nth)?.as_secs_f64() * 1e9);
    }
    // That it is one is made sure of in each crowd.
    findings.figure(figure(&case, "loads of a missing key", Unit::Count, 1.0).exact());
    let after = figure(&case, "all have it after its load", Unit::Ns, median(&mut times));
    findings.figure(after.of_samples(&times));
    pool.validate().context("after the herd")?;
    drop(store);
    emptied(&pool).map(drop)
}

/// Starts a crowd, and has the calling thread do something beside it. The first failure is the
/// whole's.
fn crowd<T: Send>(
    threads: usize,
    work: &(dyn Fn() -> Result<T> + Sync),
    beside: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let mut started = Vec::with_capacity(threads);
        for nth in 0..threads {
            let builder = std::thread::Builder::new().stack_size(STACK);
            let thread = builder.spawn_scoped(scope, work);
            // They wait for each other to begin: with one missing, they would for ever.
            started.push(thread.unwrap_or_else(|error| refused(nth, &error)));
        }
        let aside = beside();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().map_err(|_| anyhow!("a thread of the crowd panicked"))?
        };
        let done: Vec<Result<T>> = started.into_iter().map(join).collect();
        aside?;
        done.into_iter().collect()
    })
}

/// Ends the process, which is this part's own.
fn refused(nth: usize, error: &std::io::Error) -> ! {
    eprintln!("Error: the system refused thread {nth} of the herd: {error}");
    std::process::exit(1)
}

/// What came of reading.
struct Reads {
    reads: u64,
    writes: u64,
    seconds: f64,
}

fn read_it(store: &Store, threads: usize, time: Duration) -> Result<Reads> {
    let mut value = [0; LEN];
    value::fill(&mut value, HOT, 0);
    store.set(&key_of(HOT), &value).context("a set")?;
    let returned = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let begin = Barrier::new(threads + 1);
    let read = || {
        let mut buf = [MaybeUninit::new(0_u8); LEN];
        let mut reads = 0;
        begin.wait();
        let until = Instant::now() + time;
        // The clock too: the writer is one of a thousand, and may be long in seeing that it is time.
        while !stop.load(Ordering::Relaxed) && (reads % 64 != 0 || Instant::now() < until) {
            let floor = returned.load(Ordering::SeqCst);
            let write = if reads % 16 == 0 {
                let view = match store.pin(&key_of(HOT), false) {
                    // A thousand views at once may be more than the pool lets views hold.
                    Err(error) if error.kind() == ErrorKind::NoSpace => continue,
                    view => view.context("a view")?,
                };
                value::check(&view.context("a view of a key that is there")?, HOT)?
            } else {
                let read = store.copy(&key_of(HOT), &mut buf).context("a read")?;
                ensure!(
                    matches!(read, Copied::Hit { len: LEN, .. }),
                    "{read:?} of a key that is there"
                );
                // SAFETY: every byte was initialised when the array was made.
                let bytes = buf.map(|byte| unsafe { byte.assume_init() });
                value::check(&bytes, HOT)?
            };
            ensure!(write >= floor, "write {write} was read after {floor} had returned");
            reads += 1;
        }
        Ok(reads)
    };
    let mut writes = 0;
    let mut begun = Instant::now();
    let mut beside = || {
        begin.wait();
        begun = Instant::now();
        let until = begun + time;
        let mut done = Ok(());
        while done.is_ok() && Instant::now() < until {
            writes += 1;
            value::fill(&mut value, HOT, writes);
            done = store.set(&key_of(HOT), &value).map(drop).context("an overwrite");
            returned.store(writes, Ordering::SeqCst);
        }
        stop.store(true, Ordering::Relaxed);
        done
    };
    let reads = crowd(threads, &read, &mut beside)?.into_iter().sum();
    Ok(Reads { reads, writes, seconds: begun.elapsed().as_secs_f64() })
}

/// All claim a missing key at once. Returns what passed from the end of the load until the last of
/// them had the value.
fn claim_it(store: &Store, threads: usize, id: u64) -> Result<Duration> {
    let mut value = [0; LEN];
    value::fill(&mut value, id, 1);
    let begin = Barrier::new(threads + 1);
    let origin = Instant::now();
    let (loads, loaded) = (AtomicU64::new(0), AtomicU64::new(0));
    let claim = || {
        begin.wait();
        let forever = ClaimOptions { timeout_ms: u64::MAX, stale: false };
        match store.claim(&key_of(id), forever).context("a claim")? {
            Claim::Value(view) => {
                ensure!(value::check(&view, id)? == 1, "another value than was loaded");
            }
            Claim::Claimed(lease) => {
                loads.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(SOURCE);
                loaded.store(origin.elapsed().as_nanos() as u64, Ordering::SeqCst);
                store.lease_put(lease, &value, &PutOptions::default()).context("the load")?;
            }
            other => return Err(anyhow!("{other:?} came of a claim that waits for ever")),
        }
        Ok(origin.elapsed())
    };
    let had = crowd(threads, &claim, &mut || {
        begin.wait();
        Ok(())
    })?;
    let loads = loads.into_inner();
    ensure!(loads == 1, "{loads} threads were told to load one key");
    let last = had.into_iter().max().unwrap_or_default();
    Ok(last.saturating_sub(Duration::from_nanos(loaded.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loads_and_all_read_what_is_fresh() {
        let mut findings = Findings::default();
        run(40, Duration::from_millis(100), 3, &mut findings).unwrap();
        assert!(findings.figures().iter().any(|figure| figure.metric == "reads"));
    }
}
