//! SIEVE: a hand that goes over the queue from the oldest entry to the newest and takes the first
//! one that nobody asked for since it last came by; survivors stay where they are.
//!
//! Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is simpler than LRU: an efficient turn-key eviction
//! algorithm for web caches", NSDI'24.
//!
//! In a log nothing stays where it is while others around it go, so there are two queues: what the
//! hand has *passed*, and what it has *yet to see*. An entry that survives is appended to the first
//! with its counter back at 0, a newcomer to the second, behind all that the hand has yet to see,
//! and when that is empty the hand is at the newest entry and begins anew: the two swap roles. Read
//! as passed, then yet to see, the queues are SIEVE's one list at every moment, so the order of
//! eviction is exact; a survivor costs a copy where a list costs nothing.
//!
//! After [`SPARED_MAX`] survivors in a row the next entry goes whatever its counter: a set never
//! walks a queue.
//!
//! It has no options.

use super::{Context, EntryMeta, Placement, Policy, Verdict, options};
use crate::error::Result;

/// The most entries that survive before one has to go.
const SPARED_MAX: u8 = 32;

/// Two queues that swap roles.
#[derive(Clone, Debug)]
pub struct Sieve {
    /// The queue that the hand goes over.
    hand: u8,
    /// Entries that survived since one went.
    spared: u8,
}

impl Sieve {
    /// It has no options.
    pub fn new(text: Option<&str>) -> Result<Self> {
        options::parse("sieve", &[], text).map(|[]| Self { hand: 0, spared: 0 })
    }

    /// The queue of what the hand has yet to see; the other one's turn comes when it is empty.
    #[inline]
    fn unseen(&mut self, cx: &Context<'_>) -> u8 {
        let [first, second, ..] = &cx.view.queues;
        let (ahead, passed) = if self.hand == 0 { (first, second) } else { (second, first) };
        if ahead.entries == 0 && passed.entries != 0 {
            self.hand ^= 1;
        }
        self.hand
    }
}

impl Policy for Sieve {
    #[inline]
    fn queues(&self) -> u8 {
        2
    }

    #[inline]
    fn place(&mut self, cx: &mut Context<'_>, _entry: &EntryMeta) -> Placement {
        Placement::Queue { queue: self.unseen(cx), hits: 0 }
    }

    #[inline]
    fn replace(&mut self, _cx: &mut Context<'_>, old: &EntryMeta) -> u8 {
        // Being appended again is what a write earns; the counter tells of reads.
        old.hits
    }

    #[inline]
    fn victim_queue(&mut self, cx: &mut Context<'_>) -> u8 {
        self.unseen(cx)
    }

    #[inline]
    fn judge(&mut self, _cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict {
        if entry.hits == 0 || self.spared >= SPARED_MAX {
            return Verdict::Evict;
        }
        self.spared += 1;
        // Not always the hand's queue: the store takes from the other one when readers hold this.
        if entry.queue == self.hand {
            Verdict::Move { queue: self.hand ^ 1, hits: 0 }
        } else {
            Verdict::Keep { hits: 0 }
        }
    }

    #[inline]
    fn evicted(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) {
        self.spared = 0;
    }

    fn clear(&mut self) {
        (self.hand, self.spared) = (0, 0);
    }
}
