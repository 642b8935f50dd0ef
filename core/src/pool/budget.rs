//! The budget: how many pages are charged, and how many may be.
//!
//! Both numbers live in one 64-bit word, so `used <= limit in force` is not a rule that code keeps
//! but a state that no reader of the word can ever find broken: a charge moves the word by
//! compare-exchange or not at all.
//!
//! The limit that was *asked for* (the target) may be below what is used. Then the limit in force
//! is `max(target, used)`: every discharge takes it along, down only, until the target is reached.
//! Charging during a shrink succeeds only for what fits, that is: not at all.
//!
//! The unit is a page of 4 KiB; 32 bits of it reach 16 TiB, four times the largest limit.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the unit of charging.
pub(super) const GRAIN: u64 = 4_096;
const HALF: u32 = 32;

/// Units that so many bytes take.
pub(super) const fn grains(bytes: u64) -> u64 {
    bytes.div_ceil(GRAIN)
}

/// Used and limit, as one moment has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Units charged.
    pub used: u64,
    /// Units that may be.
    pub limit: u64,
}

impl Level {
    const fn of(word: u64) -> Self {
        Self { used: word & ((1 << HALF) - 1), limit: word >> HALF }
    }

    const fn word(self) -> u64 {
        self.limit << HALF | self.used
    }
}

/// The budget of a pool.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Budget {
    word: AtomicU64,
    /// Bytes asked for.
    target: AtomicU64,
    /// The most units that were ever charged.
    peak: AtomicU64,
    /// Which change of the target was the last.
    revision: AtomicU64,
}

impl Budget {
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            word: AtomicU64::new(Level { used: 0, limit: limit_bytes / GRAIN }.word()),
            target: AtomicU64::new(limit_bytes),
            peak: AtomicU64::new(0),
            revision: AtomicU64::new(0),
        }
    }

    /// Charges so many units if the limit in force allows it.
    pub fn charge(&self, units: u64) -> bool {
        if crate::memory::sys::faults::strike() {
            return false;
        }
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let level = Level::of(word);
            if units > level.limit - level.used {
                return false;
            }
            let next = Level { used: level.used + units, ..level };
            match self.word.compare_exchange_weak(
                word,
                next.word(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    self.peak.fetch_max(next.used, Ordering::Relaxed);
                    return true;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Takes units back that were charged. During a shrink the limit in force goes along.
    pub fn discharge(&self, units: u64) {
        self.change(|level| Level { used: level.used.saturating_sub(units), ..level });
    }

    /// Asks for another limit and returns the number of this change. A larger one is in force at
    /// once, a smaller one as far as what is used allows. Calls must not overlap.
    pub fn retarget(&self, bytes: u64) -> u64 {
        // Before the word: whoever sees the word that follows from it computes with it.
        self.target.store(bytes, Ordering::Release);
        let revision = self.revision.fetch_add(1, Ordering::AcqRel) + 1;
        self.change(|level| Level { limit: level.limit.max(bytes / GRAIN), ..level });
        revision
    }

    /// Moves the word and takes the limit in force as far down as target and use allow.
    fn change(&self, step: impl Fn(Level) -> Level) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let next = step(Level::of(word));
            // Loaded again for every attempt, after the word that the attempt builds on.
            let target = self.target.load(Ordering::Acquire) / GRAIN;
            let next = Level { limit: next.limit.min(target.max(next.used)), ..next };
            match self.word.compare_exchange_weak(
                word,
                next.word(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Used and limit in force, of one moment.
    pub fn level(&self) -> Level {
        Level::of(self.word.load(Ordering::Acquire))
    }

    /// Units charged.
    pub fn used(&self) -> u64 {
        self.level().used
    }

    /// The limit in force, in bytes, and the units used under it.
    pub fn limit_bytes(&self) -> (u64, u64) {
        let level = self.level();
        let target = self.target.load(Ordering::Acquire);
        // A target need not be a whole number of units; it is reported as it was asked for.
        let limit = if level.limit == target / GRAIN { target } else { level.limit * GRAIN };
        (limit, level.used)
    }

    /// The limit asked for, in bytes.
    pub fn target_bytes(&self) -> u64 {
        self.target.load(Ordering::Acquire)
    }

    /// Units by which the limit in force is still above the one asked for; 0 but during a shrink.
    pub fn excess(&self) -> u64 {
        let target = self.target.load(Ordering::Relaxed) / GRAIN;
        Level::of(self.word.load(Ordering::Relaxed)).limit.saturating_sub(target)
    }

    /// The most units that were ever charged.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// The number of the last [`Budget::retarget`].
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_the_used_down_and_only_down() {
        let budget = Budget::new(100 * GRAIN);
        assert!(budget.charge(80));
        assert!(!budget.charge(21));
        assert_eq!(budget.retarget(50 * GRAIN + 7), 1);
        assert_eq!(budget.level(), Level { used: 80, limit: 80 });
        assert_eq!(budget.excess(), 30);
        assert!(!budget.charge(1));
        budget.discharge(10);
        assert_eq!(budget.level(), Level { used: 70, limit: 70 });
        budget.discharge(40);
        assert_eq!(budget.level(), Level { used: 30, limit: 50 });
        assert_eq!(budget.limit_bytes(), (50 * GRAIN + 7, 30));
        assert_eq!(budget.excess(), 0);
        assert_eq!(budget.retarget(200 * GRAIN), 2);
        assert!(budget.charge(170));
        assert_eq!(budget.peak(), 200);
    }

    #[test]
    fn used_is_never_above_the_limit_while_threads_charge_and_resize() {
        let budget = Budget::new(1_000 * GRAIN);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for i in 0..50_000_u64 {
                        if budget.charge(i % 400) {
                            budget.discharge(i % 400);
                        }
                    }
                });
            }
            scope.spawn(|| {
                for i in 0..50_000_u64 {
                    budget.retarget((i % 7 + 1) * 100 * GRAIN);
                }
            });
            for _ in 0..50_000 {
                let level = budget.level();
                assert!(level.used <= level.limit, "{level:?}");
            }
        });
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.excess(), 0);
    }
}
