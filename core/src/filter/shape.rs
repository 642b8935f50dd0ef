//! Where a key's fingerprint may lie: arithmetic, no memory.
//!
//! A key is a 64-bit hash. Buckets come in pairs of a left and a right one, number `2 n` and
//! `2 n + 1`, and a key has one of either kind. The high bits of the hash choose the left one (hash
//! times pairs, high half, so that their number need not be a power of two), the low bits are its
//! fingerprint, of which 0 stands for an empty slot. The right one follows from the left one and the
//! fingerprint alone, and the left from the right in the same way:
//!
//! ```text
//! other = (spread(fingerprint) - this) mod pairs
//! ```
//!
//! So the two are never the same, and each kind begins at the same place within a byte: a look-up
//! shifts nothing.
//!
//! **Growth.** The n-th table has `first << doubled` pairs and fingerprints `wider` bits wider
//! than the first table's. What it knows of a key determines what every table before it knows:
//! the fingerprint there is the lower part of the one here, and the bucket here, shifted right, is
//! the bucket there. That holds for the second bucket too, because it is found by its high part as
//! in the first table, from the first table's part of the fingerprint, and by exclusive or in the
//! bits below. So keys that a table takes for one another are the same in every older table, which
//! is why a fingerprint may be removed from the newest table that has it, whoever left it there
//! (see the essay of the module).

use super::CAPACITY_MAX;

/// Slots of a bucket.
pub const SLOTS: u64 = 4;
/// Bits of the widest fingerprint whose four slots are compared in one word: with the shift of half a
/// byte that the right buckets of an odd width have, 15 fill it; 16 have none.
pub const NARROW_MAX: u32 = 16;
/// Bits of the widest fingerprint there can be: with a shift of up to 7 it fits an unaligned word.
pub const WIDTH_MAX: u32 = 57;
/// Bits of the widest fingerprint of a first table.
pub const FIRST_WIDTH_MAX: u32 = 40;

/// Slots for a key, as a fraction: the tables are this full when the capacity is reached.
pub const FULL: (u64, u64) = (93, 100);
/// How full a table may be for others to be moved in it. Beyond, paths are long and soon there are
/// none.
pub const MOVING: (u64, u64) = (955, 1000);
/// Buckets beyond what the capacity takes: tables of a few buckets fill unevenly.
const SPARE: u64 = 2;

/// Bits of a fingerprint that, compared with eight slots, errs at most that often.
fn width_for(fpr: f64) -> u32 {
    let eight = 2.0 * SLOTS as f64;
    let errs = |width: u32| eight / (2.0_f64.powi(width.cast_signed()) - 1.0);
    (4..FIRST_WIDTH_MAX).find(|&width| errs(width) <= fpr).unwrap_or(FIRST_WIDTH_MAX)
}

/// What all tables of a filter share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Pairs of buckets of the first table.
    pub pairs: u64,
    /// Bits of its fingerprints.
    pub width: u32,
}

/// Where a key may lie in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Never 0.
    pub fingerprint: u64,
    /// The pair whose left bucket it may be in.
    pub left: u64,
    /// The pair whose right bucket it may be in.
    pub right: u64,
}

impl Place {
    /// The two buckets.
    #[inline(always)]
    pub fn buckets(&self) -> [u64; 2] {
        [self.left << 1, self.right << 1 | 1]
    }
}

/// A table's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Of the first table.
    pub base: Base,
    /// Log2 of the table's buckets over those of the first.
    pub doubled: u32,
    /// Bits of a fingerprint.
    pub width: u32,
}

/// The high half of a product: `of` in the range of `below`, by multiplication.
#[inline(always)]
fn scale(of: u64, below: u64) -> u64 {
    ((u128::from(of) * u128::from(below)) >> 64) as u64
}

/// An odd multiplier: 2^64 over the golden ratio (Knuth, TAOCP 3, 6.4).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Base {
    /// For so many keys at this rate.
    pub fn holding(capacity: u64, fpr: f64) -> Self {
        let slots = u128::from(capacity) * u128::from(FULL.1) / u128::from(FULL.0) + 1;
        let buckets = u64::try_from(slots.div_ceil(u128::from(SLOTS))).unwrap_or(CAPACITY_MAX);
        Self { pairs: (buckets + SPARE).div_ceil(2), width: width_for(fpr) }
    }

    /// The part of a fingerprint that the first table has, of a hash.
    #[inline(always)]
    fn low(self, hash: u64) -> u64 {
        never_zero(hash & self.mask())
    }

    /// The bits of a hash that are its fingerprint.
    #[inline(always)]
    pub fn mask(self) -> u64 {
        (1 << self.width) - 1
    }

    /// [`Shape::place`] in the first table.
    #[inline(always)]
    pub fn place(self, hash: u64) -> Place {
        place_of(hash, self.pairs, self.mask())
    }
}

/// [`Base::place`] of a base that has so many pairs, and this for a mask.
#[inline(always)]
pub fn place_of(hash: u64, pairs: u64, mask: u64) -> Place {
    let fingerprint = never_zero(hash & mask);
    let left = scale(hash, pairs);
    Place { fingerprint, left, right: across(left, fingerprint.wrapping_mul(SPREAD), pairs) }
}

#[inline(always)]
fn never_zero(fingerprint: u64) -> u64 {
    fingerprint + u64::from(fingerprint == 0)
}

/// The pair of the other bucket, of `pairs`.
#[inline(always)]
fn across(pair: u64, spread: u64, pairs: u64) -> u64 {
    let other = scale(spread, pairs).wrapping_sub(pair);
    // Below zero, it is so by less than all pairs. Half of them are: no branch would be foreseen.
    other.wrapping_add(pairs & (other.cast_signed() >> 63).cast_unsigned())
}

impl Shape {
    /// The shape of table `number` (0: the first). The second is as large as the first, each later
    /// one as large as all before it.
    pub fn nth(base: Base, number: u32) -> Self {
        Self { base, doubled: number.saturating_sub(1), width: base.width + number }
    }

    fn pairs(&self) -> u64 {
        self.base.pairs << self.doubled
    }

    /// Buckets.
    pub fn buckets(&self) -> u64 {
        self.pairs() * 2
    }

    /// Slots.
    pub fn slots(&self) -> u64 {
        self.buckets() * SLOTS
    }

    /// Bytes of the slots, and of the word that a load of the last one may reach into.
    pub fn bytes(&self) -> u64 {
        (self.slots() * u64::from(self.width)).div_ceil(64) * 8 + 8
    }

    /// Where the key of a hash may lie.
    #[inline(always)]
    pub fn place(&self, hash: u64) -> Place {
        let low = self.base.low(hash);
        let added = hash & ((1 << self.width) - 1) & !((1 << self.base.width) - 1);
        let fingerprint = low | added;
        let left = scale(hash, self.pairs());
        Place { fingerprint, left, right: self.across(left, fingerprint) }
    }

    /// The pair of the other bucket of a fingerprint that lies in one of `pair`.
    #[inline(always)]
    fn across(&self, pair: u64, fingerprint: u64) -> u64 {
        let low = fingerprint & ((1 << self.base.width) - 1);
        let spread = low.wrapping_mul(SPREAD);
        let high = across(pair >> self.doubled, spread, self.base.pairs);
        // The high bits of the low half: those of a table are the first ones of the next table's.
        let below = (spread & 0xFFFF_FFFF) << self.doubled >> 32;
        high << self.doubled | ((pair & ((1 << self.doubled) - 1)) ^ below)
    }

    /// The other bucket of a fingerprint that lies in `bucket`.
    #[inline(always)]
    pub fn other(&self, bucket: u64, fingerprint: u64) -> u64 {
        self.across(bucket >> 1, fingerprint) << 1 | (!bucket & 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Base, SLOTS, Shape, WIDTH_MAX};
    use crate::filter::testing::Random;

    #[test]
    fn the_other_bucket_is_another_and_leads_back() {
        let mut random = Random::new(1);
        for pairs in [1, 2, 3, 5, 500, 134_409, (1 << 29) + 1] {
            for width in [7, 13, 17, 33] {
                for number in 0..24 {
                    let shape = Shape::nth(Base { pairs, width }, number);
                    assert!(shape.width < WIDTH_MAX);
                    for _ in 0..200 {
                        let place = shape.place(random.next());
                        let [one, other] = place.buckets();
                        assert!(one < shape.buckets() && other < shape.buckets());
                        assert_ne!(one, other);
                        assert_eq!(shape.other(one, place.fingerprint), other);
                        assert_eq!(shape.other(other, place.fingerprint), one);
                        assert!(place.fingerprint != 0 && place.fingerprint >> shape.width == 0);
                    }
                }
            }
        }
    }

    /// What a table takes for one another, every older table does.
    #[test]
    fn an_older_table_knows_a_part_of_what_a_newer_one_does() {
        let mut random = Random::new(2);
        for pairs in [1, 3, 500, 134_409] {
            let base = Base { pairs, width: 13 };
            for number in 1..24 {
                let (newer, older) = (Shape::nth(base, number), Shape::nth(base, number - 1));
                let shift = newer.doubled - older.doubled;
                for _ in 0..500 {
                    let hash = random.next();
                    let (new, old) = (newer.place(hash), older.place(hash));
                    assert_eq!(
                        [new.left, new.right].map(|pair| pair >> shift),
                        [old.left, old.right]
                    );
                    assert_eq!(new.fingerprint & ((1 << older.width) - 1), old.fingerprint);
                }
            }
        }
        let base = Base { pairs: 3, width: 9 };
        assert_eq!(Shape::nth(base, 0).place(77), base.place(77));
        let sizes: Vec<_> = (0..5).map(|n| Shape::nth(base, n).slots() / SLOTS).collect();
        assert_eq!(sizes, [6, 6, 12, 24, 48]);
    }
}
