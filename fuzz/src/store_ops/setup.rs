//! Pools and stores as inputs ask for them.

use crate::input::Input;
use hypercache_core::{PolicyKind, PoolConfig, StoreConfig};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Four bytes.
pub fn pool_config(input: &mut Input<'_>) -> PoolConfig {
    let size = input.byte();
    // Limits that are no whole number of segments too.
    let limit_bytes = MIB * u64::from(size % 8 + 1) + u64::from(size / 32) * 3 * 4 * KIB;
    let limit_max_bytes = match input.below(3) {
        0 => 12 * MIB,
        1 => 0,
        _ => limit_bytes,
    };
    let flags = input.byte();
    PoolConfig {
        limit_max_bytes,
        pin_limit_bytes: match input.byte() {
            0..128 => 0,
            some => u64::from(some - 127) * 8 * KIB,
        },
        zero_on_free: flags & 1 != 0,
        pressure_by_used: flags & 2 != 0,
        no_huge_pages: flags & 4 != 0,
        prefault: flags & 24 == 24,
        ..PoolConfig::new(limit_bytes)
    }
}

/// Four bytes.
pub fn store_config(input: &mut Input<'_>) -> StoreConfig {
    let (kind, limits, times, values) = (input.byte(), input.byte(), input.byte(), input.byte());
    let policy = [
        PolicyKind::S3Fifo,
        PolicyKind::Lru,
        PolicyKind::Fifo,
        PolicyKind::Default,
        PolicyKind::Sieve,
        PolicyKind::Random,
        PolicyKind::Lfu,
        PolicyKind::WTinyLfu,
    ][usize::from(kind & 3 | values >> 4 & 4)];
    let policy = match (times & 0x80, kind & 3) {
        (0, _) => policy,
        (_, 0) => PolicyKind::Session,
        (_, 1) => PolicyKind::Adaptive,
        (_, 2) => PolicyKind::Ttl,
        _ => PolicyKind::Hybrid,
    };
    let options = match (policy, kind >> 5) {
        (PolicyKind::S3Fifo, 0) => Some("small=50,ghost=0,threshold=3"),
        (PolicyKind::S3Fifo, 1) => Some("small=1,ghost=400"),
        (PolicyKind::Adaptive, 0) => Some("ghosts=0"),
        (PolicyKind::Adaptive, 1) => Some("objective=bytes,ghosts=8"),
        (PolicyKind::Lru, 0) => Some("share=0"),
        (PolicyKind::Lru, 1) => Some("share=99"),
        (PolicyKind::Lfu, 0) => Some("decay=0"),
        (PolicyKind::Lfu, 1) => Some("decay=1"),
        (PolicyKind::WTinyLfu, 0) => Some("window=1,adapt=0"),
        (PolicyKind::WTinyLfu, 1) => Some("window=80"),
        (PolicyKind::Random, 0) => Some("keep=0"),
        (PolicyKind::Random, 1) => Some("keep=90"),
        (PolicyKind::Hybrid, 0) => Some("share=0,window=1"),
        (PolicyKind::Hybrid, 1) => Some("share=99,spare=0,window=32"),
        (PolicyKind::Session, 0) => Some("sessions=3,grace=0"),
        (PolicyKind::Session, 1) => Some("session_ttl=2,idle_timeout=1"),
        _ => None,
    };
    StoreConfig {
        policy,
        policy_options: options.map(str::to_owned),
        shards: [1, 0, 1, 2, 4, 8, 1, 2][usize::from(kind >> 2 & 7)],
        limit_bytes: [0, 0, 0, 256 * KIB, 512 * KIB, 800 * KIB, MIB, 3 * MIB]
            [usize::from(limits & 7)],
        floor_bytes: [0, 0, 64 * KIB, 512 * KIB][usize::from(limits >> 3 & 3)],
        limit_entries: [0, 0, 0, 0, 1, 10, 200, 5_000][usize::from(limits >> 5)],
        default_ttl_ms: [0, 0, 0, 1_500][usize::from(times & 3)],
        jitter_pct: [0, 0, 0, 30, 100, 0, 1, 0][usize::from(times >> 2 & 7)],
        latency: times & 0x60 == 0x60,
        value_len_max: [0, 0, 0, 20_000, 1, 4_096, 1 << 20, 0xFFFF_FFFF][usize::from(values & 7)],
        lease_ms: if values & 16 != 0 { 100 } else { 0 },
        negative_ttl_ms: if values & 16 != 0 { 40 } else { 0 },
        stale_if_error_ms: if values & 32 != 0 { 300 } else { 0 },
        soft_ttl_ms: if values & 128 != 0 { 700 } else { 0 },
        hash_seed: 5,
        name: (values & 8 != 0).then(|| "second".to_owned()),
        ..StoreConfig::default()
    }
}
