//! A raw segment: its header, the states of its blocks, the chain of its free ones, and the lists
//! that segments of a class are on. All of it is an offset or a number, nothing a pointer.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::shape::{CLASSES, SHAPES, Shape};
use super::{Owner, SegmentSource};

pub(super) const SEG_NONE: u32 = u32::MAX;
/// Upper half of a header's `kind`; the lower is the class.
const MAGIC: u32 = 0x5241_0000;
const HEADER_BYTES: usize = 64;

/// A block's state is one byte. Of a free one the lowest bit tells that nobody ever had it.
pub(super) const FRESH: u8 = 1;
/// In a magazine, or in the hands of who moves it.
pub(super) const CACHED: u8 = 2;
/// On its segment's chain.
pub(super) const CHAINED: u8 = 4;
/// Given back by another thread than the one whose magazine it came from, and not yet believed.
pub(super) const PENDING: u8 = 6;
/// Somebody's.
pub(super) const LIVE: u8 = 0x80;
/// Of a live one: a view's or draft's, not the application's.
pub(super) const PIN: u8 = 0x40;
/// Of a live one: the seat that it was handed out at, or one of the two below.
pub(super) const ORIGIN: u8 = 0x1F;
/// Handed out under the class's lock.
pub(super) const NO_SEAT: u8 = 0x10;
/// A magazine.
pub(super) const INTERNAL: u8 = 0x11;

/// The state of a block that `owner` got at `origin`.
#[inline(always)]
pub(super) const fn live(owner: Owner, origin: u8) -> u8 {
    match owner {
        Owner::App => LIVE | origin,
        Owner::Pin => LIVE | PIN | origin,
    }
}

/// First bytes of a raw segment. Behind them lies one state byte a block.
#[repr(C, align(64))]
pub(super) struct Header {
    /// [`MAGIC`] and the class.
    kind: AtomicU32,
    /// Blocks that were ever in use since the segment was taken; the others have no state yet.
    pub carved: AtomicU32,
    /// Number of the first chained block, plus one.
    pub chain: AtomicU32,
    pub chained: AtomicU32,
    /// Blocks that are in state chained, but on no chain: somebody wrote over a link.
    pub lost: AtomicU32,
    pub prev: AtomicU32,
    pub next: AtomicU32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

impl Header {
    /// Makes a segment that was just taken one of the class's.
    pub fn found(&self, class: usize) {
        for word in [&self.carved, &self.chain, &self.chained, &self.lost] {
            word.store(0, Ordering::Relaxed);
        }
        self.kind.store(MAGIC | class as u32, Ordering::Release);
    }

    /// The end of [`Header::found`]; returns how many blocks there were.
    pub fn dissolve(&self) -> u32 {
        self.kind.store(0, Ordering::Relaxed);
        self.carved.swap(0, Ordering::Relaxed)
    }

    /// Its class, `CLASSES` or more if it is no raw segment's header.
    #[inline(always)]
    pub fn class(&self) -> usize {
        (self.kind.load(Ordering::Relaxed) ^ MAGIC) as usize
    }

    /// Whether it has no block to give.
    pub fn is_full(&self, blocks: u32) -> bool {
        self.chain.load(Ordering::Relaxed) == 0 && self.carved.load(Ordering::Relaxed) == blocks
    }
}

/// A block by its place.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub class: usize,
    pub number: u32,
}

/// A block: its offset from the first segment, and its number in its segment.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub offset: u64,
    pub number: u32,
}

impl Block {
    /// The block of a shape at an offset that is known to be one.
    #[inline(always)]
    pub fn at<S: SegmentSource>(space: &S, offset: u64, shape: &Shape) -> Self {
        let mask = (1_u64 << space.seg_shift()) - 1;
        let number = shape.blocks_in(mask + 1 - (offset & mask)) as u32 - 1;
        Self { offset, number }
    }

    /// Its segment.
    #[inline(always)]
    pub fn segment<S: SegmentSource>(self, space: &S) -> u32 {
        (self.offset >> space.seg_shift()) as u32
    }

    /// Its state.
    #[inline(always)]
    pub fn state<S: SegmentSource>(self, space: &S) -> &AtomicU8 {
        state_of(space, self.segment(space), self.number)
    }
}

/// The byte at an offset that is known to be a block's.
#[inline(always)]
pub(super) fn address<S: SegmentSource>(space: &S, offset: u64) -> NonNull<u8> {
    // SAFETY: the offset is that of a block of a raw segment, which lies inside the segments'
    // range (`SegmentSource`), so the sum neither wraps nor is null.
    unsafe { NonNull::new_unchecked(space.segments_base().add(offset as usize)) }
}

/// Offset of an address from the first segment; huge for one before it.
#[inline(always)]
pub(super) fn offset_of<S: SegmentSource>(space: &S, ptr: NonNull<u8>) -> u64 {
    (ptr.as_ptr() as u64).wrapping_sub(space.segments_base() as u64)
}

/// Header of a segment that is in raw use, or that a program's error makes us look at: its words
/// are atomics, any bits are values of them.
#[inline(always)]
pub(super) fn header_of<S: SegmentSource>(space: &S, segment: u32) -> &Header {
    header_at(space, u64::from(segment) << space.seg_shift())
}

/// As [`header_of`], by the segment's offset.
#[inline(always)]
pub(super) fn header_at<S: SegmentSource>(space: &S, start: u64) -> &Header {
    // SAFETY: the caller checked that the segment is in raw use, so it is committed, aligned to
    // its size and longer than a header; the reference does not outlive the space.
    unsafe { &*space.segments_base().add(start as usize).cast::<Header>() }
}

/// The state of a block of a segment in raw use.
#[inline(always)]
pub(super) fn state_of<S: SegmentSource>(space: &S, segment: u32, number: u32) -> &AtomicU8 {
    state_at(space, u64::from(segment) << space.seg_shift(), number)
}

/// As [`state_of`], by the segment's offset.
#[inline(always)]
pub(super) fn state_at<S: SegmentSource>(space: &S, start: u64, number: u32) -> &AtomicU8 {
    let offset = start as usize + HEADER_BYTES + number as usize;
    // SAFETY: block numbers are below what fits, so the byte is between header and blocks of a
    // committed segment; it is only ever used as an atomic.
    unsafe { AtomicU8::from_ptr(space.segments_base().add(offset)) }
}

/// Blocks that a segment of so many bytes has of a size.
pub(super) const fn blocks_in(seg_bytes: u64, size: u32) -> u32 {
    ((seg_bytes - HEADER_BYTES as u64) / (size as u64 + 1)) as u32
}

/// Block of a number: the first is the last in memory.
#[inline(always)]
pub(super) fn block_at<S: SegmentSource>(space: &S, segment: u32, number: u32, size: u32) -> Block {
    let end = u64::from(segment + 1) << space.seg_shift();
    Block { offset: end - u64::from(number + 1) * u64::from(size), number }
}

/// Why an address is not a block's.
pub(super) enum Misplaced {
    /// Not in the segments' range.
    Outside,
    /// In a segment that is not in raw use.
    Foreign,
    /// No block that was ever handed out begins there.
    Interior,
}

/// The block at an address.
#[inline(always)]
pub(super) fn locate<S: SegmentSource>(space: &S, ptr: NonNull<u8>) -> Result<Place, Misplaced> {
    let offset = offset_of(space, ptr);
    let segment = offset >> space.seg_shift();
    if segment >= u64::from(space.segments_max()) {
        return Err(Misplaced::Outside);
    }
    let segment = segment as u32;
    if !space.is_raw(segment) {
        return Err(Misplaced::Foreign);
    }
    let header = header_of(space, segment);
    let class = header.class();
    if class >= CLASSES {
        return Err(Misplaced::Foreign);
    }
    let shape = &SHAPES[class];
    let mask = (1_u64 << space.seg_shift()) - 1;
    let from_end = mask + 1 - (offset & mask);
    let blocks = shape.blocks_in(from_end);
    let carved = u64::from(header.carved.load(Ordering::Acquire));
    if blocks * u64::from(shape.size) != from_end || blocks > carved {
        return Err(Misplaced::Interior);
    }
    Ok(Place { class, number: blocks as u32 - 1 })
}

/// Takes the first block off the segment's chain; `Err`: the chain is broken, and what was on it is
/// lost. The caller holds the class's lock.
pub(super) fn unchain<S: SegmentSource>(
    space: &S,
    segment: u32,
    header: &Header,
    shape: &Shape,
) -> Result<Option<Block>, ()> {
    let Some(first) = header.chain.load(Ordering::Relaxed).checked_sub(1) else {
        return Ok(None);
    };
    if first < header.carved.load(Ordering::Relaxed) {
        let state = state_of(space, segment, first);
        let was = state.load(Ordering::Relaxed);
        if was & !FRESH == CHAINED {
            let block = block_at(space, segment, first, shape.size);
            // SAFETY: the block is free and under the class's lock, and has 16 bytes or more.
            let next = unsafe { address(space, block.offset).cast::<u32>().read() };
            state.store(CACHED | was & FRESH, Ordering::Relaxed);
            header.chain.store(next, Ordering::Relaxed);
            let chained = header.chained.load(Ordering::Relaxed);
            header.chained.store(chained.wrapping_sub(1), Ordering::Relaxed);
            return Ok(Some(block));
        }
    }
    let chained = header.chained.swap(0, Ordering::Relaxed);
    header.lost.fetch_add(chained, Ordering::Relaxed);
    header.chain.store(0, Ordering::Relaxed);
    Err(())
}

/// Takes a block that was never in use; the caller holds the class's lock.
pub(super) fn carve<S: SegmentSource>(
    space: &S,
    segment: u32,
    header: &Header,
    shape: &Shape,
    blocks: u32,
) -> Option<Block> {
    let carved = header.carved.load(Ordering::Relaxed);
    if carved >= blocks {
        return None;
    }
    state_of(space, segment, carved).store(CACHED | FRESH, Ordering::Relaxed);
    // Release: whoever sees the number sees the state.
    header.carved.store(carved + 1, Ordering::Release);
    Some(block_at(space, segment, carved, shape.size))
}

/// Puts a cached block on its segment's chain; the caller holds the class's lock.
#[inline]
pub(super) fn chain<S: SegmentSource>(space: &S, header: &Header, block: Block) {
    let state = block.state(space);
    state.store(CHAINED | state.load(Ordering::Relaxed) & FRESH, Ordering::Relaxed);
    let next = header.chain.load(Ordering::Relaxed);
    // SAFETY: the block is free and under the class's lock, and has 16 bytes or more.
    unsafe { address(space, block.offset).cast::<u32>().write(next) };
    header.chain.store(block.number + 1, Ordering::Relaxed);
    let chained = header.chained.load(Ordering::Relaxed);
    header.chained.store(chained + 1, Ordering::Relaxed);
}

/// Puts a segment at the front of a list.
pub(super) fn link<S: SegmentSource>(space: &S, head: &mut u32, segment: u32) {
    let header = header_of(space, segment);
    header.prev.store(SEG_NONE, Ordering::Relaxed);
    header.next.store(*head, Ordering::Relaxed);
    if *head != SEG_NONE {
        header_of(space, *head).prev.store(segment, Ordering::Relaxed);
    }
    *head = segment;
}

/// Takes a segment off the list that it is on.
pub(super) fn unlink<S: SegmentSource>(space: &S, head: &mut u32, segment: u32) {
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
