//! Models of the filters: readers beside moves, screens beside their index, the biased lock.
//!
//! Run with `RUSTFLAGS="--cfg loom"`. The [`Version`], the [`Bias`] and the index's [`Line`] are the
//! real ones. A bucket is a relaxed atomic word of one fingerprint, which is more than the loads of the
//! real one promise and all that is asked of them; the head of a screen, which is written once, is a
//! loom cell. Each model is also run with one part of the protocol taken out, and must then fail.
#![cfg(loom)]

mod models;

use hypercache_core::filter::settled::Version;
use hypercache_core::memory::bias::Bias;
use hypercache_core::store::index::line::{Line, SlotValue, tag_of};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use models::{Fences, RACE, fails, holds};

/// What is taken out of the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// A reader believes the version without a fence before its second load.
    ReaderFence,
    /// A writer moves things without a fence behind the first store of the version.
    WriterFence,
    /// A move ends with a relaxed store.
    ReleasingEnd,
    /// A reader does not look at the version again.
    SecondLook,
    /// A fingerprint is put into its new place after it has left the old one.
    CopyFirst,
    /// A key gets its slot before its fingerprint, or loses its fingerprint before its slot.
    Order,
    /// A screen is shown to readers by a relaxed store.
    ReleasingSwap,
    /// A key that comes while a screen is built is not added to that one.
    Building,
    /// The owner of a biased lock has no barrier, or the one who takes it away has none.
    LightFence,
    HeavyFence,
    /// The owner leaves, or ownership is given back, with a relaxed store.
    ReleasingLeave,
    ReleasingGift,
}
use Broken::*;

/// The one fingerprint.
const KEY: u64 = 5;
/// What a head says once it is written.
const MADE: u64 = 7;

/// A filter of two buckets.
struct Screen {
    head: UnsafeCell<u64>,
    version: Version,
    buckets: [AtomicU64; 2],
}

impl Screen {
    fn holding(buckets: [u64; 2], head: u64) -> Self {
        Self {
            head: UnsafeCell::new(head),
            version: Version::new(0),
            buckets: buckets.map(AtomicU64::new),
        }
    }

    fn put(&self, bucket: usize, fingerprint: u64) {
        self.buckets[bucket].store(fingerprint, Ordering::Relaxed);
    }

    fn changing(&self, broken: Broken, change: impl FnOnce()) {
        let unsettled = if broken == WriterFence {
            self.version.unsettle_unordered()
        } else {
            self.version.unsettle()
        };
        change();
        if broken == ReleasingEnd {
            unsettled.end_unordered();
        }
    }

    /// The fingerprint moves to another bucket.
    fn move_to(&self, to: usize, broken: Broken) {
        self.changing(broken, || {
            if broken == CopyFirst {
                self.put(1 - to, 0);
                self.put(to, KEY);
            } else {
                self.put(to, KEY);
                self.put(1 - to, 0);
            }
        });
    }

    /// Whether the key is certainly absent.
    fn excludes(&self, broken: Broken) -> bool {
        let seen = self.version.before();
        let found = [0, 1].map(|bucket| self.buckets[bucket].load(Ordering::Relaxed));
        !found.contains(&KEY)
            && match broken {
                SecondLook => true,
                ReaderFence => self.version.is_still_unordered(seen, 0),
                _ => self.version.is_still(seen, 0),
            }
    }
}

// Readers beside moves.
//
// Proves: a key that stays is found, whatever of two moves a look-up overlaps.
fn moves(broken: Broken) {
    let screen = Arc::new(Screen::holding([0, KEY], MADE));
    let reader = {
        let screen = Arc::clone(&screen);
        thread::spawn(move || {
            assert!(!screen.excludes(broken), "a key that stays is missed");
        })
    };
    screen.move_to(0, broken);
    screen.move_to(1, broken);
    reader.join().unwrap();
}

#[test]
fn a_key_that_moves_is_found() {
    holds(|| moves(Nothing));
}

#[test]
fn each_part_of_a_move_is_needed() {
    for broken in [ReaderFence, WriterFence, ReleasingEnd, SecondLook] {
        fails("a key that stays is missed", move || moves(broken));
    }
}

/// The version alone keeps readers from believing what they see of a move: its steps may come in any
/// order, as they may be seen.
#[test]
fn the_order_of_a_move_is_not_what_readers_go_by() {
    holds(|| moves(CopyFirst));
}

/// An index of one slot, the screens before it, and which of them readers ask: 0 for none.
struct Shard {
    line: Line,
    screens: [Screen; 2],
    asked: AtomicU32,
}

impl Shard {
    fn link(&self) {
        self.line.fill(0, SlotValue::new(tag_of(7 << 34), 0, 1));
    }

    /// [`Screen::excludes`] of the one that is asked.
    fn is_screened_out(&self) -> bool {
        let Some(at) = (self.asked.load(Ordering::Acquire) as usize).checked_sub(1) else {
            return false;
        };
        let screen = &self.screens[at];
        // SAFETY: loom checks that the head was written before.
        assert_eq!(screen.head.with(|head| unsafe { *head }), MADE);
        screen.excludes(Nothing)
    }

    fn show(&self, number: u32, broken: Broken) {
        let order = if broken == ReleasingSwap { Ordering::Relaxed } else { Ordering::Release };
        self.asked.store(number, order);
    }
}

// A key comes while another screen takes the place of the one that is asked.
//
// Proves: a reader that has found the key in the index is not told by a screen that there is none,
// whichever it asks; and it finds the head of each written.
fn a_key_comes(broken: Broken) {
    let screens = [Screen::holding([0, 0], MADE), Screen::holding([0, 0], 0)];
    let shard = Shard { line: Line::vacant(), screens, asked: AtomicU32::new(1) };
    let shard = Arc::new(shard);
    let reader = {
        let shard = Arc::clone(&shard);
        thread::spawn(move || {
            let is_there = shard.line.location(0) != 0;
            let is_screened_out = shard.is_screened_out();
            assert!(!is_there || !is_screened_out, "a key that has a slot is screened out");
        })
    };
    // SAFETY: loom checks that nobody reads it yet.
    shard.screens[1].head.with_mut(|head| unsafe { *head = MADE });
    if broken == Order {
        shard.link();
    }
    shard.screens[0].put(0, KEY);
    if broken != Building {
        shard.screens[1].put(0, KEY);
    }
    if broken != Order {
        shard.link();
    }
    shard.show(2, broken);
    reader.join().unwrap();
}

#[test]
fn a_key_has_its_fingerprint_before_its_slot() {
    holds(|| a_key_comes(Nothing));
}

#[test]
fn each_part_of_coming_is_needed() {
    for broken in [Order, Building] {
        fails("a key that has a slot is screened out", move || a_key_comes(broken));
    }
    fails(RACE, || a_key_comes(ReleasingSwap));
}

// A key goes.
//
// Proves: a reader that a screen told that there is no such key does not find it in the index
// afterwards: the answer was true.
fn a_key_goes(broken: Broken) {
    let screens = [Screen::holding([0, KEY], MADE), Screen::holding([0, 0], 0)];
    let shard = Shard { line: Line::vacant(), screens, asked: AtomicU32::new(1) };
    shard.link();
    let shard = Arc::new(shard);
    let reader = {
        let shard = Arc::clone(&shard);
        thread::spawn(move || {
            if shard.is_screened_out() {
                assert_eq!(shard.line.location(0), 0, "a key is screened out that has a slot");
            }
        })
    };
    if broken != Order {
        shard.line.empty(0);
    }
    shard.screens[0].changing(broken, || shard.screens[0].put(1, 0));
    if broken == Order {
        shard.line.empty(0);
    }
    reader.join().unwrap();
}

#[test]
fn a_key_loses_its_slot_before_its_fingerprint() {
    holds(|| a_key_goes(Nothing));
}

#[test]
fn each_part_of_going_is_needed() {
    for broken in [Order, WriterFence] {
        fails("a key is screened out that has a slot", move || a_key_goes(broken));
    }
}

/// A value under a biased lock.
struct Biased {
    bias: Bias,
    beneath: Mutex<()>,
    fences: Fences,
    value: UnsafeCell<u64>,
}

const OWNER: u64 = 3;

impl Biased {
    fn write(&self) {
        // SAFETY: loom checks that nobody else accesses it; that is what the model is about.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }
}

// A biased lock, which one thread owns and another takes away, and gives back or not.
//
// Proves: nobody writes while another does, and each sees what the other wrote.
fn takes_away(gives_back: bool, broken: Broken) {
    let lock = Arc::new(Biased {
        bias: Bias::of(OWNER),
        beneath: Mutex::new(()),
        fences: Fences::new(),
        value: UnsafeCell::new(0),
    });
    let other = {
        let lock = Arc::clone(&lock);
        thread::spawn(move || {
            let beneath = lock.beneath.lock().unwrap();
            let heavy = || lock.fences.heavy(broken != HeavyFence);
            lock.bias.expel(heavy, thread::yield_now);
            lock.write();
            if gives_back && broken == ReleasingGift {
                lock.bias.give_unordered(OWNER);
            } else if gives_back {
                lock.bias.give(OWNER);
            }
            drop(beneath);
        })
    };
    for _ in 0..2 {
        if lock.bias.enter(OWNER, || lock.fences.light(broken != LightFence)) {
            lock.write();
            if broken == ReleasingLeave {
                lock.bias.leave_unordered();
            } else {
                lock.bias.leave();
            }
        }
    }
    other.join().unwrap();
}

#[test]
fn a_biased_lock_excludes() {
    holds(|| takes_away(false, Nothing));
    holds(|| takes_away(true, Nothing));
}

#[test]
fn each_part_of_the_bias_is_needed() {
    for broken in [LightFence, HeavyFence, ReleasingLeave] {
        fails(RACE, move || takes_away(false, broken));
    }
    fails(RACE, || takes_away(true, ReleasingGift));
}
