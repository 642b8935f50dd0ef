//! `leases`: what reading through the cache costs, and what it saves.
//!
//! - *hits*: `hc_claim` beside `hc_pin`, `hc_get_or_claim` beside `hc_get_info`, in turns;
//! - *misses*: a miss with its lease and `hc_lease_put`, beside a miss and `hc_put`;
//! - *crowd*: a thousand threads claim one missing key of a slow source, beside a broadcast on a
//!   condition variable to as many;
//! - *refresh*: a Zipf load over a source, with a time to live: who waits, with early refresh and
//!   without.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args as ClapArgs;
use hypercache as hc;
use hypercache_core::{Claim, ClaimOptions, Pool, PoolConfig, PutOptions, Store, StoreConfig, Ttl};

use crate::measure::median;
use crate::report::{Table, count, duration, percent};
use crate::workload::{Rng, Zipf, key_of};

/// Show what claims and leases cost, and what they save
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Parts to run
    #[arg(long, value_delimiter = ',', default_values_t = ["hits", "misses", "crowd", "refresh"].map(String::from))]
    parts: Vec<String>,
    /// Turns of each side; the median counts
    #[arg(long, default_value_t = 21)]
    turns: usize,
    /// Threads of the crowd
    #[arg(long, default_value_t = 1_000)]
    threads: usize,
    /// Seconds of the Zipf load, each way
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// Calls of a turn.
const CALLS: u64 = 50_000;
/// Entries of the store that is read.
const ENTRIES: u64 = 3_000;
const FOREVER: ClaimOptions = ClaimOptions { timeout_ms: u64::MAX, stale: false };
const AT_ONCE: ClaimOptions = ClaimOptions { timeout_ms: 0, stale: false };

/// Runs the parts that were asked for.
pub fn run(args: &Args) -> Result<()> {
    for part in &args.parts {
        match part.as_str() {
            "hits" => hits(args)?,
            "misses" => misses(args)?,
            "crowd" => crowd(args)?,
            "refresh" => refresh(args)?,
            other => bail!("part is {other:?}; hits, misses, crowd and refresh are known"),
        }
    }
    Ok(())
}

fn open(limit: u64, config: &StoreConfig) -> Result<Store> {
    let pool = Pool::create(&PoolConfig::new(limit)).context("the pool")?;
    pool.open_store(config).context("the store")
}

/// The store as C sees it; the reference that this gives away is never taken back.
fn handle(store: &Store) -> *mut hc::hc_store {
    store.clone().into_raw().cast_mut().cast()
}

/// Nanoseconds a call, of two sides that take turns.
fn in_turns(args: &Args, sides: [&mut dyn FnMut(u64); 2]) -> [f64; 2] {
    let mut times = [const { Vec::new() }; 2];
    for turn in 0..2 * args.turns {
        let side = turn % 2;
        let begun = Instant::now();
        for call in 0..CALLS {
            sides[side](turn as u64 * CALLS + call);
        }
        times[side].push(begun.elapsed().as_nanos() as f64 / CALLS as f64);
    }
    times.map(|mut side| median(&mut side))
}

fn hits(args: &Args) -> Result<()> {
    let store = open(64 << 20, &StoreConfig::default())?;
    for id in 0..ENTRIES {
        store.set(&key_of(id), &[7; 64]).context("a set")?;
    }
    let at = handle(&store);
    let key = |call: u64| key_of(call.wrapping_mul(0x9E37_79B9) % ENTRIES);
    // SAFETY: all zeroes are a value of these plain structs.
    let (mut view, mut lease, mut info): (hc::hc_view, hc::hc_lease, hc::hc_info) =
        unsafe { std::mem::zeroed() };
    let view = &raw mut view;
    let mut buf = [0_u8; 64];
    let buf = buf.as_mut_ptr().cast();
    let pinned = in_turns(
        args,
        [
            &mut |call| {
                let key = key(call);
                // SAFETY: the handle, the key and the places are good for the call.
                let status = unsafe { hc::hc_pin(at, key.as_ptr().cast(), key.len(), 0, view) };
                assert_eq!(status, hc::HC_OK);
                // SAFETY: pinned just now.
                unsafe { hc::hc_unpin(view) };
            },
            &mut |call| {
                let key = key(call);
                // SAFETY: as above.
                let status = unsafe {
                    hc::hc_claim(at, key.as_ptr().cast(), key.len(), 0, 0, view, &raw mut lease)
                };
                assert_eq!(status, hc::HC_OK);
                // SAFETY: pinned just now.
                unsafe { hc::hc_unpin(view) };
            },
        ],
    );
    let info = &raw mut info;
    let copied = in_turns(
        args,
        [
            &mut |call| {
                let key = key(call);
                // SAFETY: as above, and the buffer has 64 bytes.
                let status = unsafe {
                    hc::hc_get_info(at, key.as_ptr().cast(), key.len(), 0, buf, 64, info)
                };
                assert_eq!(status, hc::HC_OK);
                black_box(buf);
            },
            &mut |call| {
                let key = key(call);
                let lease = &raw mut lease;
                // SAFETY: as above.
                let status = unsafe {
                    hc::hc_get_or_claim(
                        at,
                        key.as_ptr().cast(),
                        key.len(),
                        0,
                        0,
                        buf,
                        64,
                        info,
                        lease,
                    )
                };
                assert_eq!(status, hc::HC_OK);
                black_box(buf);
            },
        ],
    );
    let mut table = Table::new("Hits (nanoseconds a call)", &["call", "beside", "", "", "ratio"]);
    let mut row = |call: &str, beside: &str, [plain, claim]: [f64; 2]| {
        table.row(vec![
            call.into(),
            beside.into(),
            format!("{claim:.1}"),
            format!("{plain:.1}"),
            format!("{:.2}", claim / plain),
        ]);
    };
    row("hc_claim", "hc_pin", pinned);
    row("hc_get_or_claim", "hc_get_info", copied);
    table.print();
    Ok(())
}

fn misses(args: &Args) -> Result<()> {
    let store = open(256 << 20, &StoreConfig::default())?;
    let at = handle(&store);
    let value = [7_u8; 64];
    // SAFETY: all zeroes are a value of these plain structs.
    let (mut view, mut lease, mut info): (hc::hc_view, hc::hc_lease, hc::hc_info) =
        unsafe { std::mem::zeroed() };
    let mut buf = [0_u8; 64];
    let buf = buf.as_mut_ptr().cast();
    let times = in_turns(
        args,
        [
            &mut |call| {
                let key = key_of(call);
                // SAFETY: the handle, the key, the value and the places are good for the calls.
                unsafe {
                    let key = (key.as_ptr().cast(), key.len());
                    let status = hc::hc_get_info(at, key.0, key.1, 0, buf, 64, &raw mut info);
                    assert_eq!(status, hc::HC_NOT_FOUND);
                    let value = (value.as_ptr().cast(), value.len());
                    let status = hc::hc_set(at, key.0, key.1, value.0, value.1, 0);
                    assert_eq!(status, hc::HC_OK);
                }
            },
            &mut |call| {
                let key = key_of(call);
                let null = std::ptr::null();
                // SAFETY: as above.
                unsafe {
                    let key = (key.as_ptr().cast(), key.len());
                    let (view, lease) = (&raw mut view, &raw mut lease);
                    let status = hc::hc_claim(at, key.0, key.1, 0, 0, view, lease);
                    assert_eq!(status, hc::HC_CLAIMED);
                    let value = (value.as_ptr().cast(), value.len());
                    let version = std::ptr::null_mut();
                    let status = hc::hc_lease_put(at, lease, value.0, value.1, null, version);
                    assert_eq!(status, hc::HC_OK);
                }
            },
        ],
    );
    let mut table = Table::new(
        "Misses (nanoseconds for the look-up and the put)",
        &["claim, lease_put", "get, set", "ratio"],
    );
    let [plain, leased] = times;
    table.row(vec![
        format!("{leased:.0}"),
        format!("{plain:.0}"),
        format!("{:.2}", leased / plain),
    ]);
    table.print();
    Ok(())
}

/// Processor time of this process so far.
fn process_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills a local.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// What came of one crowd.
struct Crowd {
    /// From the end of the load to the last of those who waited.
    all_have_it: Duration,
    /// Processor time while all waited.
    waiting: Duration,
}

/// Starts `threads` that call `wait`, and after 50 ms of all of them waiting calls `end`.
fn one_crowd(threads: usize, wait: &(dyn Fn() + Sync), end: &dyn Fn()) -> Crowd {
    let begin = Barrier::new(threads + 1);
    let begun_at = Instant::now();
    let last = AtomicU64::new(0);
    let (mut ended, mut waiting) = (Duration::ZERO, Duration::ZERO);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let builder = std::thread::Builder::new().stack_size(64 << 10);
            let work = || {
                begin.wait();
                wait();
                last.fetch_max(begun_at.elapsed().as_nanos() as u64, Ordering::Relaxed);
            };
            if builder.spawn_scoped(scope, work).is_err() {
                panic!("the system refused a thread");
            }
        }
        begin.wait();
        // Until all have come to wait; then the source takes its time.
        std::thread::sleep(Duration::from_millis(150));
        let before = process_cpu();
        std::thread::sleep(Duration::from_millis(50));
        waiting = process_cpu() - before;
        ended = begun_at.elapsed();
        end();
    });
    let last = Duration::from_nanos(last.into_inner());
    Crowd { all_have_it: last.saturating_sub(ended), waiting }
}

fn crowd(args: &Args) -> Result<()> {
    let store = open(64 << 20, &StoreConfig::default())?;
    let (mut bare, mut leased, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    let mut loads = 0;
    for turn in 0..args.turns.min(11) as u64 {
        let ready = Mutex::new(false);
        let told = Condvar::new();
        let wait = || {
            let Ok(mut ready) = ready.lock() else { return };
            while !*ready {
                ready = match told.wait(ready) {
                    Ok(ready) => ready,
                    Err(_) => return,
                };
            }
        };
        let end = || {
            if let Ok(mut ready) = ready.lock() {
                *ready = true;
            }
            told.notify_all();
        };
        bare.push(one_crowd(args.threads, &wait, &end).all_have_it.as_nanos() as f64);

        let key = key_of(turn);
        let Claim::Claimed(lease) = store.claim(&key, AT_ONCE).context("the claim")? else {
            bail!("a new key is there already");
        };
        let others = AtomicU32::new(0);
        let wait = || match store.claim(&key, FOREVER) {
            Ok(Claim::Value(view)) => assert_eq!(&*view, b"loaded"),
            Ok(_) | Err(_) => {
                others.fetch_add(1, Ordering::Relaxed);
            }
        };
        let end = || {
            let put = store.lease_put(lease, b"loaded", &PutOptions::default());
            assert!(put.is_ok());
        };
        let crowd = one_crowd(args.threads, &wait, &end);
        leased.push(crowd.all_have_it.as_nanos() as f64);
        waiting.push(crowd.waiting.as_nanos() as f64);
        loads += others.into_inner();
    }
    let title = format!("{} threads, one missing key, a source of 50 ms", args.threads);
    let mut table = Table::new(
        &title,
        &[
            "all have it after",
            "bare broadcast",
            "ratio",
            "other loads",
            "CPU time of 50 ms waiting",
        ],
    );
    let (bare, leased) = (median(&mut bare), median(&mut leased));
    table.row(vec![
        duration(leased),
        duration(bare),
        format!("{:.2}", leased / bare),
        count(u64::from(loads)),
        duration(median(&mut waiting)),
    ]);
    table.print();
    Ok(())
}

/// Keys of the Zipf load.
const KEYS: u64 = 10_000;
/// What the source takes.
const LATENCY: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(1);
/// A key is hot if it was asked for so often, in microseconds between two requests: the mean of the
/// last eight or so.
const HOT_US: u64 = 5_000;

#[derive(Default)]
struct Loaded {
    requests: AtomicU64,
    loads: AtomicU64,
    early: AtomicU64,
    overlaps: AtomicU64,
    waited: AtomicU64,
    hot_waited: AtomicU64,
}

/// One source: who is loading each key now, when each was asked for, and how often.
struct Source {
    loading: Vec<AtomicU32>,
    asked_us: Vec<AtomicU64>,
    every_us: Vec<AtomicU64>,
    begun: Instant,
    did: Loaded,
}

impl Source {
    fn load(&self, store: &Store, id: u64, lease: hypercache_core::Lease) {
        let loading = &self.loading[id as usize];
        if loading.fetch_add(1, Ordering::SeqCst) != 0 {
            self.did.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(LATENCY);
        loading.fetch_sub(1, Ordering::SeqCst);
        self.did.loads.fetch_add(1, Ordering::Relaxed);
        let ttl = Ttl::Millis(TTL.as_millis() as u64);
        let put = store.lease_put(lease, &[7; 64], &PutOptions { ttl, ..PutOptions::default() });
        assert!(put.is_ok());
    }

    fn request(&self, store: &Store, id: u64) {
        let key = key_of(id);
        let now = self.begun.elapsed().as_micros() as u64;
        let before = self.asked_us[id as usize].swap(now, Ordering::Relaxed);
        let every = &self.every_us[id as usize];
        let mean = (7 * every.load(Ordering::Relaxed) + now.saturating_sub(before)) / 8;
        every.store(mean, Ordering::Relaxed);
        let is_hot = mean <= HOT_US;
        self.did.requests.fetch_add(1, Ordering::Relaxed);
        let waited = match store.claim(&key, AT_ONCE) {
            Ok(Claim::Value(_)) => false,
            Ok(Claim::Claimed(lease)) => {
                // What is still there is served at once, and loaded anew beside that.
                let is_served = store.contains(&key).unwrap_or(false);
                self.did.early.fetch_add(u64::from(is_served), Ordering::Relaxed);
                self.load(store, id, lease);
                !is_served
            }
            Ok(_) | Err(_) => {
                if let Ok(Claim::Claimed(lease)) = store.claim(&key, FOREVER) {
                    self.load(store, id, lease);
                }
                true
            }
        };
        self.did.waited.fetch_add(u64::from(waited), Ordering::Relaxed);
        self.did.hot_waited.fetch_add(u64::from(waited && is_hot), Ordering::Relaxed);
    }
}

fn refresh(args: &Args) -> Result<()> {
    let mut table = Table::new(
        "Zipf load (1.0 over 10,000 keys) on a source of 1 ms, 1 s to live, 2 threads",
        &[
            "early refresh",
            "requests",
            "loads",
            "early",
            "overlapping",
            "waited",
            "waited for a hot key",
        ],
    );
    for no_early_refresh in [false, true] {
        let config = StoreConfig { no_early_refresh, ..StoreConfig::default() };
        let store = open(64 << 20, &config)?;
        let source = Source {
            loading: (0..KEYS).map(|_| AtomicU32::new(0)).collect(),
            asked_us: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            every_us: (0..KEYS).map(|_| AtomicU64::new(1_000_000)).collect(),
            begun: Instant::now(),
            did: Loaded::default(),
        };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (store, source, stop) = (&store, &source, &stop);
                scope.spawn(move || {
                    let zipf = Zipf::new(KEYS, 1.0);
                    let mut rng = Rng::new(thread);
                    while !stop.load(Ordering::Relaxed) {
                        source.request(store, zipf.sample(&mut rng));
                    }
                });
            }
            std::thread::sleep(Duration::from_secs_f64(args.seconds));
            stop.store(true, Ordering::Relaxed);
        });
        let n = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let did = &source.did;
        let share = |counter| percent(n(counter) as f64 / n(&did.requests).max(1) as f64);
        table.row(vec![
            if no_early_refresh { "no" } else { "yes" }.into(),
            count(n(&did.requests)),
            count(n(&did.loads)),
            count(n(&did.early)),
            count(n(&did.overlaps)),
            share(&did.waited),
            format!("{} ({})", count(n(&did.hot_waited)), share(&did.hot_waited)),
        ]);
    }
    table.print();
    Ok(())
}
