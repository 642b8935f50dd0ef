//! Histories: what concurrent readers may see of what writers did, checked read by read.
//!
//! Two writers and four readers work on 20,000 keys with values of 0 to 60 KiB in a pool of 6 MiB
//! that another thread resizes, trims, clears and shares out. Every value follows from its key and
//! the number of its write, byte by byte, so that a checker can tell
//! - a *torn* value: its bytes are not all of one write,
//! - a *foreign* one: it is of another key,
//! - a *stale* one: a later write of the key, or a removal, had returned before the read began; or
//!   an earlier read had already seen a later write, or that the value was gone,
//! - a view whose bytes changed while it was held.
//!
//! A checker that never fails proves nothing. The *controls* break the read protocol, one step at a
//! time, in a process of their own whose reclaimed segments are inaccessible until they are reused,
//! and demand that this is noticed.
//!
//! `HYPERCACHE_HISTORY_SECONDS` sets how long each history runs, `HYPERCACHE_HISTORY_POLICY` which
//! policy runs (default: each).

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod controls;
mod model;
mod reader;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod upkeep;
mod value;
mod writer;

use hypercache_core::PolicyKind;
use run::{Report, Setup, run};
use std::sync::Mutex;

/// Histories need both processors to themselves.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Seconds for all policies together, unless the environment says how long each takes.
const SECONDS: f64 = 9.0;

fn asked_seconds() -> Option<f64> {
    std::env::var("HYPERCACHE_HISTORY_SECONDS").ok().and_then(|seconds| seconds.parse().ok())
}

fn asked_policy() -> Option<String> {
    std::env::var("HYPERCACHE_HISTORY_POLICY").ok()
}

fn seconds_for(policies: usize) -> f64 {
    asked_seconds().unwrap_or_else(|| (SECONDS / policies as f64).max(1.0))
}

fn judge(name: &str, report: &Report) {
    println!("{name}: {report:?}");
    assert!(report.violation.is_none(), "{name}: {}", report.violation.clone().unwrap_or_default());
    assert!(report.hits > 0 && report.writes > 0, "{name}: nothing happened");
    // Limits come down and views hold memory, but hardly ever so much that a write finds none.
    assert!(report.refused_writes * 500 <= report.writes, "{name}: too many writes were refused");
}

#[test]
fn reads_are_whole_and_fresh_under_every_policy() {
    let _alone = ONE_AT_A_TIME.lock();
    let wanted = asked_policy();
    let policies: Vec<_> = PolicyKind::ALL
        .into_iter()
        .filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name))
        .collect();
    assert!(!policies.is_empty(), "HYPERCACHE_HISTORY_POLICY names no policy");
    for (name, policy) in &policies {
        judge(name, &run(&Setup::new(*policy, seconds_for(policies.len()))));
    }
}

/// Segments of 128 KiB, whose values of some KiB are pinned where they lie.
#[test]
fn reads_are_whole_and_fresh_in_large_segments() {
    let _alone = ONE_AT_A_TIME.lock();
    let setup = Setup { limit: 128 << 20, ..Setup::new(PolicyKind::Default, seconds_for(4)) };
    judge("large segments", &run(&setup));
}

/// With a filter before the index, which most look-ups ask: half of the keys are hardly ever there.
#[test]
fn reads_are_whole_and_fresh_behind_a_filter() {
    let _alone = ONE_AT_A_TIME.lock();
    for (name, policy) in [("adaptive", PolicyKind::Adaptive), ("lru", PolicyKind::Lru)] {
        let quiet = Setup { filter_fpr: 0.01, ..Setup::new(policy, seconds_for(4)) };
        judge(name, &run(&quiet));
        // Far more keys than there is room for.
        let setup = Setup { keys: 400_000, hot: (96, 5), ..quiet };
        let report = run(&setup);
        judge(name, &report);
        assert!(report.filter_skips > 0, "{name}: the filter was never asked");
    }
}
