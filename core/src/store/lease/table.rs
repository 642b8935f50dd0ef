//! The leases of a shard, and what is remembered of loads: records in memory of the pool.
//!
//! A *record* is two cache lines with a number. Records lie in runs that are taken as they are
//! needed, each as long as all before it, and are given back only with the store: a thread may
//! sleep on a record whose lease has ended. A record is in one of these lists:
//!
//! | list | of | order |
//! |---|---|---|
//! | leases | somebody loads, or the lease is on offer | by grant: the oldest is the first over |
//! | remembered | the load failed, or the source has no such key | by that moment |
//! | draining | ended; waiters are still to look at the outcome | by end |
//! | free | nothing | |
//!
//! Those of the first two are found by their key: linear hashing (Litwin, VLDB'80) with a bucket a
//! record that was ever used, whose chain begins in the record of the bucket's number. So the table
//! grows by a record and a bucket at a time, and everything here takes O(1).
//!
//! `bounds.rs` says how many there may be, `course.rs` what becomes of one. All of it is under the
//! shard's lock.

use super::record::{Number, Record};
use super::waits::{Wait, check_waits};
use super::word::State;
use crate::store::writer::Writer;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;

/// Records of the first run; each further one has as many as all before it, and so many more.
pub const FIRST: usize = 32;
/// Runs, at most; with all of them there are as many records as 16 bits number.
pub const CHUNKS: usize = 11;

/// A list of records that a record may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum In {
    Leases = 0,
    Remembered = 1,
    Draining = 2,
    Free = 3,
}

/// A list of records, by age.
#[derive(Clone, Copy, Debug, Default)]
pub struct List {
    pub oldest: Number,
    pub newest: Number,
    pub len: u32,
}

/// The table of a shard, under its lock.
#[derive(Debug)]
pub struct Leases {
    pub chunks: [Option<(NonNull<Record>, u32)>; CHUNKS],
    /// Records that were ever used, and buckets.
    pub touched: Number,
    pub free: Number,
    pub lists: [List; 3],
    /// Bytes of the records of each list, and of the blocks of their long keys.
    pub bytes: [u64; 3],
    pub grants: u64,
    /// Tasks that are to be woken once the lock is free.
    pub wakes: *mut Wait,
}

// SAFETY: the chunks are memory of the pool that the table alone refers to, but for records that
// waiters of the same store look at through shared references; waits are reached under the lock.
unsafe impl Send for Leases {}

impl Leases {
    /// A table that takes no memory yet.
    pub const EMPTY: Self = Self {
        chunks: [None; CHUNKS],
        touched: 0,
        free: 0,
        lists: [List { oldest: 0, newest: 0, len: 0 }; 3],
        bytes: [0; 3],
        grants: 0,
        wakes: std::ptr::null_mut(),
    };

    /// Whether a key can be found here.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.lists[In::Leases as usize].len + self.lists[In::Remembered as usize].len == 0
    }

    /// Records made, whether used or not.
    pub fn made(&self) -> usize {
        let chunks = self.chunks.iter().flatten().count();
        FIRST * ((1 << chunks) - 1)
    }

    /// Bytes of a run of records.
    pub fn chunk_bytes(chunk: usize) -> u64 {
        (FIRST << chunk) as u64 * size_of::<Record>() as u64
    }

    /// The bucket of a hash; there is one.
    fn bucket(&self, hash: u64) -> Number {
        // Not the bits that chose the shard.
        let bits = hash as Number;
        let level = 1_u16 << self.touched.ilog2();
        let low = bits & (level - 1);
        match (bits & level) | low {
            bucket if bucket < self.touched => bucket,
            _ => low,
        }
    }
}

impl<'a> Writer<'a> {
    /// A record.
    pub fn record(&self, number: Number) -> &'a Record {
        let at = usize::from(number) - 1;
        let chunk = (at / FIRST + 1).ilog2() as usize;
        let base = self.state.leases.chunks[chunk];
        debug_assert!(base.is_some(), "a record is used after its run was taken");
        let base = base.map_or(NonNull::dangling(), |(base, _)| base);
        // SAFETY: numbers come from `fresh_record`, which made the run of each and wrote the
        // record; runs go back only with the store, which `'a` borrows.
        unsafe { base.add(at - FIRST * ((1 << chunk) - 1)).as_ref() }
    }

    /// The record of a key.
    pub fn find_record(&self, hash: u64, key: &[u8]) -> Option<Number> {
        if self.state.leases.is_quiet() {
            return None;
        }
        let bucket = self.state.leases.bucket(hash);
        let mut number = self.record(bucket + 1).head.load(Relaxed);
        while number != 0 {
            let record = self.record(number);
            if record.hash.load(Relaxed) == hash && self.key_of(record) == key {
                return Some(number);
            }
            number = record.next.load(Relaxed);
        }
        None
    }

    pub fn link(&self, number: Number, record: &Record, hash: u64) {
        let head = &self.record(self.state.leases.bucket(hash) + 1).head;
        record.next.store(head.load(Relaxed), Relaxed);
        head.store(number, Relaxed);
    }

    pub fn unlink(&self, number: Number, record: &Record) {
        let next = record.next.load(Relaxed);
        let bucket = self.state.leases.bucket(record.hash.load(Relaxed));
        let mut place = &self.record(bucket + 1).head;
        loop {
            match place.load(Relaxed) {
                found if found == number => return place.store(next, Relaxed),
                0 => return,
                other => place = &self.record(other).next,
            }
        }
    }

    pub fn enlist(&mut self, number: Number, record: &Record, list: In) {
        record.list.store(list as u8, Relaxed);
        let before = self.state.leases.lists[list as usize].newest;
        record.older.store(before, Relaxed);
        record.newer.store(0, Relaxed);
        if before != 0 {
            self.record(before).newer.store(number, Relaxed);
        }
        self.state.leases.bytes[list as usize] += record.bytes();
        let ends = &mut self.state.leases.lists[list as usize];
        ends.newest = number;
        if before == 0 {
            ends.oldest = number;
        }
        ends.len += 1;
        self.state.has_leases = !self.state.leases.is_quiet();
    }

    pub fn delist(&mut self, record: &Record) {
        let list = usize::from(record.list.load(Relaxed));
        if list >= In::Free as usize {
            return;
        }
        self.state.leases.bytes[list] -= record.bytes();
        let (older, newer) = (record.older.load(Relaxed), record.newer.load(Relaxed));
        if older != 0 {
            self.record(older).newer.store(newer, Relaxed);
        }
        if newer != 0 {
            self.record(newer).older.store(older, Relaxed);
        }
        let ends = &mut self.state.leases.lists[list];
        if older == 0 {
            ends.oldest = newer;
        }
        if newer == 0 {
            ends.newest = older;
        }
        ends.len -= 1;
        record.list.store(In::Free as u8, Relaxed);
        self.state.has_leases = !self.state.leases.is_quiet();
    }

    /// Begins to use the next record, and its bucket.
    pub fn fresh_record(&mut self) -> Number {
        let touched = self.state.leases.touched;
        let chunk = (usize::from(touched) / FIRST + 1).ilog2() as usize;
        if let Some((base, _)) = self.state.leases.chunks[chunk] {
            let fresh = Record::new(In::Free as u8);
            // SAFETY: the run has room for so many records, and nobody has seen this one.
            unsafe { base.add(usize::from(touched) - FIRST * ((1 << chunk) - 1)).write(fresh) };
        }
        self.state.leases.touched = touched + 1;
        if touched != 0 {
            self.split_bucket(touched);
        }
        touched + 1
    }

    /// Has the keys of the newest bucket move there.
    fn split_bucket(&self, newest: Number) {
        let from = newest & !(1 << newest.ilog2());
        let head = &self.record(from + 1).head;
        let mut number = head.swap(0, Relaxed);
        while number != 0 {
            let record = self.record(number);
            let next = record.next.load(Relaxed);
            self.link(number, record, record.hash.load(Relaxed));
            number = next;
        }
    }

    pub fn put_free(&mut self, number: Number, record: &Record) {
        record.list.store(In::Free as u8, Relaxed);
        record.next.store(self.state.leases.free, Relaxed);
        self.state.leases.free = number;
    }

    /// Checks the table; returns the bytes of its runs.
    pub fn check_leases(&self) -> std::result::Result<u64, String> {
        let leases = &self.state.leases;
        let mut counted = [0; 3];
        let mut bytes = [0; 3];
        for number in 1..=leases.touched {
            let record = self.record(number);
            let list = usize::from(record.list.load(Relaxed));
            let Some(count) = counted.get_mut(list) else { continue };
            *count += 1;
            bytes[list] += record.bytes();
            check_waits(record).map_err(|waits| format!("record {number}: {waits}"))?;
            if list == In::Draining as usize {
                continue;
            }
            let hash = record.hash.load(Relaxed);
            let key = self.key_of(record);
            if self.store.hash.of(key) != hash || self.find_record(hash, key) != Some(number) {
                return Err(format!("the lease in record {number} is not found by its key"));
            }
            let is_lease = record.generation.load(Relaxed) != 0;
            let state = record.words.see().state();
            let fits = match state {
                State::Held => is_lease,
                State::Offered | State::Failed | State::Absent => !is_lease,
                State::Free | State::Again | State::Declined | State::Handed => false,
            };
            if !fits {
                return Err(format!("record {number} is {state:?}"));
            }
        }
        let listed = leases.lists.map(|list| list.len);
        if listed != counted {
            return Err(format!("records of leases: {counted:?} found, {listed:?} counted"));
        }
        if bytes != leases.bytes {
            let known = leases.bytes;
            return Err(format!("bytes of leases: {bytes:?} found, {known:?} counted"));
        }
        if self.state.has_leases == leases.is_quiet() {
            return Err("writes are not told whether there are leases".into());
        }
        Ok(leases.chunks.iter().flatten().map(|&(_, run)| self.store.space().run_charge(run)).sum())
    }
}
