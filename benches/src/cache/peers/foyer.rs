//! foyer-memory. Reads hand out a counted record, which is copied from, so the value is a box.
//! S3-FIFO is the policy whose hits take the shared lock only.

use ahash::RandomState;
use foyer_memory::{Cache as FoyerCache, CacheBuilder, CacheProperties, S3FifoConfig};

use super::{Boxed, copy_out, shards};
use crate::cache::{Cache, Peek, Spec};

pub(in crate::cache) struct Foyer(FoyerCache<Boxed, Boxed, RandomState, CacheProperties>);

impl Foyer {
    pub(in crate::cache) fn new(spec: &Spec) -> Self {
        Self(
            CacheBuilder::new(spec.budget as usize)
                .with_shards(shards(spec, 16))
                .with_eviction_config(S3FifoConfig::default())
                .with_hash_builder(RandomState::new())
                .with_weighter(|key: &Boxed, value: &Boxed| key.len() + value.len())
                .build(),
        )
    }
}

impl Cache for Foyer {
    fn name(&self) -> &'static str {
        "foyer"
    }

    #[inline]
    fn get(&self, key: &[u8], buf: &mut [u8]) -> Option<usize> {
        copy_out(self.0.get(key)?.value(), buf)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), value.into());
    }

    fn peek(&self, key: &[u8], _buf: &mut [u8]) -> Peek {
        if self.0.contains(key) { Peek::Present } else { Peek::Absent }
    }

    fn remove(&self, key: &[u8]) {
        self.0.remove(key);
    }

    fn resize(&self, budget: u64) -> bool {
        self.0.resize(budget as usize).is_ok()
    }
}
