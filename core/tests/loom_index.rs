//! Models of the index: a key that is there throughout is never reported missing.
//!
//! Run with `RUSTFLAGS="--cfg loom"`. The table and its lines are the real ones, with lines of two
//! slots, so that three keys make a chain. The look-up is the store's, one attempt of it: entries
//! are told by their location instead of their key. See `loom_read.rs` for how loom is used.
#![cfg(loom)]

mod models;

use hypercache_core::store::index::geometry::Geometry;
use hypercache_core::store::index::line::{Line, SLOTS, SlotValue, tag_of};
use hypercache_core::store::index::{Table, Tail};
use loom::sync::atomic::{Ordering, fence};
use loom::thread;
use models::{fails, holds, holds_within};
use std::sync::Arc;

/// What is taken out of the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// A miss is believed at once.
    SecondHeader,
    /// The header is looked at again, but loads before that may be late.
    AcquireFence,
    /// Only whether it is moving is looked at again, not the version.
    Version,
    /// The geometry is not looked at again.
    SecondGeometry,
    /// The writer does not mark the line as moving.
    MovingMark,
    /// The old place is emptied before the new one is filled, without a mark.
    NewPlaceFirst,
}
use Broken::*;

/// What is wrong with a miss check that does not look at the header again as it should.
const HEADER: [Broken; 3] = [SecondHeader, Version, AcquireFence];

/// What a look-up says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Hit,
    Miss,
    /// It would try again, and take the lock in the end.
    Unsettled,
}

const MOVING: u32 = 1;
const MISSING: &str = "reported missing";

/// Whether a miss may be believed, as `Line::unchanged` says, or less carefully.
fn unchanged(home: &Line, before: u32, broken: Broken) -> bool {
    match broken {
        SecondHeader => before & MOVING == 0,
        AcquireFence => before & MOVING == 0 && home.header() == before,
        Version => {
            fence(Ordering::Acquire);
            before & MOVING == 0 && home.header() & MOVING == 0
        }
        Nothing | SecondGeometry | MovingMark | NewPlaceFirst => home.unchanged(before),
    }
}

/// A key, by what the index knows of it.
#[derive(Clone, Copy)]
struct Key {
    hash: u64,
    location: u32,
}

/// A key whose bucket is 1 once there are two.
const MOVER: Key = Key { hash: 7 << 34 | 1, location: 7 };
/// Keys that stay in bucket 0.
const OTHER: Key = Key { hash: 5 << 34, location: 5 };
const THIRD: Key = Key { hash: 3 << 34, location: 3 };
/// More that do not.
const FOURTH: Key = Key { hash: 8 << 34 | 1, location: 8 };
const FIFTH: Key = Key { hash: 9 << 34 | 1, location: 9 };
/// One more that does.
const SIXTH: Key = Key { hash: 10 << 34, location: 10 };

fn hash_at(location: u32) -> u64 {
    [MOVER, OTHER, THIRD, FOURTH, FIFTH, SIXTH]
        .iter()
        .find_map(|key| (key.location == location).then_some(key.hash))
        .unwrap_or_default()
}

/// Lines of a chunk, as an exponent: with two of them, one the header, an overflow chunk is given up
/// with the only chain; with four it stays.
const SMALL: u32 = 1;
const LARGE: u32 = 2;

/// A table, and the lines that it is made of.
struct Index {
    table: Table,
    lines: Box<[Line]>,
}

impl Index {
    fn with(keys: &[Key], lines_shift: u32) -> (Self, Tail) {
        let lines = (0..2 << lines_shift).map(|_| Line::vacant()).collect::<Box<[_]>>();
        // SAFETY: these are two chunks, and they live as long as the table does.
        let (table, mut tail) = unsafe { Table::on_chunks(lines.as_ptr(), lines_shift) };
        for key in keys {
            insert(&table, &mut tail, *key);
        }
        (Self { table, lines }, tail)
    }

    fn look_up(&self, key: Key, broken: Broken) -> Probe {
        let table = &self.table;
        let tag = tag_of(key.hash);
        let geometry: Geometry = table.geometry();
        let Some(home) = table.home(geometry.bucket(key.hash)) else { return Probe::Unsettled };
        let before = home.header();
        let (mut line, mut header) = (home, before);
        for _ in 0..self.lines.len() {
            let mut matches = line.matches(tag);
            while matches != 0 {
                let slot = matches.trailing_zeros() as usize;
                matches &= matches - 1;
                let location = line.location(slot);
                if location == 0 {
                    continue;
                }
                if !line.still(slot, tag, location) {
                    return Probe::Unsettled;
                }
                if location == key.location {
                    return Probe::Hit;
                }
            }
            if !Line::spills(header) {
                break;
            }
            let Some(next) = table.overflow(line.link()) else { return Probe::Unsettled };
            line = next;
            header = line.header();
        }
        let is_same = unchanged(home, before, broken)
            && (broken == SecondGeometry || table.geometry() == geometry);
        if is_same { Probe::Miss } else { Probe::Unsettled }
    }
}

/// One reader looks `MOVER` up while a writer does something to a table of these keys.
fn while_writing(keys: &[Key], broken: Broken, write: Write) {
    looking_up(MOVER, Index::with(keys, SMALL), broken, write);
}

/// What the writer does.
type Write = fn(&Table, &mut Tail);

fn looking_up(key: Key, (index, mut tail): (Index, Tail), broken: Broken, write: Write) {
    let index = Arc::new(index);
    let reader = {
        let index = Arc::clone(&index);
        thread::spawn(move || {
            let found = index.look_up(key, broken);
            assert!(found != Probe::Miss, "{MISSING}: a key that is there");
        })
    };
    write(&index.table, &mut tail);
    reader.join().unwrap();
    assert_eq!(index.look_up(key, Nothing), Probe::Hit);
}

// Growing.
//
// Proves: while the table splits a bucket and a key moves from its old line to the new one, a
// look-up finds the key or does not settle. A look-up that took the old geometry and came to the
// old line only after the split is sent back by the geometry alone.
fn growing(broken: Broken) {
    while_writing(&[MOVER, OTHER], broken, |table, tail| {
        assert!(table.grow(tail, hash_at));
    });
}

#[test]
fn growing_hides_no_key() {
    holds(|| growing(Nothing));
}

// The version is not among them: a split also shows in the geometry.
#[test]
fn growing_needs_the_second_look_at_the_header() {
    for broken in [SecondHeader, AcquireFence] {
        fails(MISSING, move || growing(broken));
    }
}

#[test]
fn growing_needs_the_second_look_at_the_geometry() {
    fails(MISSING, || growing(SecondGeometry));
}

// Shrinking.
//
// Proves: the same while the last bucket is merged into the one it came from.
fn shrinking(broken: Broken) {
    let (index, mut tail) = Index::with(&[MOVER, OTHER], SMALL);
    assert!(index.table.grow(&mut tail, hash_at));
    looking_up(MOVER, (index, tail), broken, |table, tail| {
        assert!(table.shrink(tail).is_some());
    });
}

#[test]
fn shrinking_hides_no_key() {
    holds(|| shrinking(Nothing));
}

#[test]
fn shrinking_needs_each_second_look() {
    for broken in [SecondHeader, AcquireFence, SecondGeometry] {
        fails(MISSING, move || shrinking(broken));
    }
}

// Spilling.
//
// Proves: the same while an insert lengthens the chain and moves the key out of the last slot of
// its home line into an overflow line.
fn spilling(broken: Broken) {
    while_writing(&[OTHER, MOVER], broken, |table, tail| {
        insert(table, tail, THIRD);
    });
}

#[test]
fn spilling_hides_no_key() {
    holds(|| spilling(Nothing));
}

#[test]
fn spilling_needs_each_look_at_the_header() {
    for broken in HEADER {
        fails(MISSING, move || spilling(broken));
    }
}

// Closing a gap.
//
// Proves: the same while a removal moves the key from the end of the chain into the gap, where a
// look-up that is in the overflow line already has passed.
fn closing_a_gap(broken: Broken) {
    while_writing(&[OTHER, THIRD, MOVER], broken, |table, tail| {
        remove(table, tail, OTHER);
    });
}

fn insert(table: &Table, tail: &mut Tail, key: Key) {
    let Some(home) = table.home_of(key.hash) else { panic!("the table has lines") };
    assert!(table.insert(tail, home, key.hash, key.location, 0));
}

fn remove(table: &Table, tail: &mut Tail, key: Key) {
    let found = table.find(key.hash, |location| location == key.location);
    let Some((place, _)) = found else { panic!("the key is there") };
    table.remove(tail, place);
}

#[test]
fn closing_a_gap_hides_no_key() {
    holds(|| closing_a_gap(Nothing));
}

#[test]
fn closing_a_gap_needs_each_look_at_the_header() {
    for broken in HEADER {
        fails(MISSING, move || closing_a_gap(broken));
    }
}

// Giving a chain up.
//
// Proves: the same when the chain ends altogether: the key moves home, its overflow line is freed,
// and the chunk of the line is given up. Where the chunk stays, the line goes to the chain of
// another bucket at once, and a look-up that is still in it strays there.
fn giving_a_chain_up(broken: Broken) {
    let (index, mut tail) = Index::with(&[OTHER, THIRD, MOVER], SMALL);
    remove(&index.table, &mut tail, THIRD);
    looking_up(MOVER, (index, tail), broken, |table, tail| {
        remove(table, tail, OTHER);
    });
}

fn straying(broken: Broken) {
    let (index, mut tail) = Index::with(&[MOVER, FOURTH, OTHER, THIRD, SIXTH], LARGE);
    assert!(index.table.grow(&mut tail, hash_at));
    remove(&index.table, &mut tail, THIRD);
    looking_up(SIXTH, (index, tail), broken, |table, tail| {
        remove(table, tail, OTHER);
        insert(table, tail, FIFTH);
    });
}

#[test]
fn giving_a_chain_up_hides_no_key() {
    holds(|| giving_a_chain_up(Nothing));
}

#[test]
fn straying_hides_no_key() {
    holds_within(2, || straying(Nothing));
}

#[test]
fn giving_a_chain_up_needs_each_look_at_the_header() {
    for broken in HEADER {
        fails(MISSING, move || giving_a_chain_up(broken));
        fails(MISSING, move || straying(broken));
    }
}

// A move within a line.
//
// Proves: the parts of the miss check one by one, on the real line's operations in the order in
// which the table makes them: mark, new place, old place, version. The reader passes the new place
// before it looks at the old one. Each part left out shows as a key that is reported missing; that
// the acquire fence is among them shows that loads before the second look may be late. A key also
// goes there and back, so that the line ends as it began but for the version.
fn move_within_a_line(broken: Broken, moves: usize) {
    let line = Arc::new(Line::vacant());
    let tag = tag_of(MOVER.hash);
    let value = SlotValue::new(tag, 0, MOVER.location);
    line.fill(SLOTS - 1, value);
    let reader = {
        let line = Arc::clone(&line);
        thread::spawn(move || {
            let before = line.header();
            let found = line.matches(tag) != 0;
            assert!(found || !unchanged(&line, before, broken), "{MISSING}: a key that is there");
        })
    };
    for turn in 0..moves {
        let (from, to) = if turn % 2 == 0 { (SLOTS - 1, 0) } else { (0, SLOTS - 1) };
        let marks = broken != MovingMark && broken != NewPlaceFirst;
        if marks {
            line.begin_moving();
        }
        if broken == NewPlaceFirst {
            line.empty(from);
        }
        line.fill(to, value);
        if broken != NewPlaceFirst {
            line.empty(from);
        }
        if marks {
            line.end_moving();
        }
    }
    reader.join().unwrap();
}

#[test]
fn a_move_within_a_line_hides_no_key() {
    holds(|| move_within_a_line(Nothing, 1));
    holds(|| move_within_a_line(Nothing, 2));
}

#[test]
fn a_move_needs_each_part_of_the_check() {
    for broken in [MovingMark, NewPlaceFirst, SecondHeader, Version, AcquireFence] {
        fails(MISSING, move || move_within_a_line(broken, 1));
    }
}
