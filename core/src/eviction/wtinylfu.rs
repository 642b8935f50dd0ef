//! W-TinyLFU: a small LRU window for newcomers, a segmented LRU for the rest, and a frequency
//! sketch that decides who may pass from the one into the other.
//!
//! Einziger, Friedman, Manes: "TinyLFU: a highly efficient cache admission policy", TOS'17; the
//! window that adapts: Einziger, Eytan, Friedman, Manes: "Adaptive software cache management",
//! Middleware'18, with the steps of their library Caffeine.
//!
//! - A newcomer is appended to the window. Main's two queues are probation, 20 %, and protected.
//! - Room: the window's tail goes into main if main has room for it. Else it meets probation's
//!   tail: the one that the sketch says was used less often goes, the newcomer on a tie. One that
//!   is longer than its rival takes the room of several, and must have been used more often than so
//!   many together (aggregated victims: Einziger, Eytan, Friedman, Manes: "Lightweight robust size
//!   aware cache management", TOS'22; all of them taken to be as the first).
//! - A hit in probation moves the entry to protected. What protected holds above its share goes back
//!   to probation, from the tail.
//! - Shares are rounded down, and what was moved back into a probation that is full pushes its
//!   tail out. Both as in libCacheSim, and not without effect: where the two shares do not add up to
//!   all of main, each hit in probation makes room for one newcomer that need not compete, and main
//!   follows a shifting popularity faster.
//! - The sketch counts what enters the window, what leaves it, and hits in main. It forgets half
//!   after hits as many as 32 times main's entries.
//!
//! Least recently used is a log here, as for `lru`: a hit appends an entry again only if it is older
//! than a quarter of its queue. Hits reach the policy and the sketch when the next write comes by
//! ([`Policy::hears_at`]).
//!
//! Options: `window`, the window's share in per cent; `adapt`: 1, the window follows the hit ratio by
//! hill climbing; 0, it stays. `window=1,adapt=0` is the paper's TinyLFU, and then readers see to it
//! that every hit is counted ([`Policy::hears_all`]). The sketch takes 12 bytes an entry.

use super::sketch::{self, Sketch};
use super::{
    Context, Duel, EntryMeta, Heard, Placement, Policy, QueueView, Verdict, View, options, percent,
};
use crate::error::Result;

const WINDOW: u8 = 0;
const PROBATION: u8 = 1;
const PROTECTED: u8 = 2;

/// Probation's share of main, in per cent.
const PROBATION_PCT: u64 = 20;
/// Hits in main, for each of its entries, after which the sketch forgets half.
const SAMPLE: u64 = 32;
/// A hit on an entry older than this many 256ths of its queue appends it again.
const OLD: u64 = 64;
/// The most entries that are moved before one has to go.
const SPARED_MAX: u8 = 32;
/// Newcomers for which no room was made yet are at most one part in so many of all bytes.
const FRESH_SHARE: u64 = 256;

const OPTIONS: [options::Number; 2] = [
    options::Number { name: "window", least: 1, most: 80, default: 1 },
    options::Number { name: "adapt", least: 0, most: 1, default: 1 },
];

/// Window, probation, protected, sketch.
#[derive(Clone, Debug)]
pub struct WTinyLfu {
    sketch: Sketch,
    climber: Climber,
    adapts: bool,
    /// Something was moved back into probation since it was last within its share.
    pushes: bool,
    /// Whether the cursor of protected moves entries back.
    demotes: bool,
    /// Entries moved since one went.
    spared: u8,
    /// Bytes that were inserted and for which none went yet.
    fresh: u64,
}

/// The window's share, found by walking uphill on the hit ratio.
#[derive(Clone, Debug)]
struct Climber {
    /// Parts of [`ALL`].
    window: i64,
    /// What it changes by, as `window`.
    step: i64,
    hits: u64,
    requests: u64,
    /// The hit ratio of the last sample, in 2^-16.
    ratio: i64,
}

/// A whole number of parts for each per cent, so that shares of small numbers are exact.
const ALL: i64 = 100 << 10;

impl Climber {
    /// The first step: a sixteenth.
    const STEP: i64 = ALL / 16;
    /// Requests in a sample, for each entry.
    const SAMPLE: u64 = 10;
    /// A change of the hit ratio that begins anew.
    const RESTART: i64 = (1 << 16) / 20;
    const LEAST: i64 = ALL / 200;
    const MOST: i64 = ALL * 4 / 5;

    fn new(window_pct: u64) -> Self {
        let window = (window_pct << 10).cast_signed();
        Self { window, step: Self::STEP, hits: 0, requests: 0, ratio: 0 }
    }

    #[inline]
    fn saw(&mut self, hits: u64, requests: u64, entries: u64) {
        self.hits += hits;
        self.requests += requests;
        if self.requests >= Self::SAMPLE * entries.max(1) {
            self.climb();
        }
    }

    fn climb(&mut self) {
        let ratio = ((self.hits << 16) / self.requests.max(1)).cast_signed();
        let change = ratio - self.ratio;
        (self.ratio, self.hits, self.requests) = (ratio, 0, 0);
        let step = if change >= 0 { self.step } else { -self.step };
        self.window = (self.window + step).clamp(Self::LEAST, Self::MOST);
        self.step = if change.abs() >= Self::RESTART {
            Self::STEP * step.signum()
        } else {
            // Shorter by a fiftieth each time.
            step * 49 / 50
        };
    }
}

/// What the window and main's parts may hold.
struct Shares {
    main: u64,
    probation: u64,
    protected: u64,
}

impl WTinyLfu {
    /// Options: `window` 1 to 80 per cent, `adapt` 0 or 1.
    pub fn new(text: Option<&str>) -> Result<Self> {
        options::parse("wtinylfu", &OPTIONS, text).map(|[window, adapt]| Self {
            sketch: Sketch::default(),
            climber: Climber::new(window),
            adapts: adapt == 1,
            pushes: false,
            demotes: false,
            spared: 0,
            fresh: 0,
        })
    }

    #[inline]
    fn shares(&self, view: &View) -> Shares {
        let all = if view.by_entries() {
            view.capacity_entries
        } else {
            // Room is needed, so what is live is what fits, but for those that it is needed for.
            queues(view).iter().map(|queue| queue.bytes).sum::<u64>().saturating_sub(self.fresh)
        };
        let window = self.climber.window.cast_unsigned();
        let (whole, rest) = (all / ALL.cast_unsigned(), all % ALL.cast_unsigned());
        let main = all - (whole * window + rest * window / ALL.cast_unsigned());
        let probation = percent(main, PROBATION_PCT);
        Shares { main, probation, protected: percent(main, 100 - PROBATION_PCT) }
    }

    #[inline]
    fn count_hits(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) {
        let main = cx.view.queues[1].entries + cx.view.queues[2].entries;
        for _ in 0..entry.hits {
            self.sketch.count(cx.memory, entry.fingerprint);
            self.sketch.tick(cx.memory, SAMPLE * main.max(1));
        }
    }

    #[inline]
    fn saw(&mut self, view: &View, hits: u64, requests: u64) {
        if self.adapts {
            let entries = queues(view).iter().map(|queue| queue.entries).sum();
            self.climber.saw(hits, requests, entries);
        }
    }
}

fn queues(view: &View) -> &[QueueView] {
    &view.queues[..=usize::from(PROTECTED)]
}

impl Policy for WTinyLfu {
    #[inline]
    fn queues(&self) -> u8 {
        3
    }

    #[inline]
    fn newcomer_queues(&self) -> u8 {
        1
    }

    fn memory_words(&self, entries: u64) -> usize {
        sketch::words(entries)
    }

    fn memory_changed(&mut self) {
        self.sketch = Sketch::default();
    }

    #[inline]
    fn prefetch(&self, memory: &[u32], fingerprint: u32) {
        Sketch::prefetch(memory, fingerprint);
    }

    #[inline]
    fn place(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Placement {
        self.sketch.count(cx.memory, entry.fingerprint);
        let bytes = queues(cx.view).iter().map(|queue| queue.bytes).sum::<u64>();
        self.fresh = (self.fresh + u64::from(entry.bytes)).min(bytes / FRESH_SHARE);
        self.saw(cx.view, 0, 1);
        Placement::Queue { queue: WINDOW, hits: 0 }
    }

    #[inline]
    fn replace(&mut self, cx: &mut Context<'_>, old: &EntryMeta) -> u8 {
        // With a counter above 0 it would not be heard of again.
        self.count_hits(cx, old);
        0
    }

    #[inline]
    fn victim_queue(&mut self, cx: &mut Context<'_>) -> u8 {
        let [window, probation, protected, ..] = &cx.view.queues;
        let shares = self.shares(cx.view);
        self.demotes = protected.entries != 0 && cx.view.used(PROTECTED) > shares.protected;
        if self.demotes {
            return PROTECTED;
        }
        if self.pushes {
            if probation.entries != 0 && cx.view.used(PROBATION) > shares.probation {
                return PROBATION;
            }
            self.pushes = false;
        }
        if window.entries != 0 {
            WINDOW
        } else if probation.entries != 0 {
            PROBATION
        } else {
            PROTECTED
        }
    }

    #[inline]
    fn judge(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict {
        let (probation, protected) = (cx.view.used(PROBATION), cx.view.used(PROTECTED));
        if self.spared >= SPARED_MAX || entry.queue == PROBATION {
            return Verdict::Evict;
        }
        if entry.queue == PROTECTED {
            if !self.demotes {
                return Verdict::Evict;
            }
            self.pushes = true;
            self.spared += 1;
            return Verdict::Move { queue: PROBATION, hits: 0 };
        }
        let (shares, size) = (self.shares(cx.view), cx.view.size(entry));
        if probation + protected + size > shares.main {
            let queues = &cx.view.queues;
            return match (queues[1].entries, queues[2].entries) {
                (0, 0) => Verdict::Evict,
                (0, _) => Verdict::Duel { queue: PROTECTED },
                _ => Verdict::Duel { queue: PROBATION },
            };
        }
        self.sketch.count(cx.memory, entry.fingerprint);
        self.spared += 1;
        let fits_protected = protected + size <= shares.protected;
        let queue = if probation + size > shares.probation && fits_protected {
            PROTECTED
        } else {
            PROBATION
        };
        Verdict::Move { queue, hits: 0 }
    }

    #[inline]
    fn duel(&mut self, cx: &mut Context<'_>, entry: &EntryMeta, rival: &EntryMeta) -> Duel {
        let used = u64::from(Sketch::estimate(cx.memory, entry.fingerprint));
        let rivals = u64::from(Sketch::estimate(cx.memory, rival.fingerprint));
        let (size, room) = (cx.view.size(entry), cx.view.size(rival));
        let wins = if size > room { used * room > rivals * size } else { used > rivals };
        self.sketch.count(cx.memory, entry.fingerprint);
        if wins { Duel::Win { hits: 0 } } else { Duel::Lose }
    }

    #[inline]
    fn evicted(&mut self, _cx: &mut Context<'_>, entry: &EntryMeta) {
        self.spared = 0;
        self.fresh = self.fresh.saturating_sub(u64::from(entry.bytes));
    }

    fn hears_at(&self) -> Option<u8> {
        Some(1)
    }

    fn hears_all(&self) -> bool {
        !self.adapts
    }

    #[inline]
    fn heard(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Heard {
        self.saw(cx.view, u64::from(entry.hits), u64::from(entry.hits));
        if entry.queue != WINDOW {
            self.count_hits(cx, entry);
        }
        let queue = &cx.view.queues[usize::from(entry.queue) % cx.view.queues.len()];
        let is_old = (queue.head - entry.position) * 256 > queue.length() * OLD;
        if entry.queue == PROBATION {
            Heard::Append { queue: PROTECTED, hits: 0 }
        } else if is_old {
            Heard::Append { queue: entry.queue, hits: 0 }
        } else {
            Heard::Stay { hits: 0 }
        }
    }

    fn clear(&mut self) {
        let window = self.climber.window;
        self.climber = Climber { window, ..Climber::new(1) };
        (self.pushes, self.demotes, self.spared, self.fresh) = (false, false, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fingerprint: u32, bytes: u32) -> EntryMeta {
        EntryMeta {
            bytes,
            hits: 0,
            queue: WINDOW,
            fingerprint,
            position: 0,
            expires_ms: u64::MAX,
            session: 0,
        }
    }

    #[test]
    fn who_takes_the_room_of_several_must_be_worth_several() {
        let mut policy = WTinyLfu::new(None).unwrap();
        let (view, mut memory) = (View::default(), vec![0; sketch::words(64)]);
        let mut cx = Context { view: &view, memory: &mut memory };
        for fingerprint in [7 << 20, 7 << 20, 7 << 20, 9 << 20, 9 << 20] {
            policy.sketch.count(cx.memory, fingerprint);
        }
        let mut wins = |bytes| {
            let (mine, rival) = (entry(7 << 20, bytes), entry(9 << 20, 100));
            matches!(policy.duel(&mut cx, &mine, &rival), Duel::Win { .. })
        };
        // Used 3 times, and once more with each duel, against twice.
        assert!(wins(100) && wins(50));
        assert!(!wins(300), "5 are not more than 3 times 2");
        assert!(!wins(300), "6 are not more than 3 times 2");
        assert!(wins(300));
    }
}
