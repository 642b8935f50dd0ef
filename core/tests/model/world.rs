//! A pool and its stores beside the maps that say what they may hold.

use crate::ops::{KIB, MIB, Op, Setup, bytes_of, key_of};
use hypercache_core::clock::Clock;
use hypercache_core::pool::AllocOptions;
use hypercache_core::store::{Draft, View};
use hypercache_core::{
    DeleteOutcome, ErrorKind, Info, Pool, PoolConfig, PutOptions, Read, Store, StoreConfig,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What was written last.
#[derive(Clone)]
pub struct Entry {
    pub value: Arc<[u8]>,
    /// Of the store's clock; `None`: never.
    pub expires: Option<u64>,
    pub session: u64,
    pub value_type: u8,
    pub flags: u32,
}

/// A store beside its model.
pub struct Twin {
    pub store: Store,
    pub default_ttl_ms: u64,
    pub value_len_max: u64,
    pub entries: HashMap<Vec<u8>, Entry>,
    /// Of which write each version was seen, and the last two versions of each key.
    pub versions: HashMap<u64, (Vec<u8>, Arc<[u8]>)>,
    pub former: HashMap<Vec<u8>, [u64; 2]>,
}

pub struct HeldDraft {
    pub twin: usize,
    pub id: u32,
    pub draft: Draft,
    pub key: Vec<u8>,
    pub value: Arc<[u8]>,
    pub options: PutOptions,
}

pub struct Block {
    pub at: *mut u8,
    pub len: usize,
    pub fill: u8,
}

pub struct World {
    pub pool: Pool,
    pub setup: Setup,
    pub clock: Clock,
    pub hand: Arc<AtomicU64>,
    pub twins: Vec<Twin>,
    pub at: usize,
    pub views: Vec<(View, Arc<[u8]>)>,
    pub drafts: Vec<HeldDraft>,
    pub blocks: Vec<Block>,
}

impl World {
    pub fn new(setup: Setup) -> Self {
        let pool = Pool::create(&PoolConfig {
            limit_max_bytes: 8 * MIB,
            zero_on_free: setup.zero_on_free,
            ..PoolConfig::new(setup.mib * MIB)
        })
        .unwrap();
        let (clock, hand) = Clock::manual(1_000);
        let mut world = Self {
            pool,
            setup,
            clock,
            hand,
            twins: Vec::new(),
            at: 0,
            views: Vec::new(),
            drafts: Vec::new(),
            blocks: Vec::new(),
        };
        let first = world.open(0, 0).unwrap();
        world.twins.push(first);
        world
    }

    pub fn open(&self, limit_bytes: u64, floor_bytes: u64) -> Result<Twin, ErrorKind> {
        let config = StoreConfig {
            policy: self.setup.policy,
            shards: self.setup.shards,
            default_ttl_ms: self.setup.default_ttl_ms,
            value_len_max: self.setup.value_len_max,
            limit_entries: self.setup.limit_entries,
            latency: self.setup.latency,
            // Rates so high that many keys are taken for one another.
            filter_fpr: if self.setup.filtered { 0.1 } else { 0.0 },
            hash_seed: 5,
            limit_bytes,
            floor_bytes,
            ..StoreConfig::default()
        };
        let store =
            self.pool.open_store_with(&config, self.clock.clone()).map_err(|error| error.kind())?;
        let made = store.config();
        Ok(Twin {
            default_ttl_ms: made.default_ttl_ms,
            value_len_max: made.value_len_max,
            store,
            entries: HashMap::new(),
            versions: HashMap::new(),
            former: HashMap::new(),
        })
    }

    pub fn now(&self) -> u64 {
        self.hand.load(Ordering::SeqCst)
    }

    pub fn twin(&mut self) -> &mut Twin {
        &mut self.twins[self.at]
    }

    pub fn store(&self) -> Store {
        self.twins[self.at].store.clone()
    }

    pub fn live(&self, key: &[u8]) -> Option<Entry> {
        let now = self.now();
        let entry = self.twins[self.at].entries.get(key)?;
        entry.expires.is_none_or(|expires| expires > now).then(|| entry.clone())
    }

    /// The key was not found. What is over may still lie in the store.
    pub fn absent(&mut self, key: &[u8], why: &str) {
        if self.live(key).is_some() {
            assert!(!self.setup.roomy, "{why}: a key of {} bytes was lost", key.len());
            self.twin().entries.remove(key);
        }
    }

    /// The key was found with this value.
    pub fn present(&mut self, key: &[u8], value: &[u8], info: Option<&Info>) {
        let Some(entry) = self.live(key) else { panic!("a key that cannot be there was found") };
        assert!(&*entry.value == value, "another value was found ({} bytes)", value.len());
        if let Some(info) = info {
            self.check_info(key, &entry, info);
        }
    }

    pub fn check_info(&mut self, key: &[u8], entry: &Entry, info: &Info) {
        let ttl_ms = entry.expires.map(|expires| expires - self.now());
        let found = (info.len, info.ttl_ms, info.session, info.value_type.0, info.flags);
        let wanted = (entry.value.len(), ttl_ms, entry.session, entry.value_type, entry.flags);
        assert_eq!(found, wanted, "metadata");
        self.saw_version(key, &entry.value, info.version);
    }

    /// Equal versions of one key prove equal values.
    pub fn saw_version(&mut self, key: &[u8], value: &Arc<[u8]>, version: u64) {
        assert_ne!(version, 0);
        let before = self.twin().versions.insert(version, (key.to_vec(), Arc::clone(value)));
        if let Some((old_key, old_value)) = before {
            assert!(old_key == key && old_value == *value, "a version names two writes");
        }
        let seen = self.twin().former.entry(key.to_vec()).or_insert([7, version]);
        if seen[1] != version {
            *seen = [seen[1], version];
        }
    }

    /// Whether memory is short for reasons that eviction can do nothing about.
    pub fn is_tight(&self) -> bool {
        let stats = self.pool.stats();
        let store = self.twins[self.at].store.stats();
        let others: u64 = self.twins.iter().map(|twin| twin.store.config().floor_bytes).sum();
        stats.held_bytes + stats.pinned_bytes + others > stats.target_bytes / 8
            || store.limit_bytes < MIB
    }

    pub fn refused(&self, kind: ErrorKind, key: &[u8], len: usize) {
        match kind {
            ErrorKind::NoSpace => {
                assert!(!self.setup.roomy && self.is_tight(), "no space for {len} bytes");
            }
            ErrorKind::TooLarge => {
                let max = self.twins[self.at].value_len_max;
                assert!(len as u64 > max || key.len() > 4_000 || len > 32 * KIB, "{len} of {max}");
            }
            other => panic!("{other:?} for {len} bytes"),
        }
    }

    pub fn version(&self, key: &[u8]) -> Option<u64> {
        match self.twins[self.at].store.get_with(key, &mut [], true) {
            Ok(Read::Hit(info) | Read::SmallBuffer(info)) => Some(info.version),
            Ok(Read::Miss) | Err(_) => None,
        }
    }

    /// A version that the key's entry does not have now.
    pub fn stale_version(&self, key: &[u8]) -> u64 {
        let now = self.version(key);
        let seen = self.twins[self.at].former.get(key).copied().unwrap_or([7, 7]);
        if now == Some(seen[1]) { seen[0] } else { seen[1] }
    }

    pub fn destroy(&mut self) {
        if self.twins.len() < 2 {
            return;
        }
        let twin = self.twins.remove(1);
        self.at = 0;
        let other = twin.store.clone();
        twin.store.destroy();
        assert_eq!(other.get_vec(b"a").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(other.set(b"a", b"b").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(other.delete(b"a").unwrap_err().kind(), ErrorKind::Closed);
        other.validate().unwrap();
    }

    pub fn alloc(&mut self, len: usize, align: usize, options: AllocOptions) {
        match self.pool.alloc(len, align, options) {
            Ok(block) => {
                let at = block.as_ptr();
                assert!((at as usize).is_multiple_of(if align == 0 { 16 } else { align }));
                // SAFETY: the block is this test's, `len` bytes long.
                unsafe {
                    if options.zero {
                        let bytes = std::slice::from_raw_parts(at, len);
                        assert!(bytes.iter().all(|&byte| byte == 0), "not zeroed");
                    }
                    at.write_bytes(self.blocks.len() as u8 + 1, len);
                }
                let fill = self.blocks.len() as u8 + 1;
                self.blocks.push(Block { at, len, fill });
                if self.blocks.len() > 6 {
                    self.free(0);
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
        }
    }

    pub fn free(&mut self, i: usize) {
        let Some(block) = take_out(&mut self.blocks, i) else { return };
        // SAFETY: the block is this test's until it is freed here, once.
        unsafe {
            let bytes = std::slice::from_raw_parts(block.at, block.len);
            assert!(bytes.iter().all(|&byte| byte == block.fill), "a block was written to");
            self.pool.free(block.at).unwrap();
            assert_eq!(self.pool.free(block.at).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    pub fn step(&mut self, op: &Op) {
        match *op {
            Op::Put { key, seed, len, how } => self.put(&key_of(key), bytes_of(seed, len), how),
            Op::Get { key, via } => self.get(&key_of(key), via),
            Op::Pin { key, peek } => self.pin(&key_of(key), peek),
            Op::Unpin(i) => drop(take_out(&mut self.views, i)),
            Op::Take { key, short } => self.take(&key_of(key), short),
            Op::Touch { key, ttl } => self.touch(&key_of(key), ttl),
            Op::Delete(key) => {
                let key = key_of(key);
                match self.store().delete(&key).unwrap() {
                    true => assert!(self.live(&key).is_some(), "deleted what cannot be there"),
                    false => self.absent(&key, "delete"),
                }
                self.twin().entries.remove(&key);
                assert_eq!(self.store().contains(&key), Ok(false));
            }
            Op::DeleteIf { key, stale } => {
                let key = key_of(key);
                let version =
                    if stale { self.stale_version(&key) } else { self.version(&key).unwrap_or(1) };
                match self.store().delete_if(&key, version).unwrap() {
                    DeleteOutcome::Deleted => {
                        assert!(!stale && self.live(&key).is_some());
                        self.twin().entries.remove(&key);
                    }
                    DeleteOutcome::NotFound => self.absent(&key, "delete_if"),
                    DeleteOutcome::Conflict => assert!(self.live(&key).is_some()),
                }
            }
            Op::Incr { key, delta, initial, ttl } => {
                self.incr(&key_of(key), delta, initial, ttl);
            }
            Op::PutMany { first, count, seed, len } => self.put_many(first, count, seed, len),
            Op::GetMany { first, count, room } => self.get_many(first, count, room),
            Op::PinMany { first, count } => self.pin_many(first, count),
            Op::DeleteMany { first, count } => self.delete_many(first, count),
            Op::Reserve { key, seed, len, how } => {
                self.reserve(&key_of(key), bytes_of(seed, len), how);
            }
            Op::Commit(i) => self.commit(i),
            Op::Abandon(i) => drop(take_out(&mut self.drafts, i)),
            Op::Invalidate(which) => self.invalidate(which),
            Op::Clear => {
                self.store().clear().unwrap();
                let gone = std::mem::take(&mut self.twin().entries);
                for key in gone.keys() {
                    assert_eq!(self.store().contains(key), Ok(false));
                }
                assert_eq!(self.store().stats().entries, 0);
            }
            Op::Scan { which, views, disturb } => self.scan(which, views, disturb),
            Op::PoolLimit(mib) => {
                let mib = if self.setup.roomy { mib.max(2) } else { mib };
                let _ = self.pool.set_limit(mib * MIB).unwrap();
            }
            Op::StoreLimit(bytes) => match self.store().set_limit(bytes) {
                Ok(()) => {
                    let used = self.store().stats().used_bytes;
                    assert!(bytes == 0 || used <= bytes, "{used} of {bytes}");
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
            },
            Op::Trim(bytes) => {
                self.pool.trim(bytes).unwrap();
            }
            Op::Open { limit, floor } => {
                if self.twins.len() < 2 {
                    match self.open(limit, floor) {
                        Ok(twin) => self.twins.push(twin),
                        Err(kind) => {
                            assert_eq!(kind, ErrorKind::NoSpace);
                            assert!(!self.setup.roomy);
                        }
                    }
                }
            }
            Op::Destroy => self.destroy(),
            Op::Switch => self.at = (self.at + 1) % self.twins.len(),
            Op::Advance(ms) => {
                self.hand.fetch_add(ms, Ordering::SeqCst);
            }
            Op::Alloc { len, align, options } => self.alloc(len, align, options),
            Op::Free(i) => self.free(i),
        }
    }

    pub fn check(&self) {
        self.pool.validate().unwrap();
        let stats = self.pool.stats();
        assert!(stats.used_bytes <= stats.limit_bytes);
        for (view, value) in &self.views {
            assert!(view[..] == value[..], "a view changed");
        }
        for twin in &self.twins {
            assert!(twin.store.stats().entries <= twin.entries.len() as u64, "foreign entries");
        }
    }

    /// Reads everything once more, then takes everything away.
    pub fn end(mut self) {
        for at in 0..self.twins.len() {
            self.at = at;
            let keys: Vec<_> = self.twins[at].entries.keys().cloned().collect();
            for key in keys {
                self.get(&key, 1);
            }
        }
        for twin in &self.twins {
            twin.store.clear().unwrap();
        }
        self.check();
        self.views.clear();
        self.drafts.clear();
        while !self.blocks.is_empty() {
            self.free(0);
        }
        self.twins.clear();
        self.pool.trim(0).unwrap();
        self.pool.validate().unwrap();
        let stats = self.pool.stats();
        assert_eq!((stats.stores, stats.pinned_bytes, stats.app_bytes), (0, 0, 0));
        let left = stats.used_bytes.max(stats.held_bytes);
        assert!(left < 256 * KIB as u64, "{left} bytes are left");
    }
}

pub fn take_out<T>(from: &mut Vec<T>, i: usize) -> Option<T> {
    if from.is_empty() {
        return None;
    }
    let i = i % from.len();
    Some(from.remove(i))
}
