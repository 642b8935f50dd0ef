//! segcache: the segment-structured cache of NSDI'21, without its metrics, with the paper's merge
//! eviction. Its hash table stands outside the budget and does not grow; it has 2.4 slots or more for
//! each entry that fits the budget, by the next power of two: with two, full buckets begin to cost
//! it hits, and more would only be memory.

use std::time::Duration;

use anyhow::{Result, anyhow};
use segcache::{Policy, Segcache, Value};

use super::copy_out;
use crate::cache::{Cache, Peek, Spec};

pub(in crate::cache) struct Seg(Segcache);

impl Seg {
    pub(in crate::cache) fn new(spec: &Spec) -> Result<Self> {
        let segment = (spec.budget / 64).next_power_of_two().clamp(16 << 10, 1 << 20);
        let entries = (spec.entries * 12 / 5).max(1 << 10);
        let cache = Segcache::builder()
            .hash_power(entries.next_power_of_two().ilog2() as u8)
            .heap_size((spec.budget / segment * segment).max(segment * 16) as usize)
            .segment_size(segment as i32)
            .eviction(Policy::Merge { max: 8, merge: 4, compact: 2 })
            .build()
            .map_err(|error| anyhow!("segcache: {error}"))?;
        Ok(Self(cache))
    }

    #[inline]
    fn copy(item: Option<segcache::Item>, buf: &mut [u8]) -> Option<usize> {
        match item?.value() {
            Value::Bytes(value) => copy_out(value, buf),
            Value::U64(value) => copy_out(&value.to_ne_bytes(), buf),
        }
    }
}

impl Cache for Seg {
    fn name(&self) -> &'static str {
        "segcache"
    }

    #[inline]
    fn get(&self, key: &[u8], buf: &mut [u8]) -> Option<usize> {
        Self::copy(self.0.get(key), buf)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        // A refusal leaves a miss behind, which the hit counts of the tables show.
        let _ = self.0.insert(key, value, None, Duration::ZERO);
    }

    fn set_for(&self, key: &[u8], value: &[u8], ttl: Duration) -> bool {
        // It counts in seconds, and 0 of them are for good.
        let whole = Duration::from_secs(ttl.as_secs().max(1));
        let _ = self.0.insert(key, value, None, whole);
        true
    }

    fn remove(&self, key: &[u8]) {
        self.0.delete(key);
    }

    fn peek(&self, key: &[u8], buf: &mut [u8]) -> Peek {
        Self::copy(self.0.get_no_freq_incr(key), buf).into()
    }
}
