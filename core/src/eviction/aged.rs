//! Ghosts with ages: four bytes that tell where a key was, when it came and when it left.
//!
//! ```text
//! 31       19   18   17          9 8           0
//! | tag 13  | main | appended 9   | left 9      |
//! ```
//!
//! The table is cut in buckets of eight ([`super::bucket`]), each ordered from the newest to the
//! oldest: remembering moves seven words by one, which is two vector stores, and the oldest falls
//! out at the end. No clock decides how long a ghost is remembered, only the number of words does.
//!
//! Both times are ticks of clocks that the policy keeps, less all but nine bits. Their ages are
//! therefore right up to [`RANGE`] ticks and then begin anew: an entry that was appended longer ago
//! than [`AGE_MAX`] is noted as of that age, so that the difference to `RANGE` is left for its
//! life as a ghost. What outlives that looks young once: one newcomer judged wrongly.
//!
//! Two keys are confused when bucket and tag agree, once in a thousand look-ups in a full table.

use super::bucket::{BUCKET, bucket_mut, same_tags};

/// Bits below the tag.
const TAG_SHIFT: u32 = 19;
const TAG_ONE: u32 = 1 << TAG_SHIFT;
const MAIN: u32 = 1 << 18;
const APPENDED_SHIFT: u32 = 9;
/// After so many ticks a time in a ghost begins anew.
pub(super) const RANGE: u32 = 1 << 9;
/// The most ticks that an entry has been there when it leaves, as far as its ghost tells.
pub(super) const AGE_MAX: u32 = RANGE / 4 * 3;

/// What is remembered of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ghost {
    /// It left the main queue, not the small one.
    pub from_main: bool,
    /// When it was last appended, in ticks.
    pub appended: u32,
    /// When it left, in ticks of its queue's clock.
    pub left: u32,
}

/// Ticks since a time of a ghost.
#[inline(always)]
pub(super) fn ticks_since(then: u32, now: u32) -> u32 {
    now.wrapping_sub(then) % RANGE
}

/// The ghost of this fingerprint; forgets it.
#[inline]
pub(super) fn recall(memory: &mut [u32], fingerprint: u32) -> Option<Ghost> {
    let bucket = bucket_mut(memory, fingerprint)?;
    let same = same_tags::<{ TAG_SHIFT as i32 }>(bucket, tag(fingerprint));
    let at = same.trailing_zeros() as usize;
    if at >= BUCKET {
        return None;
    }
    let word = bucket[at];
    bucket.copy_within(at + 1.., at);
    bucket[BUCKET - 1] = 0;
    Some(Ghost {
        from_main: word & MAIN != 0,
        appended: word >> APPENDED_SHIFT & (RANGE - 1),
        left: word & (RANGE - 1),
    })
}

/// Remembers a ghost; the oldest of its bucket is forgotten for it.
#[inline]
pub(super) fn remember(memory: &mut [u32], fingerprint: u32, ghost: Ghost) {
    if let Some(bucket) = bucket_mut(memory, fingerprint) {
        bucket.copy_within(..BUCKET - 1, 1);
        bucket[0] = tag(fingerprint)
            | if ghost.from_main { MAIN } else { 0 }
            | (ghost.appended % RANGE) << APPENDED_SHIFT
            | (ghost.left % RANGE);
    }
}

/// The low bits of the fingerprint where a word has them; never 0, which is the tag of an empty
/// word.
#[inline]
fn tag(fingerprint: u32) -> u32 {
    let tag = fingerprint << TAG_SHIFT;
    if tag == 0 { TAG_ONE } else { tag }
}
