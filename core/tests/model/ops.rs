//! What a case consists of: how it is set up, and the steps of it.

use crate::world::Entry;
use hypercache_core::pool::AllocOptions;
use hypercache_core::types::glob_matches;
use hypercache_core::{Match, PolicyKind, Ttl, ValueType};
use proptest::prelude::*;

pub const KIB: usize = 1 << 10;
pub const MIB: u64 = 1 << 20;

/// Bytes that tell which write they came from.
pub fn bytes_of(seed: u32, len: usize) -> Vec<u8> {
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
pub fn key_of(number: u16) -> Vec<u8> {
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
pub enum Mode {
    Set,
    Add,
    Replace,
    /// Compare-and-set with the present version.
    Cas,
    /// Compare-and-set with the version of an earlier write.
    StaleCas,
}

#[derive(Clone, Copy, Debug)]
pub struct How {
    pub mode: Mode,
    pub ttl: Ttl,
    pub session: u64,
    pub value_type: u8,
    pub flags: u32,
}

#[derive(Clone, Copy, Debug)]
pub enum Which {
    All,
    Users,
    Glob,
    Session(u64),
    Type(u8),
}

impl Which {
    pub fn wanted(self) -> Match<'static> {
        match self {
            Self::All => Match::All,
            Self::Users => Match::Prefix(b"user:"),
            Self::Glob => Match::Glob(b"*:?:*"),
            Self::Session(session) => Match::Session(session),
            Self::Type(value_type) => Match::Type(ValueType(value_type)),
        }
    }

    pub fn takes(self, key: &[u8], entry: &Entry) -> bool {
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
pub enum Op {
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
pub struct Setup {
    pub mib: u64,
    pub policy: PolicyKind,
    pub shards: u32,
    pub default_ttl_ms: u64,
    pub value_len_max: u64,
    pub limit_entries: u64,
    pub latency: bool,
    /// With a filter before the index.
    pub filtered: bool,
    pub zero_on_free: bool,
    /// Data far smaller than the limit: nothing may be evicted.
    pub roomy: bool,
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

pub fn case() -> impl Strategy<Value = (Setup, Vec<Op>)> {
    let policy = prop::sample::select(PolicyKind::ALL.map(|(_, kind)| kind).to_vec());
    let setup = (
        prop_oneof![2 => Just(1_u64), 1 => 2_u64..9],
        policy,
        prop::sample::select(vec![1_u32, 4]),
        prop_oneof![3 => Just(0_u64), 1 => Just(1_500)],
        prop_oneof![4 => Just(0_u64), 1 => Just(20_000)],
        prop_oneof![5 => Just(0_u64), 1 => 1_u64..200],
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.4),
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
                filtered,
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
                    filtered,
                    zero_on_free,
                    roomy,
                }
            },
        );
    setup.prop_flat_map(|setup| (Just(setup), prop::collection::vec(op(setup.roomy), 1..120)))
}
