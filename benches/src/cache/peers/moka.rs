//! moka. Reads clone the value, so it is an `Arc`: one increment instead of an allocation.

use std::sync::Arc;

use ahash::RandomState;

use super::{Boxed, copy_out};
use crate::cache::{Cache, Peek, Spec};

pub(in crate::cache) struct Moka(::moka::sync::Cache<Boxed, Arc<[u8]>, RandomState>);

impl Moka {
    pub(in crate::cache) fn new(spec: &Spec) -> Self {
        Self(
            ::moka::sync::Cache::builder()
                .max_capacity(spec.budget)
                .initial_capacity(spec.entries as usize)
                .weigher(|key: &Boxed, value: &Arc<[u8]>| (key.len() + value.len()) as u32)
                .build_with_hasher(RandomState::new()),
        )
    }
}

impl Cache for Moka {
    fn name(&self) -> &'static str {
        "moka"
    }

    #[inline]
    fn get(&self, key: &[u8], buf: &mut [u8]) -> Option<usize> {
        copy_out(&self.0.get(key)?, buf)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), value.into());
    }

    fn peek(&self, key: &[u8], _buf: &mut [u8]) -> Peek {
        if self.0.contains_key(key) { Peek::Present } else { Peek::Absent }
    }

    fn remove(&self, key: &[u8]) {
        self.0.invalidate(key);
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}
