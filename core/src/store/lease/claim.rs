//! Claiming a key: the look-up, the lease, the wait.

use super::handed::Handed;
use super::table::{Number, Record};
use super::word::{Seen, State};
use super::{Claim, ClaimOptions, Lease};
use crate::clock::monotonic_ns;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::wait;
use crate::stats::{LatencyOp, ReadTally};
use crate::store::shard::Writer;
use crate::store::write::Step;
use crate::store::{Store, StoreInner, View};
use crate::types::{Read, check_key};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const DEADLOCK: Error = Error::fixed(
    ErrorKind::Deadlock,
    "this thread holds the lease of the key and would wait for itself; end the lease first, or \
     claim with a timeout of 0",
);

/// What a claim that found nothing comes to under the lock.
enum Asked<'a> {
    /// The caller has the lease.
    Granted(Lease),
    /// There is something to be read by now.
    Present,
    /// The source has no such key.
    Absent,
    /// The load failed not long ago.
    Failed,
    /// Another caller loads, and this one does not wait.
    Busy,
    /// This one waits, and is counted in.
    Wait { record: &'a Record, seen: Seen, left_ms: u64 },
    /// It would wait for its own thread.
    Deadlock,
}

/// What a look-up for a claim found.
pub(super) enum Looked<T> {
    /// This.
    Found(T),
    /// Nothing, or something that is due to be loaded.
    Nothing,
}

impl Store {
    /// Pins the entry of a key; where there is none, of all who claim it one gets the lease, and the
    /// others wait for its load, or go on without. A hit takes no lock.
    ///
    /// A value that the store declined but that was loaded for those who waited is passed on in a
    /// view of version 0 whose time is over.
    ///
    /// # Errors
    /// As [`Store::pin`]; `Deadlock`: the calling thread holds the lease that it would wait for;
    /// `NoSpace`, `NoMemory`: no room for the lease.
    pub fn claim(&self, key: &[u8], options: ClaimOptions) -> Result<Claim<View>> {
        check_key(key)?;
        let store = &*self.0;
        let hash = store.hash.of(key);
        if let Some(view) = store.timed(LatencyOp::Get, || store.pin(hash, key, false))? {
            return Ok(Claim::Value(view));
        }
        let mut look = || {
            let found = store.pin(hash, key, true)?;
            Ok(found.map_or(Looked::Nothing, Looked::Found))
        };
        store.claim_lease(hash, key, options, &mut look, &mut |view| view)
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
        let read = store.timed(LatencyOp::Get, || store.read(hash, key, buf, false))?;
        if read != Read::Miss {
            return Ok(Claim::Value(read));
        }
        let buf = std::cell::RefCell::new(buf);
        let mut look = || {
            let read = store.read(hash, key, &mut buf.borrow_mut(), true)?;
            Ok(if read == Read::Miss { Looked::Nothing } else { Looked::Found(read) })
        };
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
        store.claim_lease(hash, key, options, &mut look, &mut take)
    }
}

impl StoreInner {
    /// A claim whose look-up found nothing.
    #[cold]
    #[inline(never)]
    pub(super) fn claim_lease<T>(
        &self,
        hash: u64,
        key: &[u8],
        options: ClaimOptions,
        look: &mut dyn FnMut() -> Result<Looked<T>>,
        take: &mut dyn FnMut(View) -> T,
    ) -> Result<Claim<T>> {
        if self.certainly_absent(key)? {
            return Ok(Claim::Absent);
        }
        let mut patience = Patience::new(options.timeout_ms);
        loop {
            let may_wait = patience.may_wait();
            let asked =
                self.write(hash, 0, |writer| writer.ask_lease(hash, key, options, may_wait))?;
            match asked {
                Asked::Granted(lease) => {
                    self.counters.read_add(slot(), ReadTally::Leases, 1);
                    return Ok(Claim::Claimed(lease));
                }
                Asked::Absent => return Ok(Claim::Absent),
                Asked::Failed => return Ok(Claim::LoadFailed),
                Asked::Busy => return Ok(Claim::TimedOut),
                Asked::Deadlock => return Err(DEADLOCK),
                Asked::Present => {}
                Asked::Wait { record, seen, left_ms } => {
                    self.counters.read_add(slot(), ReadTally::LeaseWaits, 1);
                    let mut outcome = patience.wait(record, seen, left_ms);
                    if matches!(outcome, State::Held | State::Offered) {
                        // Who is counted in has a share of what is handed over, and takes it; so
                        // nobody leaves a lease that may yet end but under the lock.
                        let _lock = self.shard_of(hash).lock_any(self);
                        outcome = record.words.see().state();
                        if matches!(outcome, State::Held | State::Offered) {
                            record.words.leave();
                            continue;
                        }
                    }
                    let handed = NonNull::new(record.handed.load(Relaxed));
                    record.words.leave();
                    match (outcome, handed) {
                        (State::Handed, Some(handed)) => {
                            // SAFETY: this waiter was counted in when the shares were, and takes
                            // its one here.
                            let view = unsafe { Handed::take(handed, &self.pool) };
                            return Ok(Claim::Value(take(view)));
                        }
                        (State::Failed, _) => return Ok(Claim::LoadFailed),
                        (State::Absent, _) => return Ok(Claim::Absent),
                        (State::Declined, _) => return Ok(Claim::Declined),
                        (
                            State::Free
                            | State::Held
                            | State::Offered
                            | State::Again
                            | State::Handed,
                            _,
                        ) => {}
                    }
                }
            }
            if let Looked::Found(found) = look()? {
                return Ok(Claim::Value(found));
            }
        }
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

/// A number that no other living thread of the system has.
fn thread() -> u32 {
    // SAFETY: reads the thread's number.
    unsafe { libc::gettid() }.cast_unsigned()
}

impl<'a> Writer<'a> {
    /// Has the caller load the key, wait, or look again.
    fn ask_lease(
        &mut self,
        hash: u64,
        key: &[u8],
        _options: ClaimOptions,
        may_wait: bool,
    ) -> Result<Step<Asked<'a>>> {
        if self.find(hash, key).is_some_and(|live| !self.is_expired(&live.entry)) {
            return Ok(Step::Done(Asked::Present));
        }
        let number = match self.find_record(hash, key) {
            Some(number) => {
                if let Some(asked) = self.ask_record(number, may_wait) {
                    return Ok(Step::Done(asked));
                }
                number
            }
            None => match self.new_record(hash, key)? {
                Step::Done(number) => number,
                Step::Room => return Ok(Step::Room),
            },
        };
        let generation = self.begin_lease(number, thread(), monotonic_ns());
        let id = self.lease_id(number);
        Ok(Step::Done(Asked::Granted(Lease { id, generation })))
    }

    /// What a record has to say; `None`: its lease is there to be taken.
    fn ask_record(&mut self, number: Number, may_wait: bool) -> Option<Asked<'a>> {
        let record = self.record(number);
        let left_ms = record.until_ms.load(Relaxed).saturating_sub(self.store.clock.now_ms());
        if left_ms == 0 {
            return None;
        }
        match record.words.see().state() {
            State::Held if !may_wait => Some(Asked::Busy),
            State::Held if record.thread.load(Relaxed) == thread() => Some(Asked::Deadlock),
            State::Held => {
                let seen = record.words.join();
                Some(Asked::Wait { record, seen, left_ms })
            }
            State::Failed => Some(Asked::Failed),
            State::Absent => Some(Asked::Absent),
            State::Offered | State::Free | State::Again | State::Declined | State::Handed => None,
        }
    }

    /// What a lease of a record of this shard is called.
    fn lease_id(&self, number: Number) -> u64 {
        u64::from(self.store.number_of(self.shard)) << 16 | u64::from(number)
    }
}
