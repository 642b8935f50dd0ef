//! Writes under a shard's lock.
//!
//! Every write appends a new entry and then points the key's slot to it, so a reader sees the old
//! value or the new one, whole. A call that lacks room says so with [`Step::Room`] before it has
//! changed anything that a second attempt would change again; the caller lets go of the lock,
//! obtains room, and comes back.

use super::entry::{NEVER, Shape};
use super::index::Table;
use super::index::line::Line;
use super::log::FillValue;
use super::put::Straight;
use super::shard::CLOSED;
use super::writer::{Live, Writer, fingerprint};
use crate::error::Result;
use crate::eviction::{EntryMeta, Placement, Policy};
use crate::memory::copy;
use crate::pool::space::Use;
use crate::stats::Tally;
use crate::types::{DeleteOutcome, PutMode, PutOptions, PutOutcome, Ttl, ValueType};
use std::sync::atomic::Ordering::{Relaxed, Release};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// With this outcome.
    Done(T),
    /// A segment is needed first.
    Room,
}

/// Where the value of a write comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Copied into the log.
    Inline(&'a [u8]),
    /// Written into a run already.
    Run {
        /// The run.
        run: u32,
        /// Bytes of the value.
        len: u32,
    },
}

impl Source<'_> {
    fn len(&self) -> u32 {
        match self {
            Source::Inline(value) => value.len() as u32,
            Source::Run { len, .. } => *len,
        }
    }
}

impl Writer<'_> {
    /// A write of a value into the log with every default and without a time to live, on the home
    /// line of its key, of an entry of so many (rounded) bytes.
    #[inline(always)]
    pub fn put_plainly(
        &mut self,
        home: &Line,
        hash: u64,
        key: &[u8],
        value: &[u8],
        value_type: ValueType,
        bytes: u32,
    ) -> Straight {
        if let Some(live) = self.find_from(home, hash, key) {
            return self.overwrite_plainly(hash, live, key, value, value_type, bytes);
        }
        if !matches!(self.make_insert_room(home, hash, bytes), Ok(true)) {
            return Straight::BEGUN;
        }
        let shape = Shape::plain(key, value, value_type);
        match self.insert(home, hash, bytes, &shape, key, Source::Inline(value)) {
            Some(location) => self.stored(location, bytes),
            None => Straight::DECLINED,
        }
    }

    #[inline(never)]
    fn overwrite_plainly(
        &mut self,
        hash: u64,
        live: Live,
        key: &[u8],
        value: &[u8],
        value_type: ValueType,
        bytes: u32,
    ) -> Straight {
        let queue = self.queue_of(live.slot.location);
        if self.is_expired(&live.entry) || !matches!(self.make_head(queue, bytes), Ok(true)) {
            return Straight::BEGUN;
        }
        let shape = Shape::plain(key, value, value_type);
        let location = self.overwrite(hash, &live, bytes, &shape, key, Source::Inline(value));
        self.stored(location, bytes)
    }

    #[inline(always)]
    fn stored(&self, location: u32, bytes: u32) -> Straight {
        self.shard.counters().add(Tally::WrittenBytes, u64::from(bytes));
        Straight::stored(self.store.version_of(location))
    }

    /// [`Writer::put`] that ends the lease of its key.
    #[inline(always)]
    pub fn put_noting(
        &mut self,
        hash: u64,
        key: &[u8],
        source: Source<'_>,
        options: &PutOptions,
    ) -> Result<Step<PutOutcome>> {
        let step = self.put(hash, key, source, options)?;
        if let Step::Done(PutOutcome::Stored(_)) = step {
            self.note_change(hash, key);
        }
        Ok(step)
    }

    /// One attempt at a write.
    #[inline(always)]
    pub fn put(
        &mut self,
        hash: u64,
        key: &[u8],
        source: Source<'_>,
        options: &PutOptions,
    ) -> Result<Step<PutOutcome>> {
        self.put_loaded(hash, key, source, options, 0)
    }

    /// One attempt at a write of what took so many microseconds to load; 0: it was not loaded.
    #[inline(never)]
    pub fn put_loaded(
        &mut self,
        hash: u64,
        key: &[u8],
        source: Source<'_>,
        options: &PutOptions,
        load_us: u64,
    ) -> Result<Step<PutOutcome>> {
        let shard = self.shard;
        // Only a table that was taken down has no lines.
        let Some(home) = shard.table.home_of(hash) else { return Err(CLOSED) };
        let mut found = self.find_from(home, hash, key);
        if let Some(live) = found
            && self.is_expired(&live.entry)
        {
            self.expire(hash, live);
            found = None;
        }
        match (options.mode, &found) {
            (PutMode::Add, Some(_)) => return Ok(Step::Done(PutOutcome::Exists)),
            (PutMode::Replace | PutMode::CompareAndSet(_), None) => {
                return Ok(Step::Done(PutOutcome::NotFound));
            }
            (PutMode::CompareAndSet(version), Some(live))
                if version != self.store.version_of(live.slot.location) =>
            {
                return Ok(Step::Done(PutOutcome::Conflict));
            }
            (PutMode::Add | PutMode::Set, None)
            | (PutMode::Set | PutMode::Replace | PutMode::CompareAndSet(_), Some(_)) => {}
        }
        let times = self.times(options, found.as_ref(), load_us);
        let shape = Shape {
            key_len: key.len() as u16,
            value_len: source.len(),
            value_type: options.value_type,
            expires: times.expires,
            session: options.session,
            app: options.flags,
            run: match source {
                Source::Inline(_) => None,
                Source::Run { run, .. } => Some(run),
            },
            soft: times.soft,
            load: times.load,
            idle: times.idle,
        };
        let bytes = self.places.rounded(shape.bytes()) as u32;
        let location = match found {
            Some(live) => {
                let queue = self.queue_of(live.slot.location);
                if !self.make_head(queue, bytes)? {
                    return Ok(Step::Room);
                }
                let shape = self.with_session(shape);
                self.overwrite(hash, &live, bytes, &shape, key, source)
            }
            None => {
                if !self.make_insert_room(home, hash, bytes)? {
                    return Ok(Step::Room);
                }
                let shape = self.with_session(shape);
                match self.insert(home, hash, bytes, &shape, key, source) {
                    Some(location) => location,
                    None => return Ok(Step::Done(PutOutcome::NotAdmitted)),
                }
            }
        };
        self.shard.counters().add(Tally::WrittenBytes, u64::from(bytes));
        Ok(Step::Done(PutOutcome::Stored(self.store.version_of(location))))
    }

    /// With what the entry keeps of its session. After room was made, which may end sessions.
    #[inline(always)]
    fn with_session(&self, shape: Shape) -> Shape {
        Shape { session: self.store.session_in(shape.session), ..shape }
    }

    /// When an entry written now expires.
    #[inline(always)]
    pub fn expiry(&mut self, ttl: Ttl, replaced: Option<&Live>) -> u64 {
        let own = |ttl_ms: u64, writer: &mut Self| {
            writer.state.expires = true;
            let shortened = ttl_ms - writer.jitter(ttl_ms);
            let now = writer.store.clock.now_ms();
            writer.state.view.now_ms = now;
            now.saturating_add(shortened).min(NEVER - 1)
        };
        match (ttl, replaced) {
            (Ttl::Never, _) => NEVER,
            (Ttl::Millis(ttl_ms), _) => own(ttl_ms, self),
            (Ttl::Keep, Some(live)) => live.entry.expires(),
            (Ttl::Default | Ttl::Keep, _) => match self.store.config.default_ttl_ms {
                0 => NEVER,
                ttl_ms => own(ttl_ms, self),
            },
        }
    }

    /// What a time to live is shortened by: uniform up to the store's share.
    pub fn jitter(&mut self, ttl_ms: u64) -> u64 {
        let share = self.store.config.jitter_pct;
        if share == 0 {
            return 0;
        }
        let most = u128::from(ttl_ms) * u128::from(share) / 100;
        ((u128::from(self.roll()) * (most + 1)) >> 64) as u64
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        // xorshift64 (Marsaglia 2003): spread is all that is asked of it.
        let mut dice = self.state.dice;
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        self.state.dice = dice;
        dice
    }

    #[inline(always)]
    fn overwrite(
        &mut self,
        hash: u64,
        live: &Live,
        bytes: u32,
        shape: &Shape,
        key: &[u8],
        source: Source<'_>,
    ) -> u32 {
        let old = self.extent(live);
        let meta = self.meta_of(hash, live, &old);
        let hits = self.ask(|policy, cx| policy.replace(cx, &meta));
        let location = self.append(old.queue, bytes, shape, key, source);
        self.shard.table.relocate(live.place, location, hits);
        self.count_out(old.queue, old.full);
        self.leave_session(&live.entry, old.full);
        self.state.payload -= old.payload;
        let full = self.account_new(old.queue, bytes, shape);
        self.join_session(shape.session, full);
        self.bury(live.slot.location, old.log_bytes);
        self.drop_run(live.entry.run());
        self.shard.counters().count(Tally::Updates);
        location
    }

    /// Sees to it that an insert can neither lack a head nor a slot; false if a segment is needed.
    #[inline(always)]
    fn make_insert_room(&mut self, home: &Line, hash: u64, bytes: u32) -> Result<bool> {
        if !self.make_entry_room() {
            return Ok(false);
        }
        for queue in 0..usize::from(self.store.newcomer_queues) {
            if !self.make_head(queue, bytes)? {
                return Ok(false);
            }
        }
        if self.shard.table.has_vacancy(&self.state.tail, home) {
            return Ok(true);
        }
        self.make_index_room(hash)
    }

    #[cold]
    #[inline(never)]
    fn make_index_room(&mut self, hash: u64) -> Result<bool> {
        let Some(segment) = self.store.take_segment(Use::Index)? else { return Ok(false) };
        let shard = self.shard;
        if !shard.table.add_overflow_chunk(&mut self.state.tail, segment) {
            self.store.give_segment(segment);
            self.evict_from_bucket(hash);
        }
        Ok(true)
    }

    /// Makes room in a bucket whose chain can get no longer: its coldest entry goes.
    fn evict_from_bucket(&mut self, hash: u64) {
        let shard = self.shard;
        let bucket = shard.table.geometry().bucket(hash);
        let mut coldest = None;
        shard.table.each_slot(bucket, |place, slot| {
            if coldest.is_none_or(|(_, known): (_, super::index::line::SlotValue)| {
                slot.hits() < known.hits()
            }) {
                coldest = Some((place, slot));
            }
        });
        if let Some((place, slot)) = coldest {
            let live = Live { place, slot, entry: self.entry_at(slot.location) };
            let victim = self.hash_at(slot.location);
            let extent = self.extent(&live);
            let meta = self.meta_of(victim, &live, &extent);
            self.evict(&live, &extent, &meta);
        }
    }

    #[inline(always)]
    fn insert(
        &mut self,
        home: &Line,
        hash: u64,
        bytes: u32,
        shape: &Shape,
        key: &[u8],
        source: Source<'_>,
    ) -> Option<u32> {
        let run = shape.run.map_or(0, |run| self.store.space().run_charge(run));
        let meta = EntryMeta {
            bytes: u32::try_from(u64::from(bytes) + run).unwrap_or(u32::MAX),
            hits: 0,
            queue: 0,
            fingerprint: fingerprint(hash),
            position: 0,
            expires_ms: shape.expires,
            session: shape.session,
        };
        let (policy, mut cx) = self.policy();
        let (queue, hits) = match policy.place(&mut cx, &meta) {
            Placement::Queue { queue, hits } => (usize::from(queue), hits),
            Placement::Contest { queue, lost } => match self.contested(&meta, bytes, queue, lost) {
                Some(queue) => (queue, 0),
                None => return self.declined(),
            },
            Placement::Decline => return self.declined(),
        };
        let location = self.append(queue, bytes, shape, key, source);
        let shard = self.shard;
        self.attend(hash, shape.session, u64::from(bytes) + run);
        if !shard.table.insert(&mut self.state.tail, home, hash, location, hits) {
            // Cannot be: `make_insert_room` saw a vacancy under this same lock. The bytes are
            // dead, and the entry counts as declined.
            self.dismiss(hash, shape.session, u64::from(bytes) + run);
            self.bury(location, bytes);
            self.shard.counters().count(Tally::NotAdmitted);
            return None;
        }
        self.account_new(queue, bytes, shape);
        self.follow_head();
        self.shard.counters().count(Tally::Inserts);
        self.adapt_index();
        Some(location)
    }

    #[cold]
    fn declined(&self) -> Option<u32> {
        self.shard.counters().count(Tally::NotAdmitted);
        None
    }

    /// Counts a new entry in; returns the bytes that it takes.
    #[inline(always)]
    fn account_new(&mut self, queue: usize, bytes: u32, shape: &Shape) -> u64 {
        let run = shape.run.map_or(0, |run| self.store.space().run_charge(run));
        self.count_in(queue, u64::from(bytes) + run);
        if let Some(run) = shape.run {
            self.adopt_run(run);
        }
        self.state.payload += u64::from(shape.key_len) + u64::from(shape.value_len);
        u64::from(bytes) + run
    }

    /// Grows or shrinks the index by a bucket where its load asks for it.
    #[inline(always)]
    pub fn adapt_index(&mut self) {
        if Table::wants_change(&self.state.tail) {
            self.change_index();
        }
    }

    #[inline(never)]
    fn change_index(&mut self) {
        let shard = self.shard;
        if let Some(segment) = shard.table.released_chunk(&mut self.state.tail) {
            self.store.retire_index(segment);
        }
        if Table::wants_growth(&self.state.tail) {
            if shard.table.growth_needs_chunk() {
                let Ok(Some(segment)) = self.store.take_segment(Use::Index) else { return };
                if !shard.table.add_home_chunk(&mut self.state.tail, segment) {
                    self.store.give_segment(segment);
                    return;
                }
            }
            let store = self.store;
            shard.table.prefetch_growth(|location| {
                crate::memory::racy::prefetch(store.places.address(location));
            });
            let mut tail = std::mem::replace(&mut self.state.tail, super::index::Tail::nothing());
            shard.table.grow(&mut tail, |location| self.hash_at(location));
            self.state.tail = tail;
        }
        for _ in 0..2 {
            if !Table::wants_shrink(&self.state.tail) {
                return;
            }
            match shard.table.shrink(&mut self.state.tail) {
                Some(Some(segment)) => self.store.retire_index(segment),
                Some(None) => {}
                None => return,
            }
        }
    }

    /// Removes a key's entry, if its version is the expected one.
    pub fn delete(&mut self, hash: u64, key: &[u8], expected: Option<u64>) -> DeleteOutcome {
        let Some(live) = self.find(hash, key) else { return DeleteOutcome::NotFound };
        if self.is_expired(&live.entry) {
            self.expire(hash, live);
            return DeleteOutcome::NotFound;
        }
        if expected.is_some_and(|version| version != self.store.version_of(live.slot.location)) {
            return DeleteOutcome::Conflict;
        }
        self.forget(hash, live);
        self.shard.counters().count(Tally::Deletes);
        self.adapt_index();
        DeleteOutcome::Deleted
    }

    /// Removes a key's entry because a write that meant to replace it failed.
    pub fn drop_outdated(&mut self, hash: u64, key: &[u8]) {
        if let Some(live) = self.find(hash, key) {
            self.forget(hash, live);
        }
    }

    /// Restarts a time to live.
    pub fn touch(&mut self, hash: u64, key: &[u8], ttl: Ttl) -> Result<Step<bool>> {
        let Some(live) = self.find(hash, key) else { return Ok(Step::Done(false)) };
        if self.is_expired(&live.entry) {
            self.expire(hash, live);
            return Ok(Step::Done(false));
        }
        let shard = self.shard;
        if ttl != Ttl::Keep {
            let expires = self.expiry(ttl, Some(&live));
            if let Some(cell) = live.entry.expiry() {
                let expires = self.touch_idle(&live.entry, expires);
                cell.store(expires, Release);
                let meta = self.meta(self.places.segment_of(live.slot.location));
                if expires < meta.earliest.load(Relaxed) {
                    meta.earliest.store(expires, Relaxed);
                }
            } else if expires != NEVER && !self.rewrite_with_expiry(&live, expires)? {
                return Ok(Step::Room);
            }
        }
        self.store.refresh_idle(&live.entry);
        shard.table.count_hit(live.place);
        if self.store.hears_at != 0 {
            self.hear_of(hash, key);
        }
        Ok(Step::Done(true))
    }

    /// Appends an entry that had no time to live again, with one; false if a segment is needed.
    fn rewrite_with_expiry(&mut self, live: &Live, expires: u64) -> Result<bool> {
        let shape = Shape { expires, ..live.entry.shape() };
        let bytes = self.places.rounded(shape.bytes()) as u32;
        let queue = self.queue_of(live.slot.location);
        if !self.make_head(queue, bytes)? {
            return Ok(false);
        }
        let old_log = self.log_bytes(&live.entry);
        let (from, len) = (live.entry.inline_value(), shape.value_len as usize);
        let location = self.append(queue, bytes, &shape, live.entry.key(), |at| {
            if shape.run.is_none() {
                // SAFETY: the value of the live entry, and room for it that was just set aside.
                unsafe { std::ptr::copy_nonoverlapping(from, at, len) };
            }
        });
        let hits = self.shard.table.hits(live.place);
        self.shard.table.relocate(live.place, location, hits);
        let counted = &mut self.state.view.queues[queue];
        counted.bytes = counted.bytes + u64::from(bytes) - u64::from(old_log);
        self.leave_session(&live.entry, u64::from(old_log));
        self.join_session(live.entry.session(), u64::from(bytes));
        self.bury(live.slot.location, old_log);
        Ok(true)
    }
}

impl FillValue for Source<'_> {
    #[inline(always)]
    fn fill(self, at: *mut u8) {
        if let Source::Inline(value) = self {
            // SAFETY: the append that calls this set as many bytes aside, which nobody else sees
            // yet.
            unsafe { copy::value(value.as_ptr(), at, value.len()) };
        }
    }
}
