//! Overflow lines: where they come from and how they go back.
//!
//! They come in chunks of one segment. The first line of a chunk is its header: it counts the
//! lines in use and begins the list of free ones, so that a chunk of which nothing is used can be
//! given back without looking at any other. Lines are taken from the lowest chunk that has one; as
//! chains are rebuilt whenever buckets split or merge, the higher chunks drain while an index
//! shrinks.
//!
//! A free line keeps tags of 0, so a reader that strays into it matches nothing and goes nowhere.

use super::line::Line;
use super::{NONE, Table, Tail};
use crate::pool::space::SegId;
use std::sync::atomic::Ordering;

impl Table {
    fn lines_a_chunk(&self) -> u32 {
        1 << self.lines_shift
    }

    /// The header of a chunk that is there.
    fn chunk_header(&self, chunk: usize) -> Option<&Line> {
        self.overflow(((chunk as u32) << self.lines_shift) + 1)
    }

    /// Overflow lines that are free.
    pub(super) fn overflow_free(tail: &Tail) -> u32 {
        tail.overflow_lines - tail.overflow_used
    }

    pub(super) fn take_overflow(&self, tail: &mut Tail) -> Option<(u32, &Line)> {
        if Self::overflow_free(tail) == 0 {
            return None;
        }
        for chunk in tail.overflow_hint as usize..self.overflows.len() {
            let Some(header) = self.chunk_header(chunk) else { continue };
            let number = header.next_free();
            if number == 0 {
                continue;
            }
            tail.overflow_hint = chunk as u32;
            let line = self.overflow(number)?;
            header.set_next_free(line.next_free());
            header.set_used(header.used() + 1);
            line.wipe();
            tail.overflow_used += 1;
            return Some((number, line));
        }
        None
    }

    pub(super) fn give_overflow(&self, tail: &mut Tail, number: u32, line: &Line) {
        let chunk = (number - 1) >> self.lines_shift;
        line.wipe();
        tail.overflow_used -= 1;
        tail.overflow_hint = tail.overflow_hint.min(chunk);
        let Some(header) = self.chunk_header(chunk as usize) else { return };
        line.set_next_free(header.next_free());
        header.set_next_free(number);
        header.set_used(header.used() - 1);
        let usable = self.lines_a_chunk() - 1;
        // Half a chunk stays free elsewhere, so that a chunk does not come and go.
        if header.used() == 0
            && tail.released == NONE
            && Self::overflow_free(tail) >= usable + usable / 2
        {
            let cell = &self.overflows[chunk as usize];
            tail.released = self.segment_of(cell.swap(std::ptr::null_mut(), Ordering::AcqRel));
            tail.overflow_lines -= usable;
            tail.segments -= 1;
        }
    }

    /// A chunk that was given up since the last call; readers may still look into it.
    pub fn released_chunk(&self, tail: &mut Tail) -> Option<SegId> {
        let released = std::mem::replace(&mut tail.released, NONE);
        (released != NONE).then_some(released)
    }

    /// Makes a segment (taken for the index) a chunk of overflow lines; false if the directory is
    /// full, and the segment stays the caller's.
    pub fn add_overflow_chunk(&self, tail: &mut Tail, segment: SegId) -> bool {
        let vacant = |cell: &super::AtomicPtr<Line>| cell.load(Ordering::Relaxed).is_null();
        let Some(chunk) = self.overflows.iter().position(vacant) else { return false };
        self.wipe_segment(segment);
        self.overflows[chunk].store(self.chunk_of(segment), Ordering::Release);
        let first = ((chunk as u32) << self.lines_shift) + 1;
        let mut next = 0;
        for number in (first..first + self.lines_a_chunk()).rev() {
            if let Some(line) = self.overflow(number) {
                line.set_next_free(next);
                next = number;
            }
        }
        // The header's own number is not on the list: it begins with the line behind it.
        if let Some(header) = self.chunk_header(chunk) {
            header.set_next_free(first + 1);
            header.set_used(0);
        }
        tail.overflow_lines += self.lines_a_chunk() - 1;
        tail.overflow_hint = tail.overflow_hint.min(chunk as u32);
        tail.segments += 1;
        true
    }
}
