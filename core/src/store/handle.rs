//! The public face of a store.

use super::copied::Copied;
use super::{Draft, Scan, Store, StoreInner, View, check_key};
use crate::error::Result;
use crate::stats::LatencyOp;
use crate::types::{
    DeleteOutcome, IncrOutcome, Match, PutOptions, PutOutcome, Read, Ttl, ValueType,
};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A borrowed handle; see [`Store::borrow_raw`].
pub struct StoreRef(ManuallyDrop<Store>);

impl Deref for StoreRef {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("id", &self.0.id).field("name", &self.name()).finish()
    }
}

impl Store {
    /// Copies the value of a key out, with the entry's metadata, and counts the hit or miss. Takes
    /// no lock. Time O(key + value).
    ///
    /// # Errors
    /// `Invalid`: the key is longer than [`crate::types::KEY_LEN_MAX`]; `Closed`, `Forked`,
    /// `Poisoned`.
    pub fn get(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Result<Read> {
        self.get_with(key, buf, false)
    }

    /// [`Store::get`]; with `peek` it counts nothing and leaves the policy untouched.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get_with(&self, key: &[u8], buf: &mut [MaybeUninit<u8>], peek: bool) -> Result<Read> {
        check_key(key)?;
        self.0.timed(LatencyOp::Get, || self.0.read(self.0.hash.of(key), key, buf, peek))
    }

    /// Copies only the value of a key out: the fastest read.
    ///
    /// # Errors
    /// As [`Store::get`].
    #[inline(always)]
    pub fn copy(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Result<Copied> {
        if self.0.latency.is_none()
            && let Some(outcome) = self.0.copy_straight(key, buf)
        {
            let copied = outcome.into();
            // Here, where it costs a hit nothing.
            if matches!(copied, Copied::Miss) && self.0.weighs.load(Ordering::Relaxed) {
                self.0.weigh_miss_of(key);
            }
            return Ok(copied);
        }
        self.copy_fully(key, buf)
    }

    #[cold]
    #[inline(never)]
    fn copy_fully(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Result<Copied> {
        check_key(key)?;
        let hash = self.0.hash.of(key);
        if self.0.latency.is_none() {
            return self.0.copy_otherwise(hash, key, buf);
        }
        self.0.timed(LatencyOp::Get, || self.0.copy_out(hash, key, buf, false))
    }

    /// The value of a key in a vector of its own.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get_vec(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut buf: Vec<u8> = Vec::with_capacity(256);
        loop {
            match self.copy(key, buf.spare_capacity_mut())? {
                Copied::Hit { len, .. } => {
                    // SAFETY: the read initialised the first `len` bytes.
                    unsafe { buf.set_len(len) };
                    return Ok(Some(buf));
                }
                Copied::SmallBuffer { len } => buf.reserve_exact(len),
                Copied::Miss => return Ok(None),
            }
        }
    }

    /// Pins the entry of a key: large values stay where they are, values up to 4 KiB are held as
    /// copies. Takes no lock.
    ///
    /// # Errors
    /// As [`Store::get`]; `NoSpace`: views, drafts and waits hold as much back as the pool's pin limit
    /// allows.
    pub fn pin(&self, key: &[u8], peek: bool) -> Result<Option<View>> {
        check_key(key)?;
        self.0.timed(LatencyOp::Get, || self.0.pin(self.0.hash.of(key), key, peek))
    }

    /// Whether the key has a live entry. Counts no hit.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        self.0.contains(key)
    }

    /// Copies a value out and removes its entry in one step: of several callers one gets it. The
    /// entry stays when the buffer is too small.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn take(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Result<Read> {
        self.0.take(key, buf)
    }

    /// Restarts an entry's time to live ([`Ttl::Keep`]: only counts an access); false if there is
    /// none. The version may change.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn touch(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        self.0.touch(key, ttl)
    }

    /// Stores a copy of a value under a key with every default.
    ///
    /// # Errors
    /// As [`Store::put`].
    #[inline]
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<PutOutcome> {
        check_key(key)?;
        let hash = self.0.hash.of(key);
        self.0.timed(LatencyOp::Set, || self.0.put_plainly(hash, key, value, ValueType::BYTES))
    }

    /// Stores a copy of a value under a key. When this returns, whatever it returns, the value
    /// that it meant to replace can no longer be read. Time O(key + value), amortised and at worst
    /// a few times that.
    ///
    /// # Errors
    /// `Invalid`: the key is too long; `TooLarge`: the value is longer than `value_len_max`, or
    /// key and value can never fit into the limit;
    /// `NoSpace`: the budget is held by views, drafts or raw memory; `NoMemory`: the system refuses
    /// memory; `Closed`, `Forked`, `Poisoned`.
    #[inline]
    pub fn put(&self, key: &[u8], value: &[u8], options: &PutOptions) -> Result<PutOutcome> {
        check_key(key)?;
        let hash = self.0.hash.of(key);
        self.0.timed(LatencyOp::Set, || self.0.put(hash, key, value, options))
    }

    /// Adds `delta` to an integer, atomically, and returns the sum. An absent key starts at
    /// `initial`, with `ttl`; a present one keeps its time to live.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn incr(&self, key: &[u8], delta: i64, initial: i64, ttl: Ttl) -> Result<IncrOutcome> {
        self.0.timed(LatencyOp::Set, || self.0.incr(key, delta, initial, ttl))
    }

    /// Removes a key's entry; false if there is none.
    ///
    /// # Errors
    /// `Invalid`: the key is too long; `Closed`, `Forked`, `Poisoned`.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        let outcome = self.0.timed(LatencyOp::Delete, || self.0.delete(key, None))?;
        Ok(outcome == DeleteOutcome::Deleted)
    }

    /// Removes a key's entry if its version is this one.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub fn delete_if(&self, key: &[u8], version: u64) -> Result<DeleteOutcome> {
        self.0.timed(LatencyOp::Delete, || self.0.delete(key, Some(version)))
    }

    /// Sets memory aside for a value that the caller writes in place, then commits. Until then
    /// nobody sees the entry and the key's present value stays; a failed reservation removes it
    /// where the mode is `Set` or `Replace`.
    ///
    /// # Errors
    /// As [`Store::put`]; drafts count against the pool's pin limit.
    pub fn reserve(&self, key: &[u8], len: usize, options: &PutOptions) -> Result<Draft> {
        self.reserve_draft(key, len, options)
    }

    /// Removes what matches; returns how many. Visits the whole store, bucket by bucket, in steps
    /// that do not block others for long. Entries written meanwhile may survive; entries that
    /// matched before the call do not. Time O(entries).
    ///
    /// # Errors
    /// `Closed`, `Forked`, `Poisoned`.
    pub fn invalidate(&self, wanted: Match<'_>) -> Result<u64> {
        crate::memory::fork::check(self.0.generation)?;
        self.0.invalidate(&wanted)
    }

    /// Removes everything and puts poisoned shards back in service. Stepwise; time O(entries).
    ///
    /// # Errors
    /// `Closed`, `Forked`; `NoSpace` where a poisoned shard finds no memory to begin anew.
    pub fn clear(&self) -> Result<()> {
        self.0.clear()
    }

    /// A walk over the entries that match.
    ///
    /// # Errors
    /// `Closed`, `Forked`; `NoMemory` for the scan's key buffer.
    pub fn scan(&self, wanted: Match<'_>) -> Result<Scan> {
        self.0.check_open()?;
        Scan::new(self.clone(), wanted)
    }

    /// Changes the store's own limit in bytes (0: only the pool's limit), evicting down to it,
    /// stepwise.
    ///
    /// # Errors
    /// `Invalid` names the range; `NoSpace`: an empty store of this shape takes more; `Closed`,
    /// `Forked`.
    pub fn set_limit(&self, bytes: u64) -> Result<()> {
        self.0.set_limit(bytes)
    }

    /// Drops all entries and refuses further use through every reference. Views stay readable.
    /// Idempotent; the last reference that goes does the same.
    pub fn destroy(&self) {
        self.0.destroy();
    }

    /// Gives the handle away as a pointer.
    #[must_use]
    pub fn into_raw(self) -> *const () {
        Arc::into_raw(self.0).cast()
    }

    /// Takes a handle back.
    ///
    /// # Safety
    /// `raw` came from [`Store::into_raw`] and is taken back once.
    #[must_use]
    pub unsafe fn from_raw(raw: *const ()) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { Arc::from_raw(raw.cast::<StoreInner>()) })
    }

    /// Uses a handle that was given away, without taking it back.
    ///
    /// # Safety
    /// `raw` came from [`Store::into_raw`] and is not taken back while the result lives.
    #[inline(always)]
    #[must_use]
    pub unsafe fn borrow_raw(raw: *const ()) -> StoreRef {
        // SAFETY: the caller's promise; the reference count is not touched.
        StoreRef(ManuallyDrop::new(unsafe { Self::from_raw(raw) }))
    }
}
