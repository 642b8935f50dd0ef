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
//! Both lists are bounded, by a share of the store's limit. Where one is full its oldest record
//! goes: a lease ends early, which its holder finds to be a conflict; something remembered is
//! forgotten.
//!
//! Everything but a record's [`Words`] and what they announce is touched under the shard's lock
//! only.

use super::handed::Handed;
use super::waits::Wait;
use super::word::{State, Words};
use crate::error::Result;
use crate::pool::Owner;
use crate::store::write::Step;
use crate::store::writer::Writer;
use crate::store::{Fill, StoreInner};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// Records of the first run; each further one has as many as all before it, and so many more.
const FIRST: usize = 32;
/// Runs, at most; with all of them there are as many records as 16 bits number.
const CHUNKS: usize = 11;
/// Bytes of a key that lie in its record; a longer key has a block of its own.
const KEY_INLINE: usize = 56;
/// One part in so many of the store's limit is for the records of leases.
const LEASE_SHARE: u64 = 32;
/// Records that a shard may always have in each list.
const RECORDS_MIN: u64 = 16;
/// Records of all lists.
const RECORDS_MAX: u64 = (FIRST * ((1 << CHUNKS) - 1)) as u64;
/// Draining records that an allocation looks at.
const DRAINS: u32 = 4;

/// Number of a record, from 1; 0: none.
pub type Number = u16;

/// A lease, or what is left of one.
#[repr(C, align(64))]
pub struct Record {
    /// What threads look at without the lock.
    pub words: Words,
    /// Of the lease; 0: none.
    pub generation: AtomicU64,
    /// Of the key.
    pub hash: AtomicU64,
    /// When the lease, or what is remembered, is over, on the store's clock.
    pub until_ms: AtomicU64,
    /// When the lease was granted.
    pub granted_ns: AtomicU64,
    /// The value that waiters take, in [`State::Handed`].
    pub handed: AtomicPtr<Handed>,
    /// Waits without a thread.
    pub waits: AtomicPtr<Wait>,
    /// The thread that the lease was granted to.
    pub thread: AtomicU32,
    key_len: AtomicU16,
    list: AtomicU8,
    /// First of the chain of the bucket that has this record's number.
    head: AtomicU16,
    /// Next of the chain, or of the free list.
    next: AtomicU16,
    newer: AtomicU16,
    older: AtomicU16,
    key: UnsafeCell<[MaybeUninit<u8>; KEY_INLINE]>,
}

const _: () = assert!(size_of::<Record>() == 128);
const _: () = assert!(RECORDS_MAX <= Number::MAX as u64);

// SAFETY: the key's cell is accessed under the shard's lock only; all else is atomic.
unsafe impl Sync for Record {}

/// A list of records that a record may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum In {
    Leases = 0,
    Remembered = 1,
    Draining = 2,
    Free = 3,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    oldest: Number,
    newest: Number,
    len: u32,
}

/// The table of a shard, under its lock.
#[derive(Debug)]
pub struct Leases {
    chunks: [Option<(NonNull<Record>, u32)>; CHUNKS],
    /// Records that were ever used, and buckets.
    touched: Number,
    free: Number,
    lists: [List; 3],
    /// Bytes of the records of each list, and of the blocks of their long keys.
    bytes: [u64; 3],
    grants: u64,
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
    fn made(&self) -> usize {
        let chunks = self.chunks.iter().flatten().count();
        FIRST * ((1 << chunks) - 1)
    }

    /// Bytes of a run of records.
    fn chunk_bytes(chunk: usize) -> u64 {
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

    /// Records that were ever used: numbers are up to this one.
    pub fn touched(&self) -> Number {
        self.touched
    }
}

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
    fn remembered_max(&self) -> u64 {
        let share = self.most_bytes() * u64::from(self.config.negative_pct) / 100;
        let record = size_of::<Record>() as u64;
        (share / self.shards.len() as u64).clamp(RECORDS_MIN * record, RECORDS_MAX / 4 * record)
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

    /// The key of a record.
    pub fn key_of(&self, record: &'a Record) -> &'a [u8] {
        let len = usize::from(record.key_len.load(Relaxed));
        // SAFETY: `write_key` filled as many bytes in, which stay as they are until the record
        // leaves its list, under the lock; callers keep the key no longer than that.
        unsafe { std::slice::from_raw_parts(Self::key_at(record, len), len) }
    }

    fn key_at(record: &Record, len: usize) -> *const u8 {
        let inline = record.key.get();
        if len <= KEY_INLINE {
            return inline.cast::<u8>();
        }
        // SAFETY: of a long key the cell holds the address of its block, written by `write_key`.
        unsafe { inline.cast::<*const u8>().read() }
    }

    /// Notes a key; false if a long one finds no room.
    fn write_key(&self, record: &Record, key: &[u8]) -> Result<bool> {
        let inline = record.key.get();
        let at = if key.len() <= KEY_INLINE {
            inline.cast::<u8>()
        } else {
            let pool = &self.store.pool;
            let block = pool.raw().alloc(self.store.space(), key.len(), 0, Owner::Pin, false)?;
            let Some(block) = block else { return Ok(false) };
            // SAFETY: the cell is 8-aligned and longer than an address; the lock makes it ours.
            unsafe { inline.cast::<*mut u8>().write(block.as_ptr()) };
            block.as_ptr()
        };
        // SAFETY: room for the whole key, in the record or its new block, which nobody else uses.
        unsafe { std::ptr::copy_nonoverlapping(key.as_ptr(), at, key.len()) };
        record.key_len.store(key.len() as u16, Relaxed);
        Ok(true)
    }

    /// Gives the block of a long key back.
    fn drop_key(&self, record: &Record) {
        let len = usize::from(record.key_len.swap(0, Relaxed));
        if len > KEY_INLINE
            && let Some(block) = NonNull::new(Self::key_at(record, len).cast_mut())
        {
            let pool = &self.store.pool;
            // SAFETY: the block was made for this key, and the record forgot it just now.
            let freed = unsafe { pool.raw().free(self.store.space(), block, Owner::Pin) };
            debug_assert!(freed.is_ok());
        }
    }

    /// Bytes that a record takes.
    fn record_bytes(record: &Record) -> u64 {
        bytes_of(usize::from(record.key_len.load(Relaxed)))
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

    fn link(&self, number: Number, hash: u64) {
        let head = &self.record(self.state.leases.bucket(hash) + 1).head;
        self.record(number).next.store(head.load(Relaxed), Relaxed);
        head.store(number, Relaxed);
    }

    fn unlink(&self, number: Number) {
        let record = self.record(number);
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

    fn enlist(&mut self, number: Number, list: In) {
        let record = self.record(number);
        record.list.store(list as u8, Relaxed);
        let before = self.state.leases.lists[list as usize].newest;
        record.older.store(before, Relaxed);
        record.newer.store(0, Relaxed);
        if before != 0 {
            self.record(before).newer.store(number, Relaxed);
        }
        self.state.leases.bytes[list as usize] += Self::record_bytes(record);
        let ends = &mut self.state.leases.lists[list as usize];
        ends.newest = number;
        if before == 0 {
            ends.oldest = number;
        }
        ends.len += 1;
        self.state.has_leases = !self.state.leases.is_quiet();
    }

    fn delist(&mut self, number: Number) {
        let record = self.record(number);
        let list = usize::from(record.list.load(Relaxed));
        if list >= In::Free as usize {
            return;
        }
        self.state.leases.bytes[list] -= Self::record_bytes(record);
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

    /// Whether one lease more, that takes so many bytes, is too many. One may always be.
    fn has_too_many(&self, more: u64) -> bool {
        let len = u64::from(self.state.leases.lists[In::Leases as usize].len);
        let bytes = self.state.leases.bytes[In::Leases as usize] + more;
        let record = size_of::<Record>() as u64;
        len != 0 && bytes > RECORDS_MIN * record && bytes > self.store.leases_max() * record
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
                self.put_free(number);
                return refused.map(|_| Step::Room);
            }
        }
        record.hash.store(hash, Relaxed);
        self.link(number, hash);
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
            self.delist(oldest);
            if self.record(oldest).words.waiters() == 0 {
                return Ok(Some(oldest));
            }
            self.enlist(oldest, In::Draining);
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
    fn end_early(&mut self, number: Number) {
        let record = self.record(number);
        let (hash, key) = (record.hash.load(Relaxed), self.key_of(record));
        if let Some(live) = self.find(hash, key) {
            self.ask_load(&live.entry, 0);
        }
        self.end_record(number, State::Again);
    }

    /// Begins to use the next record, and its bucket.
    fn fresh_record(&mut self) -> Number {
        let touched = self.state.leases.touched;
        let chunk = (usize::from(touched) / FIRST + 1).ilog2() as usize;
        if let Some((base, _)) = self.state.leases.chunks[chunk] {
            let fresh = Record {
                words: Words::new(),
                generation: AtomicU64::new(0),
                hash: AtomicU64::new(0),
                until_ms: AtomicU64::new(0),
                granted_ns: AtomicU64::new(0),
                handed: AtomicPtr::default(),
                waits: AtomicPtr::default(),
                thread: AtomicU32::new(0),
                key_len: AtomicU16::new(0),
                list: AtomicU8::new(In::Free as u8),
                head: AtomicU16::new(0),
                next: AtomicU16::new(0),
                newer: AtomicU16::new(0),
                older: AtomicU16::new(0),
                key: UnsafeCell::new([MaybeUninit::uninit(); KEY_INLINE]),
            };
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
            self.link(number, record.hash.load(Relaxed));
            number = next;
        }
    }

    fn put_free(&mut self, number: Number) {
        let record = self.record(number);
        record.list.store(In::Free as u8, Relaxed);
        record.next.store(self.state.leases.free, Relaxed);
        self.state.leases.free = number;
    }

    /// A generation that no other lease of the process has.
    fn next_generation(&mut self) -> u64 {
        let grants = &mut self.state.leases.grants;
        // Never 0, however often it is asked.
        *grants = *grants % ((1 << 40) - 1) + 1;
        u64::from(self.store.id) << 40 | *grants
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
        self.delist(number);
        self.enlist(number, In::Leases);
        generation
    }

    /// Keeps the record of a lease that has ended, so that claims find out.
    pub fn remember(&mut self, number: Number, state: State, until_ms: u64) -> Woken<'a> {
        let record = self.record(number);
        record.generation.store(0, Relaxed);
        record.until_ms.store(until_ms, Relaxed);
        self.delist(number);
        self.enlist(number, In::Remembered);
        self.announce(record, state);
        let most = self.store.remembered_max();
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
        self.unlink(number);
        self.delist(number);
        self.drop_key(record);
        self.announce(record, state);
        if record.words.waiters() == 0 {
            self.put_free(number);
            return Woken(None);
        }
        self.enlist(number, In::Draining);
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
                self.put_free(number);
            } else {
                self.enlist(number, In::Draining);
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
            bytes[list] += Self::record_bytes(record);
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

/// Bytes that the record of a key of this length takes, with the key's own block if it has one.
fn bytes_of(key_len: usize) -> u64 {
    size_of::<Record>() as u64 + if key_len > KEY_INLINE { key_len as u64 } else { 0 }
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
