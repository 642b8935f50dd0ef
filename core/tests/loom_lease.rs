//! Models of a lease's two words: ends, waiters, copies that are handed over, records used again.
//!
//! Run with `RUSTFLAGS="--cfg loom"`. The [`Words`] are the real ones; the shard's lock is loom's, and
//! the kernel's part of a futex (compare the word and sleep, in one step) is a lock and a condition.
//! Each model is also run with one part of the protocol taken out, and must then fail.
#![cfg(loom)]

mod models;

use hypercache_core::store::lease::word::{Seen, State, Words};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use models::{RACE, fails, holds};
use std::sync::Arc;

/// What is taken out of the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The end of a lease is announced with a relaxed store.
    ReleasingTurn,
    /// A waiter looks at the word with a relaxed load.
    AcquiringSee,
    /// A waiter leaves with a relaxed store.
    ReleasingLeave,
    /// Whoever uses the record again counts its waiters with a relaxed load.
    AcquiringWaiters,
    /// A waiter goes to sleep whatever the word is by then.
    Compare,
    /// Nobody is woken.
    Wake,
    /// A waiter that gives up leaves without the lock.
    LockToLeave,
    /// A record is used again while waiters have not left.
    Waiters,
    /// Whoever was woken for an offer does not take it.
    Take,
    /// A change that keeps the state keeps the word as well.
    Sequence,
}
use Broken::*;

/// A record, its shard's lock, and the kernel.
struct World {
    words: Words,
    /// The word of the lease that this is about; the record's next one is another's.
    first: Mutex<Option<Seen>>,
    /// What the outcome is about: written before it is announced, and again when the record is
    /// used for the next lease.
    handed: UnsafeCell<u64>,
    lock: Mutex<()>,
    kernel: Mutex<()>,
    woken: Condvar,
    shares: AtomicU32,
    taken: AtomicU32,
}

const OUTCOME: u64 = 7;
const NEXT: u64 = 8;

impl World {
    /// Somebody holds the lease.
    fn held() -> Arc<Self> {
        let world = Self {
            words: Words::new(),
            first: Mutex::new(None),
            handed: UnsafeCell::new(0),
            lock: Mutex::new(()),
            kernel: Mutex::new(()),
            woken: Condvar::new(),
            shares: AtomicU32::new(0),
            taken: AtomicU32::new(0),
        };
        world.words.turn(State::Held);
        *world.first.lock().unwrap() = Some(world.words.see());
        Arc::new(world)
    }

    /// Counted in, if this lease is still held.
    fn join(&self) -> Option<Seen> {
        let lock = self.lock.lock().unwrap();
        if Some(self.words.see()) != *self.first.lock().unwrap() {
            return None;
        }
        let seen = self.words.join();
        drop(lock);
        Some(seen)
    }

    fn sleep(&self, seen: Seen, broken: Broken) {
        let mut kernel = self.kernel.lock().unwrap();
        if broken == Compare {
            kernel = self.woken.wait(kernel).unwrap();
        }
        while self.see(broken) == seen {
            kernel = self.woken.wait(kernel).unwrap();
        }
        drop(kernel);
    }

    fn see(&self, broken: Broken) -> Seen {
        if broken == AcquiringSee { self.words.see_unordered() } else { self.words.see() }
    }

    fn wake(&self) {
        drop(self.kernel.lock().unwrap());
        self.woken.notify_all();
    }

    /// Ends the lease with a copy for each waiter.
    fn hand_over(&self, broken: Broken) {
        let lock = self.lock.lock().unwrap();
        self.shares.store(self.words.waiters(), Ordering::Relaxed);
        // SAFETY: loom checks that nobody else accesses it meanwhile.
        self.handed.with_mut(|handed| unsafe { *handed = OUTCOME });
        if broken == ReleasingTurn {
            self.words.turn_unordered(State::Handed);
        } else {
            self.words.turn(State::Handed);
        }
        drop(lock);
        if broken != Wake {
            self.wake();
        }
    }

    /// Uses the record for another lease, if it may be.
    fn use_again(&self, broken: Broken) {
        let _lock = self.lock.lock().unwrap();
        let waiters = match broken {
            AcquiringWaiters => self.words.waiters_unordered(),
            _ => self.words.waiters(),
        };
        if broken == Waiters || waiters == 0 {
            // SAFETY: as above.
            self.handed.with_mut(|handed| unsafe { *handed = NEXT });
            self.words.turn(State::Held);
        }
    }

    /// Takes the share of a waiter that is counted in, and leaves.
    fn take(&self, broken: Broken) {
        // SAFETY: as above.
        let handed = self.handed.with(|handed| unsafe { *handed });
        assert_eq!(handed, OUTCOME, "a waiter reads another's outcome");
        self.taken.fetch_add(1, Ordering::Relaxed);
        if broken == ReleasingLeave {
            self.words.leave_unordered();
        } else {
            self.words.leave();
        }
    }
}

/// A waiter sleeps until the lease ends, and reads the outcome; the record is used again.
fn waits(broken: Broken) {
    let world = World::held();
    let holder = {
        let world = world.clone();
        thread::spawn(move || {
            world.hand_over(broken);
            world.use_again(broken);
        })
    };
    if let Some(seen) = world.join() {
        world.sleep(seen, broken);
        world.take(broken);
    }
    holder.join().unwrap();
    let (shares, taken) = (&world.shares, &world.taken);
    assert_eq!(shares.load(Ordering::Relaxed), taken.load(Ordering::Relaxed), "shares");
}

#[test]
fn who_waits_is_woken_and_reads_the_outcome() {
    holds(|| waits(Nothing));
}

#[test]
fn without_a_release_the_outcome_is_not_there() {
    fails(RACE, || waits(ReleasingTurn));
}

#[test]
fn without_an_acquire_the_outcome_is_not_there() {
    fails(RACE, || waits(AcquiringSee));
}

#[test]
fn without_an_acquire_the_record_is_used_too_early() {
    fails(RACE, || waits(AcquiringWaiters));
}

#[test]
fn without_a_release_the_record_is_used_too_early() {
    fails(RACE, || waits(ReleasingLeave));
}

#[test]
fn a_record_with_waiters_must_not_be_used() {
    fails("", || waits(Waiters));
}

#[test]
fn who_does_not_look_again_may_sleep_for_ever() {
    fails("deadlock", || waits(Compare));
}

#[test]
fn without_a_wake_up_nobody_wakes() {
    fails("deadlock", || waits(Wake));
}

/// A waiter whose time is over leaves while the lease ends: either it takes its share, or it is not
/// counted.
fn gives_up(broken: Broken) {
    let world = World::held();
    let waiter = {
        let world = world.clone();
        thread::spawn(move || {
            if world.join().is_none() {
                return;
            }
            if world.words.see().state() == State::Held {
                if broken == LockToLeave {
                    return world.words.leave();
                }
                let _lock = world.lock.lock().unwrap();
                if world.words.see().state() == State::Held {
                    return world.words.leave();
                }
            }
            world.take(broken);
        })
    };
    world.hand_over(broken);
    waiter.join().unwrap();
    let (shares, taken) = (&world.shares, &world.taken);
    assert_eq!(shares.load(Ordering::Relaxed), taken.load(Ordering::Relaxed), "shares");
}

#[test]
fn who_gives_up_takes_no_share_with_it() {
    holds(|| gives_up(Nothing));
}

#[test]
fn who_leaves_without_the_lock_leaves_a_share_behind() {
    fails("shares", || gives_up(LockToLeave));
}

/// A lease that was given up goes to one of two that come for it.
fn offered(broken: Broken) {
    let world = World::held();
    world.words.turn(State::Offered);
    let takers: Vec<_> = (0..2)
        .map(|_| {
            let world = world.clone();
            thread::spawn(move || {
                let _lock = (broken != LockToLeave).then(|| world.lock.lock().unwrap());
                if world.words.see().state() == State::Offered {
                    world.words.turn(State::Held);
                    world.taken.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for taker in takers {
        taker.join().unwrap();
    }
    assert_eq!(world.taken.load(Ordering::Relaxed), 1, "holders");
}

#[test]
fn one_takes_what_is_offered() {
    holds(|| offered(Nothing));
}

#[test]
fn without_the_lock_two_may_take_it() {
    fails("holders", || offered(LockToLeave));
}

/// A lease that is given up wakes one of two that wait, who takes it over and ends it for the other.
fn taken_over(broken: Broken) {
    let world = World::held();
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let world = world.clone();
            thread::spawn(move || {
                let Some(seen) = world.join() else { return };
                world.sleep(seen, broken);
                let lock = world.lock.lock().unwrap();
                world.words.leave();
                if broken == Take || world.words.see().state() != State::Offered {
                    return;
                }
                world.words.turn(State::Held);
                world.taken.fetch_add(1, Ordering::Relaxed);
                world.words.turn(State::Again);
                drop(lock);
                world.wake();
            })
        })
        .collect();
    let lock = world.lock.lock().unwrap();
    let is_awaited = world.words.waiters() != 0;
    world.words.turn(if is_awaited { State::Offered } else { State::Again });
    drop(lock);
    drop(world.kernel.lock().unwrap());
    world.woken.notify_one();
    for waiter in waiters {
        waiter.join().unwrap();
    }
    assert_eq!(world.taken.load(Ordering::Relaxed), u32::from(is_awaited), "takers");
}

#[test]
fn an_offer_wakes_one_and_is_taken() {
    holds(|| taken_over(Nothing));
}

#[test]
fn an_offer_that_is_left_keeps_the_other_asleep() {
    fails("", || taken_over(Take));
}

/// The shard is poisoned: the lease stays as it is, but whoever sleeps wakes and finds out.
fn poisoned(broken: Broken) {
    let world = World::held();
    let waiter = {
        let world = world.clone();
        thread::spawn(move || {
            if let Some(seen) = world.join() {
                world.sleep(seen, broken);
                let _lock = world.lock.lock().unwrap();
                world.words.leave();
            }
        })
    };
    let lock = world.lock.lock().unwrap();
    if broken != Sequence {
        world.words.turn(State::Held);
    }
    drop(lock);
    world.wake();
    waiter.join().unwrap();
}

#[test]
fn who_waits_for_a_poisoned_shard_wakes() {
    holds(|| poisoned(Nothing));
}

#[test]
fn without_a_step_of_the_sequence_it_sleeps_on() {
    fails("deadlock", || poisoned(Sequence));
}
