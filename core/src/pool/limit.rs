//! Changing the limit at run time, and trimming: eviction in steps until enough is given back.
//!
//! A larger limit is in force at once. For a smaller one the target is set first, so that nothing
//! grows any more; then, step by step, free segments go to the system, then what waited, then what
//! the stores evict. Every page that goes takes the limit in force along (see [`super::budget`]).
//! Other calls run on meanwhile and are refused only what they would have added.
//!
//! A shrink is bounded by its progress: it ends when nothing was given back for a number of rounds.
//! What views and allocations hold then goes as they are given back, by whoever gives it back.

use super::Pool;
use crate::config::{POOL_LIMIT_MIN, check_range};
use crate::error::Result;
use std::time::Duration;

/// What came of a change of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum LimitOutcome {
    /// It is in force.
    Reached,
    /// Views or allocations hold more; the rest goes as they are given back.
    Partial,
    /// Another call has set another limit meanwhile, which holds.
    Superseded,
}

/// Segments that one step evicts at most.
const STEP_SEGMENTS: u64 = 16;
/// Rounds without progress after which a shrink gives up. Later ones pause, for readers that a
/// look-up or a view keeps for a moment.
const IDLE_ROUNDS: u32 = 24;
const PAUSE_FROM: u32 = 4;
const PAUSE: Duration = Duration::from_micros(500);

/// Counts rounds, and tells when to stop.
struct Progress {
    idle: u32,
}

impl Progress {
    /// Notes how a round went. False: it is time to give up.
    fn goes_on(&mut self, moved: bool) -> bool {
        if moved {
            self.idle = 0;
            return true;
        }
        self.idle += 1;
        if self.idle > PAUSE_FROM {
            std::thread::sleep(PAUSE);
        }
        self.idle < IDLE_ROUNDS
    }
}

impl Pool {
    /// Changes the limit. For a smaller one the limit in force follows the used bytes down, and
    /// the call returns when it is reached or nothing moves any more. Floors of stores do not
    /// stand against it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`]: below [`POOL_LIMIT_MIN`], or above the `limit_max_bytes`
    /// that the pool was made for.
    pub fn set_limit(&self, bytes: u64) -> Result<LimitOutcome> {
        self.check()?;
        check_range("limit_bytes", bytes, POOL_LIMIT_MIN, self.space().limit_max())?;
        let space = self.space();
        let revision = {
            let _one = self.0.retargeting.lock();
            space.budget.retarget(bytes)
        };
        space.update_gauge();
        let mut progress = Progress { idle: 0 };
        loop {
            if space.budget.revision() != revision {
                return Ok(LimitOutcome::Superseded);
            }
            let excess = space.excess_bytes();
            if excess == 0 {
                return Ok(LimitOutcome::Reached);
            }
            let moved = self.give_back(excess, progress.idle);
            if !progress.goes_on(moved) {
                return Ok(LimitOutcome::Partial);
            }
        }
    }

    /// Evicts until at most so many bytes are used, as far as views and allocations allow, and
    /// returns the bytes given back to the system. The limit stays.
    pub fn trim(&self, target_bytes: u64) -> Result<u64> {
        self.check()?;
        let space = self.space();
        let before = space.used_bytes();
        let wanted = before.saturating_sub(target_bytes);
        let mut freed = 0;
        let mut progress = Progress { idle: 0 };
        // Bounded by what there was to free: others may use more meanwhile.
        while freed < wanted {
            let used = space.used_bytes();
            if used <= target_bytes {
                break;
            }
            let moved = self.give_back((used - target_bytes).min(wanted - freed), progress.idle);
            freed += used.saturating_sub(space.used_bytes());
            if !progress.goes_on(moved) {
                break;
            }
        }
        Ok(before.saturating_sub(space.used_bytes()))
    }

    /// One step towards giving so many bytes back; whether anything moved.
    fn give_back(&self, bytes: u64, idle: u32) -> bool {
        let space = self.space();
        let step = bytes.min(STEP_SEGMENTS * space.seg_bytes());
        if space.release_free(step) != 0 {
            return true;
        }
        // Waiting memory before live entries.
        let found = space.harvest(true);
        if found.bytes != 0 {
            space.release_free(step);
            return true;
        }
        if idle == 1 {
            // Blocks kept for later in the raw allocator are nobody's.
            self.0.raw.flush(space);
        }
        let given = self.reclaim_all(step);
        space.release_free(step) != 0 || given != 0
    }
}
