//! Raw memory: blocks of any size for the application, and for copies that views hold.
//!
//! A size-class allocator on segments of its own, in the line of Bonwick's slab and magazine
//! allocators (USENIX 1994 and 2001). Sizes are multiples of 16 up to 128 and then four to a
//! doubling, so that at most a fifth of a block is slack; what is larger than a quarter of a
//! segment gets a run of its own.
//!
//! A raw segment begins with a [`Header`] and one state byte a block; its blocks are laid out from
//! its end downward, so that a block is as aligned as its size is, without padding. Free blocks of
//! a segment are chained by their numbers. Each class chains its segments; wholly free ones go
//! back to the pool, but for one that is kept.
//!
//! The first threads have *magazines*, small stacks of free blocks for the small classes, which
//! make the usual allocation a pop and the usual free a push, both without a lock. A magazine is
//! itself a block of this allocator. It belongs to the thread whose reader slot has its number.
//! Whoever must reach all of them (to give memory back, to check) *freezes* them: a flag, a heavy
//! barrier, and then a wait until nobody is at a magazine; owners set their mark, run a light
//! barrier and look at the flag. While frozen, they use the locked way.
//!
//! Invariants:
//! - a block's state byte says where it is: at large, chained, or in a magazine. It leaves the
//!   hands of its owner by one compare-exchange, so of two frees of a block one fails, whatever
//!   thread they come from;
//! - a chained block is handed out only if its state says that it is chained: what a program
//!   writes into a block after freeing it can lose blocks, but not have one handed out twice;
//! - a header changes under its class's lock only.
//!
//! What cannot be told: a second free of a block that was handed out again since, or that runs
//! at the very moment in which the last block's free gives the whole segment back.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

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

impl Owner {
    const fn state(self) -> u8 {
        match self {
            Self::App => STATE_APP,
            Self::Pin => STATE_PIN,
        }
    }
}

// States of a block. The lowest bit of those that are free tells that nobody ever had the block.
const FRESH: u8 = 1;
const STATE_CACHED: u8 = 2;
const STATE_CHAINED: u8 = 4;
const STATE_APP: u8 = 8;
const STATE_PIN: u8 = 10;
const STATE_INTERNAL: u8 = 12;

const SEG_NONE: u32 = u32::MAX;
/// Upper half of a header's `kind`; the lower is the class.
const MAGIC: u32 = 0x5241_0000;
const HEADER_BYTES: usize = 64;
/// Threads that can have magazines.
const SEATS: usize = 16;
/// The strictest alignment that can be asked for.
pub const ALIGN_MAX: usize = 4_096;
/// The alignment that 0 stands for; every block has at least this one.
pub const ALIGN_DEFAULT: usize = 16;

const FINE: usize = 8;
const CLASSES: usize = 56;
/// Classes that magazines hold: blocks of up to 1 KiB.
const CACHED_CLASSES: usize = 20;

/// A class's fixed numbers.
#[derive(Clone, Copy)]
struct Shape {
    size: u32,
    /// Blocks that a magazine holds of it, and where they begin in it.
    cached: u16,
    cached_at: u16,
    /// 2^42 / size, rounded up: `(n * reciprocal) >> 42` is `n / size` for n to 2^21.
    reciprocal: u64,
}

const RECIPROCAL_BITS: u32 = 42;

const SHAPES: [Shape; CLASSES] = {
    let mut out = [Shape { size: 0, cached: 0, cached_at: 0, reciprocal: 0 }; CLASSES];
    let mut at = 0;
    let mut class = 0;
    while class < CLASSES {
        let size = if class < FINE {
            16 * (class + 1)
        } else {
            let step = class - FINE;
            (128 << (step / 4)) / 4 * (4 + step % 4 + 1)
        };
        let cached = if class >= CACHED_CLASSES {
            0
        } else if size <= 128 {
            16
        } else {
            2_048 / size
        };
        out[class] = Shape {
            size: size as u32,
            cached: cached as u16,
            cached_at: at as u16,
            reciprocal: (1_u64 << RECIPROCAL_BITS).div_ceil(size as u64),
        };
        at += cached;
        class += 1;
    }
    out
};

const CACHED_BLOCKS: usize = {
    let last = SHAPES[CACHED_CLASSES - 1];
    last.cached_at as usize + last.cached as usize
};

/// Class of `n` times 16 bytes, for up to 1 KiB.
const SMALL: [u8; 65] = {
    let mut out = [0; 65];
    let mut n = 1;
    let mut class = 0;
    while n <= 64 {
        while (SHAPES[class].size as usize) < n * 16 {
            class += 1;
        }
        out[n] = class as u8;
        n += 1;
    }
    out
};

/// The smallest class that holds `len` bytes; `CLASSES` or more if none does.
#[inline]
fn class_of(len: usize) -> usize {
    if len <= 1_024 {
        return SMALL[len.div_ceil(16)] as usize;
    }
    // The doubling below `len`, and which quarter of it `len` ends in.
    let octave = (len - 1).ilog2();
    let quarter = (len - 1) >> (octave - 2) & 3;
    FINE + 4 * (octave as usize - 7) + quarter
}

/// First bytes of a raw segment. Behind them lies one state byte a block.
#[repr(C, align(64))]
struct Header {
    /// [`MAGIC`] and the class.
    kind: AtomicU32,
    /// Blocks that were ever in use since the segment was taken; the others have no state yet.
    carved: AtomicU32,
    /// Number of the first chained block, plus one.
    chain: AtomicU32,
    chained: AtomicU32,
    /// Blocks that are in state chained, but on no chain: somebody wrote over a link.
    lost: AtomicU32,
    prev: AtomicU32,
    next: AtomicU32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// What a class's lock protects.
#[derive(Clone, Copy)]
struct Class {
    /// Segments with a free block.
    partial: u32,
    /// Segments without.
    full: u32,
    /// A segment in which every block is free.
    spare: u32,
    /// All of them.
    segments: u32,
}

#[repr(align(64))]
struct ClassLock(Mutex<Class>);

/// What one thread has here. Its counters are added to by their owner only (in the last one, which
/// is everybody's, atomically).
#[repr(align(64))]
struct Seat {
    /// 1 while the owner is at its magazine.
    busy: AtomicU32,
    /// The magazine's offset from the first segment, plus one.
    magazine: AtomicU64,
    created: AtomicU64,
    reused: AtomicU64,
    returned: AtomicU64,
    app_bytes: AtomicU64,
    pin_bytes: AtomicU64,
}

impl Seat {
    const fn new() -> Self {
        Self {
            busy: AtomicU32::new(0),
            magazine: AtomicU64::new(0),
            created: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            app_bytes: AtomicU64::new(0),
            pin_bytes: AtomicU64::new(0),
        }
    }
}

/// Stacks of free blocks, by offset from the first segment.
#[repr(C)]
struct Magazine {
    len: [u16; CACHED_CLASSES],
    blocks: [u64; CACHED_BLOCKS],
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
    /// Blocks are no larger.
    block_max: u32,
    wipe: bool,
    freezing: AtomicBool,
    /// Chains found broken and not yet reported.
    broken: AtomicBool,
    discarded: AtomicU64,
    segments: AtomicU64,
    freezer: Mutex<()>,
    seats: [Seat; SEATS],
    shared: Seat,
    classes: [ClassLock; CLASSES],
}

impl std::fmt::Debug for RawAllocator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawAllocator").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// A block by its place: what [`RawAllocator::free`] makes of an address.
#[derive(Clone, Copy)]
struct Place {
    segment: u32,
    class: usize,
    number: u32,
}

impl RawAllocator {
    /// What the pool is charged for it.
    pub const BYTES: u64 = size_of::<Self>() as u64;

    /// An allocator on segments of so many bytes. With `wipe`, blocks are zeroed when they are
    /// given back.
    #[must_use]
    pub fn new(seg_bytes: u64, wipe: bool) -> Self {
        let empty = Class { partial: SEG_NONE, full: SEG_NONE, spare: SEG_NONE, segments: 0 };
        let largest = u64::from(SHAPES[CLASSES - 1].size);
        Self {
            block_max: u32::try_from((seg_bytes / 4).min(largest)).unwrap_or(SHAPES[0].size),
            wipe,
            freezing: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            discarded: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            freezer: Mutex::new(()),
            seats: [const { Seat::new() }; SEATS],
            shared: Seat::new(),
            classes: std::array::from_fn(|_| ClassLock(Mutex::new(empty))),
        }
    }

    /// A block of at least `len` bytes, aligned to `align` (a power of two up to [`ALIGN_MAX`]; 0
    /// is [`ALIGN_DEFAULT`]), its first `len` bytes zeroed if `zero`.
    ///
    /// `None`: the space gives no more memory. Blocks in magazines may still be had after a
    /// [`RawAllocator::flush`].
    pub fn alloc<S: SegmentSource>(
        &self,
        space: &S,
        len: usize,
        align: usize,
        owner: Owner,
        zero: bool,
    ) -> Result<Option<NonNull<u8>>> {
        let Some(class) = self.class_for(len, align)? else {
            return self.alloc_run(space, len, owner);
        };
        let block = match self.seat() {
            Some(seat) if class < CACHED_CLASSES => self.alloc_cached(space, seat, class, owner)?,
            Some(_) | None => self.alloc_locked(space, class, owner)?,
        };
        if let Some(block) = block
            && zero
        {
            // SAFETY: the block is the caller's alone from here on, and of `len` bytes or more.
            unsafe { block.write_bytes(0, len) };
        }
        Ok(block)
    }

    /// Takes a block back.
    ///
    /// [`ErrorKind::Invalid`] if `ptr` is not a live block of `owner` in this pool; nothing is
    /// changed then.
    ///
    /// # Safety
    ///
    /// Nobody uses the block afterwards.
    pub unsafe fn free<S: SegmentSource>(
        &self,
        space: &S,
        ptr: NonNull<u8>,
        owner: Owner,
    ) -> Result<()> {
        let Some(place) = locate(space, ptr)? else {
            return self.free_run(space, ptr, owner);
        };
        match self.seat() {
            Some(seat) if place.class < CACHED_CLASSES => {
                self.free_cached(space, seat, place, ptr, owner)
            }
            Some(_) | None => self.free_locked(space, place, ptr, owner),
        }
    }

    /// Gives back what is held for later: magazines and spare segments. Owners of magazines go on
    /// meanwhile, a little slower. Costs a barrier across all running threads.
    pub fn flush<S: SegmentSource>(&self, space: &S) {
        self.frozen(|| {
            for seat in &self.seats {
                let magazine = seat.magazine.swap(0, Ordering::Relaxed);
                if magazine != 0 {
                    self.dissolve(space, magazine - 1);
                }
            }
        });
        for class in &self.classes {
            let mut class = class.0.lock();
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
        let sum = |read: fn(&Seat) -> &AtomicU64| {
            self.seats
                .iter()
                .chain([&self.shared])
                .fold(0_u64, |sum, seat| sum.wrapping_add(read(seat).load(Ordering::Relaxed)))
        };
        // Words of different threads are read one after the other: what one counted up and
        // another down in between must not show as a huge number.
        let level = |value: u64| if value > u64::MAX / 2 { 0 } else { value };
        let returned = sum(|seat| &seat.returned);
        let (created, reused) = (sum(|seat| &seat.created), sum(|seat| &seat.reused));
        RawCounts {
            created,
            reused,
            returned,
            discarded: self.discarded.load(Ordering::Relaxed),
            app_bytes: level(sum(|seat| &seat.app_bytes)),
            pin_bytes: level(sum(|seat| &seat.pin_bytes)),
            app_blocks: (created.wrapping_add(reused)).saturating_sub(returned),
            segments: self.segments.load(Ordering::Relaxed),
        }
    }

    /// Bytes of the blocks that the application has.
    #[must_use]
    pub fn app_bytes(&self) -> u64 {
        self.counts().app_bytes
    }

    /// Checks every segment, chain and magazine. Holds allocation up while it runs.
    pub fn validate<S: SegmentSource>(&self, space: &S) -> Result<()> {
        self.frozen(|| {
            let guards: Vec<_> = self.classes.iter().map(|class| class.0.lock()).collect();
            let mut cached = [0_u64; CLASSES];
            for seat in &self.seats {
                self.validate_magazine(space, seat, &mut cached)?;
            }
            let mut segments = 0;
            for (class, (guard, cached)) in guards.iter().zip(cached).enumerate() {
                segments += u64::from(guard.segments);
                validate_class(space, class, guard, cached)?;
            }
            check(segments == self.segments.load(Ordering::Relaxed), || {
                format!("the classes have {segments} segments; another number is counted")
            })
        })
    }

    /// The class of a block, `None` for a run.
    #[inline]
    fn class_for(&self, len: usize, align: usize) -> Result<Option<usize>> {
        let mut class = class_of(len.max(1));
        if align > ALIGN_DEFAULT {
            if !align.is_power_of_two() || align > ALIGN_MAX {
                return Err(bad_align(align));
            }
            if len > self.block_max as usize {
                return Ok(None);
            }
            class = class_of(len.max(1).next_multiple_of(align));
            // Sizes are multiples of a quarter of the power of two below them, so a multiple of
            // the alignment is at most seven steps away.
            while class < CLASSES && !(SHAPES[class].size as usize).is_multiple_of(align) {
                class += 1;
            }
        } else if align != 0 && !align.is_power_of_two() {
            return Err(bad_align(align));
        }
        Ok((class < CLASSES && SHAPES[class].size <= self.block_max).then_some(class))
    }

    /// The calling thread's seat, if it has one.
    #[inline]
    fn seat(&self) -> Option<&Seat> {
        self.seats.get(guard::slot_index()?)
    }

    /// Begins the owner's work at its magazine; `None` while magazines are frozen, or if the owner
    /// is at it already (a signal handler came in between).
    #[inline]
    fn sit<'a>(&self, seat: &'a Seat) -> Option<Seated<'a>> {
        if seat.busy.load(Ordering::Relaxed) != 0 {
            return None;
        }
        seat.busy.store(1, Ordering::Relaxed);
        let seated = Seated(seat);
        barrier::light();
        // Acquire: what was done to the magazine while it was frozen is seen when it no longer is.
        if self.freezing.load(Ordering::Acquire) { None } else { Some(seated) }
    }

    /// Runs `work` while nobody is at a magazine.
    fn frozen<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Thaw<'a>(&'a AtomicBool);
        impl Drop for Thaw<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Release);
            }
        }
        let _one_at_a_time = self.freezer.lock();
        let _thaw = Thaw(&self.freezing);
        self.freezing.store(true, Ordering::SeqCst);
        barrier::heavy();
        for seat in &self.seats {
            while seat.busy.load(Ordering::Acquire) != 0 {
                std::thread::yield_now();
            }
        }
        work()
    }

    #[inline]
    fn alloc_cached<S: SegmentSource>(
        &self,
        space: &S,
        seat: &Seat,
        class: usize,
        owner: Owner,
    ) -> Result<Option<NonNull<u8>>> {
        let Some(seated) = self.sit(seat) else {
            return self.alloc_locked(space, class, owner);
        };
        let shape = &SHAPES[class];
        let mut refilled = false;
        let offset = 'popped: {
            if let Some(magazine) = magazine_of(space, seat) {
                // SAFETY: the magazine is live, the calling thread's alone (`seated`), and nothing
                // else refers to it.
                let magazine = unsafe { &mut *magazine.as_ptr() };
                let len = magazine.len[class];
                if len != 0 {
                    magazine.len[class] = len - 1;
                    break 'popped magazine.blocks[(shape.cached_at + len - 1) as usize];
                }
            }
            match self.refill(space, seat, class)? {
                Some(offset) => {
                    refilled = true;
                    offset
                }
                None => return Ok(None),
            }
        };
        let fresh = hand_out(space, offset, shape, owner);
        add(if fresh { &seat.created } else { &seat.reused }, u64::from(owner == Owner::App));
        add(bytes_of(seat, owner), u64::from(shape.size));
        drop(seated);
        if refilled {
            self.report();
        }
        Ok(Some(block_at(space, offset)))
    }

    #[inline]
    fn free_cached<S: SegmentSource>(
        &self,
        space: &S,
        seat: &Seat,
        place: Place,
        ptr: NonNull<u8>,
        owner: Owner,
    ) -> Result<()> {
        let Some(seated) = self.sit(seat) else {
            return self.free_locked(space, place, ptr, owner);
        };
        let shape = &SHAPES[place.class];
        self.take_back(space, place, ptr, owner)?;
        add(&seat.returned, u64::from(owner == Owner::App));
        add(bytes_of(seat, owner), u64::from(shape.size).wrapping_neg());
        let offset = offset_of(space, ptr);
        if let Some(magazine) = magazine_of(space, seat) {
            // SAFETY: as in `alloc_cached`.
            let magazine = unsafe { &mut *magazine.as_ptr() };
            let len = magazine.len[place.class];
            if len < shape.cached {
                magazine.len[place.class] = len + 1;
                magazine.blocks[(shape.cached_at + len) as usize] = offset;
                drop(seated);
                return Ok(());
            }
        }
        self.spill(space, seat, place, offset);
        drop(seated);
        self.report();
        Ok(())
    }

    /// Fills half of the seat's stack of a class, makes the magazine first if there is none, and
    /// returns one block more.
    #[cold]
    fn refill<S: SegmentSource>(
        &self,
        space: &S,
        seat: &Seat,
        class: usize,
    ) -> Result<Option<u64>> {
        let magazine = match magazine_of(space, seat) {
            Some(magazine) => Some(magazine),
            None => self.make_magazine(space, seat)?,
        };
        let mut guard = self.classes[class].0.lock();
        let Some(first) = self.pop(space, &mut guard, class)? else {
            return Ok(None);
        };
        if let Some(magazine) = magazine {
            // SAFETY: the seat's owner is at its magazine (the caller's contract), so that it is
            // the calling thread's alone.
            let magazine = unsafe { &mut *magazine.as_ptr() };
            let shape = &SHAPES[class];
            for _ in 0..shape.cached / 2 {
                // No new segment for what nobody asked for.
                let Some(offset) = self.pop_present(space, &mut guard, class) else { break };
                let len = magazine.len[class];
                magazine.blocks[(shape.cached_at + len) as usize] = offset;
                magazine.len[class] = len + 1;
            }
        }
        Ok(Some(first))
    }

    /// Chains half of the seat's full stack of a class and puts the block on it; without a
    /// magazine, chains the block.
    #[cold]
    fn spill<S: SegmentSource>(&self, space: &S, seat: &Seat, place: Place, offset: u64) {
        let mut guard = self.classes[place.class].0.lock();
        let Some(magazine) = magazine_of(space, seat) else {
            return self.push(space, &mut guard, offset);
        };
        // SAFETY: as in `refill`.
        let magazine = unsafe { &mut *magazine.as_ptr() };
        let shape = &SHAPES[place.class];
        let (at, len) = (shape.cached_at as usize, magazine.len[place.class] as usize);
        let keep = len / 2;
        // The oldest go: the latest are warm.
        for &offset in &magazine.blocks[at..at + len - keep] {
            self.push(space, &mut guard, offset);
        }
        magazine.blocks.copy_within(at + len - keep..at + len, at);
        magazine.blocks[at + keep] = offset;
        magazine.len[place.class] = keep as u16 + 1;
    }

    /// A magazine for the seat; `None` if there is no room for one.
    fn make_magazine<S: SegmentSource>(
        &self,
        space: &S,
        seat: &Seat,
    ) -> Result<Option<NonNull<Magazine>>> {
        let class = class_of(size_of::<Magazine>());
        let offset = {
            let mut guard = self.classes[class].0.lock();
            let Some(offset) = self.pop(space, &mut guard, class)? else { return Ok(None) };
            set_state(space, offset, STATE_INTERNAL);
            offset
        };
        let magazine = block_at(space, offset).cast::<Magazine>();
        // SAFETY: the block is large enough and aligned (to 16 at least), and nobody else's; zero
        // is a value of every field.
        unsafe { magazine.write_bytes(0, 1) };
        seat.magazine.store(offset + 1, Ordering::Relaxed);
        Ok(Some(magazine))
    }

    /// Chains all blocks of a magazine and then the magazine. Its owner is not at it.
    fn dissolve<S: SegmentSource>(&self, space: &S, offset: u64) {
        let magazine = block_at(space, offset).cast::<Magazine>();
        {
            // SAFETY: magazines are frozen, which makes it the calling thread's alone.
            let magazine = unsafe { magazine.as_ref() };
            for (class, &len) in magazine.len.iter().enumerate().filter(|(_, len)| **len != 0) {
                let at = SHAPES[class].cached_at as usize;
                let mut guard = self.classes[class].0.lock();
                for &offset in &magazine.blocks[at..at + len as usize] {
                    self.push(space, &mut guard, offset);
                }
            }
        }
        let class = class_of(size_of::<Magazine>());
        let mut guard = self.classes[class].0.lock();
        set_state(space, offset, STATE_CACHED);
        self.push(space, &mut guard, offset);
    }

    #[cold]
    fn alloc_locked<S: SegmentSource>(
        &self,
        space: &S,
        class: usize,
        owner: Owner,
    ) -> Result<Option<NonNull<u8>>> {
        let shape = &SHAPES[class];
        let mut guard = self.classes[class].0.lock();
        let popped = self.pop(space, &mut guard, class);
        if let Ok(Some(offset)) = popped {
            let fresh = hand_out(space, offset, shape, owner);
            self.count_out(fresh, u64::from(shape.size), owner);
        }
        drop(guard);
        self.report();
        Ok(popped?.map(|offset| block_at(space, offset)))
    }

    #[cold]
    fn free_locked<S: SegmentSource>(
        &self,
        space: &S,
        place: Place,
        ptr: NonNull<u8>,
        owner: Owner,
    ) -> Result<()> {
        let mut guard = self.classes[place.class].0.lock();
        self.take_back(space, place, ptr, owner)?;
        self.count_back(u64::from(SHAPES[place.class].size), owner);
        self.push(space, &mut guard, offset_of(space, ptr));
        drop(guard);
        self.report();
        Ok(())
    }

    /// Moves a block out of its owner's hands, into state cached.
    #[inline]
    fn take_back<S: SegmentSource>(
        &self,
        space: &S,
        place: Place,
        ptr: NonNull<u8>,
        owner: Owner,
    ) -> Result<()> {
        let state = state_of(space, place.segment, place.number);
        let taken = state.compare_exchange(
            owner.state(),
            STATE_CACHED,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if let Err(found) = taken {
            return Err(not_live(ptr, found));
        }
        if self.wipe {
            // SAFETY: the exchange made the block this thread's alone.
            unsafe { ptr.write_bytes(0, SHAPES[place.class].size as usize) };
        }
        Ok(())
    }

    /// A free block of the class: state cached, perhaps fresh.
    fn pop<S: SegmentSource>(
        &self,
        space: &S,
        class: &mut Class,
        number: usize,
    ) -> Result<Option<u64>> {
        loop {
            if let Some(offset) = self.pop_present(space, class, number) {
                return Ok(Some(offset));
            }
            let Some(segment) = space.take_raw_segment()? else { return Ok(None) };
            space.hold(1 << space.seg_shift());
            self.segments.fetch_add(1, Ordering::Relaxed);
            let header = header_of(space, segment);
            header.kind.store(MAGIC | number as u32, Ordering::Relaxed);
            for word in [&header.chain, &header.chained, &header.lost] {
                word.store(0, Ordering::Relaxed);
            }
            header.carved.store(0, Ordering::Release);
            class.segments += 1;
            link(space, &mut class.partial, segment);
        }
    }

    /// As [`RawAllocator::pop`], of the segments that the class has.
    fn pop_present<S: SegmentSource>(
        &self,
        space: &S,
        class: &mut Class,
        number: usize,
    ) -> Option<u64> {
        loop {
            if class.partial == SEG_NONE {
                if class.spare == SEG_NONE {
                    return None;
                }
                let spare = std::mem::replace(&mut class.spare, SEG_NONE);
                link(space, &mut class.partial, spare);
            }
            let segment = class.partial;
            let header = header_of(space, segment);
            let block = self.unchain(space, segment, header, number).or_else(|| {
                let carved = header.carved.load(Ordering::Relaxed);
                (carved < blocks_of(space, number)).then(|| {
                    state_of(space, segment, carved).store(STATE_CACHED | FRESH, Ordering::Relaxed);
                    // Release: whoever sees the number sees the state.
                    header.carved.store(carved + 1, Ordering::Release);
                    carved
                })
            });
            if header.chain.load(Ordering::Relaxed) == 0
                && header.carved.load(Ordering::Relaxed) == blocks_of(space, number)
            {
                unlink(space, &mut class.partial, segment);
                link(space, &mut class.full, segment);
            }
            if let Some(block) = block {
                return Some(offset_at(space, segment, block, number));
            }
        }
    }

    /// The first block of a segment's chain.
    fn unchain<S: SegmentSource>(
        &self,
        space: &S,
        segment: u32,
        header: &Header,
        class: usize,
    ) -> Option<u32> {
        let first = header.chain.load(Ordering::Relaxed).checked_sub(1)?;
        let sound = first < header.carved.load(Ordering::Relaxed);
        let state = if sound { state_of(space, segment, first).load(Ordering::Relaxed) } else { 0 };
        if state & !FRESH != STATE_CHAINED {
            // Somebody wrote into a block that is free: what the chain still held cannot be found
            // again. It stays out of use, and its segment with it.
            let chained = header.chained.swap(0, Ordering::Relaxed);
            header.lost.fetch_add(chained, Ordering::Relaxed);
            header.chain.store(0, Ordering::Relaxed);
            self.broken.store(true, Ordering::Relaxed);
            return None;
        }
        let place = block_at(space, offset_at(space, segment, first, class)).cast::<u32>();
        // SAFETY: the block is free and under the class's lock, and has at least 16 bytes.
        let next = unsafe { place.read() };
        header.chain.store(next, Ordering::Relaxed);
        header.chained.fetch_sub(1, Ordering::Relaxed);
        state_of(space, segment, first).store(STATE_CACHED | state & FRESH, Ordering::Relaxed);
        Some(first)
    }

    /// Chains a block that is in state cached.
    fn push<S: SegmentSource>(&self, space: &S, class: &mut Class, offset: u64) {
        let segment = (offset >> space.seg_shift()) as u32;
        let header = header_of(space, segment);
        let number = class_in(header);
        let block = number_at(space, offset, &SHAPES[number]);
        let was_full = header.chain.load(Ordering::Relaxed) == 0
            && header.carved.load(Ordering::Relaxed) == blocks_of(space, number);
        let state = state_of(space, segment, block);
        state.store(STATE_CHAINED | state.load(Ordering::Relaxed) & FRESH, Ordering::Relaxed);
        // SAFETY: the block is free and under the class's lock, and has at least 16 bytes.
        unsafe {
            block_at(space, offset).cast::<u32>().write(header.chain.load(Ordering::Relaxed));
        }
        header.chain.store(block + 1, Ordering::Relaxed);
        let chained = header.chained.fetch_add(1, Ordering::Relaxed) + 1;
        if was_full {
            unlink(space, &mut class.full, segment);
            link(space, &mut class.partial, segment);
        }
        if chained == header.carved.load(Ordering::Relaxed) {
            unlink(space, &mut class.partial, segment);
            if class.spare == SEG_NONE {
                class.spare = segment;
            } else {
                self.give_segment(space, class, segment);
            }
        }
    }

    /// Gives a segment back that is on no list and has every block chained.
    fn give_segment<S: SegmentSource>(&self, space: &S, class: &mut Class, segment: u32) {
        let header = header_of(space, segment);
        let carved = header.carved.swap(0, Ordering::Relaxed);
        header.kind.store(0, Ordering::Relaxed);
        self.discarded.fetch_add(u64::from(carved), Ordering::Relaxed);
        self.segments.fetch_sub(1, Ordering::Relaxed);
        class.segments -= 1;
        space.give_raw_segment(segment);
        space.unhold(1 << space.seg_shift());
    }

    #[cold]
    fn alloc_run<S: SegmentSource>(
        &self,
        space: &S,
        len: usize,
        owner: Owner,
    ) -> Result<Option<NonNull<u8>>> {
        let Some(run) = space.take_raw_run(len as u64)? else { return Ok(None) };
        let charge = space.run_charge(run);
        space.hold(charge);
        self.count_out(true, charge, owner);
        let address = NonNull::new(space.run_addr(run));
        // Release: whoever frees it finds the run as the space made it.
        space.run_tag(run).store(u32::from(owner.state()), Ordering::Release);
        Ok(address)
    }

    #[cold]
    fn free_run<S: SegmentSource>(&self, space: &S, ptr: NonNull<u8>, owner: Owner) -> Result<()> {
        let run = space.run_of_addr(ptr.as_ptr()).ok_or_else(|| foreign(ptr))?;
        space
            .run_tag(run)
            .compare_exchange(u32::from(owner.state()), 0, Ordering::AcqRel, Ordering::Relaxed)
            .map_err(|found| not_live(ptr, found as u8))?;
        let charge = space.run_charge(run);
        self.count_back(charge, owner);
        self.discarded.fetch_add(1, Ordering::Relaxed);
        space.give_raw_run(run);
        space.unhold(charge);
        Ok(())
    }

    fn count_out(&self, fresh: bool, bytes: u64, owner: Owner) {
        let count = if fresh { &self.shared.created } else { &self.shared.reused };
        count.fetch_add(u64::from(owner == Owner::App), Ordering::Relaxed);
        bytes_of(&self.shared, owner).fetch_add(bytes, Ordering::Relaxed);
    }

    fn count_back(&self, bytes: u64, owner: Owner) {
        self.shared.returned.fetch_add(u64::from(owner == Owner::App), Ordering::Relaxed);
        bytes_of(&self.shared, owner).fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Reports broken chains, once each, without a lock.
    fn report(&self) {
        if self.broken.load(Ordering::Relaxed) && self.broken.swap(false, Ordering::Relaxed) {
            log(
                Severity::Error,
                "raw memory was written to after it was freed; the blocks this cost stay unused",
            );
        }
    }

    fn validate_magazine<S: SegmentSource>(
        &self,
        space: &S,
        seat: &Seat,
        cached: &mut [u64; CLASSES],
    ) -> Result<()> {
        let Some(magazine) = magazine_of(space, seat) else { return Ok(()) };
        // SAFETY: magazines are frozen, which makes it the calling thread's alone.
        let magazine = unsafe { magazine.as_ref() };
        for (class, (&len, shape)) in magazine.len.iter().zip(&SHAPES).enumerate() {
            check(len <= shape.cached, || {
                format!("a magazine has {len} blocks of {}", shape.size)
            })?;
            cached[class] += u64::from(len);
            let at = shape.cached_at as usize;
            for &offset in &magazine.blocks[at..at + len as usize] {
                let segment = (offset >> space.seg_shift()) as u32;
                let sound = segment < space.segments_max()
                    && space.is_raw(segment)
                    && class_in(header_of(space, segment)) == class
                    && state_of(space, segment, number_at(space, offset, shape))
                        .load(Ordering::Relaxed)
                        & !FRESH
                        == STATE_CACHED;
                check(sound, || format!("a magazine holds block {offset:#x}, which is not free"))?;
            }
        }
        Ok(())
    }
}

/// Marks the owner of a seat at its magazine.
struct Seated<'a>(&'a Seat);

impl Drop for Seated<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: whoever finds the seat empty finds the magazine as it was left.
        self.0.busy.store(0, Ordering::Release);
    }
}

/// Checks one class: its lists, chains, states and counts.
fn validate_class<S: SegmentSource>(
    space: &S,
    number: usize,
    class: &Class,
    in_magazines: u64,
) -> Result<()> {
    let size = SHAPES[number].size;
    let blocks = blocks_of(space, number);
    let mut cached = 0;
    let mut segments = 0;
    for (list, is_full) in [(class.partial, false), (class.full, true), (class.spare, false)] {
        let mut previous = SEG_NONE;
        let mut segment = list;
        while segment != SEG_NONE {
            let fault = |what: &str| {
                Error::new(
                    ErrorKind::Internal,
                    format!("raw segment {segment} of {size}-byte blocks: {what}"),
                )
            };
            let sound = |holds: bool, what: &str| if holds { Ok(()) } else { Err(fault(what)) };
            segments += 1;
            sound(segments <= class.segments, "its list does not end")?;
            sound(segment < space.segments_max() && space.is_raw(segment), "it is in other use")?;
            let header = header_of(space, segment);
            sound(
                header.kind.load(Ordering::Relaxed) == MAGIC | number as u32,
                "it is of another class",
            )?;
            let carved = header.carved.load(Ordering::Relaxed);
            let chained = header.chained.load(Ordering::Relaxed);
            let lost = header.lost.load(Ordering::Relaxed);
            sound(carved <= blocks, "more blocks are in use than fit")?;
            let has_free = header.chain.load(Ordering::Relaxed) != 0 || carved < blocks;
            sound(has_free != is_full, "it is on the wrong list")?;
            if list == class.spare {
                sound(chained == carved, "a spare one has blocks in use")?;
            } else {
                sound(header.prev.load(Ordering::Relaxed) == previous, "its links disagree")?;
            }
            let mut in_chain = 0;
            let mut link = header.chain.load(Ordering::Relaxed);
            while link != 0 && in_chain <= chained {
                let block = link - 1;
                sound(block < carved, "its chain leaves the blocks")?;
                let state = state_of(space, segment, block).load(Ordering::Relaxed);
                sound(state & !FRESH == STATE_CHAINED, "its chain holds a block in use")?;
                in_chain += 1;
                let place = block_at(space, offset_at(space, segment, block, number)).cast::<u32>();
                // SAFETY: the block is free and under the class's lock, and has 16 bytes or more.
                link = unsafe { place.read() };
            }
            sound(in_chain == chained, "its chain is of another length than counted")?;
            let mut off_hands = 0;
            for block in 0..carved {
                match state_of(space, segment, block).load(Ordering::Relaxed) & !FRESH {
                    STATE_CHAINED => off_hands += 1,
                    STATE_CACHED => cached += 1,
                    STATE_APP | STATE_PIN | STATE_INTERNAL => {}
                    _ => return Err(fault("a block has an unknown state")),
                }
            }
            sound(off_hands == chained + lost, "blocks are free and on no chain")?;
            previous = segment;
            segment =
                if list == class.spare { SEG_NONE } else { header.next.load(Ordering::Relaxed) };
        }
    }
    check(segments == class.segments, || {
        format!(
            "{segments} raw segments of {size}-byte blocks are listed, {} counted",
            class.segments
        )
    })?;
    check(cached == in_magazines, || {
        format!("{cached} blocks of {size} bytes are cached, {in_magazines} in magazines")
    })
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Internal, what())) }
}

/// Adds where nobody else writes.
#[inline(always)]
fn add(word: &AtomicU64, n: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

#[inline(always)]
fn bytes_of(seat: &Seat, owner: Owner) -> &AtomicU64 {
    match owner {
        Owner::App => &seat.app_bytes,
        Owner::Pin => &seat.pin_bytes,
    }
}

/// The seat's magazine. The caller must be at it, or have frozen them, to follow the pointer.
#[inline(always)]
fn magazine_of<S: SegmentSource>(space: &S, seat: &Seat) -> Option<NonNull<Magazine>> {
    let offset = seat.magazine.load(Ordering::Relaxed).checked_sub(1)?;
    Some(block_at(space, offset).cast())
}

/// The block at an offset that is known to be one.
#[inline(always)]
fn block_at<S: SegmentSource>(space: &S, offset: u64) -> NonNull<u8> {
    // SAFETY: the offset is that of a block of a raw segment, which lies inside the segments'
    // range (`SegmentSource`), so the sum neither wraps nor is null.
    unsafe { NonNull::new_unchecked(space.segments_base().add(offset as usize)) }
}

#[inline(always)]
fn offset_of<S: SegmentSource>(space: &S, ptr: NonNull<u8>) -> u64 {
    (ptr.as_ptr() as u64).wrapping_sub(space.segments_base() as u64)
}

/// Header of a segment that is in raw use, or that a program's error makes us look at: its words
/// are atomics, any bits are values of them.
#[inline(always)]
fn header_of<S: SegmentSource>(space: &S, segment: u32) -> &Header {
    let offset = (segment as usize) << space.seg_shift();
    // SAFETY: the caller checked that the segment is in raw use, so it is committed, aligned to
    // its size and longer than a header; the reference does not outlive the space.
    unsafe { &*space.segments_base().add(offset).cast::<Header>() }
}

/// The state of a block of a segment in raw use.
#[inline(always)]
fn state_of<S: SegmentSource>(space: &S, segment: u32, block: u32) -> &AtomicU8 {
    let offset = ((segment as usize) << space.seg_shift()) + HEADER_BYTES + block as usize;
    // SAFETY: block numbers are below `blocks_of`, so the byte is between header and blocks of a
    // committed segment; it is only ever used as an atomic.
    unsafe { AtomicU8::from_ptr(space.segments_base().add(offset)) }
}

/// Class in a header, 0 if there is none: whoever must know compares `kind` itself.
#[inline(always)]
fn class_in(header: &Header) -> usize {
    let class = (header.kind.load(Ordering::Relaxed) ^ MAGIC) as usize;
    if class < CLASSES { class } else { 0 }
}

/// Blocks that a segment of the class has.
#[inline(always)]
fn blocks_of<S: SegmentSource>(space: &S, class: usize) -> u32 {
    ((1_u32 << space.seg_shift()) - HEADER_BYTES as u32) / (SHAPES[class].size + 1)
}

/// Number of the block at an offset that is known to be one: the first is the last in memory.
#[inline(always)]
fn number_at<S: SegmentSource>(space: &S, offset: u64, shape: &Shape) -> u32 {
    let mask = (1_u64 << space.seg_shift()) - 1;
    let from_end = mask + 1 - (offset & mask);
    ((from_end * shape.reciprocal) >> RECIPROCAL_BITS) as u32 - 1
}

#[inline(always)]
fn offset_at<S: SegmentSource>(space: &S, segment: u32, block: u32, class: usize) -> u64 {
    (u64::from(segment + 1) << space.seg_shift())
        - u64::from(block + 1) * u64::from(SHAPES[class].size)
}

/// Moves a block that is in state cached to its owner; true if nobody had it before.
#[inline(always)]
fn hand_out<S: SegmentSource>(space: &S, offset: u64, shape: &Shape, owner: Owner) -> bool {
    let segment = (offset >> space.seg_shift()) as u32;
    let state = state_of(space, segment, number_at(space, offset, shape));
    let fresh = state.load(Ordering::Relaxed) & FRESH != 0;
    state.store(owner.state(), Ordering::Relaxed);
    fresh
}

fn set_state<S: SegmentSource>(space: &S, offset: u64, to: u8) {
    let segment = (offset >> space.seg_shift()) as u32;
    let number = number_at(space, offset, &SHAPES[class_in(header_of(space, segment))]);
    state_of(space, segment, number).store(to, Ordering::Relaxed);
}

/// The block at an address; `None` if it is not in the segments' range.
#[inline]
fn locate<S: SegmentSource>(space: &S, ptr: NonNull<u8>) -> Result<Option<Place>> {
    let offset = offset_of(space, ptr);
    let segment = offset >> space.seg_shift();
    if segment >= u64::from(space.segments_max()) {
        return Ok(None);
    }
    let segment = segment as u32;
    if !space.is_raw(segment) {
        return Err(foreign(ptr));
    }
    let header = header_of(space, segment);
    let class = (header.kind.load(Ordering::Relaxed) ^ MAGIC) as usize;
    let Some(shape) = SHAPES.get(class) else {
        return Err(foreign(ptr));
    };
    let mask = (1_u64 << space.seg_shift()) - 1;
    let from_end = mask + 1 - (offset & mask);
    let blocks = (from_end * shape.reciprocal) >> RECIPROCAL_BITS;
    let carved = u64::from(header.carved.load(Ordering::Acquire));
    if blocks * u64::from(shape.size) != from_end || blocks > carved {
        return Err(interior(ptr));
    }
    Ok(Some(Place { segment, class, number: blocks as u32 - 1 }))
}

fn link<S: SegmentSource>(space: &S, head: &mut u32, segment: u32) {
    let header = header_of(space, segment);
    header.prev.store(SEG_NONE, Ordering::Relaxed);
    header.next.store(*head, Ordering::Relaxed);
    if *head != SEG_NONE {
        header_of(space, *head).prev.store(segment, Ordering::Relaxed);
    }
    *head = segment;
}

fn unlink<S: SegmentSource>(space: &S, head: &mut u32, segment: u32) {
    let header = header_of(space, segment);
    let prev = header.prev.load(Ordering::Relaxed);
    let next = header.next.load(Ordering::Relaxed);
    if prev == SEG_NONE {
        *head = next;
    } else {
        header_of(space, prev).next.store(next, Ordering::Relaxed);
    }
    if next != SEG_NONE {
        header_of(space, next).prev.store(prev, Ordering::Relaxed);
    }
}

#[cold]
fn bad_align(align: usize) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("align is {align}; 0 or a power of two up to {ALIGN_MAX} is allowed"),
    )
}

#[cold]
fn foreign(ptr: NonNull<u8>) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("ptr is {ptr:p}, which is not memory of this pool's allocations"),
    )
}

#[cold]
fn interior(ptr: NonNull<u8>) -> Error {
    Error::new(ErrorKind::Invalid, format!("ptr is {ptr:p}, where no allocation begins"))
}

#[cold]
fn not_live(ptr: NonNull<u8>, state: u8) -> Error {
    let why = match state {
        STATE_APP => "is an allocation, and not a copy that a view holds",
        STATE_PIN | STATE_INTERNAL => "is not the application's to free",
        _ => "was freed before",
    };
    Error::new(ErrorKind::Invalid, format!("ptr is {ptr:p}, which {why}"))
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;
