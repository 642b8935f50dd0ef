//! A record of a lease: two cache lines, and the key.
//!
//! Threads look at its [`Words`] and at what those announce without the lock; all else is under the
//! shard's lock. A short key lies in the record, a longer one in a block of the pool, which the
//! record's bytes count.

use super::handed::Handed;
use super::waits::Wait;
use super::word::Words;
use crate::error::Result;
use crate::pool::Owner;
use crate::store::writer::Writer;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// Bytes of a key that lie in its record; a longer key has a block of its own.
const KEY_INLINE: usize = 56;

/// Number of a record, from 1; 0: none.
pub type Number = u16;

/// A lease, or what is left of one.
#[repr(C, align(64))]
pub struct Record {
    /// What threads look at without the lock.
    pub words: Words,
    /// Of the lease; 0: none.
    pub generation: AtomicU64,
    /// Of the key.
    pub hash: AtomicU64,
    /// When the lease, or what is remembered, is over, on the store's clock.
    pub until_ms: AtomicU64,
    /// When the lease was granted.
    pub granted_ns: AtomicU64,
    /// The value that waiters take, in [`super::word::State::Handed`].
    pub handed: AtomicPtr<Handed>,
    /// Waits without a thread.
    pub waits: AtomicPtr<Wait>,
    /// The thread that the lease was granted to.
    pub thread: AtomicU32,
    key_len: AtomicU16,
    pub list: AtomicU8,
    /// First of the chain of the bucket that has this record's number.
    pub head: AtomicU16,
    /// Next of the chain, or of the free list.
    pub next: AtomicU16,
    pub newer: AtomicU16,
    pub older: AtomicU16,
    key: UnsafeCell<[MaybeUninit<u8>; KEY_INLINE]>,
}

const _: () = assert!(size_of::<Record>() == 128);

// SAFETY: the key's cell is accessed under the shard's lock only; all else is atomic.
unsafe impl Sync for Record {}

impl Record {
    /// One that was never used, in the list of this number.
    pub fn new(list: u8) -> Self {
        Self {
            words: Words::new(),
            generation: AtomicU64::new(0),
            hash: AtomicU64::new(0),
            until_ms: AtomicU64::new(0),
            granted_ns: AtomicU64::new(0),
            handed: AtomicPtr::default(),
            waits: AtomicPtr::default(),
            thread: AtomicU32::new(0),
            key_len: AtomicU16::new(0),
            list: AtomicU8::new(list),
            head: AtomicU16::new(0),
            next: AtomicU16::new(0),
            newer: AtomicU16::new(0),
            older: AtomicU16::new(0),
            key: UnsafeCell::new([MaybeUninit::uninit(); KEY_INLINE]),
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        bytes_of(usize::from(self.key_len.load(Relaxed)))
    }
}

impl<'a> Writer<'a> {
    /// The key of a record.
    pub fn key_of(&self, record: &'a Record) -> &'a [u8] {
        let len = usize::from(record.key_len.load(Relaxed));
        // SAFETY: `write_key` filled as many bytes in, which stay as they are until the record
        // leaves its list, under the lock; callers keep the key no longer than that.
        unsafe { std::slice::from_raw_parts(Self::key_at(record, len), len) }
    }

    fn key_at(record: &Record, len: usize) -> *const u8 {
        let inline = record.key.get();
        if len <= KEY_INLINE {
            return inline.cast::<u8>();
        }
        // SAFETY: of a long key the cell holds the address of its block, written by `write_key`.
        unsafe { inline.cast::<*const u8>().read() }
    }

    /// Notes a key; false if a long one finds no room.
    pub fn write_key(&self, record: &Record, key: &[u8]) -> Result<bool> {
        let inline = record.key.get();
        let at = if key.len() <= KEY_INLINE {
            inline.cast::<u8>()
        } else {
            let pool = &self.store.pool;
            let block = pool.raw().alloc(self.store.space(), key.len(), 0, Owner::Pin, false)?;
            let Some(block) = block else { return Ok(false) };
            // SAFETY: the cell is 8-aligned and longer than an address; the lock makes it ours.
            unsafe { inline.cast::<*mut u8>().write(block.as_ptr()) };
            block.as_ptr()
        };
        // SAFETY: room for the whole key, in the record or its new block, which nobody else uses.
        unsafe { std::ptr::copy_nonoverlapping(key.as_ptr(), at, key.len()) };
        record.key_len.store(key.len() as u16, Relaxed);
        Ok(true)
    }

    /// Gives the block of a long key back.
    pub fn drop_key(&self, record: &Record) {
        let len = usize::from(record.key_len.load(Relaxed));
        // No exchange: the lock is held, and those are dear.
        record.key_len.store(0, Relaxed);
        if len > KEY_INLINE
            && let Some(block) = NonNull::new(Self::key_at(record, len).cast_mut())
        {
            let pool = &self.store.pool;
            // SAFETY: the block was made for this key, and the record forgot it just now.
            let freed = unsafe { pool.raw().free(self.store.space(), block, Owner::Pin) };
            debug_assert!(freed.is_ok());
        }
    }
}

/// Bytes that the record of a key of this length takes, with the key's own block if it has one.
pub const fn bytes_of(key_len: usize) -> u64 {
    size_of::<Record>() as u64 + if key_len > KEY_INLINE { key_len as u64 } else { 0 }
}
