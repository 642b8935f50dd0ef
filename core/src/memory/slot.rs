//! One reader's word: whether it is inside a look-up, and which memory it has announced.
//!
//! The word packs a sequence (40 bits, odd while the reader is inside) and one announced id (24
//! bits, 0: none). Only its owner writes it; reclaimers read it. Three stores make a look-up:
//!
//! 1. [`Slot::enter`]: odd sequence, nothing announced (release).
//! 2. [`Slot::announce`]: the same sequence with the id (release). The reader then loads the index
//!    slot *again*: if it still names that memory, the memory cannot be reused until the word
//!    changes, because a reclaimer unlinks first, then runs a heavy barrier, then reads the words.
//! 3. [`Slot::leave`]: the next even sequence (release), so that whoever sees it also sees
//!    everything the reader did before, a pin above all.
//!
//! The store of step 2 and the load behind it may be reordered by the processor; the reclaimer's
//! heavy barrier stands for the fence that the reader does not pay (see [`super::barrier`]).
//!
//! Steps 1 and 2 release what the reader did *before* them: a reclaimer may see the word of a later
//! look-up or of a later announcement only, and concludes that the one before is over. A relaxed
//! store would end the release sequence that step 3 began (C++20). On x86-64 either is a plain
//! store.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of the word that hold the announced id plus one.
pub const ID_BITS: u32 = 24;
const ID_MASK: u64 = (1 << ID_BITS) - 1;
const STEP: u64 = 1 << ID_BITS;
/// The word of a slot that was just taken: an even sequence that is not 0.
pub const FRESH: u64 = 2 * STEP;

/// The word.
#[derive(Debug)]
#[repr(transparent)]
pub struct Slot(AtomicU64);

impl Slot {
    /// A slot nobody owns.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn vacant() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A slot that was just taken.
    #[must_use]
    pub fn fresh() -> Self {
        Self(AtomicU64::new(FRESH))
    }

    /// Takes a vacant slot for the calling thread.
    pub fn take(&self) {
        self.0.store(FRESH, Ordering::Release);
    }

    /// Gives the slot up.
    pub fn vacate(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Marks the owner inside and returns its token, or `None` when it is inside already.
    #[inline(always)]
    pub fn enter(&self) -> Option<u64> {
        self.mark(Ordering::Release)
    }

    #[inline(always)]
    fn mark(&self, order: Ordering) -> Option<u64> {
        let word = self.0.load(Ordering::Relaxed);
        if word & STEP != 0 {
            return None;
        }
        let token = (word & !ID_MASK).wrapping_add(STEP);
        self.0.store(token, order);
        Some(token)
    }

    /// [`Slot::enter`] without its release, for the model that must find that out.
    #[cfg(loom)]
    pub fn enter_unordered(&self) -> Option<u64> {
        self.mark(Ordering::Relaxed)
    }

    /// Announces `id` for the look-up of `token`; replaces what was announced before.
    #[inline(always)]
    pub fn announce(&self, token: u64, id: u32) {
        #[cfg(all(not(loom), any(test, feature = "testing")))]
        if testing::postpone(self, token | (u64::from(id) + 1)) {
            return;
        }
        self.0.store(token | (u64::from(id) + 1), Ordering::Release);
    }

    /// [`Slot::announce`] without its release, for the model that must find that out.
    #[cfg(loom)]
    pub fn announce_unordered(&self, token: u64, id: u32) {
        self.0.store(token | (u64::from(id) + 1), Ordering::Relaxed);
    }

    /// Ends the look-up of `token`.
    #[inline(always)]
    pub fn leave(&self, token: u64) {
        #[cfg(all(not(loom), any(test, feature = "testing")))]
        testing::forget();
        self.0.store(token.wrapping_add(STEP), Ordering::Release);
    }

    /// [`Slot::leave`] without its release, for the model that must find that out.
    #[cfg(loom)]
    pub fn leave_unordered(&self, token: u64) {
        self.0.store(token.wrapping_add(STEP), Ordering::Relaxed);
    }

    /// The word as a reclaimer sees it.
    pub fn word(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// The id that a word announces.
    #[must_use]
    pub fn announced(word: u64) -> Option<u32> {
        u32::try_from(word & ID_MASK).ok()?.checked_sub(1)
    }

    /// Whether a word's owner is inside a look-up.
    #[must_use]
    pub fn is_inside(word: u64) -> bool {
        word & STEP != 0
    }
}

/// A store buffer, for tests.
///
/// A processor may keep an announcement to itself while the load behind it is already done: for
/// nanoseconds as a rule, for as long as it likes by right. Here an announcement waits until the
/// second look is over, and longer; a heavy barrier waits until all that are postponed are made, as
/// the real one does. Without the barrier the harm that a test could wait for for hours is there at
/// once.
#[cfg(all(not(loom), any(test, feature = "testing")))]
pub mod testing {
    use super::Slot;
    use crate::memory::barrier;
    use std::cell::{Cell, RefCell};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{PoisonError, RwLock, RwLockReadGuard};

    static POSTPONES: AtomicBool = AtomicBool::new(false);
    /// Held shared while an announcement is postponed.
    static BUFFER: RwLock<()> = RwLock::new(());

    struct Postponed {
        slot: *const Slot,
        word: u64,
        _shared: RwLockReadGuard<'static, ()>,
    }

    thread_local! {
        static POSTPONED: RefCell<Option<Postponed>> = const { RefCell::new(None) };
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }

    /// Has every fourth announcement stay invisible until after the second look.
    pub fn postpone_announcements(on: bool) {
        POSTPONES.store(on, Ordering::SeqCst);
    }

    pub(super) fn postpone(slot: &Slot, word: u64) -> bool {
        // Readers that fence have nothing in their store buffers.
        if !POSTPONES.load(Ordering::Relaxed) || !barrier::is_asymmetric() {
            return false;
        }
        forget();
        CALLS.set(CALLS.get().wrapping_add(1));
        if !CALLS.get().is_multiple_of(4) {
            return false;
        }
        let shared = BUFFER.read().unwrap_or_else(PoisonError::into_inner);
        let postponed = Postponed { slot, word, _shared: shared };
        POSTPONED.with_borrow_mut(|mine| *mine = Some(postponed));
        true
    }

    /// Makes the calling thread's postponed announcement, late; called after the second look.
    #[inline(always)]
    pub fn settle() {
        if POSTPONES.load(Ordering::Relaxed) {
            settle_late();
        }
    }

    #[cold]
    fn settle_late() {
        if let Some(postponed) = POSTPONED.take() {
            // Mostly as long as a few look-ups take, now and then as long as others please.
            if CALLS.get().is_multiple_of(64) {
                std::thread::yield_now();
            } else {
                (0..CALLS.get() % 61).for_each(|_| std::hint::spin_loop());
            }
            // SAFETY: slots are never unmapped, and this one is the calling thread's own.
            unsafe { &*postponed.slot }.0.store(postponed.word, Ordering::Relaxed);
        }
    }

    /// Drops what was not made before the look-up ended or another announcement took its place.
    #[inline(always)]
    pub(super) fn forget() {
        if POSTPONES.load(Ordering::Relaxed) {
            drop(POSTPONED.take());
        }
    }

    /// The heavy barrier's part: everything postponed before is made when this returns.
    pub(in crate::memory) fn drain() {
        if POSTPONES.load(Ordering::Relaxed) {
            drop(BUFFER.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
