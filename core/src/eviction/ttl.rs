//! Soonest to expire first; entries that never expire last, the oldest of them first.
//!
//! Entries that were written with the same time to live expire in the order in which they were
//! written, so a queue of a log that holds only such entries is sorted, for nothing. There is a queue
//! for each of up to [`CLASSES`] times to live, as Segcache has segments by time to live (Yang, Yue,
//! Vinayak; NSDI'21), and victims are taken as sorted runs are merged: from the queue whose cursor is
//! at the entry that expires first. An entry that turns out not to be the first waits where it is
//! ([`Verdict::Duel`]), and from then on its queue's front is known. Nothing is copied.
//!
//! A new time to live takes a queue that is empty; where there is none, the queue whose own is the
//! nearest. With up to seven times to live that are an eighth apart the order is exact. What differs
//! by less shares a queue, and is out of order by no more than that.
//!
//! Entries that are *late* for their queue, later than the soonest of the last ones that the cursor
//! met there by more than a quarter of all that the queue holds, stand in the way of others: they
//! were touched, or overwritten with another time to live, or share a queue for lack of one. They are
//! appended again, to the queue of the time that is left to them now; at most [`KEPT_MAX`] in a row.
//!
//! Where an entry lies is a hint: what gets a time to live by being touched or overwritten stays
//! among those without one until the cursor comes by, and expires in time all the same.
//!
//! It has no options.

use super::{Context, EntryMeta, Placement, Policy, QUEUES_MAX, Verdict, View, options};
use crate::error::Result;

/// Queues of entries that expire; queue 0 is of those that do not.
const CLASSES: usize = QUEUES_MAX - 1;
/// The queue of what never expires.
const LASTING: u8 = 0;
/// Late entries that are appended again until one goes.
const KEPT_MAX: u8 = 16;
/// Entries that wait until one goes: each queue has one front.
const WAITED_MAX: u8 = QUEUES_MAX as u8;
/// Entries that the soonest of the last ones is taken of, at least; twice as many at most.
const RECENT: u8 = 16;
/// The part of what lies between the front and the back of its queue by which an entry may be late.
const LATE_PART: u64 = 4;
/// Entries of a queue from which on it is told who is late.
const LATE_AMONG: u64 = 256;
/// What never expires, as an entry's expiry says it.
const NEVER: u64 = u64::MAX;

/// Queues by time to live.
#[derive(Clone, Debug)]
pub struct Ttl {
    classes: [Class; CLASSES],
    /// Entries appended again, and left waiting, since one went.
    kept: u8,
    waited: u8,
}

/// Entries of nearly one time to live.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// The time to live, on the scale of [`scale`].
    scale: u32,
    /// No entry at the cursor expires before this, as far as is known.
    front: u64,
    /// No entry that was appended expires after this.
    back: u64,
    /// The soonest that the cursor met lately, and before.
    soonest: [u64; 2],
    met: u8,
}

impl Class {
    const NONE: Self = Self { scale: 0, front: NEVER, back: 0, soonest: [NEVER; 2], met: 0 };

    /// The soonest of the last entries that the cursor met, this one included.
    fn meet(&mut self, expires_ms: u64) -> u64 {
        if self.met == RECENT {
            self.soonest = [NEVER, self.soonest[0]];
            self.met = 0;
        }
        self.met += 1;
        self.soonest[0] = self.soonest[0].min(expires_ms);
        self.soonest[0].min(self.soonest[1])
    }
}

impl Ttl {
    /// It has no options.
    pub fn new(text: Option<&str>) -> Result<Self> {
        options::parse("ttl", &[], text).map(|[]| Self {
            classes: [Class::NONE; CLASSES],
            kept: 0,
            waited: 0,
        })
    }

    /// The queue of an entry that is appended now.
    fn queue_of(&mut self, view: &View, expires_ms: u64) -> u8 {
        if expires_ms == NEVER {
            return LASTING;
        }
        let ttl_ms = expires_ms.saturating_sub(view.now_ms);
        let wanted = scale(ttl_ms);
        let (mut nearest, mut distance, mut empty) = (0, u32::MAX, None);
        for (at, class) in self.classes.iter().enumerate() {
            if view.queues[at + 1].entries == 0 {
                empty = empty.or(Some(at));
            } else if class.scale.abs_diff(wanted) < distance {
                (nearest, distance) = (at, class.scale.abs_diff(wanted));
            }
        }
        if distance > 1
            && let Some(empty) = empty
        {
            nearest = empty;
            self.classes[empty] = Class { scale: wanted, front: expires_ms, ..Class::NONE };
        }
        let class = &mut self.classes[nearest];
        class.back = class.back.max(expires_ms);
        nearest as u8 + 1
    }

    /// The queue whose front is the soonest.
    fn first(&self, view: &View) -> Option<(u8, u64)> {
        let mut first = None;
        for (class, queue) in self.classes.iter().zip(1_u8..) {
            if view.queues[usize::from(queue)].entries != 0
                && first.is_none_or(|(_, front)| class.front < front)
            {
                first = Some((queue, class.front));
            }
        }
        first
    }

    fn keep(&mut self, view: &View, entry: &EntryMeta) -> Verdict {
        self.kept += 1;
        let queue = self.queue_of(view, entry.expires_ms);
        if queue == entry.queue {
            Verdict::Keep { hits: entry.hits }
        } else {
            Verdict::Move { queue, hits: entry.hits }
        }
    }
}

/// A time on a scale of sixteen steps an octave.
fn scale(ms: u64) -> u32 {
    let ms = ms.max(16);
    let octave = ms.ilog2();
    octave << 4 | (ms >> (octave - 4)) as u32 & 15
}

impl Policy for Ttl {
    #[inline]
    fn queues(&self) -> u8 {
        QUEUES_MAX as u8
    }

    #[inline]
    fn newcomer_queues(&self) -> u8 {
        1
    }

    #[inline]
    fn place(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Placement {
        match self.queue_of(cx.view, entry.expires_ms) {
            LASTING => Placement::Queue { queue: LASTING, hits: 0 },
            queue => Placement::Contest { queue, lost: Some(queue) },
        }
    }

    #[inline]
    fn victim_queue(&mut self, cx: &mut Context<'_>) -> u8 {
        self.first(cx.view).map_or(LASTING, |(queue, _)| queue)
    }

    #[inline]
    fn judge(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict {
        let expires = entry.expires_ms;
        let Some(class) = usize::from(entry.queue).checked_sub(1) else {
            if expires == NEVER || self.kept >= KEPT_MAX {
                return Verdict::Evict;
            }
            return self.keep(cx.view, entry);
        };
        let class = &mut self.classes[class % CLASSES];
        let soonest = class.meet(expires);
        let late_from = soonest + class.back.saturating_sub(soonest) / LATE_PART;
        // Of a few entries each is far from the next.
        let tells = cx.view.queues[usize::from(entry.queue)].entries >= LATE_AMONG;
        let is_late = expires > late_from && tells || expires == NEVER;
        if is_late && self.kept < KEPT_MAX {
            class.front = soonest;
            return self.keep(cx.view, entry);
        }
        class.front = expires;
        match self.first(cx.view) {
            Some((_, front)) if front < expires && self.waited < WAITED_MAX => {
                self.waited += 1;
                Verdict::Duel { queue: entry.queue }
            }
            Some(_) | None => Verdict::Evict,
        }
    }

    #[inline]
    fn evicted(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) {
        (self.kept, self.waited) = (0, 0);
    }

    fn clear(&mut self) {
        (self.classes, self.kept, self.waited) = ([Class::NONE; CLASSES], 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::scale;

    #[test]
    fn the_scale_has_steps_of_a_sixteenth_of_an_octave_or_less() {
        assert_eq!((scale(0), scale(16), scale(17), scale(32)), (64, 64, 65, 80));
        let mut ms = 16;
        while ms < 1 << 60 {
            let next = ms + ms / 16 + 1;
            assert!((1..=2).contains(&(scale(next) - scale(ms))), "{ms}");
            ms = next;
        }
        assert_eq!(scale(u64::MAX), 63 << 4 | 15);
    }
}
