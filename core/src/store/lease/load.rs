//! Reading through: the claim, the load and the put in one call.

use super::{Claim, ClaimOptions, DropReason, Lease};
use crate::error::Error;
use crate::store::{Store, View};
use crate::types::{PutMode, PutOptions};
use std::fmt;
use std::ops::Deref;

/// How [`Store::get_or_load`] reads through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// How the key is claimed. By default it waits for another's load for as long as it takes.
    pub claim: ClaimOptions,
    /// How the loaded value is stored; the mode is always [`PutMode::Set`].
    pub put: PutOptions,
    /// Milliseconds for which others are told of a load that failed, instead of trying again.
    pub retry_ms: u64,
    /// Milliseconds for which it is remembered that the source has no such key; 0: the store's
    /// `negative_ttl_ms`.
    pub absent_ms: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            claim: ClaimOptions { timeout_ms: u64::MAX, stale: false },
            put: PutOptions::default(),
            retry_ms: 0,
            absent_ms: 0,
        }
    }
}

/// A value that was read through.
#[derive(Debug)]
pub enum Loaded<V> {
    /// From the cache, or from another's load.
    Cached(View),
    /// From this caller's own load.
    Own(V),
}

impl<V: AsRef<[u8]>> Deref for Loaded<V> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Cached(view) => view,
            Self::Own(value) => value.as_ref(),
        }
    }
}

/// Why nothing was read through.
#[derive(Debug, PartialEq, Eq)]
pub enum LoadError<E> {
    /// This caller's load failed.
    Load(E),
    /// Another's load failed, just now or less than its `retry_ms` ago.
    Failed,
    /// The cache failed; nothing was loaded.
    Cache(Error),
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::Failed => f.write_str("another caller's load of this key failed"),
            Self::Cache(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for LoadError<E> {}

/// A lease that is given up when it is not ended otherwise: the load unwound.
pub struct Held<'a> {
    pub store: &'a Store,
    pub lease: Lease,
}

impl Held<'_> {
    /// Ends the lease. Where that fails nothing can be read, and nobody waits.
    fn drop_as(self, reason: DropReason) {
        let _ = self.store.lease_drop(self.lease, reason);
        std::mem::forget(self);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = self.store.lease_drop(self.lease, DropReason::Cancelled);
    }
}

impl Store {
    /// The value of a key; where there is none, of all who ask for it one calls `load`, and the
    /// others wait for that. `Ok(None)`: the source has no such key, as `load` says now or said not
    /// long ago.
    ///
    /// `load` runs without any lock. If it unwinds, one of those who wait loads instead. Who has
    /// waited for as long as the options allow calls `load` for itself and stores nothing. A value
    /// that is stored too late, because the key was written meanwhile, is returned all the same: it
    /// was right at some moment during the call.
    ///
    /// # Errors
    /// [`LoadError::Load`] is what `load` returned; [`LoadError::Failed`]: another's load failed;
    /// [`LoadError::Cache`] as [`Store::claim`], above all `Deadlock` where `load` asks for the key
    /// that it loads.
    pub fn get_or_load<V: AsRef<[u8]>, E>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce() -> Result<Option<V>, E>,
    ) -> Result<Option<Loaded<V>>, LoadError<E>> {
        let lease = match self.claim(key, options.claim).map_err(LoadError::Cache)? {
            Claim::Value(view) => return Ok(Some(Loaded::Cached(view))),
            Claim::Absent => return Ok(None),
            Claim::LoadFailed => return Err(LoadError::Failed),
            Claim::TimedOut | Claim::Declined => {
                return load().map(|value| value.map(Loaded::Own)).map_err(LoadError::Load);
            }
            Claim::Claimed(lease) => lease,
        };
        finish(Held { store: self, lease }, options, load())
    }
}

/// Ends the lease of a load with what came of it.
pub fn finish<V: AsRef<[u8]>, E>(
    held: Held<'_>,
    options: &LoadOptions,
    loaded: Result<Option<V>, E>,
) -> Result<Option<Loaded<V>>, LoadError<E>> {
    match loaded {
        Ok(Some(value)) => {
            let put = PutOptions { mode: PutMode::Set, ..options.put };
            let (store, lease) = (held.store, held.lease);
            std::mem::forget(held);
            // Whatever the store makes of it, the value is there.
            let _ = store.lease_put(lease, value.as_ref(), &put);
            Ok(Some(Loaded::Own(value)))
        }
        Ok(None) => {
            held.drop_as(DropReason::Absent { ttl_ms: options.absent_ms });
            Ok(None)
        }
        Err(error) => {
            held.drop_as(DropReason::Failed { retry_ms: options.retry_ms });
            Err(LoadError::Load(error))
        }
    }
}
