//! Changing the limit at run time, and trimming: eviction in steps until enough is given back.
//!
//! A larger limit is in force at once. For a smaller one the target is set first, so that nothing
//! grows any more; then, step by step, free segments go to the system, then what waited, then what
//! the stores evict. Every page that goes takes the limit in force along (see [`super::budget`]).
//! Other calls run on meanwhile and are refused only what they would have added.
//!
//! A shrink is bounded by its progress: it ends when nothing was given back for a number of rounds.
//! What views and allocations hold then goes as they are given back, by whoever gives it back.

use super::{Pool, Space};
use crate::config::{POOL_LIMIT_MIN, check_range};
use crate::error::Result;
use std::sync::atomic::Ordering;
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

/// Rounds in which stores gave and yet nothing was gained: writers took it first, or it waits.
const VAIN_ROUNDS: u32 = 1_000;

/// What a round came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Stores, waiting memory and free segments had nothing to give.
    Idle,
    /// Something was given, which need not have reached the system.
    Gave,
}

/// Counts rounds, and tells when to stop.
struct Progress {
    idle: u32,
    vain: u32,
    /// The least that was left to give back so far.
    least: u64,
}

impl Progress {
    const fn new() -> Self {
        Self { idle: 0, vain: 0, least: u64::MAX }
    }

    /// Notes how a round went and what is left to give back after it. False: give up.
    fn goes_on(&mut self, round: Round, left: u64) -> bool {
        if left < self.least {
            *self = Self { least: left, ..Self::new() };
            return true;
        }
        match round {
            Round::Idle => self.idle += 1,
            Round::Gave => self.vain += 1,
        }
        if self.idle > PAUSE_FROM {
            std::thread::sleep(PAUSE);
        }
        self.idle < IDLE_ROUNDS && self.vain < VAIN_ROUNDS
    }
}

/// A call that drives a shrink.
struct Driver<'a>(&'a Space);

impl<'a> Driver<'a> {
    fn new(space: &'a Space) -> Self {
        space.drivers.fetch_add(1, Ordering::SeqCst);
        Self(space)
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        self.0.drivers.fetch_sub(1, Ordering::SeqCst);
        // Whoever freed a segment and left it to the driver did so before this look at the lists:
        // had it come after, it would have found no driver.
        self.0.follow_shrink();
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
        let _driver = Driver::new(space);
        let mut progress = Progress::new();
        loop {
            if space.budget.revision() != revision {
                return Ok(LimitOutcome::Superseded);
            }
            let excess = space.excess_bytes();
            if excess == 0 {
                return Ok(LimitOutcome::Reached);
            }
            let round = self.give_back(excess, progress.idle);
            if !progress.goes_on(round, space.excess_bytes()) {
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
        let mut progress = Progress::new();
        loop {
            let left = space.used_bytes().saturating_sub(target_bytes);
            if left == 0 {
                break;
            }
            let round = self.give_back(left, progress.idle);
            if !progress.goes_on(round, space.used_bytes().saturating_sub(target_bytes)) {
                break;
            }
        }
        Ok(before.saturating_sub(space.used_bytes()))
    }

    /// One step towards giving so many bytes back.
    fn give_back(&self, bytes: u64, idle: u32) -> Round {
        let space = self.space();
        let step = bytes.min(STEP_SEGMENTS * space.seg_bytes());
        if space.release_free(step) != 0 {
            return Round::Gave;
        }
        // Waiting memory before live entries.
        if space.harvest(true).bytes != 0 {
            space.release_free(step);
            return Round::Gave;
        }
        if idle == 1 {
            // Blocks kept for later in the raw allocator are nobody's.
            self.0.raw.flush(space);
        }
        let given = self.reclaim_all(step);
        if space.release_free(step) != 0 || given != 0 { Round::Gave } else { Round::Idle }
    }
}
