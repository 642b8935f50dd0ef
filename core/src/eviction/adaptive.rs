//! Adaptive: two logs, an age contest for keys that come back, and a boundary between the logs that
//! moves by what one more place would have earned.
//!
//! The logs are S3-FIFO's (Yang et al., SOSP'23): a small one that most newcomers leave again soon,
//! and a main one with reinsertion. The contest is LIRS's question (Jiang and Zhang,
//! SIGMETRICS'02), which of two was used more recently at the same frequency, asked only when a
//! ghost comes back. That a boundary should move by marginal hits is how ARC (Megiddo and Modha,
//! FAST'03) is read here; ARC itself moves it by any hit on a ghost, which is too much.
//!
//! - A newcomer is appended to small.
//! - Room comes from main if it is above its share or small is empty, else from small.
//! - Small's tail moves to main if it was hit. Main's tail is appended again with its counter less
//!   one while that is not 0. What leaves leaves a ghost that knows when it was appended.
//! - *Contest*: a key that returns as a ghost is appended to main if main has room. Else it has to
//!   beat main's first unhit tail: the key was last appended r misses ago, the tail a misses ago,
//!   and neither was asked for since until now. If a > r, the tail goes and the newcomer takes its
//!   place; else the newcomer goes to small, and the tail stays until somebody beats it. So a scan
//!   or a loop that is longer than the cache does not wash it out.
//! - *Inert fill*: while main is at most half of the capacity and below its share, small's tails
//!   move there unasked: a loop keeps some of its keys instead of none.
//! - *Correlation window*: hits on the newest fifth of small are not counted. They are one use,
//!   seen twice.
//! - *Boundary*: a ghost of small that returns within 5 % of the entries' number of inserts into
//!   small would have been hit if small had been so much longer: small grows by two entries. A
//!   ghost of main that returns within as many steps of main's hand: small shrinks by three.
//!
//! Sizes, where the capacity is counted in bytes: a newcomer needs as much room as it takes, and
//! has to beat all the tails that it pushes out together, 1/r > sum of 1/a: what it promises a miss
//! saved must be more than what they do. With `objective=bytes` each of them must be older than r
//! instead, which saves bytes rather than misses. Unhit tails of small that are smaller than the
//! mean get more time: up to three rounds more on average.
//!
//! Ages. Time is counted in misses. An entry's time is read off its place ([`super::marks`]); a
//! ghost's is in its word ([`super::aged`]), in ticks of one part in 32 of the entries. Clocks of
//! inserts into small and of steps of main's hand tick 80 times as the entries are gone through
//! once, four of which are the 5 % above.
//!
//! Bounds: a contest looks at most at 32 tails that were hit and 32 that were not; after
//! [`SPARED_MAX`] entries in a row that were moved or kept, the next one goes whatever its counter.
//!
//! Options: `objective`, `objects` (default) or `bytes`; `ghosts`, their number for each entry, 0 to
//! 8. By default the number follows the mean size of an entry, so that ghosts take 4 % of the memory
//! but are at least one and at most three an entry.

use super::aged::{self, Ghost};
use super::marks::Marks;
use super::{Bout, Context, EntryMeta, Placement, Policy, Verdict, View, bucket, options};
use crate::error::Result;

const SMALL: u8 = 0;
const MAIN: u8 = 1;

/// The most entries that are moved or kept before one has to go.
const SPARED_MAX: u8 = 32;
/// The most hit tails that a contest passes, and the most unhit ones that it stakes.
const PASSED_MAX: u8 = 32;
const STAKED_MAX: u8 = 32;

/// Small's share at first, and its bounds.
const SHARE_FIRST: f64 = 0.1;
const SHARE_MIN: f64 = 0.01;
const SHARE_MAX: f64 = 0.98;
/// Entries by which small grows, and shrinks.
const UP: f64 = 2.0;
const DOWN: f64 = 3.0;
/// Ticks of a queue's clock within which a ghost moves the boundary.
const NEAR: u32 = 4;
/// Ticks of a queue's clock, and of that of misses, while as many entries pass as there are.
const LEAVE_TICKS: u64 = 80;
const MISS_TICKS: u64 = 32;
/// Small's newest part in which hits are not counted, in 256ths: a fifth.
const UNCOUNTED: u8 = 51;

/// Ghosts for each entry where the mean size of an entry decides.
const BY_SIZE: u64 = u64::MAX;
const OBJECTIVES: [&str; 2] = ["objects", "bytes"];
const OPTIONS: [options::Number; 2] = [
    options::Number { name: "objective", least: 0, most: 1, default: 0 },
    options::Number { name: "ghosts", least: 0, most: 8, default: BY_SIZE },
];

/// A clock that ticks once in as many steps as it is told.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    now: u32,
    steps: u32,
}

impl Clock {
    /// One step; says whether it ticked.
    #[inline(always)]
    fn step(&mut self, steps_a_tick: u32) -> bool {
        self.steps += 1;
        let ticks = self.steps >= steps_a_tick;
        if ticks {
            self.steps = 0;
            self.now = self.now.wrapping_add(1);
        }
        ticks
    }
}

/// A newcomer that was told to contest, until it is known whether it won.
#[derive(Clone, Copy, Debug)]
struct Contest {
    /// Misses since it was last appended, in ticks.
    age: u32,
    /// What it promises less what is staked.
    margin: f64,
    /// What is staked, in the unit of the view.
    staked: u64,
    passed: u8,
    stakes: u8,
}

/// Small queue, main queue, ghosts with ages, a boundary that moves.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Adaptive {
    by_bytes: bool,
    ghosts: u64,
    /// Entries moved or kept since one went.
    spared: u8,
    /// Small's share of what is live.
    share: f64,
    misses: Clock,
    /// Inserts into small.
    inserts: Clock,
    /// Entries that main's hand passed.
    steps: Clock,
    misses_a_tick: u32,
    leaves_a_tick: u32,
    /// The mean size of an entry, in bytes.
    mean: u64,
    /// Parts of rounds that small entries are owed.
    rounds: u32,
    contest: Option<Contest>,
    marks: [Marks; 2],
}

impl Adaptive {
    /// Options: `objective` objects or bytes, `ghosts` 0 to 8 for each entry.
    pub fn new(text: Option<&str>) -> Result<Self> {
        let words = [("objective", &OBJECTIVES[..])];
        let [objective, ghosts] = options::parse_words("adaptive", &OPTIONS, &words, text)?;
        Ok(Self { by_bytes: objective == 1, ghosts, ..Self::fresh() })
    }

    const fn fresh() -> Self {
        Self {
            by_bytes: false,
            ghosts: BY_SIZE,
            spared: 0,
            share: SHARE_FIRST,
            misses: Clock { now: 0, steps: 0 },
            inserts: Clock { now: 0, steps: 0 },
            steps: Clock { now: 0, steps: 0 },
            misses_a_tick: 1,
            leaves_a_tick: 1,
            mean: 0,
            rounds: 0,
            contest: None,
            marks: [Marks::new(), Marks::new()],
        }
    }

    /// Where the heads are now: whatever is appended next comes at this time.
    #[inline(always)]
    fn note_heads(&mut self, view: &View) {
        let now = self.misses.now;
        self.marks[0].note_head(view.queues[0].head, now);
        self.marks[1].note_head(view.queues[1].head, now);
    }

    /// A miss, in time.
    #[inline(always)]
    fn count_miss(&mut self, view: &View) {
        if self.misses.step(self.misses_a_tick) {
            self.measure(view);
        }
    }

    /// What changes slowly is looked at once a tick.
    #[inline(never)]
    fn measure(&mut self, view: &View) {
        let entries = entries(view);
        self.misses_a_tick = u32::try_from(entries / MISS_TICKS).unwrap_or(u32::MAX).max(1);
        self.leaves_a_tick = u32::try_from(entries / LEAVE_TICKS).unwrap_or(u32::MAX).max(1);
        self.mean = (view.queues[0].bytes + view.queues[1].bytes) / entries.max(1);
    }

    /// The last contest was lost, if it is not known that it was won.
    #[inline(always)]
    fn settle(&mut self) {
        if self.contest.take().is_some() {
            self.inserts.step(self.leaves_a_tick);
        }
    }

    /// Main's part of what is live.
    #[inline(always)]
    fn main_part(&self, live: u64) -> f64 {
        (1.0 - self.share) * live as f64
    }

    #[inline(never)]
    fn place_ghost(&mut self, view: &View, ghost: Ghost, entry: &EntryMeta) -> Placement {
        let live = live(view);
        self.move_boundary(ghost, entries(view));
        let size = view.size(entry);
        if (view.used(MAIN) + size) as f64 <= self.main_part(live) {
            return Placement::Queue { queue: MAIN, hits: 0 };
        }
        let age = aged::ticks_since(ghost.appended, self.misses.now).max(1);
        self.contest =
            Some(Contest { age, margin: 1.0 / f64::from(age), staked: 0, passed: 0, stakes: 0 });
        Placement::Contest { queue: MAIN, lost: Some(SMALL) }
    }

    #[inline(always)]
    fn move_boundary(&mut self, ghost: Ghost, entries: u64) {
        let clock = if ghost.from_main { self.steps } else { self.inserts };
        if aged::ticks_since(ghost.left, clock.now) <= NEAR {
            let by = if ghost.from_main { -DOWN } else { UP };
            let share = self.share + by / entries.max(1) as f64;
            self.share = share.clamp(SHARE_MIN, SHARE_MAX);
        }
    }

    /// Whether an unhit tail of small gets another round: as many as it is smaller than the mean by
    /// powers of two, on average.
    fn earns_round(&mut self, view: &View, bytes: u32) -> bool {
        let bytes = u64::from(bytes);
        if 4 * bytes > 3 * self.mean || view.by_entries() {
            return false;
        }
        let rounds =
            1 + u32::from(8 * bytes <= 3 * self.mean) + u32::from(16 * bytes <= 3 * self.mean);
        // So many of so many and one stay.
        self.rounds += 12 * rounds / (rounds + 1);
        let earns = self.rounds >= 12;
        if earns {
            self.rounds -= 12;
        }
        earns
    }

    fn spare(&mut self, verdict: Verdict) -> Verdict {
        self.spared += 1;
        verdict
    }
}

/// What is live, in the unit of the view. Room is needed when the policy is asked for shares, so
/// that is all that fits, whatever part of the capacity is dead or held back.
#[inline(always)]
fn live(view: &View) -> u64 {
    view.used(SMALL) + view.used(MAIN)
}

#[inline(always)]
fn entries(view: &View) -> u64 {
    view.queues[0].entries + view.queues[1].entries
}

impl Policy for Adaptive {
    #[inline]
    fn queues(&self) -> u8 {
        2
    }

    fn memory_words(&self, entries: u64) -> usize {
        let ghosts = if self.ghosts == BY_SIZE { 3 } else { self.ghosts };
        bucket::words(entries.saturating_mul(ghosts))
    }

    fn memory_words_within(&self, entries: u64, bytes: u64) -> usize {
        if self.ghosts != BY_SIZE {
            return self.memory_words(entries);
        }
        // Four in a hundred bytes, four bytes each.
        bucket::words((bytes / 100).clamp(entries, entries.saturating_mul(3)))
    }

    #[inline]
    fn prefetch(&self, memory: &[u32], fingerprint: u32) {
        bucket::prefetch(memory, fingerprint);
    }

    #[inline]
    fn place(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Placement {
        self.settle();
        self.count_miss(cx.view);
        self.note_heads(cx.view);
        if let Some(ghost) = aged::recall(cx.memory, entry.fingerprint) {
            return self.place_ghost(cx.view, ghost, entry);
        }
        self.inserts.step(self.leaves_a_tick);
        Placement::Queue { queue: SMALL, hits: 0 }
    }

    fn weigh(&mut self, cx: &mut Context<'_>, newcomer: &EntryMeta, tail: &EntryMeta) -> Bout {
        self.note_heads(cx.view);
        let Some(contest) = &mut self.contest else { return Bout::Hold };
        if tail.hits > 0 && contest.passed < PASSED_MAX {
            contest.passed += 1;
            self.marks[1].note_tail(tail.position);
            self.steps.step(self.leaves_a_tick);
            return Bout::Keep { hits: tail.hits - 1 };
        }
        let appended = self.marks[1].time_of(tail.position);
        let age = self.misses.now.wrapping_sub(appended).max(1);
        contest.margin -= 1.0 / f64::from(age);
        let stands = if self.by_bytes { age <= contest.age } else { contest.margin <= 0.0 };
        if stands || contest.stakes >= STAKED_MAX {
            self.settle();
            return Bout::Hold;
        }
        contest.stakes += 1;
        contest.staked += cx.view.size(tail);
        if contest.staked >= cx.view.size(newcomer) {
            self.contest = None;
        }
        Bout::Stake
    }

    #[inline]
    fn replace(&mut self, _cx: &mut Context<'_>, old: &EntryMeta) -> u8 {
        old.hits
    }

    #[inline]
    fn victim_queue(&mut self, cx: &mut Context<'_>) -> u8 {
        if let Some(queue) = cx.view.sole_queue() {
            return queue;
        }
        let over = cx.view.used(MAIN) as f64 > self.main_part(live(cx.view));
        if over { MAIN } else { SMALL }
    }

    #[inline]
    fn judge(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict {
        self.note_heads(cx.view);
        self.marks[usize::from(entry.queue) & 1].note_tail(entry.position);
        if self.spared >= SPARED_MAX {
            return Verdict::Evict;
        }
        if entry.queue == MAIN {
            if entry.hits == 0 {
                return Verdict::Evict;
            }
            self.steps.step(self.leaves_a_tick);
            return self.spare(Verdict::Keep { hits: entry.hits - 1 });
        }
        let (main, live) = (cx.view.used(MAIN), live(cx.view));
        if 2 * main <= live && (main as f64) < self.main_part(live) {
            return self.spare(Verdict::Move { queue: MAIN, hits: entry.hits.min(1) });
        }
        if entry.hits > 0 {
            return self.spare(Verdict::Move { queue: MAIN, hits: 0 });
        }
        if self.earns_round(cx.view, entry.bytes) {
            return self.spare(Verdict::Keep { hits: 0 });
        }
        Verdict::Evict
    }

    #[inline]
    fn evicted(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) {
        self.spared = 0;
        let from_main = entry.queue == MAIN;
        let clock = if from_main {
            self.steps.step(self.leaves_a_tick);
            self.steps
        } else {
            self.inserts
        };
        let now = self.misses.now;
        let appended = self.marks[usize::from(from_main)].time_of(entry.position);
        let age = now.wrapping_sub(appended).min(aged::AGE_MAX);
        let ghost = Ghost { from_main, appended: now.wrapping_sub(age), left: clock.now };
        aged::remember(cx.memory, entry.fingerprint, ghost);
    }

    #[inline]
    fn uncounted_share(&self) -> Option<u8> {
        Some(UNCOUNTED)
    }

    fn clear(&mut self) {
        *self = Self { by_bytes: self.by_bytes, ghosts: self.ghosts, ..Self::fresh() };
    }
}
