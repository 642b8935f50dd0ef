//! The course of a record: a lease, perhaps something remembered, an end.
//!
//! Whatever ends it announces how, tells the waits without a thread, and leaves it to the caller
//! ([`Woken`]) to wake the threads once the lock is free, where it can.

use super::record::{Number, Record};
use super::table::{In, Leases, List};
use super::word::State;
use crate::store::writer::Writer;
use std::sync::atomic::Ordering::Relaxed;

impl<'a> Writer<'a> {
    /// A generation that no other lease of the process has.
    fn next_generation(&mut self) -> u64 {
        let grants = &mut self.state.leases.grants;
        *grants += 1;
        // Never 0, however often it is asked.
        u64::from(self.store.id) << 40 | (*grants & ((1 << 40) - 1)).max(1)
    }

    /// Makes the record the one of a lease that begins now; returns its generation.
    pub fn begin_lease(&mut self, number: Number, thread: u32, now_ms: u64, now_ns: u64) -> u64 {
        let generation = self.next_generation();
        let record = self.record(number);
        let until = now_ms.saturating_add(self.store.config.lease_ms);
        record.generation.store(generation, Relaxed);
        record.until_ms.store(until, Relaxed);
        record.granted_ns.store(now_ns, Relaxed);
        record.thread.store(thread, Relaxed);
        record.words.turn(State::Held);
        self.delist(record);
        self.enlist(number, record, In::Leases);
        generation
    }

    /// Keeps the record of a lease that has ended, so that claims find out; unless it takes more by
    /// itself than all that is remembered may.
    pub fn remember(&mut self, number: Number, state: State, until_ms: u64) -> Woken<'a> {
        let record = self.record(number);
        let most = self.store.remembered_max();
        if record.bytes() > most {
            return self.end_quietly(number, state);
        }
        record.generation.store(0, Relaxed);
        record.until_ms.store(until_ms, Relaxed);
        self.delist(record);
        self.enlist(number, record, In::Remembered);
        self.announce(record, state);
        while self.state.leases.bytes[In::Remembered as usize] > most {
            let oldest = self.state.leases.lists[In::Remembered as usize].oldest;
            self.end_record(oldest, State::Again);
        }
        Woken(Some(record))
    }

    /// Ends whatever the record stands for, and wakes who waits for it, under the lock.
    pub fn end_record(&mut self, number: Number, state: State) {
        self.end_quietly(number, state).wake();
    }

    /// [`Writer::end_record`] that leaves it to the caller to wake the waiters, after the lock.
    pub fn end_quietly(&mut self, number: Number, state: State) -> Woken<'a> {
        let record = self.record(number);
        record.generation.store(0, Relaxed);
        self.unlink(number, record);
        self.delist(record);
        self.drop_key(record);
        self.announce(record, state);
        if record.words.waiters() == 0 {
            self.put_free(number, record);
            return Woken(None);
        }
        self.enlist(number, record, In::Draining);
        Woken(Some(record))
    }

    /// Announces how a lease ended. What was remembered has announced it already.
    fn announce(&mut self, record: &Record, state: State) {
        match record.words.see().state() {
            State::Held | State::Offered => {
                record.words.turn(state);
                self.end_waits(record, state);
            }
            // Nobody has come to wait since.
            State::Failed | State::Absent => {}
            State::Free | State::Again | State::Declined | State::Handed => {}
        }
    }

    /// Ends the lease of a key, or what is remembered of it: the key was written or removed.
    #[inline(always)]
    pub fn note_change(&mut self, hash: u64, key: &[u8]) {
        if self.state.has_leases {
            self.end_for(hash, key);
        }
    }

    /// [`Writer::note_change`] of a key whose entry may stay: it is nobody's to load any more.
    #[cold]
    pub fn end_load(&mut self, hash: u64, key: &[u8]) {
        if let Some(number) = self.find_record(hash, key) {
            self.end_early(number);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_for(&mut self, hash: u64, key: &[u8]) {
        #[cfg(any(test, feature = "testing"))]
        if crate::store::testing::LEAVE_LEASES.load(Relaxed) {
            return;
        }
        if let Some(number) = self.find_record(hash, key) {
            self.end_record(number, State::Again);
        }
    }

    /// Ends the leases of all keys that may have changed, and what is remembered of them.
    #[cold]
    pub fn end_matching(&mut self, concerns: impl Fn(&[u8]) -> bool) {
        for list in [In::Leases, In::Remembered] {
            let mut number = self.state.leases.lists[list as usize].oldest;
            while number != 0 {
                let record = self.record(number);
                let newer = record.newer.load(Relaxed);
                if concerns(self.key_of(record)) {
                    // An entry that stays is nobody's to load any more.
                    self.end_early(number);
                }
                number = newer;
            }
        }
    }

    /// Has whoever waits find out that the shard is out of service. The lists may be broken, the
    /// records are not.
    #[cold]
    pub fn wake_all_waiters(&mut self) {
        for number in 1..=self.state.leases.touched {
            let record = self.record(number);
            let state = record.words.see().state();
            if matches!(state, State::Held | State::Offered) {
                record.words.turn(state);
                self.end_waits(record, State::Again);
                Woken(Some(record)).wake();
            }
        }
    }

    /// Ends everything after the shard was taken out of service, when the lists may be broken:
    /// whatever the records hold is found by going through them.
    #[cold]
    pub fn reset_leases(&mut self) {
        self.state.has_leases = false;
        let touched = self.state.leases.touched;
        self.state.leases.lists = [List::default(); 3];
        self.state.leases.free = 0;
        self.state.leases.bytes = [0; 3];
        for number in 1..=touched {
            let record = self.record(number);
            record.generation.store(0, Relaxed);
            record.head.store(0, Relaxed);
            record.list.store(In::Free as u8, Relaxed);
            self.drop_key(record);
            self.announce(record, State::Again);
            if record.words.waiters() == 0 {
                self.put_free(number, record);
            } else {
                self.enlist(number, record, In::Draining);
                Woken(Some(record)).wake();
            }
        }
    }

    /// Gives the memory back. The store has no references left, so nobody waits.
    pub fn close_leases(&mut self) {
        self.reset_leases();
        let chunks = std::mem::replace(&mut self.state.leases, Leases::EMPTY).chunks;
        for (_, run) in chunks.into_iter().flatten() {
            self.store.give_run(run);
        }
    }
}

/// Whose waiters are to be woken, once the lock is no longer held.
#[must_use]
#[derive(Clone, Copy, Default)]
pub struct Woken<'a>(pub Option<&'a Record>);

impl Woken<'_> {
    /// Wakes all of them.
    pub fn wake(self) {
        if let Some(record) = self.0
            && record.words.waiters() != 0
        {
            crate::memory::wait::wake(record.words.futex(), i32::MAX);
        }
    }
}
