//! Where things lie in a pool's address space, fixed when the pool is made.
//!
//! ```text
//! | segment table | chunk table | run table | segments ........ | runs of class 0 | class 1 | ...
//! '----------- metadata --------------------' ^ 2 MiB aligned    ^ 2 MiB aligned
//! ```
//!
//! - A *segment* is a power of two near a 1,024th of the limit, 16 KiB to 2 MiB: coarse enough that
//!   a segment is taken seldom, fine enough that append heads and reserves stay small.
//! - A *chunk* is what is committed at once: 2 MiB where huge pages are asked for, else a segment.
//! - A *run* is a contiguous piece for what is longer than a segment's share. Class `k` has places
//!   of `2^(min + k)` bytes in a range of its own and holds runs of more than half of that. As a
//!   run is charged by what it takes and not by its place, the range of a class has a place for
//!   each run that the largest limit could pay for: a run needs free bytes, never free neighbours.
//!   This is the buddy-aligned range of "wide enough" address space, without the buddies.
//!   Where address space is short the ranges are cut, and a run takes a place of a larger class.
//! - Runs are numbered in heap order: with `S` a power of two above the places of class 0, class
//!   `k` owns the numbers `S >> k` to `2 * (S >> k)`, so that the leading bit of a number names its
//!   class. Segments and runs share one space of 24-bit ids, the one that readers announce.
//!
//! Entries are addressed in units of 8 bytes from the first segment on, in 32 bits; beyond 32 GiB
//! the unit doubles with each doubling.

use super::budget::GRAIN;
use crate::error::Result;
use crate::memory::sys::{self, HUGE_BYTES};

/// The first id of a run; segments have smaller ones.
pub const RUN_BASE: u32 = 1 << 23;
/// Segments a pool has at most.
pub const SEG_IDS: u32 = RUN_BASE;

/// Bytes of one entry of the segment table and of the run table.
pub(super) const META_BYTES: u64 = 64;
/// Bytes of one entry of the chunk table.
pub(super) const CHUNK_META_BYTES: u64 = 24;
/// Below this limit no huge pages are asked for: what a chunk holds at once would be too large a
/// part of the limit.
const HUGE_LIMIT_MIN: u64 = 16 << 20;
/// Segments that the mask of a chunk has bits for.
const CHUNK_SEGS_MAX: u32 = u64::BITS;
/// The longest run: a value of the greatest length with its key and header fits.
const RUN_SHIFT_MAX: u32 = 33;
/// Classes that there are at most, from 4 KiB up to the longest.
pub(super) const RUN_CLASSES: usize = 22;
/// What all ranges together may take of the 128 TiB that a process has.
const ADDRESS_SPACE_MAX: u64 = 40 << 40;
/// How far the ranges of runs are cut when address space is short.
pub(super) const SHORT_OF_ADDRESSES: u64 = 8;

/// The ranges of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunLayout {
    /// log2 of a place of class 0.
    pub min_shift: u32,
    /// Classes in use.
    pub classes: usize,
    /// log2 of the `S` of the essay.
    pub ids_shift: u32,
    /// Offset of each class's range in the reservation.
    pub at: [u64; RUN_CLASSES],
    /// Places of each class.
    pub places: [u32; RUN_CLASSES],
}

/// A pool's layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The largest limit it is made for.
    pub limit_max: u64,
    /// log2 of a segment's bytes.
    pub seg_shift: u32,
    /// log2 of the unit of locations.
    pub unit_shift: u32,
    /// log2 of the segments in a chunk.
    pub chunk_segs_shift: u32,
    /// Chunks, and so segments, at most.
    pub chunks_max: u32,
    /// Whether huge pages are asked for.
    pub huge: bool,
    /// Offset of the chunk table; the segment table is at 0.
    pub chunk_table_at: u64,
    /// Offset of the run table, which is indexed by a run's number.
    pub run_table_at: u64,
    /// Offset of the first segment.
    pub segments_at: u64,
    /// Where runs lie.
    pub runs: RunLayout,
    /// Bytes to reserve.
    pub total: u64,
}

impl Layout {
    /// The layout for a pool that starts at `limit` and may be given up to `limit_max`; both were
    /// checked. `cut`: by how much the ranges of runs are narrower than runs could ever need.
    pub fn for_limits(limit: u64, limit_max: u64, huge: bool, cut: u64) -> Self {
        let huge = huge && limit >= HUGE_LIMIT_MIN && sys::has_huge_pages();
        let mut seg_shift = (limit / 1_024).max(1).ilog2().clamp(14, 21);
        seg_shift = seg_shift.max(sys::page_bytes().ilog2());
        if huge {
            seg_shift = seg_shift.max(HUGE_BYTES.ilog2() - CHUNK_SEGS_MAX.ilog2());
        }
        while limit_max >> seg_shift >= u64::from(SEG_IDS) {
            seg_shift += 1;
        }
        let chunk_shift = if huge { HUGE_BYTES.ilog2() } else { seg_shift };
        let chunk_segs_shift = chunk_shift - seg_shift;
        let chunks_max = limit_max.div_ceil(1 << chunk_shift);
        let segments_bytes = chunks_max << chunk_shift;
        let segments = chunks_max << chunk_segs_shift;
        let mut unit_shift = 3;
        while segments_bytes >> unit_shift > 1 << 32 {
            unit_shift += 1;
        }
        let (min_shift, ids_shift) = run_numbers(limit_max);
        let page = sys::page_bytes();
        let chunk_table_at = align_up(segments * META_BYTES, page);
        let run_table_at = align_up(chunk_table_at + chunks_max * CHUNK_META_BYTES, page);
        let segments_at = align_up(run_table_at + (META_BYTES << (ids_shift + 1)), HUGE_BYTES);
        let runs_at = align_up(segments_at + segments_bytes, HUGE_BYTES);
        let mut cut = cut.max(1);
        let (runs, total) = loop {
            let (runs, end) = run_ranges(runs_at, limit_max, min_shift, ids_shift, cut);
            if end <= ADDRESS_SPACE_MAX || cut >= 1 << 20 {
                break (runs, end);
            }
            cut *= 2;
        };
        Self {
            limit_max,
            seg_shift,
            unit_shift,
            chunk_segs_shift,
            chunks_max: u32::try_from(chunks_max).unwrap_or(SEG_IDS),
            huge,
            chunk_table_at,
            run_table_at,
            segments_at,
            runs,
            total,
        }
    }

    /// Makes the layout and reserves its address space: what `limit_max` takes, else what the
    /// limit itself takes, else that with narrow ranges for runs.
    pub fn reserve(limit: u64, limit_max: u64, huge: bool) -> Result<(Self, sys::Reservation)> {
        let wide = Self::for_limits(limit, limit_max, huge, 1);
        if let Ok(space) = sys::Reservation::new(wide.total) {
            return Ok((wide, space));
        }
        let exact = Self::for_limits(limit, limit, huge, 1);
        if let Ok(space) = sys::Reservation::new(exact.total) {
            return Ok((exact, space));
        }
        let narrow = Self::for_limits(limit, limit, huge, SHORT_OF_ADDRESSES);
        let space = sys::Reservation::new(narrow.total)?;
        Ok((narrow, space))
    }

    /// Bytes of a segment.
    #[inline(always)]
    pub fn seg_bytes(&self) -> u64 {
        1 << self.seg_shift
    }

    /// Segments in a chunk.
    pub fn chunk_segs(&self) -> u32 {
        1 << self.chunk_segs_shift
    }

    /// Bytes of a chunk.
    pub fn chunk_bytes(&self) -> u64 {
        1 << (self.seg_shift + self.chunk_segs_shift)
    }

    /// Segments there are at most.
    pub fn segments_max(&self) -> u32 {
        self.chunks_max << self.chunk_segs_shift
    }

    /// Units of metadata that so many chunks take.
    pub fn chunk_grains(&self, chunks: u32) -> u64 {
        let segments = u64::from(chunks) << self.chunk_segs_shift;
        let pages = |bytes: u64| bytes.next_multiple_of(sys::page_bytes()) / GRAIN;
        pages(segments * META_BYTES) + pages(u64::from(chunks) * CHUNK_META_BYTES)
    }
}

impl RunLayout {
    /// The class of a run's number.
    #[inline]
    pub fn class_of(&self, number: u32) -> usize {
        (self.ids_shift - number.ilog2()) as usize
    }

    /// The first number of a class.
    #[inline]
    pub fn first_of(&self, class: usize) -> u32 {
        1 << (self.ids_shift - class as u32)
    }

    /// Offset of a run in the reservation.
    #[inline]
    pub fn offset_of(&self, number: u32) -> u64 {
        let class = self.class_of(number);
        let place = u64::from(number - self.first_of(class));
        self.at[class] + (place << (self.min_shift + class as u32))
    }

    /// The class that runs of so many bytes belong to; it may be beyond the last one.
    pub fn class_for(&self, bytes: u64) -> usize {
        let shift = bytes.max(1).next_power_of_two().ilog2();
        shift.saturating_sub(self.min_shift) as usize
    }
}

/// log2 of class 0's places and of the number of ids, so that no id reaches 24 bits.
fn run_numbers(limit_max: u64) -> (u32, u32) {
    let limit_shift = limit_max.next_power_of_two().ilog2();
    let min_shift = sys::page_bytes().ilog2().max(limit_shift.saturating_sub(21));
    (min_shift, limit_shift + 1 - min_shift)
}

fn run_ranges(
    from: u64,
    limit_max: u64,
    min_shift: u32,
    ids_shift: u32,
    cut: u64,
) -> (RunLayout, u64) {
    let top_shift = limit_max.next_power_of_two().ilog2().min(RUN_SHIFT_MAX);
    let classes = (top_shift - min_shift + 1) as usize;
    let mut runs =
        RunLayout { min_shift, classes, ids_shift, at: [0; RUN_CLASSES], places: [0; RUN_CLASSES] };
    let mut end = from;
    for class in 0..classes {
        let shift = min_shift + class as u32;
        // The least that a run of this class is charged; shorter ones than class 0 is made for are
        // not expected, see RunLayout's users.
        let least = if class == 0 { 1 << shift } else { (1 << (shift - 1)) + GRAIN };
        let places = (limit_max / least / cut).max(1);
        runs.at[class] = end;
        runs.places[class] = u32::try_from(places).unwrap_or(0);
        end = align_up(end + (places << shift), HUGE_BYTES);
    }
    (runs, end)
}

const fn align_up(bytes: u64, to: u64) -> u64 {
    bytes.next_multiple_of(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{POOL_LIMIT_MAX, POOL_LIMIT_MIN};

    #[test]
    fn segments_follow_the_limit() {
        for (limit, seg_kib) in [(1_u64, 16), (256, 256), (1_024, 1_024), (1 << 20, 2_048)] {
            let layout = Layout::for_limits(limit << 20, limit << 20, false, 1);
            assert_eq!(layout.seg_bytes(), seg_kib << 10, "{limit} MiB");
            assert_eq!(u64::from(layout.segments_max()), (limit << 20) / layout.seg_bytes());
        }
        let unequal = Layout::for_limits(POOL_LIMIT_MIN, POOL_LIMIT_MAX, false, 1);
        assert!(unequal.segments_max() < SEG_IDS);
    }

    #[test]
    fn layouts_of_every_size_are_sound() {
        for shift in 20..=42 {
            for odd in [0, 4_096, (1 << (shift - 1)) + 12_345] {
                let limit = ((1_u64 << shift) + odd).min(POOL_LIMIT_MAX);
                for cut in [1, SHORT_OF_ADDRESSES] {
                    check(&Layout::for_limits(limit, limit, true, cut));
                    check(&Layout::for_limits(limit, POOL_LIMIT_MAX, true, cut));
                }
            }
        }
    }

    fn check(layout: &Layout) {
        let segments_end = layout.segments_at + u64::from(layout.chunks_max) * layout.chunk_bytes();
        assert!(segments_end - layout.segments_at >= layout.limit_max);
        assert!((segments_end - layout.segments_at) >> layout.unit_shift <= 1 << 32);
        assert!(layout.chunk_segs() <= CHUNK_SEGS_MAX);
        assert!(layout.segments_max() < SEG_IDS);
        assert!(layout.total <= ADDRESS_SPACE_MAX);
        assert_eq!(layout.segments_at % HUGE_BYTES, 0);
        let runs = &layout.runs;
        assert!(runs.classes <= RUN_CLASSES);
        let table_end = layout.run_table_at + (META_BYTES << (runs.ids_shift + 1));
        assert!(table_end <= layout.segments_at);
        assert!(runs.at[0] >= segments_end);
        for class in 0..runs.classes {
            let first = runs.first_of(class);
            let places = runs.places[class];
            assert!(places >= 1 && places < first.max(2), "{places} places of class {class}");
            let last = first + places - 1;
            assert!(u64::from(RUN_BASE) + u64::from(last) < (1 << 24) - 1);
            assert_eq!(runs.class_of(first), class);
            assert_eq!(runs.class_of(last), class);
            assert_eq!(runs.offset_of(first), runs.at[class]);
            let end = runs.offset_of(last) + (1 << (runs.min_shift + class as u32));
            let next = if class + 1 < runs.classes { runs.at[class + 1] } else { layout.total };
            assert!(end <= next);
            let shift = runs.min_shift + class as u32;
            assert_eq!(runs.class_for(1 << shift), class);
            assert_eq!(runs.class_for((1 << shift) + 1), class + 1);
        }
    }
}
