//! quick_cache. Reads clone the value under the shard's lock, so it is an `Arc`.

use std::sync::Arc;

use ahash::RandomState;
use anyhow::{Result, anyhow};
use quick_cache::sync::{Cache as QuickCache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use super::{Boxed, copy_out};
use crate::cache::{Cache, Peek, Spec};

#[derive(Clone)]
struct Bytes;

impl Weighter<Boxed, Arc<[u8]>> for Bytes {
    fn weight(&self, key: &Boxed, value: &Arc<[u8]>) -> u64 {
        (key.len() + value.len()) as u64
    }
}

pub(in crate::cache) struct Quick(QuickCache<Boxed, Arc<[u8]>, Bytes, RandomState>);

impl Quick {
    pub(in crate::cache) fn new(spec: &Spec) -> Result<Self> {
        let options = OptionsBuilder::new()
            .weight_capacity(spec.budget)
            .estimated_items_capacity(spec.entries as usize)
            .build()
            .map_err(|error| anyhow!("{error}"))?;
        let lifecycle = DefaultLifecycle::default();
        Ok(Self(QuickCache::with_options(options, Bytes, RandomState::new(), lifecycle)))
    }
}

impl Cache for Quick {
    fn name(&self) -> &'static str {
        "quick_cache"
    }

    #[inline]
    fn get(&self, key: &[u8], buf: &mut [u8]) -> Option<usize> {
        copy_out(&self.0.get(key)?, buf)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), value.into());
    }

    fn remove(&self, key: &[u8]) {
        self.0.remove(key);
    }

    fn peek(&self, key: &[u8], buf: &mut [u8]) -> Peek {
        self.0.peek(key).and_then(|value| copy_out(&value, buf)).into()
    }

    fn resize(&self, budget: u64) -> bool {
        self.0.set_capacity(budget);
        true
    }
}
