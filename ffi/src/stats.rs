//! What pools and stores tell about themselves.
//!
//! The structs of the header mirror the engine's by name. The macro `mirror` names each field once, and
//! takes the engine's struct apart without a rest: a statistic that is new there does not compile
//! here until the header has it.

use std::ffi::{c_char, c_void};

use hypercache_core::{LatencySummary, PoolStats, StoreStats, metrics_text};

use crate::abi::*;
use crate::boundary::{buffer, call, call_allocating, fill, out, pool, store, zeroed};
use crate::convert::{latency_op, level};

/// The header's struct with the engine's values: fields of one name and type, then those that are
/// translated.
macro_rules! mirror {
    (
        $stats:expr, $engine:ident => $header:ident {
            $($field:ident,)* $(; $translated:ident by $translate:ident)?
        }
    ) => {{
        let $engine { $($field,)* $($translated,)? } = $stats;
        $header { $($field,)* $($translated: $translate($translated),)? ..zeroed() }
    }};
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_stats_get(
    pool: *mut hc_pool,
    stats: *mut hc_pool_stats,
) -> hc_status {
    call_allocating(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        pool.check()?;
        let value = mirror!(pool.stats(), PoolStats => hc_pool_stats {
            limit_bytes,
            target_bytes,
            used_bytes,
            peak_bytes,
            pinned_bytes,
            held_bytes,
            app_bytes,
            overhead_bytes,
            resident_bytes,
            huge_bytes,
            stores,
            level_changes,
            alloc_failures,
            alloc_created,
            alloc_reused,
            alloc_returned,
            alloc_discarded,
            ; pressure by level
        });
        // SAFETY: the header asks for a struct of as many bytes as its size says.
        unsafe { fill(stats, value) }?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_stats_get(
    store: *mut hc_store,
    stats: *mut hc_store_stats,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        store.check()?;
        let value = mirror!(store.stats(), StoreStats => hc_store_stats {
            entries,
            payload_bytes,
            dead_bytes,
            waiting_bytes,
            used_bytes,
            limit_bytes,
            pinned_bytes,
            hits,
            misses,
            stale_hits,
            inserts,
            updates,
            deletes,
            invalidated,
            evicted,
            evicted_bytes,
            expired,
            not_admitted,
            rejected,
            written_bytes,
            moved_bytes,
            filter_skips,
            leases,
            lease_waits,
            sessions,
            sessions_idle,
            sessions_expired,
            sessions_ended,
            faults,
            poisoned_shards,
        });
        // SAFETY: the header asks for a struct of as many bytes as its size says.
        unsafe { fill(stats, value) }?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_latency_get(
    store: *mut hc_store,
    op: i32,
    out: *mut hc_latency,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        store.check()?;
        let Some(latency) = store.latency(latency_op(op)?) else { return Ok(HC_NOT_FOUND) };
        let value = mirror!(latency, LatencySummary => hc_latency {
            count,
            min_ns,
            mean_ns,
            p50_ns,
            p90_ns,
            p99_ns,
            p999_ns,
            max_ns,
        });
        // SAFETY: the header asks for a struct of as many bytes as its size says.
        unsafe { fill(out, value) }?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_metrics_text(
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> hc_status {
    call_allocating(|| {
        // SAFETY: the header asks for cap writable bytes.
        let buf = unsafe { buffer(buf.cast::<c_void>(), cap) }?;
        // SAFETY: the header asks for a place to write to.
        let len = unsafe { out(len, "len is NULL") }?;
        let text = metrics_text()?;
        len.write(text.len());
        match buf.get_mut(..text.len()) {
            Some(room) => {
                room.write_copy_of_slice(text.as_bytes());
                Ok(HC_OK)
            }
            None => Ok(HC_SMALL_BUFFER),
        }
    })
}
