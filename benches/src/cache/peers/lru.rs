//! The cache that people write themselves: `lru` in shards, each under parking_lot's mutex, with
//! a byte count. Values are boxes and copied out under the lock.

use ahash::RandomState;
use lru::LruCache;
use parking_lot::Mutex;

use super::{Boxed, copy_out, shards};
use crate::cache::{Cache, Peek, Spec};

struct Shard {
    entries: LruCache<Boxed, Boxed, RandomState>,
    bytes: u64,
    budget: u64,
}

impl Shard {
    fn trim(&mut self) {
        while self.bytes > self.budget
            && let Some((key, value)) = self.entries.pop_lru()
        {
            self.bytes -= (key.len() + value.len()) as u64;
        }
    }
}

/// On lines of its own, so that shards do not disturb each other.
#[repr(align(64))]
struct Line(Mutex<Shard>);

pub(in crate::cache) struct Lru {
    shards: Box<[Line]>,
    hasher: RandomState,
}

impl Lru {
    pub(in crate::cache) fn new(spec: &Spec) -> Self {
        let count = shards(spec, 64);
        let hasher = RandomState::new();
        let shard = |_| {
            let entries = LruCache::unbounded_with_hasher(hasher.clone());
            let budget = spec.budget / count as u64;
            Line(Mutex::new(Shard { entries, bytes: 0, budget }))
        };
        Self { shards: (0..count).map(shard).collect(), hasher: RandomState::new() }
    }

    #[inline]
    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key) as usize;
        &self.shards[hash & (self.shards.len() - 1)].0
    }
}

impl Cache for Lru {
    fn name(&self) -> &'static str {
        "lru-mtx"
    }

    #[inline]
    fn get(&self, key: &[u8], buf: &mut [u8]) -> Option<usize> {
        copy_out(self.shard(key).lock().entries.get(key)?, buf)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        let (new_key, new_value): (Boxed, Boxed) = (key.into(), value.into());
        let mut shard = self.shard(key).lock();
        shard.bytes += (key.len() + value.len()) as u64;
        let old = shard.entries.put(new_key, new_value);
        if let Some(old) = &old {
            shard.bytes -= (key.len() + old.len()) as u64;
        }
        shard.trim();
        drop(shard);
        drop(old);
    }

    fn remove(&self, key: &[u8]) {
        let mut shard = self.shard(key).lock();
        if let Some(old) = shard.entries.pop(key) {
            shard.bytes -= (key.len() + old.len()) as u64;
        }
    }

    fn peek(&self, key: &[u8], buf: &mut [u8]) -> Peek {
        let shard = self.shard(key).lock();
        shard.entries.peek(key).and_then(|value| copy_out(value, buf)).into()
    }

    fn resize(&self, budget: u64) -> bool {
        for Line(shard) in &self.shards {
            let mut shard = shard.lock();
            shard.budget = budget / self.shards.len() as u64;
            shard.trim();
        }
        true
    }
}
