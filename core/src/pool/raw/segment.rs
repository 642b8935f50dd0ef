//! A raw segment: its header, the states of its blocks, the map of its free ones, and the lists
//! that segments of a class are on. All of it is an offset or a number, nothing a pointer, and
//! nothing of it lies in the blocks: what a program writes into a block that it gave back harms
//! only whoever gets the block next.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::shape::{SHAPES, blocks_in};
use super::{Owner, SegmentSource};

pub(super) const SEG_NONE: u32 = u32::MAX;
/// Upper half of a header's `kind`; the lower is the class.
const MAGIC: u32 = 0x5241_0000;
const HEADER_BYTES: u64 = 64;

/// A block's state is one byte. This: in its segment's map, in a magazine, or in the hands of who
/// moves it from one to the other.
pub(super) const FREE: u8 = 2;
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

/// First bytes of a raw segment. Behind them lie one state byte a block, and then the map of free
/// blocks, one bit a block in words of 64.
#[repr(C, align(64))]
pub(super) struct Header {
    /// [`MAGIC`] and the class.
    kind: AtomicU32,
    /// Blocks that were ever in use since the segment was taken; the others have no state yet.
    pub carved: AtomicU32,
    /// The class's size and reciprocal, to have them in this line.
    size: AtomicU64,
    reciprocal: AtomicU64,
    /// Bits that are set in the map.
    pub free: AtomicU32,
    /// No word of the map before this one has a bit set.
    hint: AtomicU32,
    pub prev: AtomicU32,
    pub next: AtomicU32,
}

const _: () = assert!(size_of::<Header>() as u64 == HEADER_BYTES);

impl Header {
    /// The end of [`found`]; returns how many blocks there were.
    pub fn dissolve(&self) -> u32 {
        self.kind.store(0, Ordering::Relaxed);
        self.carved.swap(0, Ordering::Relaxed)
    }

    /// Its class, more than there are if it is no raw segment's header.
    #[inline(always)]
    pub fn class(&self) -> usize {
        (self.kind.load(Ordering::Relaxed) ^ MAGIC) as usize
    }

    /// Whether it has no block to give.
    pub fn is_full(&self, layout: &Layout) -> bool {
        self.free.load(Ordering::Relaxed) == 0
            && self.carved.load(Ordering::Relaxed) == layout.blocks
    }

    /// Whether no word of the map before the hint has a bit set.
    pub fn is_sound<S: SegmentSource>(&self, space: &S, segment: u32, layout: &Layout) -> bool {
        let hint = self.hint.load(Ordering::Relaxed);
        (0..hint).all(|word| word_of(space, segment, layout, word).load(Ordering::Relaxed) == 0)
    }

    /// Whether all blocks that were ever in use are in the map.
    pub fn is_empty(&self) -> bool {
        self.free.load(Ordering::Relaxed) == self.carved.load(Ordering::Relaxed)
    }
}

/// Where what lies in a segment of a class.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub class: usize,
    /// Blocks that a segment has.
    pub blocks: u32,
    /// Offset of the map in the segment.
    map_at: u32,
}

impl Layout {
    pub const fn new(class: usize, seg_bytes: u64) -> Self {
        // A block takes its size, a byte and a bit; the map begins and ends with a word's bounds.
        let room = (seg_bytes - HEADER_BYTES - 16) * 8;
        let blocks = room / (SHAPES[class].size as u64 * 8 + 9);
        let map_at = HEADER_BYTES + blocks.next_multiple_of(8);
        Self { class, blocks: blocks as u32, map_at: map_at as u32 }
    }

    /// Words of the map.
    pub const fn words(&self) -> u32 {
        self.blocks.div_ceil(64)
    }
}

/// A block: its offset from the first segment, and above it its number in its segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Block(pub u64);

/// Segments' offsets are below 2^43, and blocks a segment fewer than 2^18.
const NUMBER_SHIFT: u32 = 44;

impl Block {
    #[inline(always)]
    pub const fn new(offset: u64, number: u32) -> Self {
        Self(offset | (number as u64) << NUMBER_SHIFT)
    }

    /// Offset from the first segment.
    #[inline(always)]
    pub const fn offset(self) -> u64 {
        self.0 & ((1 << NUMBER_SHIFT) - 1)
    }

    /// Number in its segment.
    #[inline(always)]
    pub const fn number(self) -> u64 {
        self.0 >> NUMBER_SHIFT
    }

    /// Its segment.
    #[inline(always)]
    pub fn segment<S: SegmentSource>(self, space: &S) -> u32 {
        (self.offset() >> space.seg_shift()) as u32
    }

    /// Its state.
    #[inline(always)]
    pub fn state<S: SegmentSource>(self, space: &S) -> &AtomicU8 {
        let mask = (1_u64 << space.seg_shift()) - 1;
        state_at(space, self.offset() & !mask, self.number())
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

/// The state of a block of a segment in raw use, by the segment's offset.
#[inline(always)]
pub(super) fn state_at<S: SegmentSource>(space: &S, start: u64, number: u64) -> &AtomicU8 {
    // SAFETY: block numbers are below what fits, so the byte is between header and blocks of a
    // committed segment; it is only ever used as an atomic.
    unsafe {
        AtomicU8::from_ptr(space.segments_base().add((start + HEADER_BYTES + number) as usize))
    }
}

/// A word of the map of a segment in raw use.
#[inline(always)]
pub(super) fn word_of<'a, S: SegmentSource>(
    space: &'a S,
    segment: u32,
    layout: &Layout,
    word: u32,
) -> &'a AtomicU64 {
    let start = u64::from(segment) << space.seg_shift();
    let at = start + u64::from(layout.map_at) + u64::from(word) * 8;
    // SAFETY: the word is one of the map's, aligned to 8 in a committed segment, and only ever
    // used as an atomic.
    unsafe { AtomicU64::from_ptr(space.segments_base().add(at as usize).cast()) }
}

/// Block of a number: the first is the last in memory.
#[inline(always)]
pub(super) fn block_at<S: SegmentSource>(space: &S, segment: u32, number: u32, size: u32) -> Block {
    let end = u64::from(segment + 1) << space.seg_shift();
    Block::new(end - u64::from(number + 1) * u64::from(size), number)
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

/// Class, below `MOST`, and block at an address.
#[inline(always)]
pub(super) fn locate<S: SegmentSource, const MOST: usize>(
    space: &S,
    seg_mask: u64,
    offset: u64,
) -> Result<(usize, Block), Misplaced> {
    let segment = offset >> space.seg_shift();
    if segment > u64::from(u32::MAX) || !space.is_raw(segment as u32) {
        return Err(if segment >= u64::from(space.segments_max()) {
            Misplaced::Outside
        } else {
            Misplaced::Foreign
        });
    }
    let header = header_at(space, offset & !seg_mask);
    let class = header.class();
    if class >= MOST {
        return Err(Misplaced::Foreign);
    }
    let from_end = seg_mask + 1 - (offset & seg_mask);
    let blocks = blocks_in(from_end, header.reciprocal.load(Ordering::Relaxed));
    let carved = u64::from(header.carved.load(Ordering::Acquire));
    if blocks * header.size.load(Ordering::Relaxed) != from_end || blocks > carved {
        return Err(Misplaced::Interior);
    }
    Ok((class, Block::new(offset, blocks as u32 - 1)))
}

/// Makes a segment that was just taken one of the class's; its bytes are arbitrary.
pub(super) fn found<S: SegmentSource>(space: &S, segment: u32, layout: &Layout) {
    let header = header_of(space, segment);
    for word in [&header.carved, &header.free, &header.hint] {
        word.store(0, Ordering::Relaxed);
    }
    let shape = &SHAPES[layout.class];
    header.size.store(u64::from(shape.size), Ordering::Relaxed);
    header.reciprocal.store(shape.reciprocal, Ordering::Relaxed);
    header.kind.store(MAGIC | layout.class as u32, Ordering::Release);
}

/// Takes up to `wanted` blocks that were in use before out of the map; the caller holds the class's
/// lock.
pub(super) fn unmap<S: SegmentSource>(
    space: &S,
    segment: u32,
    layout: &Layout,
    wanted: u32,
    mut each: impl FnMut(Block),
) -> u32 {
    let header = header_of(space, segment);
    let free = header.free.load(Ordering::Relaxed);
    let wanted = wanted.min(free);
    let size = SHAPES[layout.class].size;
    let mut word = header.hint.load(Ordering::Relaxed);
    let mut taken = 0;
    while taken < wanted && word < layout.words() {
        let place = word_of(space, segment, layout, word);
        let mut bits = place.load(Ordering::Relaxed);
        while bits != 0 && taken < wanted {
            each(block_at(space, segment, word * 64 + bits.trailing_zeros(), size));
            bits &= bits - 1;
            taken += 1;
        }
        place.store(bits, Ordering::Relaxed);
        if bits == 0 {
            word += 1;
        }
    }
    header.hint.store(word, Ordering::Relaxed);
    header.free.store(free - taken, Ordering::Relaxed);
    taken
}

/// Takes up to `wanted` blocks that were never in use, and no more than ever were, so that a
/// segment's memory is touched as it is needed; the caller holds the class's lock.
pub(super) fn carve<S: SegmentSource>(
    space: &S,
    segment: u32,
    layout: &Layout,
    wanted: u32,
    mut each: impl FnMut(Block),
) -> u32 {
    let header = header_of(space, segment);
    let carved = header.carved.load(Ordering::Relaxed);
    let taken = wanted.min(carved.max(1)).min(layout.blocks - carved);
    for number in carved..carved + taken {
        let block = block_at(space, segment, number, SHAPES[layout.class].size);
        block.state(space).store(FREE, Ordering::Relaxed);
        if number % 64 == 0 {
            word_of(space, segment, layout, number / 64).store(0, Ordering::Relaxed);
        }
        each(block);
    }
    // Release: whoever sees the number sees the states.
    header.carved.store(carved + taken, Ordering::Release);
    taken
}

/// Puts a free block into the map; the caller holds the class's lock.
#[inline]
pub(super) fn map<S: SegmentSource>(space: &S, header: &Header, layout: &Layout, block: Block) {
    let number = block.number() as u32;
    let word = word_of(space, block.segment(space), layout, number / 64);
    word.store(word.load(Ordering::Relaxed) | 1 << (number % 64), Ordering::Relaxed);
    if number / 64 < header.hint.load(Ordering::Relaxed) {
        header.hint.store(number / 64, Ordering::Relaxed);
    }
    header.free.store(header.free.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
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
