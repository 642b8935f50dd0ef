//! Contests, driven by the simplest policy that asks for them.

use crate::sim::{Event, Sim};
use hypercache_core::eviction::{
    Bout, CONTEST_MAX, Context, EntryMeta, Placement, Policy, Verdict,
};

/// Two queues: newcomers to a full shard challenge the tail of queue 1, and win against all that
/// is older than `beats` bytes; a hit tail is kept. What loses goes to `lost`.
struct Duel {
    beats: u64,
    lost: Option<u8>,
}

impl Policy for Duel {
    fn queues(&self) -> u8 {
        2
    }

    fn memory_words(&self, _entries: u64) -> usize {
        0
    }

    fn memory_changed(&mut self) {}

    fn prefetch(&self, _memory: &[u32], _fingerprint: u32) {}

    fn place(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Placement {
        let used: u64 = cx.view.queues.iter().map(|queue| queue.bytes).sum();
        if used + u64::from(entry.bytes) <= cx.view.capacity_bytes {
            return Placement::Queue { queue: 1, hits: 0 };
        }
        Placement::Contest { queue: 1, lost: self.lost }
    }

    fn weigh(&mut self, cx: &mut Context<'_>, _newcomer: &EntryMeta, tail: &EntryMeta) -> Bout {
        match tail.hits {
            0 if cx.view.queues[1].head - tail.position > self.beats => Bout::Stake,
            0 => Bout::Hold,
            hits => Bout::Keep { hits: hits - 1 },
        }
    }

    fn replace(&mut self, _cx: &mut Context<'_>, old: &EntryMeta) -> u8 {
        old.hits
    }

    fn victim_queue(&mut self, cx: &mut Context<'_>) -> u8 {
        u8::from(cx.view.queues[0].entries == 0)
    }

    fn judge(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) -> Verdict {
        Verdict::Evict
    }

    fn evicted(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) {}

    fn removed(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) {}

    fn promote_after(&self) -> Option<u8> {
        None
    }

    fn clear(&mut self) {}
}

/// Keys 0 to 9, of one byte each, fill it.
fn full(duel: Duel) -> Sim<Duel> {
    let mut sim = Sim::new(duel, 10, 0, 10);
    (0..10).for_each(|key| assert!(!sim.request(key, 1), "a new key misses"));
    sim
}

#[test]
fn the_winner_takes_as_many_as_it_needs_past_what_is_kept() {
    let mut sim = full(Duel { beats: 0, lost: Some(0) });
    assert!(sim.get(0) && sim.get(0) && sim.get(2));
    sim.set(100, 3);
    assert_eq!(
        sim.events,
        [
            Event::Kept { key: 0, hits: 1 },
            Event::Kept { key: 2, hits: 0 },
            Event::Evicted { key: 1 },
            Event::Evicted { key: 3 },
            Event::Evicted { key: 4 },
            Event::Placed { key: 100, queue: 1 },
        ]
    );
    assert_eq!(sim.queue(1), [5, 6, 7, 8, 9, 0, 2, 100]);
}

#[test]
fn nothing_goes_unless_all_that_is_needed_is_beaten() {
    let mut sim = full(Duel { beats: 8, lost: None });
    sim.set(100, 3);
    assert_eq!(sim.events, [Event::Declined { key: 100 }], "key 2 is 8 bytes old and holds");
    assert_eq!(sim.queue(1).len(), 10);
    sim.set(101, 2);
    assert_eq!(sim.queue(1), [2, 3, 4, 5, 6, 7, 8, 9, 101]);

    let mut sim = full(Duel { beats: 99, lost: Some(0) });
    sim.set(100, 1);
    assert_eq!((sim.queue(0), sim.queue(1).len()), (vec![100], 9), "the loser's room is made");
}

#[test]
fn a_contest_ends_after_a_bounded_number_of_entries() {
    let entries = 2 * CONTEST_MAX as u64;
    let mut sim = Sim::new(Duel { beats: 0, lost: None }, entries, 0, 0);
    (0..entries).for_each(|key| sim.set(key, 1));
    (0..entries).for_each(|key| assert!(sim.get(key)));
    sim.set(1000, 1);
    assert_eq!(sim.events.len(), CONTEST_MAX + 1);
    assert_eq!(sim.events.last(), Some(&Event::Declined { key: 1000 }));
    assert_eq!(sim.view().queues[1].entries, entries);
    sim.clear();
    sim.set(1000, 1);
    assert_eq!(sim.queue(1), [1000]);
}
