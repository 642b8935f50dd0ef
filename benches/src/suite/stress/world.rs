//! A pool under load, and what is known of it.
//!
//! Every id has one writer, so that the last write of an id that has *returned* is known to every
//! reader: no read that begins later may show an older one. That holds for failed writes as well,
//! after which the older value has to be gone. Refusals for want of memory are counted; any other
//! failure, and any value that is wrong or stale, ends the run.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hypercache_core::store::BatchRead;
use hypercache_core::{
    AllocOptions, BatchEntry, Claim, ClaimOptions, Copied, DropReason, ErrorKind, Pool, PutOptions,
    Store, Ttl, View,
};

use super::value;
use crate::measure::Resident;
use crate::suite::emptied::emptied;
use crate::workload::{KEY_LEN, Rng, key_of, mix};

/// Keys of a batch.
const BATCH: usize = 16;
/// Views and blocks that a worker keeps.
const KEPT: usize = 8;
/// Rounds of 64 operations after which a worker has touched its stack and the allocator's arena.
const WARM: u64 = 32;

/// A pool, its store and what was written.
pub struct World {
    pub pool: Pool,
    pub store: Store,
    pub workers: u64,
    /// Length of the longest value.
    pub longest: u64,
    pub stop: AtomicBool,
    /// The longest of the usual values; changes while the load runs.
    pub usual: AtomicU64,
    /// Operations so far.
    pub done: AtomicU64,
    /// Workers that are warm, and wait for `go`.
    warm: AtomicU64,
    /// Set when somebody began to look from outside.
    go: AtomicBool,
    /// The last write of each id that has returned.
    returned: Box<[AtomicU64]>,
}

/// What came of a load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub operations: u64,
    /// Keys that were asked for by copying reads, one by one and in batches.
    pub reads: u64,
    /// Those that were there.
    pub hits: u64,
    /// Calls that said that memory is short.
    pub refused: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.reads += other.reads;
        self.hits += other.hits;
        self.refused += other.refused;
    }
}

impl World {
    pub fn new(store: Store, workers: usize, ids: u64, longest: u64) -> Self {
        Self {
            pool: store.pool().clone(),
            store,
            workers: workers as u64,
            longest,
            stop: AtomicBool::new(false),
            usual: AtomicU64::new(1_000),
            done: AtomicU64::new(0),
            warm: AtomicU64::new(0),
            go: AtomicBool::new(false),
            returned: (0..ids).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A worker of this number, which is the writer of every id that leaves it as remainder.
    pub fn worker(&self, number: usize, seed: u64) -> Worker<'_> {
        Worker {
            world: self,
            number: number as u64,
            rng: Rng::new(mix(seed) ^ number as u64),
            write: 0,
            // Not zero, so that they are backed by memory at once.
            value: vec![1; self.longest as usize],
            buf: vec![1; BATCH * self.longest.min(4_096) as usize + self.longest as usize],
            views: std::array::from_fn(|_| None),
            blocks: Vec::with_capacity(KEPT),
            tally: Tally::default(),
        }
    }

    /// That a value of `id` is whole and not older than `floor`, the write that had returned.
    fn judge(&self, id: u64, value: &[u8], floor: u64) -> Result<()> {
        let write = value::check(value, id)?;
        ensure!(
            write >= floor,
            "key {id}: a stale value, write {write} after {floor} had returned"
        );
        Ok(())
    }

    fn returned(&self, id: u64) -> u64 {
        self.returned[id as usize].load(Ordering::SeqCst)
    }

    /// Reads every id once; the workers are gone.
    pub fn read_back(&self) -> Result<()> {
        let mut reader = self.worker(0, 0);
        (0..self.returned.len() as u64).try_for_each(|id| reader.read(id))
    }

    /// Closes everything, and says what is left of it: the pool must have no store, view or block,
    /// and charge little more than its tables.
    pub fn close(self) -> Result<u64> {
        let Self { pool, store, .. } = self;
        pool.validate().context("after the load")?;
        drop(store);
        emptied(&pool)
    }
}

/// One thread of the load. It keeps some views and blocks, whose bytes must stay as they are.
pub struct Worker<'a> {
    world: &'a World,
    number: u64,
    pub rng: Rng,
    write: u64,
    value: Vec<u8>,
    buf: Vec<u8>,
    views: [Option<(u64, u64, View)>; KEPT],
    blocks: Vec<Block>,
    pub tally: Tally,
}

/// Raw memory of the pool, and how much.
struct Block(NonNull<u8>, usize);

// SAFETY: a block is its holder's alone, and any thread may give it back.
unsafe impl Send for Block {}

impl Block {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the block has so many bytes, which were zeroed when it was made; they are the
        // holder's, which is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr(), self.1) }
    }

    /// What its bytes are made from.
    fn id(&self) -> u64 {
        self.0.as_ptr().addr() as u64
    }
}

/// The same bytes as memory to be written, which is what copying reads take.
fn writable(buf: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: the same memory under a type of the same layout, borrowed for as long. The store only
    // ever writes initialised bytes into it, so that `buf` stays initialised.
    unsafe { std::slice::from_raw_parts_mut(buf.as_mut_ptr().cast(), buf.len()) }
}

impl Worker<'_> {
    /// Warms up, waits for whoever looks from outside, and works until the world stops.
    pub fn run(mut self) -> Result<Tally> {
        let done = self.until_stopped();
        // Whoever fails ends the run of all.
        self.world.stop.store(true, Ordering::Relaxed);
        let closed = self.give_all_back();
        done.and(closed)?;
        Ok(self.tally)
    }

    fn until_stopped(&mut self) -> Result<()> {
        (0..64 * WARM).try_for_each(|_| self.step())?;
        self.world.warm.fetch_add(1, Ordering::SeqCst);
        let waits = || !self.world.go.load(Ordering::SeqCst);
        while waits() && !self.world.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        while !self.world.stop.load(Ordering::Relaxed) {
            for _ in 0..64 {
                self.step()?;
            }
            self.world.done.fetch_add(64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Some operation.
    pub fn step(&mut self) -> Result<()> {
        self.tally.operations += 1;
        let id = self.rng.below(self.world.returned.len() as u64);
        match self.rng.below(100) {
            0..50 => self.read(id),
            50..80 => self.set(Ttl::Never),
            80..84 => {
                let ttl = Ttl::Millis(self.rng.between(1, 50));
                self.set(ttl)
            }
            84..88 => self.delete(),
            88..91 => self.view(id),
            91..93 => self.read_many(),
            93..95 => self.set_many(),
            95..97 => self.draft(),
            97..98 => self.load(),
            98..99 => self.block(),
            _ => {
                let touched = self.world.store.touch(&key_of(id), Ttl::Never);
                self.take(touched).map(drop)
            }
        }
    }

    /// Gives every view and block back, after a last look.
    pub fn give_all_back(&mut self) -> Result<()> {
        for at in 0..KEPT {
            self.let_go(at)?;
        }
        while let Some(block) = self.blocks.pop() {
            self.free(block)?;
        }
        Ok(())
    }

    /// What a call returned, unless it says that memory is short, which is counted.
    fn take<T>(&mut self, result: hypercache_core::Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::NoMemory) => {
                self.tally.refused += 1;
                Ok(None)
            }
            Err(error) => Err(error).context("a call that may only be refused for want of memory"),
        }
    }

    /// An id that this worker writes.
    fn own_id(&mut self) -> u64 {
        let share = self.world.returned.len() as u64 / self.world.workers;
        self.rng.below(share) * self.world.workers + self.number
    }

    /// A length: one in 64 up to the longest, the others up to the usual ones.
    fn len(&mut self) -> usize {
        let rare = self.rng.below(64) == 0;
        let most = if rare { self.world.longest } else { self.world.usual.load(Ordering::Relaxed) };
        let least = value::LEAST as u64;
        self.rng.between(least, most.clamp(least, self.world.longest)) as usize
    }

    fn read(&mut self, id: u64) -> Result<()> {
        let floor = self.world.returned(id);
        let read = self.world.store.copy(&key_of(id), writable(&mut self.buf));
        self.tally.reads += 1;
        match self.take(read)? {
            Some(Copied::Hit { len, .. }) => {
                self.tally.hits += 1;
                self.world.judge(id, &self.buf[..len], floor)
            }
            Some(Copied::SmallBuffer { .. }) => bail!("key {id}: longer than any value written"),
            Some(Copied::Miss) | None => Ok(()),
        }
    }

    /// The next write of an id: fills its value and returns its length.
    fn prepare(&mut self, id: u64) -> usize {
        let len = self.len();
        self.write += 1;
        value::fill(&mut self.value[..len], id, self.write);
        len
    }

    /// A write of this id is over, whatever came of it.
    fn wrote(&self, id: u64) {
        self.world.returned[id as usize].store(self.write, Ordering::SeqCst);
    }

    fn set(&mut self, ttl: Ttl) -> Result<()> {
        let id = self.own_id();
        let len = self.prepare(id);
        let options = PutOptions { ttl, ..PutOptions::default() };
        let put = self.world.store.put(&key_of(id), &self.value[..len], &options);
        self.wrote(id);
        self.take(put).map(drop)
    }

    fn delete(&mut self) -> Result<()> {
        let id = self.own_id();
        self.write += 1;
        let deleted = self.world.store.delete(&key_of(id));
        if deleted.is_ok() {
            self.wrote(id);
        }
        self.take(deleted).map(drop)
    }

    /// Takes a view in the place of one that is given back.
    fn view(&mut self, id: u64) -> Result<()> {
        let at = self.rng.below(KEPT as u64) as usize;
        self.let_go(at)?;
        let floor = self.world.returned(id);
        let view = self.world.store.pin(&key_of(id), false);
        if let Some(view) = self.take(view)?.flatten() {
            self.world.judge(id, &view, floor)?;
            self.views[at] = Some((id, floor, view));
        }
        Ok(())
    }

    fn let_go(&mut self, at: usize) -> Result<()> {
        let Some((id, floor, view)) = self.views[at].take() else { return Ok(()) };
        self.world.judge(id, &view, floor).context("a view that was held")
    }

    fn read_many(&mut self) -> Result<()> {
        let ids: [u64; BATCH] =
            std::array::from_fn(|_| self.rng.below(self.world.returned.len() as u64));
        let floors = ids.map(|id| self.world.returned(id));
        let keys = ids.map(key_of);
        let mut out = [const { BatchRead::Miss }; BATCH];
        let keys = keys.each_ref().map(|key| &key[..]);
        let read = self.world.store.get_many(&keys, false, writable(&mut self.buf), &mut out);
        if self.take(read)?.is_none() {
            return Ok(());
        }
        self.tally.reads += BATCH as u64;
        for ((id, floor), read) in ids.into_iter().zip(floors).zip(&out) {
            if let BatchRead::Hit { offset, len, .. } = read {
                self.tally.hits += 1;
                self.world.judge(id, &self.buf[*offset..offset + len], floor)?;
            }
        }
        Ok(())
    }

    fn set_many(&mut self) -> Result<()> {
        let first = self.own_id();
        let share = self.world.returned.len() as u64;
        let ids: [u64; 4] = std::array::from_fn(|nth| {
            (first + nth as u64 * self.world.workers) % (share - share % self.world.workers)
        });
        self.write += 1;
        let values = ids.map(|id| {
            let mut value = [0; 100];
            value::fill(&mut value, id, self.write);
            value
        });
        let keys: [[u8; KEY_LEN]; 4] = ids.map(key_of);
        let entry = |(key, value)| BatchEntry { key, value, ..BatchEntry::default() };
        let entries = keys.iter().map(|key| &key[..]).zip(values.iter().map(|value| &value[..]));
        let entries: [BatchEntry<'_>; 4] = {
            let mut entries = entries.map(entry);
            std::array::from_fn(|_| entries.next().unwrap_or_default())
        };
        let mut outcomes = Vec::new();
        let put = self.world.store.put_many(&entries, &mut |_, outcome| outcomes.push(outcome));
        ids.iter().for_each(|&id| self.wrote(id));
        self.take(put)?;
        outcomes.into_iter().try_for_each(|outcome| self.take(outcome).map(drop))
    }

    /// Reserves, and commits or changes its mind.
    fn draft(&mut self) -> Result<()> {
        let id = self.own_id();
        let len = self.prepare(id);
        let draft = self.world.store.reserve(&key_of(id), len, &PutOptions::default());
        let Some(mut draft) = self.take(draft)? else { return Ok(()) };
        if self.rng.below(4) == 0 {
            return Ok(());
        }
        for (to, &from) in draft.data_mut().iter_mut().zip(&self.value[..len]) {
            *to = MaybeUninit::new(from);
        }
        // SAFETY: every byte was written just above.
        let put = unsafe { draft.commit() };
        self.wrote(id);
        self.take(put).map(drop)
    }

    /// Claims a key that is its own, and loads it where it is not there.
    fn load(&mut self) -> Result<()> {
        let id = self.own_id();
        let floor = self.world.returned(id);
        let claim = self.world.store.claim(&key_of(id), ClaimOptions::default());
        match self.take(claim)? {
            Some(Claim::Value(view)) => self.world.judge(id, &view, floor),
            Some(Claim::Claimed(lease)) if self.rng.below(4) == 0 => {
                let dropped = self.world.store.lease_drop(lease, DropReason::Cancelled);
                self.take(dropped).map(drop)
            }
            Some(Claim::Claimed(lease)) => {
                let len = self.prepare(id);
                let options = PutOptions::default();
                let put = self.world.store.lease_put(lease, &self.value[..len], &options);
                self.wrote(id);
                self.take(put).map(drop)
            }
            Some(Claim::TimedOut | Claim::Absent | Claim::LoadFailed | Claim::Declined) | None => {
                Ok(())
            }
        }
    }

    /// Takes raw memory, or gives some back.
    fn block(&mut self) -> Result<()> {
        if self.blocks.len() >= KEPT
            && let Some(block) = self.blocks.pop()
        {
            return self.free(block);
        }
        let len = self.len();
        // Zeroed, so that all of it may be read.
        let options = AllocOptions { evict: true, zero: true };
        let block = self.world.pool.alloc(len, 0, options);
        if let Some(block) = self.take(block)? {
            let mut block = Block(block, len);
            let id = block.id();
            value::fill(block.bytes(), id, 0);
            self.blocks.push(block);
        }
        Ok(())
    }

    fn free(&mut self, mut block: Block) -> Result<()> {
        let id = block.id();
        value::check(block.bytes(), id).context("a block of raw memory")?;
        // SAFETY: allocated by this worker, freed once.
        unsafe { self.world.pool.free(block.0.as_ptr()) }.context("a block given back")
    }
}

/// Watches a pool from outside while others load it.
pub struct Outside {
    /// Since before the load.
    first: Resident,
    /// Since the load was warm.
    resident: Resident,
    /// What the pool charged at that moment.
    charged: u64,
    /// The largest quotient of the pool's resident memory and limit.
    pub worst: f64,
    /// The most bytes of the pool that were resident beyond the limit.
    pub beyond: u64,
}

impl Outside {
    /// Before the workers start; what is left in the end counts from here.
    pub fn begin() -> Self {
        let now = Resident::begin();
        Self { first: now, resident: now, charged: 0, worst: 0.0, beyond: 0 }
    }

    /// Once the workers run: their stacks and the allocator's arenas are there, which are not the
    /// pool's. They stand still meanwhile, and the pool is made as empty as their views let it, so
    /// that what it charges is what of it is resident. Waits until `latest` at most, for a worker
    /// that has panicked.
    pub fn look_from_now(&mut self, world: &World, latest: Instant) -> Result<()> {
        let is_warm = || world.warm.load(Ordering::SeqCst) >= world.workers;
        let is_over = || world.stop.load(Ordering::Relaxed) || Instant::now() >= latest;
        while !is_warm() && !is_over() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let trimmed = world.pool.trim(0).context("a pool whose load stands still").map(drop);
        self.charged = world.pool.stats().used_bytes;
        self.resident = Resident::begin();
        world.go.store(true, Ordering::SeqCst);
        trimmed
    }

    /// Looks once. `limit` is the highest in force since the last look.
    pub fn look(&mut self, pool: &Pool, limit: u64) -> Result<u64> {
        let stats = pool.stats();
        ensure!(
            stats.used_bytes <= stats.limit_bytes,
            "{} bytes are charged, {} are the limit in force",
            stats.used_bytes,
            stats.limit_bytes
        );
        let now = self.resident.sample() + self.charged;
        self.worst = self.worst.max(now as f64 / limit as f64);
        self.beyond = self.beyond.max(now.saturating_sub(limit));
        Ok(now)
    }

    /// What is left; the pool is gone.
    pub fn left(&mut self) -> u64 {
        self.first.sample()
    }
}
