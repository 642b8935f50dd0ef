//! The tables: what is known of each segment, run and chunk.
//!
//! They lie at the start of the reservation and consist of atomics, since readers look at some of
//! their fields at any time. Zero, which is what fresh pages read as, is the state of an entry that
//! was never used.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Number of a segment, below [`super::SEG_IDS`].
pub type SegId = u32;
/// Number of a run, [`super::RUN_BASE`] or above.
pub type RunId = u32;
/// No segment.
pub const SEG_NONE: SegId = u32::MAX;

/// What a segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Use {
    /// Has no memory, or is about to lose it.
    Uncommitted = 0,
    /// Has memory and no holder.
    Free = 1,
    /// A store's log.
    Log = 2,
    /// A store's index or tables.
    Index = 3,
    /// Raw allocations.
    Raw = 4,
    /// Retired; a reader may still be in it.
    Waiting = 5,
}

impl Use {
    pub(super) const COUNT: usize = 6;

    /// The use that a table entry names.
    #[inline]
    #[must_use]
    pub fn of(code: u8) -> Self {
        match code {
            1 => Self::Free,
            2 => Self::Log,
            3 => Self::Index,
            4 => Self::Raw,
            5 => Self::Waiting,
            _ => Self::Uncommitted,
        }
    }
}

/// What is known of a segment. The links and everything named *the holder's* belong to whoever
/// took the segment, and to the pool while it is free or waits.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct SegMeta {
    /// Views that hold it.
    pub pins: AtomicU32,
    /// Readers without a slot that are in it now.
    pub readers: AtomicU32,
    /// A [`Use`]; the pool's.
    pub usage: AtomicU8,
    /// The holder's.
    pub queue: AtomicU8,
    /// The holder's.
    pub shard: AtomicU16,
    /// The holder's.
    pub store: AtomicU32,
    /// Bytes written; the holder's.
    pub fill: AtomicU32,
    /// Bytes alive; the holder's.
    pub live: AtomicU32,
    /// Link.
    pub prev: AtomicU32,
    /// Link.
    pub next: AtomicU32,
    /// Link.
    pub bin_prev: AtomicU32,
    /// Link.
    pub bin_next: AtomicU32,
    /// Sequence, new at every [`super::Space::take_segment`], from 1 on.
    pub seq: AtomicU64,
    /// The holder's.
    pub position: AtomicU64,
    /// The holder's.
    pub earliest: AtomicU64,
}

impl SegMeta {
    /// What the segment is used for.
    #[inline]
    #[must_use]
    pub fn usage(&self) -> Use {
        Use::of(self.usage.load(Ordering::Acquire))
    }
}

/// What is known of a run.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct RunMeta {
    /// Views that hold it.
    pub pins: AtomicU32,
    /// Readers without a slot that are in it now.
    pub readers: AtomicU32,
    /// [`Use::Free`] (its place is), [`Use::Log`] (it is held) or [`Use::Waiting`]; the pool's.
    pub usage: AtomicU8,
    /// The holder's.
    pub queue: AtomicU8,
    /// The holder's.
    pub shard: AtomicU16,
    /// The holder's.
    pub store: AtomicU32,
    /// Units charged; the pool's.
    pub(super) grains: AtomicU32,
    /// Mark of a harvest; the pool's.
    pub(super) mark: AtomicU32,
    /// Link; the holder's while it is held.
    pub prev: AtomicU32,
    /// Link; the holder's while it is held.
    pub next: AtomicU32,
    /// Sequence, from the same counter as the segments'.
    pub seq: AtomicU64,
    /// The holder's.
    pub position: AtomicU64,
    /// The holder's.
    pub earliest: AtomicU64,
    /// The holder's; 0 when the run is taken.
    pub owner: AtomicU32,
    /// The raw allocator's; 0 with every other holder.
    pub tag: AtomicU32,
}

/// What is known of a chunk. Touched under the lock only.
#[derive(Debug)]
#[repr(C)]
pub(super) struct ChunkMeta {
    /// Which of its segments have memory of their own charge, or are losing it.
    pub mask: AtomicU64,
    pub prev: AtomicU32,
    pub next: AtomicU32,
    /// A [`Chunk`].
    pub state: AtomicU8,
    /// Its segments in the free lists.
    pub free: AtomicU8,
    /// Its segments that are losing their memory now.
    pub leaving: AtomicU8,
    /// Bits: HUGE_ADVISED, HUGE_SEEN, and which list it is in.
    pub flags: AtomicU8,
}

/// How the memory of a chunk is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Chunk {
    /// Not at all.
    Void = 0,
    /// Whole, backed by a huge page if the system has one.
    Whole = 1,
    /// By segment, in small pages.
    Split = 2,
    /// Whole, and losing its memory now.
    Leaving = 3,
}

/// The system was asked to back the chunk by a huge page.
pub(super) const HUGE_ADVISED: u8 = 1;
/// The chunk was seen to be backed by a huge page.
pub(super) const HUGE_SEEN: u8 = 2;
/// The chunk is in one of the lists of `State`.
pub(super) const LISTED: u8 = 4;

impl ChunkMeta {
    pub(super) fn kind(&self) -> Chunk {
        match self.state.load(Ordering::Relaxed) {
            1 => Chunk::Whole,
            2 => Chunk::Split,
            3 => Chunk::Leaving,
            _ => Chunk::Void,
        }
    }

    pub(super) fn set_kind(&self, kind: Chunk) {
        self.state.store(kind as u8, Ordering::Relaxed);
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    pub(super) fn set(&self, flag: u8, on: bool) {
        let flags = self.flags.load(Ordering::Relaxed);
        self.flags.store(if on { flags | flag } else { flags & !flag }, Ordering::Relaxed);
    }
}
