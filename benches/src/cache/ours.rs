//! HyperCache, through the Rust interface of its core.

use std::mem::MaybeUninit;
use std::slice;
use std::time::Duration;

use anyhow::Result;
use hypercache_core::store::{BatchRead, Copied};
use hypercache_core::{Pool, PoolConfig, PutOptions, Read, Store, StoreConfig, Ttl};

use super::{Cache, Peek, Spec, Written};

/// A pool with one store in it.
pub struct Ours {
    pool: Pool,
    store: Store,
}

impl Ours {
    /// A store that may use the whole pool.
    pub fn new(spec: &Spec) -> Result<Self> {
        Self::with(spec, &StoreConfig::default())
    }

    /// The same with a store of this configuration.
    pub fn with(spec: &Spec, store: &StoreConfig) -> Result<Self> {
        let config = PoolConfig { prefault: spec.prefault, ..PoolConfig::new(spec.budget) };
        let pool = Pool::create(&config)?;
        let store = pool.open_store(store)?;
        Ok(Self { pool, store })
    }

    /// Its pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// The same bytes as memory to be written, which is what copying reads take.
#[inline]
fn writable(buf: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: the same memory under a type of the same layout, borrowed for as long. The store
    // only ever writes initialised bytes into it, so that `buf` stays initialised.
    unsafe { slice::from_raw_parts_mut(buf.as_mut_ptr().cast(), buf.len()) }
}

#[inline]
fn length(read: Read) -> Option<usize> {
    match read {
        Read::Hit(info) => Some(info.len),
        Read::SmallBuffer(_) | Read::Miss => None,
    }
}

impl Cache for Ours {
    fn name(&self) -> &'static str {
        "hypercache"
    }

    #[inline]
    fn get(&self, key: &[u8], buf: &mut [u8]) -> Option<usize> {
        match self.store.copy(key, writable(buf)).ok()? {
            Copied::Hit { len, .. } => Some(len),
            Copied::SmallBuffer { .. } | Copied::Miss => None,
        }
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        // A refusal leaves a miss behind, which the hit counts of the tables show.
        let _ = self.store.set(key, value);
    }

    #[inline]
    fn set_for(&self, key: &[u8], value: &[u8], ttl: Duration) -> bool {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let options = PutOptions { ttl: Ttl::Millis(millis), ..PutOptions::default() };
        let _ = self.store.put(key, value, &options);
        true
    }

    fn remove(&self, key: &[u8]) {
        let _ = self.store.delete(key);
    }

    fn peek(&self, key: &[u8], buf: &mut [u8]) -> Peek {
        self.store.get_with(key, writable(buf), true).ok().and_then(length).into()
    }

    #[inline]
    fn get_many(&self, keys: &[&[u8]], buf: &mut [u8]) -> usize {
        let mut out = [const { BatchRead::Miss }; crate::drive::BATCH];
        let mut hits = 0;
        let mut at = 0;
        for keys in keys.chunks(out.len()) {
            let out = &mut out[..keys.len()];
            if self.store.get_many(keys, false, writable(&mut buf[at..]), out).is_err() {
                continue;
            }
            for read in out {
                if let BatchRead::Hit { len, .. } = read {
                    at += *len;
                    hits += 1;
                }
            }
        }
        hits
    }

    fn resize(&self, budget: u64) -> bool {
        self.pool.set_limit(budget).is_ok()
    }

    fn written(&self) -> Option<Written> {
        let stats = self.store.stats();
        Some(Written {
            by_writes: stats.written_bytes,
            by_moves: stats.moved_bytes,
            live_payload: stats.payload_bytes,
            used: self.pool.stats().used_bytes,
        })
    }
}
