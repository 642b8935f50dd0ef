//! The types and constants of the header, in its order.

use core::ffi::{c_char, c_void};
use core::marker::{PhantomData, PhantomPinned};

/// What is only ever seen behind a pointer: it has no size, and is not sent, shared or moved.
type Opaque = PhantomData<(*mut u8, PhantomPinned)>;

pub const HC_VERSION_MAJOR: i32 = 0;
pub const HC_VERSION_MINOR: i32 = 1;
pub const HC_VERSION_PATCH: i32 = 0;

pub type hc_status = i32;

pub const HC_OK: hc_status = 0;
pub const HC_NOT_FOUND: hc_status = 1;
pub const HC_EXISTS: hc_status = 2;
pub const HC_CONFLICT: hc_status = 3;
pub const HC_NOT_ADMITTED: hc_status = 4;
pub const HC_SMALL_BUFFER: hc_status = 5;
pub const HC_DONE: hc_status = 6;
pub const HC_CLAIMED: hc_status = 7;
pub const HC_TIMEOUT: hc_status = 8;
pub const HC_PARTIAL: hc_status = 9;
pub const HC_WRONG_TYPE: hc_status = 10;
pub const HC_OVERFLOW: hc_status = 11;
pub const HC_LOAD_FAILED: hc_status = 12;
pub const HC_ERR_INVALID: hc_status = -1;
pub const HC_ERR_UNSUPPORTED: hc_status = -2;
pub const HC_ERR_TOO_LARGE: hc_status = -3;
pub const HC_ERR_NO_SPACE: hc_status = -4;
pub const HC_ERR_NO_MEMORY: hc_status = -5;
pub const HC_ERR_CLOSED: hc_status = -6;
pub const HC_ERR_FORKED: hc_status = -7;
pub const HC_ERR_IO: hc_status = -8;
pub const HC_ERR_CORRUPT: hc_status = -9;
pub const HC_ERR_POISONED: hc_status = -10;
pub const HC_ERR_INTERNAL: hc_status = -11;
pub const HC_ERR_DEADLOCK: hc_status = -12;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_error {
    pub size: usize,
    pub status: hc_status,
    pub os_error: i32,
    pub message: [c_char; 240],
}

pub struct hc_pool {
    _opaque: Opaque,
}

pub struct hc_store {
    _opaque: Opaque,
}

pub struct hc_watch {
    _opaque: Opaque,
}

pub struct hc_scan {
    _opaque: Opaque,
}

/// Waits for leases, for an event loop.
pub struct hc_waits {
    _opaque: Opaque,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_slice {
    pub data: *const c_void,
    pub len: usize,
}

pub const HC_KEY_LEN_MAX: u32 = 65535;
pub const HC_VALUE_LEN_MAX: u64 = 0xFFFF_FFFF;
pub const HC_POOL_LIMIT_MIN: u64 = 1048576;
pub const HC_TTL_DEFAULT: u64 = 0;
pub const HC_TTL_KEEP: u64 = 0xFFFF_FFFF_FFFF_FFFE;
pub const HC_TTL_NEVER: u64 = 0xFFFF_FFFF_FFFF_FFFF;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_pool_config {
    pub size: usize,
    pub limit_bytes: u64,
    pub name: *const c_char,
    pub elevated_pct: u32,
    pub high_pct: u32,
    pub critical_pct: u32,
    pub flags: u32,
    pub pin_limit_bytes: u64,
    pub limit_max_bytes: u64,
}

pub const HC_POOL_PREFAULT: u32 = 1;
pub const HC_POOL_ZERO_ON_FREE: u32 = 2;
pub const HC_POOL_NO_HUGE_PAGES: u32 = 4;
pub const HC_POOL_PRESSURE_USED: u32 = 8;

pub const HC_PRESSURE_NONE: i32 = 0;
pub const HC_PRESSURE_ELEVATED: i32 = 10;
pub const HC_PRESSURE_HIGH: i32 = 20;
pub const HC_PRESSURE_CRITICAL: i32 = 30;

pub type hc_pressure_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, level: i32, used_bytes: u64, limit_bytes: u64)>;
pub type hc_drop_fn = Option<unsafe extern "C" fn(ctx: *mut c_void)>;

pub const HC_ALLOC_EVICT: u32 = 1;
pub const HC_ALLOC_ZERO: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_pool_stats {
    pub size: usize,
    pub limit_bytes: u64,
    pub target_bytes: u64,
    pub used_bytes: u64,
    pub peak_bytes: u64,
    pub pinned_bytes: u64,
    pub held_bytes: u64,
    pub app_bytes: u64,
    pub overhead_bytes: u64,
    pub resident_bytes: u64,
    pub huge_bytes: u64,
    pub stores: u64,
    pub level_changes: u64,
    pub alloc_failures: u64,
    pub alloc_created: u64,
    pub alloc_reused: u64,
    pub alloc_returned: u64,
    pub alloc_discarded: u64,
    pub pressure: i32,
    pub reserved: u32,
}

pub const HC_POLICY_DEFAULT: i32 = 0;
pub const HC_POLICY_S3FIFO: i32 = 1;
pub const HC_POLICY_SIEVE: i32 = 2;
pub const HC_POLICY_WTINYLFU: i32 = 3;
pub const HC_POLICY_LRU: i32 = 4;
pub const HC_POLICY_LFU: i32 = 5;
pub const HC_POLICY_FIFO: i32 = 6;
pub const HC_POLICY_RANDOM: i32 = 7;
pub const HC_POLICY_TTL: i32 = 8;
pub const HC_POLICY_HYBRID: i32 = 9;
pub const HC_POLICY_SESSION: i32 = 10;
pub const HC_POLICY_ADAPTIVE: i32 = 11;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_store_config {
    pub size: usize,
    pub name: *const c_char,
    pub limit_bytes: u64,
    pub limit_entries: u64,
    pub value_len_max: u64,
    pub default_ttl_ms: u64,
    pub shards: u32,
    pub policy: i32,
    pub policy_options: *const c_char,
    pub filter_fpr: f64,
    pub hash_seed: u64,
    pub floor_bytes: u64,
    pub flags: u32,
    pub jitter_pct: u32,
    pub soft_ttl_ms: u64,
    pub idle_ttl_ms: u64,
    pub stale_if_error_ms: u64,
    pub negative_ttl_ms: u64,
    pub lease_ms: u64,
    pub negative_pct: u32,
    pub reserved: u32,
}

pub const HC_STORE_LATENCY: u32 = 1;
pub const HC_STORE_NO_EARLY: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_view {
    pub data: *const c_void,
    pub len: usize,
    pub version: u64,
    pub ttl_ms: u64,
    pub session: u64,
    pub r#type: u32,
    pub flags: u32,
    pub pin: *mut c_void,
    pub reserved: u64,
}

pub const HC_PEEK: u32 = 1;

pub const HC_TYPE_BYTES: u32 = 0;
pub const HC_TYPE_STRING: u32 = 1;
pub const HC_TYPE_INT64: u32 = 2;
pub const HC_TYPE_FLOAT64: u32 = 3;
pub const HC_TYPE_BOOL: u32 = 4;
pub const HC_TYPE_NULL: u32 = 5;
pub const HC_TYPE_JSON: u32 = 6;
pub const HC_TYPE_MSGPACK: u32 = 7;
pub const HC_TYPE_PICKLE: u32 = 64;
pub const HC_TYPE_V8: u32 = 65;
pub const HC_TYPE_APP: u32 = 128;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_info {
    pub len: usize,
    pub version: u64,
    pub ttl_ms: u64,
    pub session: u64,
    pub r#type: u32,
    pub flags: u32,
    pub reserved: [u64; 2],
}

pub const HC_PUT_SET: i32 = 0;
pub const HC_PUT_ADD: i32 = 1;
pub const HC_PUT_REPLACE: i32 = 2;
pub const HC_PUT_CAS: i32 = 3;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_put_options {
    pub size: usize,
    pub ttl_ms: u64,
    pub expected_version: u64,
    pub session: u64,
    pub soft_ttl_ms: u64,
    pub idle_ttl_ms: u64,
    pub mode: i32,
    pub r#type: u32,
    pub flags: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_entry {
    pub key: hc_slice,
    pub value: hc_slice,
    pub ttl_ms: u64,
    pub expected_version: u64,
    pub session: u64,
    pub soft_ttl_ms: u64,
    pub idle_ttl_ms: u64,
    pub r#type: u32,
    pub flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_draft {
    pub data: *mut c_void,
    pub len: usize,
    pub slot: [u64; 2],
}

pub const HC_CLAIM_STALE: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_lease {
    pub id: u64,
    pub generation: u64,
}

pub const HC_DROP_CANCELLED: i32 = 0;
pub const HC_DROP_FAILED: i32 = 1;
pub const HC_DROP_ABSENT: i32 = 2;

pub const HC_MATCH_ALL: i32 = 0;
pub const HC_MATCH_PREFIX: i32 = 1;
pub const HC_MATCH_GLOB: i32 = 2;
pub const HC_MATCH_SESSION: i32 = 3;
pub const HC_MATCH_TYPE: i32 = 4;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_match {
    pub size: usize,
    pub pattern: hc_slice,
    pub session: u64,
    pub r#type: u32,
    pub kind: i32,
}

pub struct hc_filter {
    _opaque: Opaque,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_filter_config {
    pub size: usize,
    pub capacity: u64,
    pub fpr: f64,
    pub pool: *mut hc_pool,
    pub hash_seed: u64,
    pub flags: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_filter_stats {
    pub size: usize,
    pub keys: u64,
    pub capacity: u64,
    pub bytes: u64,
    pub adds: u64,
    pub add_failures: u64,
    pub lookups: u64,
    pub removes: u64,
    pub remove_failures: u64,
    pub kicks: u64,
    pub longest_kick_chain: u64,
    pub resizes: u64,
    pub positives: u64,
    pub load_factor: f64,
    pub fpr_theoretical: f64,
    pub fpr_sampled: f64,
    pub saturated: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_store_stats {
    pub size: usize,
    pub entries: u64,
    pub payload_bytes: u64,
    pub dead_bytes: u64,
    pub waiting_bytes: u64,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    pub pinned_bytes: u64,
    pub hits: u64,
    pub misses: u64,
    pub stale_hits: u64,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub invalidated: u64,
    pub evicted: u64,
    pub evicted_bytes: u64,
    pub expired: u64,
    pub not_admitted: u64,
    pub rejected: u64,
    pub written_bytes: u64,
    pub moved_bytes: u64,
    pub filter_skips: u64,
    pub leases: u64,
    pub lease_waits: u64,
    pub sessions: u64,
    pub sessions_idle: u64,
    pub sessions_expired: u64,
    pub sessions_ended: u64,
    pub faults: u64,
    pub poisoned_shards: u32,
    pub reserved: u32,
}

pub const HC_OP_GET: i32 = 0;
pub const HC_OP_SET: i32 = 1;
pub const HC_OP_DELETE: i32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct hc_latency {
    pub size: usize,
    pub count: u64,
    pub min_ns: u64,
    pub mean_ns: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
}

pub type hc_log_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, severity: i32, message: *const c_char)>;
pub const HC_LOG_ERROR: i32 = 1;
pub const HC_LOG_WARN: i32 = 2;
pub const HC_LOG_INFO: i32 = 3;
