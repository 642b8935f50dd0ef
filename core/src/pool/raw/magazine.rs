//! Magazines: small stacks of free blocks that belong to one thread each.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::segment::{Block, live};
use super::shape::{CACHED_CLASSES, SHAPES};
use super::{Owner, SegmentSource};
use crate::memory::barrier;

/// A thread's place.
#[repr(align(64))]
pub(super) struct Seat {
    /// Null: there is none, or it is frozen.
    pub magazine: AtomicPtr<Magazine>,
    /// 1 while the owner is at its magazine.
    pub busy: AtomicU32,
    /// State of a block that was handed out here, by owner.
    pub live: [u8; 2],
    /// Class of the block below.
    last_class: AtomicU32,
    /// The block that was handed out here last, while it is at large: what is freed is most often
    /// what was taken last, and of this one all is known. 0: none.
    last: AtomicU64,
}

impl Seat {
    pub fn new(number: usize) -> Self {
        let number = number as u8;
        Self {
            magazine: AtomicPtr::new(null_mut()),
            busy: AtomicU32::new(0),
            live: [live(Owner::App, number), live(Owner::Pin, number)],
            last_class: AtomicU32::new(0),
            last: AtomicU64::new(0),
        }
    }

    /// Remembers a block that the owner hands out here.
    #[inline(always)]
    pub fn remember(&self, class: usize, block: Block) {
        self.last_class.store(class as u32, Ordering::Relaxed);
        self.last.store(block.0, Ordering::Relaxed);
    }

    /// The block at this offset, if it is the remembered one.
    #[inline(always)]
    pub fn recall(&self, offset: u64) -> Option<(usize, Block)> {
        let last = Block(self.last.load(Ordering::Relaxed));
        // No block has offset 0, where a header is.
        (last.offset() == offset && offset != 0)
            .then(|| (self.last_class.load(Ordering::Relaxed) as usize, last))
    }

    /// Remembers nothing. Whoever takes a block that was handed out here back in another way than
    /// its owner's quick one sees to this, before the block's memory can become something else.
    #[inline(always)]
    pub fn forget(&self) {
        self.last.store(0, Ordering::Relaxed);
    }

    /// Begins the owner's work at its magazine, which it may look for from here on.
    #[inline(always)]
    pub fn sit(&self) -> Seated<'_> {
        self.busy.store(1, Ordering::Relaxed);
        barrier::light();
        Seated(self)
    }

    /// The magazine, if it is there. The caller is at it, or keeps it from being dissolved.
    #[inline(always)]
    pub fn magazine(&self) -> Option<&Magazine> {
        // SAFETY: the pointer is null or that of a live magazine, which nobody dissolves but who
        // has taken it from the seat, waited until its owner is not at it, and keeps others from
        // counting.
        unsafe { self.magazine.load(Ordering::Acquire).as_ref() }
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

/// What is counted of one class by one thread, or by all that are at no magazine. By owner.
#[derive(Default)]
#[repr(C)]
pub(super) struct Tally {
    /// Blocks made out of fresh memory.
    pub created: [AtomicU64; 2],
    pub taken: [AtomicU64; 2],
    pub returned: [AtomicU64; 2],
}

impl Tally {
    /// Adds what another one counted.
    pub fn absorb(&self, other: &Self) {
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

/// Adds where nobody else writes.
#[inline(always)]
pub(super) fn add(word: &AtomicU64, n: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// A stack of free blocks of one class. Atomics, because whoever sums the counts reads along; its
/// owner, or who froze the magazine, changes them with plain loads and stores.
#[repr(C)]
pub(super) struct Stack {
    pub len: AtomicU32,
    /// How many it holds.
    pub cap: u32,
    /// Where its places begin, in bytes from the first segment.
    at: u64,
    pub tally: Tally,
}

/// The stacks of one thread. Their places lie behind it, one word each.
#[repr(C)]
pub(super) struct Magazine {
    stacks: [Stack; CACHED_CLASSES],
}

impl Magazine {
    /// Bytes of one in a pool of such segments.
    pub fn bytes(seg_bytes: u64) -> usize {
        let places: u32 =
            SHAPES[..CACHED_CLASSES].iter().map(|shape| shape.cached(seg_bytes)).sum();
        size_of::<Self>() + places as usize * size_of::<AtomicU64>()
    }

    /// An empty one, for the front of a block of [`Magazine::bytes`] at `offset`.
    pub fn new(offset: u64, seg_bytes: u64) -> Self {
        let mut at = offset + size_of::<Self>() as u64;
        Self {
            stacks: std::array::from_fn(|class| {
                let cap = SHAPES[class].cached(seg_bytes);
                let stack = Stack { len: AtomicU32::new(0), cap, at, tally: Tally::default() };
                at += u64::from(cap) * size_of::<AtomicU64>() as u64;
                stack
            }),
        }
    }

    /// The stacks by class.
    #[inline(always)]
    pub const fn stacks(&self) -> &[Stack; CACHED_CLASSES] {
        &self.stacks
    }
}

impl Stack {
    /// A place of a live magazine's stack, below its `cap`.
    #[inline(always)]
    pub fn place<'a, S: SegmentSource>(&self, space: &'a S, index: u32) -> &'a AtomicU64 {
        debug_assert!(index < self.cap);
        let at = self.at as usize + index as usize * size_of::<AtomicU64>();
        // SAFETY: magazines are made by `Magazine::new` in blocks of `Magazine::bytes`, which hold
        // `cap` words for each stack from its `at` on; they are only ever used as atomics.
        unsafe { AtomicU64::from_ptr(space.segments_base().add(at).cast()) }
    }
}

const _: () = assert!(align_of::<Magazine>() <= super::ALIGN_DEFAULT);
