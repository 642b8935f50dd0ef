//! Growing and shrinking, a bucket at a time.
//!
//! A split reads the hashes of one bucket and moves those whose next bit is set; a merge undoes it.
//! Readers are kept from believing a miss meanwhile by the marks of both home lines and by the
//! geometry word.

use super::line::{LINK, Line, SLOTS, SlotValue};
use super::{LINES_MIN, NONE, Table, Tail};
use crate::pool::space::SegId;
#[cfg(loom)]
use loom::sync::atomic::Ordering;
#[cfg(not(loom))]
use std::sync::atomic::Ordering;

/// Slots of a chain that a split or merge can carry; longer chains are left as they are.
const CHAIN_MAX: usize = 160;

impl Table {
    /// Whether the table should grow or shrink, or a chunk is to be retired.
    #[inline(always)]
    pub fn wants_change(tail: &Tail) -> bool {
        Self::wants_growth(tail) || Self::wants_shrink(tail) || tail.released != NONE
    }

    /// Whether the table should grow.
    #[inline(always)]
    pub fn wants_growth(tail: &Tail) -> bool {
        tail.len > tail.grow_above
    }

    /// Whether the table should shrink.
    #[inline(always)]
    pub fn wants_shrink(tail: &Tail) -> bool {
        tail.len < tail.shrink_below
    }

    /// Whether growing by a line needs a segment first.
    pub fn growth_needs_chunk(&self) -> bool {
        let lines = self.geometry().lines();
        self.home(lines).is_none()
    }

    /// Makes a segment (taken for the index) the chunk of the next line; false if the
    /// directory is full, and the segment stays the caller's.
    pub fn add_home_chunk(&self, tail: &mut Tail, segment: SegId) -> bool {
        let chunk = (self.geometry().lines() >> self.lines_shift()) as usize;
        let Some(cell) = self.homes.get(chunk) else { return false };
        self.wipe_segment(segment);
        cell.store(self.chunk_of(segment), Ordering::Release);
        tail.segments += 1;
        true
    }

    /// Asks for the lines and calls `ask` for the locations that the next [`Table::grow`] reads.
    pub fn prefetch_growth(&self, ask: impl Fn(u32)) {
        let bucket = self.growth_bucket();
        self.each_slot(bucket, |_, value| ask(value.location));
    }

    fn growth_bucket(&self) -> u32 {
        let lines = self.geometry().lines();
        lines - (1 << lines.ilog2())
    }

    /// Splits one bucket; `hash_at` reads the hash of the entry at a location. False if nothing
    /// was done (no memory for the new line, or a chain too long to carry).
    pub fn grow(&self, tail: &mut Tail, hash_at: impl Fn(u32) -> u64) -> bool {
        let lines = self.geometry().lines();
        let (old, new) = (self.growth_bucket(), lines);
        let bit = u64::from(new - old);
        let (Some(old_home), Some(new_home)) = (self.home(old), self.home(new)) else {
            return false;
        };
        let Some((values, count)) = self.collect(old) else { return false };
        let values = &values[..count];
        let mut goes = [false; CHAIN_MAX];
        let mut going = 0;
        for (value, goes) in values.iter().zip(&mut goes) {
            *goes = hash_at(value.location) & bit != 0;
            going += usize::from(*goes);
        }
        if !self.chain_fits(tail, going, 0) {
            return false;
        }
        new_home.wipe();
        old_home.begin_moving();
        new_home.begin_moving();
        for (value, _) in values.iter().zip(goes).filter(|(_, goes)| *goes) {
            self.push(tail, new_home, *value, true);
        }
        self.publish_lines(tail, lines + 1);
        self.truncate(tail, old_home);
        let stay = values.iter().zip(goes).filter(|(_, goes)| !*goes);
        for (value, _) in stay {
            self.push(tail, old_home, *value, true);
        }
        new_home.end_moving();
        old_home.end_moving();
        true
    }

    /// Merges the last bucket into the one it came from; returns a chunk that is no longer used
    /// and must be retired (readers may still look into it). `None`: nothing was done.
    pub fn shrink(&self, tail: &mut Tail) -> Option<Option<SegId>> {
        let lines = self.geometry().lines();
        if lines <= LINES_MIN {
            return None;
        }
        let last = lines - 1;
        let buddy = last - (1 << last.ilog2());
        let (last_home, buddy_home) = (self.home(last)?, self.home(buddy)?);
        let (values, count) = self.collect(last)?;
        let mut present = 0;
        self.each_slot(buddy, |_, _| present += 1);
        if present + count > CHAIN_MAX || !self.chain_fits(tail, count, present) {
            return None;
        }
        buddy_home.begin_moving();
        last_home.begin_moving();
        for value in &values[..count] {
            self.push(tail, buddy_home, *value, true);
        }
        self.publish_lines(tail, last);
        self.truncate(tail, last_home);
        last_home.end_moving();
        buddy_home.end_moving();
        let shift = self.lines_shift();
        if last & ((1 << shift) - 1) != 0 {
            return Some(None);
        }
        let cell = &self.homes[(last >> shift) as usize];
        let chunk = cell.swap(std::ptr::null_mut(), Ordering::AcqRel);
        tail.segments -= 1;
        Some(Some(self.segment_of(chunk)))
    }

    /// Whether `more` slots can be added to a chain that has `present`, with the overflow lines
    /// that are free.
    fn chain_fits(&self, tail: &Tail, more: usize, present: usize) -> bool {
        let lines = |slots: usize| slots.saturating_sub(SLOTS).div_ceil(LINK);
        let free = Self::overflow_free(tail) as usize;
        lines(present + more) - lines(present).min(lines(present + more)) <= free
    }

    fn collect(&self, bucket: u32) -> Option<([SlotValue; CHAIN_MAX], usize)> {
        let mut values = [SlotValue::new(0, 0, 0); CHAIN_MAX];
        let mut count = 0;
        self.each_slot(bucket, |_, value| {
            if let Some(place) = values.get_mut(count) {
                *place = value;
            }
            count += 1;
        });
        (count <= CHAIN_MAX).then_some((values, count))
    }

    /// Empties a bucket, giving its overflow lines back. The bucket must be moving.
    fn truncate(&self, tail: &mut Tail, home: &Line) {
        let mut link = Line::spills(home.header()).then(|| home.link());
        if link.is_some() {
            home.clear_link();
        }
        for slot in 0..SLOTS {
            home.empty(slot);
        }
        while let Some(number) = link {
            let Some(line) = self.overflow(number) else { return };
            link = Line::spills(line.header()).then(|| line.link());
            self.give_overflow(tail, number, line);
        }
    }
}
