//! Least frequently used: what was asked for least often goes, the oldest of those first.
//!
//! Frequency is counted from an entry's insertion, which is its first use, and is lost when it goes.
//! Plain LFU (`decay=0`) never forgets what was popular once; by default counts decay. Plain LFU
//! also counts every hit, which makes readers take the shard's lock, if it is free, for every third
//! hit on an entry; with decay hits between two writes count as three.
//!
//! In a log an order is a set of queues, so there is one for each *class* of frequencies: used once,
//! twice, three times, 4 to 7 times, 8 to 15, and more. Room comes from the lowest class that holds
//! anything. The first three need no counter, the queue says it all; the others have one of eight
//! bits each in `memory` ([`super::counts`], 5 bytes an entry). Hits are counted where they are
//! cheap: two bits in the index, which are added up when the cursor comes by, or when they are full
//! ([`Policy::hears_at`]), which appends the entry to a higher class.
//!
//! Within a class the cursor takes entries whose count is the least that it knows there, its
//! *floor*; others are kept. After a lap without one the floor rises to the least that was seen.
//! After [`SPARED_MAX`] entries in a row that stayed the next one goes: a set never walks a queue.
//!
//! **Decay.** Each time as many entries went as `decay` per cent of those that are there, the cursor
//! has been once at every entry that was used more than once: if it was not used since, its count is
//! halved. Queues by the logarithm of the frequency, with demotion of what was not used for a while,
//! are the Multi-Queue algorithm (Zhou, Philbin, Li; USENIX ATC'01).

use super::dice::Dice;
use super::{Context, EntryMeta, Heard, Placement, Policy, Verdict, View, counts, options};
use crate::error::Result;

/// The least count of each class.
const CLASSES: [u8; 6] = [1, 2, 3, 4, 8, 16];
/// The first class whose entries have counters.
const COUNTED: u8 = 3;
/// The most entries that stay before one has to go.
const SPARED_MAX: u8 = 32;

const OPTIONS: [options::Number; 1] =
    [options::Number { name: "decay", least: 0, most: 10_000, default: 100 }];

/// A queue for each class of frequencies.
#[derive(Clone, Debug)]
pub struct Lfu {
    decay_pct: u64,
    classes: [Class; CLASSES.len()],
    /// The class whose cursor halves counts; none: room is made.
    aging: Option<u8>,
    /// Entries that stayed since one went.
    spared: u8,
    dice: Dice,
}

/// What is known of a class.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// Entries with this count may go.
    floor: u8,
    /// The least count above that the cursor met on this lap.
    seen: u8,
    /// Entries that the cursor passed on this lap.
    lap: u64,
    /// Entries here, summed over all that went, since the cursor last halved a count here.
    due: u64,
}

impl Lfu {
    /// Options: `decay`, 0 (never) to 10,000 per cent of the entries.
    pub fn new(text: Option<&str>) -> Result<Self> {
        options::parse("lfu", &OPTIONS, text).map(|[decay_pct]| Self {
            decay_pct,
            classes: CLASSES.map(|floor| Class { floor, seen: u8::MAX, lap: 0, due: 0 }),
            aging: None,
            spared: 0,
            dice: Dice::new(),
        })
    }

    /// The entry's count, without the hits that its counter tells of.
    #[inline]
    fn count(cx: &mut Context<'_>, entry: &EntryMeta) -> u8 {
        let least = CLASSES[usize::from(entry.queue) % CLASSES.len()];
        if entry.queue < COUNTED {
            return least;
        }
        // Where it was lost, the class tells what it was at least.
        counts::get(cx.memory, entry.fingerprint).map_or(least, |count| count.max(least))
    }

    /// Counts uses, and returns the class that the entry belongs to now.
    #[inline]
    fn note(&mut self, cx: &mut Context<'_>, entry: &EntryMeta, count: u8) -> u8 {
        let class = class_of(count);
        if class >= COUNTED {
            counts::set(cx.memory, entry.fingerprint, count);
        } else if entry.queue >= COUNTED {
            counts::forget(cx.memory, entry.fingerprint);
        }
        let floor = &mut self.classes[usize::from(class)].floor;
        *floor = (*floor).min(count);
        class
    }

    #[inline]
    fn after(&mut self, count: u8, entry: &EntryMeta) -> u8 {
        counts::after(count, entry.hits, self.dice.roll(entry.fingerprint))
    }

    /// The cursor passed an entry of this count that stays in its class.
    #[inline]
    fn passed(&mut self, view: &View, class: u8, count: u8) {
        let entries = view.queues[usize::from(class)].entries;
        let class = &mut self.classes[usize::from(class) % CLASSES.len()];
        class.seen = class.seen.min(count);
        class.lap += 1;
        if class.lap >= entries {
            (class.floor, class.seen, class.lap) = (class.seen, u8::MAX, 0);
        }
    }

    /// An entry went: which class has a count to halve.
    #[inline]
    fn age(&mut self, view: &View) {
        if self.decay_pct == 0 {
            return;
        }
        let mut all = view.queues[0].entries;
        for queue in &view.queues[1..CLASSES.len()] {
            all += queue.entries;
        }
        let period = (all * self.decay_pct / 100).max(1);
        for (number, class) in self.classes.iter_mut().enumerate().skip(1) {
            class.due += view.queues[number].entries;
            if class.due >= period && self.aging.is_none() && view.queues[number].entries != 0 {
                class.due = (class.due - period).min(period);
                self.aging = Some(number as u8);
            }
        }
    }
}

#[inline]
fn class_of(count: u8) -> u8 {
    match count {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4..=7 => 3,
        8..=15 => 4,
        16.. => 5,
    }
}

impl Policy for Lfu {
    #[inline]
    fn queues(&self) -> u8 {
        CLASSES.len() as u8
    }

    #[inline]
    fn newcomer_queues(&self) -> u8 {
        1
    }

    fn memory_words(&self, entries: u64) -> usize {
        counts::words(entries)
    }

    #[inline]
    fn place(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) -> Placement {
        Placement::Queue { queue: 0, hits: 0 }
    }

    #[inline]
    fn replace(&mut self, _cx: &mut Context<'_>, old: &EntryMeta) -> u8 {
        // Full, it would not be heard of again.
        old.hits.min(super::HITS_MAX - 1)
    }

    #[inline]
    fn victim_queue(&mut self, cx: &mut Context<'_>) -> u8 {
        let queues = &cx.view.queues[..CLASSES.len()];
        if let Some(class) = self.aging {
            if queues[usize::from(class)].entries != 0 {
                return class;
            }
            self.aging = None;
        }
        queues.iter().position(|queue| queue.entries != 0).unwrap_or(0) as u8
    }

    #[inline]
    fn judge(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict {
        let ages = self.aging == Some(entry.queue);
        self.aging = None;
        if self.spared >= SPARED_MAX {
            return Verdict::Evict;
        }
        let mut count = Self::count(cx, entry);
        if entry.hits != 0 {
            count = self.after(count, entry);
        } else if ages {
            count = counts::half(count);
        } else if count <= self.classes[usize::from(entry.queue) % CLASSES.len()].floor {
            return Verdict::Evict;
        }
        self.spared += 1;
        let class = self.note(cx, entry, count);
        if class != entry.queue {
            return Verdict::Move { queue: class, hits: 0 };
        }
        self.passed(cx.view, class, count);
        Verdict::Keep { hits: 0 }
    }

    #[inline]
    fn evicted(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) {
        self.spared = 0;
        self.classes[usize::from(entry.queue) % CLASSES.len()].lap += 1;
        self.removed(cx, entry);
        self.age(cx.view);
    }

    #[inline]
    fn removed(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) {
        if entry.queue >= COUNTED {
            counts::forget(cx.memory, entry.fingerprint);
        }
    }

    fn hears_at(&self) -> Option<u8> {
        Some(super::HITS_MAX)
    }

    fn hears_all(&self) -> bool {
        self.decay_pct == 0
    }

    #[inline]
    fn heard(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Heard {
        let count = Self::count(cx, entry);
        let count = self.after(count, entry);
        let class = self.note(cx, entry, count);
        if class == entry.queue {
            Heard::Stay { hits: 0 }
        } else {
            Heard::Append { queue: class, hits: 0 }
        }
    }

    fn clear(&mut self) {
        self.classes = CLASSES.map(|floor| Class { floor, seen: u8::MAX, lap: 0, due: 0 });
        (self.aging, self.spared) = (None, 0);
    }
}
