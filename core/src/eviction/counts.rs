//! Counts of uses: eight bits for each of the entries that were used often, by fingerprint.
//!
//! A count is exact up to 32; above, each further eighth of an octave is one more, and a use is
//! counted with the chance that makes it right on average (Morris, "Counting large numbers of events
//! in small registers", CACM'78). 255 stands for some 2^33 uses.
//!
//! The table is memory that the policy's context hands in, cut in buckets of eight words; a
//! fingerprint has one bucket. A word is 24 bits of the fingerprint and a count; 0 is empty. Where a
//! bucket is full, what was used least makes way. A policy must do without the counts that are not
//! there.

use super::bucket::{self, BUCKET, bucket_mut};

/// Counts up to here are exact.
const EXACT: u8 = 32;
/// Steps of an octave above, as a power of two.
const STEPS_SHIFT: u8 = 3;

/// Words of memory for so many entries: a quarter more, so that few buckets are full.
#[must_use]
pub fn words(entries: u64) -> usize {
    bucket::words(entries.saturating_add(entries / 4))
}

/// The count of a fingerprint, if it is there.
#[inline]
pub fn get(memory: &mut [u32], fingerprint: u32) -> Option<u8> {
    let bucket = bucket_mut(memory, fingerprint)?;
    let word = bucket.iter().find(|word| is_of(**word, fingerprint))?;
    Some(*word as u8)
}

/// Sets the count of a fingerprint; not 0.
#[inline]
pub fn set(memory: &mut [u32], fingerprint: u32, count: u8) {
    let Some(bucket) = bucket_mut(memory, fingerprint) else { return };
    let wanted = tag(fingerprint) | u32::from(count);
    let mut least = 0;
    for at in 0..BUCKET {
        if is_of(bucket[at], fingerprint) {
            bucket[at] = wanted;
            return;
        }
        if bucket[at] as u8 <= bucket[least] as u8 {
            least = at;
        }
    }
    if bucket[least] as u8 <= count {
        bucket[least] = wanted;
    }
}

/// Forgets a fingerprint.
#[inline]
pub fn forget(memory: &mut [u32], fingerprint: u32) {
    let Some(bucket) = bucket_mut(memory, fingerprint) else { return };
    if let Some(word) = bucket.iter_mut().find(|word| is_of(**word, fingerprint)) {
        *word = 0;
    }
}

/// A count after so many more uses; `dice` are 32 random bits.
#[inline]
#[must_use]
pub fn after(count: u8, uses: u8, dice: u32) -> u8 {
    let exact = EXACT.saturating_sub(count).min(uses);
    let (count, uses) = (count + exact, uses - exact);
    if uses == 0 {
        return count;
    }
    // An octave above the exact ones has steps of four uses, the next one of eight, and so on.
    let step = 4_u64 << ((count - EXACT) >> STEPS_SHIFT);
    let counts = u64::from(dice) * step < u64::from(uses) << 32;
    count.saturating_add(u8::from(counts))
}

/// Half of a count.
#[inline]
#[must_use]
pub fn half(count: u8) -> u8 {
    if count <= EXACT {
        return count / 2;
    }
    let octave = 1 << STEPS_SHIFT;
    match count.checked_sub(EXACT + octave) {
        Some(above) => EXACT + above,
        // Eighths between 32 and 64 become twos between 16 and 32.
        None => EXACT / 2 + (count - EXACT) * 2,
    }
}

/// The low bits of the fingerprint, above the count: the bucket is chosen by the high ones.
#[inline]
fn tag(fingerprint: u32) -> u32 {
    fingerprint << 8
}

#[inline]
fn is_of(word: u32, fingerprint: u32) -> bool {
    word != 0 && word & !0xFF == tag(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::{BUCKET, after, forget, get, half, set, words};

    #[test]
    fn remembers_sets_and_forgets() {
        let mut memory = vec![0; words(1000)];
        assert_eq!(memory.len(), 1256);
        let of = |n: u32| n.wrapping_mul(0x9E37_79B9);
        for n in 0..900 {
            set(&mut memory, of(n), 4);
            set(&mut memory, of(n), 4 + (n % 250) as u8);
        }
        let there = (0..900).filter(|&n| get(&mut memory, of(n)) == Some(4 + (n % 250) as u8));
        let there = there.count();
        assert!(there > 850, "{there} of 900 are there");
        assert_eq!(get(&mut memory, of(5000)), None);
        (0..900).for_each(|n| forget(&mut memory, of(n)));
        assert!(memory.iter().all(|word| *word == 0));
        for len in 0..BUCKET {
            set(&mut memory[..len], 7, 9);
            assert_eq!(get(&mut memory[..len], 7), None);
            forget(&mut memory[..len], 7);
        }
    }

    #[test]
    fn the_least_makes_way() {
        let mut memory = vec![0; BUCKET];
        (0..8).for_each(|n| set(&mut memory, n, 10 + n as u8));
        set(&mut memory, 8, 9);
        assert_eq!(get(&mut memory, 8), None);
        set(&mut memory, 8, 30);
        assert_eq!((get(&mut memory, 8), get(&mut memory, 0)), (Some(30), None));
    }

    #[test]
    fn counts_are_right_on_average() {
        let mut dice = 1_u64;
        let mut roll = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 32) as u32
        };
        for (uses, expected) in [(1, 1.0), (2, 32.0), (3, 64.0), (1, 1024.0), (3, 100_000.0)] {
            let mut sum = 0.0;
            for _ in 0..200 {
                let (mut count, mut used) = (0, 0.0);
                while used < expected {
                    count = after(count, uses, roll());
                    used += f64::from(uses);
                }
                sum += value(count) / used / 200.0;
            }
            assert!((sum - 1.0).abs() < 0.05, "{expected} uses by {uses} count as {sum} of it");
        }
        assert_eq!(after(255, 3, 0), 255);
    }

    fn value(count: u8) -> f64 {
        match count.checked_sub(32) {
            None => f64::from(count),
            Some(above) => 32.0 * f64::from(1 << (above / 8)) * (1.0 + f64::from(above % 8) / 8.0),
        }
    }

    #[test]
    fn half_is_half() {
        for count in 0..=255 {
            let (whole, part) = (value(count), value(half(count)));
            assert!((part - whole / 2.0).abs() <= 0.5, "{count}: {whole} to {part}");
        }
    }
}
