//! Hooks that steer faults and schedules from tests.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Readers believe the first look at a slot. Breaks the read protocol, to show that the history
/// checker notices.
pub(super) static SKIP_RECHECK: AtomicBool = AtomicBool::new(false);

static PANIC_AT: AtomicU64 = AtomicU64::new(0);

/// Breaks or restores the second look of readers.
pub fn skip_recheck(on: bool) {
    SKIP_RECHECK.store(on, Ordering::SeqCst);
}

/// The `n`-th write from now on panics while it holds its shard's lock; 0 disarms.
pub fn panic_at_write(n: u64) {
    PANIC_AT.store(n, Ordering::SeqCst);
}

#[allow(clippy::panic)] // the injected fault
pub(super) fn maybe_panic(hash: u64) {
    if PANIC_AT.load(Ordering::Relaxed) != 0 && PANIC_AT.fetch_sub(1, Ordering::SeqCst) == 1 {
        panic!("injected fault under the lock of the shard of {hash:016x}");
    }
}
