//! What readers go by to believe that a key is absent: a version that is odd while a fingerprint is
//! on its way or one is being taken away, and another one afterwards.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The bit of a version that is set while something moves.
pub const ODD: u64 = 1;
/// What a version grows by; the bits between are its owner's.
pub const STEP: u64 = 8;

/// While it lives, readers do not believe that a key is absent.
pub struct Unsettled<'a>(&'a AtomicU64);

impl<'a> Unsettled<'a> {
    /// The caller holds the writer's lock.
    pub fn begin(version: &'a AtomicU64) -> Self {
        version.store(version.load(Ordering::Relaxed) | ODD, Ordering::Relaxed);
        // Before anything that is stored from here on.
        fence(Ordering::Release);
        Self(version)
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        let version = self.0.load(Ordering::Relaxed);
        // After everything that was stored.
        self.0.store((version & !ODD) + STEP, Ordering::Release);
    }
}
