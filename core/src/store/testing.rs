//! Hooks that steer faults and schedules from tests.

use std::cell::{Cell, RefCell};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

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

/// Stops one reader inside a look-up, after its announcement, until it is let go.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

static GATES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static GATE: RefCell<Option<(u32, Arc<Gate>)>> = const { RefCell::new(None) };
    static DICE: Cell<u64> = const { Cell::new(0) };
}

impl Gate {
    /// The calling thread stops there, once: at the next look that shows its announcement to be in
    /// time, or after `passes` of them. A value in a run takes two, its entry's and its own.
    pub fn stop_me(self: Arc<Self>, passes: u32) {
        GATE.with_borrow_mut(|mine| *mine = Some((passes, self)));
        GATES.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until the reader has stopped; false if it has not after so long.
    #[must_use]
    pub fn wait_stopped(&self, timeout: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, timeout, |(stopped, _)| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        state.0
    }

    /// Lets the reader go on.
    pub fn open(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

static HOSTILE: AtomicBool = AtomicBool::new(false);

/// Whether readers lose their processor where it hurts most.
pub fn hostile_schedule(on: bool) {
    HOSTILE.store(on, Ordering::SeqCst);
}

/// Between a location that a reader saw and its announcement.
#[inline(always)]
pub(super) fn before_announcement() {
    if HOSTILE.load(Ordering::Relaxed) && roll().is_multiple_of(64) {
        std::thread::yield_now();
    }
}

/// Between the second look of a reader and its use of what it looked at.
#[inline(always)]
pub(super) fn after_second_look(is_still: bool) {
    #[cfg(not(loom))]
    crate::memory::slot::testing::settle();
    if !is_still {
        return;
    }
    if GATES.load(Ordering::Relaxed) != 0 {
        stop_at_gate();
    }
    if HOSTILE.load(Ordering::Relaxed) {
        match roll() % 64 {
            0 => std::thread::yield_now(),
            1..24 => (0..roll() % 200).for_each(|_| spin_loop()),
            _ => {}
        }
    }
}

#[cold]
fn stop_at_gate() {
    let due = GATE.try_with(|mine| {
        let mut mine = mine.borrow_mut();
        match mine.as_mut() {
            Some((0, _)) => mine.take(),
            Some((passes, _)) => {
                *passes -= 1;
                None
            }
            None => None,
        }
    });
    if let Ok(Some((_, gate))) = due {
        GATES.fetch_sub(1, Ordering::SeqCst);
        gate.pass();
    }
}

fn roll() -> u64 {
    DICE.try_with(|dice| {
        // xorshift64 (Marsaglia 2003).
        let mut x = dice.get();
        if x == 0 {
            x = crate::clock::monotonic_ns() | 1;
        }
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        dice.set(x);
        x >> 16
    })
    .unwrap_or(0)
}
