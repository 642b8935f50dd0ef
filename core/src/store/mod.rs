//! A store: entries with a policy, in a pool.
//!
//! A store is cut into shards by the top bits of the key's hash ([`shard`]). Reads take no lock
//! ([`read`]); writes take their shard's lock, append to its log ([`log`]) and pay for their room
//! as they go ([`reclaim`]). What a call cannot get under the lock, it obtains without it
//! ([`room`]) and comes back; no call holds two shards' locks.
//!
//! Invariants:
//! - after a write, removal or invalidation has returned, no later read on any thread sees the
//!   older value; also after a write that failed or was declined;
//! - a reader sees one whole value of its key;
//! - whatever the store holds is charged to its pool before it is used, and `used` is the sum of
//!   its segments, runs and fixed state;
//! - an error leaves everything else as it was: [`Store::validate`] holds after any of them.

mod batch;
mod contest;
mod copied;
mod draft;
mod duel;
mod entry;
mod expiry;
mod handle;
mod hear;
mod index;
mod job;
mod known;
pub(crate) mod lease;
mod log;
mod open;
mod pin;
mod places;
mod promotion;
mod put;
mod read;
mod reclaim;
mod roam;
mod room;
mod scan;
mod screen;
mod session;
mod shard;
mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod validate;
mod walk;
mod write;
mod writer;

pub use batch::BatchRead;
pub use copied::Copied;
pub use draft::{Draft, RawDraft};
pub use handle::StoreRef;
pub use lease::{
    Claim, ClaimOptions, DropReason, Ended, Lease, LoadError, LoadOptions, Loaded, Waits,
};
pub use pin::{RawView, View};
pub use scan::{Scan, ScanEntry};

use crate::clock::{Clock, monotonic_ns};
use crate::config::StoreConfig;
use crate::error::Result;
use crate::eviction::Policy;
use crate::hash::KeyHash;
use crate::memory::fork;
use crate::pool::space::{RunId, SegId, Space, Use};
use crate::pool::{Pool, SegMeta};
use crate::stats::{Counters, LatencyHistogram, LatencyOp, Tally};
use crate::types::{DeleteOutcome, Read, Ttl, check_key};
use places::Places;
use room::Patience;
use shard::Shard;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use write::Step;
use writer::Writer;

/// A store, shared: clones are references to the same one. The last one that goes destroys it.
#[derive(Clone)]
pub struct Store(Arc<StoreInner>);

/// What all references share. In this order: what look-ups read lies together.
#[repr(C)]
pub(crate) struct StoreInner {
    // Read by every look-up.
    generation: u64,
    /// Of the generation; see [`Seated::enter`](crate::memory::guard::Seated::enter).
    slot_tag: u64,
    shards: Box<[Shard]>,
    latency: Option<Box<[LatencyHistogram; 3]>>,
    space: *const Space,
    shards_mask: usize,
    hit_rule: HitRule,
    /// The count at which a hit is heard of; 0: never.
    hears_at: u8,
    /// The reader whose hit is heard of sees to it that it is.
    hears_all: bool,
    /// There is a filter before the index.
    has_screens: bool,
    /// Readers weigh their misses: asking that filter may pay.
    weighs: AtomicBool,
    /// Entries that come and go are counted elsewhere as well: by session, or in a filter.
    attends: bool,
    /// Queues of the policy, and those that newcomers go to.
    queues: u8,
    newcomer_queues: u8,
    /// How old an entry has to be, in 256ths of its queue, for a hit to append it again.
    promote_after: Option<u8>,
    places: Places,
    hash: KeyHash,
    clock: Clock,
    // Read by writes.
    id: u32,
    inline_max: usize,
    /// Bytes of an entry that may take the straight path of a write; 0 where none may.
    straight_max: usize,
    value_len_max: AtomicU64,
    limit_bytes: AtomicU64,
    used: AtomicU64,
    reserve: u32,
    heads_opened: AtomicU32,
    promotions_due: AtomicBool,
    /// One of the two below.
    chores_due: AtomicBool,
    rebalance_due: AtomicBool,
    screens_due: AtomicBool,
    /// A set_limit is on its way down.
    shrinking: AtomicBool,
    counters: Counters,
    /// Read where an entry belongs to a session.
    sessions: Option<session::SessionTable>,
    /// Read for what the store lacks.
    known: known::KnownKeys,
    config: StoreConfig,
    /// As it was opened, to compare with who opens the name again.
    created: StoreConfig,
    pool: Pool,
    fixed_bytes: u64,
    closed: AtomicBool,
}

/// What a hit does for the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HitRule {
    /// It is counted.
    Plain,
    /// It is counted, but for the newest of queue 0.
    Window,
    /// So, and it may ask for a promotion or to be heard of.
    Asks,
}

impl HitRule {
    fn of(policy: &impl Policy) -> Self {
        if policy.promote_after().is_some() || policy.hears_at().is_some() {
            Self::Asks
        } else if policy.uncounted_share().is_some() {
            Self::Window
        } else {
            Self::Plain
        }
    }
}

/// What a run's bytes are when it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Zero.
    Zero,
    /// Zero, in pages that the system has yet to provide.
    Fresh,
    /// Whatever was there; every byte will be written before it is read.
    Any,
}

// SAFETY: `places` and `space` point into the pool, which `pool` keeps alive and which is Sync;
// everything else is Sync by itself or guarded by the shards' locks.
unsafe impl Send for StoreInner {}
// SAFETY: as above.
unsafe impl Sync for StoreInner {}

impl StoreInner {
    /// The pool's memory.
    #[inline(always)]
    pub fn space(&self) -> &Space {
        // SAFETY: `self.pool` keeps the space alive, and it does not move.
        unsafe { &*self.space }
    }

    /// The table entry of a segment.
    #[inline(always)]
    pub fn meta(&self, segment: SegId) -> &SegMeta {
        // SAFETY: `self.pool` keeps the pool alive; segments come from it.
        unsafe { self.places.meta(segment) }
    }

    /// Where the first entry of a segment begins: location 0 means "empty slot", so the first unit
    /// of the first segment stays unused.
    #[inline]
    pub fn first_offset(&self, segment: SegId) -> u32 {
        if segment == 0 { self.places.unit() } else { 0 }
    }

    /// The version of the entry at a location: never 0, never repeated.
    #[inline(always)]
    pub fn version_of(&self, location: u32) -> u64 {
        let seq = self.meta(self.places.segment_of(location)).seq.load(Ordering::Relaxed);
        self.places.version(seq, location)
    }

    /// The number of a shard.
    pub fn number_of(&self, shard: &Shard) -> u16 {
        let offset = std::ptr::from_ref(shard) as usize - self.shards.as_ptr() as usize;
        (offset / size_of::<Shard>()) as u16
    }

    /// Takes a segment for this store; `None` if its limit or the pool's is reached.
    pub fn take_segment(&self, usage: Use) -> Result<Option<SegId>> {
        let bytes = self.space().seg_bytes();
        if !self.charge(bytes) {
            return Ok(None);
        }
        let taken = self.space().take_segment(usage);
        if !matches!(taken, Ok(Some(_))) {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Counts bytes in against the store's own limit.
    fn charge(&self, bytes: u64) -> bool {
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| limit == 0 || sum <= limit)
            })
            .is_ok()
    }

    /// Gives back a segment that no reader ever saw.
    pub fn give_segment(&self, segment: SegId) {
        self.space().give_segment(segment);
        self.used.fetch_sub(self.space().seg_bytes(), Ordering::Relaxed);
    }

    /// Gives back an emptied log segment.
    pub fn retire_log(&self, segment: SegId) {
        self.space().retire_segment(segment);
        self.used.fetch_sub(self.space().seg_bytes(), Ordering::Relaxed);
    }

    /// Gives back a segment of the index, where readers may still be looking.
    pub fn retire_index(&self, segment: SegId) {
        self.space().retire_segment_inside(segment);
        self.used.fetch_sub(self.space().seg_bytes(), Ordering::Relaxed);
    }

    /// Takes a run for this store; `None` if its limit or the pool's is reached.
    pub fn take_run(&self, bytes: u64, fill: Fill) -> Result<Option<RunId>> {
        let charge = bytes.next_multiple_of(4096);
        if !self.charge(charge) {
            return Ok(None);
        }
        let taken = match fill {
            Fill::Zero => self.space().take_run(bytes),
            Fill::Fresh => self.space().take_run_fresh(bytes),
            Fill::Any => self.space().take_run_dirty(bytes),
        };
        match taken {
            Ok(Some(run)) => {
                let meta = self.space().run_meta(run);
                meta.store.store(self.id, Ordering::Relaxed);
                let exact = self.space().run_charge(run);
                // In one step, or the store would be above its limit between two.
                self.used.fetch_add(exact.wrapping_sub(charge), Ordering::Relaxed);
            }
            Ok(None) | Err(_) => {
                self.used.fetch_sub(charge, Ordering::Relaxed);
            }
        }
        taken
    }

    /// Gives back a run that readers may still be in.
    pub fn retire_run(&self, run: RunId) {
        self.used.fetch_sub(self.space().run_charge(run), Ordering::Relaxed);
        self.space().retire_run(run);
    }

    /// Gives back a run of a shard that is torn down, whatever readers are looking at.
    pub fn retire_run_inside(&self, run: RunId) {
        self.used.fetch_sub(self.space().run_charge(run), Ordering::Relaxed);
        self.space().retire_run_inside(run);
    }

    /// Gives back a run that no reader ever saw.
    pub fn give_run(&self, run: RunId) {
        self.used.fetch_sub(self.space().run_charge(run), Ordering::Relaxed);
        self.space().give_run(run);
    }

    /// Fails for a store of the parent process and for a destroyed one.
    pub fn check_open(&self) -> Result<()> {
        fork::check(self.generation)?;
        if self.closed.load(Ordering::Relaxed) { Err(shard::CLOSED) } else { Ok(()) }
    }

    /// Runs a write under its shard's lock, obtaining room between attempts.
    #[inline]
    fn write<'a, T>(
        &'a self,
        hash: u64,
        bytes: u32,
        attempt: impl FnMut(&mut Writer<'a>) -> Result<Step<T>>,
    ) -> Result<T> {
        self.go_on_writing(hash, bytes, false, attempt)
    }

    /// [`StoreInner::write`] of a write that may have begun, and paid, already.
    #[inline]
    fn go_on_writing<'a, T>(
        &'a self,
        hash: u64,
        bytes: u32,
        has_begun: bool,
        mut attempt: impl FnMut(&mut Writer<'a>) -> Result<Step<T>>,
    ) -> Result<T> {
        fork::check(self.generation)?;
        let shard = self.shard_of(hash);
        shard.table.prefetch(hash);
        let mut patience = Patience::default();
        let mut has_begun = has_begun;
        loop {
            let mut writer = shard.lock(self)?;
            if !has_begun {
                writer.begin(hash, bytes);
                has_begun = true;
            }
            #[cfg(any(test, feature = "testing"))]
            testing::maybe_panic(hash);
            let result = attempt(&mut writer);
            let retired = writer.retired;
            drop(writer);
            if retired {
                self.space().harvest(false);
            }
            match result? {
                Step::Done(value) => {
                    if self.chores_due.load(Ordering::Relaxed) {
                        self.do_chores();
                    }
                    return Ok(value);
                }
                Step::Room => self.obtain_room(u64::from(bytes), &mut patience)?,
            }
        }
    }

    /// Copies a value out and removes its entry, in one step.
    fn take(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Result<Read> {
        check_key(key)?;
        let hash = self.hash.of(key);
        self.write(hash, 0, |writer| {
            // As of a delete: what is being loaded may be what was to be removed.
            let Some(live) = writer.find(hash, key) else {
                self.counters.miss(u32::MAX);
                writer.note_change(hash, key);
                return Ok(Step::Done(Read::Miss));
            };
            if writer.is_expired(&live.entry) {
                writer.expire(hash, live);
                self.counters.miss(u32::MAX);
                writer.note_change(hash, key);
                return Ok(Step::Done(Read::Miss));
            }
            let info = self.info_under_lock(&live);
            if info.len > buf.len() {
                return Ok(Step::Done(Read::SmallBuffer(info)));
            }
            self.copy_under_lock(&live, buf);
            writer.forget(hash, live);
            writer.note_change(hash, key);
            writer.shard.counters().count(Tally::Deletes);
            writer.adapt_index();
            self.counters.hit(u32::MAX);
            Ok(Step::Done(Read::Hit(info)))
        })
    }

    /// The metadata of an entry under the lock.
    fn info_under_lock(&self, live: &writer::Live) -> crate::types::Info {
        let ttl_ms = match live.entry.expires() {
            entry::NEVER => None,
            expires => Some(expires.saturating_sub(self.clock.now_ms())),
        };
        read::info_of(self, &live.entry, live.slot.location, ttl_ms)
    }

    /// Copies the value of an entry under the lock; `buf` has room.
    fn copy_under_lock(&self, live: &writer::Live, buf: &mut [MaybeUninit<u8>]) {
        let from = match live.entry.run() {
            None => live.entry.inline_value(),
            Some(run) => self.space().run_addr(run).cast_const(),
        };
        // SAFETY: the lock keeps the entry and its run from being given back; the caller checked
        // that the buffer has room, and it does not overlap pool memory.
        unsafe {
            std::ptr::copy_nonoverlapping(from, buf.as_mut_ptr().cast(), live.entry.value_len());
        }
    }

    /// Measures a call, if latencies are asked for.
    #[inline(always)]
    fn timed<T>(&self, op: LatencyOp, call: impl FnOnce() -> T) -> T {
        match &self.latency {
            None => call(),
            Some(histograms) => measured(&histograms[op as usize], call),
        }
    }

    fn touch(&self, key: &[u8], ttl: Ttl) -> Result<bool> {
        check_key(key)?;
        let hash = self.hash.of(key);
        self.write(hash, 0, |writer| writer.touch(hash, key, ttl))
    }

    fn delete(&self, key: &[u8], expected: Option<u64>) -> Result<DeleteOutcome> {
        check_key(key)?;
        let hash = self.hash.of(key);
        self.write(hash, 0, |writer| {
            let outcome = writer.delete(hash, key, expected);
            // What is being loaded may be what was to be removed.
            if expected.is_none() || outcome == DeleteOutcome::Deleted {
                writer.note_change(hash, key);
            }
            Ok(Step::Done(outcome))
        })
    }

    /// Whether a key has a live entry; counts nothing.
    fn contains(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        let hash = self.hash.of(key);
        if let Some(is_live) = self.look_up(hash, key, copied::IsLive)? {
            return Ok(is_live);
        }
        let (writer, live) = self.probe_locked(hash, key)?;
        Ok(live.is_some_and(|live| !writer.is_expired(&live.entry)))
    }
}

impl Writer<'_> {
    /// What every write does first: carries out what hits asked for, pays for its room, and moves
    /// the expiry sweep on.
    #[inline]
    fn begin(&mut self, hash: u64, bytes: u32) {
        if let Some(memory) = &self.state.memory {
            self.state.policy.prefetch(memory.words(), writer::fingerprint(hash));
        }
        self.drain_promotions();
        self.pay(bytes);
        self.sweep_expired();
    }
}

#[cold]
#[inline(never)]
fn measured<T>(histogram: &LatencyHistogram, call: impl FnOnce() -> T) -> T {
    let start = monotonic_ns();
    let result = call();
    let slot = crate::memory::guard::slot_index().unwrap_or(usize::MAX);
    histogram.record(slot, monotonic_ns() - start);
    result
}
