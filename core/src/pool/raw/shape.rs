//! Size classes: which there are, and which one a length falls into.
//!
//! Sizes are multiples of 16 up to 128, then four to a doubling up to 512 KiB. The table is fixed;
//! an allocator on small segments uses the front of it.

/// A class's fixed numbers.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Bytes of a block.
    pub size: u32,
    /// Logarithm of the size, rounded down.
    pub shift: u32,
    /// 2^64 / size, rounded up; see [`divides`].
    pub divisor: u64,
}

/// Whether so many bytes, at most 2^32, are a number of whole blocks of the shape that the divisor
/// is from (Lemire, Kaser, Kurz, "Faster remainder by direct computation", 2019).
#[inline(always)]
pub(super) const fn divides(divisor: u64, bytes: u64) -> bool {
    bytes.wrapping_mul(divisor) < divisor
}

/// How many whole blocks so many bytes are; the other half of the same product.
#[inline(always)]
pub(super) const fn blocks_in(divisor: u64, bytes: u64) -> u64 {
    ((bytes as u128 * divisor as u128) >> 64) as u64
}

/// As [`divides`], for a [`Shape::small_divisor`], and at most 2^21 bytes: these and a size that magazines
/// hold have no more than 32 bits together.
#[inline(always)]
pub(super) const fn divides_small(divisor: u32, bytes: u32) -> bool {
    bytes.wrapping_mul(divisor) < divisor
}

impl Shape {
    /// 2^32 / size, rounded up, of a size that magazines hold; see [`divides_small`].
    pub const fn small_divisor(&self) -> u32 {
        u32::MAX / self.size + 1
    }

    /// States that a segment of so many bytes has room for; a power of two.
    pub const fn states_in(&self, seg_bytes: u64) -> u32 {
        (seg_bytes >> self.shift) as u32
    }

    /// Blocks that a magazine holds of it, in a pool whose segments have so many bytes. Larger
    /// pools have larger magazines; all of one thread's hold less than a thousandth of a pool.
    pub const fn cached(&self, seg_bytes: u64) -> u32 {
        let scale = match seg_bytes >> 16 {
            0 => 1,
            n if n > 16 => 16,
            n => n as u32,
        };
        let fit = 2_048 * scale / self.size;
        if fit > 16 * scale { 16 * scale } else { fit }
    }
}

/// Classes in steps of 16 bytes.
const FINE: usize = 8;
/// All classes.
pub(super) const CLASSES: usize = 56;
/// Classes that magazines hold.
pub(super) const CACHED_CLASSES: usize = 20;
/// Their largest block.
pub(super) const CACHED_MAX: usize = 1_024;

pub(super) const SHAPES: [Shape; CLASSES] = {
    let mut out = [Shape { size: 0, shift: 0, divisor: 0 }; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        let size = if class < FINE {
            16 * (class + 1)
        } else {
            let step = class - FINE;
            (128 << (step / 4)) / 4 * (4 + step % 4 + 1)
        };
        out[class] = Shape {
            size: size as u32,
            shift: (size as u32).ilog2(),
            divisor: u64::MAX / size as u64 + 1,
        };
        class += 1;
    }
    out
};

/// Class of `n` times 16 bytes, for up to [`CACHED_MAX`].
pub(super) const SMALL: [u8; CACHED_MAX / 16 + 1] = {
    let mut out = [0; CACHED_MAX / 16 + 1];
    let mut n = 1;
    let mut class = 0;
    while n < out.len() {
        while (SHAPES[class].size as usize) < n * 16 {
            class += 1;
        }
        out[n] = class as u8;
        n += 1;
    }
    out
};

/// The smallest class that holds `len` bytes; `CLASSES` or more if none does.
#[inline]
pub(super) const fn class_of(len: usize) -> usize {
    if len <= CACHED_MAX {
        return SMALL[len.div_ceil(16)] as usize;
    }
    // The doubling below `len`, and which quarter of it `len` ends in.
    let octave = (len - 1).ilog2();
    let quarter = (len - 1) >> (octave - 2) & 3;
    FINE + 4 * (octave as usize - 7) + quarter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_tight_and_ordered() {
        for len in 1..=524_288 {
            let class = class_of(len);
            assert!(SHAPES[class].size as usize >= len, "{len}");
            assert!(class == 0 || (SHAPES[class - 1].size as usize) < len, "{len}");
        }
        assert!(class_of(524_289) >= CLASSES);
        assert_eq!(SHAPES[CACHED_CLASSES - 1].size as usize, CACHED_MAX);
    }

    #[test]
    fn divisors_tell_multiples() {
        for shape in &SHAPES {
            let size = u64::from(shape.size);
            for n in [1, 2, 3, 7, (1 << 21) / size] {
                assert!(divides(shape.divisor, n * size));
                for off in [1, 8, 16, size / 2, size - 1].map(|off| off % size) {
                    let bytes = n * size + off;
                    assert_eq!(divides(shape.divisor, bytes), off == 0, "{bytes} / {size}");
                    assert_eq!(blocks_in(shape.divisor, bytes), n, "{bytes} / {size}");
                }
            }
        }
        for shape in &SHAPES[..CACHED_CLASSES] {
            for bytes in 1..=1 << 21 {
                let is = divides_small(shape.small_divisor(), bytes);
                assert_eq!(is, bytes % shape.size == 0, "{bytes} / {}", shape.size);
            }
        }
    }
}
