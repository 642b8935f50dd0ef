//! Raw memory: blocks of any size for the application, and for copies that views hold.
//!
//! A size-class allocator on segments of its own, in the line of Bonwick's slab and magazine
//! allocators (USENIX 1994 and 2001). At most a fifth of a block is slack; what is larger than a
//! quarter of a segment gets a run of its own.
//!
//! A raw segment begins with a header and one state byte a block; its blocks are laid out from its
//! end downward, so that a block is as aligned as its size is, without padding. Free blocks of a
//! segment are chained by their numbers. Each class chains its segments; wholly free ones go back
//! to the pool, but for one that is kept.
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
//! - Freed by the same thread, its state goes from live to cached by a plain load and store, under
//!   the thread's mark.
//! - Freed by another, it goes from live to *pending* by compare-exchange, so that of several such
//!   frees one succeeds. Should the seat's owner free it in the same instant, its store may
//!   overwrite the exchange. So a pending block is *believed* only later: after a heavy barrier and
//!   a wait until no owner has its mark set, those that are still pending were nobody else's, and
//!   are chained. One barrier serves for up to [`PENDING_MAX`] of them. Until then nothing is
//!   written to the block.
//! - Handed out without a seat, it goes from live to cached under its class's lock.
//!
//! Invariants:
//! - a block is handed out only out of state cached, and gets there only once for each time that it
//!   was handed out, whatever its holders do;
//! - a chained block is handed out only if its state says that it is chained: what a program
//!   writes into a block after freeing it can lose blocks, but not have one handed out twice;
//! - headers change under their class's lock only.
//!
//! What cannot be told: a second free of a block that was handed out again since; one that comes in
//! the very instant of the first (it is reported, but both calls succeed); and one that comes at
//! the very moment in which the last block's free gives the whole segment back.

mod segment;
mod shape;
#[cfg(test)]
mod tests;
mod validate;

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use self::segment::{
    Block, CACHED, FRESH, INTERNAL, LIVE, Misplaced, NO_SEAT, ORIGIN, PENDING, PIN, Place,
    SEG_NONE, address, blocks_in, carve, chain, header_at, header_of, link, live, locate,
    offset_of, state_at, unchain, unlink,
};
use self::shape::{CACHED_BLOCKS, CACHED_CLASSES, CACHED_MAX, CLASSES, SHAPES, SMALL, class_of};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{Severity, log};
use crate::memory::{barrier, guard};

/// Where raw memory comes from; the pool's space.
///
/// # Safety
///
/// `segments_base` is aligned to the largest segment and `segments_max` segments of
/// `1 << seg_shift` bytes lie behind it, at the same addresses as long as the source lives. A
/// taken segment or run is readable and writable and the taker's alone until it is given back.
/// `run_tag` stays at its address as long as the source lives.
pub unsafe trait SegmentSource {
    /// Address of segment 0.
    fn segments_base(&self) -> *mut u8;
    /// Logarithm of a segment's bytes, 14 to 21.
    fn seg_shift(&self) -> u32;
    /// Segments there are addresses for.
    fn segments_max(&self) -> u32;
    /// Whether the segment, below `segments_max`, is now used by the raw allocator.
    fn is_raw(&self, segment: u32) -> bool;
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
/// Frees by other threads that one barrier serves for, at most.
const PENDING_MAX: usize = 256;
/// The same in bytes, and at most a segment: what a program has given back and cannot be used yet.
const PENDING_BYTES_MAX: u64 = 64 << 10;
/// The strictest alignment that can be asked for.
pub const ALIGN_MAX: usize = 4_096;
/// The alignment that 0 stands for; every block has at least this one.
pub const ALIGN_DEFAULT: usize = 16;

/// What a class's lock protects.
#[derive(Clone, Copy)]
struct Class {
    number: usize,
    /// Blocks that a segment has.
    blocks: u32,
    /// Segments with a free block.
    partial: u32,
    /// Segments without.
    full: u32,
    /// A segment in which every block is free.
    spare: u32,
    /// All of them.
    segments: u32,
}

/// What is counted of one class by one thread, or by all that are at no magazine. By owner.
#[derive(Default)]
#[repr(C)]
struct Tally {
    created: [AtomicU64; 2],
    taken: [AtomicU64; 2],
    returned: [AtomicU64; 2],
}

/// A class's lock, and what is counted without a magazine.
struct Shelf {
    class: Mutex<Class>,
    tally: Tally,
}

/// A thread's place.
#[repr(align(64))]
struct Seat {
    /// Null: there is none, or it is frozen.
    magazine: AtomicPtr<Magazine>,
    /// 1 while the owner is at its magazine.
    busy: AtomicU32,
    /// Which seat it is.
    number: u8,
}

/// A stack of free blocks of one class.
#[repr(C)]
struct Stack {
    len: AtomicU32,
    /// [`Shape::cached`] and [`Shape::cached_at`], to have them in the same line.
    cached: u16,
    cached_at: u16,
    tally: Tally,
}

/// Stacks of free blocks, by offset from the first segment. These are atomics because whoever sums the counts reads along; the owner,
/// or who froze the magazine, changes them with plain loads and stores.
#[repr(C)]
struct Magazine {
    stacks: [Stack; CACHED_CLASSES],
    blocks: [AtomicU64; CACHED_BLOCKS],
}

/// Blocks freed by other threads than they came from, not yet believed.
struct Deferred {
    len: usize,
    bytes: u64,
    blocks: [u64; PENDING_MAX],
}

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
    seg_mask: u64,
    /// Bytes that may be pending.
    pending_max: u64,
    /// Blocks are no larger.
    block_max: u32,
    wipe: bool,
    /// Faults found and not yet reported: bit 0, a broken chain; bit 1, a block freed twice at once.
    faults: AtomicU32,
    discarded: AtomicU64,
    segments: AtomicU64,
    run_tally: Tally,
    run_bytes: [AtomicU64; 2],
    /// Held while magazines are frozen, made, or read for their counts.
    freezer: Mutex<()>,
    deferred: Mutex<Deferred>,
    shelves: [Shelf; CLASSES],
}

const FAULT_CHAIN: u32 = 1;
const FAULT_TWICE: u32 = 2;

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
            seats: std::array::from_fn(|number| Seat {
                magazine: AtomicPtr::new(null_mut()),
                busy: AtomicU32::new(0),
                number: number as u8,
            }),
            seg_mask: seg_bytes - 1,
            pending_max: seg_bytes.min(PENDING_BYTES_MAX),
            block_max: u32::try_from((seg_bytes / 4).min(largest)).unwrap_or(SHAPES[0].size),
            wipe,
            faults: AtomicU32::new(0),
            discarded: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            run_tally: Tally::default(),
            run_bytes: Default::default(),
            freezer: Mutex::new(()),
            deferred: Mutex::new(Deferred { len: 0, bytes: 0, blocks: [0; PENDING_MAX] }),
            shelves: std::array::from_fn(|number| Shelf {
                class: Mutex::new(Class {
                    number,
                    blocks: blocks_in(seg_bytes, SHAPES[number].size),
                    partial: SEG_NONE,
                    full: SEG_NONE,
                    spare: SEG_NONE,
                    segments: 0,
                }),
                tally: Tally::default(),
            }),
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
        self.alloc_at(guard::slot_index(), space, len, align, owner, zero)
    }

    /// As [`RawAllocator::alloc`], for a caller that knows its reader slot, which must be the
    /// calling thread's.
    #[inline]
    pub fn alloc_at<S: SegmentSource>(
        &self,
        slot: Option<usize>,
        space: &S,
        len: usize,
        align: usize,
        owner: Owner,
        zero: bool,
    ) -> Result<Option<NonNull<u8>>> {
        // What is usual is decided here, with as few instructions as can be; everything else,
        // with all it needs to keep, is another function.
        if let Some(seat) = self.seats.get(slot.unwrap_or(NO_SLOT))
            && len <= CACHED_MAX
            && align & !ALIGN_DEFAULT == 0
        {
            let seated = sit(seat);
            if let Some(magazine) = magazine_of(seat) {
                let class = SMALL[len.div_ceil(16)] as usize;
                if let Some(block) = self.take_out(space, seat, magazine, class, owner) {
                    drop(seated);
                    if zero {
                        // SAFETY: the block is the caller's alone from here on, `len` bytes or
                        // more.
                        unsafe { block.write_bytes(0, len) };
                    }
                    return Ok(Some(block));
                }
            }
        }
        self.alloc_slowly(slot, space, len, align, owner, zero)
    }

    /// Takes a block back.
    ///
    /// [`ErrorKind::Invalid`] if `ptr` is not a live block of `owner` in this pool; nothing is
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
        // SAFETY: the caller's promise.
        unsafe { self.free_at(guard::slot_index(), space, ptr, owner) }
    }

    /// As [`RawAllocator::free`], for a caller that knows its reader slot, which must be the
    /// calling thread's.
    ///
    /// # Safety
    ///
    /// Nobody uses the block afterwards.
    #[inline]
    pub unsafe fn free_at<S: SegmentSource>(
        &self,
        slot: Option<usize>,
        space: &S,
        ptr: NonNull<u8>,
        owner: Owner,
    ) -> Result<()> {
        if let Some(seat) = self.seats.get(slot.unwrap_or(NO_SLOT))
            && let Some((class, state)) = self.locate_cached(space, ptr)
        {
            let _seated = sit(seat);
            if let Some(magazine) = magazine_of(seat) {
                let stack = &magazine.stacks[class];
                let len = stack.len.load(Ordering::Relaxed);
                if len < u32::from(stack.cached)
                    && state.load(Ordering::Relaxed) == live(owner, seat.number)
                {
                    // SAFETY: `cached` blocks have their places from `cached_at` on.
                    let top = unsafe {
                        magazine.blocks.get_unchecked(stack.cached_at as usize + len as usize)
                    };
                    #[cfg(test)]
                    tests::between_check_and_store();
                    state.store(CACHED, Ordering::Relaxed);
                    // What is stored here depends on the address alone: whoever allocates next
                    // waits for it, and not for all that was looked up to check it.
                    top.store(offset_of(space, ptr), Ordering::Relaxed);
                    stack.len.store(len + 1, Ordering::Relaxed);
                    add(&stack.tally.returned[owner as usize]);
                    return Ok(());
                }
            }
        }
        self.free_slowly(slot, space, ptr, owner)
    }

    /// Gives back what is held for later: magazines, blocks that other threads freed, spare
    /// segments. Owners of magazines go on meanwhile, a little slower. Costs a barrier across all
    /// running threads.
    pub fn flush<S: SegmentSource>(&self, space: &S) {
        let mut batch = None;
        self.frozen(|magazines| {
            // Those were deferred before everybody was seen away from the magazines just now or,
            // after the lock, do not matter here.
            batch = self.deferred.lock().take();
            for magazine in magazines {
                if let Some(magazine) = NonNull::new(std::mem::replace(magazine, null_mut())) {
                    self.dissolve(space, magazine);
                }
            }
        });
        if let Some(batch) = batch {
            self.quiesce();
            self.believe(space, &batch);
        }
        for shelf in &self.shelves {
            let mut class = shelf.class.lock();
            let spare = std::mem::replace(&mut class.spare, SEG_NONE);
            if spare != SEG_NONE {
                self.give_segment(space, &mut class, spare);
            }
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
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let mut add = |tally: &Tally, size: u64| {
            let (created, taken) = (read(&tally.created[app]), read(&tally.taken[app]));
            let returned = read(&tally.returned[app]);
            out.created = out.created.wrapping_add(created);
            out.reused = out.reused.wrapping_add(taken.wrapping_sub(created));
            out.returned = out.returned.wrapping_add(returned);
            let blocks = taken.wrapping_sub(returned);
            out.app_blocks = out.app_blocks.wrapping_add(blocks);
            out.app_bytes = out.app_bytes.wrapping_add(blocks.wrapping_mul(size));
            let blocks = read(&tally.taken[pin]).wrapping_sub(read(&tally.returned[pin]));
            out.pin_bytes = out.pin_bytes.wrapping_add(blocks.wrapping_mul(size));
        };
        let guard = self.freezer.lock();
        for seat in &self.seats {
            if let Some(magazine) = magazine_of(seat) {
                for (stack, shape) in magazine.stacks.iter().zip(&SHAPES) {
                    add(&stack.tally, u64::from(shape.size));
                }
            }
        }
        for (shelf, shape) in self.shelves.iter().zip(&SHAPES) {
            add(&shelf.tally, u64::from(shape.size));
        }
        drop(guard);
        add(&self.run_tally, 0);
        out.app_bytes = out.app_bytes.wrapping_add(read(&self.run_bytes[app]));
        out.pin_bytes = out.pin_bytes.wrapping_add(read(&self.run_bytes[pin]));
        // Blocks may have moved from one thread to another between two reads; what that makes
        // negative is nothing.
        for sum in [&mut out.reused, &mut out.app_bytes, &mut out.pin_bytes, &mut out.app_blocks] {
            *sum = if *sum > u64::MAX / 2 { 0 } else { *sum };
        }
        out
    }

    /// Bytes of the blocks that the application has.
    #[must_use]
    pub fn app_bytes(&self) -> u64 {
        self.counts().app_bytes
    }

    /// Class and state of the block at an address, if magazines may hold it. What the general
    /// [`locate`] does, without its reasons and with masks for shifts.
    #[inline(always)]
    fn locate_cached<'a, S: SegmentSource>(
        &self,
        space: &'a S,
        ptr: NonNull<u8>,
    ) -> Option<(usize, &'a AtomicU8)> {
        let offset = offset_of(space, ptr);
        let segment = offset >> space.seg_shift();
        if segment >= u64::from(space.segments_max()) || !space.is_raw(segment as u32) || self.wipe
        {
            return None;
        }
        let start = offset & !self.seg_mask;
        let header = header_at(space, start);
        let class = header.class();
        if class >= CACHED_CLASSES {
            return None;
        }
        let shape = &SHAPES[class];
        let from_end = self.seg_mask + 1 - (offset & self.seg_mask);
        let blocks = shape.blocks_in(from_end);
        let carved = u64::from(header.carved.load(Ordering::Acquire));
        if blocks * u64::from(shape.size) != from_end || blocks > carved {
            return None;
        }
        Some((class, state_at(space, start, blocks as u32 - 1)))
    }

    /// Pops a block off a stack, at which the calling thread is, and hands it out.
    #[inline(always)]
    fn take_out<S: SegmentSource>(
        &self,
        space: &S,
        seat: &Seat,
        magazine: &Magazine,
        class: usize,
        owner: Owner,
    ) -> Option<NonNull<u8>> {
        let stack = &magazine.stacks[class];
        let len = stack.len.load(Ordering::Relaxed).checked_sub(1)?;
        // SAFETY: a stack has at most `cached` blocks, which have their places from `cached_at` on.
        let top = unsafe { magazine.blocks.get_unchecked(stack.cached_at as usize + len as usize) };
        let offset = top.load(Ordering::Relaxed);
        stack.len.store(len, Ordering::Relaxed);
        let from_end = self.seg_mask + 1 - (offset & self.seg_mask);
        let number = SHAPES[class].blocks_in(from_end) as u32 - 1;
        let state = state_at(space, offset & !self.seg_mask, number);
        if state.load(Ordering::Relaxed) & FRESH != 0 {
            add(&stack.tally.created[owner as usize]);
        }
        state.store(live(owner, seat.number), Ordering::Relaxed);
        add(&stack.tally.taken[owner as usize]);
        Some(address(space, offset))
    }

    /// The class of a block, `None` for a run.
    fn class_for(&self, len: usize, align: usize) -> Result<Option<usize>> {
        let mut class = class_of(len.max(1));
        if align != 0 && (!align.is_power_of_two() || align > ALIGN_MAX) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("align is {align}; 0 or a power of two up to {ALIGN_MAX} is allowed"),
            ));
        }
        if align > ALIGN_DEFAULT {
            if len > self.block_max as usize {
                return Ok(None);
            }
            class = class_of(len.max(1).next_multiple_of(align));
            // Sizes are multiples of a quarter of the power of two below them, so a multiple of
            // the alignment is at most seven steps away.
            while class < CLASSES && !(SHAPES[class].size as usize).is_multiple_of(align) {
                class += 1;
            }
        }
        Ok((class < CLASSES && SHAPES[class].size <= self.block_max).then_some(class))
    }

    #[cold]
    #[inline(never)]
    fn alloc_slowly<S: SegmentSource>(
        &self,
        slot: Option<usize>,
        space: &S,
        len: usize,
        align: usize,
        owner: Owner,
        zero: bool,
    ) -> Result<Option<NonNull<u8>>> {
        let Some(class) = self.class_for(len, align)? else {
            return self.alloc_run(space, len, owner);
        };
        let block = match slot {
            Some(slot) if slot < SEATS && class < CACHED_CLASSES => {
                self.alloc_seated(space, slot, class, owner)
            }
            Some(_) | None => self.alloc_locked(space, class, owner),
        };
        self.report();
        if let Ok(Some(block)) = block
            && zero
        {
            // SAFETY: the block is the caller's alone from here on, and of `len` bytes or more.
            unsafe { block.write_bytes(0, len) };
        }
        block
    }

    /// A block for an owner whose stack is empty, or who has no magazine.
    fn alloc_seated<S: SegmentSource>(
        &self,
        space: &S,
        slot: usize,
        class: usize,
        owner: Owner,
    ) -> Result<Option<NonNull<u8>>> {
        let seat = &self.seats[slot];
        let _seated = sit(seat);
        let magazine = match magazine_of(seat) {
            Some(magazine) => magazine,
            None => match self.make_magazine(space, seat)? {
                Some(magazine) => magazine,
                None => return self.alloc_locked(space, class, owner),
            },
        };
        let found = self.take_out(space, seat, magazine, class, owner);
        if found.is_some() {
            return Ok(found);
        }
        let stack = &magazine.stacks[class];
        let places = &magazine.blocks[stack.cached_at as usize..][..stack.cached as usize];
        let half = places.len().div_ceil(2);
        let mut len = 0;
        self.draw(space, &mut self.shelves[class].class.lock(), half, |block| {
            places[len].store(block.offset, Ordering::Relaxed);
            len += 1;
        })?;
        stack.len.store(len as u32, Ordering::Relaxed);
        Ok(self.take_out(space, seat, magazine, class, owner))
    }

    fn alloc_locked<S: SegmentSource>(
        &self,
        space: &S,
        class: usize,
        owner: Owner,
    ) -> Result<Option<NonNull<u8>>> {
        let shelf = &self.shelves[class];
        let mut found = None;
        let mut guard = shelf.class.lock();
        self.draw(space, &mut guard, 1, |block| found = Some(block))?;
        let Some(block) = found else { return Ok(None) };
        let state = block.state(space);
        let fresh = state.load(Ordering::Relaxed) & FRESH;
        state.store(live(owner, NO_SEAT), Ordering::Relaxed);
        drop(guard);
        shelf.tally.taken[owner as usize].fetch_add(1, Ordering::Relaxed);
        shelf.tally.created[owner as usize].fetch_add(u64::from(fresh), Ordering::Relaxed);
        Ok(Some(address(space, block.offset)))
    }

    #[cold]
    #[inline(never)]
    fn free_slowly<S: SegmentSource>(
        &self,
        slot: Option<usize>,
        space: &S,
        ptr: NonNull<u8>,
        owner: Owner,
    ) -> Result<()> {
        let place = match locate(space, ptr) {
            Ok(place) => place,
            Err(Misplaced::Outside) => return self.free_run(space, ptr, owner),
            Err(Misplaced::Foreign) => return Err(foreign(ptr)),
            Err(Misplaced::Interior) => {
                let what = format!("ptr is {ptr:p}, where no allocation begins");
                return Err(Error::new(ErrorKind::Invalid, what));
            }
        };
        let block = Block { offset: offset_of(space, ptr), number: place.number };
        let state = block.state(space);
        let shelf = &self.shelves[place.class];
        loop {
            let was = state.load(Ordering::Relaxed);
            let origin = was & ORIGIN;
            if was & !ORIGIN != live(owner, 0) || origin == INTERNAL {
                return Err(not_live(ptr, was));
            }
            if slot == Some(origin as usize) && origin < NO_SEAT {
                // The thread's own: under its mark nobody believes another's free of it.
                let seat = &self.seats[origin as usize];
                let seated = sit(seat);
                if state.load(Ordering::Relaxed) != was {
                    continue;
                }
                self.free_seated(space, seat, place, block, owner);
                drop(seated);
                break;
            }
            if origin == NO_SEAT {
                let mut guard = shelf.class.lock();
                if !exchange(state, was, CACHED) {
                    continue;
                }
                self.wipe(space, block, place.class);
                shelf.tally.returned[owner as usize].fetch_add(1, Ordering::Relaxed);
                self.put_back(space, &mut guard, [block]);
                break;
            }
            if exchange(state, was, PENDING) {
                shelf.tally.returned[owner as usize].fetch_add(1, Ordering::Relaxed);
                self.defer(space, block, place.class, owner);
                break;
            }
        }
        self.report();
        Ok(())
    }

    /// Frees a live block that the calling thread got at its seat, at which it is.
    fn free_seated<S: SegmentSource>(
        &self,
        space: &S,
        seat: &Seat,
        place: Place,
        block: Block,
        owner: Owner,
    ) {
        let shelf = &self.shelves[place.class];
        let Some(magazine) = magazine_of(seat) else {
            // Frozen: the state must not change but under the class's lock.
            let mut guard = shelf.class.lock();
            block.state(space).store(CACHED, Ordering::Relaxed);
            self.wipe(space, block, place.class);
            shelf.tally.returned[owner as usize].fetch_add(1, Ordering::Relaxed);
            return self.put_back(space, &mut guard, [block]);
        };
        block.state(space).store(CACHED, Ordering::Relaxed);
        self.wipe(space, block, place.class);
        let stack = &magazine.stacks[place.class];
        add(&stack.tally.returned[owner as usize]);
        let places = &magazine.blocks[stack.cached_at as usize..][..stack.cached as usize];
        let mut len = stack.len.load(Ordering::Relaxed) as usize;
        if len == places.len() {
            // The oldest go: the latest are warm.
            let (go, stay) = places.split_at(len - len / 2);
            let shape = &SHAPES[place.class];
            let go = go.iter().map(|at| Block::at(space, at.load(Ordering::Relaxed), shape));
            self.put_back(space, &mut shelf.class.lock(), go);
            for (to, from) in places.iter().zip(stay) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            len = stay.len();
        }
        places[len].store(block.offset, Ordering::Relaxed);
        stack.len.store(len as u32 + 1, Ordering::Relaxed);
    }

    /// Notes a pending block; makes the whole batch free when there are enough.
    fn defer<S: SegmentSource>(&self, space: &S, block: Block, class: usize, owner: Owner) {
        let batch = {
            let mut deferred = self.deferred.lock();
            deferred.add(block, class, owner);
            if deferred.len < PENDING_MAX && deferred.bytes < self.pending_max {
                return;
            }
            deferred.take()
        };
        if let Some(batch) = batch {
            self.quiesce();
            self.believe(space, &batch);
        }
    }

    /// Waits until every owner was seen away from its magazine after everything the calling thread
    /// did before. The caller is not at its own.
    fn quiesce(&self) {
        barrier::heavy();
        for seat in &self.seats {
            while seat.busy.load(Ordering::Acquire) != 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Chains the blocks of a batch that are still pending after [`RawAllocator::quiesce`].
    fn believe<S: SegmentSource>(&self, space: &S, batch: &Deferred) {
        for &noted in &batch.blocks[..batch.len] {
            let owner = if noted & Deferred::PIN == 0 { Owner::App } else { Owner::Pin };
            let offset = noted & !Deferred::PIN;
            let segment = (offset >> space.seg_shift()) as u32;
            // A pending block keeps its segment. One that no longer is may not have.
            if !space.is_raw(segment) {
                continue;
            }
            let class = header_of(space, segment).class();
            let Some(shelf) = self.shelves.get(class) else { continue };
            let block = Block::at(space, offset, &SHAPES[class]);
            let mut guard = shelf.class.lock();
            if exchange(block.state(space), PENDING, CACHED) {
                self.wipe(space, block, class);
                self.put_back(space, &mut guard, [block]);
            } else {
                // Its owner freed it in the same instant, and was first to be believed.
                shelf.tally.returned[owner as usize].fetch_sub(1, Ordering::Relaxed);
                self.faults.fetch_or(FAULT_TWICE, Ordering::Relaxed);
            }
        }
    }

    fn wipe<S: SegmentSource>(&self, space: &S, block: Block, class: usize) {
        if self.wipe {
            // SAFETY: the block is in state cached, the calling thread's alone.
            unsafe { address(space, block.offset).write_bytes(0, SHAPES[class].size as usize) };
        }
    }

    /// Runs `work` on the magazines while nobody is at one. What it leaves there goes back to the
    /// seats.
    fn frozen<R>(&self, work: impl FnOnce(&mut [*mut Magazine; SEATS]) -> R) -> R {
        struct Frozen<'a> {
            seats: &'a [Seat; SEATS],
            magazines: [*mut Magazine; SEATS],
        }
        impl Drop for Frozen<'_> {
            fn drop(&mut self) {
                for (seat, magazine) in self.seats.iter().zip(self.magazines) {
                    // Release: an owner that finds it finds what was done to it.
                    seat.magazine.store(magazine, Ordering::Release);
                }
            }
        }
        let _one_at_a_time = self.freezer.lock();
        let mut frozen = Frozen { seats: &self.seats, magazines: [null_mut(); SEATS] };
        for (seat, magazine) in self.seats.iter().zip(&mut frozen.magazines) {
            *magazine = seat.magazine.swap(null_mut(), Ordering::SeqCst);
        }
        self.quiesce();
        work(&mut frozen.magazines)
    }

    /// A magazine for the seat, whose owner is the calling thread; `None` if there is no room for
    /// one, or magazines are frozen.
    fn make_magazine<'a, S: SegmentSource>(
        &self,
        space: &S,
        seat: &'a Seat,
    ) -> Result<Option<&'a Magazine>> {
        // Whoever freezes holds the lock all the time, so that none appears meanwhile.
        let Some(_not_frozen) = self.freezer.try_lock() else { return Ok(None) };
        let class = class_of(size_of::<Magazine>());
        let mut found = None;
        let mut guard = self.shelves[class].class.lock();
        self.draw(space, &mut guard, 1, |block| found = Some(block))?;
        let Some(block) = found else { return Ok(None) };
        block.state(space).store(live(Owner::App, INTERNAL), Ordering::Relaxed);
        drop(guard);
        let place = address(space, block.offset).cast::<Magazine>();
        // SAFETY: the block is large enough and aligned (to 16 at least), and nobody else's.
        unsafe { place.write(Magazine::new()) };
        seat.magazine.store(place.as_ptr(), Ordering::Release);
        // SAFETY: made above; it is not dissolved while its owner is at it.
        Ok(Some(unsafe { place.as_ref() }))
    }

    /// Chains all blocks of a frozen magazine and then the magazine.
    fn dissolve<S: SegmentSource>(&self, space: &S, place: NonNull<Magazine>) {
        // SAFETY: it was taken from its seat, its owner is not at it, nobody counts: it is the
        // calling thread's alone, and stays what it is until it is chained below.
        let magazine = unsafe { place.as_ref() };
        for ((stack, shelf), shape) in magazine.stacks.iter().zip(&self.shelves).zip(&SHAPES) {
            let len = stack.len.load(Ordering::Relaxed) as usize;
            let blocks = &magazine.blocks[stack.cached_at as usize..][..len];
            let blocks =
                blocks.iter().map(|at| Block::at(space, at.load(Ordering::Relaxed), shape));
            self.put_back(space, &mut shelf.class.lock(), blocks);
            shelf.tally.absorb(&stack.tally);
        }
        let class = class_of(size_of::<Magazine>());
        if let Ok(at) = locate(space, place.cast()) {
            let block = Block { offset: offset_of(space, place.cast()), number: at.number };
            let mut guard = self.shelves[class].class.lock();
            block.state(space).store(CACHED, Ordering::Relaxed);
            self.put_back(space, &mut guard, [block]);
        }
    }

    /// Draws up to `wanted` free blocks of a class, one at least if one is to be had; they are in
    /// state cached. A new segment is taken only for the first.
    fn draw<S: SegmentSource>(
        &self,
        space: &S,
        class: &mut Class,
        wanted: usize,
        mut each: impl FnMut(Block),
    ) -> Result<()> {
        let shape = &SHAPES[class.number];
        let mut drawn = 0;
        while drawn < wanted {
            if class.partial == SEG_NONE && class.spare != SEG_NONE {
                let spare = std::mem::replace(&mut class.spare, SEG_NONE);
                link(space, &mut class.partial, spare);
            }
            if class.partial == SEG_NONE && (drawn != 0 || !self.take_segment(space, class)?) {
                break;
            }
            let segment = class.partial;
            let header = header_of(space, segment);
            while drawn < wanted {
                let block = match unchain(space, segment, header, shape) {
                    Ok(Some(block)) => block,
                    Ok(None) => match carve(space, segment, header, shape, class.blocks) {
                        Some(block) => block,
                        None => break,
                    },
                    Err(()) => {
                        self.faults.fetch_or(FAULT_CHAIN, Ordering::Relaxed);
                        continue;
                    }
                };
                each(block);
                drawn += 1;
            }
            if header.is_full(class.blocks) {
                unlink(space, &mut class.partial, segment);
                link(space, &mut class.full, segment);
            }
        }
        Ok(())
    }

    /// Chains blocks of the class that are in state cached.
    fn put_back<S: SegmentSource>(
        &self,
        space: &S,
        class: &mut Class,
        blocks: impl IntoIterator<Item = Block>,
    ) {
        for block in blocks {
            let segment = block.segment(space);
            let header = header_of(space, segment);
            if header.is_full(class.blocks) {
                unlink(space, &mut class.full, segment);
                link(space, &mut class.partial, segment);
            }
            chain(space, header, block);
            if header.chained.load(Ordering::Relaxed) == header.carved.load(Ordering::Relaxed) {
                unlink(space, &mut class.partial, segment);
                if class.spare == SEG_NONE {
                    class.spare = segment;
                } else {
                    self.give_segment(space, class, segment);
                }
            }
        }
    }

    /// Takes a segment for the class; false if the limit is reached.
    fn take_segment<S: SegmentSource>(&self, space: &S, class: &mut Class) -> Result<bool> {
        let Some(segment) = space.take_raw_segment()? else { return Ok(false) };
        space.hold(1 << space.seg_shift());
        self.segments.fetch_add(1, Ordering::Relaxed);
        header_of(space, segment).found(class.number);
        class.segments += 1;
        link(space, &mut class.partial, segment);
        Ok(true)
    }

    /// Gives a segment back that is on no list and has every block chained.
    fn give_segment<S: SegmentSource>(&self, space: &S, class: &mut Class, segment: u32) {
        let blocks = header_of(space, segment).dissolve();
        self.discarded.fetch_add(u64::from(blocks), Ordering::Relaxed);
        self.segments.fetch_sub(1, Ordering::Relaxed);
        class.segments -= 1;
        space.give_raw_segment(segment);
        space.unhold(1 << space.seg_shift());
    }

    fn alloc_run<S: SegmentSource>(
        &self,
        space: &S,
        len: usize,
        owner: Owner,
    ) -> Result<Option<NonNull<u8>>> {
        let Some(run) = space.take_raw_run(len as u64)? else { return Ok(None) };
        let charge = space.run_charge(run);
        space.hold(charge);
        self.run_tally.taken[owner as usize].fetch_add(1, Ordering::Relaxed);
        self.run_tally.created[owner as usize].fetch_add(1, Ordering::Relaxed);
        self.run_bytes[owner as usize].fetch_add(charge, Ordering::Relaxed);
        let place = NonNull::new(space.run_addr(run));
        // Release: whoever frees it finds the run as the space made it.
        space.run_tag(run).store(u32::from(live(owner, NO_SEAT)), Ordering::Release);
        Ok(place)
    }

    fn free_run<S: SegmentSource>(&self, space: &S, ptr: NonNull<u8>, owner: Owner) -> Result<()> {
        let run = space.run_of_addr(ptr.as_ptr()).ok_or_else(|| foreign(ptr))?;
        let live = u32::from(live(owner, NO_SEAT));
        space
            .run_tag(run)
            .compare_exchange(live, 0, Ordering::AcqRel, Ordering::Relaxed)
            .map_err(|found| not_live(ptr, found as u8))?;
        let charge = space.run_charge(run);
        self.run_tally.returned[owner as usize].fetch_add(1, Ordering::Relaxed);
        self.run_bytes[owner as usize].fetch_sub(charge, Ordering::Relaxed);
        self.discarded.fetch_add(1, Ordering::Relaxed);
        space.give_raw_run(run);
        space.unhold(charge);
        Ok(())
    }

    /// Reports faults that were found, without a lock.
    fn report(&self) {
        if self.faults.load(Ordering::Relaxed) == 0 {
            return;
        }
        let faults = self.faults.swap(0, Ordering::Relaxed);
        if faults & FAULT_CHAIN != 0 {
            log(
                Severity::Error,
                "raw memory was written to after it was freed; the blocks this cost stay unused",
            );
        }
        if faults & FAULT_TWICE != 0 {
            log(Severity::Error, "raw memory was freed twice in the same instant");
        }
    }
}

impl Deferred {
    /// Bit of a noted offset that tells the block's owner; offsets are multiples of 16.
    const PIN: u64 = 1;

    fn add(&mut self, block: Block, class: usize, owner: Owner) {
        let pin = if owner == Owner::Pin { Self::PIN } else { 0 };
        if let Some(place) = self.blocks.get_mut(self.len) {
            *place = block.offset | pin;
            self.len += 1;
            self.bytes += u64::from(SHAPES[class].size);
        }
    }

    /// All of them, if there are any; leaves none.
    fn take(&mut self) -> Option<Self> {
        let batch = Self { len: self.len, bytes: self.bytes, blocks: self.blocks };
        (self.len, self.bytes) = (0, 0);
        (batch.len != 0).then_some(batch)
    }
}

impl Tally {
    const fn new() -> Self {
        Self {
            created: [const { AtomicU64::new(0) }; 2],
            taken: [const { AtomicU64::new(0) }; 2],
            returned: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// Adds what another one counted.
    fn absorb(&self, other: &Self) {
        for (to, from) in [
            (&self.created, &other.created),
            (&self.taken, &other.taken),
            (&self.returned, &other.returned),
        ] {
            for (to, from) in to.iter().zip(from) {
                to.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}

impl Magazine {
    fn new() -> Self {
        Self {
            stacks: std::array::from_fn(|class| Stack {
                len: AtomicU32::new(0),
                cached: SHAPES[class].cached,
                cached_at: SHAPES[class].cached_at,
                tally: Tally::new(),
            }),
            blocks: [const { AtomicU64::new(0) }; CACHED_BLOCKS],
        }
    }
}

/// Marks the owner of a seat at its magazine.
struct Seated<'a>(&'a Seat);

impl Drop for Seated<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: whoever finds the seat empty finds everything as it was left.
        self.0.busy.store(0, Ordering::Release);
    }
}

/// Begins the owner's work at its magazine, which it may look for from here on.
#[inline(always)]
fn sit(seat: &Seat) -> Seated<'_> {
    seat.busy.store(1, Ordering::Relaxed);
    barrier::light();
    Seated(seat)
}

/// The seat's magazine, if it is there. The caller is at it, or keeps it from being dissolved.
#[inline(always)]
fn magazine_of(seat: &Seat) -> Option<&Magazine> {
    // SAFETY: the pointer is null or that of a live magazine, which nobody dissolves but who has
    // taken it from the seat, waited until its owner is not at it, and keeps others from counting.
    unsafe { seat.magazine.load(Ordering::Acquire).as_ref() }
}

/// Counts one where nobody else writes.
#[inline(always)]
fn add(word: &AtomicU64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

fn exchange(state: &AtomicU8, from: u8, to: u8) -> bool {
    state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

#[cold]
fn foreign(ptr: NonNull<u8>) -> Error {
    let what = format!("ptr is {ptr:p}, which is not memory of this pool's allocations");
    Error::new(ErrorKind::Invalid, what)
}

#[cold]
fn not_live(ptr: NonNull<u8>, state: u8) -> Error {
    let why = if state & LIVE == 0 {
        "was freed before"
    } else if state & ORIGIN == INTERNAL || state & PIN != 0 {
        "is not the application's to free"
    } else {
        "is an allocation, not a copy that a view holds"
    };
    Error::new(ErrorKind::Invalid, format!("ptr is {ptr:p}, which {why}"))
}
