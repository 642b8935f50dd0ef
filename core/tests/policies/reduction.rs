//! What `adaptive` saves of FIFO's misses on real traces: by its rules with exact times and ghosts,
//! as the policy that rounds them, and in a store with its shards.
//!
//! The figure is the mean of (FIFO's miss ratio - miss ratio) / FIFO's miss ratio, not below -1,
//! over the traces and capacities of at least 100 objects. Builds with optimization replay all
//! traces and their figures are those of docs/eviction.md; others replay the short ones:
//!
//! ```text
//! cargo test --release -p hypercache-core --test policies reduction -- --nocapture
//! ```

use crate::exact::{Exact, Rules};
use crate::sim::Sim;
use crate::trace::{self, Request, Trace, Unit};
use hypercache_core::eviction::AnyPolicy;
use hypercache_core::{Copied, PolicyKind, Pool, PoolConfig, StoreConfig};
use std::collections::HashMap;
use std::io::Write;
use std::mem::MaybeUninit;
use std::sync::Mutex;

/// Longer files are replayed with optimization only.
const FILE_MAX: u64 = if cfg!(debug_assertions) { 190_000 } else { u64::MAX };
const OBJECTS_MIN: f64 = 100.0;
/// The pool of a store that is bounded by entries has this for each.
const ENTRY_BYTES: u64 = 400;
const VALUE_BYTES_MAX: usize = 80 << 20;

/// A trace at a capacity.
struct Case {
    name: String,
    requests: std::sync::Arc<Vec<Request>>,
    by_entries: bool,
    capacity: u64,
    /// Objects that fit, by the trace's mean size.
    objects: u64,
    fifo: f64,
}

fn cases() -> Option<Vec<Case>> {
    let folder = trace::default_folder();
    if !folder.exists() {
        // Past the capture of the test's output, so that nobody takes this for a check.
        let _ = writeln!(
            std::io::stderr(),
            "NOT CHECKED: what adaptive saves on traces, because there is no folder {}; \
             HYPERCACHE_TRACES names another",
            folder.display()
        );
        return None;
    }
    let figures = trace::reference(&folder).unwrap();
    let mut cases = Vec::new();
    for file in trace::list(&folder).unwrap() {
        if file.name.starts_with("syn_") || file.bytes > FILE_MAX {
            continue;
        }
        let requests: Vec<Request> =
            Trace::open(&file.path).and_then(Iterator::collect).unwrap_or_else(|e| panic!("{e}"));
        let sizes: HashMap<u64, u32> = requests.iter().map(|r| (r.id, r.size)).collect();
        let mean = sizes.values().map(|&size| f64::from(size)).sum::<f64>() / sizes.len() as f64;
        let requests = std::sync::Arc::new(requests);
        for row in figures.iter().filter(|row| row.trace == file.name && row.policy == "fifo") {
            let by_entries = row.unit == Unit::Objects;
            let objects = row.capacity as f64 / if by_entries { 1.0 } else { mean };
            if objects >= OBJECTS_MIN {
                cases.push(Case {
                    name: file.name.clone(),
                    requests: std::sync::Arc::clone(&requests),
                    by_entries,
                    capacity: row.capacity,
                    objects: objects as u64,
                    fifo: row.miss_ratio,
                });
            }
        }
    }
    // The long ones first, so that both threads end at the same time.
    cases.sort_by_key(|case| std::cmp::Reverse(case.requests.len()));
    Some(cases)
}

/// What a way of replaying saves at each case.
fn saved(cases: &[Case], misses: impl Fn(&Case) -> usize + Sync) -> Vec<f64> {
    let (next, saved) = (Mutex::new(0), Mutex::new(vec![0.0; cases.len()]));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = {
                        let mut next = next.lock().unwrap();
                        *next += 1;
                        *next - 1
                    };
                    let Some(case) = cases.get(at) else { break };
                    let ratio = misses(case) as f64 / case.requests.len() as f64;
                    saved.lock().unwrap()[at] = ((case.fifo - ratio) / case.fifo).max(-1.0);
                }
            });
        }
    });
    saved.into_inner().unwrap()
}

fn mean(cases: &[Case], saved: &[f64], of: impl Fn(&Case) -> bool) -> f64 {
    let of = cases.iter().zip(saved).filter(|(case, _)| of(case)).map(|(_, saved)| *saved);
    let (sum, count) = of.fold((0.0, 0), |(sum, count), saved| (sum + saved, count + 1));
    sum / f64::from(count.max(1))
}

/// All, objects, bytes; prints them with the tenth percentile and the worst.
fn summary(what: &str, cases: &[Case], saved: &[f64]) -> [f64; 3] {
    let means = [
        mean(cases, saved, |_| true),
        mean(cases, saved, |case| case.by_entries),
        mean(cases, saved, |case| !case.by_entries),
    ];
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by(|&a, &b| saved[a].total_cmp(&saved[b]));
    let worst = &cases[order[0]];
    println!(
        "{what:24} all {:.4}  objects {:.4}  bytes {:.4}  p10 {:.4}  worst {:.4} ({} {})",
        means[0],
        means[1],
        means[2],
        saved[order[cases.len() / 10]],
        saved[order[0]],
        worst.name,
        worst.capacity
    );
    means
}

fn by_rules(case: &Case, change: impl Fn(Rules) -> Rules) -> usize {
    let rules = Rules::new(case.capacity, case.by_entries, 3 * case.objects);
    let mut exact = Exact::new(change(rules));
    let misses = case.requests.iter().filter(|request| {
        let hit = exact.get(request.id);
        if !hit && !is_refused(case, request) {
            exact.set(request.id, size(case, request).into());
        }
        !hit
    });
    misses.count()
}

fn by_policy(case: &Case, kind: PolicyKind, options: &str) -> usize {
    let policy = AnyPolicy::new(kind, Some(options)).unwrap();
    let entries = if case.by_entries { case.capacity } else { 0 };
    let mut sim = Sim::new(policy, case.capacity, entries, case.objects);
    let misses = case.requests.iter().filter(|request| {
        is_refused(case, request) || !sim.request(request.id, size(case, request))
    });
    misses.count()
}

fn size(case: &Case, request: &Request) -> u32 {
    if case.by_entries { 1 } else { request.size.max(1) }
}

/// A store takes values of at most a quarter of its limit, unless it is told otherwise.
fn is_refused(case: &Case, request: &Request) -> bool {
    u64::from(size(case, request)) > case.capacity / 4
}

/// In a store: bounded by entries, or by bytes with values of the trace's sizes.
fn in_store(case: &Case, kind: PolicyKind, options: &str) -> usize {
    let limit = case.capacity * if case.by_entries { ENTRY_BYTES } else { 1 };
    let config = PoolConfig { no_huge_pages: true, ..PoolConfig::new(limit.max(64 << 20)) };
    let pool = Pool::create(&config).unwrap();
    let store = pool.open_store(&StoreConfig {
        limit_bytes: if case.by_entries { 0 } else { case.capacity },
        limit_entries: if case.by_entries { case.capacity } else { 0 },
        policy: kind,
        policy_options: Some(options.to_owned()),
        hash_seed: 7,
        ..StoreConfig::default()
    });
    let store = store.unwrap();
    let longest = case.requests.iter().map(|request| size(case, request)).max().unwrap_or(0);
    let value = vec![7_u8; (longest as usize).min(VALUE_BYTES_MAX)];
    let mut buf = vec![MaybeUninit::uninit(); value.len()];
    let misses = case.requests.iter().filter(|request| {
        let key = request.id.to_le_bytes();
        if matches!(store.copy(&key, &mut buf), Ok(Copied::Hit { .. })) {
            return false;
        }
        // Too long for the store, or declined: a miss the next time as well.
        let _ = store.set(&key, &value[..(size(case, request) as usize).min(value.len())]);
        true
    });
    let misses = misses.count();
    store.validate().unwrap();
    misses
}

#[test]
fn reduction_by_the_rules_and_by_the_policy() {
    let Some(cases) = cases() else { return };
    let exact = saved(&cases, |case| by_rules(case, |rules| rules));
    let exact_means = summary("rules", &cases, &exact);
    let rounded = saved(&cases, |case| by_policy(case, PolicyKind::Adaptive, "ghosts=3"));
    let rounded_means = summary("policy", &cases, &rounded);
    for (exact, rounded) in exact_means.iter().zip(rounded_means) {
        assert!((exact - rounded).abs() <= 0.003, "{rounded:.4} rounded, {exact:.4} exact");
    }
    if FILE_MAX < u64::MAX {
        return;
    }
    assert!((exact_means[0] - 0.118).abs() <= 0.003, "{exact_means:?}");
    // Each part earns its place, over all traces.
    for (what, part) in [
        ("rules, fixed boundary", by_part(&cases, |rules| Rules { adapts: false, ..rules })),
        ("rules, no inert fill", by_part(&cases, |rules| Rules { fills: false, ..rules })),
        ("rules, all hits count", by_part(&cases, |rules| Rules { window: 0, ..rules })),
        ("rules, ghosts enter main", by_part(&cases, |rules| Rules { contests: false, ..rules })),
    ] {
        let means = summary(what, &cases, &part);
        assert!(means[0] < exact_means[0], "{what}: {:.4}", means[0]);
    }
}

fn by_part(cases: &[Case], change: impl Fn(Rules) -> Rules + Sync) -> Vec<f64> {
    saved(cases, |case| by_rules(case, &change))
}

#[test]
fn reduction_in_a_store() {
    let Some(cases) = cases() else { return };
    let fifo = saved(&cases, |case| in_store(case, PolicyKind::Fifo, ""));
    summary("fifo in a store", &cases, &fifo);
    let s3fifo = saved(&cases, |case| in_store(case, PolicyKind::S3Fifo, ""));
    let s3fifo_means = summary("s3fifo in a store", &cases, &s3fifo);
    let ours = saved(&cases, |case| in_store(case, PolicyKind::Adaptive, "ghosts=3"));
    let means = summary("adaptive in a store", &cases, &ours);
    assert!(means[0] > s3fifo_means[0], "{means:?}, s3fifo {s3fifo_means:?}");
    if FILE_MAX == u64::MAX {
        assert!(means[0] >= 0.115, "{means:?}");
    }
    for (case, saved) in cases.iter().zip(&ours) {
        assert!(*saved >= -0.03, "{} at {}: {saved:.4}", case.name, case.capacity);
    }
}
