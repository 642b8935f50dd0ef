//! A writer lock that costs the first thread to use it no atomic operation.
//!
//! A lock that one thread takes again and again is *biased* to it (Dice, Moir, Scherer, "Quickly
//! Reacquirable Locks", 2003): that thread, the *owner*, says that it is busy, looks whether it still
//! owns the lock, and is in. Two plain stores, between which its loads need not wait for one another as
//! they do around a locked instruction. Any other thread takes the lock beneath, takes ownership away,
//! runs the heavy barrier ([`super::barrier`]) and waits until the owner is not busy:
//!
//! - an owner that said "busy" before the barrier is seen to be, and waited for;
//! - one that did so after it looks after it too, and finds that it owns the lock no more.
//!
//! The first writer becomes the owner. When another thread writes, ownership ends for good and the lock
//! is what lies beneath; whoever only looks at the whole for a moment gives it back. So nobody but one
//! owner ever writes the word "busy".
//!
//! An owner is known by the tag of its seat ([`super::guard::own_tag`]), which tells processes apart as
//! well. When its thread ends, the next one in the seat inherits both seat and lock.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Stands for the owner before there is one, and after there was. No tag.
pub const NOT_YET: u64 = u64::MAX - 1;
/// As above.
pub const NO_MORE: u64 = u64::MAX;

/// Who owns the lock.
#[derive(Debug)]
pub struct Bias {
    owner: AtomicU64,
    /// Written by the owner alone.
    busy: AtomicBool,
}

impl Bias {
    /// Of a lock that nobody has taken yet.
    #[cfg(not(loom))]
    const fn unowned() -> Self {
        Self { owner: AtomicU64::new(NOT_YET), busy: AtomicBool::new(false) }
    }

    /// Of a lock with this owner.
    #[cfg(loom)]
    pub fn of(owner: u64) -> Self {
        Self { owner: AtomicU64::new(owner), busy: AtomicBool::new(false) }
    }

    /// Takes the lock for its owner: true if that is the thread of this tag. `light` is the barrier's
    /// side of the owner.
    #[inline(always)]
    pub fn enter(&self, tag: u64, light: impl FnOnce()) -> bool {
        if self.owner.load(Ordering::Relaxed) != tag {
            return false;
        }
        self.busy.store(true, Ordering::Relaxed);
        light();
        // Acquire: what was written while ownership was away.
        if self.owner.load(Ordering::Acquire) == tag {
            return true;
        }
        self.leave();
        false
    }

    /// Gives up what [`Bias::enter`] took.
    #[inline(always)]
    pub fn leave(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// [`Bias::leave`] without its release, for the model that must find that out.
    #[cfg(loom)]
    pub fn leave_unordered(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// The owner. From here on the caller holds the lock beneath.
    pub fn owner(&self) -> u64 {
        self.owner.load(Ordering::Relaxed)
    }

    /// Takes ownership away and waits until the owner has left.
    #[cold]
    pub fn expel(&self, heavy: impl FnOnce(), mut wait: impl FnMut()) {
        self.owner.store(NO_MORE, Ordering::Relaxed);
        heavy();
        while self.busy.load(Ordering::Acquire) {
            wait();
        }
    }

    /// Makes the thread of a tag the owner: one that is it for the first time, or that was.
    pub fn give(&self, tag: u64) {
        self.owner.store(tag, Ordering::Release);
    }

    /// [`Bias::give`] without its release, for the model that must find that out.
    #[cfg(loom)]
    pub fn give_unordered(&self, tag: u64) {
        self.owner.store(tag, Ordering::Relaxed);
    }
}

#[cfg(not(loom))]
pub use mutex::{Held, Mutex};

#[cfg(not(loom))]
mod mutex {
    use super::{Bias, NO_MORE, NOT_YET};
    use crate::memory::lock::{FutexGuard, FutexMutex};
    use crate::memory::{barrier, guard};
    use std::cell::UnsafeCell;
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::{Ordering, compiler_fence};
    use std::time::Duration;

    /// Looks at a busy owner before the waiting thread sleeps between two.
    const YIELDS: u32 = 64;
    const PAUSE: Duration = Duration::from_micros(50);

    /// A value under a biased lock. Whoever holds it calls nothing that may come back for it: an owner
    /// would be let in twice.
    #[derive(Debug)]
    pub struct Mutex<T> {
        bias: Bias,
        beneath: FutexMutex<()>,
        value: UnsafeCell<T>,
    }

    // SAFETY: the value is reached through `Held` alone, of which there is one at a time.
    unsafe impl<T: Send> Sync for Mutex<T> {}

    /// Holds the lock until it is dropped.
    #[derive(Debug)]
    pub struct Held<'a, T> {
        of: &'a Mutex<T>,
        /// The lock beneath; `None`: the owner's way.
        beneath: Option<FutexGuard<'a, ()>>,
        /// Whom ownership goes back to.
        back: Option<u64>,
    }

    impl<T> Mutex<T> {
        /// An unlocked value.
        pub const fn new(value: T) -> Self {
            Self {
                bias: Bias::unowned(),
                beneath: FutexMutex::new(()),
                value: UnsafeCell::new(value),
            }
        }

        /// The owner's way; `None` for everybody else. Proves that the process is the one in which
        /// ownership was given.
        #[inline(always)]
        pub fn enter(&self) -> Option<Held<'_, T>> {
            // A seat has a tag only where readers, and so owners, need no fence.
            let light = || compiler_fence(Ordering::SeqCst);
            if !self.bias.enter(guard::own_tag(), light) {
                return None;
            }
            Some(Held { of: self, beneath: None, back: None })
        }

        /// The lock, for a writer: the first one becomes the owner, and ownership ends with another.
        pub fn lock(&self) -> Held<'_, T> {
            let beneath = Some(self.beneath.lock());
            match (self.bias.owner(), guard::own_tag()) {
                (NOT_YET, 0) | (NO_MORE, _) => {}
                (NOT_YET, tag) => self.bias.give(tag),
                (owner, tag) if owner == tag => {}
                _ => self.expel(),
            }
            Held { of: self, beneath, back: None }
        }

        /// The lock, for whoever is here for a moment: the owner stays what it is.
        pub fn lock_aside(&self) -> Held<'_, T> {
            let beneath = Some(self.beneath.lock());
            let owner = self.bias.owner();
            let back = match owner {
                NOT_YET | NO_MORE => None,
                _ if owner == guard::own_tag() => None,
                _ => {
                    self.expel();
                    Some(owner)
                }
            };
            Held { of: self, beneath, back }
        }

        #[cold]
        fn expel(&self) {
            let mut looks = 0;
            self.bias.expel(barrier::heavy, || {
                looks += 1;
                if looks < YIELDS {
                    std::thread::yield_now();
                } else {
                    std::thread::sleep(PAUSE);
                }
            });
        }
    }

    impl<T> Deref for Held<'_, T> {
        type Target = T;

        #[inline(always)]
        fn deref(&self) -> &T {
            // SAFETY: the lock is held, by the owner's way or from beneath, which exclude each other.
            unsafe { &*self.of.value.get() }
        }
    }

    impl<T> DerefMut for Held<'_, T> {
        #[inline(always)]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: as for `deref`.
            unsafe { &mut *self.of.value.get() }
        }
    }

    impl<T> Drop for Held<'_, T> {
        #[inline(always)]
        fn drop(&mut self) {
            if self.beneath.is_none() {
                self.of.bias.leave();
            } else if let Some(owner) = self.back {
                // Before the lock beneath is given up, with the field.
                self.of.bias.give(owner);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::Mutex;
        use crate::memory::{fork, guard};
        use std::sync::atomic::{AtomicBool, Ordering};

        /// What the calling thread adds by the way that is open to it.
        fn add(sum: &Mutex<u64>) -> bool {
            match sum.enter() {
                Some(mut held) => {
                    *held += 1;
                    true
                }
                None => {
                    *sum.lock() += 1;
                    false
                }
            }
        }

        #[test]
        fn the_first_writer_owns_it_until_another_comes() {
            let _ = fork::generation();
            guard::slot_index();
            let sum = Mutex::new(0);
            assert!(!add(&sum));
            assert!(add(&sum), "the first writer owns the lock");
            std::thread::scope(|scope| {
                scope.spawn(|| assert_eq!(*sum.lock_aside(), 2)).join().unwrap();
                assert!(add(&sum), "whoever looked gave it back");
                scope.spawn(|| assert!(!add(&sum))).join().unwrap();
            });
            assert!(!add(&sum), "another writer ended ownership");
            assert_eq!(*sum.lock(), 5);
        }

        #[test]
        fn excludes() {
            let _ = fork::generation();
            guard::slot_index();
            for other_writes in [false, true] {
                let (sum, done) = (Mutex::new(0), AtomicBool::new(false));
                add(&sum);
                let (mut owned, mut turns) = (0, 1);
                let looks = std::thread::scope(|scope| {
                    let other = scope.spawn(|| {
                        let (mut looks, mut added) = (0_u64, 0);
                        guard::slot_index();
                        while !done.load(Ordering::Relaxed) || looks < 100 {
                            let mut held = sum.lock_aside();
                            // Two accesses with time between them, which the owner must not come into.
                            let seen = *held;
                            std::hint::black_box(&mut *held);
                            std::thread::yield_now();
                            assert_eq!(*held, seen);
                            looks += 1;
                            drop(held);
                            if other_writes && looks == 50 {
                                add(&sum);
                                added += 1;
                            }
                        }
                        added
                    });
                    for _ in 0..200_000 {
                        owned += u32::from(add(&sum));
                        turns += 1;
                    }
                    done.store(true, Ordering::Relaxed);
                    other.join().unwrap()
                });
                assert_eq!(*sum.lock(), turns + looks);
                assert!(owned != 0);
            }
        }
    }
}
