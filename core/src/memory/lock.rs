//! The writer lock: one 32-bit word that may live anywhere in memory.
//!
//! A futex mutex (Drepper, "Futexes are tricky") behind `lock_api`. It holds no pointer, so it
//! survives fork as bytes and could lie in memory that processes share. It spins briefly before it
//! sleeps: the critical sections here are about as long as a cache miss.
//!
//! Whoever comes by may take a free lock before a thread that was woken for it, which is what makes
//! it fast. So that nobody is passed over for ever, a thread that was woken [`PATIENCE`] times in
//! vain marks the lock *starved*; whoever then gives it up does not free it but *offers* it, and
//! only a thread that has slept may take an offered lock (the idea of Go's `sync.Mutex`).
//!
//! | word | held | sleepers | leaves by |
//! |---|---|---|---|
//! | free | no | none, or one is being woken | any thread takes it |
//! | held | yes | none | its holder frees it |
//! | waited | yes | perhaps | its holder frees it and wakes one |
//! | starved | yes | some | its holder offers it and wakes one |
//! | offered | no | one is being woken | a thread that has slept takes it |

use std::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED: u32 = 2;
const STARVED: u32 = 3;
const OFFERED: u32 = 4;
const SPINS: u32 = 60;
/// Times a thread is woken in vain before it asks for the lock to be offered.
const PATIENCE: u32 = 2;

/// The raw lock.
#[derive(Debug)]
pub struct RawFutex(AtomicU32);

/// A value under a [`RawFutex`].
pub type FutexMutex<T> = lock_api::Mutex<RawFutex, T>;
/// Holds the lock until it is dropped.
pub type FutexGuard<'a, T> = lock_api::MutexGuard<'a, RawFutex, T>;

// SAFETY: `lock` returns only after this thread moved the word from FREE, and only the holder
// moves it back, so two threads never hold it at once.
unsafe impl lock_api::RawMutex for RawFutex {
    #[allow(clippy::declare_interior_mutable_const)] // lock_api asks for this constant
    const INIT: Self = Self(AtomicU32::new(FREE));
    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.lock_slowly();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        if self.0.compare_exchange(HELD, FREE, Ordering::Release, Ordering::Relaxed).is_err() {
            self.unlock_and_wake();
        }
    }
}

impl RawFutex {
    #[cold]
    fn lock_slowly(&self) {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.0.load(Ordering::Relaxed) == FREE
                && self
                    .0
                    .compare_exchange_weak(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        let mut sleeps = 0;
        loop {
            let seen = self.0.load(Ordering::Relaxed);
            // What the word becomes, and whether that takes the lock. Others may sleep as well, so
            // whoever was here holds it as waited.
            let (next, takes) = match seen {
                FREE => (WAITED, true),
                OFFERED if sleeps > 0 => (WAITED, true),
                HELD | WAITED if sleeps >= PATIENCE => (STARVED, false),
                HELD => (WAITED, false),
                _ => (seen, false),
            };
            if next != seen
                && self
                    .0
                    .compare_exchange(seen, next, Ordering::Acquire, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            if takes {
                return;
            }
            // SAFETY: the word outlives the call; the kernel only compares it with `next`.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.0.as_ptr(),
                    libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                    next,
                    std::ptr::null::<libc::timespec>(),
                );
            }
            sleeps += 1;
        }
    }

    #[cold]
    fn unlock_and_wake(&self) {
        // Only the holder takes the word out of these two states, but a sleeper may go from the
        // first to the second meanwhile.
        if self.0.compare_exchange(WAITED, FREE, Ordering::Release, Ordering::Relaxed).is_err() {
            self.0.store(OFFERED, Ordering::Release);
        }
        self.wake_one();
    }

    #[cold]
    fn wake_one(&self) {
        // SAFETY: the kernel takes the address as a key and does not write to it.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.0.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                1,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FutexMutex;
    use std::sync::Arc;

    #[test]
    fn is_offered_to_those_who_wait() {
        use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
        const TURNS: u64 = 200;
        let sum = Arc::new((FutexMutex::new(0_u64), AtomicBool::new(false)));
        let greedy: Vec<_> = (0..2)
            .map(|_| {
                let sum = Arc::clone(&sum);
                let turns = AtomicU64::new(0);
                std::thread::spawn(move || {
                    while !sum.1.load(Ordering::Relaxed) {
                        *sum.0.lock() += 1;
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                    turns.into_inner()
                })
            })
            .collect();
        // Ends only if whoever waits gets the lock from those who never leave it.
        for _ in 0..TURNS {
            *sum.0.lock() += 1;
        }
        sum.1.store(true, Ordering::Relaxed);
        let turns: u64 = greedy.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(*sum.0.lock(), turns + TURNS);
    }

    #[test]
    fn excludes() {
        let sum = Arc::new(FutexMutex::new(0_u64));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sum = Arc::clone(&sum);
                std::thread::spawn(move || {
                    for _ in 0..20_000 {
                        *sum.lock() += 1;
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*sum.lock(), 80_000);
    }
}
