//! Counts that readers make: striped by the number of the thread's reader slot.
//!
//! The first `OWNED` slots have a cache line of their own and add with a plain load and store: the
//! slot is the thread's alone while it lives, so nobody else writes the line. All others share
//! `SHARED` lines with atomic additions.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
#[repr(align(64))]
struct Line<const TALLIES: usize>([AtomicU64; TALLIES]);

impl<const TALLIES: usize> Line<TALLIES> {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; TALLIES])
    }
}

/// `TALLIES` counts.
#[derive(Debug)]
pub struct Stripes<const TALLIES: usize, const OWNED: usize, const SHARED: usize> {
    owned: [Line<TALLIES>; OWNED],
    shared: [Line<TALLIES>; SHARED],
}

impl<const TALLIES: usize, const OWNED: usize, const SHARED: usize>
    Stripes<TALLIES, OWNED, SHARED>
{
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { owned: [const { Line::new() }; OWNED], shared: [const { Line::new() }; SHARED] }
    }

    /// Counts `n` for the thread whose reader slot is `slot`: any number past the table for a thread
    /// without one.
    #[inline(always)]
    pub fn add(&self, slot: usize, tally: usize, n: u64) {
        if slot < OWNED {
            self.add_owned(slot, tally, n);
        } else {
            self.shared[slot % SHARED].0[tally].fetch_add(n, Ordering::Relaxed);
        }
    }

    /// [`Stripes::add`] for a slot that is below `OWNED`.
    #[inline(always)]
    pub fn add_owned(&self, slot: usize, tally: usize, n: u64) {
        bump(&self.owned[slot].0[tally], n);
    }

    /// The counts of the threads that share a line with this one, or of this one alone.
    #[inline(always)]
    #[must_use]
    pub fn line(&self, slot: usize) -> &[AtomicU64; TALLIES] {
        if slot < OWNED { &self.owned[slot].0 } else { &self.shared[slot % SHARED].0 }
    }

    /// The sum so far.
    #[must_use]
    pub fn sum(&self, tally: usize) -> u64 {
        let lines = self.owned.iter().chain(&self.shared);
        lines.fold(0, |sum, line| sum.wrapping_add(line.0[tally].load(Ordering::Relaxed)))
    }
}

impl<const TALLIES: usize, const OWNED: usize, const SHARED: usize> Default
    for Stripes<TALLIES, OWNED, SHARED>
{
    fn default() -> Self {
        Self::new()
    }
}

/// Adds where nobody else writes: no lock prefix, and readers see whole words.
#[inline(always)]
pub fn bump(word: &AtomicU64, n: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}
