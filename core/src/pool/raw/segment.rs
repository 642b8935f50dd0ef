//! A raw segment: its mark, its header, the states of its blocks, the map of its free ones, and
//! the lists that segments of a class are on. All of it is an offset or a number, nothing a pointer,
//! and nothing of it lies in the blocks: what a program writes into a block that it gave back harms
//! only whoever gets the block next.
//!
//! The *mark* is a word that the segment's source keeps outside of it (see [`SegmentSource::mark`]).
//! It says of any address whether it is in a raw segment, and of which class, before the segment
//! itself is looked at.
//!
//! A block's state is found without its number: there is a state for every `1 << shift` bytes of
//! the segment, counted from its end down as the blocks are, `shift` being the logarithm of the
//! block's size, rounded down. No two blocks share one, and some are nobody's. All are [`NEVER`] when
//! the segment is taken, so that a state alone tells whether a block is there. States of neighbours
//! lie in different cache lines, because threads that allocate at the same time get neighbours.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::shape::{SHAPES, Shape, blocks_in, divides};
use super::{Owner, SegmentSource};

pub(super) const SEG_NONE: u32 = u32::MAX;
/// With the class in the lower half: the mark of a raw segment.
const MAGIC: u32 = 0x5241_0000;
const HEADER_BYTES: u64 = 64;
/// How far the states of neighbours are apart, as far as there are so many: more than a line, and
/// odd, so that every number has a place of its own.
const SPREAD: u32 = 77;

/// A block's state is one byte. This: it was never in use since its segment was taken.
const NEVER: u8 = 0;
/// In its segment's map, in a magazine, or in the hands of who
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

/// First bytes of a raw segment. Behind them lie the states, and then the map of free blocks, one
/// bit a block in words of 64. Under the class's lock.
#[repr(C, align(64))]
pub(super) struct Header {
    /// Blocks that were ever in use since the segment was taken.
    pub carved: AtomicU32,
    /// Bits that are set in the map.
    pub free: AtomicU32,
    /// No word of the map before this one has a bit set.
    hint: AtomicU32,
    pub prev: AtomicU32,
    pub next: AtomicU32,
}

const _: () = assert!(size_of::<Header>() as u64 == HEADER_BYTES);

impl Header {
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
    /// Bytes of the segment.
    seg_bytes: u64,
    /// Blocks that a segment has.
    pub blocks: u32,
    /// Offset of the map in the segment.
    map_at: u32,
}

impl Layout {
    pub const fn new(class: usize, seg_bytes: u64) -> Self {
        let shape = &SHAPES[class];
        let map_at = HEADER_BYTES + (shape.states_in(seg_bytes) as u64).next_multiple_of(8);
        // A block takes its size and a bit; the map is of whole words.
        let room = (seg_bytes - map_at - 8) * 8;
        let blocks = room / (shape.size as u64 * 8 + 1);
        Self { class, seg_bytes, blocks: blocks as u32, map_at: map_at as u32 }
    }

    pub const fn shape(&self) -> &'static Shape {
        &SHAPES[self.class]
    }

    /// Words of the map.
    pub const fn words(&self) -> u32 {
        self.blocks.div_ceil(64)
    }

    /// Number of a block in its segment: the first is the last in memory.
    fn number(&self, block: Block) -> u32 {
        blocks_in(self.shape().divisor, from_end(self.seg_bytes - 1, block.0)) as u32 - 1
    }
}

/// A block: its offset from the first segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Block(pub u64);

impl Block {
    /// Its segment.
    #[inline(always)]
    pub fn segment<S: SegmentSource>(self, space: &S) -> u32 {
        (self.0 >> space.seg_shift()) as u32
    }

    /// Its state, if it is of the class.
    #[inline(always)]
    pub fn state<S: SegmentSource>(self, space: &S, class: usize) -> &AtomicU8 {
        let seg_bytes = 1_u64 << space.seg_shift();
        let shape = &SHAPES[class];
        let states_mask = shape.states_in(seg_bytes) - 1;
        state_at(space.segments_base(), seg_bytes - 1, self.0, shape.shift, states_mask)
    }
}

/// Bytes from an offset to the end of its segment; at least 1.
#[inline(always)]
pub(super) const fn from_end(seg_mask: u64, offset: u64) -> u64 {
    (!offset & seg_mask) + 1
}

/// The byte at an offset that is known to be a block's. `base` is the first segment's address, here
/// and below: whoever calls has it in a register.
#[inline(always)]
pub(super) fn address(base: *mut u8, offset: u64) -> NonNull<u8> {
    // SAFETY: the offset is that of a block of a raw segment, which lies inside the segments'
    // range (`SegmentSource`), so the sum neither wraps nor is null.
    unsafe { NonNull::new_unchecked(base.add(offset as usize)) }
}

/// Offset of an address from the first segment; huge for one before it.
#[inline(always)]
pub(super) fn offset_of(base: *mut u8, ptr: *const u8) -> u64 {
    (ptr as u64).wrapping_sub(base as u64)
}

/// Header of a segment in raw use.
#[inline(always)]
pub(super) fn header_of<S: SegmentSource>(space: &S, segment: u32) -> &Header {
    let start = u64::from(segment) << space.seg_shift();
    // SAFETY: the caller has the lock of the segment's class, so the segment is committed; it is
    // aligned to its size and longer than a header; the reference does not outlive the space.
    unsafe { &*space.segments_base().add(start as usize).cast::<Header>() }
}

/// The state of the block at an offset in a segment in raw use, of a class with that shift and so
/// many states, less one.
#[inline(always)]
pub(super) fn state_at<'a>(
    base: *mut u8,
    seg_mask: u64,
    offset: u64,
    shift: u32,
    states_mask: u32,
) -> &'a AtomicU8 {
    let behind = !offset & seg_mask;
    let place = ((behind >> shift) as u32).wrapping_mul(SPREAD) & states_mask;
    // The first two make the segment's last byte.
    let at = offset + behind + u64::from(place) - seg_mask + HEADER_BYTES;
    // SAFETY: there is a state for every `1 << shift` bytes of a segment of the class, and the
    // segment is committed; the byte is only ever used as an atomic.
    unsafe { AtomicU8::from_ptr(base.add(at as usize)) }
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
    Block(end - u64::from(number + 1) * u64::from(size))
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

/// The class that a segment's mark tells; more than there are if it is not a raw one.
#[inline(always)]
pub(super) fn class_in(mark: &AtomicU32) -> usize {
    (mark.load(Ordering::Acquire) ^ MAGIC) as usize
}

/// The class of a segment; more than there are if it is not a raw one.
pub(super) fn class_of_segment<S: SegmentSource>(space: &S, segment: u32) -> usize {
    space.mark(u64::from(segment)).map_or(usize::MAX, class_in)
}

/// Class and block at an offset.
pub(super) fn locate<S: SegmentSource>(
    space: &S,
    seg_mask: u64,
    offset: u64,
) -> Result<(usize, Block), Misplaced> {
    let segment = offset >> space.seg_shift();
    if segment >= u64::from(space.segments_max()) {
        return Err(Misplaced::Outside);
    }
    let class = space.mark(segment).map(class_in).ok_or(Misplaced::Foreign)?;
    let shape = SHAPES.get(class).ok_or(Misplaced::Foreign)?;
    let block = Block(offset);
    if divides(shape.divisor, from_end(seg_mask, offset))
        && block.state(space, class).load(Ordering::Relaxed) != NEVER
    {
        Ok((class, block))
    } else {
        Err(Misplaced::Interior)
    }
}

/// Makes a segment that was just taken one of the class's; its bytes are arbitrary.
pub(super) fn found<S: SegmentSource>(space: &S, segment: u32, layout: &Layout) {
    let header = header_of(space, segment);
    for word in [&header.carved, &header.free, &header.hint] {
        word.store(0, Ordering::Relaxed);
    }
    let start = u64::from(segment) << space.seg_shift();
    let states = layout.shape().states_in(layout.seg_bytes) as usize;
    // SAFETY: that many states lie behind the header of a segment that is the caller's alone.
    unsafe {
        let first = space.segments_base().add((start + HEADER_BYTES) as usize);
        first.write_bytes(NEVER, states);
    }
    if let Some(mark) = space.mark(u64::from(segment)) {
        // Release: whoever sees the mark sees the states.
        mark.store(MAGIC | layout.class as u32, Ordering::Release);
    }
}

/// The end of [`found`]; returns how many blocks there were.
pub(super) fn dissolve<S: SegmentSource>(space: &S, segment: u32) -> u32 {
    if let Some(mark) = space.mark(u64::from(segment)) {
        mark.store(0, Ordering::Relaxed);
    }
    header_of(space, segment).carved.load(Ordering::Relaxed)
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
    let size = layout.shape().size;
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
    let size = layout.shape().size;
    // A line's worth at least, so that threads do not get parts of one.
    let taken = wanted.min(carved.max(64 / size).max(1)).min(layout.blocks - carved);
    for number in carved..carved + taken {
        let block = block_at(space, segment, number, size);
        block.state(space, layout.class).store(FREE, Ordering::Relaxed);
        if number % 64 == 0 {
            word_of(space, segment, layout, number / 64).store(0, Ordering::Relaxed);
        }
        each(block);
    }
    header.carved.store(carved + taken, Ordering::Relaxed);
    taken
}

/// Puts a free block into the map, and those that follow it as long as they are of the same
/// segment; returns the first that is not. The caller holds the class's lock.
pub(super) fn map<S: SegmentSource>(
    space: &S,
    segment: u32,
    layout: &Layout,
    first: Block,
    rest: &mut impl Iterator<Item = Block>,
) -> Option<Block> {
    let header = header_of(space, segment);
    let mut free = header.free.load(Ordering::Relaxed);
    let mut hint = header.hint.load(Ordering::Relaxed);
    let mut next = Some(first);
    while let Some(block) = next.filter(|block| block.segment(space) == segment) {
        let number = layout.number(block);
        let word = word_of(space, segment, layout, number / 64);
        word.store(word.load(Ordering::Relaxed) | 1 << (number % 64), Ordering::Relaxed);
        hint = hint.min(number / 64);
        free += 1;
        next = rest.next();
    }
    header.hint.store(hint, Ordering::Relaxed);
    header.free.store(free, Ordering::Relaxed);
    next
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
