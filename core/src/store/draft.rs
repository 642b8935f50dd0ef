//! Drafts: room first, bytes by the caller, then publish.
//!
//! A draft's memory is the caller's alone until it is committed. A large one is a run, which the
//! entry takes over as it is; a small one is a block that is copied into the log. Drafts count
//! against the pool's pin limit.

use super::{Fill, Store, check_key};
use crate::error::{Error, ErrorKind, Result};
use crate::pool::{Owner, Pool};
use crate::types::{PutOptions, PutOutcome};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// A value that is being written; dropping it abandons it.
pub struct Draft {
    /// Allocated in the pool; holds what commit needs.
    head: NonNull<Head>,
    len: usize,
}

/// The fixed part of a draft, followed in its block by the key and, for a small one, the value.
struct Head {
    store: Store,
    hash: u64,
    key_len: usize,
    options: PutOptions,
    run: Option<u32>,
    charged: u64,
}

// SAFETY: a draft owns its memory and a reference to its store; both may move between threads.
unsafe impl Send for Draft {}
// SAFETY: shared access to a draft reads its length only.
unsafe impl Sync for Draft {}

/// A [`Draft`] in plain words, for callers in other languages.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RawDraft {
    /// First byte to be written; never null.
    pub data: *mut u8,
    /// Bytes to be written.
    pub len: usize,
    /// The library's.
    pub slot: [u64; 2],
}

const DRAFT_LIMIT: Error = Error::fixed(
    ErrorKind::NoSpace,
    "views, drafts and waits hold as much memory back as the pool's pin_limit_bytes allows; commit or \
     abandon some",
);

impl Head {
    fn key_at(head: NonNull<Self>) -> *mut u8 {
        // SAFETY: the block was allocated with room for the key behind the head.
        unsafe { head.as_ptr().add(1).cast::<u8>() }
    }

    fn data(head: NonNull<Self>) -> *mut u8 {
        // SAFETY: the head is initialised while its draft lives.
        let this = unsafe { head.as_ref() };
        match this.run {
            Some(run) => this.store.0.space().run_addr(run),
            // SAFETY: as in `key_at`; a small draft's block has room for the value as well.
            None => unsafe { Self::key_at(head).add(this.key_len) },
        }
    }
}

impl Draft {
    /// The bytes to be written.
    pub fn data_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the draft owns `len` bytes there, and this borrows the draft exclusively.
        unsafe { std::slice::from_raw_parts_mut(Head::data(self.head).cast(), self.len) }
    }

    /// Bytes of the value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Publishes the entry. Mode and expected version are judged now; the draft is consumed
    /// whatever comes of it.
    ///
    /// # Errors
    /// As [`Store::put`].
    ///
    /// # Safety
    /// Every byte of [`Draft::data_mut`] was written.
    pub unsafe fn commit(self) -> Result<PutOutcome> {
        // SAFETY: the head is initialised while its draft lives.
        let head = unsafe { self.head.as_ref() };
        let store = head.store.clone();
        // SAFETY: the key was written when the draft was made.
        let key = unsafe { std::slice::from_raw_parts(Head::key_at(self.head), head.key_len) };
        let (hash, options) = (head.hash, head.options);
        let result = match head.run {
            None => {
                // SAFETY: the caller promises that all bytes were written.
                let value = unsafe { std::slice::from_raw_parts(Head::data(self.head), self.len) };
                store.0.put(hash, key, value, &options)
            }
            Some(run) => {
                // SAFETY: `self` owns the head exclusively; the run moves to the entry.
                unsafe { (*self.head.as_ptr()).run = None };
                let result = store.0.put_run(hash, key, run, self.len as u32, &options);
                match &result {
                    Err(error) => store.0.after_failed_write(error, hash, key, options.mode),
                    Ok(PutOutcome::NotAdmitted) => {
                        store.0.drop_outdated(hash, key, options.mode);
                    }
                    Ok(_) => {}
                }
                result
            }
        };
        drop(self);
        result
    }

    /// Gives the draft away in plain words.
    #[must_use]
    pub fn into_raw(self) -> RawDraft {
        let raw = RawDraft {
            data: Head::data(self.head),
            len: self.len,
            slot: [self.head.as_ptr() as u64, self.len as u64],
        };
        std::mem::forget(self);
        raw
    }

    /// Takes a draft back; `None` if it was given back before and cleared.
    ///
    /// # Safety
    /// The slots came from [`Draft::into_raw`] and are taken back once, or are 0.
    #[must_use]
    pub unsafe fn from_raw(slot: [u64; 2]) -> Option<Self> {
        let head = NonNull::new(slot[0] as *mut Head)?;
        Some(Self { head, len: slot[1] as usize })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // SAFETY: the head is initialised while its draft lives, and is read out once, here.
        let head = unsafe { self.head.as_ptr().read() };
        let pool = head.store.0.pool.clone();
        if pool.check().is_err() {
            std::mem::forget(head);
            return;
        }
        if let Some(run) = head.run {
            head.store.0.give_run(run);
        }
        // SAFETY: the block belongs to this draft alone, which nobody uses any more.
        let freed = unsafe { pool.raw().free(pool.space(), self.head.cast(), Owner::Pin) };
        debug_assert!(freed.is_ok());
        // SAFETY: as many bytes were charged when the draft was made.
        unsafe { Pool::pin_discharge(pool.as_inner(), head.charged) };
    }
}

impl Store {
    pub(super) fn reserve_draft(
        &self,
        key: &[u8],
        len: usize,
        options: &PutOptions,
    ) -> Result<Draft> {
        check_key(key)?;
        let inner = &self.0;
        let hash = inner.hash.of(key);
        let result = self.make_draft(hash, key, len, options);
        if let Err(error) = &result {
            inner.after_failed_write(error, hash, key, options.mode);
        }
        result
    }

    fn make_draft(&self, hash: u64, key: &[u8], len: usize, options: &PutOptions) -> Result<Draft> {
        let inner = &self.0;
        crate::memory::fork::check(inner.generation)?;
        if inner.closed.load(Ordering::Relaxed) {
            return Err(super::shard::CLOSED);
        }
        let large = !inner.is_inline(key.len(), len)?;
        let block_bytes = size_of::<Head>() + key.len() + if large { 0 } else { len };
        let charged = block_bytes as u64 + if large { len as u64 } else { 0 };
        if !inner.pool.pin_charge(charged) {
            return Err(DRAFT_LIMIT);
        }
        let made = (|| {
            let block = inner.obtain_block(block_bytes)?;
            let run = if large {
                match inner.obtain_run(len as u64, Fill::Any) {
                    Ok(run) => Some(run),
                    Err(error) => {
                        // SAFETY: allocated just above and used by nobody.
                        let _ = unsafe { inner.pool.raw().free(inner.space(), block, Owner::Pin) };
                        return Err(error);
                    }
                }
            } else {
                None
            };
            Ok((block.cast::<Head>(), run))
        })();
        let (head, run) = made.inspect_err(|_| {
            // SAFETY: charged just above, taken back once.
            unsafe { Pool::pin_discharge(inner.pool.as_inner(), charged) };
        })?;
        // SAFETY: the block is new, 16-aligned, and has room for head, key and a small value.
        unsafe {
            head.as_ptr().write(Head {
                store: self.clone(),
                hash,
                key_len: key.len(),
                options: *options,
                run,
                charged,
            });
            std::ptr::copy_nonoverlapping(key.as_ptr(), Head::key_at(head), key.len());
        }
        Ok(Draft { head, len })
    }
}
