//! Reads: no lock, no store to memory that other readers of the key need.
//!
//! A look-up marks the thread's slot inside, probes one bucket, and for a matching tag announces
//! the entry's segment and *looks at the slot again*. Still the same: the entry cannot be reused
//! until the announcement goes, and its bytes never change, so key and value are plain reads. A
//! hit therefore needs no version. A miss is believed only if the home line's header (which covers
//! its overflow lines) and the geometry word did not change around the probe.
//!
//! Ordering: the announcement and the second look are kept in order by the reclaimer's heavy
//! barrier ([`crate::memory::barrier`]); the location is read with acquire, so the bytes that were
//! written before the slot was filled are visible; the release store that ends the look-up is what
//! a reclaimer reads before it looks at pins.
//!
//! The first line of the entry is touched *before* the announcement, so that a thread which loses
//! its processor while it waits for memory seldom holds a segment back.

use super::StoreInner;
use super::entry::{Entry, NEVER};
use super::index::line::{Line, tag_of};
use super::shard::{CLOSED, POISONED, Shard, Writer};
use crate::error::{Error, Result};
use crate::memory::fork::FORKED;
use crate::memory::guard::Inside;
use crate::memory::racy;
use crate::types::{Info, Read, ValueType};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

/// Probes without a lock before a reader takes it.
const ATTEMPTS: u32 = 16;
/// Overflow lines a probe follows; a longer walk has strayed into lines that are being reused.
const CHAIN: u32 = 64;

/// What a look-up found, readable until it is dropped.
pub struct Hit<'a> {
    guard: Inside,
    store: &'a StoreInner,
    shard: &'a Shard,
    line: &'a Line,
    slot: usize,
    tag: u16,
    location: u32,
    pub entry: Entry,
}

/// How a look-up ended that took no lock.
pub enum Probe<'a> {
    /// An entry of the key; it may be expired.
    Hit(Hit<'a>),
    /// The key had no entry at some moment during the probe. The number is the reader's slot.
    Miss(u32),
    /// Writers kept changing what was being read.
    Unsettled,
}

impl StoreInner {
    /// The shard of a hash.
    #[inline(always)]
    pub fn shard_of(&self, hash: u64) -> &Shard {
        let number = ((hash >> 1) >> self.shard_shift) as usize;
        // The mask keeps the compiler from checking what the shift already guarantees.
        &self.shards[number & (self.shards.len() - 1)]
    }

    /// Looks a key up without a lock.
    #[inline(always)]
    pub fn probe(&self, hash: u64, key: &[u8]) -> Result<Probe<'_>> {
        let shard = self.shard_of(hash);
        let table = &shard.table;
        let tag = tag_of(hash);
        let Some(mut guard) = Inside::enter(self.generation) else { return Err(FORKED) };
        'attempt: for _ in 0..ATTEMPTS {
            let geometry = table.geometry();
            if !geometry.in_service() {
                return Err(out_of_service(geometry.is_closed()));
            }
            let Some(home) = table.home(geometry.bucket(hash)) else { continue };
            let before = home.header();
            let (mut line, mut header) = (home, before);
            for _ in 0..CHAIN {
                let mut matches = line.matches(tag);
                while matches != 0 {
                    let slot = matches.trailing_zeros() as usize;
                    matches &= matches - 1;
                    let location = line.location(slot);
                    if location == 0 {
                        continue;
                    }
                    let segment = self.segment_of(location);
                    let at = self.address(location);
                    self.wait_for(at);
                    guard.announce(segment, &self.space().meta(segment).readers);
                    if self.skip_recheck() || line.still(slot, tag, location) {
                        // SAFETY: the slot named this place after its segment was announced, so
                        // the entry stays until the guard is dropped, which Hit owns.
                        let entry = unsafe { Entry::at(at) };
                        if entry.key_is(key) {
                            return Ok(Probe::Hit(Hit {
                                guard,
                                store: self,
                                shard,
                                line,
                                slot,
                                tag,
                                location,
                                entry,
                            }));
                        }
                    } else {
                        continue 'attempt;
                    }
                }
                if !Line::spills(header) {
                    break;
                }
                let Some(next) = table.overflow(line.link()) else { continue 'attempt };
                line = next;
                header = line.header();
            }
            if home.unchanged(before) && table.geometry() == geometry {
                return Ok(Probe::Miss(guard.slot_index()));
            }
        }
        Ok(Probe::Unsettled)
    }

    /// Looks a key up under the lock, for a reader that writers kept from settling. The writer
    /// keeps the entry alive.
    #[cold]
    pub fn probe_locked<'a>(
        &'a self,
        hash: u64,
        key: &[u8],
    ) -> Result<(Writer<'a>, Option<super::shard::Live>)> {
        let writer = self.shard_of(hash).lock(self)?;
        let live = writer.find(hash, key);
        Ok((writer, live))
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[inline(always)]
    fn wait_for(&self, at: *const u8) {
        // SAFETY: every location that a slot ever held lies in the mapped segments of the pool.
        unsafe { racy::touch(at) };
    }

    /// Test builds may make reclaimed segments inaccessible, where an early touch would fault.
    #[cfg(any(test, feature = "testing"))]
    #[inline(always)]
    fn wait_for(&self, at: *const u8) {
        racy::prefetch(at);
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[inline(always)]
    const fn skip_recheck(&self) -> bool {
        false
    }

    #[cfg(any(test, feature = "testing"))]
    #[inline(always)]
    fn skip_recheck(&self) -> bool {
        super::testing::SKIP_RECHECK.load(Ordering::Relaxed)
    }
}

/// The failure of a look-up in a shard that is not in service.
#[cold]
fn out_of_service(closed: bool) -> Error {
    if closed { CLOSED } else { POISONED }
}

impl<'a> Hit<'a> {
    /// Whether the entry's time is over; `left` in milliseconds otherwise.
    #[inline(always)]
    pub fn time_left(&self) -> std::result::Result<Option<u64>, ()> {
        let expires = self.entry.expires();
        if expires == NEVER {
            return Ok(None);
        }
        let now = self.store.clock.now_ms();
        if expires <= now { Err(()) } else { Ok(Some(expires - now)) }
    }

    /// Counts the hit where the policy sees it.
    #[inline(always)]
    pub fn count(&self) {
        self.line.count_hit(self.slot, self.tag);
        if self.store.promotes {
            self.ask_promotion();
        }
    }

    fn ask_promotion(&self) {
        let meta = self.store.space().meta(self.store.segment_of(self.location));
        let queue = usize::from(meta.queue.load(Ordering::Relaxed) & 0x0F);
        let position =
            meta.position.load(Ordering::Relaxed) + u64::from(self.store.offset_of(self.location));
        if position < self.shard.promote_before[queue].load(Ordering::Relaxed)
            && self.shard.ask_promotion(self.location)
        {
            self.store.promotions_due.store(true, Ordering::Relaxed);
        }
    }

    /// The reader's slot number, for counters.
    #[inline(always)]
    pub fn slot_index(&self) -> u32 {
        self.guard.slot_index()
    }

    /// The entry's metadata.
    #[inline(always)]
    pub fn info(&self, ttl_ms: Option<u64>) -> Info {
        info_of(self.store, &self.entry, self.location, ttl_ms)
    }

    /// Where the value lies; announces its run if it has one. `None`: it was replaced meanwhile.
    #[inline(always)]
    pub fn value(&mut self) -> Option<*const u8> {
        match self.entry.run() {
            None => Some(self.entry.inline_value()),
            Some(run) => self.announce_run(run),
        }
    }

    /// From here on the entry itself is not protected, only the run.
    fn announce_run(&mut self, run: u32) -> Option<*const u8> {
        let space = self.store.space();
        self.guard.announce(run, &space.run_meta(run).readers);
        self.line
            .still(self.slot, self.tag, self.location)
            .then(|| space.run_addr(run).cast_const())
    }

    /// The segment that holds the entry.
    pub fn segment(&self) -> u32 {
        self.store.segment_of(self.location)
    }
}

/// The metadata of an entry that is protected.
#[inline(always)]
pub fn info_of(store: &StoreInner, entry: &Entry, location: u32, ttl_ms: Option<u64>) -> Info {
    Info {
        len: entry.value_len(),
        version: store.version_of(location),
        ttl_ms,
        session: entry.session(),
        value_type: entry.value_type(),
        flags: entry.app(),
    }
}

/// What came of a read that copies only the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The value is in the buffer.
    Hit {
        /// Its bytes.
        len: usize,
        /// What it is.
        value_type: ValueType,
    },
    /// The buffer is too small and untouched.
    SmallBuffer {
        /// Bytes that it takes.
        len: usize,
    },
    /// No live entry.
    Miss,
}

impl StoreInner {
    /// Copies the value of a key out.
    #[inline(always)]
    pub fn copy_out(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Copied> {
        for _ in 0..ATTEMPTS {
            let mut hit = match self.probe(hash, key)? {
                Probe::Hit(hit) => hit,
                Probe::Miss(slot) => {
                    if !peek {
                        self.counters.miss(slot);
                    }
                    return Ok(Copied::Miss);
                }
                Probe::Unsettled => break,
            };
            if hit.time_left().is_err() {
                if !peek {
                    self.counters.miss(hit.slot_index());
                }
                return Ok(Copied::Miss);
            }
            let len = hit.entry.value_len();
            let value_type = hit.entry.value_type();
            if len > buf.len() {
                return Ok(Copied::SmallBuffer { len });
            }
            let Some(value) = hit.value() else { continue };
            // SAFETY: the hit protects the value's bytes, the buffer has room for them, and pool
            // memory does not overlap it.
            unsafe { std::ptr::copy_nonoverlapping(value, buf.as_mut_ptr().cast(), len) };
            if !peek {
                hit.count();
                self.counters.hit(hit.slot_index());
            }
            drop(hit);
            if self.promotes && self.promotions_due.load(Ordering::Relaxed) {
                self.drain_due(self.shard_of(hash));
            }
            return Ok(Copied::Hit { len, value_type });
        }
        Ok(match self.read_locked(hash, key, buf, peek)? {
            Read::Hit(info) => Copied::Hit { len: info.len, value_type: info.value_type },
            Read::SmallBuffer(info) => Copied::SmallBuffer { len: info.len },
            Read::Miss => Copied::Miss,
        })
    }

    /// Copies the value of a key out, with its metadata.
    pub fn read(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Read> {
        for _ in 0..ATTEMPTS {
            let mut hit = match self.probe(hash, key)? {
                Probe::Hit(hit) => hit,
                Probe::Miss(slot) => {
                    if !peek {
                        self.counters.miss(slot);
                    }
                    return Ok(Read::Miss);
                }
                Probe::Unsettled => break,
            };
            let Ok(ttl_ms) = hit.time_left() else {
                if !peek {
                    self.counters.miss(hit.slot_index());
                }
                return Ok(Read::Miss);
            };
            let info = hit.info(ttl_ms);
            if info.len > buf.len() {
                return Ok(Read::SmallBuffer(info));
            }
            let Some(value) = hit.value() else { continue };
            // SAFETY: as in `copy_out`.
            unsafe { std::ptr::copy_nonoverlapping(value, buf.as_mut_ptr().cast(), info.len) };
            if !peek {
                hit.count();
                self.counters.hit(hit.slot_index());
            }
            return Ok(Read::Hit(info));
        }
        self.read_locked(hash, key, buf, peek)
    }

    /// The read of last resort, for a key that writers do not leave alone.
    #[cold]
    fn read_locked(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Read> {
        let (writer, live) = self.probe_locked(hash, key)?;
        let Some(live) = live.filter(|live| !writer.is_expired(&live.entry)) else {
            if !peek {
                self.counters.miss(u32::MAX);
            }
            return Ok(Read::Miss);
        };
        let info = self.info_under_lock(&live);
        if info.len > buf.len() {
            return Ok(Read::SmallBuffer(info));
        }
        self.copy_under_lock(&live, buf);
        if !peek {
            self.counters.hit(u32::MAX);
        }
        Ok(Read::Hit(info))
    }
}
