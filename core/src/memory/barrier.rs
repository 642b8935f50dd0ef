//! The asymmetric barrier: readers pay a compiler fence, reclaimers pay for both.
//!
//! [`heavy`] has every running thread of the process execute a full memory barrier
//! (`membarrier(2)`, private expedited). A reader's announcement that precedes it in program order
//! is then visible to the caller, and a reader's load that follows it sees what the caller did
//! before. Where the system has no such call, [`light`] is a real fence.

use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

const QUERY: libc::c_long = 0;
const GLOBAL: libc::c_long = 1;
const PRIVATE_EXPEDITED: libc::c_long = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_long = 1 << 4;

/// True until registration has succeeded, so that a reader that runs earlier pays for itself.
static READERS_FENCE: AtomicBool = AtomicBool::new(true);

fn membarrier(command: libc::c_long) -> libc::c_long {
    // SAFETY: membarrier takes three integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

/// Registers the process; called before the first pool is made and again in a forked child.
pub fn register() {
    if refused_by_test() {
        READERS_FENCE.store(true, Ordering::SeqCst);
        return;
    }
    let known = membarrier(QUERY);
    let wanted = PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED;
    if known >= 0 && known & wanted == wanted && membarrier(REGISTER_PRIVATE_EXPEDITED) == 0 {
        READERS_FENCE.store(false, Ordering::SeqCst);
    }
}

/// The reader's side, between its announcement and the load that depends on it.
#[inline(always)]
pub fn light() {
    if READERS_FENCE.load(Ordering::Relaxed) {
        fence(Ordering::SeqCst);
    } else {
        compiler_fence(Ordering::SeqCst);
    }
}

/// The reclaimer's side, between unlinking and reading the announcements. About 1 microsecond
/// while no other thread runs, 10 while some do.
pub fn heavy() {
    fence(Ordering::SeqCst);
    if READERS_FENCE.load(Ordering::SeqCst) {
        return;
    }
    #[cfg(all(not(loom), any(test, feature = "testing")))]
    super::slot::testing::drain();
    if membarrier(PRIVATE_EXPEDITED) != 0 {
        // Readers rely on this barrier from the moment registration succeeded, so it must take
        // place: register again, or fall back to the form that needs no registration.
        membarrier(REGISTER_PRIVATE_EXPEDITED);
        while membarrier(PRIVATE_EXPEDITED) != 0 && membarrier(GLOBAL) != 0 {
            std::thread::yield_now();
        }
    }
    fence(Ordering::SeqCst);
}

/// Whether readers run without a fence.
#[must_use]
pub fn is_asymmetric() -> bool {
    !READERS_FENCE.load(Ordering::Relaxed)
}

#[cfg(not(any(test, feature = "testing")))]
const fn refused_by_test() -> bool {
    false
}

#[cfg(any(test, feature = "testing"))]
fn refused_by_test() -> bool {
    testing::REFUSED.load(Ordering::SeqCst)
}

/// Hooks for tests.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use std::sync::atomic::{AtomicBool, Ordering};

    pub(super) static REFUSED: AtomicBool = AtomicBool::new(false);

    /// Behave from now on as a system without membarrier does.
    pub fn refuse_membarrier() {
        REFUSED.store(true, Ordering::SeqCst);
        super::READERS_FENCE.store(true, Ordering::SeqCst);
        super::super::guard::fence_all();
        // Readers that still saw the old setting have left their guards by the next quiescence.
    }
}
