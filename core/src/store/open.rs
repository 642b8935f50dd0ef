//! Opening a store, ending it, and putting it back in service.

use super::index::{Table, Tail};
use super::places::Places;
use super::shard::{Queue, Shard};
use super::writer::Writer;
use super::{HitRule, Store, StoreInner, entry};
use crate::clock::Clock;
use crate::config::{POOL_LIMIT_MIN, SHARDS_MAX, StoreConfig, check_range};
use crate::error::{Error, ErrorKind, Result};
use crate::eviction::{AnyPolicy, Policy};
use crate::hash::{KeyHash, random_u64};
use crate::pool::{Pool, SEG_NONE, Tenant, Use};
use crate::stats::{Counters, LatencyHistogram};
use crate::types::{Match, VALUE_LEN_MAX};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Log segments a shard has at least, so that open heads and cursors are a small share of it.
const SEGMENTS_A_SHARD: u64 = 128;
/// Entries a shard of a store that is bounded by entries has at least.
const ENTRIES_A_SHARD: u64 = 4096;

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Pool {
    /// Opens a store in the pool, which it keeps alive. If the configuration names a store that is
    /// open in this pool, that store.
    ///
    /// # Errors
    /// `Invalid` names the field that is out of range, or that disagrees with the configuration
    /// that the store of this name was created with; `Unsupported` names an unknown policy option;
    /// `NoSpace`: the pool has no room for an empty store; `NoMemory`; `Forked`.
    pub fn open_store(&self, config: &StoreConfig) -> Result<Store> {
        self.open_store_with(config, Clock::Monotonic)
    }

    /// [`Pool::open_store`] with a clock that may be steered.
    ///
    /// # Errors
    /// As [`Pool::open_store`].
    pub fn open_store_with(&self, config: &StoreConfig, clock: Clock) -> Result<Store> {
        self.check()?;
        let resolved = config.resolved(self.space().limit_max())?;
        // One store is opened at a time, so that two callers cannot create one name twice.
        let _opening = self.tenants().opening();
        if let Some(name) = config.name.as_deref()
            && let Some(open) = self.find_store(name)?
        {
            config.check_agrees(&open.0.created)?;
            return Ok(open);
        }
        let floors = self.tenants_floor_sum().saturating_add(resolved.floor_bytes);
        let limit = self.space().target_bytes();
        if floors > limit {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "floor_bytes is {}; with the other stores' floors that is {floors}, above the \
                     pool's limit {limit}",
                    resolved.floor_bytes
                ),
            ));
        }
        let inner = Arc::new(StoreInner::make(self, resolved, clock)?);
        let weak: std::sync::Weak<StoreInner> = Arc::downgrade(&inner);
        let id = inner.id;
        self.tenants().register(weak, id);
        Ok(Store(inner))
    }

    /// The open store of this name.
    ///
    /// # Errors
    /// `Forked`.
    pub fn find_store(&self, name: &str) -> Result<Option<Store>> {
        self.check()?;
        Ok(self.stores().into_iter().find(|store| store.name() == Some(name)))
    }

    /// All open stores; none in a process that did not make the pool.
    #[must_use]
    pub fn stores(&self) -> Vec<Store> {
        // Before the list's lock, which another thread may have held when the process forked.
        if self.check().is_err() {
            return Vec::new();
        }
        self.tenants()
            .all()
            .into_iter()
            .filter_map(|tenant| tenant.into_any().downcast::<StoreInner>().ok())
            .filter(|inner| !inner.closed.load(Ordering::Relaxed))
            .map(Store)
            .collect()
    }
}

impl StoreInner {
    fn make(pool: &Pool, mut config: StoreConfig, clock: Clock) -> Result<Self> {
        let space = pool.space();
        let pool_limit = space.target_bytes();
        let own_limit = if config.limit_bytes == 0 { pool_limit } else { config.limit_bytes };
        let policy = AnyPolicy::new(config.policy, config.policy_options.as_deref())?;
        let shards = choose_shards(&config, own_limit.min(pool_limit) >> space.seg_shift());
        config.shards = shards;
        if config.value_len_max == 0 {
            config.value_len_max = (own_limit / 4).min(VALUE_LEN_MAX);
        }
        let segments = space.segments_max().div_ceil(shards) as usize;
        let fixed_bytes = size_of::<Self>() as u64
            + u64::from(shards) * (Shard::heap_bytes() + Table::heap_bytes(segments))
            + if config.latency { 3 * LatencyHistogram::BYTES } else { 0 };
        if !pool.charge_with_room(fixed_bytes) {
            return Err(super::room::NO_SPACE);
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let seg_bytes = space.seg_bytes();
        let waiting = (512 << 10).min(own_limit.min(pool_limit) / 64) / seg_bytes;
        let mut inner = Self {
            generation: pool.generation(),
            slot_tag: crate::memory::guard::tag_of(pool.generation()),
            shards: Box::new([]),
            shards_mask: shards as usize - 1,
            hit_rule: HitRule::of(&policy),
            promote_after: policy.promote_after(),
            hears_at: policy.hears_at().unwrap_or(0),
            hears_all: policy.hears_all(),
            has_screens: config.filter_fpr != 0.0,
            weighs: AtomicBool::new(false),
            attends: config.filter_fpr != 0.0 || policy.sessions().is_some(),
            queues: policy.queues(),
            newcomer_queues: policy.newcomer_queues(),
            places: Places::new(space),
            space: std::ptr::from_ref(space),
            latency: config
                .latency
                .then(|| Box::new(std::array::from_fn(|_| LatencyHistogram::new()))),
            hash: KeyHash::new(config.hash_seed),
            clock,
            id,
            inline_max: inline_max(seg_bytes),
            straight_max: if config.default_ttl_ms == 0
                && config.soft_ttl_ms == 0
                && config.idle_ttl_ms == 0
                && policy.sessions().is_none()
            {
                inline_max(seg_bytes) - entry::FIELDS_MAX
            } else {
                0
            },
            value_len_max: AtomicU64::new(config.value_len_max),
            limit_bytes: AtomicU64::new(config.limit_bytes),
            used: AtomicU64::new(fixed_bytes),
            reserve: shards + 1 + (waiting as u32).max(1),
            heads_opened: AtomicU32::new(0),
            promotions_due: AtomicBool::new(false),
            chores_due: AtomicBool::new(false),
            rebalance_due: AtomicBool::new(false),
            screens_due: AtomicBool::new(false),
            shrinking: AtomicBool::new(false),
            counters: Counters::new(),
            sessions: None,
            known: super::known::KnownKeys::none(),
            created: config.clone(),
            config,
            pool: pool.clone(),
            fixed_bytes,
            closed: AtomicBool::new(false),
        };
        let entries = inner.config.limit_entries;
        let mut made = Vec::new();
        made.try_reserve_exact(shards as usize).map_err(|_| {
            Error::fixed(ErrorKind::NoMemory, "no memory for the shards of a store")
        })?;
        for number in 0..u64::from(shards) {
            let (table, tail) = match inner.open_table(segments) {
                Ok(opened) => opened,
                Err(error) => {
                    // What the shards before it took goes back with them.
                    inner.shards = made.into();
                    return Err(error);
                }
            };
            let share =
                entries / u64::from(shards) + u64::from(number < entries % u64::from(shards));
            // With a fixed hash the dice of the policies fall the same way in every run too.
            let dice = match inner.config.hash_seed {
                0 => random_u64(),
                seed => seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            };
            made.push(Shard::new(table, tail, policy.clone(), share, dice));
        }
        inner.shards = made.into();
        if let Some(limits) = policy.sessions() {
            inner.sessions = Some(inner.open_sessions(limits, &inner.config)?);
        }
        Ok(inner)
    }

    fn open_table(&self, segments: usize) -> Result<(Table, Tail)> {
        for round in 0..64 {
            if let Some(first) = self.take_segment(Use::Index)? {
                return Table::open(self.space(), segments, first)
                    .inspect_err(|_| self.give_segment(first));
            }
            let limit = self.limit_bytes.load(Ordering::Relaxed);
            let needed = self.used.load(Ordering::Relaxed) + self.space().seg_bytes();
            if limit != 0 && needed > limit {
                return Err(Error::new(
                    ErrorKind::NoSpace,
                    format!("limit_bytes is {limit}; an empty store takes {needed} or more here"),
                ));
            }
            let given = self.pool.reclaim_for(Some(self.id), self.space().seg_bytes());
            if given == 0 && self.space().harvest(true).bytes == 0 && round > 8 {
                break;
            }
        }
        Err(super::room::NO_SPACE)
    }

    /// Ends the store for everybody. Idempotent.
    pub fn destroy(&self) {
        if crate::memory::fork::check(self.generation).is_err()
            || self.closed.swap(true, Ordering::SeqCst)
        {
            return;
        }
        self.pool.tenants().unregister(self.id);
        for shard in &self.shards {
            shard.table.close();
        }
        for shard in &self.shards {
            let mut writer = shard.lock_any(self);
            // Again under the lock: a writer that was changing the geometry may have undone it.
            shard.table.close();
            writer.tear_down();
        }
        self.reset_sessions();
        self.forget_known_keys();
        self.space().harvest(true);
    }

    /// Removes everything, and puts poisoned shards back in service.
    pub fn clear(&self) -> Result<()> {
        crate::memory::fork::check(self.generation)?;
        let mut has_reopened = false;
        for shard in &self.shards {
            if shard.table.geometry().is_poisoned() {
                self.reopen(shard)?;
                has_reopened = true;
            }
        }
        self.invalidate(&Match::All)?;
        if has_reopened {
            self.reset_sessions();
        } else if let Some(sessions) = self.sessions() {
            sessions.end_all();
        }
        for shard in &self.shards {
            let mut writer = shard.lock(self)?;
            writer.ask(|policy, cx| {
                policy.clear();
                cx.memory.fill(0);
                policy.memory_changed();
            });
        }
        self.space().harvest(true);
        Ok(())
    }

    fn reopen(&self, shard: &Shard) -> Result<()> {
        for _ in 0..64 {
            let mut writer = shard.lock_any(self);
            if shard.table.geometry().is_closed() {
                return Err(super::shard::CLOSED);
            }
            if !shard.table.geometry().is_poisoned() {
                return Ok(());
            }
            writer.tear_down();
            if let Some(first) = self.take_segment(Use::Index)? {
                shard.table.reopen(&mut writer.state.tail, first);
                return Ok(());
            }
            drop(writer);
            if self.space().harvest(true).bytes == 0 {
                self.pool.reclaim_for(Some(self.id), self.space().seg_bytes());
            }
        }
        Err(super::room::NO_SPACE)
    }

    /// Changes the store's own limit, evicting down to it.
    pub fn set_limit(&self, bytes: u64) -> Result<()> {
        self.check_open()?;
        if bytes != 0 {
            check_range("limit_bytes", bytes, POOL_LIMIT_MIN / 4, self.space().limit_max())?;
        }
        self.shrinking.store(true, Ordering::SeqCst);
        let before = self.limit_bytes.swap(bytes, Ordering::SeqCst);
        let result = self.shrink_to(bytes);
        if result.is_err() {
            // Unless another call has set another limit meanwhile.
            let _ = self.limit_bytes.compare_exchange(
                bytes,
                before,
                Ordering::SeqCst,
                Ordering::SeqCst,
            );
        }
        self.shrinking.store(false, Ordering::SeqCst);
        result
    }

    fn shrink_to(&self, bytes: u64) -> Result<()> {
        let mut idle = 0;
        while bytes != 0 && self.used.load(Ordering::Relaxed) > bytes {
            if self.reclaim_own(self.space().seg_bytes()) == 0 {
                idle += 1;
            }
            self.space().harvest(false);
            if idle > 16 {
                return Err(Error::new(
                    ErrorKind::NoSpace,
                    format!(
                        "limit_bytes is {bytes}; an empty store of {} shards takes {}",
                        self.shards.len(),
                        self.used.load(Ordering::Relaxed)
                    ),
                ));
            }
        }
        self.space().harvest(true);
        Ok(())
    }
}

/// The longest entry that goes into the log; longer values have runs of their own.
fn inline_max(seg_bytes: u64) -> usize {
    (seg_bytes / 8).max(4096).min(seg_bytes / 2) as usize + entry::HEADER + entry::FIELDS_MAX
}

fn choose_shards(config: &StoreConfig, segments: u64) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let mut most = (segments / SEGMENTS_A_SHARD).clamp(1, u64::from(SHARDS_MAX));
    if config.limit_entries != 0 {
        most = most.min((config.limit_entries / ENTRIES_A_SHARD).max(1));
    }
    let wanted = if config.shards == 0 {
        (2 * cores).next_power_of_two()
    } else {
        // More than the segments allow would spend them all on open heads.
        most = (segments / 16).clamp(1, u64::from(SHARDS_MAX));
        if config.limit_entries != 0 {
            most = most.min(config.limit_entries.max(1));
        }
        u64::from(config.shards)
    };
    let chosen = wanted.min(1 << most.ilog2());
    u32::try_from(chosen).unwrap_or(1)
}

impl Writer<'_> {
    /// Gives everything that the shard holds back. Readers may still be looking.
    fn tear_down(&mut self) {
        let (shard, store) = (self.shard, self.store);
        self.reset_leases();
        shard.table.dismantle(&mut self.state.tail, |segment| store.retire_index(segment));
        for segment in 0..store.space().segments_made() {
            if self.owns_log(segment) {
                store.retire_index(segment);
            }
        }
        let mut run = self.state.runs;
        while run != SEG_NONE {
            let next = store.space().run_meta(run).next.load(Ordering::Relaxed);
            store.retire_run_inside(run);
            run = next;
        }
        if let Some(memory) = self.state.memory.take() {
            store.give_run(memory.run);
        }
        self.take_screens_down();
        let state = &mut *self.state;
        state.policy.clear();
        state.policy.memory_changed();
        state.view.queues = Default::default();
        state.view.capacity_bytes = 0;
        state.queues = [const { Queue::EMPTY }; crate::eviction::QUEUES_MAX];
        state.heads = [super::shard::Head::NONE; crate::eviction::QUEUES_MAX];
        state.bins = [SEG_NONE; super::shard::BINS];
        state.binned = 0;
        state.compacting = super::job::Job::NONE;
        state.expiry = super::expiry::Sweep::NONE;
        state.segments = 0;
        state.runs = SEG_NONE;
        state.run_bytes = 0;
        state.payload = 0;
        state.debt = 0;
        state.ratio = 0;
        shard.segments.store(0, Ordering::Relaxed);
        shard.held.store(0, Ordering::Relaxed);
        self.reset_window();
    }
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        if crate::memory::fork::check(self.generation).is_err() {
            return;
        }
        self.destroy();
        self.close_sessions();
        for shard in &self.shards {
            shard.lock_any(self).close_leases();
        }
        self.space().discharge(self.fixed_bytes);
    }
}

impl Tenant for StoreInner {
    fn reclaim(&self, bytes: u64) -> u64 {
        if self.closed.load(Ordering::Relaxed) { 0 } else { self.reclaim_own(bytes) }
    }

    fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn floor_bytes(&self) -> u64 {
        self.config.floor_bytes
    }

    fn hits(&self) -> u64 {
        self.counters.hits()
    }

    fn name(&self) -> Option<&str> {
        self.config.name.as_deref()
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    fn id(&self) -> u32 {
        self.id
    }

    fn overhead_bytes(&self) -> u64 {
        let stats = self.gather_stats();
        stats.used_bytes.saturating_sub(stats.payload_bytes)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
