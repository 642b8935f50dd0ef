//! Raw memory under the pool's budget, as the application asks for it.

use super::Pool;
use super::layout::RUN_BASE;
use super::raw::{Owner, SegmentSource};
use super::space::{Space, Use};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::guard;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// How raw memory is allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocOptions {
    /// Evict entries for it; else only memory that nobody uses is given.
    pub evict: bool,
    /// The block is zeroed.
    pub zero: bool,
}

/// How often an allocation has room made for it.
const ATTEMPTS: u32 = 8;

/// The failure of an allocation that finds no room.
const NO_ROOM: Error = Error::fixed(
    ErrorKind::NoSpace,
    "the pool's limit holds no room for the allocation; allow it to evict, or give memory back",
);

impl Pool {
    /// A block of `len` bytes, aligned to `align` (a power of two up to 4,096; 0: 16), charged to
    /// the pool.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the alignment. [`ErrorKind::NoSpace`]: the limit holds no room.
    /// [`ErrorKind::NoMemory`]: the system refused memory.
    #[inline]
    pub fn alloc(&self, len: usize, align: usize, options: AllocOptions) -> Result<NonNull<u8>> {
        match self.alloc_quickly(len, align) {
            Some(block) if !options.zero => Ok(block),
            Some(block) => {
                // SAFETY: the block is the caller's alone, and of `len` bytes or more.
                unsafe { block.write_bytes(0, len) };
                Ok(block)
            }
            None => self.alloc_unusual(len, align, options),
        }
    }

    /// The usual case of [`Pool::alloc`], without options: a block that the calling thread has at
    /// hand. `None`: ask there.
    #[inline(always)]
    #[must_use]
    pub fn alloc_quickly(&self, len: usize, align: usize) -> Option<NonNull<u8>> {
        // A slot of the pool's generation proves that this is not a forked child.
        let slot = guard::own_slot(self.0.slot_tag);
        self.0.raw.take_quick(slot, self.space(), len, align, Owner::App)
    }

    #[cold]
    #[inline(never)]
    fn alloc_unusual(
        &self,
        len: usize,
        align: usize,
        options: AllocOptions,
    ) -> Result<NonNull<u8>> {
        self.check()?;
        match self.0.raw.alloc(self.space(), len, align, Owner::App, options.zero) {
            Ok(Some(block)) => Ok(block),
            Ok(None) => self.alloc_slowly(len, align, options),
            Err(error) => {
                self.0.alloc_failures.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    #[cold]
    fn alloc_slowly(&self, len: usize, align: usize, options: AllocOptions) -> Result<NonNull<u8>> {
        let space = self.space();
        // What is kept for later, and what waits for nobody, comes before what is in use.
        self.0.raw.flush(space);
        space.harvest(true);
        let needed = (len as u64).max(space.seg_bytes());
        let mut failure = NO_ROOM;
        for attempt in 0..ATTEMPTS {
            match self.0.raw.alloc(space, len, align, Owner::App, options.zero) {
                Ok(Some(block)) => return Ok(block),
                Ok(None) => {}
                Err(error) => {
                    failure = error;
                    break;
                }
            }
            if !options.evict || needed > space.limit_and_used().0 {
                break;
            }
            if self.reclaim_for(None, needed) == 0 && attempt != 0 {
                break;
            }
        }
        self.0.alloc_failures.fetch_add(1, Ordering::Relaxed);
        Err(failure)
    }

    /// Takes a block back. Null is taken for nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: not a live allocation of this pool; nothing was changed.
    ///
    /// # Safety
    /// Nobody uses the block afterwards.
    #[inline]
    pub unsafe fn free(&self, ptr: *mut u8) -> Result<()> {
        // SAFETY: the caller's promise.
        if unsafe { self.free_quickly(ptr) } {
            return Ok(());
        }
        self.free_unusual(ptr)
    }

    /// The usual case of [`Pool::free`]: a block that the calling thread got, with room to keep it
    /// at hand. False, and nothing done: ask there.
    ///
    /// # Safety
    /// Nobody uses the block afterwards.
    #[inline(always)]
    #[must_use]
    pub unsafe fn free_quickly(&self, ptr: *mut u8) -> bool {
        let slot = guard::own_slot(self.0.slot_tag);
        // SAFETY: the caller's promise.
        unsafe { self.0.raw.give_quick(slot, self.space(), ptr, Owner::App) }
    }

    #[cold]
    #[inline(never)]
    fn free_unusual(&self, ptr: *mut u8) -> Result<()> {
        self.check()?;
        let Some(ptr) = NonNull::new(ptr) else { return Ok(()) };
        // SAFETY: the promise of `free`, its only caller.
        unsafe { self.0.raw.free(self.space(), ptr, Owner::App) }
    }
}

// SAFETY: `segments_base` is aligned to 2 MiB, the largest segment, and what lies behind it is
// mapped at the same addresses as long as the space lives; a segment or run that was taken is in
// nobody else's hands until it is given back; `run_tag` is in the run table. A mark is a word
// of the segment table that with every other holder is a number of its bytes, at most 2^21.
unsafe impl SegmentSource for Space {
    #[inline]
    fn segments_base(&self) -> *mut u8 {
        Self::segments_base(self)
    }

    #[inline]
    fn seg_shift(&self) -> u32 {
        Self::seg_shift(self)
    }

    #[inline]
    fn segments_max(&self) -> u32 {
        Self::segments_max(self)
    }

    #[inline]
    fn is_raw(&self, segment: u32) -> bool {
        self.was_used(segment) && self.meta(segment).usage() == Use::Raw
    }

    #[inline(always)]
    fn mark(&self, segment: u64) -> Option<&AtomicU32> {
        (segment < u64::from(self.segments_made())).then(|| &self.meta(segment as u32).live)
    }

    fn take_raw_segment(&self) -> Result<Option<u32>> {
        self.take_segment(Use::Raw)
    }

    fn give_raw_segment(&self, segment: u32) {
        self.give_segment(segment);
    }

    fn take_raw_run(&self, bytes: u64) -> Result<Option<u32>> {
        self.take_run(bytes)
    }

    fn give_raw_run(&self, run: u32) {
        self.give_run(run);
    }

    fn run_addr(&self, run: u32) -> *mut u8 {
        Self::run_addr(self, run)
    }

    fn run_charge(&self, run: u32) -> u64 {
        Self::run_charge(self, run)
    }

    fn run_of_addr(&self, address: *const u8) -> Option<u32> {
        Self::run_of_addr(self, address)
    }

    fn run_tag(&self, run: u32) -> &AtomicU32 {
        debug_assert!(run >= RUN_BASE);
        &self.run_meta(run).tag
    }

    fn hold(&self, bytes: u64) {
        Self::hold(self, bytes);
    }

    fn unhold(&self, bytes: u64) {
        Self::unhold(self, bytes);
    }
}
