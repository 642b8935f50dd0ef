//! Sessions by last access: a binary heap that learns of accesses late.
//!
//! Readers write the second of an access into the session's row and nothing else. The heap is
//! ordered by the second that it knows; who stands at the top is asked for the true one, and sinks
//! if that is later. What then stands at the top was not accessed for the longest time: all others
//! are known, and therefore truly, as late or later.

use super::Sessions;
use std::sync::atomic::Ordering::Relaxed;

/// Rows at the top that are asked in one call. More were accessed since they were asked last only
/// if there are as many sessions; the idlest is then found by one of the next calls.
const ASKED_MAX: u32 = 64;

impl Sessions {
    fn known(&self, place: u32) -> u32 {
        self.row(self.heap[place as usize].load(Relaxed)).known_s.load(Relaxed)
    }

    fn seat(&self, place: u32, row: u32) {
        self.heap[place as usize].store(row, Relaxed);
        self.row(row).place.store(place, Relaxed);
    }

    fn swap(&self, a: u32, b: u32) {
        let (row_a, row_b) =
            (self.heap[a as usize].load(Relaxed), self.heap[b as usize].load(Relaxed));
        self.seat(a, row_b);
        self.seat(b, row_a);
    }

    /// Adds a row to a heap of so many.
    pub(super) fn push(&self, len: u32, row: u32, last_s: u32) {
        self.row(row).known_s.store(last_s, Relaxed);
        self.seat(len, row);
        self.rise(len);
    }

    /// Takes the row at a place out, which leaves so many.
    pub(super) fn remove(&self, len: u32, place: u32) {
        if place != len {
            self.swap(place, len);
            self.rise(place);
            self.sink(len, place);
        }
    }

    fn rise(&self, mut place: u32) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.known(parent) <= self.known(place) {
                return;
            }
            self.swap(parent, place);
            place = parent;
        }
    }

    fn sink(&self, len: u32, mut place: u32) {
        loop {
            let left = 2 * place + 1;
            let first = [left, left + 1]
                .into_iter()
                .filter(|&child| child < len)
                .min_by_key(|&child| self.known(child));
            let Some(child) = first else { return };
            if self.known(place) <= self.known(child) {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }

    /// The row that was not accessed for the longest time, if that is more than `idle_s` seconds.
    pub(super) fn idlest(&self, len: u32, now_s: u32, idle_s: u32) -> Option<u32> {
        for _ in 0..ASKED_MAX.min(len) {
            if now_s.saturating_sub(self.known(0)) <= idle_s {
                return None;
            }
            let top = self.heap[0].load(Relaxed);
            let row = self.row(top);
            let last_s = row.last_s.load(Relaxed);
            if last_s == row.known_s.load(Relaxed) {
                return Some(top);
            }
            row.known_s.store(last_s, Relaxed);
            self.sink(len, 0);
        }
        None
    }
}
