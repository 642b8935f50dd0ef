//! Ending a lease: with a value, without one, or because the key was written.

use super::course::Woken;
use super::handed::Handed;
use super::record::Number;
use super::table::In;
use super::waits;
use super::word::State;
use super::{DropReason, Lease};
use crate::clock::monotonic_ns;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{fork, wait};
use crate::stats::LatencyOp;
use crate::store::entry;
use crate::store::shard::Shard;
use crate::store::write::{Source, Step};
use crate::store::writer::Writer;
use crate::store::{Store, StoreInner};
use crate::types::{Match, PutMode, PutOptions, PutOutcome};
use std::sync::atomic::Ordering::Relaxed;

/// The longest value that is put without a second look at the lease.
const VALUE_AT_ONCE: usize = 64 << 10;

/// What came of a put that takes the lock once.
enum AtOnce {
    /// The lease has ended.
    Ended(PutOutcome),
    /// It is held; the value is to be put in another way.
    Not { hash: u64, key_len: usize },
}

impl Store {
    /// Stores the value that was loaded under a lease, wakes who waits for it, and ends the lease,
    /// whatever is returned. [`PutOutcome::Conflict`]: the lease had ended, by its deadline or
    /// because the key was written or invalidated since; nothing is stored.
    ///
    /// A value that is declined, or that fails to be stored, still reaches those who wait now, if
    /// there is room for a copy.
    ///
    /// # Errors
    /// As [`Store::put`]; `Invalid` also for a mode other than [`PutMode::Set`].
    pub fn lease_put(
        &self,
        lease: Lease,
        value: &[u8],
        options: &PutOptions,
    ) -> Result<PutOutcome> {
        self.0.timed(LatencyOp::Set, || self.0.put_leased(lease, value, options))
    }

    /// Ends a lease without a value. On one that has ended it does nothing.
    ///
    /// # Errors
    /// `Closed`, `Forked`, `Poisoned`.
    pub fn lease_drop(&self, lease: Lease, reason: DropReason) -> Result<()> {
        self.0.drop_lease(lease, reason)
    }
}

impl StoreInner {
    fn put_leased(&self, lease: Lease, value: &[u8], options: &PutOptions) -> Result<PutOutcome> {
        fork::check(self.generation)?;
        if options.mode != PutMode::Set {
            self.drop_lease(lease, DropReason::Cancelled)?;
            return Err(Error::fixed(
                ErrorKind::Invalid,
                "mode is not Set; a lease admits one writer by itself",
            ));
        }
        match self.put_leased_at_once(lease, value, options)? {
            AtOnce::Ended(outcome) => Ok(outcome),
            AtOnce::Not { hash, key_len } => {
                self.put_leased_fully(lease, hash, key_len, value, options)
            }
        }
    }

    /// The usual case: a value that goes into the log, and room that is there.
    fn put_leased_at_once(
        &self,
        lease: Lease,
        value: &[u8],
        options: &PutOptions,
    ) -> Result<AtOnce> {
        let Some(shard) = self.shard_of_lease(lease) else {
            self.check_open()?;
            return Ok(AtOnce::Ended(PutOutcome::Conflict));
        };
        let mut writer = shard.lock(self)?;
        let (now_ms, now_ns) = self.clock.now_both();
        let Some(number) = writer.held_record_at(lease, now_ms) else {
            return Ok(AtOnce::Ended(PutOutcome::Conflict));
        };
        let record = writer.record(number);
        let (hash, key) = (record.hash.load(Relaxed), writer.key_of(record));
        let not = AtOnce::Not { hash, key_len: key.len() };
        if value.len() > VALUE_AT_ONCE || !self.is_inline(key.len(), value.len()).unwrap_or(false) {
            return Ok(not);
        }
        let bytes = self.places.rounded(entry::HEADER + key.len() + value.len()) as u32;
        writer.begin(hash, bytes);
        #[cfg(any(test, feature = "testing"))]
        crate::store::testing::maybe_panic(hash);
        let took_us = now_ns.saturating_sub(record.granted_ns.load(Relaxed)) / 1_000;
        let step = writer.put_loaded(hash, key, Source::Inline(value), options, took_us.max(1));
        let Ok(Step::Done(outcome @ PutOutcome::Stored(_))) = step else { return Ok(not) };
        let woken = writer.end_quietly(number, State::Again);
        let retired = writer.retired;
        drop(writer);
        woken.wake();
        if retired {
            self.space().harvest(false);
        }
        if self.chores_due.load(Relaxed) {
            self.do_chores();
        }
        Ok(AtOnce::Ended(outcome))
    }

    /// [`StoreInner::put_leased`] of a value that needs a run, or room, or is declined.
    #[cold]
    #[inline(never)]
    fn put_leased_fully(
        &self,
        lease: Lease,
        hash: u64,
        key_len: usize,
        value: &[u8],
        options: &PutOptions,
    ) -> Result<PutOutcome> {
        let mut woken = Woken::default();
        let result = self.put_value(hash, key_len, value, false, |writer, source| {
            let Some(number) = writer.held_record(lease) else {
                return Ok(Step::Done(PutOutcome::Conflict));
            };
            let record = writer.record(number);
            let took_ns = monotonic_ns().saturating_sub(record.granted_ns.load(Relaxed));
            let key = writer.key_of(record);
            let step = writer.put_loaded(hash, key, source, options, (took_ns / 1_000).max(1))?;
            if let Step::Done(PutOutcome::Stored(_)) = step {
                woken = writer.end_quietly(number, State::Again);
            }
            Ok(step)
        });
        woken.wake();
        let is_declined = match &result {
            Ok(PutOutcome::Stored(_) | PutOutcome::Conflict) => false,
            Ok(PutOutcome::NotAdmitted | PutOutcome::Exists | PutOutcome::NotFound) => true,
            Err(error) => self.was_rejected(error),
        };
        if is_declined {
            self.hand_over(lease, value, options);
        }
        result
    }

    /// Passes a value that was not stored to those who wait for it.
    #[cold]
    fn hand_over(&self, lease: Lease, value: &[u8], options: &PutOptions) {
        let Some(shard) = self.shard_of_lease(lease) else { return };
        let waits = {
            let Ok(mut writer) = shard.lock(self) else { return };
            let Some(number) = writer.held_record(lease) else { return };
            let record = writer.record(number);
            record.words.waiters() != 0 || !record.waits.load(Relaxed).is_null()
        };
        // The copy is made without the lock.
        let handed = if waits { Handed::new(self, value, options) } else { None };
        let ended = shard.lock(self).ok().and_then(|mut writer| {
            let number = writer.held_record(lease)?;
            let record = writer.record(number);
            // The old value must not be read any more, as after any write that failed.
            writer.drop_outdated(record.hash.load(Relaxed), writer.key_of(record));
            let Some(handed) = handed else {
                return Some((writer.end_quietly(number, State::Declined), false));
            };
            let shares = record.words.waiters() + waits::count(record);
            if shares == 0 {
                return Some((writer.end_quietly(number, State::Again), false));
            }
            // SAFETY: made above, and nobody else knows it yet.
            unsafe { handed.as_ref() }.share(shares);
            record.handed.store(handed.as_ptr(), Relaxed);
            Some((writer.end_quietly(number, State::Handed), true))
        });
        let (woken, is_shared) = ended.unwrap_or_default();
        woken.wake();
        if let Some(handed) = handed
            && !is_shared
        {
            // SAFETY: the one share that the copy began with, which nobody has taken.
            drop(unsafe { Handed::take(handed, &self.pool) });
        }
    }

    fn drop_lease(&self, lease: Lease, reason: DropReason) -> Result<()> {
        fork::check(self.generation)?;
        let Some(shard) = self.shard_of_lease(lease) else { return self.check_open() };
        let mut writer = shard.lock(self)?;
        let Some(number) = writer.held_record(lease) else { return Ok(()) };
        let record = writer.record(number);
        let now = self.clock.now_ms();
        let (hash, key) = (record.hash.load(Relaxed), writer.key_of(record));
        let live = writer.find(hash, key).filter(|live| !writer.is_expired(&live.entry));
        if let Some(live) = live {
            match reason {
                DropReason::Cancelled => writer.ask_load(&live.entry, 0),
                DropReason::Failed { retry_ms } => {
                    writer.fail_load(&live.entry, now.saturating_add(retry_ms));
                }
                DropReason::Absent { .. } => {
                    writer.forget(hash, live);
                }
            }
        }
        let woken = match reason {
            DropReason::Cancelled => {
                let is_awaited =
                    record.words.waiters() != 0 || !record.waits.load(Relaxed).is_null();
                if is_awaited {
                    writer.offer(number);
                    drop(writer);
                    wait::wake(record.words.futex(), 1);
                    return Ok(());
                }
                writer.end_quietly(number, State::Again)
            }
            DropReason::Failed { retry_ms: 0 } => writer.end_quietly(number, State::Failed),
            DropReason::Failed { retry_ms } => {
                writer.remember(number, State::Failed, now.saturating_add(retry_ms))
            }
            DropReason::Absent { ttl_ms } => {
                let ttl_ms = if ttl_ms == 0 { self.config.negative_ttl_ms } else { ttl_ms };
                writer.remember(number, State::Absent, now.saturating_add(ttl_ms))
            }
        };
        drop(writer);
        woken.wake();
        Ok(())
    }

    /// The store has known keys from now on, so that whoever was told of an offer may take no lease.
    #[cold]
    pub(in crate::store) fn pass_offers_to_all(&self) {
        for shard in &self.shards {
            // In a shard that is out of service nobody waits.
            if let Ok(mut writer) = shard.lock(self)
                && writer.state.has_leases
            {
                writer.end_offered_waits();
            }
        }
    }

    /// The shard that a lease says it is of.
    fn shard_of_lease(&self, lease: Lease) -> Option<&Shard> {
        let shard = usize::try_from(lease.id >> 16).ok()?;
        if lease.generation == 0 { None } else { self.shards.get(shard) }
    }

    /// Ends the leases of what an invalidation matches, in one shard.
    pub(in crate::store) fn end_leases(&self, writer: &mut Writer<'_>, wanted: &Match<'_>) {
        if !writer.state.has_leases {
            return;
        }
        match *wanted {
            Match::Prefix(prefix) => writer.end_matching(|key| key.starts_with(prefix)),
            Match::Glob(pattern) => {
                writer.end_matching(|key| crate::types::glob_matches(pattern, key));
            }
            // What is being loaded may be of any session and any type.
            Match::All | Match::Session(_) | Match::Type(_) => writer.end_matching(|_| true),
        }
    }
}

impl Writer<'_> {
    /// The record of a lease that is held; one that is past its deadline ends here.
    fn held_record(&mut self, lease: Lease) -> Option<Number> {
        self.held_record_at(lease, self.store.clock.now_ms())
    }

    fn held_record_at(&mut self, lease: Lease, now_ms: u64) -> Option<Number> {
        let number = lease.id as Number;
        if lease.generation == 0 || number == 0 || number > self.state.leases.touched {
            return None;
        }
        let record = self.record(number);
        if record.generation.load(Relaxed) != lease.generation {
            return None;
        }
        if record.until_ms.load(Relaxed) <= now_ms {
            self.end_record(number, State::Again);
            return None;
        }
        Some(number)
    }

    /// Offers a lease that its holder gives up. Whoever takes it does so under the lock.
    fn offer(&mut self, number: Number) {
        let record = self.record(number);
        record.generation.store(0, Relaxed);
        record.words.turn(State::Offered);
        if record.words.waiters() != 0 {
            return;
        }
        if self.store.knows_keys() {
            // Whoever is told claims the key anew, and may hear that it is not a known one: the
            // offer would reach nobody else.
            self.end_waits(record, State::Again);
        } else {
            self.end_one_wait(record);
        }
    }

    /// Has all who wait for what is on offer, where one was told, claim again.
    #[cold]
    fn end_offered_waits(&mut self) {
        let mut number = self.state.leases.lists[In::Leases as usize].oldest;
        while number != 0 {
            let record = self.record(number);
            if record.words.see().state() == State::Offered {
                self.end_waits(record, State::Again);
            }
            number = record.newer.load(Relaxed);
        }
    }
}
