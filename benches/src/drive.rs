//! The measured loops.
//!
//! A loop is chosen by a virtual call and then runs without any: [`Subject`] is implemented once
//! for every [`Cache`], so each cache gets loops of its own, compiled around it. What a loop costs
//! without a cache is measured by running it over [`Null`](crate::cache::Null).

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::cache::Cache;
use crate::measure::{pin_to_core, thread_cpu_ns};
use crate::scenario::plan::Request;
use crate::scenario::serve::{self, Rush, Tally, Terms};
use crate::workload::{ABSENT, KEY_LEN, Rng, ValueBytes, key_of};

/// How many keys one batched read takes.
pub const BATCH: usize = 32;

/// No value that a batch reads is longer, in bytes: the loops' buffer has room for a batch of those.
pub const BATCHED_VALUE_MAX: usize = 4096;

/// No single value that is read is longer: that buffer.
pub const READ_MAX: usize = BATCH * BATCHED_VALUE_MAX;

/// The places of `count` caches in the order of a round: each round begins with another one, so that
/// no cache always comes behind the same neighbour.
pub fn rotated(count: usize, round: u32) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (turn + round as usize) % count)
}

/// "1 thread", "2 threads".
#[must_use]
pub fn threads(count: usize) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

/// Of so many operations of [`Task::Mixed`] one is a set.
const SET_IN: u64 = 20;

/// What a loop does.
#[derive(Clone, Copy, Debug)]
pub enum Task<'a> {
    /// Reads of uniformly random ids of `0..keys`.
    Get {
        /// How many ids.
        keys: u64,
    },
    /// The same reads in batches of [`BATCH`].
    GetMany {
        /// How many ids.
        keys: u64,
    },
    /// Reads of the same id over and over.
    GetOne {
        /// Which.
        id: u64,
    },
    /// Reads of ids that were never stored.
    Miss,
    /// Sets of ids that were never stored before: `first`, `first + 1`, and so on.
    SetNew {
        /// The first id.
        first: u64,
        /// Length of the values.
        len: usize,
        /// What they are cut from.
        values: &'a ValueBytes,
    },
    /// Sets of uniformly random ids of `0..keys`, all of which are stored already.
    Overwrite {
        /// How many ids.
        keys: u64,
        /// Length of the values.
        len: usize,
        /// What they are cut from.
        values: &'a ValueBytes,
    },
    /// Over the ids of a prepared order: one operation in 20 a set, the others reads.
    Mixed {
        /// The order; cycled.
        ids: &'a [u32],
        /// Length of the values.
        len: usize,
        /// What they are cut from.
        values: &'a ValueBytes,
    },
}

/// What a loop took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Operations (keys, for batches).
    pub ops: u64,
    /// Reads among them.
    pub reads: u64,
    /// Reads that hit.
    pub hits: u64,
    /// The thread's processor time.
    pub cpu_ns: u64,
    /// Time on the wall.
    pub wall_ns: u64,
}

impl Task<'_> {
    /// How many of so many operations are reads.
    fn reads(&self, ops: u64) -> u64 {
        match self {
            Self::Get { .. } | Self::GetMany { .. } | Self::GetOne { .. } | Self::Miss => ops,
            Self::SetNew { .. } | Self::Overwrite { .. } => 0,
            Self::Mixed { .. } => ops - ops / SET_IN,
        }
    }

    /// How many operations bring the working set back into the caches of the processor, if it
    /// fits any; 0 where nothing would come back.
    fn warm_up(&self) -> u64 {
        match *self {
            Self::Get { keys } | Self::GetMany { keys } | Self::Overwrite { keys, .. } => {
                if keys <= 1 << 18 { keys } else { 0 }
            }
            Self::Mixed { ids, .. } => (ids.len() as u64 / 4).min(1 << 18),
            Self::GetOne { .. } | Self::Miss => 1_000,
            Self::SetNew { .. } => 0,
        }
    }
}

impl Sample {
    /// The share of reads that hit; 0 where there were none.
    #[must_use]
    pub fn hit_share(&self) -> f64 {
        self.hits as f64 / self.reads.max(1) as f64
    }

    /// Processor nanoseconds an operation.
    #[must_use]
    pub fn cpu_per_op(&self) -> f64 {
        self.cpu_ns as f64 / self.ops.max(1) as f64
    }

    /// Wall nanoseconds an operation.
    #[must_use]
    pub fn wall_per_op(&self) -> f64 {
        self.wall_ns as f64 / self.ops.max(1) as f64
    }
}

/// A cache with loops around it.
pub trait Subject: Cache {
    /// Runs a loop of `ops` operations on the calling thread.
    fn run(&self, task: &Task<'_>, ops: u64, seed: u64) -> Sample;

    /// Sets the ids of a range.
    fn fill(&self, ids: std::ops::Range<u64>, len: usize, values: &ValueBytes);

    /// As [`serve::paced`], which is compiled around this cache.
    fn paced(&self, requests: &[Request], start: u64, terms: &Terms<'_>, tally: &mut Tally) -> u64;

    /// As [`serve::rushed`].
    fn rushed(
        &self,
        requests: &[Request],
        first: usize,
        duration: Duration,
        terms: &Terms<'_>,
    ) -> Rush;
}

impl<C: Cache> Subject for C {
    fn run(&self, task: &Task<'_>, ops: u64, seed: u64) -> Sample {
        let ops = match task {
            Task::GetMany { .. } => ops.next_multiple_of(BATCH as u64),
            _ => ops,
        };
        let mut rng = Rng::new(seed);
        let mut buf = vec![0; READ_MAX];
        let began = Instant::now();
        let cpu = thread_cpu_ns();
        let hits = match *task {
            Task::Get { keys } => reads(self, ops, &mut buf, || rng.below(keys)),
            Task::GetOne { id } => reads(self, ops, &mut buf, || id),
            Task::Miss => reads(self, ops, &mut buf, || ABSENT | rng.next() >> 8),
            Task::GetMany { keys } => batches(self, ops, &mut buf, || rng.below(keys)),
            Task::SetNew { first, len, values } => {
                let mut id = first;
                sets(self, ops, len, values, || {
                    id += 1;
                    id - 1
                })
            }
            Task::Overwrite { keys, len, values } => {
                sets(self, ops, len, values, || rng.below(keys))
            }
            Task::Mixed { ids, len, values } => {
                mixed(self, ops, &mut buf, ids, &mut rng, len, values)
            }
        };
        let cpu_ns = thread_cpu_ns() - cpu;
        let wall_ns = began.elapsed().as_nanos() as u64;
        Sample { ops, reads: task.reads(ops), hits, cpu_ns, wall_ns }
    }

    fn fill(&self, ids: std::ops::Range<u64>, len: usize, values: &ValueBytes) {
        for id in ids {
            self.set(&key_of(id), values.get(id, len));
        }
        self.settle();
    }

    fn paced(&self, requests: &[Request], start: u64, terms: &Terms<'_>, tally: &mut Tally) -> u64 {
        serve::paced(self, requests, start, terms, tally)
    }

    fn rushed(
        &self,
        requests: &[Request],
        first: usize,
        duration: Duration,
        terms: &Terms<'_>,
    ) -> Rush {
        serve::rushed(self, requests, first, duration, terms)
    }
}

#[inline(always)]
fn reads<C: Cache>(cache: &C, ops: u64, buf: &mut [u8], mut next: impl FnMut() -> u64) -> u64 {
    let mut hits = 0;
    for _ in 0..ops {
        hits += u64::from(cache.get(&key_of(next()), buf).is_some());
        black_box(&mut *buf);
    }
    hits
}

#[inline(always)]
fn batches<C: Cache>(cache: &C, ops: u64, buf: &mut [u8], mut next: impl FnMut() -> u64) -> u64 {
    let mut hits = 0;
    let mut keys = [[0; KEY_LEN]; BATCH];
    for _ in 0..ops / BATCH as u64 {
        for key in &mut keys {
            *key = key_of(next());
        }
        let slices = keys.each_ref().map(|key| &key[..]);
        hits += cache.get_many(&slices, buf) as u64;
        black_box(&mut *buf);
    }
    hits
}

#[inline(always)]
fn sets<C: Cache>(
    cache: &C,
    ops: u64,
    len: usize,
    values: &ValueBytes,
    mut next: impl FnMut() -> u64,
) -> u64 {
    for _ in 0..ops {
        let id = next();
        cache.set(&key_of(id), values.get(id, len));
    }
    0
}

#[inline(always)]
fn mixed<C: Cache>(
    cache: &C,
    ops: u64,
    buf: &mut [u8],
    ids: &[u32],
    rng: &mut Rng,
    len: usize,
    values: &ValueBytes,
) -> u64 {
    let start = rng.below(ids.len() as u64) as usize;
    let mut hits = 0;
    for (turn, &id) in (0..ops).zip(ids[start..].iter().chain(ids.iter().cycle())) {
        let key = key_of(u64::from(id));
        if turn % SET_IN == SET_IN - 1 {
            cache.set(&key, values.get(u64::from(id), len));
        } else {
            hits += u64::from(cache.get(&key, buf).is_some());
            black_box(&mut *buf);
        }
    }
    hits
}

/// Runs one loop a task, each on a thread and a core of its own, and adds up. Lanes beyond the
/// number of subjects share them. Each first brings its working set back from where the cache
/// that had the last turn has pushed it.
pub fn run_lanes(subjects: &[&dyn Subject], tasks: &[Task<'_>], ops: u64, seed: u64) -> Sample {
    let warm = |subject: &dyn Subject, task: &Task<'_>, seed: u64| {
        let ops = task.warm_up();
        if ops > 0 {
            subject.run(task, ops, !seed);
        }
    };
    if let ([subject, ..], [task]) = (subjects, tasks) {
        warm(*subject, task, seed);
        return subject.run(task, ops, seed);
    }
    let barrier = Barrier::new(tasks.len());
    let run = |lane: usize| {
        pin_to_core(lane);
        let (subject, task) = (subjects[lane % subjects.len()], &tasks[lane]);
        let seed = seed.wrapping_add(lane as u64 * 0x9E37);
        warm(subject, task, seed);
        barrier.wait();
        subject.run(task, ops, seed)
    };
    let mut total = Sample::default();
    std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..tasks.len()).map(|lane| scope.spawn(move || run(lane))).collect();
        for thread in threads {
            let sample = thread.join().unwrap_or_default();
            total.ops += sample.ops;
            total.reads += sample.reads;
            total.hits += sample.hits;
            total.cpu_ns += sample.cpu_ns;
            total.wall_ns += sample.wall_ns;
        }
    });
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Kind, Spec};

    #[test]
    fn every_round_begins_with_another_cache() {
        let rounds: Vec<Vec<usize>> = (0..4).map(|round| rotated(3, round).collect()).collect();
        assert_eq!(rounds, [vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1], vec![0, 1, 2]]);
        assert_eq!(rotated(0, 7).count(), 0);
    }

    #[test]
    fn loops_count_what_they_do() {
        let values = ValueBytes::new(64, 1);
        for &kind in Kind::BUILT {
            let cache = kind.build(&Spec::new(8 << 20, 64)).unwrap();
            cache.fill(0..1_000, 64, &values);
            assert_eq!(cache.run(&Task::Get { keys: 1_000 }, 3_000, 1).hits, 3_000, "{kind}");
            assert_eq!(cache.run(&Task::Miss, 3_000, 1).hits, 0, "{kind}");
            assert_eq!(cache.run(&Task::GetMany { keys: 1_000 }, 320, 1).hits, 320, "{kind}");
            assert_eq!(cache.run(&Task::GetOne { id: 7 }, 100, 1).hits, 100, "{kind}");
            let task = Task::Mixed { ids: &[1, 2, 3], len: 64, values: &values };
            let sample = cache.run(&task, 100, 1);
            assert_eq!((sample.reads, sample.hits, sample.hit_share()), (95, 95, 1.0), "{kind}");
            let task = Task::SetNew { first: 5_000, len: 64, values: &values };
            cache.run(&task, 100, 1);
            assert!(cache.get(&key_of(5_099), &mut [0; 64]).is_some(), "{kind}");
            let both = run_lanes(&[&*cache], &[Task::Get { keys: 1_000 }; 2], 500, 1);
            assert_eq!((both.ops, both.hits), (1_000, 1_000), "{kind}");
        }
    }
}
