//! Room for a call that found none under its shard's lock.
//!
//! In the steady state this is never reached: writes pay as they go, and emptied segments wait in
//! the pool before they are needed. It is reached when a store is new in a full pool, when a large
//! value needs many bytes at once, when shards are out of balance, and when readers or views hold
//! what was emptied. Then room is taken from the richest shard of this store, or from the store
//! that is worth least a byte; what readers hold is waited for, without a lock and for a bounded
//! time; what views and raw memory hold is not.

use super::index::Table;
use super::shard::{PolicyMemory, Shard};
use super::writer::Writer;
use super::{Fill, StoreInner};
use crate::error::{Error, ErrorKind, Result};
use crate::eviction::Policy;
use crate::memory::guard;
use crate::pool::Owner;
use crate::pool::space::RunId;
use crate::pool::tenants::STARVED;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Attempts after which a call gives up waiting for readers: some two seconds in all.
const ROUNDS: u32 = 2_000;
/// Attempts that were given room and still lacked some, after which a call gives up: what it needs
/// at once is more than the store or pool can hold beside it.
const FRUITLESS: u32 = 48;
/// The same while the pool's limit is on its way down: a second and a half, for the thread that
/// lowers it may be without a processor.
const SHRINK_ROUNDS: u32 = 1_500;
/// Heads opened between two looks at the other stores of the pool.
const REBALANCE_EVERY: u32 = 8;
/// Threads that read, for each processor, from which on they are a crowd.
const CROWD_A_PROCESSOR: usize = 8;

/// A policy's memory is at most one part in so many of a shard's share of the limit: four bytes for
/// each of the shortest entries.
const POLICY_SHARE: u64 = 6;

/// Index lines that one step of reclaim gives up, at least, ...
const SHRINK_LINES: u64 = 1_024;
/// ... or an eighth of a segment of lines.
const SHRINK_SHARE: u64 = 8 * 64;

/// The failure of a call for which no room can be made.
pub const NO_SPACE: Error = Error::fixed(
    ErrorKind::NoSpace,
    "the budget is held by views, drafts, raw memory or other stores' floors; give some of it \
     back or raise the limit",
);

fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS
        .get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// What one call has waited for room so far.
#[derive(Default)]
pub struct Patience {
    /// Attempts.
    rounds: u32,
    /// Those for whose failure neither readers nor a limit on its way down can be blamed. Counted
    /// apart: a shrink that is over must not leave a call that waited for it without patience.
    fruitless: u32,
}

impl StoreInner {
    /// Obtains room for `bytes` more, or waits a little for it.
    #[cold]
    pub fn obtain_room(&self, bytes: u64, patience: &mut Patience) -> Result<()> {
        let space = self.space();
        let round = patience.rounds;
        patience.rounds += 1;
        let wanted = bytes.max(space.seg_bytes());
        space.harvest(true);
        if self.available() > 0 && round == 0 {
            return Ok(());
        }
        let given = self.reclaim_anywhere(wanted);
        let harvest = space.harvest(true);
        let readers_hold = space.waiting_bytes() > harvest.pinned_bytes;
        // A shrink under way takes whatever is given, and is over soon; unless views stand
        // against it.
        let shrinks = space.is_driven_down() || self.shrinking.load(Ordering::Relaxed);
        let most = match (readers_hold, shrinks) {
            (false, true) => SHRINK_ROUNDS,
            (true, _) | (false, false) => ROUNDS,
        };
        // A limit that stands above its target takes what is given as long as something is.
        let sinks = given > 0 && space.excess_bytes() > 0;
        patience.fruitless += u32::from(!readers_hold && !shrinks && !sinks);
        if round > most || patience.fruitless > FRUITLESS {
            return Err(NO_SPACE);
        }
        if (given > 0 || harvest.bytes > 0 || self.available() > 0) && !(shrinks && round > 16) {
            // Others may have taken it; the next attempt shows.
            return Ok(());
        }
        if !readers_hold && !shrinks && patience.fruitless > 8 {
            return Err(NO_SPACE);
        }
        // Readers hold what was emptied; they leave as soon as they get a processor.
        if round < 16 {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_micros(u64::from(round.min(200)) * 5));
        }
        Ok(())
    }

    /// Takes room from this store or from another one of the pool; returns the bytes.
    pub(super) fn reclaim_anywhere(&self, bytes: u64) -> u64 {
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        let own_limit = limit != 0 && self.used.load(Ordering::Relaxed) + bytes > limit;
        if own_limit || self.pool.tenants_open() < 2 {
            self.reclaim_own(bytes)
        } else {
            self.pool.reclaim_for(Some(self.id), bytes)
        }
    }

    /// Takes room from this store's shards, the richest first.
    pub fn reclaim_own(&self, bytes: u64) -> u64 {
        let mut given = 0;
        let mut tried = [false; crate::config::SHARDS_MAX as usize];
        for _ in 0..self.shards.len() {
            let richest = self
                .shards
                .iter()
                .enumerate()
                .filter(|(number, _)| !tried[*number])
                .max_by_key(|(_, shard)| shard.held.load(Ordering::Relaxed));
            let Some((number, shard)) = richest else { break };
            tried[number] = true;
            if let Ok(mut writer) = shard.lock(self) {
                // What hits asked for comes first: it may be what would go.
                writer.drain_promotions();
                given += writer.reclaim_now(bytes - given);
                given += writer.shrink_index();
            }
            if given >= bytes {
                return given;
            }
        }
        if self.has_screens { given + self.give_screens_up() } else { given }
    }

    /// Whether the store has next to nothing of a pool that others fill. It does not evict its own
    /// then: it asks the pool.
    fn is_starved(&self) -> bool {
        let stores = self.pool.tenants_open() as u64;
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        let used = self.used.load(Ordering::Relaxed);
        stores > 1
            && used < self.space().target_bytes() / stores / STARVED
            && (limit == 0 || used < limit / 2)
    }

    /// Segments that this store could take now, by estimate.
    pub fn available(&self) -> u32 {
        let pool = self.space().available_segments();
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        if limit == 0 {
            return pool;
        }
        let own = limit.saturating_sub(self.used.load(Ordering::Relaxed));
        pool.min(u32::try_from(own / self.places.seg_bytes()).unwrap_or(u32::MAX))
    }

    /// A run of so many bytes, making room for it.
    pub fn obtain_run(&self, bytes: u64, fill: Fill) -> Result<RunId> {
        // As it is charged: else a store whose own limit is short of less than a page would not be
        // asked for it, and others would.
        let bytes = bytes.next_multiple_of(4096);
        let mut patience = Patience::default();
        loop {
            if let Some(run) = self.take_run(bytes, fill)? {
                return Ok(run);
            }
            self.obtain_room(bytes, &mut patience)?;
        }
    }

    /// A block of so many bytes of the raw allocator, aligned to 16, making room for it.
    pub fn obtain_block(&self, bytes: usize) -> Result<NonNull<u8>> {
        let mut patience = Patience::default();
        loop {
            if let Some(block) =
                self.pool.raw().alloc(self.space(), bytes, 16, Owner::Pin, false)?
            {
                return Ok(block);
            }
            self.obtain_room(bytes as u64, &mut patience)?;
        }
    }

    /// What writes leave behind for a thread without a lock.
    #[cold]
    pub fn do_chores(&self) {
        self.chores_due.store(false, Ordering::Relaxed);
        if self.rebalance_due.swap(false, Ordering::Relaxed) {
            self.rebalance();
        }
        if self.screens_due.swap(false, Ordering::Relaxed) {
            self.fit_screens();
        }
    }

    /// Has the store that is worth least a byte give a segment, if it is not this one.
    fn rebalance(&self) {
        self.pool.reclaim_for(Some(self.id), self.space().seg_bytes());
    }

    /// Carries out the promotions that hits asked for, where no writer comes by.
    ///
    /// Not among a crowd of readers: with many more threads than processors some reader loses its
    /// processor while it holds the lock, and writers wait for its next turn, which takes seconds
    /// with a thousand threads. Writers do the work when they come by.
    #[cold]
    pub fn drain_due(&self, shard: &Shard) {
        self.promotions_due.store(false, Ordering::Relaxed);
        if guard::threads_seated() > CROWD_A_PROCESSOR * processors() {
            return;
        }
        let retired = shard.try_lock(self).is_some_and(|mut writer| {
            writer.drain_promotions();
            writer.retired
        });
        if retired {
            self.space().harvest(false);
        }
    }
}

impl Writer<'_> {
    /// Gives back what the index needs no more after evictions that no insert follows; returns the
    /// bytes. Bounded, so that the shard is not locked for long.
    fn shrink_index(&mut self) -> u64 {
        let shard = self.shard;
        let seg_bytes = self.store.space().seg_bytes();
        let before = self.state.tail.segments;
        for _ in 0..(seg_bytes / SHRINK_SHARE).max(SHRINK_LINES) {
            if !Table::wants_shrink(&self.state.tail) {
                break;
            }
            match shard.table.shrink(&mut self.state.tail) {
                Some(Some(segment)) => self.store.retire_index(segment),
                Some(None) => {}
                None => break,
            }
        }
        u64::from(before.saturating_sub(self.state.tail.segments)) * seg_bytes
    }

    /// What is decided anew whenever a head is opened: how much writes pay and how much memory the
    /// policy has.
    pub fn head_opened(&mut self) {
        self.set_ratio();
        self.fit_policy_memory();
    }

    fn set_ratio(&mut self) {
        let reserve = self.store.reserve;
        let available = self.store.available();
        if available >= 3 * reserve || self.store.is_starved() {
            self.state.ratio = 0;
            self.state.debt = 0;
            return;
        }
        // 1 at the reserve, more below, less above.
        let base = 24 - 8 * available / reserve;
        let shards = self.store.shards.len() as u64;
        let total: u64 = self
            .store
            .shards
            .iter()
            .map(|shard| u64::from(shard.segments.load(Ordering::Relaxed)))
            .sum();
        let own = u64::from(self.state.segments);
        // A shard with more than its share pays more, so that shares even out.
        let weighted = u64::from(base) * own * shards / total.max(1);
        let bounds = (u64::from(base) / 2, u64::from(base) * 2);
        self.state.ratio = weighted.clamp(bounds.0, bounds.1) as u32;
        if self.store.pool.tenants_open() > 1 {
            let opened = self.store.heads_opened.fetch_add(1, Ordering::Relaxed);
            if opened % REBALANCE_EVERY == REBALANCE_EVERY - 1 {
                self.store.rebalance_due.store(true, Ordering::Relaxed);
                self.store.chores_due.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Gives the policy memory for the entries that the shard will hold, where that is off by more
    /// than a half: new memory forgets everything, and may split a huge page.
    fn fit_policy_memory(&mut self) {
        let Some((expected, share)) = self.expected_entries() else { return };
        // A bound on entries may promise more than the bytes hold.
        let most = (share / POLICY_SHARE / 4) as usize;
        let wanted = self.state.policy.memory_words_within(expected, share).min(most);
        let has = self.state.memory.as_ref().map_or(0, |memory| memory.words().len());
        if wanted == has || wanted * 2 <= has * 3 && has * 2 <= wanted * 3 {
            return;
        }
        if let Some(memory) = self.state.memory.take() {
            self.store.give_run(memory.run);
        }
        if wanted > 0
            && let Ok(Some(run)) = self.store.take_run(wanted as u64 * 4, Fill::Zero)
        {
            let meta = self.store.space().run_meta(run);
            meta.shard.store(self.store.number_of(self.shard), Ordering::Relaxed);
            // SAFETY: the run was just taken, zeroed, with room for so many words.
            self.state.memory = Some(unsafe { PolicyMemory::new(self.store.space(), run, wanted) });
        }
        self.state.policy.memory_changed();
    }

    /// Entries that the shard will hold when it is full, by those that it has, and its share of the
    /// limit in bytes; `None`: it has too few to tell.
    pub(super) fn expected_entries(&self) -> Option<(u64, u64)> {
        let (mut bytes, mut entries) = (0, 0);
        for queue in &self.state.view.queues {
            bytes += queue.bytes;
            entries += queue.entries;
        }
        if entries < 16 && self.state.view.capacity_entries == 0 {
            return None;
        }
        let shards = self.store.shards.len() as u64;
        let limit = match self.store.limit_bytes.load(Ordering::Relaxed) {
            0 => self.store.space().limit_and_used().0,
            own => own.min(self.store.space().limit_and_used().0),
        };
        let share = (limit / shards).max(bytes);
        let by_bytes = (u128::from(entries) * u128::from(share) / u128::from(bytes.max(1))) as u64;
        let expected = match self.state.view.capacity_entries {
            0 => by_bytes,
            max if entries < 16 => max,
            max => max.min(by_bytes),
        };
        Some((expected, share))
    }
}
