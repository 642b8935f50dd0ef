//! Magazines: small stacks of free blocks that belong to one thread each.
//!
//! A magazine is one block of memory, in which the stacks of all classes lie one behind the other:
//! a line of numbers, and then the offsets of the free blocks. Where a stack begins is the same in
//! all magazines of a pool, so that it is looked up in a table of the pool's.

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence};

use super::Owner;
use super::segment::{Block, live, state_at};
use super::shape::{CACHED_CLASSES, CACHED_MAX, SHAPES, SMALL, class_of};
use crate::memory::barrier;

/// A thread's place.
#[repr(align(64))]
pub(super) struct Seat {
    /// Null: there is none, or it is frozen.
    pub magazine: AtomicPtr<u8>,
    /// 1 while the owner is at its magazine.
    pub busy: AtomicU32,
    /// State of a block that was handed out here, by owner.
    pub live: [u8; 2],
}

impl Seat {
    pub fn new(number: usize) -> Self {
        let number = number as u8;
        Self {
            magazine: AtomicPtr::new(null_mut()),
            busy: AtomicU32::new(0),
            live: [live(Owner::App, number), live(Owner::Pin, number)],
        }
    }

    /// Begins the owner's work at its magazine, which it may look for from here on.
    #[inline(always)]
    pub fn sit(&self) -> Seated<'_> {
        self.busy.store(1, Ordering::Relaxed);
        barrier::light();
        Seated(self)
    }

    /// The same, where [`barrier::is_asymmetric`] was seen to hold.
    #[inline(always)]
    pub fn sit_unfenced(&self) -> Seated<'_> {
        self.busy.store(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        Seated(self)
    }

    /// The magazine, if it is there. The caller is at it, or keeps it from being dissolved: then
    /// it stays what it is.
    #[inline(always)]
    pub fn magazine(&self) -> Option<Magazine> {
        Magazine::at(self.magazine.load(Ordering::Acquire))
    }
}

/// Marks the owner of a seat at its magazine.
pub(super) struct Seated<'a>(&'a Seat);

impl Drop for Seated<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: whoever finds the seat empty finds everything as it was left.
        self.0.busy.store(0, Ordering::Release);
    }
}

/// What is counted. By owner, but for the first.
#[derive(Default)]
#[repr(C)]
pub(super) struct Tally {
    /// Blocks made out of fresh memory for the application.
    pub created: AtomicU64,
    pub taken: [AtomicU64; 2],
    pub returned: [AtomicU64; 2],
}

/// What was counted at one moment.
#[derive(Default)]
pub(super) struct Counted {
    pub created: u64,
    pub taken: [u64; 2],
    pub returned: [u64; 2],
}

impl Tally {
    /// As it is now.
    pub fn read(&self) -> Counted {
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Counted {
            created: read(&self.created),
            taken: [read(&self.taken[0]), read(&self.taken[1])],
            returned: [read(&self.returned[0]), read(&self.returned[1])],
        }
    }

    /// Adds what was counted elsewhere.
    pub fn absorb(&self, other: &Counted) {
        self.created.fetch_add(other.created, Ordering::Relaxed);
        for owner in [Owner::App as usize, Owner::Pin as usize] {
            self.taken[owner].fetch_add(other.taken[owner], Ordering::Relaxed);
            self.returned[owner].fetch_add(other.returned[owner], Ordering::Relaxed);
        }
    }
}

/// Adds where nobody else writes.
#[inline(always)]
pub(super) fn add(word: &AtomicU64, n: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// A stack of free blocks of one class: its numbers, one cache line. Atomics, because whoever sums
/// the counts reads along; its owner, or who froze the magazine, changes them with plain loads and
/// stores.
///
/// The block on top has a place of its own, so that what is given back and taken again at once, as
/// most blocks are, is found without first finding out how many there are: the processor then knows
/// early where it is written and read.
///
/// How many blocks lie below and how often one was handed out are one word. How often a block was
/// taken back follows from what is here, and from how many came from the class's segments, less
/// those that went there. Views and drafts, which are rarer, count themselves.
#[repr(C, align(64))]
pub(super) struct Numbers {
    /// Offset of the block on top; 0: none. No block has that one, where a header is.
    pub top: AtomicU64,
    /// How many blocks are in places, and in units of [`TAKEN`] how many were handed out.
    pub word: AtomicU64,
    /// The shape's.
    pub divisor: u32,
    /// States in a segment, less one.
    pub states_mask: u32,
    /// How many places there are.
    pub cap: u16,
    /// The shape's.
    pub shift: u8,
    /// Blocks that came from the class's segments, less those that went there. Changes together
    /// with the number of blocks, under the class's lock.
    brought: AtomicU64,
    /// Blocks made out of fresh memory for the application.
    pub created: AtomicU64,
    pub pins_taken: AtomicU64,
    pub pins_returned: AtomicU64,
}

const LINE: usize = 64;
const _: () = assert!(size_of::<Numbers>() == LINE);

/// Part of [`Numbers::word`] that counts the blocks in places.
const LEN: u64 = (1 << 10) - 1;
/// One block handed out, in [`Numbers::word`]. 2^54 of them take years.
const TAKEN: u64 = LEN + 1;

const _: () = assert!(SHAPES[0].cached(1 << 21) as u64 <= LEN);

/// Where the stacks lie in a pool's magazines, in bytes.
pub(super) struct Plan {
    /// The stack for blocks of so many times 16 bytes.
    pub for_len: [u16; CACHED_MAX / 16 + 1],
    /// The stack of a class.
    pub of_class: [u16; CACHED_CLASSES],
}

impl Plan {
    /// That of a pool of such segments.
    pub const fn new(seg_bytes: u64) -> Self {
        let mut plan = Self { for_len: [0; CACHED_MAX / 16 + 1], of_class: [0; CACHED_CLASSES] };
        let mut class = 0;
        while class < CACHED_CLASSES {
            plan.of_class[class] = Magazine::before(class, seg_bytes) as u16;
            class += 1;
        }
        let mut n = 0;
        while n < SMALL.len() {
            plan.for_len[n] = plan.of_class[SMALL[n] as usize];
            n += 1;
        }
        plan
    }
}

/// A magazine. What is called on one that nobody keeps from being dissolved has no meaning.
#[derive(Clone, Copy)]
pub(super) struct Magazine(NonNull<u8>);

impl Magazine {
    /// Bytes of all stacks before that of a class.
    const fn before(class: usize, seg_bytes: u64) -> usize {
        let mut bytes = 0;
        let mut at = 0;
        while at < class {
            let places = SHAPES[at].cached(seg_bytes) as usize * size_of::<AtomicU64>();
            bytes += LINE + places.next_multiple_of(LINE);
            at += 1;
        }
        bytes
    }

    /// Bytes of one in a pool of such segments.
    pub const fn bytes(seg_bytes: u64) -> usize {
        Self::before(CACHED_CLASSES, seg_bytes)
    }

    /// Makes an empty one in a block of [`Magazine::bytes`].
    ///
    /// # Safety
    /// The block is a multiple of 64, as long as that, and the caller's alone.
    pub unsafe fn make(place: NonNull<u8>, plan: &Plan, seg_bytes: u64) -> Self {
        for (shape, at) in SHAPES.iter().zip(plan.of_class) {
            let numbers = Numbers {
                top: AtomicU64::new(0),
                word: AtomicU64::new(0),
                divisor: shape.small_divisor(),
                states_mask: shape.states_in(seg_bytes) - 1,
                cap: shape.cached(seg_bytes) as u16,
                shift: shape.shift as u8,
                brought: AtomicU64::new(0),
                created: AtomicU64::new(0),
                pins_taken: AtomicU64::new(0),
                pins_returned: AtomicU64::new(0),
            };
            // SAFETY: the plan's places lie in the block, a line each at least, and are multiples
            // of a line's bytes.
            unsafe { place.add(at as usize).cast::<Numbers>().write(numbers) };
        }
        Self(place)
    }

    /// The one at this place, which is that of a live one, or null.
    pub fn at(place: *mut u8) -> Option<Self> {
        NonNull::new(place).map(Self)
    }

    /// Its place, null for none.
    pub fn as_ptr(magazine: Option<Self>) -> *mut u8 {
        magazine.map_or(null_mut(), |magazine| magazine.0.as_ptr())
    }

    /// The stack at a place out of the pool's [`Plan`].
    #[inline(always)]
    pub fn stack(&self, at: u16) -> Stack<'_> {
        // SAFETY: the plan's places lie in the magazine.
        Stack { place: unsafe { self.0.add(at as usize) }, magazine: std::marker::PhantomData }
    }
}

/// Room for a block on a stack: on top, or else behind what its word counts.
#[derive(Clone, Copy)]
pub(super) struct Room {
    top: u64,
    word: u64,
}

/// A stack of a magazine.
#[derive(Clone, Copy)]
pub(super) struct Stack<'a> {
    place: NonNull<u8>,
    magazine: std::marker::PhantomData<&'a Magazine>,
}

impl Numbers {
    /// The state of a block of the class.
    #[inline(always)]
    pub fn state_at<'a>(&self, base: *mut u8, seg_mask: u64, offset: u64) -> &'a AtomicU8 {
        state_at(base, seg_mask, offset, self.shift.into(), self.states_mask)
    }
}

impl<'a> Stack<'a> {
    /// Its numbers.
    #[inline(always)]
    pub fn numbers(&self) -> &'a Numbers {
        // SAFETY: a stack of a magazine that is not dissolved begins with its numbers.
        unsafe { self.place.cast().as_ref() }
    }

    /// A place below its `cap`.
    #[inline(always)]
    pub fn place(&self, index: usize) -> &'a AtomicU64 {
        debug_assert!(index < self.numbers().cap as usize);
        // SAFETY: behind a stack's line are `cap` words at least, see `Magazine::before`; they are
        // only ever used as atomics, and any bits are a value of them.
        unsafe { self.place.add(LINE).cast::<AtomicU64>().add(index).as_ref() }
    }

    /// How many blocks are in places.
    pub fn len(&self) -> usize {
        (self.numbers().word.load(Ordering::Relaxed) & LEN) as usize
    }

    /// All blocks.
    pub fn blocks(self) -> impl Iterator<Item = Block> + 'a {
        let top = Some(self.numbers().top.load(Ordering::Relaxed)).filter(|top| *top != 0);
        let below = (0..self.len()).map(move |index| self.place(index).load(Ordering::Relaxed));
        top.into_iter().chain(below).map(Block)
    }

    /// Takes a block off.
    #[inline(always)]
    pub fn pop(self) -> Option<u64> {
        let numbers = self.numbers();
        let word = numbers.word.load(Ordering::Relaxed);
        let top = numbers.top.load(Ordering::Relaxed);
        if top != 0 {
            numbers.top.store(0, Ordering::Relaxed);
            numbers.word.store(word.wrapping_add(TAKEN), Ordering::Relaxed);
            return Some(top);
        }
        let last = ((word & LEN) as usize).checked_sub(1)?;
        let offset = self.place(last).load(Ordering::Relaxed);
        numbers.word.store(word.wrapping_add(TAKEN - 1), Ordering::Relaxed);
        Some(offset)
    }

    /// Room for one more block, if it has some.
    #[inline(always)]
    pub fn room(&self) -> Option<Room> {
        let numbers = self.numbers();
        let top = numbers.top.load(Ordering::Relaxed);
        let word = numbers.word.load(Ordering::Relaxed);
        (top == 0 || word & LEN < u64::from(numbers.cap)).then_some(Room { top, word })
    }

    /// Puts a block into the room that there is.
    #[inline(always)]
    pub fn push(self, room: Room, offset: u64) {
        if room.top == 0 {
            self.numbers().top.store(offset, Ordering::Relaxed);
        } else {
            // Below the top, which need not move: no order is promised.
            self.place((room.word & LEN) as usize).store(offset, Ordering::Relaxed);
            self.numbers().word.store(room.word.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Says how many are in places, with none on top, after some came from the class's segments or
    /// went there; returns the room on top. The caller has the class's lock.
    pub fn settle(&self, len: usize) -> Room {
        let numbers = self.numbers();
        let top = numbers.top.load(Ordering::Relaxed);
        let word = numbers.word.load(Ordering::Relaxed);
        let more = (len as u64).wrapping_sub(word & LEN);
        add(&numbers.brought, more.wrapping_sub(u64::from(top != 0)));
        numbers.top.store(0, Ordering::Relaxed);
        let word = word.wrapping_add(more);
        numbers.word.store(word, Ordering::Relaxed);
        Room { top: 0, word }
    }

    /// What it counted. The caller has the class's lock.
    pub fn counted(&self) -> Counted {
        let numbers = self.numbers();
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let word = read(&numbers.word);
        let taken = word / TAKEN;
        let len = (word & LEN) + u64::from(read(&numbers.top) != 0);
        let returned = taken.wrapping_add(len).wrapping_sub(read(&numbers.brought));
        let pins = (read(&numbers.pins_taken), read(&numbers.pins_returned));
        let mut counted = Counted { created: read(&numbers.created), ..Counted::default() };
        counted.taken[Owner::App as usize] = taken.wrapping_sub(pins.0);
        counted.taken[Owner::Pin as usize] = pins.0;
        counted.returned[Owner::App as usize] = returned.wrapping_sub(pins.1);
        counted.returned[Owner::Pin as usize] = pins.1;
        counted
    }
}

// A block is as aligned as its size is, and places in magazines have 16 bits.
const _: () = {
    let mut seg_shift = 14;
    while seg_shift <= 21 {
        let bytes = Magazine::bytes(1 << seg_shift);
        assert!(bytes <= u16::MAX as usize);
        assert!((SHAPES[class_of(bytes)].size as usize).is_multiple_of(LINE));
        seg_shift += 1;
    }
};
