//! Any sequence of calls against a simple model: a map.
//!
//! A cache may forget, so the model allows that a key is absent which was evicted. It never allows
//! a wrong, stale, expired or foreign value, nor metadata that were not written; and where all data
//! are far smaller than the limit (*roomy* cases), it does not allow absence either. After every
//! step the pool and all its stores are checked.
//!
//! 256 cases by default; `PROPTEST_CASES=10000` runs more.

#![allow(clippy::unwrap_used)] // helpers of a test are tests

use hypercache_core::clock::Clock;
use hypercache_core::pool::AllocOptions;
use hypercache_core::store::{BatchRead, Draft, View};
use hypercache_core::types::glob_matches;
use hypercache_core::{
    BatchEntry, DeleteOutcome, ErrorKind, IncrOutcome, Info, Match, PolicyKind, Pool, PoolConfig,
    PutMode, PutOptions, PutOutcome, Read, Store, StoreConfig, Ttl, ValueType,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const KIB: usize = 1 << 10;
const MIB: u64 = 1 << 20;

/// Bytes that tell which write they came from.
fn bytes_of(seed: u32, len: usize) -> Vec<u8> {
    let mut word = (u64::from(seed) << 32 | len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Few keys of every shape, so that steps meet on them; from 64 on, keys of bulk writes.
fn key_of(number: u16) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        1 => b"a".to_vec(),
        2 => b"user:7".to_vec(),
        3..16 => format!("user:{number}:name").into_bytes(),
        16..24 => format!("{number:016}").into_bytes(),
        24..28 => format!("a*{number}?\\").into_bytes(),
        28 => vec![b'k'; 255],
        29 => vec![b'k'; 4_000],
        30 => vec![b'z'; 9_000],
        31 => vec![0xFF; 65_535],
        _ => format!("item:{number}").into_bytes(),
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Set,
    Add,
    Replace,
    /// Compare-and-set with the present version.
    Cas,
    /// Compare-and-set with the version of an earlier write.
    StaleCas,
}

#[derive(Clone, Copy, Debug)]
struct How {
    mode: Mode,
    ttl: Ttl,
    session: u64,
    value_type: u8,
    flags: u32,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    All,
    Users,
    Glob,
    Session(u64),
    Type(u8),
}

impl Which {
    fn wanted(self) -> Match<'static> {
        match self {
            Self::All => Match::All,
            Self::Users => Match::Prefix(b"user:"),
            Self::Glob => Match::Glob(b"*:?:*"),
            Self::Session(session) => Match::Session(session),
            Self::Type(value_type) => Match::Type(ValueType(value_type)),
        }
    }

    fn takes(self, key: &[u8], entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Users => key.starts_with(b"user:"),
            Self::Glob => glob_matches(b"*:?:*", key),
            Self::Session(session) => session != 0 && entry.session == session,
            Self::Type(value_type) => entry.value_type == value_type,
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put { key: u16, seed: u32, len: usize, how: How },
    Get { key: u16, via: u8 },
    Pin { key: u16, peek: bool },
    Unpin(usize),
    Take { key: u16, short: bool },
    Touch { key: u16, ttl: Ttl },
    Delete(u16),
    DeleteIf { key: u16, stale: bool },
    Incr { key: u16, delta: i64, initial: i64, ttl: Ttl },
    PutMany { first: u16, count: u16, seed: u32, len: usize },
    GetMany { first: u16, count: u16, room: usize },
    PinMany { first: u16, count: u16 },
    DeleteMany { first: u16, count: u16 },
    Reserve { key: u16, seed: u32, len: usize, how: How },
    Commit(usize),
    Abandon(usize),
    Invalidate(Which),
    Clear,
    Scan { which: Which, views: bool, disturb: u16 },
    PoolLimit(u64),
    StoreLimit(u64),
    Trim(u64),
    Open { limit: u64, floor: u64 },
    Destroy,
    Switch,
    Advance(u64),
    Alloc { len: usize, align: usize, options: AllocOptions },
    Free(usize),
}

/// How a case is set up.
#[derive(Clone, Copy, Debug)]
struct Setup {
    mib: u64,
    policy: PolicyKind,
    shards: u32,
    default_ttl_ms: u64,
    value_len_max: u64,
    limit_entries: u64,
    latency: bool,
    zero_on_free: bool,
    /// Data far smaller than the limit: nothing may be evicted.
    roomy: bool,
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![
        4 => Just(Ttl::Default),
        2 => Just(Ttl::Never),
        1 => Just(Ttl::Keep),
        1 => Just(Ttl::Millis(0)),
        1 => Just(Ttl::Millis(u64::MAX)),
        4 => (1_u64..3_000).prop_map(Ttl::Millis),
    ]
}

fn how() -> impl Strategy<Value = How> {
    let mode = prop_oneof![
        8 => Just(Mode::Set),
        2 => Just(Mode::Add),
        2 => Just(Mode::Replace),
        2 => Just(Mode::Cas),
        1 => Just(Mode::StaleCas),
    ];
    let flags = prop_oneof![2 => Just(0), 1 => any::<u32>()];
    (mode, ttl(), 0_u64..4, prop_oneof![0_u8..8, Just(200)], flags).prop_map(
        |(mode, ttl, session, value_type, flags)| How { mode, ttl, session, value_type, flags },
    )
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        Just(Which::All),
        Just(Which::Users),
        Just(Which::Glob),
        (0_u64..4).prop_map(Which::Session),
        (0_u8..4).prop_map(Which::Type),
    ]
}

/// Mostly small, often at a boundary: of a view's copy, of an inline entry, of a page, of a
/// segment.
fn len(roomy: bool) -> BoxedStrategy<usize> {
    if roomy {
        return prop_oneof![4 => 0_usize..100, 2 => 0_usize..1_000, 1 => Just(4_097)].boxed();
    }
    let edges = [4_064_usize, 4_096, 8_192, 16_384, 32_768, 61_440];
    let near = (prop::sample::select(edges.to_vec()), 0_usize..64)
        .prop_map(|(edge, back)| (edge + 32).saturating_sub(back));
    prop_oneof![
        6 => 0_usize..200,
        3 => 0_usize..5_000,
        2 => near,
        2 => 5_000_usize..60 * KIB,
    ]
    .boxed()
}

fn key(roomy: bool) -> BoxedStrategy<u16> {
    if roomy { (0_u16..29).boxed() } else { prop_oneof![9 => 0_u16..30, 1 => 30_u16..32].boxed() }
}

fn op(roomy: bool) -> BoxedStrategy<Op> {
    let len = || len(roomy);
    let key = || key(roomy);
    let many = if roomy { 8_u16 } else { 200 };
    let bulk = move || {
        prop_oneof![3 => (0_u16..24, 0_u16..8), 1 => (64_u16..400, 0..many)].prop_map(|pair| pair)
    };
    let common = prop_oneof![
        24 => (key(), any::<u32>(), len(), how())
            .prop_map(|(key, seed, len, how)| Op::Put { key, seed, len, how }),
        12 => (key(), 0_u8..6).prop_map(|(key, via)| Op::Get { key, via }),
        4 => (key(), any::<bool>()).prop_map(|(key, peek)| Op::Pin { key, peek }),
        3 => (0_usize..8).prop_map(Op::Unpin),
        2 => (key(), prop::bool::weighted(0.2))
            .prop_map(|(key, short)| Op::Take { key, short }),
        3 => (key(), ttl()).prop_map(|(key, ttl)| Op::Touch { key, ttl }),
        4 => key().prop_map(Op::Delete),
        2 => (key(), any::<bool>()).prop_map(|(key, stale)| Op::DeleteIf { key, stale }),
        3 => (
            0_u16..12,
            prop_oneof![3 => -5_i64..5, 1 => Just(i64::MAX), 1 => Just(i64::MIN)],
            -3_i64..3,
            ttl(),
        )
            .prop_map(|(key, delta, initial, ttl)| Op::Incr { key, delta, initial, ttl }),
        3 => (bulk(), any::<u32>(), len())
            .prop_map(|((first, count), seed, len)| Op::PutMany { first, count, seed, len }),
        3 => (bulk(), 0_usize..20_000)
            .prop_map(|((first, count), room)| Op::GetMany { first, count, room }),
        1 => (0_u16..24, 0_u16..6).prop_map(|(first, count)| Op::PinMany { first, count }),
        1 => bulk().prop_map(|(first, count)| Op::DeleteMany { first, count }),
        3 => (key(), any::<u32>(), len(), how())
            .prop_map(|(key, seed, len, how)| Op::Reserve { key, seed, len, how }),
        3 => (0_usize..3).prop_map(Op::Commit),
        1 => (0_usize..3).prop_map(Op::Abandon),
        2 => which().prop_map(Op::Invalidate),
        1 => Just(Op::Clear),
        2 => (which(), any::<bool>(), 0_u16..6)
            .prop_map(|(which, views, disturb)| Op::Scan { which, views, disturb }),
        2 => (1_u64..3_000).prop_map(Op::Advance),
        2 => Just(Op::Switch),
        2 => (0_u64..2, 0_u64..2)
            .prop_map(|(limit, floor)| Op::Open { limit: limit * 512 * KIB as u64, floor: floor * 64 * KIB as u64 }),
        1 => Just(Op::Destroy),
        1 => (1_u64..9).prop_map(Op::PoolLimit),
    ];
    if roomy {
        return common.boxed();
    }
    let options =
        (any::<bool>(), any::<bool>()).prop_map(|(evict, zero)| AllocOptions { evict, zero });
    let align = prop::sample::select(vec![0_usize, 1, 16, 64, 4_096]);
    let rough = prop_oneof![
        1 => (0_u64..20).prop_map(|x| Op::StoreLimit(x * 256 * KIB as u64)),
        1 => (0_u64..5 * MIB).prop_map(Op::Trim),
        3 => (0_usize..100 * KIB, align, options)
            .prop_map(|(len, align, options)| Op::Alloc { len, align, options }),
        2 => (0_usize..8).prop_map(Op::Free),
        6 => (64_u16..400, 0_u16..200, any::<u32>(), 0_usize..40 * KIB)
            .prop_map(|(first, count, seed, len)| Op::PutMany { first, count, seed, len }),
    ];
    prop_oneof![6 => common, 1 => rough].boxed()
}

fn case() -> impl Strategy<Value = (Setup, Vec<Op>)> {
    let policy = prop::sample::select(vec![PolicyKind::S3Fifo, PolicyKind::Lru, PolicyKind::Fifo]);
    let setup = (
        prop_oneof![2 => Just(1_u64), 1 => 2_u64..9],
        policy,
        prop::sample::select(vec![1_u32, 4]),
        prop_oneof![3 => Just(0_u64), 1 => Just(1_500)],
        prop_oneof![4 => Just(0_u64), 1 => Just(20_000)],
        prop_oneof![5 => Just(0_u64), 1 => 1_u64..200],
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
    )
        .prop_map(
            |(
                mib,
                policy,
                shards,
                default_ttl_ms,
                value_len_max,
                limit_entries,
                latency,
                zero_on_free,
                roomy,
            )| {
                Setup {
                    mib: if roomy { mib.max(2) } else { mib },
                    policy,
                    shards,
                    default_ttl_ms,
                    value_len_max: if roomy { 0 } else { value_len_max },
                    limit_entries: if roomy { 0 } else { limit_entries },
                    latency,
                    zero_on_free,
                    roomy,
                }
            },
        );
    setup.prop_flat_map(|setup| (Just(setup), prop::collection::vec(op(setup.roomy), 1..120)))
}

/// What was written last.
#[derive(Clone)]
struct Entry {
    value: Arc<[u8]>,
    /// Of the store's clock; `None`: never.
    expires: Option<u64>,
    session: u64,
    value_type: u8,
    flags: u32,
}

/// A store beside its model.
struct Twin {
    store: Store,
    default_ttl_ms: u64,
    value_len_max: u64,
    entries: HashMap<Vec<u8>, Entry>,
    /// Of which write each version was seen, and the last two versions of each key.
    versions: HashMap<u64, (Vec<u8>, Arc<[u8]>)>,
    former: HashMap<Vec<u8>, [u64; 2]>,
}

struct HeldDraft {
    twin: usize,
    id: u32,
    draft: Draft,
    key: Vec<u8>,
    value: Arc<[u8]>,
    options: PutOptions,
}

struct Block {
    at: *mut u8,
    len: usize,
    fill: u8,
}

struct World {
    pool: Pool,
    setup: Setup,
    clock: Clock,
    hand: Arc<AtomicU64>,
    twins: Vec<Twin>,
    at: usize,
    views: Vec<(View, Arc<[u8]>)>,
    drafts: Vec<HeldDraft>,
    blocks: Vec<Block>,
}

fn deadline(now: u64, ttl: Ttl, default_ttl_ms: u64, replaced: Option<&Entry>) -> Option<u64> {
    let after = |ms: u64| Some(now.saturating_add(ms).min(u64::MAX - 1));
    match (ttl, replaced) {
        (Ttl::Never, _) => None,
        (Ttl::Millis(ms), _) => after(ms),
        (Ttl::Keep, Some(entry)) => entry.expires,
        (Ttl::Keep | Ttl::Default, _) if default_ttl_ms == 0 => None,
        (Ttl::Keep | Ttl::Default, _) => after(default_ttl_ms),
    }
}

impl World {
    fn new(setup: Setup) -> Self {
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

    fn open(&self, limit_bytes: u64, floor_bytes: u64) -> Result<Twin, ErrorKind> {
        let config = StoreConfig {
            policy: self.setup.policy,
            shards: self.setup.shards,
            default_ttl_ms: self.setup.default_ttl_ms,
            value_len_max: self.setup.value_len_max,
            limit_entries: self.setup.limit_entries,
            latency: self.setup.latency,
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

    fn now(&self) -> u64 {
        self.hand.load(Ordering::SeqCst)
    }

    fn twin(&mut self) -> &mut Twin {
        &mut self.twins[self.at]
    }

    fn store(&self) -> Store {
        self.twins[self.at].store.clone()
    }

    fn live(&self, key: &[u8]) -> Option<Entry> {
        let now = self.now();
        let entry = self.twins[self.at].entries.get(key)?;
        entry.expires.is_none_or(|expires| expires > now).then(|| entry.clone())
    }

    /// The key was not found. What is over may still lie in the store.
    fn absent(&mut self, key: &[u8], why: &str) {
        if self.live(key).is_some() {
            assert!(!self.setup.roomy, "{why}: a key of {} bytes was lost", key.len());
            self.twin().entries.remove(key);
        }
    }

    /// The key was found with this value.
    fn present(&mut self, key: &[u8], value: &[u8], info: Option<&Info>) {
        let Some(entry) = self.live(key) else { panic!("a key that cannot be there was found") };
        assert!(&*entry.value == value, "another value was found ({} bytes)", value.len());
        if let Some(info) = info {
            self.check_info(key, &entry, info);
        }
    }

    fn check_info(&mut self, key: &[u8], entry: &Entry, info: &Info) {
        let ttl_ms = entry.expires.map(|expires| expires - self.now());
        let found = (info.len, info.ttl_ms, info.session, info.value_type.0, info.flags);
        let wanted = (entry.value.len(), ttl_ms, entry.session, entry.value_type, entry.flags);
        assert_eq!(found, wanted, "metadata");
        self.saw_version(key, &entry.value, info.version);
    }

    /// Equal versions of one key prove equal values.
    fn saw_version(&mut self, key: &[u8], value: &Arc<[u8]>, version: u64) {
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
    fn is_tight(&self) -> bool {
        let stats = self.pool.stats();
        let store = self.twins[self.at].store.stats();
        let others: u64 = self.twins.iter().map(|twin| twin.store.config().floor_bytes).sum();
        stats.held_bytes + stats.pinned_bytes + others > stats.target_bytes / 8
            || store.limit_bytes < MIB
    }

    fn refused(&self, kind: ErrorKind, key: &[u8], len: usize) {
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

    fn options(&self, key: &[u8], how: How) -> PutOptions {
        let mode = match how.mode {
            Mode::Set => PutMode::Set,
            Mode::Add => PutMode::Add,
            Mode::Replace => PutMode::Replace,
            Mode::Cas => PutMode::CompareAndSet(self.version(key).unwrap_or(1)),
            Mode::StaleCas => PutMode::CompareAndSet(self.stale_version(key)),
        };
        PutOptions {
            ttl: how.ttl,
            mode,
            session: how.session,
            value_type: ValueType(how.value_type),
            flags: how.flags,
        }
    }

    fn version(&self, key: &[u8]) -> Option<u64> {
        match self.twins[self.at].store.get_with(key, &mut [], true) {
            Ok(Read::Hit(info) | Read::SmallBuffer(info)) => Some(info.version),
            Ok(Read::Miss) | Err(_) => None,
        }
    }

    /// A version that the key's entry does not have now.
    fn stale_version(&self, key: &[u8]) -> u64 {
        let now = self.version(key);
        let seen = self.twins[self.at].former.get(key).copied().unwrap_or([7, 7]);
        if now == Some(seen[1]) { seen[0] } else { seen[1] }
    }

    /// What a write did to the model.
    fn wrote(
        &mut self,
        key: &[u8],
        value: &Arc<[u8]>,
        options: &PutOptions,
        stale: bool,
        result: Result<PutOutcome, ErrorKind>,
    ) {
        let live = self.live(key);
        match result {
            Ok(PutOutcome::Stored(version)) => {
                match options.mode {
                    PutMode::Set => {}
                    PutMode::Add => {
                        if live.is_some() {
                            self.absent(key, "add");
                        }
                    }
                    PutMode::Replace => assert!(live.is_some(), "replaced what cannot be there"),
                    PutMode::CompareAndSet(_) => {
                        assert!(live.is_some(), "compared with what cannot be there");
                        assert!(!stale, "a stale version was taken for the present one");
                    }
                }
                // A value that was evicted before has no time to live to keep.
                let kept = if self.setup.roomy { live.as_ref() } else { None };
                let mut expires =
                    deadline(self.now(), options.ttl, self.twin().default_ttl_ms, kept);
                if !self.setup.roomy && options.ttl == Ttl::Keep && live.is_some() {
                    expires = self.kept_deadline(key, live.as_ref(), expires);
                }
                let entry = Entry {
                    value: Arc::clone(value),
                    expires,
                    session: options.session,
                    value_type: options.value_type.0,
                    flags: options.flags,
                };
                self.twin().entries.insert(key.to_vec(), entry);
                self.saw_version(key, value, version);
            }
            Ok(PutOutcome::Exists) => {
                assert!(matches!(options.mode, PutMode::Add) && live.is_some());
            }
            Ok(PutOutcome::NotFound) => {
                assert!(matches!(options.mode, PutMode::Replace | PutMode::CompareAndSet(_)));
                self.absent(key, "conditional write");
            }
            Ok(PutOutcome::Conflict) => {
                assert!(matches!(options.mode, PutMode::CompareAndSet(_)) && live.is_some());
                // A fresh version may conflict too: reclaim moves entries, and a move is a version.
            }
            Ok(PutOutcome::NotAdmitted) => panic!("no policy here declines"),
            Err(kind) => {
                self.refused(kind, key, value.len());
                match options.mode {
                    PutMode::Set | PutMode::Replace => {
                        self.twin().entries.remove(key);
                        assert_eq!(self.store().contains(key), Ok(false), "a failed write");
                    }
                    PutMode::CompareAndSet(_) if !stale => {
                        if live.is_some() && self.store().contains(key) == Ok(false) {
                            self.twin().entries.remove(key);
                        }
                    }
                    PutMode::Add | PutMode::CompareAndSet(_) => {}
                }
            }
        }
    }

    /// The deadline that [`Ttl::Keep`] kept: the replaced entry's, or the default if that was
    /// evicted on the way.
    fn kept_deadline(&self, key: &[u8], live: Option<&Entry>, default: Option<u64>) -> Option<u64> {
        let kept = live.and_then(|entry| entry.expires);
        match self.twins[self.at].store.get_with(key, &mut [], true) {
            Ok(Read::Hit(info) | Read::SmallBuffer(info)) => {
                let found = info.ttl_ms.map(|left| left + self.now());
                assert!(found == kept || found == default, "a time to live from nowhere");
                found
            }
            Ok(Read::Miss) | Err(_) => kept,
        }
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>, how: How) {
        let options = self.options(key, how);
        let stale = matches!(how.mode, Mode::StaleCas);
        let result = self.store().put(key, &value, &options).map_err(|error| error.kind());
        self.wrote(key, &value.into(), &options, stale, result);
    }

    fn get(&mut self, key: &[u8], via: u8) {
        let store = self.store();
        match via {
            0 => match store.get_vec(key).unwrap() {
                Some(value) => self.present(key, &value, None),
                None => self.absent(key, "get_vec"),
            },
            1 | 2 => {
                let mut buf = vec![MaybeUninit::uninit(); 64 * KIB];
                match store.get_with(key, &mut buf, via == 2).unwrap() {
                    Read::Hit(info) => {
                        let value = filled(&buf[..info.len]);
                        self.present(key, &value, Some(&info));
                    }
                    Read::SmallBuffer(_) => panic!("a value is longer than all that were written"),
                    Read::Miss => self.absent(key, "get"),
                }
            }
            3 => match store.contains(key).unwrap() {
                true => assert!(self.live(key).is_some(), "a key that cannot be there"),
                false => self.absent(key, "contains"),
            },
            4 => {
                let room = self.live(key).map_or(0, |entry| entry.value.len().saturating_sub(1));
                let mut buf = vec![MaybeUninit::new(0xEE); room];
                match store.get(key, &mut buf).unwrap() {
                    Read::Hit(info) => {
                        assert!(info.len <= room);
                        let value = filled(&buf[..info.len]);
                        self.present(key, &value, Some(&info));
                    }
                    Read::SmallBuffer(info) => {
                        assert!(filled(&buf).iter().all(|&byte| byte == 0xEE), "was touched");
                        let entry = self.live(key).unwrap();
                        self.check_info(key, &entry, &info);
                    }
                    Read::Miss => self.absent(key, "get"),
                }
            }
            _ => {
                let version = self.version(key);
                match self.live(key) {
                    Some(entry) => match version {
                        Some(version) => self.saw_version(key, &entry.value, version),
                        None => self.absent(key, "peek"),
                    },
                    None => assert!(version.is_none(), "a key that cannot be there"),
                }
            }
        }
    }

    fn pin(&mut self, key: &[u8], peek: bool) {
        let pinned = self.store().pin(key, peek);
        self.pinned(key, pinned.map_err(|error| error.kind()));
    }

    fn pinned(&mut self, key: &[u8], pinned: Result<Option<View>, ErrorKind>) {
        match pinned {
            Ok(Some(view)) => {
                let info = *view.info();
                self.present(key, &view, Some(&info));
                let value = self.live(key).unwrap().value;
                self.views.push((view, value));
                if self.views.len() > 8 {
                    self.views.remove(0);
                }
            }
            Ok(None) => self.absent(key, "pin"),
            Err(kind) => {
                assert_eq!(kind, ErrorKind::NoSpace);
                assert!(self.live(key).is_some());
                self.check_pin_limit();
            }
        }
    }

    /// A pin is refused for the pin limit only.
    fn check_pin_limit(&self) {
        let limit = self.pool.config().pin_limit_bytes;
        let pinned = self.pool.stats().pinned_bytes;
        assert!(pinned + 64 * KIB as u64 > limit, "{pinned} of {limit} pinned and no more allowed");
    }

    fn take(&mut self, key: &[u8], short: bool) {
        let len = self.live(key).map_or(0, |entry| entry.value.len());
        let room = if short { len.saturating_sub(1) } else { len };
        let mut buf = vec![MaybeUninit::uninit(); room];
        match self.store().take(key, &mut buf).unwrap() {
            Read::Hit(info) => {
                let value = filled(&buf[..info.len]);
                self.present(key, &value, Some(&info));
                self.twin().entries.remove(key);
                assert_eq!(self.store().contains(key), Ok(false));
            }
            Read::SmallBuffer(info) => {
                assert!(short);
                let entry = self.live(key).unwrap();
                self.check_info(key, &entry, &info);
            }
            Read::Miss => self.absent(key, "take"),
        }
    }

    fn touch(&mut self, key: &[u8], ttl: Ttl) {
        let now = self.now();
        match self.store().touch(key, ttl) {
            Ok(true) => {
                assert!(self.live(key).is_some(), "touched what cannot be there");
                let default = self.twin().default_ttl_ms;
                let entry = self.twin().entries.get_mut(key).unwrap();
                if ttl != Ttl::Keep {
                    entry.expires = deadline(now, ttl, default, None);
                }
            }
            Ok(false) => self.absent(key, "touch"),
            Err(error) => self.refused(error.kind(), key, 0),
        }
    }

    fn incr(&mut self, key: &[u8], delta: i64, initial: i64, ttl: Ttl) {
        let live = self.live(key);
        let before = live.as_ref().map(|entry| {
            let bytes: Option<[u8; 8]> = (&*entry.value).try_into().ok();
            bytes.filter(|_| entry.value_type == ValueType::INT64.0).map(i64::from_le_bytes)
        });
        match self.store().incr(key, delta, initial, ttl) {
            Ok(IncrOutcome::Sum(sum)) => {
                let continued = before.flatten().and_then(|before| before.checked_add(delta));
                let begun = sum == initial && (live.is_none() || !self.setup.roomy);
                let continued = continued == Some(sum) && !(begun && self.version(key).is_none());
                assert!(continued || begun, "a sum from nowhere");
                let default = self.twin().default_ttl_ms;
                let anew = deadline(self.now(), ttl, default, None);
                let mut entry = Entry {
                    value: sum.to_le_bytes().to_vec().into(),
                    expires: anew,
                    session: 0,
                    value_type: ValueType::INT64.0,
                    flags: 0,
                };
                if let (true, Some(old)) = (continued, live) {
                    (entry.session, entry.flags) = (old.session, old.flags);
                    entry.expires =
                        if begun { self.kept_deadline(key, Some(&old), anew) } else { old.expires };
                    if begun
                        && let Ok(Read::Hit(info) | Read::SmallBuffer(info)) =
                            self.store().get_with(key, &mut [], true)
                    {
                        // Both explain the sum: evicted and begun anew, or continued.
                        assert!([0, old.session].contains(&info.session));
                        (entry.session, entry.flags) = (info.session, info.flags);
                    }
                }
                self.twin().entries.insert(key.to_vec(), entry);
            }
            Ok(IncrOutcome::WrongType) => assert_eq!(before, Some(None)),
            Ok(IncrOutcome::Overflow) => {
                assert!(before.flatten().is_some_and(|sum| sum.checked_add(delta).is_none()));
            }
            Ok(IncrOutcome::NotAdmitted) => panic!("no policy here declines"),
            Err(error) => {
                self.refused(error.kind(), key, 8);
                self.twin().entries.remove(key);
                assert_eq!(self.store().contains(key), Ok(false));
            }
        }
    }

    fn put_many(&mut self, first: u16, count: u16, seed: u32, len: usize) {
        let keys: Vec<_> = (first..first + count).map(key_of).collect();
        let values: Vec<Arc<[u8]>> = (0..count)
            .map(|i| bytes_of(seed.wrapping_add(u32::from(i)), len.saturating_sub(7 * i as usize)))
            .map(Arc::from)
            .collect();
        let entries: Vec<_> = keys
            .iter()
            .zip(&values)
            .map(|(key, value)| BatchEntry { key, value, options: PutOptions::default() })
            .collect();
        let mut outcomes = Vec::new();
        self.store()
            .put_many(&entries, &mut |i, outcome| {
                assert_eq!(i, outcomes.len());
                outcomes.push(outcome.map_err(|error| error.kind()));
            })
            .unwrap();
        assert_eq!(outcomes.len(), keys.len());
        for ((key, value), outcome) in keys.iter().zip(&values).zip(outcomes) {
            self.wrote(key, value, &PutOptions::default(), false, outcome);
        }
    }

    fn get_many(&mut self, first: u16, count: u16, room: usize) {
        let names: Vec<_> = (first..first + count).map(key_of).collect();
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut buf = vec![MaybeUninit::uninit(); room];
        let mut out = vec![BatchRead::Miss; keys.len()];
        self.store().get_many(&keys, false, &mut buf, &mut out).unwrap();
        let mut used = 0;
        for (key, read) in keys.iter().zip(out) {
            match read {
                BatchRead::Hit { offset, len, value_type } => {
                    assert_eq!(offset, used);
                    used += len;
                    let value = filled(&buf[offset..offset + len]);
                    self.present(key, &value, None);
                    assert_eq!(self.live(key).unwrap().value_type, value_type.0);
                }
                BatchRead::SmallBuffer { len } => {
                    assert!(len > room - used);
                    assert_eq!(self.live(key).unwrap().value.len(), len);
                }
                BatchRead::Miss => self.absent(key, "get_many"),
                BatchRead::Failed(kind) => panic!("{kind:?}"),
            }
        }
    }

    fn pin_many(&mut self, first: u16, count: u16) {
        let names: Vec<_> = (first..first + count).map(key_of).collect();
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut out: Vec<Option<View>> = keys.iter().map(|_| None).collect();
        let mut failed = HashMap::new();
        self.store()
            .pin_many(&keys, false, &mut out, &mut |i, error| {
                failed.insert(i, error.kind());
            })
            .unwrap();
        for (i, view) in out.into_iter().enumerate() {
            match failed.get(&i) {
                Some(&kind) => {
                    assert!(view.is_none());
                    self.pinned(keys[i], Err(kind));
                }
                None => self.pinned(keys[i], Ok(view)),
            }
        }
    }

    fn delete_many(&mut self, first: u16, count: u16) {
        let names: Vec<_> = (first..first + count).map(key_of).collect();
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let live = keys.iter().filter(|key| self.live(key).is_some()).count() as u64;
        let deleted = self.store().delete_many(&keys).unwrap();
        assert!(deleted <= live);
        assert!(deleted == live || !self.setup.roomy);
        for key in keys {
            self.twin().entries.remove(key);
            assert_eq!(self.store().contains(key), Ok(false));
        }
    }

    fn reserve(&mut self, key: &[u8], value: Vec<u8>, how: How) {
        let options = self.options(key, how);
        let made = self.store().reserve(key, value.len(), &options);
        let value: Arc<[u8]> = value.into();
        match made {
            Ok(mut draft) => {
                let room = draft.data_mut();
                assert_eq!(room.len(), value.len());
                for (to, &from) in room.iter_mut().zip(&*value) {
                    to.write(from);
                }
                if self.drafts.len() == 3 {
                    self.drafts.remove(0);
                }
                let id = self.store().id();
                let twin = self.at;
                self.drafts.push(HeldDraft { twin, id, draft, key: key.to_vec(), value, options });
            }
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                let limit = self.pool.config().pin_limit_bytes;
                let pinned = self.pool.stats().pinned_bytes;
                assert!(self.is_tight() || pinned + 64 * KIB as u64 > limit, "{error}");
                let stale = matches!(how.mode, Mode::StaleCas);
                let gone = self.store().contains(key) == Ok(false);
                if !stale && gone && self.live(key).is_some() {
                    self.twin().entries.remove(key);
                }
                assert!(
                    !matches!(how.mode, Mode::Set | Mode::Replace)
                        || self.store().contains(key) == Ok(false)
                );
            }
            Err(error) => {
                let stale = matches!(how.mode, Mode::StaleCas);
                self.wrote(key, &value, &options, stale, Err(error.kind()));
            }
        }
    }

    fn commit(&mut self, i: usize) {
        let Some(held) = take_out(&mut self.drafts, i) else { return };
        let open = self.twins.get(held.twin).filter(|twin| twin.store.id() == held.id).is_some();
        let present = self.at;
        if open {
            self.at = held.twin;
        }
        // What the expected version is worth is judged now, not when the draft was made.
        let stale = match held.options.mode {
            PutMode::CompareAndSet(version) => open && self.version(&held.key) != Some(version),
            PutMode::Set | PutMode::Add | PutMode::Replace => false,
        };
        // SAFETY: all bytes were written when the draft was made.
        let result = unsafe { held.draft.commit() }.map_err(|error| error.kind());
        if open {
            self.wrote(&held.key, &held.value, &held.options, stale, result);
        } else {
            assert_eq!(result, Err(ErrorKind::Closed));
        }
        self.at = present;
    }

    fn invalidate(&mut self, which: Which) {
        let matching: Vec<_> = self.twins[self.at]
            .entries
            .iter()
            .filter(|(key, entry)| which.takes(key, entry))
            .map(|(key, _)| key.clone())
            .collect();
        let live = matching.iter().filter(|key| self.live(key).is_some()).count() as u64;
        let removed = self.store().invalidate(which.wanted()).unwrap();
        assert!(removed <= matching.len() as u64, "more than there were");
        assert!(removed >= live || !self.setup.roomy, "less than there were");
        for key in matching {
            self.twin().entries.remove(&key);
            assert_eq!(self.store().contains(&key), Ok(false));
        }
    }

    fn scan(&mut self, which: Which, views: bool, disturb: u16) {
        let store = self.store();
        let mut scan = store.scan(which.wanted()).unwrap();
        let (mut seen, mut disturbed) = (HashSet::new(), HashSet::new());
        let mut steps = 0_u16;
        let mut failures = 0;
        loop {
            let (key, view) = match scan.next(views) {
                Ok(Some(entry)) => (entry.key.to_vec(), entry.view),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace);
                    self.check_pin_limit();
                    failures += 1;
                    continue;
                }
            };
            assert!(seen.insert(key.clone()) || disturbed.contains(&key), "seen twice");
            let Some(entry) = self.live(&key) else { panic!("a key that cannot be there") };
            assert!(which.takes(&key, &entry), "a key that does not match");
            assert_eq!(view.is_some(), views);
            if let Some(view) = view {
                let info = *view.info();
                self.present(&key, &view, Some(&info));
            }
            steps += 1;
            if disturb != 0 && steps.is_multiple_of(disturb) && steps < 60 {
                let number = (steps * 7) % 400;
                let number = if (28..32).contains(&number) { 64 } else { number };
                let other = key_of(number);
                if steps.is_multiple_of(2) {
                    let how = How {
                        mode: Mode::Set,
                        ttl: Ttl::Default,
                        session: 1,
                        value_type: 1,
                        flags: 0,
                    };
                    self.put(&other, bytes_of(steps.into(), 40), how);
                } else {
                    store.delete(&other).unwrap();
                    self.twin().entries.remove(&other);
                }
                disturbed.insert(other);
            }
        }
        let now = self.now();
        let missed: Vec<_> = self.twins[self.at]
            .entries
            .iter()
            .filter(|(key, entry)| which.takes(key, entry) && !seen.contains(*key))
            .filter(|(key, entry)| {
                !disturbed.contains(*key) && entry.expires.is_none_or(|at| at > now)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in missed {
            if failures > 0 && store.contains(&key).unwrap() {
                failures -= 1;
                continue;
            }
            assert_eq!(store.contains(&key), Ok(false), "a key was there and not seen");
            self.absent(&key, "scan");
        }
    }

    fn destroy(&mut self) {
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

    fn alloc(&mut self, len: usize, align: usize, options: AllocOptions) {
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

    fn free(&mut self, i: usize) {
        let Some(block) = take_out(&mut self.blocks, i) else { return };
        // SAFETY: the block is this test's until it is freed here, once.
        unsafe {
            let bytes = std::slice::from_raw_parts(block.at, block.len);
            assert!(bytes.iter().all(|&byte| byte == block.fill), "a block was written to");
            self.pool.free(block.at).unwrap();
            assert_eq!(self.pool.free(block.at).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    fn step(&mut self, op: &Op) {
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

    fn check(&self) {
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
    fn end(mut self) {
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

fn take_out<T>(from: &mut Vec<T>, i: usize) -> Option<T> {
    if from.is_empty() {
        return None;
    }
    let i = i % from.len();
    Some(from.remove(i))
}

fn filled(bytes: &[MaybeUninit<u8>]) -> Vec<u8> {
    // SAFETY: the caller passes what a read filled.
    bytes.iter().map(|byte| unsafe { byte.assume_init() }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/model.proptest-regressions"
        )))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_calls_agrees_with_a_map((setup, ops) in case()) {
        let mut world = World::new(setup);
        for op in &ops {
            world.step(op);
            world.check();
        }
        world.end();
    }
}
