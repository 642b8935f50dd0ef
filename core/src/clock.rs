//! Time: milliseconds on a monotonic clock, readable through a clock that tests can steer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a store reads the time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's monotonic clock.
    #[default]
    Monotonic,
    /// A clock that moves only when it is told to.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A steered clock and its hand, in milliseconds.
    #[must_use]
    pub fn manual(start_ms: u64) -> (Self, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(start_ms));
        (Self::Manual(Arc::clone(&hand)), hand)
    }

    /// [`Clock::now_ms`], and the nanoseconds of the system's clock at the same moment.
    #[must_use]
    pub fn now_both(&self) -> (u64, u64) {
        let now_ns = monotonic_ns();
        match self {
            Self::Monotonic => (now_ns / 1_000_000, now_ns),
            Self::Manual(_) => (self.now_ms(), now_ns),
        }
    }

    /// Milliseconds since an arbitrary moment; never falls.
    #[inline]
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match self {
            Self::Monotonic => monotonic_ns() / 1_000_000,
            Self::Manual(hand) => hand.load(Ordering::SeqCst),
        }
    }
}

/// Nanoseconds on the monotonic clock.
#[inline]
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec for the kernel to fill; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
