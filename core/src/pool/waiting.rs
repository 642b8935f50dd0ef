//! Waiting memory: retired by its holder, not yet known to be free of readers.
//!
//! A reader announces the segment or run it is about to read, then looks at the place that named
//! it again; it announces with a plain store and no fence. So memory may be reused when, *in this
//! order*,
//!
//! 1. everything that named it was unlinked (before it is retired),
//! 2. a heavy barrier was run: whoever announced it before and still found it linked is visible
//!    now, and whoever announces it later finds it unlinked,
//! 3. no announcement names it,
//! 4. nobody is counted in it (readers without a slot), and only then
//! 5. no view pins it: a reader pins before it withdraws its announcement, so a pin that was made
//!    under an announcement seen to be gone is seen as well.
//!
//! The barrier costs microseconds, so retired memory is collected and one barrier serves all of
//! it, at most [`BATCH`] pieces at once so that no call is long. What is held goes back to the end
//! of the list. A harvest takes its pieces out of the list first and runs without the pool's lock;
//! what is retired meanwhile was not unlinked before the barrier and waits for the next one.
//!
//! Index memory is read without being announced. It is *retired inside*: after a barrier a
//! snapshot of everybody who is inside a look-up is taken, and when all of them have left, what
//! was retired before that barrier is free. One snapshot is under way at a time.

use super::layout::{RUN_BASE, RUN_CLASSES};
use super::links::List;
use super::space::{RunId, SegId, Space, State, Use};
use crate::memory::guard::{self, Snapshot};
use crate::memory::lock::FutexGuard;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Pieces that one barrier serves at most, and from how many bytes on it serves no more: wiping
/// them, or giving them back, is part of somebody's call.
const BATCH: usize = 512;
const BATCH_BYTES: u64 = 64 << 20;
/// An unforced harvest waits for so much...
const WORTHWHILE_BYTES: u64 = 512 << 10;
/// ... or for this share of the limit in a small pool, whichever is less.
const WORTHWHILE_SHARE: u64 = 64;

/// What a harvest found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harvest {
    /// Segments that are free now.
    pub segments: u32,
    /// Their bytes, and those of runs that are free now.
    pub bytes: u64,
    /// Segments and runs that were looked at and are still held.
    pub held: u32,
    /// Bytes of those that views hold. Unlike readers, they need not let go soon.
    pub pinned_bytes: u64,
}

/// What the one harvest that runs keeps from one to the next.
pub(super) struct Harvesting {
    /// Marks what the guards of this round name. Never 0.
    round: u32,
    /// Who was inside when the list of what was retired inside was closed.
    snapshot: Box<Snapshot>,
    inside: Inside,
}

/// How far memory that was retired inside is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// None is on its way.
    Open,
    /// It waits for those of the snapshot to leave.
    Closed,
    /// They have left; it is being freed, some at each harvest.
    Left,
}

impl std::fmt::Debug for Harvesting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Harvesting").field("round", &self.round).finish_non_exhaustive()
    }
}

impl Harvesting {
    pub fn new() -> Self {
        Self { round: 0, snapshot: Box::new(Snapshot::empty()), inside: Inside::Open }
    }
}

/// What one round works on, and how far the tables reached when it was taken.
struct Round {
    segments: List,
    runs: List,
    pieces: usize,
    bytes: u64,
    segments_made: u32,
    runs_made: [u32; RUN_CLASSES],
    closes: bool,
}

impl Space {
    /// Takes a segment out of use whose entries are all unlinked. It is charged until a harvest
    /// finds nobody in it.
    pub fn retire_segment(&self, id: SegId) {
        let mut state = self.state.lock();
        self.mark_waiting(id);
        state.waiting.push_back(id, |id| self.meta(id));
    }

    /// Takes a segment out of use that readers use without announcing it. It is charged until all
    /// that are inside now have left.
    pub fn retire_segment_inside(&self, id: SegId) {
        let mut state = self.state.lock();
        self.mark_waiting(id);
        state.inside_open.push_back(id, |id| self.meta(id));
    }

    /// [`Space::retire_segment`] for a run.
    pub fn retire_run(&self, id: RunId) {
        self.wait_run(&mut self.state.lock(), id);
    }

    /// [`Space::retire_segment_inside`] for a run.
    pub fn retire_run_inside(&self, id: RunId) {
        let mut state = self.state.lock();
        self.mark_run_waiting(id);
        state.inside_open_runs.push_back(id, |id| self.run_meta(id));
    }

    pub(super) fn wait_run(&self, state: &mut FutexGuard<'_, State>, id: RunId) {
        self.mark_run_waiting(id);
        state.waiting_runs.push_back(id, |id| self.run_meta(id));
    }

    fn mark_waiting(&self, id: SegId) {
        let meta = self.meta(id);
        debug_assert!(matches!(meta.usage(), Use::Log | Use::Index | Use::Raw), "segment {id}");
        meta.bin_next.store(0, Relaxed);
        self.set_use(id, Use::Waiting);
        self.count_waiting(self.seg_bytes().cast_signed());
    }

    fn mark_run_waiting(&self, id: RunId) {
        let meta = self.run_meta(id);
        meta.mark.store(0, Relaxed);
        if meta.usage.swap(Use::Waiting as u8, Release) != Use::Waiting as u8 {
            self.count_waiting(self.run_charge(id).cast_signed());
        }
    }

    /// Frees what waits and is not held; see the essay. Not forced, it does so only if enough
    /// waits and nobody else is at it. Forced, it goes on until something was freed or all that
    /// waited was looked at.
    pub fn harvest(&self, force: bool) -> Harvest {
        let mut found = Harvest::default();
        let waiting = self.waiting_bytes();
        if waiting == 0 || !force && waiting < self.worthwhile_bytes() {
            return found;
        }
        let mut harvesting = if force {
            self.harvesting.lock()
        } else {
            match self.harvesting.try_lock() {
                Some(harvesting) => harvesting,
                None => return found,
            }
        };
        self.free_left(&mut harvesting, &mut found);
        let mut seen = 0;
        while seen < waiting {
            let mut round = self.begin_round(harvesting.inside);
            if round.pieces == 0 && !round.closes {
                break;
            }
            seen += round.bytes;
            self.run_round(&mut harvesting, &mut round, &mut found);
            if !force || found.bytes != 0 {
                break;
            }
        }
        drop(harvesting);
        if found.bytes != 0 {
            self.follow_shrink();
            self.update_gauge();
        }
        found
    }

    /// Waiting bytes from which an unforced harvest is worth its barrier.
    fn worthwhile_bytes(&self) -> u64 {
        #[cfg(any(test, feature = "testing"))]
        if testing::harvests_at_once() {
            return 1;
        }
        WORTHWHILE_BYTES.min((self.target_bytes() / WORTHWHILE_SHARE).max(2 * self.seg_bytes()))
    }

    /// Takes what the next barrier is to serve out of the lists.
    fn begin_round(&self, inside: Inside) -> Round {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let mut round = Round {
            segments: List::EMPTY,
            runs: List::EMPTY,
            pieces: 0,
            bytes: 0,
            segments_made: state.chunks_made << self.layout.chunk_segs_shift,
            runs_made: state.run_classes.map(|class| class.made),
            closes: false,
        };
        while round.pieces < BATCH && round.bytes < BATCH_BYTES {
            if let Some(id) = state.waiting.pop_front(|id| self.meta(id)) {
                round.segments.push_back(id, |id| self.meta(id));
                round.bytes += self.seg_bytes();
            } else if let Some(id) = state.waiting_runs.pop_front(|id| self.run_meta(id)) {
                round.runs.push_back(id, |id| self.run_meta(id));
                round.bytes += self.run_charge(id);
            } else {
                break;
            }
            round.pieces += 1;
        }
        let open = state.inside_open != List::EMPTY || state.inside_open_runs != List::EMPTY;
        if open && inside == Inside::Open {
            state.inside_closed = std::mem::replace(&mut state.inside_open, List::EMPTY);
            state.inside_closed_runs = std::mem::replace(&mut state.inside_open_runs, List::EMPTY);
            round.closes = true;
        }
        round
    }

    fn run_round(&self, harvesting: &mut Harvesting, round: &mut Round, found: &mut Harvest) {
        barrier();
        let mark = harvesting.round.wrapping_add(1).max(1);
        harvesting.round = mark;
        #[cfg(any(test, feature = "testing"))]
        if testing::pins_come_first() {
            // Broken on purpose: whoever pins between here and the look at the guards is missed.
            let mut id = round.segments.head;
            while id != super::space::SEG_NONE {
                let meta = self.meta(id);
                meta.bin_prev.store(u32::from(meta.pins.load(Acquire) != 0), Relaxed);
                id = meta.next.load(Relaxed);
            }
            let mut id = round.runs.head;
            while id != super::space::SEG_NONE {
                let meta = self.run_meta(id);
                meta.tag.store(u32::from(meta.pins.load(Acquire) != 0), Relaxed);
                id = meta.next.load(Relaxed);
            }
            // Long enough for a reader to pin and leave.
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
        guard::for_each_announced(|id| self.mark_announced(round, id, mark));
        if round.closes {
            guard::snapshot_inside(&mut harvesting.snapshot);
            harvesting.inside = Inside::Closed;
        }
        self.sort_segments(round.segments, mark, found);
        self.sort_runs(round.runs, mark, found);
        self.free_left(harvesting, found);
    }

    /// Marks a piece that a guard names, if it waits. Ids are shared by all pools of the process,
    /// so it may be another pool's; then ours merely waits once more.
    fn mark_announced(&self, round: &Round, id: u32, mark: u32) {
        if id < RUN_BASE {
            if id < round.segments_made {
                let meta = self.meta(id);
                if meta.usage() == Use::Waiting {
                    meta.bin_next.store(mark, Relaxed);
                }
            }
            return;
        }
        let runs = &self.layout.runs;
        let number = id - RUN_BASE;
        if number == 0 || number.ilog2() > runs.ids_shift {
            return;
        }
        let class = runs.class_of(number);
        if class < runs.classes && number - runs.first_of(class) < round.runs_made[class] {
            self.run_meta(id).mark.store(mark, Relaxed);
        }
    }

    fn sort_segments(&self, mut pieces: List, mark: u32, found: &mut Harvest) {
        let mut held = List::EMPTY;
        let mut free = List::EMPTY;
        while let Some(id) = pieces.pop_front(|id| self.meta(id)) {
            let meta = self.meta(id);
            // Guards were read above; then the counted readers, and the pins last.
            let is_read = meta.bin_next.load(Relaxed) == mark || meta.readers.load(Acquire) != 0;
            let is_pinned = is_pinned(meta.pins.load(Acquire), meta.bin_prev.load(Relaxed));
            if is_pinned {
                found.pinned_bytes += self.seg_bytes();
            }
            if is_read || is_pinned {
                held.push_back(id, |id| self.meta(id));
                found.held += 1;
            } else {
                self.wipe_segment(id);
                free.push_back(id, |id| self.meta(id));
                found.segments += 1;
                found.bytes += self.seg_bytes();
                self.count_waiting(-self.seg_bytes().cast_signed());
            }
        }
        if held != List::EMPTY || free != List::EMPTY {
            let mut state = self.state.lock();
            while let Some(id) = held.pop_front(|id| self.meta(id)) {
                state.waiting.push_back(id, |id| self.meta(id));
            }
            self.free_all(&mut state, free);
        }
    }

    fn sort_runs(&self, mut pieces: List, mark: u32, found: &mut Harvest) {
        while let Some(id) = pieces.pop_front(|id| self.run_meta(id)) {
            let meta = self.run_meta(id);
            let is_read = meta.mark.load(Relaxed) == mark || meta.readers.load(Acquire) != 0;
            let is_pinned = is_pinned(meta.pins.load(Acquire), meta.tag.load(Relaxed));
            if is_pinned {
                found.pinned_bytes += self.run_charge(id);
            }
            if is_read || is_pinned || !self.free_waiting_run(id, found) {
                found.held += 1;
                self.state.lock().waiting_runs.push_back(id, |id| self.run_meta(id));
            }
        }
    }

    /// Frees a run nobody is in. False: the system declined its pages.
    fn free_waiting_run(&self, id: RunId, found: &mut Harvest) -> bool {
        let bytes = self.run_charge(id);
        if self.keeps_warm(id) {
            self.keep_warm(&mut self.state.lock(), id);
        } else if self.decommit_run(id) {
            self.free_run(&mut self.state.lock(), id);
        } else {
            return false;
        }
        found.bytes += bytes;
        self.count_waiting(-bytes.cast_signed());
        true
    }

    /// Frees what was retired inside, a batch of it, if all that were inside then have left.
    fn free_left(&self, harvesting: &mut Harvesting, found: &mut Harvest) {
        if harvesting.inside == Inside::Closed && harvesting.snapshot.all_left() {
            harvesting.inside = Inside::Left;
        }
        if harvesting.inside != Inside::Left {
            return;
        }
        let (mut pieces, mut bytes) = (0, 0);
        let mut free = List::EMPTY;
        while pieces < BATCH && bytes < BATCH_BYTES {
            let mut state = self.state.lock();
            // Nobody looks at it any more, but a view that was made before may still pin it. It
            // then waits like any other memory.
            if let Some(id) = state.inside_closed.pop_front(|id| self.meta(id)) {
                if self.meta(id).pins.load(Acquire) != 0 {
                    state.waiting.push_back(id, |id| self.meta(id));
                    continue;
                }
                drop(state);
                self.wipe_segment(id);
                free.push_back(id, |id| self.meta(id));
                found.segments += 1;
                found.bytes += self.seg_bytes();
                self.count_waiting(-self.seg_bytes().cast_signed());
                bytes += self.seg_bytes();
            } else if let Some(id) = state.inside_closed_runs.pop_front(|id| self.run_meta(id)) {
                drop(state);
                bytes += self.run_charge(id);
                let is_pinned = self.run_meta(id).pins.load(Acquire) != 0;
                if is_pinned || !self.free_waiting_run(id, found) {
                    self.state.lock().waiting_runs.push_back(id, |id| self.run_meta(id));
                }
            } else {
                harvesting.inside = Inside::Open;
                break;
            }
            pieces += 1;
        }
        if free != List::EMPTY {
            self.free_all(&mut self.state.lock(), free);
        }
    }

    fn free_all(&self, state: &mut FutexGuard<'_, State>, mut segments: List) {
        while let Some(id) = segments.pop_front(|id| self.meta(id)) {
            self.push_free(state, id);
        }
    }
}

#[cfg(not(any(test, feature = "testing")))]
fn barrier() {
    crate::memory::barrier::heavy();
}

#[cfg(not(any(test, feature = "testing")))]
#[inline(always)]
const fn is_pinned(pins: u32, _before: u32) -> bool {
    pins != 0
}

#[cfg(any(test, feature = "testing"))]
fn barrier() {
    if !testing::barrier_is_skipped() {
        crate::memory::barrier::heavy();
    }
}

#[cfg(any(test, feature = "testing"))]
fn is_pinned(pins: u32, before: u32) -> bool {
    if testing::pins_come_first() { before != 0 } else { pins != 0 }
}

/// Switches that break the protocol, for tests that must then fail.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use std::sync::atomic::{AtomicBool, Ordering};

    static SKIP_BARRIER: AtomicBool = AtomicBool::new(false);
    static PINS_FIRST: AtomicBool = AtomicBool::new(false);
    static AT_ONCE: AtomicBool = AtomicBool::new(false);

    /// Harvest without the heavy barrier.
    pub fn skip_barrier(on: bool) {
        SKIP_BARRIER.store(on, Ordering::SeqCst);
    }

    /// Harvest whatever waits at every chance, however little it is.
    pub fn harvest_at_once(on: bool) {
        AT_ONCE.store(on, Ordering::SeqCst);
    }

    pub(super) fn harvests_at_once() -> bool {
        AT_ONCE.load(Ordering::Relaxed)
    }

    /// Look at the pins before the guards.
    pub fn pins_before_guards(on: bool) {
        PINS_FIRST.store(on, Ordering::SeqCst);
    }

    pub(super) fn barrier_is_skipped() -> bool {
        SKIP_BARRIER.load(Ordering::Relaxed)
    }

    pub(super) fn pins_come_first() -> bool {
        PINS_FIRST.load(Ordering::Relaxed)
    }
}
