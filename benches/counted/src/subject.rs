//! What is measured: a pool, a store in it, and its handle as C sees it.

use hypercache as hc;
use hypercache_core::{PolicyKind, Pool, PoolConfig, Result, Store, StoreConfig};

use crate::inputs::{Key, VALUE_LEN, key_of};

/// Every hash is seeded with this, so that every run does the same.
pub const SEED: u64 = 0x1234_5678_9ABC_DEF1;

/// A store that has its pool, which it keeps alive, to itself.
pub struct Subject {
    pub store: Store,
}

impl Subject {
    /// An empty one with this limit.
    pub fn new(limit: u64, policy: PolicyKind) -> Result<Self> {
        let pool = Pool::create(&PoolConfig::new(limit))?;
        // As many shards on every machine; by default their number goes by the cores.
        let config = StoreConfig { policy, shards: 4, hash_seed: SEED, ..StoreConfig::default() };
        let store = pool.open_store(&config)?;
        Ok(Self { store })
    }

    /// Stores the ids of a range with values of one length.
    pub fn fill(&self, ids: std::ops::Range<u64>, len: usize) -> Result<()> {
        let value = vec![7; len];
        for id in ids {
            self.store.set(&key_of(id), &value)?;
        }
        Ok(())
    }

    /// One that holds the ids of `0..entries`, and could hold as many again.
    pub fn filled(entries: u64, policy: PolicyKind) -> Result<Self> {
        let room = entries * (size_of::<Key>() + VALUE_LEN) as u64;
        let subject = Self::new((4 * room).next_power_of_two(), policy)?;
        subject.fill(0..entries, VALUE_LEN)?;
        Ok(subject)
    }

    /// The handle of the C interface. The reference that it takes is never given back: a case
    /// lasts as long as the program.
    pub fn handle(&self) -> *mut hc::hc_store {
        self.store.clone().into_raw().cast_mut().cast()
    }
}
