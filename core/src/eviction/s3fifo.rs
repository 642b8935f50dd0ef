//! S3-FIFO: a small queue that most newcomers leave again soon, a main queue with reinsertion, and
//! ghosts of what left the small queue.
//!
//! Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP'23.
//!
//! - A newcomer is appended to small; if its ghost is remembered, to main.
//! - Room comes from main if it is above its share or small is empty, else from small.
//! - Small's tail moves to main with counter 0 if it was hit `threshold` times, else it goes and
//!   leaves a ghost.
//! - Main's tail is appended again with its counter less one, or goes if the counter is 0.
//! - After [`SPARED_MAX`] entries in a row that were moved or kept, the next one goes whatever its
//!   counter: a set never walks a queue.
//!
//! Options: `small`, the share of the small queue in per cent; `ghost`, the number of ghosts in
//! per cent of main's entries (0: none); `threshold`, hits in small that earn a place in main. The
//! paper's implementation asks for two; one is better on real traces (91 points of trace and
//! capacity, mean reduction of FIFO's misses 0.090 instead of 0.086) and is the default. Ghosts are
//! worth their four bytes an entry up to about the default: 120 per cent gains 0.0007.
//!
//! What the authors' simulator does otherwise and this does not: newcomers larger than the small
//! queue are refused there, which a cache that was promised to take long values cannot do.

use super::ghost::{Ghosts, Window};
use super::{Context, EntryMeta, Placement, Policy, Verdict, View, options, percent};
use crate::error::Result;

const SMALL: u8 = 0;
const MAIN: u8 = 1;

/// The most entries that are moved or kept before one has to go.
const SPARED_MAX: u8 = 32;

/// Mean bytes of an entry from which on there is more room for ghosts, and twice as much.
const LONG: [u64; 2] = [512, 4096];

const OPTIONS: [options::Number; 3] = [
    options::Number { name: "small", least: 1, most: 90, default: 10 },
    options::Number { name: "ghost", least: 0, most: 400, default: 100 },
    options::Number { name: "threshold", least: 1, most: super::HITS_MAX as u64, default: 1 },
];

/// Small queue, main queue, ghosts.
#[derive(Clone, Debug)]
pub struct S3Fifo {
    small_pct: u64,
    ghost_pct: u64,
    threshold: u8,
    /// Entries moved or kept since one went.
    spared: u8,
    /// The capacity that the window was made for.
    capacity: u64,
    window: Window,
    ghosts: Ghosts,
}

impl S3Fifo {
    /// Options: `small` 1 to 90 per cent, `ghost` 0 to 400 per cent, `threshold` 1 to 3 hits.
    pub fn new(text: Option<&str>) -> Result<Self> {
        options::parse("s3fifo", &OPTIONS, text).map(|[small_pct, ghost_pct, threshold]| Self {
            small_pct,
            ghost_pct,
            threshold: threshold as u8,
            spared: 0,
            capacity: 0,
            window: Window::new(0, false),
            ghosts: Ghosts::default(),
        })
    }

    #[inline(always)]
    fn main_part(&self, of: u64) -> u64 {
        of - percent(of, self.small_pct)
    }

    /// As long as the capacity stays, so does the window.
    #[inline(always)]
    fn window(&mut self, view: &View) -> Window {
        let by_entries = view.by_entries();
        let capacity = view.capacity();
        if capacity != self.capacity || by_entries != self.window.by_entries() {
            self.capacity = capacity;
            self.window =
                Window::new(percent(self.main_part(capacity), self.ghost_pct), by_entries);
        }
        self.window
    }
}

impl Policy for S3Fifo {
    #[inline]
    fn queues(&self) -> u8 {
        2
    }

    fn memory_words(&self, entries: u64) -> usize {
        Ghosts::words(percent(percent(entries, 100 - self.small_pct), self.ghost_pct))
    }

    fn memory_words_within(&self, entries: u64, bytes: u64) -> usize {
        // A window of bytes holds more ghosts than there are entries where short ones leave first,
        // and buckets are not filled alike. Up to twice the room, as entries get long.
        let words = self.memory_words(entries) as u64;
        let [from, to] = LONG;
        let above = (bytes / entries.max(1)).clamp(from, to) - from;
        let more = u128::from(words) * u128::from(above) / u128::from(to - from);
        usize::try_from(u128::from(words) + more).unwrap_or(usize::MAX)
    }

    fn memory_changed(&mut self) {
        self.ghosts = Ghosts::default();
    }

    #[inline]
    fn prefetch(&self, memory: &[u32], fingerprint: u32) {
        Ghosts::prefetch(memory, fingerprint);
    }

    #[inline(always)]
    fn place(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Placement {
        let window = self.window(cx.view);
        let returns = self.ghosts.recall(cx.memory, entry.fingerprint, window);
        if returns {
            self.ghosts.leave_room(cx.view.size(entry), window);
        }
        Placement::Queue { queue: if returns { MAIN } else { SMALL }, hits: 0 }
    }

    #[inline]
    fn replace(&mut self, _cx: &mut Context<'_>, old: &EntryMeta) -> u8 {
        // Being appended again is what a write earns; the counter tells of reads.
        old.hits
    }

    #[inline(always)]
    fn victim_queue(&mut self, cx: &mut Context<'_>) -> u8 {
        if let Some(queue) = cx.view.sole_queue() {
            return queue;
        }
        // Shares of what is live: room is needed, so that is all that fits, whatever part of the
        // capacity is dead or held back.
        let live = cx.view.used(SMALL) + cx.view.used(MAIN);
        if cx.view.used(MAIN) > self.main_part(live) { MAIN } else { SMALL }
    }

    #[inline]
    fn judge(&mut self, _cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict {
        let earned = if entry.queue == SMALL { self.threshold } else { 1 };
        if entry.hits < earned || self.spared >= SPARED_MAX {
            return Verdict::Evict;
        }
        self.spared += 1;
        if entry.queue == SMALL {
            Verdict::Move { queue: MAIN, hits: 0 }
        } else {
            Verdict::Keep { hits: entry.hits - 1 }
        }
    }

    #[inline]
    fn evicted(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) {
        self.spared = 0;
        if entry.queue == SMALL {
            let window = self.window(cx.view);
            let size = cx.view.size(entry);
            self.ghosts.remember(cx.memory, entry.fingerprint, size, window);
        }
    }

    fn clear(&mut self) {
        self.ghosts.clear();
        self.spared = 0;
    }
}
