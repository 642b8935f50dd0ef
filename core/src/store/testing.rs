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

/// Changes of a key leave its lease alone. Breaks read-through, to show that its history notices.
pub(super) static LEAVE_LEASES: AtomicBool = AtomicBool::new(false);

/// Has changes of a key leave its lease alone, or end it again.
pub fn leave_leases(on: bool) {
    LEAVE_LEASES.store(on, Ordering::SeqCst);
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
    static GATE: RefCell<Vec<(u32, Arc<Gate>)>> = const { RefCell::new(Vec::new()) };
    static DICE: Cell<u64> = const { Cell::new(0) };
}

impl Gate {
    /// The calling thread stops there once, after it has passed so many places where it could,
    /// counted from the gate that was set before this one. Such places are before each second look
    /// and, where it shows that the announcement was in time, after it. A value in a run takes two
    /// looks, at its entry and at itself, and has a fifth place before it is used.
    pub fn stop_me(self: Arc<Self>, passes: u32) {
        GATE.with_borrow_mut(|mine| mine.push((passes, self)));
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

/// Between an announcement and the second look.
#[inline(always)]
pub(super) fn before_second_look() {
    if GATES.load(Ordering::Relaxed) != 0 {
        stop_at_gate();
    }
}

/// Between all looks at a run and its use.
#[inline(always)]
pub(super) fn before_run_is_used() {
    before_second_look();
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
        match mine.first_mut() {
            Some((0, _)) => Some(mine.remove(0).1),
            Some((passes, _)) => {
                *passes -= 1;
                None
            }
            None => None,
        }
    });
    if let Ok(Some(gate)) = due {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::{Pool, PoolConfig, StoreConfig};

    const KEY: &[u8] = b"the key ";
    const LEN: usize = 10_000;

    fn location(store: &Store) -> u32 {
        let hash = store.0.hash.of(KEY);
        let writer = store.0.shard_of(hash).lock(&store.0).unwrap();
        writer.find(hash, KEY).unwrap().slot.location
    }

    #[test]
    fn a_run_is_not_believed_because_its_entry_s_place_is_in_use_again() {
        let pool = Pool::create(&PoolConfig::new(1 << 20)).unwrap();
        let store = pool.open_store(&StoreConfig { shards: 1, ..StoreConfig::default() }).unwrap();
        store.set(KEY, &[1; LEN]).unwrap();
        let place = location(&store);

        let gates = [Arc::new(Gate::default()), Arc::new(Gate::default())];
        let reader = {
            let (store, gates) = (store.clone(), gates.clone());
            std::thread::spawn(move || {
                for (gate, passes) in gates.into_iter().zip([1, 0]) {
                    gate.stop_me(passes);
                }
                let mut space = [std::mem::MaybeUninit::new(0_u8); LEN];
                let found = store.copy(KEY, &mut space);
                assert!(matches!(found, Ok(crate::store::Copied::Hit { len: LEN, .. })));
                // SAFETY: every byte was initialised when the array was made.
                space.map(|byte| unsafe { byte.assume_init() })
            })
        };
        // It has seen the entry; the run goes before it is announced, and is another key's.
        assert!(gates[0].wait_stopped(Duration::from_secs(30)));
        store.set(KEY, &[2; LEN]).unwrap();
        pool.space().harvest(true);
        // What lives on must not lie in the entry's segment.
        for _ in 0..8 {
            store.set(b"filler", &[7; 3_000]).unwrap();
        }
        store.set(b"another key", &[9; LEN]).unwrap();
        gates[0].open();
        // It has announced the run; the entry's place is used again, for the same key.
        assert!(gates[1].wait_stopped(Duration::from_secs(30)));
        let mut tries = 0;
        loop {
            store.set(KEY, &[3; LEN]).unwrap();
            if location(&store) == place {
                break;
            }
            tries += 1;
            assert!(tries < 1_000_000, "the place does not come back");
        }
        gates[1].open();
        let read = reader.join().unwrap();
        assert!(read.iter().all(|&byte| byte == 3), "it read {} for 3", read[0]);
    }
}
