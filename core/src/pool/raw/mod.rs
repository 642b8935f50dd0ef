//! Raw memory: blocks of any size for the application, and for copies that views hold.
//!
//! A size-class allocator on segments of its own, in the line of Bonwick's slab and magazine
//! allocators (USENIX 1994 and 2001). At most a fifth of a block is slack; what is larger than a
//! quarter of a segment gets a run of its own.
//!
//! A raw segment begins with a header, the state bytes of its blocks and a map of the free ones; its
//! blocks are laid out from its end downward, so that a block is as aligned as its size is, without
//! padding. Each class lists its segments; wholly free ones go back to the pool, but for one that
//! is kept.
//!
//! The first threads have *magazines*, small stacks of free blocks for the small classes, which
//! make the usual allocation a pop and the usual free a push, without a lock and without a locked
//! instruction (one would cost as much as all the rest). A magazine is itself a block of this
//! allocator. It belongs to the thread whose reader slot has the number of its seat. Whoever must
//! reach all magazines (to give memory back, to check) *freezes* them: takes them from their seats,
//! runs a heavy barrier, and waits until nobody is at one; an owner sets its mark, runs a light
//! barrier, and then looks whether its magazine is there. While they are frozen, owners use the
//! locked way.
//!
//! **Who may free what.** A block at large remembers, in its state byte, at which seat it was
//! handed out.
//! - Freed by the same thread, its state goes from live to free by a plain load and store, under
//!   the thread's mark.
//! - Freed by another, it goes from live to *pending* by compare-exchange, so that of several such
//!   frees one succeeds; it is *believed* to be free later ([`remote`] says why and when). Until
//!   then nothing else happens to the block.
//! - Handed out without a seat, it goes from live to free under its class's lock.
//!
//! Invariants:
//! - a block is handed out only out of state free, and gets there only once for each time that it
//!   was handed out, whatever its holders do;
//! - nothing that the allocator goes by lies in the blocks: writing to one after freeing it harms
//!   nobody but whoever has it then;
//! - headers and maps change under their class's lock only.
//!
//! What cannot be told: a second free of a block that was handed out again since; one that comes in
//! the very instant of the first (it is reported, but both calls succeed); and one that comes at
//! the very moment in which the last block's free gives the whole segment back.

mod class;
mod magazine;
mod remote;
mod segment;
mod shape;
mod slow;
#[cfg(test)]
mod tests;
mod validate;

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use self::class::Shelf;
use self::magazine::{Counted, Magazine, Plan, Seat, Stack, Tally, add};
use self::remote::Deferred;
use self::segment::{FREE, address, class_in, from_end, offset_of};
use self::shape::{CACHED_CLASSES, CACHED_MAX, CLASSES, SHAPES, divides_small};
use crate::error::Result;
use crate::log::{Severity, log};
use crate::memory::lock::FutexMutex;
use crate::memory::{barrier, guard};

/// Where raw memory comes from; the pool's space.
///
/// # Safety
///
/// `segments_base` is aligned to the largest segment and `segments_max` segments of
/// `1 << seg_shift` bytes lie behind it, at the same addresses as long as the source lives. A
/// taken segment or run is readable and writable and the taker's alone until it is given back.
/// `run_tag` stays at its address as long as the source lives. A segment's mark is the taker's as
/// well, 0 when it is taken; other takers than the raw allocator leave less than 2^24 there.
pub unsafe trait SegmentSource {
    /// Address of segment 0.
    fn segments_base(&self) -> *mut u8;
    /// Logarithm of a segment's bytes, 14 to 21.
    fn seg_shift(&self) -> u32;
    /// Segments there are addresses for.
    fn segments_max(&self) -> u32;
    /// Whether this is a segment that the raw allocator uses now; false for a number of none.
    fn is_raw(&self, segment: u32) -> bool;
    /// The mark of this segment, for any number; `None`: it was never used.
    fn mark(&self, segment: u64) -> Option<&AtomicU32>;
    /// A segment for the raw allocator; `None`: the limit is reached. Its bytes are arbitrary.
    fn take_raw_segment(&self) -> Result<Option<u32>>;
    /// Takes it back.
    fn give_raw_segment(&self, segment: u32);
    /// A run of at least so many bytes, page-aligned and zeroed; `None`: the limit is reached.
    fn take_raw_run(&self, bytes: u64) -> Result<Option<u32>>;
    /// Takes it back.
    fn give_raw_run(&self, run: u32);
    /// A live run's first byte.
    fn run_addr(&self, run: u32) -> *mut u8;
    /// What a live run is charged, bytes.
    fn run_charge(&self, run: u32) -> u64;
    /// The run that begins at this address, if one may: a run that was taken once and has, or had,
    /// its first byte there.
    fn run_of_addr(&self, address: *const u8) -> Option<u32>;
    /// A word for the holder of a run: 0 when the run is taken, and for any other holder.
    fn run_tag(&self, run: u32) -> &AtomicU32;
    /// Counts bytes that eviction cannot give back.
    fn hold(&self, bytes: u64);
    /// Counts them off.
    fn unhold(&self, bytes: u64);
}

/// In whose hands a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The application's.
    App,
    /// A view's or draft's.
    Pin,
}

/// Threads that can have magazines.
const SEATS: usize = 16;
/// Stands for the slot of a thread without one.
const NO_SLOT: usize = usize::MAX;
/// The strictest alignment that can be asked for.
pub const ALIGN_MAX: usize = 4_096;
/// The alignment that 0 stands for; every block has at least this one.
pub const ALIGN_DEFAULT: usize = 16;

/// What the raw allocator counts. The counters speak of the application's blocks, but for the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawCounts {
    /// Allocations served by a block that nobody had before.
    pub created: u64,
    /// Allocations served by a block that was given back before.
    pub reused: u64,
    /// Blocks given back.
    pub returned: u64,
    /// Blocks whose segment or run went back to the pool, whoever had them.
    pub discarded: u64,
    /// Bytes of the blocks that the application has.
    pub app_bytes: u64,
    /// Bytes of the blocks that views and drafts have.
    pub pin_bytes: u64,
    /// Blocks that the application has.
    pub app_blocks: u64,
    /// Segments taken.
    pub segments: u64,
}

/// A pool's raw allocator.
pub struct RawAllocator {
    seats: [Seat; SEATS],
    plan: Plan,
    /// Bytes of a segment, less one.
    seg_mask: u64,
    /// Their logarithm.
    seg_shift: u32,
    /// Blocks are no larger.
    block_max: u32,
    /// Blocks are zeroed when they are given back. There are no magazines then.
    wipe: bool,
    /// Faults found and not yet reported.
    faults: AtomicU32,
    discarded: AtomicU64,
    segments: AtomicU64,
    run_tally: Tally,
    run_bytes: [AtomicU64; 2],
    /// Held while magazines are frozen, made, or read for their counts.
    freezer: FutexMutex<()>,
    deferred: FutexMutex<Deferred>,
    shelves: [Shelf; CLASSES],
}

/// The slot for the quick paths, which leave the barrier to others.
#[inline(always)]
fn unfenced(slot: Option<usize>) -> usize {
    if barrier::is_asymmetric() { slot.unwrap_or(NO_SLOT) } else { NO_SLOT }
}

/// A block was freed by two threads in the same instant.
const FAULT_TWICE: u32 = 1;

impl std::fmt::Debug for RawAllocator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawAllocator").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl RawAllocator {
    /// What the pool is charged for it.
    pub const BYTES: u64 = size_of::<Self>() as u64;

    /// An allocator on segments of so many bytes. With `wipe`, blocks are zeroed when they are
    /// given back.
    #[must_use]
    pub fn new(seg_bytes: u64, wipe: bool) -> Self {
        let largest = u64::from(SHAPES[CLASSES - 1].size);
        Self {
            seats: std::array::from_fn(Seat::new),
            plan: Plan::new(seg_bytes),
            seg_mask: seg_bytes - 1,
            seg_shift: seg_bytes.ilog2(),
            block_max: u32::try_from((seg_bytes / 4).min(largest)).unwrap_or(SHAPES[0].size),
            wipe,
            faults: AtomicU32::new(0),
            discarded: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            run_tally: Tally::default(),
            run_bytes: Default::default(),
            freezer: FutexMutex::new(()),
            deferred: FutexMutex::new(Deferred::new()),
            shelves: std::array::from_fn(|class| Shelf::new(class, seg_bytes)),
        }
    }

    /// A block of at least `len` bytes, aligned to `align` (a power of two up to [`ALIGN_MAX`]; 0
    /// is [`ALIGN_DEFAULT`]), its first `len` bytes zeroed if `zero`.
    ///
    /// `None`: the space gives no more memory. Blocks in magazines, and some that other threads
    /// freed, may still be had after a [`RawAllocator::flush`].
    #[inline]
    pub fn alloc<S: SegmentSource>(
        &self,
        space: &S,
        len: usize,
        align: usize,
        owner: Owner,
        zero: bool,
    ) -> Result<Option<NonNull<u8>>> {
        let slot = guard::slot_index();
        match self.take_quick(unfenced(slot), space, len, align, owner) {
            Some(block) => {
                if zero {
                    // SAFETY: the block is the caller's alone from here on, `len` bytes or more.
                    unsafe { block.write_bytes(0, len) };
                }
                Ok(Some(block))
            }
            None => self.alloc_slowly(slot, space, len, align, owner, zero),
        }
    }

    /// A block out of the magazine of the calling thread, whose reader slot is `slot`, as
    /// [`guard::own_slot`] tells it. `None`: ask [`RawAllocator::alloc`]. What is usual is decided
    /// here, with as few instructions as can be; everything else, with all it needs to keep, is
    /// another function.
    #[inline(always)]
    pub fn take_quick<S: SegmentSource>(
        &self,
        slot: usize,
        space: &S,
        len: usize,
        align: usize,
        owner: Owner,
    ) -> Option<NonNull<u8>> {
        let seat = self.seats.get(slot)?;
        if len > CACHED_MAX || align & !ALIGN_DEFAULT != 0 {
            return None;
        }
        let at = self.plan.for_len[len.div_ceil(16)];
        let _seated = seat.sit_unfenced();
        self.take_out(space, seat, seat.magazine()?.stack(at), owner)
    }

    /// Takes a block back.
    ///
    /// [`crate::ErrorKind::Invalid`] if `ptr` is not a live block of `owner` in this pool; nothing is
    /// changed then.
    ///
    /// # Safety
    ///
    /// Nobody uses the block afterwards.
    #[inline]
    pub unsafe fn free<S: SegmentSource>(
        &self,
        space: &S,
        ptr: NonNull<u8>,
        owner: Owner,
    ) -> Result<()> {
        let slot = guard::slot_index();
        // SAFETY: the caller's promise.
        if unsafe { self.give_quick(unfenced(slot), space, ptr.as_ptr(), owner) } {
            Ok(())
        } else {
            self.free_slowly(slot, space, ptr, owner)
        }
    }

    /// Puts a block into the magazine of the calling thread, whose reader slot is `slot`, as
    /// [`guard::own_slot`] tells it. False, and nothing done: ask [`RawAllocator::free`].
    ///
    /// # Safety
    ///
    /// Nobody uses the block afterwards.
    #[inline(always)]
    pub unsafe fn give_quick<S: SegmentSource>(
        &self,
        slot: usize,
        space: &S,
        ptr: *const u8,
        owner: Owner,
    ) -> bool {
        let Some(seat) = self.seats.get(slot) else { return false };
        let base = space.segments_base();
        let offset = offset_of(base, ptr);
        let Some(mark) = space.mark(offset >> self.seg_shift) else { return false };
        let class = class_in(mark);
        if class >= CACHED_CLASSES {
            return false;
        }
        let at = self.plan.of_class[class];
        let _seated = seat.sit_unfenced();
        let Some(magazine) = seat.magazine() else { return false };
        let stack = magazine.stack(at);
        let numbers = stack.numbers();
        let state = numbers.state_at(base, self.seg_mask, offset);
        if !divides_small(numbers.divisor, from_end(self.seg_mask, offset) as u32)
            || state.load(Ordering::Relaxed) != seat.live[owner as usize]
        {
            return false;
        }
        let Some(room) = stack.room() else { return false };
        #[cfg(test)]
        tests::between_check_and_store();
        state.store(FREE, Ordering::Relaxed);
        stack.push(room, offset);
        if owner == Owner::Pin {
            add(&numbers.pins_returned, 1);
        }
        true
    }

    /// Gives back what is held for later: magazines, blocks that other threads freed, spare
    /// segments. Owners of magazines go on meanwhile, a little slower. Costs a barrier across all
    /// running threads.
    pub fn flush<S: SegmentSource>(&self, space: &S) {
        self.frozen(|magazines| {
            for magazine in magazines {
                if let Some(magazine) = magazine.take() {
                    self.dissolve(space, magazine);
                }
            }
        });
        let batch = self.deferred.lock().take();
        if let Some(batch) = batch {
            self.believe(space, &batch);
        }
        for shelf in &self.shelves {
            self.give_spare(space, &mut shelf.class.lock());
        }
        self.report();
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> RawCounts {
        let mut out = RawCounts {
            discarded: self.discarded.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            ..RawCounts::default()
        };
        let (app, pin) = (Owner::App as usize, Owner::Pin as usize);
        let mut count = |counted: &Counted, size: u64| {
            let returned = counted.returned[app];
            out.created = out.created.wrapping_add(counted.created);
            // For now, what was taken.
            out.reused = out.reused.wrapping_add(counted.taken[app]);
            out.returned = out.returned.wrapping_add(returned);
            let blocks = counted.taken[app].wrapping_sub(returned);
            out.app_blocks = out.app_blocks.wrapping_add(blocks);
            out.app_bytes = out.app_bytes.wrapping_add(blocks.wrapping_mul(size));
            let blocks = counted.taken[pin].wrapping_sub(counted.returned[pin]);
            out.pin_bytes = out.pin_bytes.wrapping_add(blocks.wrapping_mul(size));
        };
        let guard = self.freezer.lock();
        for (class, (shelf, shape)) in self.shelves.iter().zip(&SHAPES).enumerate() {
            let _filled_and_emptied_by_nobody = shelf.class.lock();
            count(&shelf.tally.read(), u64::from(shape.size));
            for magazine in self.seats.iter().filter_map(Seat::magazine) {
                if let Some(&at) = self.plan.of_class.get(class) {
                    count(&magazine.stack(at).counted(), u64::from(shape.size));
                }
            }
        }
        drop(guard);
        count(&self.run_tally.read(), 0);
        // Blocks are made some at a time, ahead of those who take them.
        out.created = out.created.min(out.reused);
        out.reused -= out.created;
        out.app_bytes = out.app_bytes.wrapping_add(self.run_bytes[app].load(Ordering::Relaxed));
        out.pin_bytes = out.pin_bytes.wrapping_add(self.run_bytes[pin].load(Ordering::Relaxed));
        // Blocks may have moved from one thread to another between two reads; what that makes
        // negative is nothing.
        for sum in [&mut out.app_bytes, &mut out.pin_bytes, &mut out.app_blocks] {
            *sum = if *sum > u64::MAX / 2 { 0 } else { *sum };
        }
        out
    }

    /// Bytes of the blocks that the application has.
    #[must_use]
    pub fn app_bytes(&self) -> u64 {
        self.counts().app_bytes
    }

    /// Pops a block off a stack, at which the calling thread is, and hands it out.
    #[inline(always)]
    fn take_out<S: SegmentSource>(
        &self,
        space: &S,
        seat: &Seat,
        stack: Stack<'_>,
        owner: Owner,
    ) -> Option<NonNull<u8>> {
        let base = space.segments_base();
        let numbers = stack.numbers();
        let offset = stack.pop()?;
        let state = numbers.state_at(base, self.seg_mask, offset);
        state.store(seat.live[owner as usize], Ordering::Relaxed);
        if owner == Owner::Pin {
            add(&numbers.pins_taken, 1);
        }
        Some(address(base, offset))
    }

    /// Runs `work` on the magazines while nobody is at one. What it leaves there goes back to the
    /// seats.
    fn frozen<R>(&self, work: impl FnOnce(&mut [Option<Magazine>; SEATS]) -> R) -> R {
        struct Frozen<'a> {
            seats: &'a [Seat; SEATS],
            magazines: [Option<Magazine>; SEATS],
        }
        impl Drop for Frozen<'_> {
            fn drop(&mut self) {
                for (seat, magazine) in self.seats.iter().zip(self.magazines) {
                    // Release: an owner that finds it finds what was done to it.
                    seat.magazine.store(Magazine::as_ptr(magazine), Ordering::Release);
                }
            }
        }
        let _one_at_a_time = self.freezer.lock();
        let mut frozen = Frozen { seats: &self.seats, magazines: [None; SEATS] };
        for (seat, magazine) in self.seats.iter().zip(&mut frozen.magazines) {
            *magazine = Magazine::at(seat.magazine.swap(null_mut(), Ordering::SeqCst));
        }
        self.quiesce();
        work(&mut frozen.magazines)
    }

    /// Reports faults that were found. The caller holds no lock and is at no magazine.
    fn report(&self) {
        if self.faults.load(Ordering::Relaxed) != 0
            && self.faults.swap(0, Ordering::Relaxed) & FAULT_TWICE != 0
        {
            log(Severity::Error, "raw memory was freed by two threads in the same instant");
        }
    }
}
