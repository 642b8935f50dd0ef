//! `replay`: a workload through the C interface, and one table about it.
//!
//! Each request is a `hc_get`; a miss is followed by a `hc_set`, as a program would do that loads
//! from a database. Every call is timed. Every hit is compared with what was stored: the first
//! bytes of a value say whose it is. The requests are in memory before the clock starts, and
//! resident memory is counted from there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use crate::c_interface::{CStore, Got, StoreSpec, policy_name, status_name};
use crate::measure::{Histogram, Resident, Ticker};
use crate::report::{Csv, Table, count, duration, mean, mib, parse_bytes, percent, progress, size};
use crate::workload::{
    Asked, KEY_LEN, Rng, Synthetic, ValueBytes, footprint, key_of, mix, parse_count, read_trace,
};

/// Replay a trace or a synthetic workload through the C interface
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Trace: libCacheSim's oracleGeneral or CSV, plain or .zst [default: a synthetic workload]
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Limit of the pool
    #[arg(long, default_value = "64MiB", value_parser = parse_bytes)]
    limit: u64,
    /// Eviction policy
    #[arg(long, default_value = "default")]
    policy: String,
    /// Options of the policy, "name=value,..."
    #[arg(long)]
    policy_options: Option<String>,
    /// Threads that replay
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Replay at most so many requests [default: all of the trace; 5M synthetic ones]
    #[arg(long, value_parser = parse_count)]
    requests: Option<u64>,
    /// Replay over and over for so many seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// Length of all values of a trace without sizes, in bytes
    #[arg(long, default_value_t = 64)]
    value_size: u32,
    /// Keys of the synthetic workload
    #[arg(long, default_value = "1M", value_parser = parse_count)]
    keys: u64,
    /// Exponent of its Zipf distribution
    #[arg(long, default_value_t = 0.99)]
    zipf: f64,
    /// Median length of its values, in bytes; the lengths are log-normal
    #[arg(long, default_value_t = 300.0)]
    value_median: f64,
    /// Standard deviation of the logarithm of the length
    #[arg(long, default_value_t = 1.0)]
    value_sigma: f64,
    /// Per cent of the keys that are stored with a time to live of 0.1 to 5 seconds
    /// [default: 10 synthetic, 0 for a trace]
    #[arg(long)]
    ttl_percent: Option<u64>,
    /// Seed of everything
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write the figures to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// How many requests a thread takes at a time.
const CHUNK: u64 = 512;

/// What is replayed, and how.
struct Plan {
    name: String,
    requests: Vec<Asked>,
    notes: Vec<String>,
    longest: usize,
    ttl_percent: u64,
    /// Requests to replay; the list is cycled.
    total: u64,
    deadline: Option<Duration>,
}

/// What a thread saw.
#[derive(Default)]
struct Seen {
    requests: u64,
    hits: u64,
    asked_bytes: u64,
    hit_bytes: u64,
    wrong: u64,
    gets: Histogram,
    sets: Histogram,
    others: BTreeMap<i32, u64>,
}

impl Seen {
    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.hits += other.hits;
        self.asked_bytes += other.asked_bytes;
        self.hit_bytes += other.hit_bytes;
        self.wrong += other.wrong;
        self.gets.merge(&other.gets);
        self.sets.merge(&other.sets);
        for (&status, &times) in &other.others {
            *self.others.entry(status).or_default() += times;
        }
    }
}

/// Replays and prints the table.
pub fn run(args: &Args) -> Result<()> {
    if args.threads == 0 || args.threads > 1024 {
        bail!("--threads is {}; 1 to 1024 are allowed", args.threads);
    }
    let spec = StoreSpec {
        limit: args.limit,
        policy: args.policy.clone(),
        policy_options: args.policy_options.clone(),
        hash_seed: args.seed,
    };
    // A store that is opened and thrown away says what the longest value may be, and whether the
    // options are right, before a trace is read.
    let len_max = CStore::open(&spec)?.config()?.value_len_max.min(u64::from(u32::MAX)) as u32;
    let plan = plan(args, len_max)?;
    let ticker = Ticker::calibrate();
    let values = ValueBytes::new(plan.longest, args.seed);
    let shared = Shared {
        plan: &plan,
        values: &values,
        ticker,
        next: AtomicU64::new(0),
        late: AtomicBool::new(false),
        seed: args.seed,
    };
    let mut lanes: Vec<Lane> = (0..args.threads).map(|_| Lane::new(plan.longest)).collect();
    let bar = progress(1000, "replay");
    let mut resident = Resident::begin();
    let store = CStore::open(&spec)?;

    let began = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> =
            lanes.iter_mut().map(|lane| scope.spawn(|| shared.replay(&store, lane))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            let elapsed = began.elapsed();
            if plan.deadline.is_some_and(|deadline| elapsed >= deadline) {
                shared.late.store(true, Ordering::Relaxed);
            }
            bar.set_position((shared.share(elapsed) * 1000.0) as u64);
            if elapsed.subsec_millis() % 250 < 25 {
                resident.sample();
            }
        }
        for thread in threads {
            if thread.join().is_err() {
                bail!("a thread that replays has panicked");
            }
        }
        Ok(())
    })?;
    // By the threads' own clocks: the loop above looks at them now and then only.
    let ended = lanes.iter().map(|lane| lane.ended).max().unwrap_or(began);
    let elapsed = ended.saturating_duration_since(began);
    bar.finish_and_clear();
    resident.sample();

    let mut seen = Seen::default();
    for lane in &lanes {
        seen.merge(&lane.seen);
    }
    store.validate().context("the store's own check after the replay")?;
    report(args, &plan, &store, &seen, elapsed, &resident)?;
    if seen.wrong > 0 {
        bail!("{} hits returned bytes of another key", seen.wrong);
    }
    Ok(())
}

fn plan(args: &Args, len_max: u32) -> Result<Plan> {
    let bar =
        progress(1, if args.trace.is_some() { "read the trace" } else { "draw the requests" });
    let mut notes = Vec::new();
    let deadline = match args.seconds {
        Some(seconds) if seconds.is_finite() && seconds > 0.0 => {
            Some(Duration::from_secs_f64(seconds))
        }
        Some(seconds) => bail!("--seconds is {seconds}; more than 0 is allowed"),
        None => None,
    };
    let (name, requests) = if let Some(path) = &args.trace {
        let most = args.requests.unwrap_or(u64::MAX);
        let read = read_trace(path, most, args.value_size.max(1), len_max, &bar)?;
        if read.sizeless {
            notes.push(format!(
                "The trace has no sizes: every value is {} bytes (--value-size).",
                args.value_size.max(1)
            ));
        }
        if read.cut > 0 {
            notes.push(format!(
                "{} requests were for values longer than {}, the longest this store takes, and were cut.",
                count(read.cut),
                mib(u64::from(len_max))
            ));
        }
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        (name, read.requests)
    } else {
        if args.keys == 0 || !(args.zipf > 0.0 && args.zipf < 10.0) {
            bail!("--keys must be at least 1 and --zipf between 0 and 10");
        }
        let synthetic = Synthetic {
            requests: args.requests.unwrap_or(5_000_000).max(1),
            keys: args.keys,
            zipf: args.zipf,
            median_len: args.value_median,
            sigma: args.value_sigma,
            seed: args.seed,
        };
        let mut requests = synthetic.draw(&bar);
        for asked in &mut requests {
            asked.len = asked.len.min(len_max);
        }
        (format!("Zipf {} over {} keys", args.zipf, count(args.keys)), requests)
    };
    bar.finish_and_clear();
    Ok(Plan {
        name,
        longest: requests.iter().map(|asked| asked.len as usize).max().unwrap_or(0),
        ttl_percent: args.ttl_percent.unwrap_or(if args.trace.is_some() { 0 } else { 10 }).min(100),
        total: if deadline.is_some() { u64::MAX } else { requests.len() as u64 },
        requests,
        notes,
        deadline,
    })
}

/// One thread's memory, made before memory is first measured.
struct Lane {
    seen: Seen,
    ended: Instant,
    value: Vec<u8>,
    buf: Vec<u8>,
}

impl Lane {
    fn new(longest: usize) -> Self {
        // Ones, not zeroes: so that the pages are there.
        let (value, buf) = (vec![1; longest], vec![1; longest]);
        Self { seen: Seen::default(), ended: Instant::now(), value, buf }
    }
}

struct Shared<'a> {
    plan: &'a Plan,
    values: &'a ValueBytes,
    ticker: Ticker,
    next: AtomicU64,
    late: AtomicBool,
    seed: u64,
}

impl Shared<'_> {
    fn share(&self, elapsed: Duration) -> f64 {
        match self.plan.deadline {
            Some(deadline) => (elapsed.as_secs_f64() / deadline.as_secs_f64()).min(1.0),
            None => self.next.load(Ordering::Relaxed) as f64 / self.plan.total.max(1) as f64,
        }
    }

    fn replay(&self, store: &CStore, lane: &mut Lane) {
        let cycle = self.plan.requests.len() as u64;
        while !self.late.load(Ordering::Relaxed) {
            let first = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            if first >= self.plan.total {
                break;
            }
            for nth in first..self.plan.total.min(first + CHUNK) {
                self.request(store, self.plan.requests[(nth % cycle) as usize], lane);
            }
        }
        lane.ended = Instant::now();
    }

    #[inline]
    fn request(&self, store: &CStore, asked: Asked, lane: &mut Lane) {
        let Lane { seen, value, buf, .. } = lane;
        let key = key_of(asked.id);
        let start = Ticker::now();
        let got = store.get(&key, buf);
        seen.gets.record(self.ticker.ns(Ticker::now() - start));
        seen.requests += 1;
        seen.asked_bytes += u64::from(asked.len);
        match got {
            Got::Hit(len) => {
                let mark = asked.id.to_le_bytes();
                let marked = mark.len().min(len);
                let right = len == asked.len as usize && buf[..marked] == mark[..marked];
                seen.wrong += u64::from(!right);
                seen.hits += 1;
                seen.hit_bytes += len as u64;
                return;
            }
            Got::Miss => {}
            Got::Other(status) => *seen.others.entry(status).or_default() += 1,
        }
        let len = asked.len as usize;
        value[..len].copy_from_slice(self.values.get(asked.id, len));
        let mark = len.min(8);
        value[..mark].copy_from_slice(&asked.id.to_le_bytes()[..mark]);
        let ttl_ms = self.ttl_ms(asked.id);
        let start = Ticker::now();
        let status = store.set(&key, &value[..len], ttl_ms);
        seen.sets.record(self.ticker.ns(Ticker::now() - start));
        if status != 0 {
            *seen.others.entry(status).or_default() += 1;
        }
    }

    /// 0 for most keys: no time to live.
    fn ttl_ms(&self, id: u64) -> u64 {
        let mut rng = Rng::new(mix(id ^ self.seed));
        if rng.below(100) < self.plan.ttl_percent { rng.between(100, 5_000) } else { 0 }
    }
}

fn report(
    args: &Args,
    plan: &Plan,
    store: &CStore,
    seen: &Seen,
    elapsed: Duration,
    resident: &Resident,
) -> Result<()> {
    let (stats, pool, config) = (store.stats()?, store.pool_stats()?, store.config()?);
    let (keys, bytes) = footprint(&plan.requests, KEY_LEN);
    let rate = seen.requests as f64 / elapsed.as_secs_f64().max(1e-9);
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let hit_ratio = share(seen.hits, seen.requests);
    let byte_hit_ratio = share(seen.hit_bytes, seen.asked_bytes);
    let per_entry = share(pool.used_bytes, stats.entries);
    let payload_share = share(stats.payload_bytes, pool.limit_bytes);
    let beyond = (resident.peak() as f64 - pool.limit_bytes as f64) / f64::from(1 << 20);
    // Rounded, and no zero below zero.
    let beyond = (beyond * 10.0).round() / 10.0 + 0.0;
    let policy = policy_name(config.policy);

    let threads =
        if args.threads == 1 { "1 thread".into() } else { format!("{} threads", args.threads) };
    let mut table = Table::new(
        format!("{}: policy {policy}, {threads}, C interface", plan.name),
        &["<", "", "<"],
    );
    let mut row = |what: &str, figure: String, remark: String| {
        table.row(vec![what.to_owned(), figure, remark]);
    };
    row(
        "requests",
        count(seen.requests),
        format!("for {} keys of {} in all", count(keys), size(bytes)),
    );
    row("requests per second", count(rate as u64), duration(elapsed.as_nanos() as f64));
    row("hit ratio", percent2(hit_ratio), format!("{} hits, every one compared", count(seen.hits)));
    row("byte hit ratio", percent2(byte_hit_ratio), format!("{} served", size(seen.hit_bytes)));
    table.rule();
    for (what, histogram) in [("get", &seen.gets), ("set", &seen.sets)] {
        let at = |share: f64| duration(histogram.quantile(share));
        let tail =
            format!("p99 {}   p99.9 {}   max {}", at(0.99), at(0.999), duration(histogram.max()));
        table.row(vec![format!("{what} p50"), at(0.5), tail]);
    }
    table.rule();
    let mut row = |what: &str, figure: String, remark: String| {
        table.row(vec![what.to_owned(), figure, remark]);
    };
    row(
        "entries",
        count(stats.entries),
        format!("{} evicted, {} expired", count(stats.evicted), count(stats.expired)),
    );
    row(
        "bytes an entry",
        mean(per_entry),
        format!(
            "of them {} key and value: {} of the limit",
            mean(share(stats.payload_bytes, stats.entries)),
            percent(payload_share)
        ),
    );
    row("pool limit", mib(pool.limit_bytes), String::new());
    row(
        "used bytes",
        mib(pool.used_bytes),
        format!("{} of the limit", percent(share(pool.used_bytes, pool.limit_bytes))),
    );
    row(
        "RSS growth, peak",
        mib(resident.peak()),
        format!("{beyond:+.1} MiB against the limit; +4 are allowed"),
    );
    for note in &plan.notes {
        table.note(note);
    }
    if stats.evicted == 0 && seen.others.is_empty() {
        let smaller = match pool.used_bytes >> 22 {
            0 => String::new(),
            quarter => {
                format!(" Less memory, as with --limit {quarter}MiB, lets the policy choose.")
            }
        };
        table.note(format!("All of it fits: nothing was evicted.{smaller}"));
    }
    table.note("Times are on the wall: they contain whatever else the machine did.");
    if !seen.others.is_empty() {
        let others: Vec<String> = (seen.others.iter())
            .map(|(&status, &times)| format!("{} {}", count(times), status_name(status)))
            .collect();
        table.note(format!("Other outcomes: {}.", others.join(", ")));
    }
    table.print();

    let mut csv = Csv::create(
        args.csv.as_deref(),
        &[
            "workload",
            "policy",
            "threads",
            "limit",
            "requests",
            "seconds",
            "requests_per_second",
            "hit_ratio",
            "byte_hit_ratio",
            "get_p50_ns",
            "get_p99_ns",
            "get_p999_ns",
            "get_max_ns",
            "set_p50_ns",
            "set_p99_ns",
            "set_p999_ns",
            "set_max_ns",
            "entries",
            "bytes_an_entry",
            "payload_share",
            "used_bytes",
            "rss_growth_peak",
            "evicted",
            "expired",
            "wrong",
        ],
    )?;
    let mut cells = vec![
        plan.name.replace(',', ""),
        policy.to_owned(),
        args.threads.to_string(),
        pool.limit_bytes.to_string(),
        seen.requests.to_string(),
        format!("{:.4}", elapsed.as_secs_f64()),
        format!("{rate:.0}"),
        format!("{hit_ratio:.6}"),
        format!("{byte_hit_ratio:.6}"),
    ];
    for histogram in [&seen.gets, &seen.sets] {
        cells.extend([0.5, 0.99, 0.999].map(|share| format!("{:.0}", histogram.quantile(share))));
        cells.push(format!("{:.0}", histogram.max()));
    }
    cells.extend([
        stats.entries.to_string(),
        format!("{per_entry:.2}"),
        format!("{payload_share:.4}"),
        pool.used_bytes.to_string(),
        resident.peak().to_string(),
        stats.evicted.to_string(),
        stats.expired.to_string(),
        seen.wrong.to_string(),
    ]);
    csv.row(&cells)
}

fn percent2(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
