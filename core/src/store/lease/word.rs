//! The two words of a lease that threads use without the shard's lock.
//!
//! The *state* is what waiters sleep on: a sequence and, in its low bits, how the lease stands. It
//! changes under the shard's lock only, and every change moves the sequence on, so that whoever saw
//! the word before cannot sleep through it. The *waiters* are counted in under the lock and leave
//! without it; the record is used for another lease only when all have left.
//!
//! Ordering: what belongs to an outcome (a value handed over) is written before the state that
//! announces it (release), and read after it was seen (acquire). A waiter reads the outcome before
//! it leaves (release), and whoever uses the record again has seen it leave (acquire).

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering};

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// No lease.
    Free = 0,
    /// Somebody loads.
    Held = 1,
    /// The holder gave it up; whoever comes first takes it over.
    Offered = 2,
    /// Ended: look at the key again.
    Again = 3,
    /// Ended: the load failed.
    Failed = 4,
    /// Ended: the source has no such key.
    Absent = 5,
    /// Ended: the value was declined and could not be passed on.
    Declined = 6,
    /// Ended: the value was declined, and each waiter takes its share of it.
    Handed = 7,
}

const STATES: [State; 8] = [
    State::Free,
    State::Held,
    State::Offered,
    State::Again,
    State::Failed,
    State::Absent,
    State::Declined,
    State::Handed,
];
const STEP: u32 = 8;

/// A state word as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(pub u32);

impl Seen {
    /// How the lease stood.
    #[must_use]
    pub fn state(self) -> State {
        STATES[(self.0 % STEP) as usize]
    }
}

/// State and waiters of a lease.
#[derive(Debug)]
#[repr(C)]
pub struct Words {
    state: AtomicU32,
    waiters: AtomicU32,
}

impl Words {
    /// Of a record that was never used.
    #[must_use]
    pub fn new() -> Self {
        Self { state: AtomicU32::new(0), waiters: AtomicU32::new(0) }
    }

    /// What waiters sleep on.
    #[cfg(not(loom))]
    #[must_use]
    pub fn futex(&self) -> &AtomicU32 {
        &self.state
    }

    /// The state word now.
    #[must_use]
    pub fn see(&self) -> Seen {
        Seen(self.state.load(Ordering::Acquire))
    }

    /// Moves on to another state. The caller holds the shard's lock, and wakes whom it concerns.
    pub fn turn(&self, state: State) {
        let seen = self.state.load(Ordering::Relaxed);
        let next = (seen / STEP * STEP).wrapping_add(STEP) | state as u32;
        self.state.store(next, Ordering::Release);
    }

    /// Counts a waiter in. The caller holds the shard's lock, and sleeps only while the word is
    /// what is returned.
    pub fn join(&self) -> Seen {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        Seen(self.state.load(Ordering::Relaxed))
    }

    /// Counts a waiter out, without a lock. It looks at the record no more.
    pub fn leave(&self) {
        self.waiters.fetch_sub(1, Ordering::Release);
    }

    /// Waiters now. Only under the lock does it not rise; 0 means that the record may be used
    /// again.
    #[must_use]
    pub fn waiters(&self) -> u32 {
        self.waiters.load(Ordering::Acquire)
    }
}

impl Default for Words {
    fn default() -> Self {
        Self::new()
    }
}

/// What the models of `tests/loom_lease.rs` take out.
#[cfg(loom)]
impl Words {
    /// [`Words::turn`] without its release.
    pub fn turn_unordered(&self, state: State) {
        let seen = self.state.load(Ordering::Relaxed);
        let next = (seen / STEP * STEP).wrapping_add(STEP) | state as u32;
        self.state.store(next, Ordering::Relaxed);
    }

    /// [`Words::see`] without its acquire.
    #[must_use]
    pub fn see_unordered(&self) -> Seen {
        Seen(self.state.load(Ordering::Relaxed))
    }

    /// [`Words::waiters`] without its acquire.
    #[must_use]
    pub fn waiters_unordered(&self) -> u32 {
        self.waiters.load(Ordering::Relaxed)
    }

    /// [`Words::leave`] without its release.
    pub fn leave_unordered(&self) {
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
