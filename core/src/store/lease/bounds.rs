//! What leases, and what is remembered, may take.
//!
//! Each list has a share of the store's limit in every shard, and may always have a few records.
//! Where one is full its oldest record goes: a lease ends early, which its holder finds to be a
//! conflict; something remembered is forgotten. Where the pool has no memory for more records, those
//! that there are have to do.
//!
//! One long key may take more than all of a small shard's share. A lease is not refused for that, nor
//! do others end for it: the fewest leases have room beside the longest key. What would be remembered
//! is not.

use super::record::Record;
use super::record::{Number, bytes_of};
use super::table::{CHUNKS, FIRST, In, Leases};
use super::word::State;
use crate::error::Result;
use crate::store::write::Step;
use crate::store::writer::Writer;
use crate::store::{Fill, StoreInner};
use crate::types::KEY_LEN_MAX;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;

/// One part in so many of the store's limit is for the records of leases.
const LEASE_SHARE: u64 = 32;
/// Records that a shard may always have in each list.
const RECORDS_MIN: u64 = 16;
/// Bytes of leases that a shard may always have: so many records, one of them of the longest key.
const LEASE_BYTES_MIN: u64 = RECORDS_MIN * size_of::<Record>() as u64 + bytes_of(KEY_LEN_MAX);
/// Records of all lists.
const RECORDS_MAX: u64 = (FIRST * ((1 << CHUNKS) - 1)) as u64;
/// Draining records that an allocation looks at.
const DRAINS: u32 = 4;

const _: () = assert!(RECORDS_MAX <= Number::MAX as u64);

impl StoreInner {
    /// The bytes that the store may grow to.
    fn most_bytes(&self) -> u64 {
        let pool = self.space().target_bytes();
        match self.limit_bytes.load(Relaxed) {
            0 => pool,
            own => own.min(pool),
        }
    }

    /// Leases of a shard, at most.
    fn leases_max(&self) -> u64 {
        let share = self.most_bytes() / LEASE_SHARE / self.shards.len() as u64;
        (share / size_of::<Record>() as u64).clamp(RECORDS_MIN, RECORDS_MAX / 2)
    }

    /// Bytes of what a shard remembers, at most.
    pub fn remembered_max(&self) -> u64 {
        let share = self.most_bytes() * u64::from(self.config.negative_pct) / 100;
        let record = size_of::<Record>() as u64;
        (share / self.shards.len() as u64).clamp(RECORDS_MIN * record, RECORDS_MAX / 4 * record)
    }
}

impl Writer<'_> {
    /// Whether one lease more, that takes so many bytes, is too many. One may always be.
    fn has_too_many(&self, more: u64) -> bool {
        const RECORD: u64 = size_of::<Record>() as u64;
        let len = u64::from(self.state.leases.lists[In::Leases as usize].len);
        let bytes = self.state.leases.bytes[In::Leases as usize] + more;
        // The usual case, before what the share is takes two divisions.
        if bytes <= RECORDS_MIN * RECORD {
            return false;
        }
        let most = self.store.leases_max();
        len >= most || bytes > LEASE_BYTES_MIN.max(most * RECORD)
    }

    /// A record that is in no list, of this key, linked; room may be needed first.
    pub fn new_record(&mut self, hash: u64, key: &[u8]) -> Result<Step<Number>> {
        while self.has_too_many(bytes_of(key.len())) {
            let oldest = self.state.leases.lists[In::Leases as usize].oldest;
            self.end_early(oldest);
        }
        let Some(number) = self.free_record()? else { return Ok(Step::Room) };
        let record = self.record(number);
        match self.write_key(record, key) {
            Ok(true) => {}
            refused => {
                self.put_free(number, record);
                return refused.map(|_| Step::Room);
            }
        }
        record.hash.store(hash, Relaxed);
        self.link(number, record, hash);
        Ok(Step::Done(number))
    }

    /// A record to use; `None` if memory is needed for one.
    fn free_record(&mut self) -> Result<Option<Number>> {
        let free = self.state.leases.free;
        if free != 0 {
            self.state.leases.free = self.record(free).next.load(Relaxed);
            return Ok(Some(free));
        }
        for _ in 0..DRAINS {
            let oldest = self.state.leases.lists[In::Draining as usize].oldest;
            if oldest == 0 {
                break;
            }
            let record = self.record(oldest);
            self.delist(record);
            if record.words.waiters() == 0 {
                return Ok(Some(oldest));
            }
            self.enlist(oldest, record, In::Draining);
        }
        if usize::from(self.state.leases.touched) < self.state.leases.made() {
            return Ok(Some(self.fresh_record()));
        }
        let chunk = self.state.leases.chunks.iter().flatten().count();
        if chunk < CHUNKS
            && let Some(run) = self.store.take_run(Leases::chunk_bytes(chunk), Fill::Any)?
            && let Some(base) = NonNull::new(self.store.space().run_addr(run).cast::<Record>())
        {
            self.state.leases.chunks[chunk] = Some((base, run));
            return Ok(Some(self.fresh_record()));
        }
        // What is there has to do: something remembered is forgotten, or a lease ends early.
        for list in [In::Remembered, In::Leases] {
            let oldest = self.state.leases.lists[list as usize].oldest;
            if oldest != 0 {
                self.end_early(oldest);
                let free = self.state.leases.free;
                if free != 0 {
                    self.state.leases.free = self.record(free).next.load(Relaxed);
                    return Ok(Some(free));
                }
            }
        }
        Ok(None)
    }

    /// Makes room in the table: the record goes, and whoever claims its key may load it.
    pub fn end_early(&mut self, number: Number) {
        let record = self.record(number);
        let (hash, key) = (record.hash.load(Relaxed), self.key_of(record));
        if let Some(live) = self.find(hash, key) {
            self.ask_load(&live.entry, 0);
        }
        self.end_record(number, State::Again);
    }
}
