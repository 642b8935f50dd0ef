//! moka. Reads clone the value, so it is an `Arc`: one increment instead of an allocation.
//!
//! Times to live cost it a timer wheel and a place in every value, so it has them only where some
//! are going to come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::moka::Expiry;
use ::moka::sync::Cache as MokaCache;
use ahash::RandomState;

use super::{Boxed, copy_out};
use crate::cache::{Cache, Peek, Spec};

pub(in crate::cache) struct Moka<V = Arc<[u8]>>(MokaCache<Boxed, V, RandomState>);

/// A value and how long it lives.
#[derive(Clone)]
pub(in crate::cache) struct Aged(Arc<[u8]>, Option<Duration>);

/// What moka keeps for a value.
pub(in crate::cache) trait Kept: Clone + Send + Sync + 'static {
    const EXPIRES: bool;
    fn keep(value: &[u8], ttl: Option<Duration>) -> Self;
    fn bytes(&self) -> &[u8];
}

impl Kept for Arc<[u8]> {
    const EXPIRES: bool = false;

    fn keep(value: &[u8], _ttl: Option<Duration>) -> Self {
        value.into()
    }

    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Kept for Aged {
    const EXPIRES: bool = true;

    fn keep(value: &[u8], ttl: Option<Duration>) -> Self {
        Self(value.into(), ttl)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

struct ByEntry;

impl Expiry<Boxed, Aged> for ByEntry {
    fn expire_after_create(&self, _: &Boxed, new: &Aged, _: Instant) -> Option<Duration> {
        new.1
    }

    fn expire_after_update(
        &self,
        _: &Boxed,
        new: &Aged,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        new.1
    }
}

type Builder<V> = ::moka::sync::CacheBuilder<Boxed, V, MokaCache<Boxed, V>>;

fn builder<V: Kept>(spec: &Spec) -> Builder<V> {
    MokaCache::builder()
        .max_capacity(spec.budget)
        .initial_capacity(spec.entries as usize)
        .weigher(|key: &Boxed, value: &V| (key.len() + value.bytes().len()) as u32)
}

impl Moka {
    pub(in crate::cache) fn new(spec: &Spec) -> Self {
        Self(builder(spec).build_with_hasher(RandomState::new()))
    }
}

impl Moka<Aged> {
    /// One whose entries can have a time to live.
    pub(in crate::cache) fn expiring(spec: &Spec) -> Self {
        Self(builder(spec).expire_after(ByEntry).build_with_hasher(RandomState::new()))
    }
}

impl<V: Kept> Cache for Moka<V> {
    fn name(&self) -> &'static str {
        "moka"
    }

    #[inline]
    fn get(&self, key: &[u8], buf: &mut [u8]) -> Option<usize> {
        copy_out(self.0.get(key)?.bytes(), buf)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), V::keep(value, None));
    }

    fn set_for(&self, key: &[u8], value: &[u8], ttl: Duration) -> bool {
        self.0.insert(key.into(), V::keep(value, Some(ttl)));
        V::EXPIRES
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
