//! A replay through another library: one thread, get, then insert on a miss.
//!
//! Unlike in [`crate::cache`], where bytes are what is measured, keys are numbers and the value is
//! the weight: only decisions count here.

use ahash::RandomState;
use anyhow::{Result, anyhow};
use foyer_memory::{CacheBuilder, CacheProperties, EvictionConfig, LfuConfig, S3FifoConfig};
use quick_cache::sync::DefaultLifecycle;
use quick_cache::{OptionsBuilder, Weighter};

use super::contender::Peer;
use super::grid::Size;
use super::loaded::{Loaded, Missed};
use crate::trace::Unit;

/// Drives a cache whose `get` and `insert` are called as all of theirs are.
macro_rules! drive {
    ($trace:expr, $size:expr, $cache:expr) => {{
        let cache = $cache;
        let insert = |object, weight| {
            cache.insert(object, weight);
        };
        drive($trace, $size.unit, |object| cache.get(&object).is_some(), insert)
    }};
}

/// Replays a trace at a capacity.
pub fn replay(trace: &Loaded, size: &Size, peer: Peer) -> Result<Missed> {
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    Ok(match peer {
        Peer::Moka => {
            let cache = moka::sync::Cache::builder()
                .max_capacity(size.capacity)
                .weigher(|_: &u32, &weight: &u32| weight)
                .build_with_hasher(hasher);
            drive!(trace, size, cache)
        }
        Peer::Quick => {
            let options = OptionsBuilder::new()
                .weight_capacity(size.capacity)
                .estimated_items_capacity(size.objects as usize)
                .build()
                .map_err(|error| anyhow!("{error}"))?;
            let lifecycle = DefaultLifecycle::default();
            let cache = quick_cache::sync::Cache::with_options(options, Weight, hasher, lifecycle);
            drive!(trace, size, cache)
        }
        Peer::FoyerS3Fifo => drive!(trace, size, foyer(size, S3FifoConfig::default(), hasher)),
        Peer::FoyerLfu => drive!(trace, size, foyer(size, LfuConfig::default(), hasher)),
    })
}

/// In one shard, as the reference has it.
fn foyer(
    size: &Size,
    eviction: impl Into<EvictionConfig>,
    hasher: RandomState,
) -> foyer_memory::Cache<u32, u32, RandomState, CacheProperties> {
    CacheBuilder::new(size.capacity as usize)
        .with_shards(1)
        .with_eviction_config(eviction)
        .with_hash_builder(hasher)
        .with_weighter(|_: &u32, &weight: &u32| weight as usize)
        .build()
}

#[derive(Clone)]
struct Weight;

impl Weighter<u32, u32> for Weight {
    fn weight(&self, _: &u32, &weight: &u32) -> u64 {
        u64::from(weight)
    }
}

fn drive(
    trace: &Loaded,
    unit: Unit,
    get: impl Fn(u32) -> bool,
    insert: impl Fn(u32, u32),
) -> Missed {
    let mut missed = Missed::default();
    for &object in &trace.requests {
        let weight = match unit {
            Unit::Objects => 1,
            Unit::Bytes => trace.sizes[object as usize],
        };
        let hit = get(object);
        missed.count(u64::from(weight), hit);
        if !hit {
            insert(object, weight);
        }
    }
    missed
}
