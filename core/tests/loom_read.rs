//! Models of the read protocol: guards, pins, marks of who is inside, overwrites.
//!
//! Run with `RUSTFLAGS="--cfg loom"`. Loom tries every schedule (within a bound) and every value
//! that the memory model lets a load return. The reader's [`Slot`] and the index's [`Line`] are the
//! real ones; an entry's bytes are loom cells, which report any two accesses that nothing orders.
//! The heavy barrier and its light counterpart are a sequentially consistent fence on either side.
//! Each model is also run with one part of the protocol taken out, and must then fail.
#![cfg(loom)]

mod models;

use hypercache_core::memory::slot::{ID_BITS, Slot};
use hypercache_core::store::index::line::{Line, SlotValue, tag_of};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;
use models::{Fences, RACE, fails, holds};
use std::sync::Arc;

/// What is taken out of the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    ReaderFence,
    ReclaimerFence,
    SecondLook,
    /// The reclaimer looks at pins (or counts) before it looks at guards.
    GuardsFirst,
    /// The reader leaves with a relaxed store.
    ReleasingLeave,
    /// It comes in, or announces something else, with a relaxed store.
    ReleasingEnter,
    ReleasingAnnouncement,
    /// Whoever announces something else is taken to have left.
    InsideMark,
    /// An entry is linked before its bytes are written.
    BytesFirst,
}
use Broken::*;

/// Location of the old entry, and number of the memory it lies in.
const OLD: u32 = 1;
/// Location of the new one, in other memory.
const NEW: u32 = 2;
/// No location.
const NONE: u32 = 0;

/// The two halves of an entry's value: what is read must be a pair that was written as one.
type Value = [u64; 2];
const OLD_VALUE: Value = [11, 12];
const NEW_VALUE: Value = [21, 22];

/// A reader's slot, one slot of the index, and two pieces of memory with an entry's place each.
struct World {
    guard: Slot,
    line: Line,
    tag: u16,
    memory: [[UnsafeCell<u64>; 2]; 2],
    fences: Fences,
    pins: AtomicU32,
    readers: AtomicU32,
    returned: AtomicBool,
}

impl World {
    /// The index names the old entry.
    fn new() -> Arc<Self> {
        let world = Self {
            guard: Slot::fresh(),
            line: Line::vacant(),
            tag: tag_of(7 << 34),
            memory: [OLD_VALUE.map(UnsafeCell::new), [0, 0].map(UnsafeCell::new)],
            fences: Fences::new(),
            pins: AtomicU32::new(0),
            readers: AtomicU32::new(0),
            returned: AtomicBool::new(false),
        };
        world.link(OLD);
        Arc::new(world)
    }

    fn link(&self, location: u32) {
        self.line.fill(0, SlotValue::new(self.tag, 0, location));
    }

    fn value(&self, location: u32) -> Value {
        let place = &self.memory[location as usize - 1];
        // SAFETY: loom checks that nobody writes meanwhile; that is what the models are about.
        [0, 1].map(|half| place[half].with(|bytes| unsafe { *bytes }))
    }

    fn write(&self, location: u32, value: Value) {
        let place = &self.memory[location as usize - 1];
        for half in [0, 1] {
            // SAFETY: loom checks that nobody else accesses it meanwhile.
            place[half].with_mut(|bytes| unsafe { *bytes = value[half] });
        }
    }

    /// A look-up: what it finds under its announcement goes to `visit`.
    fn look_up(&self, broken: Broken, visit: impl FnOnce(u32)) {
        let entered = if broken == ReleasingEnter {
            self.guard.enter_unordered()
        } else {
            self.guard.enter()
        };
        let Some(token) = entered else { return };
        self.fences.light(true);
        let location = self.line.location(0);
        if location != NONE {
            self.guard.announce(token, location);
            self.fences.light(broken != ReaderFence);
            if broken == SecondLook || self.line.still(0, self.tag, location) {
                visit(location);
            }
        }
        if broken == ReleasingLeave {
            self.guard.leave_unordered(token);
        } else {
            self.guard.leave(token);
        }
    }

    fn is_announced(&self, id: u32) -> bool {
        Slot::announced(self.guard.word()) == Some(id)
    }
}

// A guard against reclaim.
//
// Proves: bytes that a look-up reads after its second look are not reused before it has left, and
// a look-up that comes too late reads the bytes' next use whole or not at all. The reader looks up
// twice, so that the word may tell of a later look-up than the one that reads. The writer unlinks
// the entry, runs the heavy barrier, and reuses the memory if nothing announces it, under the very
// same location and tag.
fn guard_against_reclaim(broken: Broken) {
    let world = World::new();
    let reader = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            for _ in 0..2 {
                world.look_up(broken, |location| {
                    let value = world.value(location);
                    assert!(value == OLD_VALUE || value == NEW_VALUE, "foreign bytes: {value:?}");
                });
            }
        })
    };
    world.line.empty(0);
    world.fences.heavy(broken != ReclaimerFence);
    if !world.is_announced(OLD) {
        world.write(OLD, NEW_VALUE);
        world.link(OLD);
    }
    reader.join().unwrap();
}

#[test]
fn a_guard_keeps_memory_from_being_reused() {
    holds(|| guard_against_reclaim(Nothing));
}

#[test]
fn a_guard_needs_the_readers_fence() {
    fails(RACE, || guard_against_reclaim(ReaderFence));
}

#[test]
fn a_guard_needs_the_reclaimers_fence() {
    fails(RACE, || guard_against_reclaim(ReclaimerFence));
}

#[test]
fn a_guard_needs_the_second_look() {
    fails(RACE, || guard_against_reclaim(SecondLook));
}

#[test]
fn a_guard_needs_the_next_look_up_to_release_the_last_one() {
    fails(RACE, || guard_against_reclaim(ReleasingEnter));
}

// Another announcement.
//
// Proves: when a look-up goes on to another entry (the tag was the same, the key was not; or the
// value lies in a run), what it read under its former announcement is read before that memory is
// reused, although the reclaimer sees the later announcement only.
fn another_announcement(broken: Broken) {
    let world = World::new();
    let reader = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let Some(token) = world.guard.enter() else { return };
            world.fences.light(true);
            let location = world.line.location(0);
            if location != NONE {
                world.guard.announce(token, location);
                world.fences.light(true);
                if world.line.still(0, world.tag, location) {
                    assert_eq!(world.value(location), OLD_VALUE);
                }
                if broken == ReleasingAnnouncement {
                    world.guard.announce_unordered(token, NEW);
                } else {
                    world.guard.announce(token, NEW);
                }
                world.fences.light(true);
            }
            world.guard.leave(token);
        })
    };
    world.line.empty(0);
    world.fences.heavy(true);
    if !world.is_announced(OLD) {
        world.write(OLD, NEW_VALUE);
    }
    reader.join().unwrap();
}

#[test]
fn another_announcement_ends_the_one_before() {
    holds(|| another_announcement(Nothing));
}

#[test]
fn another_announcement_needs_to_release_the_one_before() {
    fails(RACE, || another_announcement(ReleasingAnnouncement));
}

// A reader without a slot.
//
// Proves: the same for a reader that is counted in the memory itself. Its count and its leaving
// are read-modify-writes; the fence between count and second look is its own and real.
fn counted_reader_against_reclaim(broken: Broken) {
    let world = World::new();
    let reader = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let location = world.line.location(0);
            if location == OLD {
                world.readers.fetch_add(1, Ordering::SeqCst);
                world.fences.light(broken != ReaderFence);
                if broken == SecondLook || world.line.still(0, world.tag, location) {
                    assert_eq!(world.value(OLD), OLD_VALUE);
                }
                world.readers.fetch_sub(1, Ordering::SeqCst);
            }
        })
    };
    world.line.empty(0);
    world.fences.heavy(broken != ReclaimerFence);
    if world.readers.load(Ordering::Acquire) == 0 {
        world.write(OLD, NEW_VALUE);
    }
    reader.join().unwrap();
}

#[test]
fn a_count_keeps_memory_from_being_reused() {
    holds(|| counted_reader_against_reclaim(Nothing));
}

#[test]
fn a_count_needs_both_fences_and_the_second_look() {
    for broken in [ReaderFence, ReclaimerFence, SecondLook] {
        fails(RACE, move || counted_reader_against_reclaim(broken));
    }
}

// Pins.
//
// Proves: a view that was pinned under an announcement holds the memory after the announcement is
// gone, because leaving releases the pin and the reclaimer looks at guards first and at pins
// second; and when the view is let go, its reads are over. The reader pins, leaves, reads through
// the view, unpins.
fn pin_against_reclaim(broken: Broken) {
    let world = World::new();
    let reader = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let mut view = None;
            world.look_up(broken, |location| {
                let count = world.pins.load(Ordering::Relaxed);
                let pinned = world.pins.compare_exchange(
                    count,
                    count + 1,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                view = pinned.is_ok().then_some(location);
            });
            if let Some(location) = view {
                assert_eq!(world.value(location), OLD_VALUE);
                world.pins.fetch_sub(1, Ordering::AcqRel);
            }
        })
    };
    world.line.empty(0);
    world.fences.heavy(true);
    let pins = || world.pins.load(Ordering::Acquire);
    let pins_early = if broken == GuardsFirst { pins() } else { 0 };
    let is_announced = world.is_announced(OLD);
    let pins = if broken == GuardsFirst { pins_early } else { pins() };
    if !is_announced && pins == 0 {
        world.write(OLD, NEW_VALUE);
    }
    reader.join().unwrap();
}

#[test]
fn a_pin_holds_memory_after_the_guard_has_left() {
    holds(|| pin_against_reclaim(Nothing));
}

#[test]
fn a_pin_needs_guards_to_be_read_before_pins() {
    fails(RACE, || pin_against_reclaim(GuardsFirst));
}

#[test]
fn a_pin_needs_the_leave_to_release_it() {
    fails(RACE, || pin_against_reclaim(ReleasingLeave));
}

// Marks of who is inside.
//
// Proves: index memory, which readers use without announcing it, may be reused when everyone who
// was inside after it was unlinked (and after a heavy barrier) has left, told by the sequence of
// the word alone. The location is the directory's entry, the bytes are a chunk of lines; while it
// is in the chunk the reader announces other memory, as it does when a slot there names an entry.
// The reclaimer looks a second time instead of waiting: had it waited, it would see a later word.
fn inside_marks(broken: Broken) {
    let world = World::new();
    let reader = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            for _ in 0..2 {
                let Some(token) = world.guard.enter() else { return };
                world.fences.light(broken != ReaderFence);
                if world.line.location(0) == OLD {
                    world.guard.announce(token, NEW);
                    world.fences.light(true);
                    assert_eq!(world.value(OLD), OLD_VALUE);
                }
                world.guard.leave(token);
            }
        })
    };
    world.line.empty(0);
    world.fences.heavy(broken != ReclaimerFence);
    let seen = world.guard.word();
    let has_left = if broken == InsideMark {
        Slot::announced(seen) != Some(OLD)
    } else {
        !Slot::is_inside(seen) || world.guard.word() >> ID_BITS != seen >> ID_BITS
    };
    if has_left {
        world.write(OLD, NEW_VALUE);
    }
    reader.join().unwrap();
}

#[test]
fn index_memory_waits_for_everyone_inside() {
    holds(|| inside_marks(Nothing));
}

#[test]
fn index_memory_needs_the_readers_fence() {
    fails(RACE, || inside_marks(ReaderFence));
}

#[test]
fn index_memory_needs_the_reclaimers_fence() {
    fails(RACE, || inside_marks(ReclaimerFence));
}

#[test]
fn index_memory_needs_more_than_announcements() {
    fails(RACE, || inside_marks(InsideMark));
}

// Overwrites.
//
// Proves: a read during an overwrite gives the old value or the new one, whole, also when the old
// one's memory is reused at once; and a read that begins after the write has returned gives the
// new one. "Returned" is a flag that the caller's threads pass on with release and acquire.
fn overwrite(broken: Broken, flag: [Ordering; 2]) {
    let world = World::new();
    let [set, get] = flag;
    let reader = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let returned = world.returned.load(get);
            world.look_up(broken, |location| {
                let value = world.value(location);
                assert!(value == OLD_VALUE || value == NEW_VALUE, "torn: {value:?}");
                assert!(!returned || value == NEW_VALUE, "stale: {value:?}");
            });
        })
    };
    if broken == BytesFirst {
        world.line.relocate(0, NEW, 0);
        world.write(NEW, NEW_VALUE);
    } else {
        world.write(NEW, NEW_VALUE);
        world.line.relocate(0, NEW, 0);
    }
    world.returned.store(true, set);
    world.fences.heavy(broken != ReclaimerFence);
    if !world.is_announced(OLD) {
        world.write(OLD, [91, 92]);
    }
    reader.join().unwrap();
}

const RETURNED: [Ordering; 2] = [Ordering::Release, Ordering::Acquire];

#[test]
fn an_overwrite_is_seen_whole_and_at_once() {
    holds(|| overwrite(Nothing, RETURNED));
}

#[test]
fn an_overwrite_needs_bytes_guard_and_second_look() {
    for broken in [BytesFirst, ReaderFence, ReclaimerFence, SecondLook] {
        fails(RACE, move || overwrite(broken, RETURNED));
    }
}

#[test]
fn an_overwrite_is_not_seen_at_once_by_who_was_not_told() {
    fails("stale", || overwrite(Nothing, [Ordering::Relaxed; 2]));
}
