//! The writer lock: one 32-bit word that may live anywhere in memory.
//!
//! A three-state futex mutex (0 free, 1 held, 2 held and waited for; Drepper, "Futexes are
//! tricky") behind `lock_api`. It holds no pointer, so it survives fork as bytes and could lie in
//! memory that processes share. It spins briefly before it sleeps: the critical sections here are
//! about as long as a cache miss.

use std::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED: u32 = 2;
const SPINS: u32 = 60;

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
        if self.0.swap(FREE, Ordering::Release) == WAITED {
            self.wake_one();
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
        while self.0.swap(WAITED, Ordering::Acquire) != FREE {
            // SAFETY: the word outlives the call; the kernel only compares it with WAITED.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.0.as_ptr(),
                    libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                    WAITED,
                    std::ptr::null::<libc::timespec>(),
                );
            }
        }
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
