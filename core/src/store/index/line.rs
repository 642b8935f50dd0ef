//! One index line: 64 bytes, ten slots.
//!
//! ```text
//! 0          4                         24                                       64
//! | header   | 10 x (tag 14, hits 2)   | 10 x location 32                       |
//! ```
//! The header holds a *moving* bit, a *spill* bit and a version of 30 bits. A location of 0 is an
//! empty slot. In a line that spills, slot 9 holds the number of the overflow line, and its tag is
//! 0, which no key has.
//!
//! The header of a bucket's home line is a sequence lock for *misses*: a writer that moves slots
//! from one place to another sets the moving bit first and ends with a new version; a reader that
//! found nothing believes it only if the header was not moving and is still the same. A hit needs
//! no version: what it found was named by a slot after it was announced.
//!
//! All writes are made under the shard's lock, except the hit counts, which readers bump by
//! compare-exchange and may lose.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

/// Slots in a line. A model's time grows with every access, so its lines are short.
pub const SLOTS: usize = if cfg!(loom) { 2 } else { 10 };
/// The slot that links to the overflow line in a line that spills.
pub const LINK: usize = SLOTS - 1;

const MOVING: u32 = 1;
const SPILL: u32 = 2;
const VERSION: u32 = 4;
const HITS_MASK: u16 = crate::eviction::HITS_MAX as u16;
const TAG_MASK: u16 = !HITS_MASK;

/// A line. See the module for its layout.
#[repr(C, align(64))]
pub struct Line {
    header: AtomicU32,
    tags: [AtomicU16; SLOTS],
    locations: [AtomicU32; SLOTS],
}

/// What a slot holds: the tag and the hits in one word, and the location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotValue {
    word: u16,
    /// Location of the entry, never 0.
    pub location: u32,
}

impl SlotValue {
    /// A tag, as [`tag_of`] gives it, with hits and a location.
    #[inline(always)]
    pub const fn new(tag: u16, hits: u8, location: u32) -> Self {
        Self { word: tag | hits as u16, location }
    }

    /// The tag.
    #[inline(always)]
    pub const fn tag(self) -> u16 {
        self.word & TAG_MASK
    }

    /// Hits, 0 to [`crate::eviction::HITS_MAX`].
    #[inline(always)]
    pub const fn hits(self) -> u8 {
        (self.word & HITS_MASK) as u8
    }
}

/// The tag of a hash, shifted to where a slot keeps it; never 0.
#[inline(always)]
pub fn tag_of(hash: u64) -> u16 {
    let tag = ((hash >> 32) as u16) & TAG_MASK;
    if tag == 0 { HITS_MASK + 1 } else { tag }
}

impl Line {
    /// An empty line. Lines in use lie in zeroed memory, which is the same.
    #[cfg(any(test, loom))]
    #[must_use]
    pub fn vacant() -> Self {
        Self {
            header: AtomicU32::new(0),
            tags: std::array::from_fn(|_| AtomicU16::new(0)),
            locations: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// [`Line::matches`] one slot at a time: it promises no more than the vector load does.
    #[cfg(loom)]
    pub fn matches(&self, tag: u16) -> u32 {
        let is_match = |slot: &usize| self.tags[*slot].load(Ordering::Relaxed) & TAG_MASK == tag;
        (0..SLOTS).filter(is_match).map(|slot| 1 << slot).sum()
    }

    /// Bit i is set where slot i has this tag. A hint: it may be out of date.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn matches(&self, tag: u16) -> u32 {
        let words = std::ptr::from_ref(self).cast::<u8>();
        // SAFETY: a line is 64 readable bytes.
        let bits = unsafe { crate::memory::racy::match_u16x16(words, TAG_MASK, tag) };
        bits >> 2 & ((1 << SLOTS) - 1)
    }

    /// Asks for the line.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn prefetch(&self) {
        crate::memory::racy::prefetch(std::ptr::from_ref(self).cast());
    }

    /// The header, for a later [`Line::unchanged`].
    #[inline(always)]
    pub fn header(&self) -> u32 {
        self.header.load(Ordering::Acquire)
    }

    /// Whether a probe that began with this header and found nothing saw every slot.
    #[inline(always)]
    pub fn unchanged(&self, header: u32) -> bool {
        fence(Ordering::Acquire);
        header & MOVING == 0 && self.header.load(Ordering::Relaxed) == header
    }

    /// Whether the line spills into another one.
    #[inline(always)]
    pub fn spills(header: u32) -> bool {
        header & SPILL != 0
    }

    /// The location in a slot.
    #[inline(always)]
    pub fn location(&self, slot: usize) -> u32 {
        self.locations[slot].load(Ordering::Acquire)
    }

    /// Whether the slot still holds this tag and location.
    #[inline(always)]
    pub fn still(&self, slot: usize, tag: u16, location: u32) -> bool {
        #[cfg(all(not(loom), any(test, feature = "testing")))]
        crate::store::testing::before_second_look();
        let is_still = self.locations[slot].load(Ordering::Acquire) == location
            && self.tags[slot].load(Ordering::Relaxed) & TAG_MASK == tag;
        #[cfg(all(not(loom), any(test, feature = "testing")))]
        crate::store::testing::after_second_look(is_still);
        is_still
    }

    /// Counts a hit; a lost race is dropped, a saturated count is not written.
    #[inline(always)]
    pub fn count_hit(&self, slot: usize, tag: u16) {
        let cell = &self.tags[slot];
        let word = cell.load(Ordering::Relaxed);
        if word & HITS_MASK != HITS_MASK && word & TAG_MASK == tag {
            let _ = cell.compare_exchange(word, word + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Takes a hit back that took the count to `hits`; a lost race is dropped.
    #[inline]
    pub fn uncount_hit(&self, slot: usize, tag: u16, hits: u8) {
        let word = tag | u16::from(hits);
        let less = word - 1;
        let _ = self.tags[slot].compare_exchange(word, less, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Sets the hits of a slot that is in use. Under the lock; hits that readers count meanwhile are
    /// lost.
    #[inline]
    pub fn set_hits(&self, slot: usize, hits: u8) {
        let tag = self.tags[slot].load(Ordering::Relaxed) & TAG_MASK;
        self.tags[slot].store(tag | u16::from(hits), Ordering::Relaxed);
    }

    /// The hits in a slot.
    #[inline(always)]
    pub fn hits(&self, slot: usize) -> u8 {
        (self.tags[slot].load(Ordering::Relaxed) & HITS_MASK) as u8
    }

    /// What the slot holds, if anything; the link of a line that spills is not a slot.
    #[inline(always)]
    pub fn get(&self, slot: usize) -> Option<SlotValue> {
        let location = self.locations[slot].load(Ordering::Relaxed);
        if location == 0 || slot == LINK && Self::spills(self.header.load(Ordering::Relaxed)) {
            return None;
        }
        Some(SlotValue { word: self.tags[slot].load(Ordering::Relaxed), location })
    }

    /// Slots that entries may use here.
    #[inline(always)]
    pub fn usable(&self) -> usize {
        if Self::spills(self.header.load(Ordering::Relaxed)) { LINK } else { SLOTS }
    }

    /// The first empty slot.
    #[inline(always)]
    pub fn vacancy(&self) -> Option<usize> {
        // Under the lock tags are exact, and only an empty slot or the link has tag 0.
        let empty = self.matches(0) & ((1 << self.usable()) - 1);
        (empty != 0).then(|| empty.trailing_zeros() as usize)
    }

    /// Slots in use.
    pub fn len(&self) -> usize {
        (0..SLOTS).filter(|&slot| self.get(slot).is_some()).count()
    }

    /// Fills an empty slot. The entry's bytes become visible with it.
    #[inline(always)]
    pub fn fill(&self, slot: usize, value: SlotValue) {
        self.tags[slot].store(value.word, Ordering::Relaxed);
        self.locations[slot].store(value.location, Ordering::Release);
    }

    /// Points a slot to another entry of the same key.
    #[inline(always)]
    pub fn relocate(&self, slot: usize, location: u32, hits: u8) {
        self.locations[slot].store(location, Ordering::Release);
        let tag = self.tags[slot].load(Ordering::Relaxed) & TAG_MASK;
        self.tags[slot].store(tag | u16::from(hits), Ordering::Relaxed);
    }

    /// Empties a slot.
    #[inline(always)]
    pub fn empty(&self, slot: usize) {
        self.locations[slot].store(0, Ordering::Release);
        self.tags[slot].store(0, Ordering::Relaxed);
    }

    /// Overflow line that this one spills into.
    #[inline(always)]
    pub fn link(&self) -> u32 {
        self.locations[LINK].load(Ordering::Acquire)
    }

    /// Makes slot 9 the link to an overflow line. The slot must be empty, the bucket moving.
    pub fn set_link(&self, line: u32) {
        self.tags[LINK].store(0, Ordering::Relaxed);
        self.locations[LINK].store(line, Ordering::Release);
        self.header.fetch_or(SPILL, Ordering::Release);
    }

    /// Ends the spill. The bucket must be moving.
    pub fn clear_link(&self) {
        self.header.fetch_and(!SPILL, Ordering::Release);
        self.locations[LINK].store(0, Ordering::Release);
    }

    /// Threads a line that is not in use into the list of free ones. Tags stay 0, so a reader that
    /// is still here matches nothing and goes nowhere.
    pub fn set_next_free(&self, line: u32) {
        // After the empty tags: a reader that matched an older tag sees with this number that it is
        // gone, and does not take the number for a location.
        self.locations[0].store(line, Ordering::Release);
    }

    /// The next free line.
    pub fn next_free(&self) -> u32 {
        self.locations[0].load(Ordering::Relaxed)
    }

    /// Lines of the chunk that are in use, in the header of a chunk.
    pub fn used(&self) -> u32 {
        self.locations[1].load(Ordering::Relaxed)
    }

    /// Sets [`Line::used`].
    pub fn set_used(&self, lines: u32) {
        self.locations[1].store(lines, Ordering::Relaxed);
    }

    /// Readers that find nothing here must look again until [`Line::end_moving`].
    pub fn begin_moving(&self) {
        let header = self.header.load(Ordering::Relaxed);
        self.header.store(header | MOVING, Ordering::Relaxed);
        // What follows must not become visible before the bit.
        fence(Ordering::Release);
    }

    /// Ends a move with a new version.
    pub fn end_moving(&self) {
        let header = self.header.load(Ordering::Relaxed);
        self.header.store((header & !MOVING).wrapping_add(VERSION), Ordering::Release);
    }

    /// Whether a move is under way; never seen while the shard's lock is held between calls.
    pub fn is_moving(&self) -> bool {
        self.header.load(Ordering::Relaxed) & MOVING != 0
    }

    /// Empties the whole line, keeping its version. For lines that no reader looks into.
    pub fn wipe(&self) {
        for slot in 0..SLOTS {
            self.locations[slot].store(0, Ordering::Relaxed);
            self.tags[slot].store(0, Ordering::Relaxed);
        }
        self.header.fetch_and(!(SPILL | MOVING), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_cache_line() {
        assert_eq!(size_of::<Line>(), 64);
    }

    #[test]
    fn finds_tags_in_every_slot() {
        let line = Line::vacant();
        for slot in 0..SLOTS {
            let tag = tag_of((slot as u64 + 1) << 40);
            line.fill(slot, SlotValue::new(tag, (slot % 4) as u8, slot as u32 + 1));
        }
        for slot in 0..SLOTS {
            let tag = tag_of((slot as u64 + 1) << 40);
            assert_eq!(line.matches(tag), 1 << slot);
            assert_eq!(line.get(slot).map(SlotValue::hits), Some((slot % 4) as u8));
        }
        assert_eq!(line.vacancy(), None);
        assert_eq!(line.matches(tag_of(99 << 40)), 0);
        line.empty(3);
        assert_eq!(line.vacancy(), Some(3));
        assert_eq!(line.len(), 9);
    }

    #[test]
    fn hits_saturate() {
        let line = Line::vacant();
        let tag = tag_of(7 << 40);
        line.fill(0, SlotValue::new(tag, 0, 5));
        for _ in 0..10 {
            line.count_hit(0, tag);
        }
        assert_eq!(line.get(0), Some(SlotValue::new(tag, crate::eviction::HITS_MAX, 5)));
    }

    #[test]
    fn a_move_is_seen_by_misses() {
        let line = Line::vacant();
        let header = line.header();
        assert!(line.unchanged(header));
        line.begin_moving();
        assert!(!line.unchanged(line.header()));
        line.end_moving();
        assert!(!line.unchanged(header));
        assert!(line.unchanged(line.header()));
    }
}
