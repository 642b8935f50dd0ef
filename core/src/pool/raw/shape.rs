//! Size classes: which there are, and which one a length falls into.
//!
//! Sizes are multiples of 16 up to 128, then four to a doubling up to 512 KiB. The table is fixed;
//! an allocator on small segments uses the front of it.

/// A class's fixed numbers.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Bytes of a block.
    pub size: u32,
    /// Blocks that a magazine holds of it.
    pub cached: u16,
    /// Where they begin in the magazine.
    pub cached_at: u16,
    /// 2^42 / size, rounded up: `(n * reciprocal) >> 42` is `n / size` for n up to 2^21.
    pub reciprocal: u64,
}

impl Shape {
    /// How many whole blocks so many bytes of a segment are.
    #[inline(always)]
    pub const fn blocks_in(&self, bytes: u64) -> u64 {
        (bytes * self.reciprocal) >> RECIPROCAL_BITS
    }
}

const RECIPROCAL_BITS: u32 = 42;
/// Classes in steps of 16 bytes.
const FINE: usize = 8;
/// All classes.
pub(super) const CLASSES: usize = 56;
/// Classes that magazines hold.
pub(super) const CACHED_CLASSES: usize = 20;
/// Their largest block.
pub(super) const CACHED_MAX: usize = 1_024;

pub(super) const SHAPES: [Shape; CLASSES] = {
    let mut out = [Shape { size: 0, cached: 0, cached_at: 0, reciprocal: 0 }; CLASSES];
    let mut at = 0;
    let mut class = 0;
    while class < CLASSES {
        let size = if class < FINE {
            16 * (class + 1)
        } else {
            let step = class - FINE;
            (128 << (step / 4)) / 4 * (4 + step % 4 + 1)
        };
        let cached = if class >= CACHED_CLASSES {
            0
        } else if size <= 128 {
            16
        } else {
            2_048 / size
        };
        out[class] = Shape {
            size: size as u32,
            cached: cached as u16,
            cached_at: at as u16,
            reciprocal: (1_u64 << RECIPROCAL_BITS).div_ceil(size as u64),
        };
        at += cached;
        class += 1;
    }
    out
};

/// Blocks that a magazine holds of all classes.
pub(super) const CACHED_BLOCKS: usize = {
    let last = SHAPES[CACHED_CLASSES - 1];
    last.cached_at as usize + last.cached as usize
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
    fn reciprocals_divide() {
        for shape in &SHAPES {
            let size = u64::from(shape.size);
            for n in [1, 2, 3, 7, (1 << 21) / size] {
                for slack in [0, 1, size - 1] {
                    let bytes = n * size + slack;
                    assert!(bytes > 1 << 21 || shape.blocks_in(bytes) == n, "{bytes} / {size}");
                }
            }
        }
    }
}
