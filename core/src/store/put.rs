//! Storing a value: what a write does before and after it holds its shard's lock.
//!
//! Most writes take the straight path: every default, an entry that goes into the log, a lock that
//! is free, room that is there. Whatever is otherwise takes the full path, which finds out
//! where the value goes (the log, or a run of its own), waits for the lock, and obtains room.
//!
//! Invariant: whatever a write that sets or replaces returns, the value that it meant to replace
//! can no longer be read.

use super::entry;
use super::write::{Source, Step};
use super::writer::Writer;
use super::{Fill, StoreInner, check_key};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{fork, guard};
use crate::pool::space::RunId;
use crate::stats::Tally;
use crate::types::{IncrOutcome, KEY_LEN_MAX, PutMode, PutOptions, PutOutcome, Ttl, ValueType};
use std::cell::Cell;
use std::sync::atomic::Ordering;

impl StoreInner {
    /// Writes an entry; whatever fails, the value it meant to replace is gone.
    #[inline]
    pub(super) fn put(
        &self,
        hash: u64,
        key: &[u8],
        value: &[u8],
        options: &PutOptions,
    ) -> Result<PutOutcome> {
        if !options.is_plain() {
            return self.put_fully(hash, key, value, options, false);
        }
        self.put_plainly(hash, key, value, options.value_type)
    }

    /// [`StoreInner::put`] with every default but the type.
    #[inline(always)]
    pub(super) fn put_plainly(
        &self,
        hash: u64,
        key: &[u8],
        value: &[u8],
        value_type: ValueType,
    ) -> Result<PutOutcome> {
        let straight = self.put_straight(hash, key, value, value_type);
        if let Some(version) = straight.version() {
            return Ok(PutOutcome::Stored(version));
        }
        if straight == Straight::DECLINED {
            self.drop_outdated(hash, key, PutMode::Set);
            return Ok(PutOutcome::NotAdmitted);
        }
        let has_begun = straight == Straight::BEGUN;
        self.put_fully(hash, key, value, &PutOptions::plain(value_type), has_begun)
    }

    /// The straight path of a write: every default, no time to live, an entry that goes into the
    /// log, a lock that is free, room that is there. Where anything is otherwise,
    /// [`StoreInner::put_fully`] takes over.
    #[inline(never)]
    fn put_straight(&self, hash: u64, key: &[u8], value: &[u8], value_type: ValueType) -> Straight {
        let len = entry::HEADER + key.len() + value.len();
        if key.len() > KEY_LEN_MAX
            || value.len() as u64 > self.value_len_max.load(Ordering::Relaxed)
            || len > self.straight_max
            || !guard::has_slot(self.slot_tag) && fork::generation() != self.generation
        {
            return Straight::UNTOUCHED;
        }
        let shard = self.shard_of(hash);
        let geometry = shard.table.geometry();
        let Some(home) = shard.table.home(geometry.bucket(hash)) else {
            return Straight::UNTOUCHED;
        };
        home.prefetch();
        let mut straight = Straight::BEGUN;
        let retired = {
            let Some(mut writer) = shard.try_lock_any(self) else { return Straight::UNTOUCHED };
            // Nothing is looked at, and no bucket is split or merged, without the lock.
            let now = shard.table.geometry();
            if now.in_service() {
                let bytes = self.places.rounded(len) as u32;
                writer.begin(hash, bytes);
                #[cfg(any(test, feature = "testing"))]
                super::testing::maybe_panic(hash);
                let is_home = now == geometry;
                let home = if is_home { Some(home) } else { shard.table.home_of(hash) };
                // With leases about, somebody may have to be told.
                if let Some(home) = home
                    && !writer.state.has_leases
                {
                    straight = writer.put_plainly(home, hash, key, value, value_type, bytes);
                }
            }
            writer.retired
        };
        if retired {
            self.space().harvest(false);
        }
        if self.chores_due.load(Ordering::Relaxed) {
            self.do_chores();
        }
        straight
    }

    #[inline(never)]
    fn put_fully(
        &self,
        hash: u64,
        key: &[u8],
        value: &[u8],
        options: &PutOptions,
        has_begun: bool,
    ) -> Result<PutOutcome> {
        check_key(key)?;
        let result = self.put_value(hash, key.len(), value, has_begun, |writer, source| {
            writer.put_noting(hash, key, source, options)
        });
        match &result {
            Err(error) => self.after_failed_write(error, hash, key, options.mode),
            Ok(PutOutcome::NotAdmitted) => self.drop_outdated(hash, key, options.mode),
            Ok(_) => {}
        }
        result
    }

    /// Whether an entry of a key and a value goes into the log whole; else its value has a run of
    /// its own. Fails if the entry can never fit.
    #[inline]
    pub(super) fn is_inline(&self, key_len: usize, value_len: usize) -> Result<bool> {
        let max = self.value_len_max.load(Ordering::Relaxed);
        if value_len as u64 > max {
            fork::check(self.generation)?;
            return Err(too_large(value_len, max));
        }
        if entry::HEADER + entry::FIELDS_MAX + key_len + value_len <= self.inline_max {
            return Ok(true);
        }
        self.is_long_inline(key_len, value_len)
    }

    #[cold]
    fn is_long_inline(&self, key_len: usize, value_len: usize) -> Result<bool> {
        // Before a run is looked for, which takes locks that another thread may have held when
        // the process forked, and room that a destroyed store has no use for.
        self.check_open()?;
        let seg_bytes = self.space().seg_bytes();
        // The first unit of the first segment is never used.
        let most = (seg_bytes as usize)
            .saturating_sub(self.places.unit() as usize + entry::HEADER + entry::FIELDS_MAX);
        if key_len > most {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("key has {key_len} bytes; segments of this pool hold up to {most}"),
            ));
        }
        // What is short beside its key is not worth a page.
        if value_len <= key_len && key_len + value_len <= most {
            return Ok(true);
        }
        let pool = self.space().target_bytes();
        let limit = match self.limit_bytes.load(Ordering::Relaxed) {
            0 => pool,
            own => own.min(pool),
        };
        // Beside the value there are at least a segment of the index and one of the log.
        let max = limit.saturating_sub(2 * seg_bytes);
        if value_len as u64 > max {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("value has {value_len} bytes; the limit of {limit} leaves room for {max}"),
            ));
        }
        Ok(false)
    }

    /// Has `put` write a value, from where it goes, under a key of so many bytes.
    #[inline]
    pub(super) fn put_value<'a>(
        &'a self,
        hash: u64,
        key_len: usize,
        value: &[u8],
        has_begun: bool,
        mut put: impl FnMut(&mut Writer<'a>, Source<'_>) -> Result<Step<PutOutcome>>,
    ) -> Result<PutOutcome> {
        if self.is_inline(key_len, value.len())? {
            let paid = self.places.rounded(entry::HEADER + key_len + value.len()) as u32;
            return self
                .go_on_writing(hash, paid, has_begun, |writer| put(writer, Source::Inline(value)));
        }
        let run = self.obtain_run(value.len() as u64, Fill::Any)?;
        // SAFETY: the run was just taken, has room for the value, and nobody else sees it.
        unsafe {
            std::ptr::copy_nonoverlapping(value.as_ptr(), self.space().run_addr(run), value.len());
        }
        self.put_run_by(hash, key_len, run, value.len() as u32, put)
    }

    /// Writes an entry whose value lies in a run already; gives the run back if it is not stored.
    pub(super) fn put_run(
        &self,
        hash: u64,
        key: &[u8],
        run: RunId,
        len: u32,
        options: &PutOptions,
    ) -> Result<PutOutcome> {
        self.put_run_by(hash, key.len(), run, len, |writer, source| {
            writer.put_noting(hash, key, source, options)
        })
    }

    fn put_run_by<'a>(
        &'a self,
        hash: u64,
        key_len: usize,
        run: RunId,
        len: u32,
        mut put: impl FnMut(&mut Writer<'a>, Source<'_>) -> Result<Step<PutOutcome>>,
    ) -> Result<PutOutcome> {
        let paid = self.places.rounded(entry::HEADER + 8 + key_len) as u32;
        let unused = UnusedRun { store: self, run, is_used: Cell::new(false) };
        self.write(hash, paid, |writer| {
            // A fault from here on leaves open whether the entry names the run.
            unused.is_used.set(true);
            let step = put(writer, Source::Run { run, len });
            unused.is_used.set(matches!(step, Ok(Step::Done(PutOutcome::Stored(_)))));
            step
        })
    }

    /// A value that was to be replaced must not be read after its replacement failed.
    pub(super) fn after_failed_write(&self, error: &Error, hash: u64, key: &[u8], mode: PutMode) {
        if self.was_rejected(error) {
            self.drop_outdated(hash, key, mode);
        }
    }

    /// Whether a write that failed was about to change something; counts it.
    pub(super) fn was_rejected(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::TooLarge
            | ErrorKind::NoSpace
            | ErrorKind::NoMemory
            | ErrorKind::Internal => {
                self.counters.add_unlocked(Tally::Rejected, 1);
                true
            }
            // Nothing in the store can be read, or nothing was asked of it.
            ErrorKind::Invalid
            | ErrorKind::Unsupported
            | ErrorKind::Closed
            | ErrorKind::Forked
            | ErrorKind::Io
            | ErrorKind::Corrupt
            | ErrorKind::Deadlock
            | ErrorKind::Poisoned => false,
        }
    }

    pub(super) fn drop_outdated(&self, hash: u64, key: &[u8], mode: PutMode) {
        let Ok(mut writer) = self.shard_of(hash).lock(self) else { return };
        let replaces = match mode {
            PutMode::Set | PutMode::Replace => true,
            PutMode::Add => false,
            PutMode::CompareAndSet(version) => writer
                .find(hash, key)
                .is_some_and(|live| self.version_of(live.slot.location) == version),
        };
        if replaces {
            writer.drop_outdated(hash, key);
        }
        // Whatever was not stored was newer than what is being loaded.
        writer.end_load(hash, key);
    }

    /// Adds to an integer, atomically.
    pub(super) fn incr(
        &self,
        key: &[u8],
        delta: i64,
        initial: i64,
        ttl: Ttl,
    ) -> Result<IncrOutcome> {
        check_key(key)?;
        let hash = self.hash.of(key);
        let result = self.add(hash, key, delta, initial, ttl);
        match &result {
            Err(error) => self.after_failed_write(error, hash, key, PutMode::Set),
            Ok(IncrOutcome::NotAdmitted) => self.drop_outdated(hash, key, PutMode::Set),
            Ok(_) => {}
        }
        result
    }

    fn add(
        &self,
        hash: u64,
        key: &[u8],
        delta: i64,
        initial: i64,
        ttl: Ttl,
    ) -> Result<IncrOutcome> {
        // An integer always lies in the log: it is short beside a key that does not.
        self.is_inline(key.len(), 8)?;
        let paid = self.places.rounded(entry::HEADER + 8 + key.len() + 8) as u32;
        self.write(hash, paid, |writer| {
            let present = writer.find(hash, key).filter(|live| !writer.is_expired(&live.entry));
            let (sum, options) = match present {
                None => (initial, PutOptions { ttl, ..PutOptions::default() }),
                Some(live) => {
                    let entry = live.entry;
                    if entry.value_type() != ValueType::INT64 || entry.value_len() != 8 {
                        return Ok(Step::Done(IncrOutcome::WrongType));
                    }
                    let mut bytes = [0; 8];
                    // SAFETY: an inline value of 8 bytes, kept alive by the shard's lock.
                    unsafe {
                        std::ptr::copy_nonoverlapping(entry.inline_value(), bytes.as_mut_ptr(), 8);
                    }
                    let Some(sum) = i64::from_le_bytes(bytes).checked_add(delta) else {
                        return Ok(Step::Done(IncrOutcome::Overflow));
                    };
                    let options = PutOptions {
                        ttl: Ttl::Keep,
                        session: self.session_out(entry.session()),
                        flags: entry.app(),
                        ..PutOptions::default()
                    };
                    (sum, options)
                }
            };
            let options = PutOptions { value_type: ValueType::INT64, ..options };
            let value = sum.to_le_bytes();
            Ok(match writer.put_noting(hash, key, Source::Inline(&value), &options)? {
                Step::Room => Step::Room,
                Step::Done(PutOutcome::Stored(_)) => Step::Done(IncrOutcome::Sum(sum)),
                Step::Done(_) => Step::Done(IncrOutcome::NotAdmitted),
            })
        })
    }
}

/// How a write on the straight path ended, in one word: the version of what it stored, or else one
/// of the numbers below, which no version is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Straight(u64);

impl Straight {
    /// Nothing was done.
    pub const UNTOUCHED: Self = Self(0);
    /// The write has begun, and paid, but is to be done on the full path.
    pub const BEGUN: Self = Self(1);
    /// The policy declined the entry.
    pub const DECLINED: Self = Self(2);

    /// The entry is stored under this version.
    #[inline(always)]
    pub fn stored(version: u64) -> Self {
        debug_assert!(version > Self::DECLINED.0);
        Self(version)
    }

    #[inline(always)]
    fn version(self) -> Option<u64> {
        (self.0 > Self::DECLINED.0).then_some(self.0)
    }
}

/// A run that goes back unless an entry has taken it over, also when a fault unwinds.
struct UnusedRun<'a> {
    store: &'a StoreInner,
    run: RunId,
    is_used: Cell<bool>,
}

impl Drop for UnusedRun<'_> {
    fn drop(&mut self) {
        if !self.is_used.get() {
            self.store.give_run(self.run);
        }
    }
}

#[cold]
fn too_large(len: usize, max: u64) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("value has {len} bytes; 0 to {max} are allowed in this store (value_len_max)"),
    )
}
