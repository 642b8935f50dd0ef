//! Claiming a key: the look-up, the lease, the wait.

use super::ask::{Ask, Asked};
use super::fresh::Due;
use super::handed::Handed;
use super::record::Record;
use super::word::{Seen, State};
use super::{Claim, ClaimOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::guard::Guard;
use crate::memory::{fork, wait};
use crate::stats::{LatencyOp, ReadTally};
use crate::store::copied::{ReadEntry, Target};
use crate::store::pin::Hold;
use crate::store::read::{Hit, Visit};
use crate::store::room::Patience as Room;
use crate::store::write::Step;
use crate::store::{Store, StoreInner, View};
#[cfg(doc)]
use crate::types::Info;
use crate::types::{Read, check_key};
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const DEADLOCK: Error = Error::fixed(
    ErrorKind::Deadlock,
    "this thread holds the lease of the key and would wait for itself; end the lease first, or \
     claim with a timeout of 0",
);

/// What a look-up for a claim found.
enum Looked<T> {
    /// This.
    Found(T),
    /// This, which is old.
    Old(T),
    /// Nothing, or something that is to be loaded anew.
    Nothing,
    /// Something that soon will be.
    Early,
}

/// How a claim looks a key up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The first time: it is counted, and may be the one to load the key early.
    First,
    /// Once more.
    Again,
    /// For whatever there is, however old: loading it failed.
    Anything,
}

/// Has another visitor visit what is not to be loaded.
#[derive(Clone, Copy)]
struct ForClaim<V> {
    inner: V,
    stale: bool,
    look: Look,
}

impl<V: Visit> Visit for ForClaim<V> {
    type Out = Looked<V::Out>;

    #[inline(always)]
    fn counts(self) -> bool {
        self.inner.counts()
    }

    #[inline(always)]
    fn miss(self, store: &StoreInner, slot: u32) -> Self::Out {
        Looked::Found(self.inner.miss(store, slot))
    }

    #[inline(always)]
    fn visit<G: Guard>(self, hit: &mut Hit<'_, G>) -> Option<Self::Out> {
        // Without a load field, as most entries are, nothing is asked.
        if hit.entry().load().is_none() {
            return self.inner.visit(hit).map(Looked::Found);
        }
        let due = match hit.time_left() {
            Ok(_) => hit.store().due(hit.entry(), self.stale, self.look == Look::First),
            Err(()) => Due::Fresh,
        };
        match due {
            Due::Fresh => self.inner.visit(hit).map(Looked::Found),
            Due::Old => self.inner.visit(hit).map(Looked::Old),
            Due::Load if self.look == Look::Anything => self.inner.visit(hit).map(Looked::Old),
            Due::Load => {
                hit.count_miss(self.look != Look::First);
                Some(Looked::Nothing)
            }
            Due::Early => Some(Looked::Early),
        }
    }
}

/// Has another visitor visit what claims have no question about: an entry without a load field, as
/// most are, or none. Anything else does not settle.
#[derive(Clone, Copy)]
struct Plain<V>(V);

impl<V: Visit> Visit for Plain<V> {
    type Out = V::Out;

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
        if hit.entry().load().is_some() {
            return None;
        }
        self.0.visit(hit)
    }
}

impl Store {
    /// Pins the entry of a key; where there is none, or one that is to be loaded anew, of all who
    /// claim it one gets the lease, and the others wait for its load, or go on without. A hit takes
    /// no lock.
    ///
    /// What is old, or was declined by the store but loaded for those who waited, is told by its
    /// time left: [`Info::ttl_ms`] is 0. The latter has version 0.
    ///
    /// # Errors
    /// As [`Store::pin`]; `Deadlock`: the calling thread holds the lease that it would wait for;
    /// `NoSpace`, `NoMemory`: no room for the lease.
    pub fn claim(&self, key: &[u8], options: ClaimOptions) -> Result<Claim<View>> {
        check_key(key)?;
        let store = &*self.0;
        let hash = store.hash.of(key);
        if store.latency.is_none()
            && let Some(pinned) =
                store.probe_straight(hash, key, Plain(Hold { store, peek: false }))
        {
            store.promote_after(hash);
            if let Some(view) = pinned? {
                return Ok(Claim::Value(view));
            }
            return self.claim_after(hash, key, options, Looked::Nothing);
        }
        self.claim_fully(hash, key, options)
    }

    #[inline(never)]
    fn claim_fully(&self, hash: u64, key: &[u8], options: ClaimOptions) -> Result<Claim<View>> {
        let first = self
            .0
            .timed(LatencyOp::Get, || self.0.look_to_pin(hash, key, options.stale, Look::First))?;
        match first {
            Looked::Found(view) => Ok(Claim::Value(view)),
            first => self.claim_after(hash, key, options, first),
        }
    }

    /// A claim that has waited for a load that failed: whatever there is, however old.
    pub(super) fn after_failure(&self, key: &[u8], options: ClaimOptions) -> Result<Claim<View>> {
        let store = &*self.0;
        match store.look_to_pin(store.hash.of(key), key, options.stale, Look::Anything)? {
            Looked::Found(view) => Ok(Claim::Value(view)),
            Looked::Old(mut view) => {
                store.counters.read_add(slot(), ReadTally::StaleHits, 1);
                view.set_old();
                Ok(Claim::Value(view))
            }
            Looked::Nothing | Looked::Early => Ok(Claim::LoadFailed),
        }
    }

    #[cold]
    #[inline(never)]
    fn claim_after(
        &self,
        hash: u64,
        key: &[u8],
        options: ClaimOptions,
        first: Looked<View>,
    ) -> Result<Claim<View>> {
        let (store, stale) = (&*self.0, options.stale);
        let mut look = |how| store.look_to_pin(hash, key, stale, how);
        store.claim_lease(hash, key, options, first, &mut look, &mut |view| view, View::set_old)
    }

    /// [`Store::claim`] that copies the value, as [`Store::get`] does, instead of pinning it. The
    /// value is [`Read::Hit`] or [`Read::SmallBuffer`].
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub fn get_or_claim(
        &self,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        options: ClaimOptions,
    ) -> Result<Claim<Read>> {
        check_key(key)?;
        let store = &*self.0;
        let hash = store.hash.of(key);
        if store.latency.is_none() {
            let plain = Plain(ReadEntry { target: Target::new(buf), peek: false });
            if let Some(read) = store.probe_straight(hash, key, plain) {
                store.promote_after(hash);
                if read != Read::Miss {
                    return Ok(Claim::Value(read));
                }
                return self.copy_after(hash, key, buf, options, Looked::Nothing);
            }
        }
        self.copy_fully_or_claim(hash, key, buf, options)
    }

    #[inline(never)]
    fn copy_fully_or_claim(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        options: ClaimOptions,
    ) -> Result<Claim<Read>> {
        let first = self.0.timed(LatencyOp::Get, || {
            self.0.look_to_copy(hash, key, buf, options.stale, Look::First)
        })?;
        match first {
            Looked::Found(read) => Ok(Claim::Value(read)),
            first => self.copy_after(hash, key, buf, options, first),
        }
    }

    #[cold]
    #[inline(never)]
    fn copy_after(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        options: ClaimOptions,
        first: Looked<Read>,
    ) -> Result<Claim<Read>> {
        let (store, stale) = (&*self.0, options.stale);
        let buf = RefCell::new(buf);
        let mut look = |how| store.look_to_copy(hash, key, &mut buf.borrow_mut(), stale, how);
        let mut take = |view: View| {
            let info = *view.info();
            let mut buf = buf.borrow_mut();
            match buf.get_mut(..view.len()) {
                Some(room) => {
                    room.write_copy_of_slice(&view);
                    Read::Hit(info)
                }
                None => Read::SmallBuffer(info),
            }
        };
        let set_old = |read: &mut Read| {
            if let Read::Hit(info) | Read::SmallBuffer(info) = read {
                info.ttl_ms = Some(0);
            }
        };
        store.claim_lease(hash, key, options, first, &mut look, &mut take, set_old)
    }
}

impl StoreInner {
    /// Somebody waits for another's load.
    pub(super) fn count_wait(&self) {
        self.counters.read_add(slot(), ReadTally::LeaseWaits, 1);
    }

    #[inline(always)]
    fn look_to_pin(&self, hash: u64, key: &[u8], stale: bool, look: Look) -> Result<Looked<View>> {
        let hold = Hold { store: self, peek: look != Look::First };
        let found = match self.look_up(hash, key, ForClaim { inner: hold, stale, look })? {
            Some(Looked::Found(found)) => found?.map(Looked::Found),
            Some(Looked::Old(found)) => found?.map(Looked::Old),
            Some(Looked::Nothing) => None,
            Some(Looked::Early) => Some(Looked::Early),
            None => self.pin_locked(hash, key, look != Look::First)?.map(Looked::Found),
        };
        Ok(found.unwrap_or(Looked::Nothing))
    }

    #[inline(always)]
    fn look_to_copy(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        stale: bool,
        look: Look,
    ) -> Result<Looked<Read>> {
        let peek = look != Look::First;
        let inner = ReadEntry { target: Target::new(buf), peek };
        let found = self.look_up(hash, key, ForClaim { inner, stale, look })?;
        Ok(match found {
            Some(Looked::Found(Read::Miss) | Looked::Old(Read::Miss)) => Looked::Nothing,
            Some(found) => found,
            None => match self.read_locked(hash, key, buf, peek)? {
                Read::Miss => Looked::Nothing,
                read => Looked::Found(read),
            },
        })
    }

    /// A claim whose look-up found nothing that will do.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // what the two claims differ in
    fn claim_lease<T>(
        &self,
        hash: u64,
        key: &[u8],
        options: ClaimOptions,
        first: Looked<T>,
        look: &mut dyn FnMut(Look) -> Result<Looked<T>>,
        take: &mut dyn FnMut(View) -> T,
        set_old: impl Fn(&mut T),
    ) -> Result<Claim<T>> {
        let old = |mut found: T| {
            self.counters.read_add(slot(), ReadTally::StaleHits, 1);
            set_old(&mut found);
            Ok(Claim::Value(found))
        };
        let mut early = false;
        match first {
            Looked::Found(found) => return Ok(Claim::Value(found)),
            Looked::Old(found) => return old(found),
            Looked::Nothing => {}
            Looked::Early => early = true,
        }
        if !early && self.certainly_absent(key)? {
            return Ok(Claim::Absent);
        }
        let mut patience = Patience::new(options.timeout_ms);
        loop {
            let ask = Ask { stale: options.stale, early, may_wait: patience.may_wait() };
            let asked = self.ask_for_lease(hash, key, &ask);
            let mut next = Look::Again;
            match asked {
                // Nothing is lost that was asked for: the value is there.
                Err(_) if early => {}
                Err(error) => return Err(error),
                Ok(Asked::Granted(lease)) => {
                    self.counters.read_add(slot(), ReadTally::Leases, 1);
                    return Ok(Claim::Claimed(lease));
                }
                Ok(Asked::Absent) => return Ok(Claim::Absent),
                Ok(Asked::Failed) => return Ok(Claim::LoadFailed),
                Ok(Asked::Busy) => return Ok(Claim::TimedOut),
                Ok(Asked::Deadlock) => return Err(DEADLOCK),
                Ok(Asked::Present) => {}
                Ok(Asked::Wait { record, seen, left_ms }) => {
                    self.count_wait();
                    let Some((outcome, handed)) =
                        self.wait_for_lease(hash, &mut patience, record, seen, left_ms)
                    else {
                        continue;
                    };
                    match (outcome, handed) {
                        (_, Some(view)) => return Ok(Claim::Value(take(view))),
                        (State::Failed, None) => next = Look::Anything,
                        (State::Absent, None) => return Ok(Claim::Absent),
                        (State::Declined, None) => return Ok(Claim::Declined),
                        (
                            State::Free
                            | State::Held
                            | State::Offered
                            | State::Again
                            | State::Handed,
                            None,
                        ) => {}
                    }
                }
            }
            early = false;
            match look(next)? {
                Looked::Found(found) => return Ok(Claim::Value(found)),
                Looked::Old(found) => return old(found),
                Looked::Nothing | Looked::Early if next == Look::Anything => {
                    return Ok(Claim::LoadFailed);
                }
                Looked::Nothing | Looked::Early => {}
            }
        }
    }

    /// Asks under the lock, obtaining room between attempts. Unlike a write it pays for nothing: what
    /// it appends to is no log.
    fn ask_for_lease(&self, hash: u64, key: &[u8], ask: &Ask) -> Result<Asked<'_>> {
        fork::check(self.generation)?;
        let shard = self.shard_of(hash);
        let mut room = Room::default();
        loop {
            let mut writer = shard.lock(self)?;
            #[cfg(any(test, feature = "testing"))]
            crate::store::testing::maybe_panic(hash);
            match writer.ask_lease(hash, key, ask)? {
                Step::Done(asked) => return Ok(asked),
                Step::Room => {
                    drop(writer);
                    self.obtain_room(self.space().seg_bytes(), &mut room)?;
                }
            }
        }
    }

    /// Waits for a lease, counted in. How it ended, and this waiter's share of a value that was
    /// handed over; `None`: it has not ended, but the time is over or it is on offer.
    fn wait_for_lease(
        &self,
        hash: u64,
        patience: &mut Patience,
        record: &Record,
        seen: Seen,
        left_ms: u64,
    ) -> Option<(State, Option<View>)> {
        let mut outcome = patience.wait(record, seen, left_ms);
        if matches!(outcome, State::Held | State::Offered) {
            // Who is counted in has a share of what is handed over, and takes it; so nobody leaves
            // a lease that may yet end but under the lock.
            let _lock = self.shard_of(hash).lock_any(self);
            outcome = record.words.see().state();
            if matches!(outcome, State::Held | State::Offered) {
                record.words.leave();
                return None;
            }
        }
        let handed = NonNull::new(record.handed.load(Relaxed)).filter(|_| outcome == State::Handed);
        // SAFETY: this waiter was counted in when the shares were, and takes its one here.
        let view = handed.map(|handed| unsafe { Handed::take(handed, &self.pool) });
        record.words.leave();
        Some((outcome, view))
    }
}

/// The calling thread's reader slot, for counting.
fn slot() -> u32 {
    crate::memory::guard::slot_index().map_or(u32::MAX, |slot| slot as u32)
}

/// How long a claim still waits.
struct Patience {
    timeout_ms: u64,
    /// Since the first wait; `None` before it, and where it waits for as long as it takes.
    deadline: Option<Instant>,
}

impl Patience {
    fn new(timeout_ms: u64) -> Self {
        Self { timeout_ms, deadline: None }
    }

    fn may_wait(&self) -> bool {
        self.timeout_ms != 0 && self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    /// Waits until the lease is over, or the time; returns how the lease stands.
    fn wait(&mut self, record: &Record, seen: Seen, left_ms: u64) -> State {
        let now = Instant::now();
        if self.deadline.is_none() && self.timeout_ms != u64::MAX {
            self.deadline = now.checked_add(Duration::from_millis(self.timeout_ms));
        }
        let lease_over = now.checked_add(Duration::from_millis(left_ms));
        let until = match (self.deadline, lease_over) {
            (Some(own), Some(lease)) => Some(own.min(lease)),
            (own, lease) => own.or(lease),
        };
        loop {
            let is = record.words.see();
            if is != seen || until.is_some_and(|until| Instant::now() >= until) {
                return is.state();
            }
            wait::sleep(record.words.futex(), seen.0, until);
        }
    }
}
