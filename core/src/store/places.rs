//! How a location, a segment with an offset, and an address translate into each other.
//!
//! Plain numbers, copied to where they are used: what is behind a reference to a store, which has
//! atomics in it, a compiler loads anew after every write.

use crate::pool::SegMeta;
use crate::pool::space::{SegId, Space};

/// The numbers of one pool.
#[derive(Clone, Copy)]
pub struct Places {
    base: *const u8,
    metas: *const SegMeta,
    seg_bytes: u64,
    /// Bytes of a location's unit.
    unit: u64,
    /// Bits of a location that are its offset in its segment.
    units_mask: u32,
    units_shift: u8,
    unit_shift: u8,
}

impl Places {
    /// Those of this pool.
    pub fn new(space: &Space) -> Self {
        let (unit_shift, seg_shift) = (space.unit_shift(), space.seg_shift());
        let units_shift = seg_shift - unit_shift;
        Self {
            base: space.segments_base(),
            metas: std::ptr::from_ref(space.meta(0)),
            seg_bytes: 1 << seg_shift,
            unit: 1 << unit_shift,
            units_mask: (1 << units_shift) - 1,
            units_shift: units_shift as u8,
            unit_shift: unit_shift as u8,
        }
    }

    /// Bytes of a segment.
    #[inline(always)]
    pub fn seg_bytes(&self) -> u64 {
        self.seg_bytes
    }

    /// Bytes of a segment, as a power of two.
    #[inline(always)]
    pub fn seg_shift(&self) -> u32 {
        u32::from(self.units_shift) + u32::from(self.unit_shift)
    }

    /// Bytes of a location's unit.
    #[inline(always)]
    pub fn unit(&self) -> u32 {
        self.unit as u32
    }

    /// Rounds bytes up to whole units.
    #[inline(always)]
    pub fn rounded(&self, bytes: usize) -> usize {
        let mask = self.unit as usize - 1;
        (bytes + mask) & !mask
    }

    /// Where a location is.
    #[inline(always)]
    pub fn address(&self, location: u32) -> *const u8 {
        self.base.wrapping_add(location as usize * self.unit as usize)
    }

    /// The segment of a location.
    #[inline(always)]
    pub fn segment_of(&self, location: u32) -> SegId {
        location >> self.units_shift
    }

    /// The location's offset in its segment, in units.
    #[inline(always)]
    pub fn units_of(&self, location: u32) -> u32 {
        location & self.units_mask
    }

    /// The location's offset in its segment, in bytes.
    #[inline(always)]
    pub fn offset_of(&self, location: u32) -> u32 {
        self.units_of(location) * self.unit as u32
    }

    /// The location of an offset in a segment.
    #[inline(always)]
    pub fn location(&self, segment: SegId, offset: u32) -> u32 {
        (segment << self.units_shift) | (offset >> self.unit_shift)
    }

    /// The version of a location in a segment of this sequence.
    #[inline(always)]
    pub fn version(&self, seq: u64, location: u32) -> u64 {
        seq << self.units_shift | u64::from(self.units_of(location))
    }

    /// The table entry of a segment.
    ///
    /// # Safety
    /// The pool outlives the reference, and the segment is one of its.
    #[inline(always)]
    pub unsafe fn meta<'a>(&self, segment: SegId) -> &'a SegMeta {
        // SAFETY: the segment table is an array that begins with the entry of segment 0 and has
        // one for each segment of the pool, mapped as long as the pool lives.
        unsafe { &*self.metas.add(segment as usize) }
    }
}
