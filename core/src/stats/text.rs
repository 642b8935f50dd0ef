//! The Prometheus text format, version 0.0.4, of all statistics.
//!
//! A pure function from samples to text. The format wants one family at a time, each introduced by
//! its `# HELP` and `# TYPE`, no family twice, no two samples with the same labels. Counters end in
//! `_total`, units are base units and part of the name.
//!
//! Labels are `pool` and `store`, the names. Names need not tell everything apart (a pool that is
//! not registered may bear any name, or none): where they do not, `pool_id` and `store_id` are
//! added.
//!
//! The text grows with the number of stores, so every byte of it is asked for in the way that may
//! be refused: without memory there is an error, and the process goes on.

use std::fmt::{self, Write};

use super::{LatencyOp, LatencySummary, PoolStats, StoreStats};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Pressure;

/// A pool to be written.
#[derive(Clone, Copy, Debug)]
pub struct PoolSample<'a> {
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// Distinct from every other pool's.
    pub id: u64,
    /// What it tells.
    pub stats: PoolStats,
}

/// A store to be written.
#[derive(Clone, Copy, Debug)]
pub struct StoreSample<'a> {
    /// The name of its pool, if it has one.
    pub pool: Option<&'a str>,
    /// Its pool's [`PoolSample::id`].
    pub pool_id: u64,
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// Distinct from that of every other store of the pool.
    pub id: u64,
    /// What it tells.
    pub stats: StoreStats,
    /// Latencies in the order of [`LatencyOp::ALL`], where they are measured.
    pub latency: [Option<LatencySummary>; 3],
}

enum Kind {
    Counter,
    Gauge,
}

struct Family<S> {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&S) -> u64,
}

macro_rules! families {
    ($stats:ty: $($kind:ident $name:literal $value:expr, $help:literal;)*) => {
        &[$(Family::<$stats> { name: $name, help: $help, kind: Kind::$kind, value: $value }),*]
    };
}

const POOL: &[Family<PoolStats>] = families! { PoolStats:
    Gauge "hypercache_pool_limit_bytes" |s| s.limit_bytes, "Limit in force.";
    Gauge "hypercache_pool_target_bytes" |s| s.target_bytes, "Limit asked for.";
    Gauge "hypercache_pool_used_bytes" |s| s.used_bytes, "Everything charged to the pool.";
    Gauge "hypercache_pool_peak_bytes" |s| s.peak_bytes, "The most that was ever charged.";
    Gauge "hypercache_pool_pinned_bytes" |s| s.pinned_bytes, "Held by views, drafts and waits.";
    Gauge "hypercache_pool_held_bytes" |s| s.held_bytes, "What eviction could not give back.";
    Gauge "hypercache_pool_app_bytes" |s| s.app_bytes, "Raw blocks in the application's hands.";
    Gauge "hypercache_pool_overhead_bytes" |s| s.overhead_bytes,
        "Indexes, ghosts, filters and slack.";
    Gauge "hypercache_pool_resident_bytes" |s| s.resident_bytes, "Committed by the system.";
    Gauge "hypercache_pool_huge_bytes" |s| s.huge_bytes, "Backed by huge pages.";
    Gauge "hypercache_pool_stores" |s| s.stores, "Open stores.";
    Gauge "hypercache_pool_pressure" |s| pressure_code(s.pressure),
        "Pressure level: 0 none, 10 elevated, 20 high, 30 critical.";
    Counter "hypercache_pool_level_changes_total" |s| s.level_changes,
        "Changes of the pressure level.";
    Counter "hypercache_pool_alloc_failures_total" |s| s.alloc_failures,
        "Raw allocations that found no room.";
    Counter "hypercache_pool_alloc_created_total" |s| s.alloc_created,
        "Raw allocations served by a fresh block.";
    Counter "hypercache_pool_alloc_reused_total" |s| s.alloc_reused,
        "Raw allocations served by a block given back before.";
    Counter "hypercache_pool_alloc_returned_total" |s| s.alloc_returned,
        "Raw blocks given back.";
    Counter "hypercache_pool_alloc_discarded_total" |s| s.alloc_discarded,
        "Raw blocks whose memory went back to segments.";
};

const STORE: &[Family<StoreStats>] = families! { StoreStats:
    Gauge "hypercache_store_entries" |s| s.entries, "Live entries.";
    Gauge "hypercache_store_payload_bytes" |s| s.payload_bytes, "Keys and values of live entries.";
    Gauge "hypercache_store_dead_bytes" |s| s.dead_bytes, "In the log and not yet reclaimed.";
    Gauge "hypercache_store_waiting_bytes" |s| s.waiting_bytes,
        "Emptied, held back by a reader or a view.";
    Gauge "hypercache_store_used_bytes" |s| s.used_bytes, "Everything charged for the store.";
    Gauge "hypercache_store_limit_bytes" |s| s.limit_bytes, "The store's limit.";
    Gauge "hypercache_store_pinned_bytes" |s| s.pinned_bytes, "Held by views, drafts and waits.";
    Gauge "hypercache_store_sessions" |s| s.sessions, "Live sessions.";
    Gauge "hypercache_store_sessions_idle" |s| s.sessions_idle, "Live sessions that are idle.";
    Gauge "hypercache_store_poisoned_shards" |s| u64::from(s.poisoned_shards),
        "Shards out of service after a caught fault.";
    Counter "hypercache_store_hits_total" |s| s.hits, "Reads that found an entry.";
    Counter "hypercache_store_misses_total" |s| s.misses, "Reads that found none.";
    Counter "hypercache_store_stale_hits_total" |s| s.stale_hits,
        "Reads served with an expired value.";
    Counter "hypercache_store_inserts_total" |s| s.inserts, "Writes under a new key.";
    Counter "hypercache_store_updates_total" |s| s.updates, "Writes over a live entry.";
    Counter "hypercache_store_deletes_total" |s| s.deletes, "Entries removed by key.";
    Counter "hypercache_store_invalidated_total" |s| s.invalidated,
        "Entries removed by pattern, session, type or clearing.";
    Counter "hypercache_store_evicted_total" |s| s.evicted, "Entries that had to make room.";
    Counter "hypercache_store_evicted_bytes_total" |s| s.evicted_bytes,
        "Bytes of entries that had to make room.";
    Counter "hypercache_store_expired_total" |s| s.expired, "Entries whose time was over.";
    Counter "hypercache_store_not_admitted_total" |s| s.not_admitted,
        "Writes that the policy declined.";
    Counter "hypercache_store_rejected_total" |s| s.rejected,
        "Writes refused: too large, no space, no memory.";
    Counter "hypercache_store_written_bytes_total" |s| s.written_bytes,
        "Bytes that writes put in the log.";
    Counter "hypercache_store_moved_bytes_total" |s| s.moved_bytes,
        "Bytes that reclaim moved in the log.";
    Counter "hypercache_store_filter_skips_total" |s| s.filter_skips,
        "Misses that the filter answered.";
    Counter "hypercache_store_leases_total" |s| s.leases, "Leases given out.";
    Counter "hypercache_store_lease_waits_total" |s| s.lease_waits,
        "Times that somebody waited for another's lease.";
    Counter "hypercache_store_sessions_expired_total" |s| s.sessions_expired,
        "Sessions whose time was over.";
    Counter "hypercache_store_sessions_ended_total" |s| s.sessions_ended,
        "Sessions that had to make room.";
    Counter "hypercache_store_faults_total" |s| s.faults, "Caught faults of the library.";
};

/// The level as the C interface numbers it.
#[must_use]
pub const fn pressure_code(level: Pressure) -> u64 {
    match level {
        Pressure::None => 0,
        Pressure::Elevated => 10,
        Pressure::High => 20,
        Pressure::Critical => 30,
    }
}

const NO_MEMORY: Error =
    Error::fixed(ErrorKind::NoMemory, "no memory for the text of the statistics");

/// All samples as text. Without pools and stores it is empty.
///
/// # Errors
/// `NoMemory`.
pub fn write_metrics(pools: &[PoolSample<'_>], stores: &[StoreSample<'_>]) -> Result<String> {
    let pool_labels = collect(pools.iter().map(|pool| Labels {
        pool: pool.name,
        pool_id: telling_id(pools, pool.name, pool.id),
        store: None,
    }))?;
    let store_labels = collect(stores.iter().map(|store| Labels {
        pool: store.pool,
        pool_id: telling_id(pools, store.pool, store.pool_id),
        store: Some((store.name, store.id)),
    }))?;
    let mut out = Text(String::new());
    let mut write = || -> fmt::Result {
        write_families(&mut out, POOL, &pool_labels, pools.iter().map(|pool| &pool.stats))?;
        write_families(&mut out, STORE, &store_labels, stores.iter().map(|store| &store.stats))?;
        write_latencies(&mut out, &store_labels, stores)
    };
    write().map(|()| out.0).map_err(|fmt::Error| NO_MEMORY)
}

/// A list whose memory may be refused.
///
/// # Errors
/// `NoMemory`.
pub(crate) fn collect<T>(items: impl Iterator<Item = T>) -> Result<Vec<T>> {
    let mut list = Vec::new();
    for item in items {
        list.try_reserve(1).map_err(|_| NO_MEMORY)?;
        list.push(item);
    }
    Ok(list)
}

/// Text whose memory may be refused. Nothing else makes writing to it fail.
struct Text(String);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(text);
        Ok(())
    }
}

fn write_families<'a, S: 'a>(
    out: &mut Text,
    families: &[Family<S>],
    labels: &[Labels],
    samples: impl Iterator<Item = &'a S> + Clone,
) -> fmt::Result {
    for family in families.iter().filter(|_| !labels.is_empty()) {
        introduce(out, family.name, family.help, &family.kind)?;
        for (labels, stats) in labels.iter().zip(samples.clone()) {
            writeln!(out, "{}{{{labels}}} {}", family.name, (family.value)(stats))?;
        }
    }
    Ok(())
}

const LATENCY: &str = "hypercache_store_latency_seconds";

fn write_latencies(out: &mut Text, labels: &[Labels], stores: &[StoreSample]) -> fmt::Result {
    let mut introduced = false;
    for (labels, store) in labels.iter().zip(stores) {
        for (op, summary) in LatencyOp::ALL.iter().zip(&store.latency) {
            let Some(summary) = summary else { continue };
            if !introduced {
                introduced = true;
                writeln!(out, "# HELP {LATENCY} Duration of calls since the store was opened.")?;
                writeln!(out, "# TYPE {LATENCY} summary")?;
            }
            let op = op.name();
            for (quantile, ns) in [
                ("0.5", summary.p50_ns),
                ("0.9", summary.p90_ns),
                ("0.99", summary.p99_ns),
                ("0.999", summary.p999_ns),
            ] {
                let seconds = Seconds(u128::from(ns));
                writeln!(
                    out,
                    "{LATENCY}{{{labels},op=\"{op}\",quantile=\"{quantile}\"}} {seconds}"
                )?;
            }
            let sum = Seconds(u128::from(summary.mean_ns) * u128::from(summary.count));
            writeln!(out, "{LATENCY}_sum{{{labels},op=\"{op}\"}} {sum}")?;
            writeln!(out, "{LATENCY}_count{{{labels},op=\"{op}\"}} {}", summary.count)?;
        }
    }
    Ok(())
}

fn introduce(out: &mut Text, name: &str, help: &str, kind: &Kind) -> fmt::Result {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Nanoseconds, written as seconds without going through floating point.
struct Seconds(u128);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// The labels of one sample, as they stand between the braces.
struct Labels<'a> {
    pool: Option<&'a str>,
    /// Where the name does not tell the pool apart.
    pool_id: Option<u64>,
    /// Name and id of a store.
    store: Option<(Option<&'a str>, u64)>,
}

/// The pool's id, if its name is nobody's or another's as well.
fn telling_id(pools: &[PoolSample], name: Option<&str>, id: u64) -> Option<u64> {
    let is_shared = || pools.iter().any(|other| other.id != id && other.name == name);
    (name.is_none() || is_shared()).then_some(id)
}

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool=\"{}\"", Escaped(self.pool.unwrap_or_default()))?;
        if let Some(id) = self.pool_id {
            write!(f, ",pool_id=\"{id}\"")?;
        }
        let Some((name, id)) = self.store else { return Ok(()) };
        write!(f, ",store=\"{}\"", Escaped(name.unwrap_or_default()))?;
        if name.is_none() {
            write!(f, ",store_id=\"{id}\"")?;
        }
        Ok(())
    }
}

/// A label's value; backslash, quote and line feed are escaped, as the format wants it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn store<'a>(pool: Option<&'a str>, pool_id: u64, name: Option<&'a str>) -> StoreSample<'a> {
        StoreSample {
            pool,
            pool_id,
            name,
            id: 4,
            stats: StoreStats { hits: 3, ..StoreStats::default() },
            latency: [None; 3],
        }
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(write_metrics(&[], &[]).unwrap(), "");
    }

    #[test]
    fn labels_tell_everything_apart() {
        let stats = PoolStats { used_bytes: 5, pressure: Pressure::High, ..PoolStats::default() };
        let pools = [
            PoolSample { name: Some("a\"b\\\n"), id: 1, stats },
            PoolSample { name: None, id: 2, stats },
            PoolSample { name: Some("twin"), id: 3, stats },
            PoolSample { name: Some("twin"), id: 4, stats },
        ];
        let text = write_metrics(&pools, &[]).unwrap();
        assert!(text.contains("hypercache_pool_used_bytes{pool=\"a\\\"b\\\\\\n\"} 5\n"), "{text}");
        assert!(text.contains("hypercache_pool_pressure{pool=\"\",pool_id=\"2\"} 20\n"));
        assert!(text.contains("{pool=\"twin\",pool_id=\"3\"}"));
        assert!(text.contains("{pool=\"twin\",pool_id=\"4\"}"));
    }

    #[test]
    fn well_formed() {
        let pools = [
            PoolSample { name: Some("p"), id: 1, stats: PoolStats::default() },
            PoolSample { name: None, id: 2, stats: PoolStats::default() },
        ];
        let mut stores =
            [store(Some("p"), 1, Some("s")), store(Some("p"), 1, None), store(None, 2, Some("s"))];
        stores[0].latency[0] = Some(LatencySummary {
            count: 10,
            mean_ns: 1_500_000_000,
            p50_ns: 250,
            ..LatencySummary::default()
        });
        let text = write_metrics(&pools, &stores).unwrap();
        assert!(text.contains("hypercache_store_latency_seconds{pool=\"p\",store=\"s\",op=\"get\",quantile=\"0.5\"} 0.000000250\n"));
        assert!(text.contains(
            "hypercache_store_latency_seconds_sum{pool=\"p\",store=\"s\",op=\"get\"} 15.000000000\n"
        ));
        let mut families = HashSet::new();
        let mut samples = HashSet::new();
        let mut family = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().unwrap().to_owned();
                assert!(families.insert(family.clone()), "{family} comes twice");
                let kind = lines.next().unwrap();
                let kind = kind.strip_prefix(&format!("# TYPE {family} ")).unwrap();
                assert_eq!(family.ends_with("_total"), kind == "counter", "{family}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(series.starts_with(&family), "{line} under {family}");
                assert!(samples.insert(series.to_owned()), "{series} comes twice");
                value.parse::<f64>().unwrap();
            }
        }
        assert!(families.len() > 40);
    }
}
