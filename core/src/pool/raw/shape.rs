//! Size classes: which there are, and which one a length falls into.
//!
//! Sizes are multiples of 16 up to 128, then four to a doubling up to 512 KiB. The table is fixed;
//! an allocator on small segments uses the front of it.

/// A class's fixed numbers.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Bytes of a block.
    pub size: u32,
    /// 2^42 / size, rounded up: `(n * reciprocal) >> 42` is `n / size` for n up to 2^21.
    pub reciprocal: u64,
}

/// How many whole blocks so many bytes of a segment are.
#[inline(always)]
pub(super) const fn blocks_in(bytes: u64, reciprocal: u64) -> u64 {
    (bytes * reciprocal) >> RECIPROCAL_BITS
}

impl Shape {
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
    let mut out = [Shape { size: 0, reciprocal: 0 }; CLASSES];
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
            reciprocal: (1_u64 << RECIPROCAL_BITS).div_ceil(size as u64),
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
    fn reciprocals_divide() {
        for shape in &SHAPES {
            let size = u64::from(shape.size);
            for n in [1, 2, 3, 7, (1 << 21) / size] {
                for slack in [0, 1, size - 1] {
                    let bytes = n * size + slack;
                    assert!(
                        bytes > 1 << 21 || blocks_in(bytes, shape.reciprocal) == n,
                        "{bytes} / {size}"
                    );
                }
            }
        }
    }
}
