//! What readers go by to believe that a key is absent: a version, kept twice.
//!
//! A writer that moves or removes a fingerprint counts the one word, *begun*, up before and the other,
//! *ended*, after. A reader loads *ended*, looks, and loads *begun*: if the two agree, nothing that it
//! saw was on its way, since whatever a writer stored came after *begun* and before *ended*.
//!
//! Flags of the owner are in *begun* alone. A reader that compares the two words as they are thus finds
//! a flag and a move by the same comparison.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Bits of *begun* that are the owner's flags.
pub const FLAGS: u64 = 7;
const STEP: u64 = FLAGS + 1;

/// The two words. One thread at a time may call what changes them.
#[derive(Debug)]
#[repr(C)]
pub struct Version {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Version {
    /// Of something at rest, with these flags.
    #[must_use]
    pub fn new(flags: u64) -> Self {
        Self { begun: AtomicU64::new(flags), ended: AtomicU64::new(0) }
    }

    /// The reader's side, before it looks.
    #[inline(always)]
    pub fn before(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// The reader's side, after it looked: whether nothing moved since [`Version::before`] returned
    /// `seen`, and the flags are `flags`.
    #[inline(always)]
    pub fn is_still(&self, seen: u64, flags: u64) -> bool {
        // Before the load are those of what was looked at.
        fence(Ordering::Acquire);
        self.begun.load(Ordering::Relaxed) == seen | flags
    }

    /// [`Version::is_still`] without its fence, for the model that must find that out.
    #[cfg(loom)]
    pub fn is_still_unordered(&self, seen: u64, flags: u64) -> bool {
        self.begun.load(Ordering::Relaxed) == seen | flags
    }

    /// The flags.
    #[inline(always)]
    pub fn flags(&self) -> u64 {
        self.begun.load(Ordering::Acquire) & FLAGS
    }

    /// Sets flags: what they tell of is visible to who finds them.
    pub fn raise(&self, flags: u64) {
        self.begun.store(self.begun.load(Ordering::Relaxed) | flags, Ordering::Release);
    }

    /// Clears flags.
    pub fn lower(&self, flags: u64) {
        self.begun.store(self.begun.load(Ordering::Relaxed) & !flags, Ordering::Release);
    }

    /// Whether nothing is on its way.
    pub fn is_settled(&self) -> bool {
        self.ended.load(Ordering::Relaxed) == self.begun.load(Ordering::Relaxed) & !FLAGS
    }

    /// Until what it returns is dropped, readers do not believe that a key is absent.
    #[inline]
    pub fn unsettle(&self) -> Unsettled<'_> {
        self.begin();
        // Before anything that is stored from here on.
        fence(Ordering::Release);
        Unsettled(self)
    }

    /// [`Version::unsettle`] without its fence, for the model that must find that out.
    #[cfg(loom)]
    pub fn unsettle_unordered(&self) -> Unsettled<'_> {
        self.begin();
        Unsettled(self)
    }

    #[inline(always)]
    fn begin(&self) {
        self.begun.store(self.begun.load(Ordering::Relaxed) + STEP, Ordering::Relaxed);
    }

    #[inline(always)]
    fn end(&self, order: Ordering) {
        self.ended.store(self.begun.load(Ordering::Relaxed) & !FLAGS, order);
    }
}

/// While it lives, things move.
#[derive(Debug)]
pub struct Unsettled<'a>(&'a Version);

impl Unsettled<'_> {
    /// The end without its release, for the model that must find that out.
    #[cfg(loom)]
    pub fn end_unordered(self) {
        self.0.end(Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Unsettled<'_> {
    #[inline]
    fn drop(&mut self) {
        // After everything that was stored.
        self.0.end(Ordering::Release);
    }
}
