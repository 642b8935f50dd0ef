//! The calls of the header, in its order.

use core::ffi::{c_char, c_void};

use crate::types::*;

#[allow(improper_ctypes, reason = "handles are only passed on, never looked into")]
unsafe extern "C" {
    pub fn hc_version_number() -> u32;
    pub fn hc_version_string() -> *const c_char;
    pub fn hc_build_info() -> *const c_char;
    pub fn hc_status_name(status: hc_status) -> *const c_char;
    pub fn hc_pool_create(
        config: *const hc_pool_config,
        out: *mut *mut hc_pool,
        err: *mut hc_error,
    ) -> hc_status;
    pub fn hc_pool_open(
        name: *const c_char,
        config: *const hc_pool_config,
        out: *mut *mut hc_pool,
        err: *mut hc_error,
    ) -> hc_status;
    pub fn hc_pool_retain(pool: *mut hc_pool) -> *mut hc_pool;
    pub fn hc_pool_release(pool: *mut hc_pool);
    pub fn hc_pool_set_limit(pool: *mut hc_pool, limit_bytes: u64, err: *mut hc_error)
    -> hc_status;
    pub fn hc_pool_set_thresholds(
        pool: *mut hc_pool,
        elevated_pct: u32,
        high_pct: u32,
        critical_pct: u32,
    ) -> hc_status;
    pub fn hc_pool_pressure(pool: *const hc_pool) -> i32;
    pub fn hc_pool_wait(
        pool: *mut hc_pool,
        seq: *mut u64,
        timeout_ms: u64,
        level: *mut i32,
    ) -> hc_status;
    pub fn hc_pool_watch(
        pool: *mut hc_pool,
        r#fn: hc_pressure_fn,
        ctx: *mut c_void,
        drop: hc_drop_fn,
        out: *mut *mut hc_watch,
    ) -> hc_status;
    pub fn hc_watch_cancel(watch: *mut hc_watch);
    pub fn hc_pool_trim(pool: *mut hc_pool, target_bytes: u64, freed: *mut u64) -> hc_status;
    pub fn hc_pool_alloc(pool: *mut hc_pool, len: usize, align: usize, flags: u32) -> *mut c_void;
    pub fn hc_pool_free(pool: *mut hc_pool, ptr: *mut c_void) -> hc_status;
    pub fn hc_pool_stats_get(pool: *mut hc_pool, stats: *mut hc_pool_stats) -> hc_status;
    pub fn hc_pool_config_get(pool: *mut hc_pool, config: *mut hc_pool_config) -> hc_status;
    pub fn hc_pool_validate(pool: *mut hc_pool, err: *mut hc_error) -> hc_status;
    pub fn hc_store_open(
        pool: *mut hc_pool,
        config: *const hc_store_config,
        out: *mut *mut hc_store,
        err: *mut hc_error,
    ) -> hc_status;
    pub fn hc_store_destroy(store: *mut hc_store);
    pub fn hc_store_find(
        pool: *mut hc_pool,
        name: *const c_char,
        out: *mut *mut hc_store,
    ) -> hc_status;
    pub fn hc_store_retain(store: *mut hc_store) -> *mut hc_store;
    pub fn hc_store_release(store: *mut hc_store);
    pub fn hc_store_set_limit(store: *mut hc_store, limit_bytes: u64) -> hc_status;
    pub fn hc_store_config_get(store: *mut hc_store, config: *mut hc_store_config) -> hc_status;
    pub fn hc_store_validate(store: *mut hc_store, err: *mut hc_error) -> hc_status;
    pub fn hc_get(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        buf: *mut c_void,
        cap: usize,
        len: *mut usize,
    ) -> hc_status;
    pub fn hc_get_info(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        flags: u32,
        buf: *mut c_void,
        cap: usize,
        info: *mut hc_info,
    ) -> hc_status;
    pub fn hc_pin(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        flags: u32,
        out: *mut hc_view,
    ) -> hc_status;
    pub fn hc_unpin(view: *mut hc_view);
    pub fn hc_get_many(
        store: *mut hc_store,
        keys: *const hc_slice,
        n: usize,
        flags: u32,
        buf: *mut c_void,
        cap: usize,
        values: *mut hc_slice,
        types: *mut u32,
        statuses: *mut hc_status,
    ) -> hc_status;
    pub fn hc_contains(store: *mut hc_store, key: *const c_void, key_len: usize) -> hc_status;
    pub fn hc_may_exist(store: *mut hc_store, key: *const c_void, key_len: usize) -> hc_status;
    pub fn hc_take(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        buf: *mut c_void,
        cap: usize,
        info: *mut hc_info,
    ) -> hc_status;
    pub fn hc_touch(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        ttl_ms: u64,
    ) -> hc_status;
    pub fn hc_pin_many(
        store: *mut hc_store,
        keys: *const hc_slice,
        n: usize,
        flags: u32,
        views: *mut hc_view,
        statuses: *mut hc_status,
    ) -> hc_status;
    pub fn hc_unpin_many(views: *mut hc_view, n: usize);
    pub fn hc_set(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        val: *const c_void,
        val_len: usize,
        ttl_ms: u64,
    ) -> hc_status;
    pub fn hc_put(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        val: *const c_void,
        val_len: usize,
        options: *const hc_put_options,
        version: *mut u64,
    ) -> hc_status;
    pub fn hc_put_many(
        store: *mut hc_store,
        entries: *const hc_entry,
        n: usize,
        options: *const hc_put_options,
        statuses: *mut hc_status,
    ) -> hc_status;
    pub fn hc_incr(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        delta: i64,
        initial: i64,
        ttl_ms: u64,
        value: *mut i64,
    ) -> hc_status;
    pub fn hc_delete(store: *mut hc_store, key: *const c_void, key_len: usize) -> hc_status;
    pub fn hc_delete_if(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        expected_version: u64,
    ) -> hc_status;
    pub fn hc_delete_many(
        store: *mut hc_store,
        keys: *const hc_slice,
        n: usize,
        deleted: *mut u64,
    ) -> hc_status;
    pub fn hc_reserve(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        val_len: usize,
        options: *const hc_put_options,
        out: *mut hc_draft,
    ) -> hc_status;
    pub fn hc_commit(draft: *mut hc_draft, version: *mut u64) -> hc_status;
    pub fn hc_abandon(draft: *mut hc_draft);
    pub fn hc_claim(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        flags: u32,
        timeout_ms: u64,
        view: *mut hc_view,
        lease: *mut hc_lease,
    ) -> hc_status;
    pub fn hc_get_or_claim(
        store: *mut hc_store,
        key: *const c_void,
        key_len: usize,
        flags: u32,
        timeout_ms: u64,
        buf: *mut c_void,
        cap: usize,
        info: *mut hc_info,
        lease: *mut hc_lease,
    ) -> hc_status;
    pub fn hc_claim_many(
        store: *mut hc_store,
        keys: *const hc_slice,
        n: usize,
        flags: u32,
        views: *mut hc_view,
        leases: *mut hc_lease,
        statuses: *mut hc_status,
    ) -> hc_status;
    pub fn hc_lease_put(
        store: *mut hc_store,
        lease: *mut hc_lease,
        val: *const c_void,
        val_len: usize,
        options: *const hc_put_options,
        version: *mut u64,
    ) -> hc_status;
    pub fn hc_lease_drop(store: *mut hc_store, lease: *mut hc_lease, reason: i32, retry_ms: u64);
    pub fn hc_waits_open(
        store: *mut hc_store,
        out: *mut *mut hc_waits,
        err: *mut hc_error,
    ) -> hc_status;
    pub fn hc_waits_fd(waits: *mut hc_waits) -> i32;
    pub fn hc_waits_add(
        waits: *mut hc_waits,
        key: *const c_void,
        key_len: usize,
        cookie: u64,
        left_ms: *mut u64,
    ) -> hc_status;
    pub fn hc_waits_next(
        waits: *mut hc_waits,
        cookie: *mut u64,
        outcome: *mut hc_status,
        view: *mut hc_view,
    ) -> hc_status;
    pub fn hc_waits_close(waits: *mut hc_waits);
    pub fn hc_invalidate(
        store: *mut hc_store,
        r#match: *const hc_match,
        removed: *mut u64,
    ) -> hc_status;
    pub fn hc_clear(store: *mut hc_store) -> hc_status;
    pub fn hc_scan_open(
        store: *mut hc_store,
        r#match: *const hc_match,
        out: *mut *mut hc_scan,
    ) -> hc_status;
    pub fn hc_scan_next(scan: *mut hc_scan, key: *mut hc_slice, view: *mut hc_view) -> hc_status;
    pub fn hc_scan_close(scan: *mut hc_scan);
    pub fn hc_filter_create(
        config: *const hc_filter_config,
        out: *mut *mut hc_filter,
        err: *mut hc_error,
    ) -> hc_status;
    pub fn hc_filter_retain(filter: *mut hc_filter) -> *mut hc_filter;
    pub fn hc_filter_release(filter: *mut hc_filter);
    pub fn hc_filter_add(filter: *mut hc_filter, key: *const c_void, key_len: usize) -> hc_status;
    pub fn hc_filter_contains(
        filter: *mut hc_filter,
        key: *const c_void,
        key_len: usize,
    ) -> hc_status;
    pub fn hc_filter_contains_many(
        filter: *mut hc_filter,
        keys: *const hc_slice,
        n: usize,
        statuses: *mut hc_status,
    ) -> hc_status;
    pub fn hc_filter_remove(
        filter: *mut hc_filter,
        key: *const c_void,
        key_len: usize,
    ) -> hc_status;
    pub fn hc_filter_clear(filter: *mut hc_filter) -> hc_status;
    pub fn hc_filter_stats_get(filter: *mut hc_filter, stats: *mut hc_filter_stats) -> hc_status;
    pub fn hc_filter_validate(filter: *mut hc_filter, err: *mut hc_error) -> hc_status;
    pub fn hc_filter_save(
        filter: *mut hc_filter,
        path: *const c_char,
        err: *mut hc_error,
    ) -> hc_status;
    pub fn hc_filter_load(
        path: *const c_char,
        config: *const hc_filter_config,
        out: *mut *mut hc_filter,
        err: *mut hc_error,
    ) -> hc_status;
    pub fn hc_store_set_known_keys(store: *mut hc_store, filter: *mut hc_filter) -> hc_status;
    pub fn hc_store_stats_get(store: *mut hc_store, stats: *mut hc_store_stats) -> hc_status;
    pub fn hc_store_latency_get(store: *mut hc_store, op: i32, out: *mut hc_latency) -> hc_status;
    pub fn hc_metrics_text(buf: *mut c_char, cap: usize, len: *mut usize) -> hc_status;
    pub fn hc_set_logger(r#fn: hc_log_fn, ctx: *mut c_void, drop: hc_drop_fn, max_severity: i32);
}
