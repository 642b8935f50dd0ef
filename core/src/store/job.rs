//! Jobs: going through the entries of one segment, each of them once.
//!
//! A job takes a segment out of its chain and walks it from its first entry to its fill. What is
//! marked dead is passed at the cost of a header. The next few entries that are not are *in sight*:
//! hashed once, their index lines and ghosts asked for, so that the memory is near when their turn
//! comes, some writes later.
//!
//! Invariants: everything before `at` is dead; from `at` to `seen` everything is dead but what is
//! in sight, in order. An entry in sight may die before its turn; then no slot names its location.

use super::entry::Entry;
use super::writer::{Writer, fingerprint};
use crate::eviction::{Policy, QUEUES_MAX};
use crate::pool::space::{SEG_NONE, SegId};
use std::sync::atomic::Ordering::Relaxed;

/// Entries in sight, at most.
const SIGHT: usize = 16;
/// Entries passed in one look, most of them dead.
const LOOK_MAX: u32 = 64;
/// Bytes of the log that are asked for ahead of a look.
const LOG_AHEAD: u32 = 512;

/// An entry whose turn will come.
#[derive(Clone, Copy, Debug)]
pub struct Sighted {
    /// Hash of its key.
    pub hash: u64,
    /// Its offset in the segment.
    pub at: u32,
    /// Its bytes in the log.
    pub bytes: u32,
}

/// A segment that is being emptied.
#[derive(Clone, Debug)]
pub struct Job {
    /// The segment; [`SEG_NONE`]: no job.
    pub seg: SegId,
    /// Bytes passed.
    at: u32,
    /// Bytes looked at.
    seen: u32,
    /// The first in sight, and behind the last.
    next: u32,
    end: u32,
    sight: [Sighted; SIGHT],
}

impl Job {
    /// No job.
    pub const NONE: Self = Self::on(SEG_NONE, 0);

    /// A job on a segment whose first entry is at this offset.
    pub const fn on(seg: SegId, at: u32) -> Self {
        let sight = [Sighted { hash: 0, at: 0, bytes: 0 }; SIGHT];
        Self { seg, at, seen: at, next: 0, end: 0, sight }
    }

    /// Goes back to the entry at this place, the first of the last so many that were handed out.
    pub fn go_back(&mut self, at: u32, entries: u32) {
        self.at = at;
        self.next = self.next.wrapping_sub(entries);
        if self.end.wrapping_sub(self.next) > SIGHT as u32 {
            // Others have come in sight since, where it was.
            (self.seen, self.next) = (at, self.end);
        }
    }

    /// Whether it has a segment.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.seg != SEG_NONE
    }
}

/// Which job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The cursor of a queue.
    Evict(usize),
    /// Compaction.
    Compact,
}

/// What a job comes to next. `dead` are the bytes passed before it.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// An entry that was not dead when it came in sight.
    Entry {
        /// The entry.
        entry: Sighted,
        /// Bytes passed.
        dead: u32,
    },
    /// Nothing yet.
    Passed {
        /// Bytes passed.
        dead: u32,
    },
    /// The end of the segment.
    End {
        /// Bytes passed.
        dead: u32,
    },
}

impl Writer<'_> {
    /// A job.
    #[inline(always)]
    pub fn job(&mut self, task: Task) -> &mut Job {
        match task {
            Task::Evict(queue) => &mut self.state.queues[queue % QUEUES_MAX].job,
            Task::Compact => &mut self.state.compacting,
        }
    }

    /// Passes up to the next entry of a job, and passes that.
    #[inline(always)]
    pub fn next_of(&mut self, task: Task) -> Next {
        if self.job(task).next == self.job(task).end {
            self.look_ahead(task);
        }
        let job = self.job(task);
        if job.next != job.end {
            let entry = job.sight[job.next as usize % SIGHT];
            job.next += 1;
            let dead = entry.at - job.at;
            job.at = entry.at + entry.bytes;
            return Next::Entry { entry, dead };
        }
        let dead = job.seen - job.at;
        job.at = job.seen;
        let (seg, seen) = (job.seg, job.seen);
        let fill = self.meta(seg).fill.load(Relaxed);
        if seen < fill { Next::Passed { dead } } else { Next::End { dead } }
    }

    /// Takes back that an entry, the last one passed, was passed.
    pub fn step_back(&mut self, task: Task, entry: Sighted) {
        let job = self.job(task);
        job.next -= 1;
        job.at = entry.at;
    }

    /// Brings the next entries of a job in sight.
    pub fn look_ahead(&mut self, task: Task) {
        let (store, shard) = (self.store, self.shard);
        let (policy, memory, job) = {
            let state = &mut *self.state;
            let memory = state.memory.as_ref().map_or(&[][..], |memory| memory.words());
            let job = match task {
                Task::Evict(queue) => &mut state.queues[queue % QUEUES_MAX].job,
                Task::Compact => &mut state.compacting,
            };
            (&state.policy, memory, job)
        };
        if !job.is_open() {
            return;
        }
        let fill = store.space().meta(job.seg).fill.load(Relaxed);
        let mut left = LOOK_MAX;
        while job.seen < fill && job.end - job.next < SIGHT as u32 && left != 0 {
            left -= 1;
            let location = store.places.location(job.seg, job.seen);
            let at = store.places.address(location);
            crate::memory::racy::prefetch(at.wrapping_add(LOG_AHEAD as usize));
            // SAFETY: up to its fill a segment of this shard's log is one entry after another, and
            // the lock keeps it from being given back.
            let (entry, is_dead) = unsafe { Entry::at_marked(at) };
            let bytes = store.places.rounded(entry.bytes()) as u32;
            if !is_dead {
                let hash = store.hash.of(entry.key());
                shard.table.prefetch(hash);
                policy.prefetch(memory, fingerprint(hash));
                job.sight[job.end as usize % SIGHT] = Sighted { hash, at: job.seen, bytes };
                job.end += 1;
            }
            job.seen += bytes;
        }
    }
}
