//! The geometry word of an index: how many lines there are, and so which bucket a hash has.
//!
//! Lines (32 bits), their level (5 bits), an epoch (24 bits) that every change raises, and three
//! marks: screened, poisoned, closed. Readers take the whole word at once; a look-up that finds it
//! unchanged afterwards looked into the right bucket.

pub const CLOSED: u64 = 1 << 63;
pub const POISONED: u64 = 1 << 62;
pub const SCREENED: u64 = 1 << 61;
const LEVEL_SHIFT: u32 = 32;
const LEVEL_MASK: u32 = 31;
pub const EPOCH: u64 = 1 << 37;
pub const EPOCH_MASK: u64 = (SCREENED - 1) & !(EPOCH - 1);

/// A snapshot of the geometry word: lines (32 bits), their level (5 bits), epoch (24 bits), screened,
/// poisoned, closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry(pub u64);

/// The part of the geometry word that says which bucket a hash has.
pub fn shape_of(lines: u32) -> u64 {
    u64::from(lines) | u64::from(lines.ilog2()) << LEVEL_SHIFT
}

impl Geometry {
    /// Number of home lines.
    #[inline(always)]
    pub fn lines(self) -> u32 {
        self.0 as u32
    }

    /// The largest power of two up to the number of lines, as its exponent.
    #[inline(always)]
    fn level(self) -> u32 {
        (self.0 >> LEVEL_SHIFT) as u32 & LEVEL_MASK
    }

    /// The bucket of a hash.
    #[inline(always)]
    pub fn bucket(self, hash: u64) -> u32 {
        let low = (1_u32 << self.level()) - 1;
        let bucket = hash as u32 & (low << 1 | 1);
        if bucket < self.lines() { bucket } else { hash as u32 & low }
    }

    /// How many low bits of the hash decide this bucket.
    pub fn bits(self, bucket: u32) -> u32 {
        let level = self.level();
        let split = self.lines() - (1 << level);
        if bucket >= 1 << level || bucket < split { level + 1 } else { level }
    }

    /// Whether the store was destroyed.
    #[inline(always)]
    pub fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Whether the shard is out of service.
    #[inline(always)]
    pub fn is_poisoned(self) -> bool {
        self.0 & POISONED != 0
    }

    /// Whether look-ups may go on, and nothing is to be asked before the index.
    #[inline(always)]
    pub fn is_straight(self) -> bool {
        self.0 & (CLOSED | POISONED | SCREENED) == 0
    }

    /// Whether look-ups may go on.
    #[inline(always)]
    pub fn in_service(self) -> bool {
        self.0 & (CLOSED | POISONED) == 0
    }
}

/// A bucket's tags tell splits nothing, so every part of the hash is used once: the low 32 bits
/// choose the bucket, bits 34 to 47 are the tag, the top bits choose the shard.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_a_growing_table() {
        for lines in 8..70_u32 {
            let geometry = Geometry(shape_of(lines));
            for hash in 0..500_u64 {
                let bucket = geometry.bucket(hash);
                assert!(bucket < lines);
                let bits = geometry.bits(bucket);
                assert_eq!(hash & ((1 << bits) - 1), u64::from(bucket), "{lines} {hash}");
            }
        }
    }
}
