//! A replay through the real store, single-threaded, with a fixed hash seed.

use std::mem::MaybeUninit;

use anyhow::Result;
use hypercache_core::{Copied, Pool, PoolConfig, Store, StoreConfig};

use super::contender::{Policy, Shards};
use super::exact::{self, Live};
use super::grid::Size;
use super::loaded::{Loaded, Missed};
use crate::trace::Unit;

/// Bytes of pool for each entry of a store that is bounded by entries: several times what an entry
/// without a value takes with its index and the policy's memory, so that bytes never bind.
const ROOM_AN_ENTRY: u64 = 256;
/// And for everything else.
const ROOM: u64 = 4 << 20;
/// Capacities in bytes are taken times a whole number until they are at least this.
const SCALED_LEAST: u64 = 2 << 20;
/// A limit is right where so much is live, on the mean, of what an exact cache of the capacity
/// holds: never more, because miss ratios may fall by points within a hundredth of a capacity.
const RIGHT: std::ops::RangeInclusive<f64> = 0.995..=1.0;
/// What the search for it aims at.
const AIM: f64 = 0.997_5;
/// Replays after which the nearest limit has to do.
const REPLAYS_MAX: u32 = 8;
/// Length of the keys.
const KEY_LEN: u64 = 8;

/// What a replay of ours found.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What was missed.
    pub missed: Missed,
    /// What was live, on the mean, by what an exact cache of the capacity holds.
    pub full: f64,
    /// Whether anything was evicted.
    pub evicted: bool,
    /// Writes that failed.
    pub failures: u64,
}

impl Outcome {
    /// Whether the store held what it should have, so that the miss ratio is one of this capacity.
    #[must_use]
    pub fn is_fair(&self) -> bool {
        !self.evicted || (0.98..=1.01).contains(&self.full)
    }
}

/// Replays a trace at a capacity.
pub fn replay(trace: &Loaded, size: &Size, policy: &Policy) -> Result<Outcome> {
    match size.unit {
        Unit::Objects => by_objects(trace, size.capacity, policy),
        Unit::Bytes => by_bytes(trace, size, policy),
    }
}

fn by_objects(trace: &Loaded, capacity: u64, policy: &Policy) -> Result<Outcome> {
    let config = StoreConfig { limit_entries: capacity, ..config(policy) };
    let subject = Subject {
        trace,
        weigh: &|_| 1,
        value_len: &|_| Some(0),
        live: &|store| store.stats().entries,
    };
    subject.replay(ROOM + capacity * ROOM_AN_ENTRY, &config, capacity as f64)
}

/// Looks for the limit at which the live values are, on the mean, what an exact FIFO queue of
/// `size.capacity` bytes holds: somewhat less than those, as the next object seldom fits exactly.
fn by_bytes(trace: &Loaded, size: &Size, policy: &Policy) -> Result<Outcome> {
    let capacity = size.capacity;
    let scale = SCALED_LEAST.div_ceil(capacity);
    let target = capacity * scale;
    let config = StoreConfig { value_len_max: target, ..config(policy) };
    let subject = Subject {
        trace,
        weigh: &|size| u64::from(size),
        // What is larger than the capacity is never stored, as in the reference.
        value_len: &|size| {
            let size = u64::from(size);
            (size <= capacity).then_some((size * scale) as usize)
        },
        live: &|store| {
            let stats = store.stats();
            stats.payload_bytes - KEY_LEN * stats.entries
        },
    };
    let held = exact::fifo(trace, capacity, u64::from).1.mean() * scale as f64;
    // A twelfth more and 40 bytes an entry are near what most traces need.
    let mut limit = target + target / 12 + 40 * size.objects + (128 << 10);
    let mut before: Option<(u64, f64)> = None;
    let mut best: Option<Outcome> = None;
    for _ in 0..REPLAYS_MAX {
        let outcome = subject.replay(limit, &config, held)?;
        let off = |outcome: &Outcome| (outcome.full - AIM).abs();
        if best.is_none_or(|best| off(&outcome) < off(&best)) {
            best = Some(outcome);
        }
        let all_fits = !outcome.evicted && outcome.full <= 1.0;
        if all_fits || RIGHT.contains(&outcome.full) {
            return Ok(outcome);
        }
        // Along the line through the last two limits where it rises, else in proportion.
        let slope = before
            .map(|(other, full)| (outcome.full - full) / (limit as f64 - other as f64))
            .filter(|slope| (0.2..5.0).contains(&(slope * target as f64)))
            .unwrap_or(outcome.full / limit as f64);
        before = Some((limit, outcome.full));
        let next = limit as f64 + (AIM - outcome.full) / slope;
        limit = (next as u64).clamp(limit / 2, limit * 2);
        limit = limit.max(hypercache_core::config::POOL_LIMIT_MIN);
    }
    Ok(best.unwrap_or(Outcome { missed: Missed::default(), full: 0.0, evicted: true, failures: 0 }))
}

/// The configuration of a store with this policy.
#[must_use]
pub fn config(policy: &Policy) -> StoreConfig {
    StoreConfig {
        policy: policy.kind,
        policy_options: policy.options.clone(),
        shards: match policy.shards {
            Shards::AtMost(shards) => shards,
            Shards::Chosen => 0,
        },
        hash_seed: 1,
        ..StoreConfig::default()
    }
}

/// A trace, and what its objects are to the store.
struct Subject<'a> {
    trace: &'a Loaded,
    /// What a request for an object counts.
    weigh: &'a dyn Fn(u32) -> u64,
    /// Length of the value of an object of this size; `None`: not stored.
    value_len: &'a dyn Fn(u32) -> Option<usize>,
    /// How much of the capacity is in use.
    live: &'a dyn Fn(&Store) -> u64,
}

impl Subject<'_> {
    fn replay(&self, limit: u64, config: &StoreConfig, held: f64) -> Result<Outcome> {
        let pool = Pool::create(&PoolConfig::new(limit))?;
        let store = pool.open_store(config)?;
        let lens: Vec<Option<usize>> =
            self.trace.sizes.iter().map(|&size| (self.value_len)(size)).collect();
        let longest = lens.iter().flatten().copied().max().unwrap_or(0);
        let value = vec![0; longest];
        let mut buf = vec![MaybeUninit::uninit(); longest];
        let (mut missed, mut live, mut failures) = (Missed::default(), Live::default(), 0);
        for requests in exact::pieces(self.trace) {
            for &object in requests {
                let key = u64::from(object).to_le_bytes();
                let hit = matches!(store.copy(&key, &mut buf)?, Copied::Hit { .. });
                missed.count((self.weigh)(self.trace.sizes[object as usize]), hit);
                if !hit && let Some(len) = lens[object as usize] {
                    failures += u64::from(store.set(&key, &value[..len]).is_err());
                }
            }
            live.sample((self.live)(&store), store.stats().evicted > 0);
        }
        Ok(Outcome { missed, full: live.mean() / held, evicted: live.evicted(), failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Rng;
    use hypercache_core::PolicyKind;

    /// Zipf-like requests for objects of 100 to 1,900 bytes.
    fn trace(requests: usize, objects: u32) -> Loaded {
        let mut rng = Rng::new(7);
        let mut draw = || {
            let most = rng.below(u64::from(objects)) + 1;
            rng.below(most) as u32
        };
        let requests: Vec<u32> = (0..requests).map(|_| draw()).collect();
        let sizes: Vec<u32> = (0..objects).map(|object| 100 + object % 19 * 100).collect();
        let unique_bytes = sizes.iter().map(|&size| u64::from(size)).sum();
        Loaded { name: "drawn".into(), requests, sizes, unique_bytes, has_sizes: true }
    }

    #[test]
    fn fifo_of_the_store_is_fifo_at_the_same_capacity() {
        let trace = trace(100_000, 4_000);
        let policy = Policy { kind: PolicyKind::Fifo, options: None, shards: Shards::AtMost(1) };
        for (unit, fraction, tolerance) in [
            (Unit::Objects, 0.1, 0.0),
            (Unit::Objects, 0.3, 0.0),
            // Scaled to 2 MiB, and at its own size.
            (Unit::Bytes, 0.1, 0.01),
            (Unit::Bytes, 0.6, 0.01),
        ] {
            let capacity = (trace.whole(unit) as f64 * fraction) as u64;
            let objects = (trace.uniques() as f64 * fraction) as u64;
            let outcome = replay(&trace, &Size { unit, fraction, capacity, objects }, &policy);
            let outcome = outcome.unwrap();
            let exact = match unit {
                Unit::Objects => exact::fifo(&trace, capacity, |_| 1),
                Unit::Bytes => exact::fifo(&trace, capacity, u64::from),
            };
            let (ours, exact) = (outcome.missed, exact.0);
            assert_eq!((ours.requests, ours.bytes), (exact.requests, exact.bytes));
            assert!(outcome.is_fair() && outcome.failures == 0, "{outcome:?}");
            let off = (ours.ratio() - exact.ratio()).abs();
            assert!(off <= tolerance, "{unit} {fraction}: {} {}", ours.ratio(), exact.ratio());
            let off = (ours.byte_ratio() - exact.byte_ratio()).abs();
            assert!(off <= tolerance, "{unit} {fraction}: {}", exact.byte_ratio());
        }
    }
}
