//! What a filter tells, and what its look-ups count.

use crate::stats::stripes::Stripes;

/// A filter at about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FilterStats {
    /// Fingerprints in it: adds that were not taken back, up to eight of one key.
    pub keys: u64,
    /// Keys that it is made for, with all it has grown by.
    pub capacity: u64,
    /// Bytes of the tables. Memory is charged to the page, with some kilobytes for the filter
    /// itself.
    pub bytes: u64,
    /// Adds so far, those that failed included.
    pub adds: u64,
    /// Adds that left the filter saturated, or found it so.
    pub add_failures: u64,
    /// Look-ups so far, each key of a batch one.
    pub lookups: u64,
    /// Look-ups answered "maybe".
    pub positives: u64,
    /// Removes so far.
    pub removes: u64,
    /// Removes that found no fingerprint, or the filter saturated.
    pub remove_failures: u64,
    /// Fingerprints moved to make room.
    pub kicks: u64,
    /// The most that were moved for one add.
    pub longest_kick_chain: u64,
    /// Tables begun after the first.
    pub resizes: u64,
    /// Slots in use, of all.
    pub load_factor: f64,
    /// The share of keys never added that should be answered "maybe", by the slots in use.
    pub fpr_theoretical: f64,
    /// The share of random keys that were answered "maybe" just now.
    pub fpr_sampled: f64,
    /// Every look-up answers "maybe" until the filter is cleared.
    pub saturated: bool,
}

/// Threads with a line of their own.
pub const OWNED: usize = 16;
/// Lines for all others.
const SHARED: usize = 4;

const NEGATIVES: usize = 0;
const POSITIVES: usize = 1;

/// What look-ups count.
#[derive(Debug, Default)]
pub struct Reads(Stripes<2, OWNED, SHARED>);

impl Reads {
    /// Counts a look-up of the thread of a slot below [`OWNED`].
    #[inline(always)]
    pub fn count_one(&self, slot: usize, found: bool) {
        if found {
            self.0.add_owned(slot, POSITIVES, 1);
        } else {
            self.0.add_owned(slot, NEGATIVES, 1);
        }
    }

    /// Counts for any thread.
    pub fn count(&self, slot: Option<usize>, lookups: u64, positives: u64) {
        let slot = slot.unwrap_or(usize::MAX);
        self.0.add(slot, NEGATIVES, lookups - positives);
        self.0.add(slot, POSITIVES, positives);
    }

    /// Look-ups and positives so far.
    pub fn sums(&self) -> (u64, u64) {
        let positives = self.0.sum(POSITIVES);
        (self.0.sum(NEGATIVES).wrapping_add(positives), positives)
    }
}
