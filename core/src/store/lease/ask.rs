//! Asking for a lease under the shard's lock: who loads, and who is to wait.

use super::Lease;
use super::fresh::Due;
use super::record::{Number, Record};
use super::word::{Seen, State};
use crate::error::Result;
use crate::store::write::Step;
use crate::store::writer::Writer;
use std::cell::Cell;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// What a claim asks for under the lock.
pub struct Ask {
    /// An old value will do while somebody else loads.
    pub stale: bool,
    /// The value will soon be old.
    pub early: bool,
    /// It waits for another's load.
    pub may_wait: bool,
}

/// What a claim that found nothing comes to under the lock.
pub enum Asked<'a> {
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

/// A number that no other thread has had, until 2^32 threads have claimed something; never 0. The
/// system's own numbers take a system call, and go to new threads when old ones end.
fn thread() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    thread_local! {
        static MINE: Cell<u32> = const { Cell::new(0) };
    }
    MINE.with(|mine| {
        while mine.get() == 0 {
            mine.set(NEXT.fetch_add(1, Relaxed));
        }
        mine.get()
    })
}

impl<'a> Writer<'a> {
    /// Has the caller load the key, wait, or look again.
    pub fn ask_lease(&mut self, hash: u64, key: &[u8], ask: &Ask) -> Result<Step<Asked<'a>>> {
        let live = self.find(hash, key).filter(|live| !self.is_expired(&live.entry));
        let due = live.map(|live| self.store.due(&live.entry, ask.stale, false));
        let number = self.find_record(hash, key);
        match due {
            Some(Due::Fresh) if !ask.early => return Ok(Step::Done(Asked::Present)),
            Some(Due::Old) => return Ok(Step::Done(Asked::Present)),
            Some(Due::Fresh | Due::Early | Due::Load) | None => {}
        }
        let number = match number {
            Some(number) => {
                let is_fresh = matches!(due, Some(Due::Fresh | Due::Early));
                if let Some(asked) = self.ask_record(number, ask.may_wait && !is_fresh) {
                    let asked = if is_fresh { Asked::Present } else { asked };
                    return Ok(Step::Done(asked));
                }
                if !self.is_being_left(number) {
                    Some(number)
                } else {
                    self.end_record(number, State::Again);
                    None
                }
            }
            None => None,
        };
        let number = match number {
            Some(number) => number,
            None => match self.new_record(hash, key)? {
                Step::Done(number) => number,
                Step::Room => return Ok(Step::Room),
            },
        };
        let (now_ms, now_ns) = self.store.clock.now_both();
        let generation = self.begin_lease(number, thread(), now_ms, now_ns);
        if let Some(live) = live {
            self.ask_load(&live.entry, self.record(number).until_ms.load(Relaxed));
        }
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

    /// Whether some who waited have not yet taken leave of what is remembered here. They do so
    /// without the lock, so a lease that begins in this record would count them among its own.
    fn is_being_left(&self, number: Number) -> bool {
        let words = &self.record(number).words;
        matches!(words.see().state(), State::Failed | State::Absent) && words.waiters() != 0
    }

    /// What a lease of a record of this shard is called.
    fn lease_id(&self, number: Number) -> u64 {
        u64::from(self.store.number_of(self.shard)) << 16 | u64::from(number)
    }
}
