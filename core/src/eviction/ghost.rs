//! Ghosts: a table of keys that left not long ago, four bytes each.
//!
//! The table is the memory that the policy's context hands in, cut in buckets of eight words; a
//! fingerprint has one bucket, so a look-up reads half a cache line. A word is 18 bits of the
//! fingerprint and 14 bits of a clock that advances with every ghost remembered; 0 is an empty
//! word, and the clock skips it. A ghost older than the *window* is not found any more, which makes
//! the table behave as a FIFO queue of the window's length without keeping one: nothing is linked
//! and nothing is swept. A bucket is ordered, the newest first and empty words last: remembering
//! moves seven words by one, which is two vector stores, and the oldest falls out at the end.
//!
//! What is recalled leaves room, as in a queue: so much is remembered before the clock goes on.
//!
//! **Units.** The window is a number of entries or a number of bytes, as the capacity is; each ghost
//! advances the clock by its size in that unit. The window spans at most [`TICKS`] ticks, so ages
//! are exact while the window is that short and 0.1 % coarse beyond.
//!
//! **Wrapping.** The clock wraps after [`CLOCK`] ticks, some sixteen windows, after which an old
//! word would look young. Whatever is remembered in a bucket empties the words of it that are too
//! old (they are the last ones), and a bucket that sees nothing for fifteen windows holds at most a false memory: one
//! newcomer treated as an old acquaintance.
//!
//! **Any size.** The bucket is the high half of fingerprint times buckets, so the number of
//! buckets need not be a power of two. Two keys are confused when bucket and 18 bits agree: less
//! than once in 30,000 look-ups while a bucket is found by at most 14 bits of the fingerprint, and
//! 8 in 2^(32 - b) when it takes b more bits than that allows.

use super::bucket::{BUCKET, bucket_mut, prefetch, same_tags, words};

/// Bits of the clock in a word.
const CLOCK_BITS: u32 = 14;
/// How many values the clock has: 1 to this.
const CLOCK: u32 = (1 << CLOCK_BITS) - 1;
/// The most ticks that the window spans.
const TICKS: u64 = 1024;

/// How long a ghost is remembered, in entries or in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    by_entries: bool,
    /// Units in a tick.
    tick: u64,
    /// Ticks in the window.
    ticks: u32,
}

impl Window {
    /// A window of this length in the unit: an entry, or a byte.
    pub fn new(length: u64, by_entries: bool) -> Self {
        let tick = length.div_ceil(TICKS).max(1);
        Self { by_entries, tick, ticks: (length / tick).min(TICKS) as u32 }
    }

    /// Whether the unit is an entry.
    #[inline(always)]
    pub fn by_entries(self) -> bool {
        self.by_entries
    }
}

/// The clock of a ghost table; the table itself is the memory handed to each call.
#[derive(Clone, Debug)]
pub struct Ghosts {
    now: u32,
    /// What was remembered since the last tick, in the unit of `by_entries`; below 0 where ghosts
    /// were recalled since.
    part: i64,
    by_entries: bool,
}

impl Default for Ghosts {
    fn default() -> Self {
        Self { now: 1, part: 0, by_entries: false }
    }
}

impl Ghosts {
    /// Words of memory for so many ghosts.
    #[must_use]
    pub fn words(ghosts: u64) -> usize {
        words(ghosts)
    }

    /// Asks the processor for the bucket of this fingerprint.
    #[inline]
    pub fn prefetch(memory: &[u32], fingerprint: u32) {
        prefetch(memory, fingerprint);
    }

    /// Whether this fingerprint was remembered within the window; forgets it.
    #[inline]
    pub fn recall(&mut self, memory: &mut [u32], fingerprint: u32, window: Window) -> bool {
        let Some(bucket) = bucket_mut(memory, fingerprint) else { return false };
        let wanted = tag(fingerprint);
        let same = same_tags::<{ CLOCK_BITS as i32 }>(bucket, wanted);
        // Empty words come last, and look like the tag 0.
        let at = same.trailing_zeros() as usize;
        if at >= BUCKET || bucket[at] == 0 {
            return false;
        }
        let word = bucket[at];
        bucket.copy_within(at + 1.., at);
        bucket[BUCKET - 1] = 0;
        age(self.now, word) <= window.ticks
    }

    /// What was recalled left room for `size` units: so much is remembered before any gets older.
    #[cold]
    #[inline(never)]
    pub fn leave_room(&mut self, size: u64, window: Window) {
        let most = (window.tick * u64::from(window.ticks)).cast_signed();
        self.part = self.part.saturating_sub_unsigned(size).max(-most);
    }

    /// Remembers this fingerprint of an entry of `size` units.
    #[inline]
    pub fn remember(&mut self, memory: &mut [u32], fingerprint: u32, size: u64, window: Window) {
        let (now, most) = (self.now, window.ticks);
        if let Some(bucket) = bucket_mut(memory, fingerprint) {
            bucket.copy_within(..BUCKET - 1, 1);
            bucket[0] = tag(fingerprint) | now;
            for word in bucket[1..].iter_mut().rev() {
                if *word != 0 && age(now, *word) <= most {
                    break;
                }
                *word = 0;
            }
        }
        self.advance(size, window);
    }

    /// Forgets all, without touching the memory.
    pub fn clear(&mut self) {
        self.part = 0;
        self.tick(TICKS as u32 + 1);
    }

    fn advance(&mut self, size: u64, window: Window) {
        if self.by_entries != window.by_entries {
            (self.by_entries, self.part) = (window.by_entries, 0);
        }
        let tick = window.tick.cast_signed();
        self.part += size.cast_signed();
        if self.part < tick {
            return;
        }
        if self.part < 2 * tick {
            self.part -= tick;
            self.tick(1);
            return;
        }
        // An entry longer than the whole window ends the memory of all before it, no more.
        let ticks = (self.part / tick).min(TICKS as i64 + 1);
        self.part %= tick;
        self.tick(ticks as u32);
    }

    fn tick(&mut self, ticks: u32) {
        self.now += ticks;
        if self.now > CLOCK {
            self.now = (self.now - 1) % CLOCK + 1;
        }
    }
}

/// The low bits of the fingerprint, shifted above the clock: the bucket is chosen by the high
/// ones, and the fewer bits the two share the fewer keys are confused.
#[inline]
fn tag(fingerprint: u32) -> u32 {
    fingerprint << CLOCK_BITS
}

/// Ticks from the word's time to `now`, both 1 to [`CLOCK`].
#[inline]
fn age(now: u32, word: u32) -> u32 {
    let then = word & CLOCK;
    let ago = now.wrapping_sub(then);
    ago.wrapping_add(if ago.cast_signed() < 0 { CLOCK } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::{BUCKET, CLOCK, Ghosts, TICKS, Window};
    use std::collections::VecDeque;

    fn spread(n: u32) -> u32 {
        let mut x = u64::from(n).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x ^ (x >> 32)) as u32
    }

    fn entries(length: u64) -> Window {
        Window::new(length, true)
    }

    #[test]
    fn is_a_fifo_queue_while_the_table_is_large() {
        let window = entries(100);
        let mut memory = vec![0; 80_000];
        let mut ghosts = Ghosts::default();
        let mut exact = VecDeque::new();
        for step in 0..200_000_u32 {
            let fresh = spread(step);
            ghosts.remember(&mut memory, fresh, 1, window);
            exact.push_back(fresh);
            if exact.len() > 100 {
                exact.pop_front();
            }
            let asked = spread(step - spread(step ^ 77) % step.clamp(1, 130));
            let found = ghosts.recall(&mut memory, asked, window);
            assert_eq!(found, exact.contains(&asked), "step {step}");
            if found {
                exact.iter_mut().filter(|ghost| **ghost == asked).for_each(|ghost| *ghost = 0);
            }
        }
    }

    #[test]
    fn what_was_recalled_leaves_room_for_others() {
        let window = entries(10);
        let mut memory = vec![0; 800];
        let mut ghosts = Ghosts::default();
        (0..10).for_each(|n| ghosts.remember(&mut memory, spread(n), 1, window));
        for n in 3..6 {
            assert!(ghosts.recall(&mut memory, spread(n), window));
            ghosts.leave_room(1, window);
        }
        (10..13).for_each(|n| ghosts.remember(&mut memory, spread(n), 1, window));
        let found = |n: u32| ghosts.clone().recall(&mut memory, spread(n), window);
        assert_eq!([0, 12].map(found), [true; 2]);
        (13..15).for_each(|n| ghosts.remember(&mut memory, spread(n), 1, window));
        let found = |n: u32| ghosts.clone().recall(&mut memory, spread(n), window);
        assert_eq!([1, 2, 11].map(found), [false, true, true]);
    }

    #[test]
    fn window_of_bytes_forgets_by_bytes() {
        let window = Window::new(1 << 20, false);
        let mut memory = vec![0; 8_000];
        let mut ghosts = Ghosts::default();
        ghosts.remember(&mut memory, 7, 1000, window);
        for n in 0..1000 {
            ghosts.remember(&mut memory, spread(n), 1000, window);
        }
        assert!(ghosts.recall(&mut memory, 7, window));
        assert!(!ghosts.recall(&mut memory, 7, window), "recalled once");
        ghosts.remember(&mut memory, 7, 1000, window);
        for n in 0..60 {
            ghosts.remember(&mut memory, spread(n), 20_000, window);
        }
        assert!(!ghosts.recall(&mut memory, 7, window));
    }

    #[test]
    fn nothing_older_than_the_window_is_found_at_any_size() {
        for words in [8, 24, 1000, 4096] {
            for length in [0, 1, 5, 64, 1023, 1024, 1025, 30_000] {
                let window = entries(length);
                let mut memory = vec![0; words];
                let mut ghosts = Ghosts::default();
                let mut found = 0;
                for n in 0..100_000 {
                    ghosts.remember(&mut memory, spread(n), 1, window);
                    let old = n.checked_sub(length as u32 + length as u32 / 512 + 2);
                    if old.is_some_and(|old| ghosts.recall(&mut memory, spread(old), window)) {
                        found += 1;
                    }
                }
                assert!(found < 20, "{words} words, window {length}: {found} found");
            }
        }
    }

    #[test]
    fn a_table_of_one_word_a_ghost_keeps_most_and_confuses_few() {
        let window = entries(10_000);
        let mut memory = vec![0; Ghosts::words(10_000)];
        let mut ghosts = Ghosts::default();
        for n in 0..100_000 {
            ghosts.remember(&mut memory, spread(n), 1, window);
        }
        let kept = (90_000..100_000).filter(|&n| {
            let mut copy = ghosts.clone();
            copy.recall(&mut memory, spread(n), window)
        });
        assert!(kept.count() > 8_000);
        let mut confused = 0;
        for n in 200_000..1_200_000 {
            confused += u32::from(ghosts.recall(&mut memory, spread(n), window));
        }
        assert!(confused < 100, "{confused} of a million strangers were recalled");
    }

    #[test]
    fn empty_memory_remembers_nothing() {
        let mut ghosts = Ghosts::default();
        for words in 0..BUCKET {
            let mut memory = vec![0; words];
            ghosts.remember(&mut memory, 1, 1, entries(10));
            assert!(!ghosts.recall(&mut memory, 1, entries(10)));
            Ghosts::prefetch(&memory, 1);
        }
    }

    #[test]
    fn clear_and_units() {
        let mut ghosts = Ghosts::default();
        let mut memory = vec![0; 64];
        let bytes = Window::new(1 << 30, false);
        for round in 0..2 * CLOCK {
            ghosts.remember(&mut memory, 1, 1, entries(10));
            assert!(ghosts.recall(&mut memory, 1, entries(10)), "round {round}");
            ghosts.remember(&mut memory, 1, 1, entries(10));
            ghosts.clear();
            assert!(!ghosts.recall(&mut memory, 1, entries(10)), "round {round}");
            ghosts.remember(&mut memory, 2, 1 << 20, bytes);
            assert!(ghosts.recall(&mut memory, 2, entries(1)), "half a tick in another unit");
        }
        assert_eq!(entries(TICKS).ticks, TICKS as u32);
        assert_eq!(entries(0).ticks, 0);
        assert_eq!(Ghosts::words(0), 0);
        assert_eq!(Ghosts::words(9), 16);
        assert!(Ghosts::words(u64::MAX) > 0);
    }
}
