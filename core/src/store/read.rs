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

use super::entry::{Entry, NEVER};
use super::index::line::{Line, tag_of};
use super::promotion::Asked;
use super::shard::{CLOSED, POISONED, Shard};
use super::writer::Writer;
use super::{HitRule, StoreInner, hear};
use crate::error::{Error, Result};
use crate::eviction::HITS_MAX;
use crate::memory::fork::FORKED;
use crate::memory::guard::{Guard, Inside, Seated};
use crate::memory::racy;
use crate::stats::ReadTally;
use crate::types::Info;
use std::sync::atomic::{Ordering, fence};

/// Probes without a lock before a reader takes it.
const ATTEMPTS: u32 = 16;
/// Lines a probe follows. A longer walk has strayed into lines that are being reused, or the chain
/// is longer, and is searched under the lock.
const CHAIN: u32 = 64;

/// The shard of a key is in the highest bits of its hash; this many are below them.
pub const SHARD_SHIFT: u32 = 56;

/// An entry that a slot names.
#[derive(Clone, Copy)]
struct Found<'a> {
    shard: &'a Shard,
    line: &'a Line,
    slot: usize,
    tag: u16,
    location: u32,
    entry: Entry,
}

/// What a look-up found, readable while it is visited.
pub struct Hit<'a, G> {
    guard: &'a mut G,
    store: &'a StoreInner,
    found: Found<'a>,
}

/// What a look-up does with the entry it finds. A trait and not a closure, so that it is inlined
/// into the straight path although the full one calls it as well; a copy and not a reference, so
/// that it stays in registers there.
pub trait Visit: Copy {
    /// What it makes of the entry.
    type Out;

    /// Whether the filter is asked before the index, where that pays.
    const ASKS: bool = true;
    /// Whether a miss on the straight path is weighed there; else the caller does.
    const WEIGHS: bool = true;

    /// Whether it counts what it finds and what it does not.
    fn counts(self) -> bool;

    /// There is no entry; `slot` is the reader's number.
    fn miss(self, store: &StoreInner, slot: u32) -> Self::Out;

    /// Visits the entry, which may be expired. `None`: it was replaced meanwhile, look again.
    fn visit<G: Guard>(self, hit: &mut Hit<'_, G>) -> Option<Self::Out>;
}

/// A visitor for whom the filter is not asked: it let the key pass, or the lines of the index were asked
/// for already.
#[derive(Clone, Copy)]
pub struct Near<V>(pub V);

impl<V: Visit> Visit for Near<V> {
    type Out = V::Out;
    const ASKS: bool = false;
    const WEIGHS: bool = V::WEIGHS;

    #[inline(always)]
    fn counts(self) -> bool {
        self.0.counts()
    }

    #[inline(always)]
    fn miss(self, store: &StoreInner, slot: u32) -> V::Out {
        self.0.miss(store, slot)
    }

    #[inline(always)]
    fn visit<G: Guard>(self, hit: &mut Hit<'_, G>) -> Option<V::Out> {
        self.0.visit(hit)
    }
}

/// How a look-up ended that took no lock.
#[derive(Clone, Copy)]
pub enum Probe<T> {
    /// The key's entry was visited, or it had none at some moment during the probe.
    Settled(T),
    /// Writers kept changing what was being read.
    Unsettled,
    /// The store belongs to the parent process.
    Forked,
    /// The store was destroyed.
    Closed,
    /// The shard is out of service.
    Poisoned,
}

impl<T> Probe<T> {
    /// The failure that this is; `None` for a probe that settled and for one that did not.
    #[cold]
    pub fn failure(&self) -> Option<Error> {
        match self {
            Self::Settled(_) | Self::Unsettled => None,
            Self::Forked => Some(FORKED),
            Self::Closed => Some(CLOSED),
            Self::Poisoned => Some(POISONED),
        }
    }
}

impl StoreInner {
    /// The shard of a hash.
    #[inline(always)]
    pub fn shard_of(&self, hash: u64) -> &Shard {
        let number = (hash >> SHARD_SHIFT) as usize & self.shards_mask;
        // SAFETY: `shards_mask` is the number of shards, a power of two, less one; `make` fills
        // both in before anybody else sees the store.
        unsafe { self.shards.get_unchecked(number) }
    }

    /// Looks a key up without a lock and has `visitor` visit its entry.
    #[inline(always)]
    pub fn probe<V: Visit>(&self, hash: u64, key: &[u8], visitor: V) -> Probe<V::Out> {
        match self.probe_straight(hash, key, visitor) {
            Some(out) => Probe::Settled(out),
            None => self.probe_otherwise(hash, key, visitor),
        }
    }

    /// A look-up that the straight path does not settle.
    #[inline(never)]
    pub fn probe_otherwise<V: Visit>(&self, hash: u64, key: &[u8], visitor: V) -> Probe<V::Out> {
        if self.has_screens
            && let Some(out) = self.probe_screened(hash, key, visitor)
        {
            return Probe::Settled(out);
        }
        self.probe_fully(hash, key, visitor)
    }

    /// The straight path of a look-up: the first matching slot, unchanged, of the home line or the
    /// one it spills into. Whatever else there is does not settle, and
    /// [`StoreInner::probe_fully`] begins anew.
    #[inline(always)]
    pub fn probe_straight<V: Visit>(&self, hash: u64, key: &[u8], visitor: V) -> Option<V::Out> {
        let shard = self.shard_of(hash);
        let tag = tag_of(hash);
        let mut guard = Seated::enter(self.slot_tag)?;
        let geometry = shard.table.geometry();
        if !(if V::ASKS { geometry.is_straight() } else { geometry.in_service() }) {
            return None;
        }
        let home = shard.table.home(geometry.bucket(hash))?;
        let header = home.header();
        let mut line = home;
        let mut matches = home.matches(tag);
        if matches == 0 {
            let mut goes_on = Line::spills(header);
            if goes_on {
                line = shard.table.overflow(home.link())?;
                goes_on = Line::spills(line.header());
                matches = line.matches(tag);
            }
            if matches == 0 {
                let is_miss =
                    !goes_on && home.unchanged(header) && shard.table.geometry() == geometry;
                return is_miss.then(|| {
                    let out = visitor.miss(self, guard.slot_index());
                    if V::WEIGHS && self.weighs.load(Ordering::Relaxed) {
                        self.weigh_miss(shard, guard.slot_index());
                    }
                    out
                });
            }
        }
        let slot = matches.trailing_zeros() as usize;
        let location = line.location(slot);
        if location == 0 {
            return None;
        }
        let entry = self.protect(&mut guard, line, slot, tag, location)?;
        let Some(bare) = entry.bare(key.len()) else {
            let found = Found { shard, line, slot, tag, location, entry };
            return self.visit_with_fields(guard, &found, key, visitor);
        };
        if !bare.key_is(key) {
            return None;
        }
        let found = Found { shard, line, slot, tag, location, entry: bare };
        visitor.visit(&mut Hit { guard: &mut guard, store: self, found })
    }

    /// [`StoreInner::probe_straight`] where the filter is to be asked before the index.
    #[inline(always)]
    fn probe_screened<V: Visit>(&self, hash: u64, key: &[u8], visitor: V) -> Option<V::Out> {
        let shard = self.shard_of(hash);
        {
            let guard = Seated::enter(self.slot_tag)?;
            let geometry = shard.table.geometry();
            if geometry.is_straight() || !geometry.in_service() {
                return None;
            }
            let slot = guard.slot_index();
            if self.is_screened_out(shard, hash) {
                if visitor.counts() {
                    self.counters.read_add(slot, ReadTally::FilterSkips, 1);
                }
                let out = visitor.miss(self, slot);
                self.weigh_miss(shard, slot);
                return Some(out);
            }
            self.weigh_pass(shard, slot);
        }
        self.probe_straight(hash, key, Near(visitor))
    }

    /// Visits an entry that has optional fields, if its key is this one.
    #[inline(never)]
    fn visit_with_fields<V: Visit>(
        &self,
        mut guard: Seated,
        found: &Found<'_>,
        key: &[u8],
        visitor: V,
    ) -> Option<V::Out> {
        if !found.entry.key_is(key) {
            return None;
        }
        visitor.visit(&mut Hit { guard: &mut guard, store: self, found: *found })
    }

    /// Announces the segment of a location and reads the entry's header, if the slot still names
    /// it.
    #[inline(always)]
    fn protect(
        &self,
        guard: &mut impl Guard,
        line: &Line,
        slot: usize,
        tag: u16,
        location: u32,
    ) -> Option<Entry> {
        let segment = self.places.segment_of(location);
        let at = self.places.address(location);
        self.wait_for(at);
        guard.announce(segment, || &self.meta(segment).readers);
        if !self.skip_recheck() && !line.still(slot, tag, location) {
            return None;
        }
        // SAFETY: the slot named this place after its segment was announced, so the entry stays
        // until the announcement is withdrawn, which the caller's guard outlives.
        Some(unsafe { Entry::at(at) })
    }

    /// [`StoreInner::probe`] for every case.
    #[inline(never)]
    fn probe_fully<V: Visit>(&self, hash: u64, key: &[u8], visitor: V) -> Probe<V::Out> {
        let shard = self.shard_of(hash);
        let table = &shard.table;
        let tag = tag_of(hash);
        let Some(mut guard) = Inside::enter(self.generation) else { return Probe::Forked };
        'attempt: for _ in 0..ATTEMPTS {
            let geometry = table.geometry();
            if !geometry.in_service() {
                return if geometry.is_closed() { Probe::Closed } else { Probe::Poisoned };
            }
            let Some(home) = table.home(geometry.bucket(hash)) else { continue };
            let before = home.header();
            let (mut line, mut header) = (home, before);
            for lines in 1.. {
                let mut matches = line.matches(tag);
                while matches != 0 {
                    let slot = matches.trailing_zeros() as usize;
                    matches &= matches - 1;
                    let location = line.location(slot);
                    if location == 0 {
                        continue;
                    }
                    let Some(entry) = self.protect(&mut guard, line, slot, tag, location) else {
                        continue 'attempt;
                    };
                    if !entry.key_is(key) {
                        continue;
                    }
                    let found = Found { shard, line, slot, tag, location, entry };
                    match visitor.visit(&mut Hit { guard: &mut guard, store: self, found }) {
                        Some(out) => return Probe::Settled(out),
                        None => continue 'attempt,
                    }
                }
                if !Line::spills(header) {
                    break;
                }
                if lines == CHAIN {
                    continue 'attempt;
                }
                let Some(next) = table.overflow(line.link()) else { continue 'attempt };
                line = next;
                header = line.header();
            }
            if home.unchanged(before) && table.geometry() == geometry {
                return Probe::Settled(visitor.miss(self, guard.slot_index()));
            }
        }
        Probe::Unsettled
    }

    /// Looks a key up under the lock, for a reader that writers kept from settling. The writer
    /// keeps the entry alive.
    #[cold]
    pub fn probe_locked<'a>(
        &'a self,
        hash: u64,
        key: &[u8],
    ) -> Result<(Writer<'a>, Option<super::writer::Live>)> {
        let writer = self.shard_of(hash).lock(self)?;
        let live = writer.find(hash, key);
        Ok((writer, live))
    }

    /// The queue that an entry stands in, and its place there. Of an entry that moved meanwhile it is
    /// anyone's.
    #[inline(always)]
    fn place_of(&self, location: u32) -> (usize, u64) {
        let meta = self.meta(self.places.segment_of(location));
        let queue = usize::from(meta.queue.load(Ordering::Relaxed) & 0x0F);
        let offset = u64::from(self.places.offset_of(location));
        (queue, meta.position.load(Ordering::Relaxed) + offset)
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
        super::testing::before_announcement();
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

impl<G: Guard> Hit<'_, G> {
    /// The store.
    #[inline(always)]
    pub fn store(&self) -> &StoreInner {
        self.store
    }

    /// The entry.
    #[inline(always)]
    pub fn entry(&self) -> &Entry {
        &self.found.entry
    }

    /// The milliseconds until the entry's time is over; fails if that, or its session, is over.
    #[inline(always)]
    pub fn time_left(&self) -> std::result::Result<Option<u64>, ()> {
        let expires = self.found.entry.expires();
        if self.store.has_ended(&self.found.entry) {
            return Err(());
        }
        if expires == NEVER {
            return Ok(None);
        }
        let now = self.store.clock.now_ms();
        if expires <= now { Err(()) } else { Ok(Some(expires - now)) }
    }

    /// Counts the hit, in the statistics and where the policy sees it; nothing with `peek`.
    #[inline(always)]
    pub fn count(&self, peek: bool) {
        if peek {
            return;
        }
        let Found { shard, line, slot, tag, location, .. } = self.found;
        match self.store.hit_rule {
            HitRule::Plain => line.count_hit(slot, tag),
            HitRule::Window => {
                // One comparison for two questions. Of the entries that are hit half may be full
                // and half in the window, and two branches would be guessed wrong again and again;
                // but few are to be counted.
                let (queue, position) = self.store.place_of(location);
                let position = if queue == 0 { position } else { 0 };
                let is_full = u64::from(line.hits(slot) + 1) >> HITS_MAX.count_ones();
                if (position | is_full << 63) < shard.count_before.load(Ordering::Relaxed) {
                    line.count_hit(slot, tag);
                }
            }
            HitRule::Asks => count_and_ask(self.store, shard, line, slot, tag, location),
        }
        self.store.counters.hit(self.guard.slot_index());
        self.store.refresh_session(&self.found.entry);
        self.store.refresh_idle(&self.found.entry);
    }

    /// Counts a miss: the entry's time was over.
    pub fn count_miss(&self, peek: bool) {
        self.store.count_miss(self.guard.slot_index(), peek);
    }

    /// The entry's metadata.
    #[inline(always)]
    pub fn info(&self, ttl_ms: Option<u64>) -> Info {
        info_of(self.store, &self.found.entry, self.found.location, ttl_ms)
    }

    /// Where the value lies; announces its run if it has one, and from then on the entry itself is
    /// not protected. `None`: it was replaced meanwhile.
    #[inline(always)]
    pub fn value(&mut self) -> Option<*const u8> {
        let Some(run) = self.found.entry.run() else {
            return Some(self.found.entry.inline_value());
        };
        let space = self.store.space();
        let seq = &space.meta(self.segment()).seq;
        let before = seq.load(Ordering::Relaxed);
        // Whatever was read of the entry was read before it loses its protection.
        fence(Ordering::Acquire);
        self.guard.announce(run, || &space.run_meta(run).readers);
        // The run may have been given back before it was announced. Then the slot named another
        // place for a while, and names this one again only if the segment was reused meanwhile.
        let is_current =
            self.found.line.still(self.found.slot, self.found.tag, self.found.location)
                && seq.load(Ordering::Relaxed) == before;
        #[cfg(any(test, feature = "testing"))]
        super::testing::before_run_is_used();
        is_current.then(|| space.run_addr(run).cast_const())
    }

    /// The segment that holds the entry.
    pub fn segment(&self) -> u32 {
        self.store.places.segment_of(self.found.location)
    }
}

/// Counts a hit where it may ask for something: the policy may want to hear of it, and one on an
/// old entry may ask for its promotion.
#[inline(never)]
fn count_and_ask(
    store: &StoreInner,
    shard: &Shard,
    line: &Line,
    slot: usize,
    tag: u16,
    location: u32,
) {
    if store.hears_at != 0 {
        return hear::tell(store, shard, line, slot, tag, location);
    }
    let (queue, position) = store.place_of(location);
    if queue != 0 || position < shard.count_before.load(Ordering::Relaxed) {
        line.count_hit(slot, tag);
    }
    let is_old = shard
        .promote_before
        .get(queue)
        .is_some_and(|before| position < before.load(Ordering::Relaxed));
    if is_old && matches!(shard.ring.note(location), Asked::Due | Asked::LostAndDue) {
        store.promotions_due.store(true, Ordering::Relaxed);
    }
}

/// The metadata of an entry that is protected.
#[inline(always)]
pub fn info_of(store: &StoreInner, entry: &Entry, location: u32, ttl_ms: Option<u64>) -> Info {
    Info {
        len: entry.value_len(),
        version: store.version_of(location),
        ttl_ms,
        session: store.session_out(entry.session()),
        value_type: entry.value_type(),
        flags: entry.app(),
    }
}
