//! Marks: when the entries of a queue were appended, read off their places.
//!
//! A queue is a log, so whatever lies behind a place was appended later. A mark notes the time at
//! which the queue's head passed a multiple of the *grid*, and the time of an entry is that of the
//! last mark before it: no entry has to carry one. The grid is a power of two that follows the
//! length of the queue, so that the marks of a queue are [`MARKS`] / 4 to [`MARKS`]: the time of an
//! entry is early by at most what it took to append one part in 64 of the queue.
//!
//! Finding a time is a shift and a load. Nothing is searched, and changing the grid moves a
//! thousand bytes, once in as many appends as double the queue.

/// Marks that are kept.
const MARKS: usize = 256;
/// A grid is refined when the queue is shorter than so many steps of it, ...
const STEPS_MIN: u64 = MARKS as u64 / 4;
/// ... and coarsened when it is longer than so many.
const STEPS_MAX: u64 = MARKS as u64 - 8;

/// The marks of one queue, what every miss reads first.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Marks {
    /// The place of the next mark.
    next: u64,
    /// The place of the last mark, while the head is there: what is appended next is not there yet.
    idle: u64,
    /// Where the oldest entry was seen last.
    tail: u64,
    /// The grid is two to this, in bytes.
    shift: u32,
    /// Nothing was marked yet.
    is_new: bool,
    /// The time of mark k is at k modulo [`MARKS`].
    times: [u32; MARKS],
}

impl Marks {
    /// None yet.
    pub const fn new() -> Self {
        Self { next: 0, idle: u64::MAX, tail: 0, shift: 0, is_new: true, times: [0; MARKS] }
    }

    /// The head is at this place now.
    #[inline(always)]
    pub fn note_head(&mut self, head: u64, now: u32) {
        if head >= self.next {
            self.mark(head, now);
        } else if head == self.idle {
            self.times[(head >> self.shift) as usize % MARKS] = now;
        }
    }

    /// The oldest entry is at this place.
    #[inline(always)]
    pub fn note_tail(&mut self, place: u64) {
        self.tail = place;
    }

    /// When the entry at this place was appended.
    #[inline(always)]
    pub fn time_of(&self, place: u64) -> u32 {
        let last = self.next.wrapping_sub(1) >> self.shift;
        let mark = place >> self.shift;
        let oldest = last.saturating_sub(MARKS as u64 - 1);
        self.times[mark.max(oldest).min(last) as usize % MARKS]
    }

    #[cold]
    #[inline(never)]
    fn mark(&mut self, head: u64, now: u32) {
        if self.is_new {
            self.is_new = false;
            self.tail = head;
            self.times = [now; MARKS];
        }
        let last = head >> self.shift;
        let first = (self.next >> self.shift).max(last.saturating_sub(MARKS as u64 - 1));
        for mark in first..=last {
            self.times[mark as usize % MARKS] = now;
        }
        self.next = (last + 1) << self.shift;
        let length = head.saturating_sub(self.tail);
        while length >> self.shift > STEPS_MAX {
            self.coarsen();
        }
        if self.shift > 0 && length >> self.shift < STEPS_MIN {
            self.refine();
        }
        let is_at_mark = head >> self.shift << self.shift == head;
        self.idle = if is_at_mark { head } else { u64::MAX };
    }

    fn coarsen(&mut self) {
        let last = (self.next - 1) >> self.shift;
        let before = self.times;
        // Half as many are left; the older half of the new ones gets the oldest time known.
        let oldest = last.saturating_sub(MARKS as u64 - 1);
        for mark in (last / 2).saturating_sub(MARKS as u64 - 1)..=last / 2 {
            self.times[mark as usize % MARKS] = before[(2 * mark).max(oldest) as usize % MARKS];
        }
        self.shift += 1;
        self.next = (last / 2 + 1) << self.shift;
    }

    fn refine(&mut self) {
        let last = (self.next - 1) >> self.shift;
        let before = self.times;
        let finest = 2 * last + 1;
        for mark in finest.saturating_sub(MARKS as u64 - 1)..=finest {
            self.times[mark as usize % MARKS] = before[(mark / 2) as usize % MARKS];
        }
        self.shift -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{MARKS, Marks};

    #[test]
    fn times_are_exact_while_the_queue_is_short() {
        let mut marks = Marks::new();
        for now in 0..1000_u32 {
            let head = u64::from(now);
            marks.note_tail(head.saturating_sub(60));
            marks.note_head(head, now);
            for place in head.saturating_sub(60)..=head {
                assert_eq!(u64::from(marks.time_of(place)), place);
            }
        }
    }

    #[test]
    fn times_are_early_by_at_most_a_64th_of_the_queue() {
        // The queue grows to a million bytes, shrinks to a thousand, and is emptied; entries of
        // 100 bytes, one each moment.
        let mut marks = Marks::new();
        let (mut head, mut tail) = (7_000_000_000_u64, 7_000_000_000_u64);
        let start = head;
        for now in 0..100_000_u32 {
            let length: u64 = match now {
                0..40_000 => 1_000_000,
                40_000..70_000 => 1_000,
                _ => 3_000_000,
            };
            marks.note_head(head, now);
            head += 100;
            tail = tail.max(head.saturating_sub(length));
            marks.note_tail(tail);
            for part in 0..8 {
                let place = tail + (head - tail - 1) * part / 7;
                let exact = (place - start) / 100;
                let told = u64::from(marks.time_of(place));
                // The grid is refined by a step a mark after the queue shrank.
                let slack = if (40_000..52_000).contains(&now) { 10_000 } else { 1 };
                let early = exact.saturating_sub(told);
                assert!(told <= exact + 1, "{now}: {told} is after {exact}");
                assert!(early <= (head - tail) / 100 / 60 + slack, "{now}: {told}, not {exact}");
            }
        }
    }

    #[test]
    fn a_leap_and_a_new_beginning() {
        let mut marks = Marks::new();
        marks.note_head(0, 5);
        marks.note_head(1 << 40, 9);
        assert_eq!(marks.time_of(1 << 40), 9);
        assert!(marks.time_of(0) <= 9);
        marks = Marks::new();
        marks.note_head(1 << 50, 70);
        assert_eq!(marks.time_of(1 << 50), 70);
        assert_eq!(marks.time_of(3), 70, "what was there before is as old as the marks");
        for head in 0..MARKS as u64 * 3 {
            marks.note_head((1 << 50) + head, 71);
        }
        assert_eq!(marks.time_of((1 << 50) + MARKS as u64), 71);
    }
}
