//! A frequency sketch: how often a fingerprint was counted of late. Never too few, but for the
//! rounding of large counts; sometimes too many.
//!
//! A count-min sketch (Cormode, Muthukrishnan; J. Algorithms 2005) as TinyLFU ages it (Einziger,
//! Friedman, Manes; TOS'17): after a sample of uses all counts are halved. Counters have eight bits
//! and never saturate, see [`super::counts`], so that what was asked for a thousand times is still
//! told from what was asked for two thousand times. Four of them are looked at for a fingerprint,
//! and it counts as the least of these.
//!
//! The sketch is the memory that the policy's context hands in, cut in blocks of a cache line; a
//! fingerprint has two blocks and two counters in each, which is two cache misses instead of four.
//!
//! **Halving** all counters at once would take time that grows with the number of entries. Once a
//! sample is over, each further use halves one block, until all are halved: that is over after less
//! than a hundredth of the next sample.

use super::counts;
use super::dice::Dice;
use crate::memory::racy;

/// Words in a block.
const BLOCK: usize = 16;
/// Counters for each entry. With 8, noise costs up to 1.5 points of miss ratio where thousands of
/// keys are asked for once between two halvings; with 12 no more than 0.5.
const PER_ENTRY: u64 = 12;

/// Words of memory for so many entries.
#[must_use]
pub fn words(entries: u64) -> usize {
    let most = usize::MAX as u64 / 1024;
    (entries.min(most) * PER_ENTRY).div_ceil(4).next_multiple_of(BLOCK as u64) as usize
}

/// The clock of a sketch; the counters are the memory handed to each call.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// Uses counted in this sample.
    uses: u64,
    /// Blocks that are still to be halved, from the last one down.
    to_halve: usize,
    dice: Dice,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { uses: 0, to_halve: 0, dice: Dice::new() }
    }
}

impl Sketch {
    /// Counts a use.
    #[inline]
    pub fn count(&mut self, memory: &mut [u32], fingerprint: u32) {
        let dice = self.dice.roll(fingerprint);
        for (at, shift) in places(memory.len(), fingerprint) {
            let Some(word) = memory.get_mut(at) else { return };
            let count = (*word >> shift) as u8;
            let more = counts::after(count, 1, dice);
            *word = *word & !(0xFF << shift) | u32::from(more) << shift;
        }
    }

    /// How often a fingerprint was counted.
    #[inline]
    pub fn estimate(memory: &[u32], fingerprint: u32) -> u8 {
        let counts = places(memory.len(), fingerprint)
            .map(|(at, shift)| memory.get(at).map_or(0, |word| (word >> shift) as u8));
        counts.into_iter().min().unwrap_or(0)
    }

    /// Advances the sample, of so many uses, by one.
    #[inline]
    pub fn tick(&mut self, memory: &mut [u32], sample: u64) {
        self.uses += 1;
        if self.uses >= sample {
            self.uses = 0;
            self.to_halve = memory.len() / BLOCK;
        }
        if self.to_halve != 0 {
            self.to_halve -= 1;
            halve(memory, self.to_halve);
        }
    }

    /// Asks the processor for the counters of this fingerprint.
    #[inline]
    pub fn prefetch(memory: &[u32], fingerprint: u32) {
        let [(first, _), _, (second, _), _] = places(memory.len(), fingerprint);
        for at in [first, second] {
            if let Some(word) = memory.get(at) {
                racy::prefetch(std::ptr::from_ref(word).cast());
            }
        }
    }
}

#[inline(never)]
fn halve(memory: &mut [u32], block: usize) {
    let first = block * BLOCK;
    let Some(words) = memory.get_mut(first..first + BLOCK) else { return };
    for word in words {
        *word = u32::from_le_bytes(word.to_le_bytes().map(counts::half));
    }
}

/// The four counters of a fingerprint: each a word, and where its bits begin.
#[inline(always)]
fn places(len: usize, fingerprint: u32) -> [(usize, u32); 4] {
    let blocks = (len / BLOCK) as u64;
    let block = |of: u32| ((u64::from(of) * blocks) >> 32) as usize * BLOCK;
    let mixed = fingerprint.wrapping_mul(0x9E37_79B9);
    let mixed = mixed ^ (mixed >> 15);
    // Any other number that follows from the fingerprint.
    let other =
        fingerprint.wrapping_mul(0x85EB_CA6B) ^ (fingerprint >> 7).wrapping_mul(0xC2B2_AE35);
    let (first, second) = (block(fingerprint), block(other));
    let counter = |block: usize, half: usize, bits: u32| {
        (block + half * 8 + (bits >> 2 & 7) as usize, (bits & 3) * 8)
    };
    [
        counter(first, 0, mixed),
        counter(first, 1, mixed >> 5),
        counter(second, 0, mixed >> 10),
        counter(second, 1, mixed >> 15),
    ]
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Sketch, words};

    fn of(n: u32) -> u32 {
        let x = u64::from(n).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9).rotate_left(21) as u32
    }

    #[test]
    fn counts_no_less_and_seldom_more() {
        let mut memory = vec![0; words(1000)];
        assert_eq!(memory.len(), 3008);
        let mut sketch = Sketch::default();
        for n in 0..1000 {
            (0..n % 8).for_each(|_| sketch.count(&mut memory, of(n)));
        }
        let estimates = (0..1000).map(|n| (Sketch::estimate(&memory, of(n)), (n % 8) as u8));
        let wrong = estimates.filter(|(found, counted)| {
            assert!(found >= counted, "{found} of {counted}");
            found != counted
        });
        let wrong = wrong.count();
        assert!(wrong < 50, "{wrong} of 1000 are overestimated");
    }

    #[test]
    fn a_sample_halves_every_counter_once() {
        let mut memory = vec![0; words(100)];
        let mut sketch = Sketch::default();
        (0..8).for_each(|_| sketch.count(&mut memory, of(1)));
        let blocks = memory.len() / BLOCK;
        (0..99).for_each(|_| sketch.tick(&mut memory, 100));
        assert_eq!(Sketch::estimate(&memory, of(1)), 8);
        (0..=blocks).for_each(|_| sketch.tick(&mut memory, 100));
        assert_eq!(Sketch::estimate(&memory, of(1)), 4);
        (0..50).for_each(|_| sketch.tick(&mut memory, 100));
        assert_eq!(Sketch::estimate(&memory, of(1)), 4);
    }

    #[test]
    fn empty_memory_counts_nothing() {
        let mut sketch = Sketch::default();
        for len in 0..BLOCK {
            let mut memory = vec![0; len];
            sketch.count(&mut memory, 7);
            sketch.tick(&mut memory, 1);
            Sketch::prefetch(&memory, 7);
        }
        assert_eq!(Sketch::estimate(&[], 7), 0);
    }
}
