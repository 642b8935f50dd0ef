//! Stores: opening, closing, configuration.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::mem;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use hypercache_core::{Result, Store, StoreConfig};

use crate::abi::*;
use crate::boundary::{
    Outcome, call, call_allocating, call_detailed, check_flags, fill, filter, invalid, out, pool,
    quiet, read, store, text, unsupported, zeroed,
};
use crate::convert::{policy, policy_number};

/// A C string that lasts: the names that configurations hand out must outlive the call, and the
/// engine keeps them without the NUL that C wants. Each distinct text is kept once, for good, and
/// only if somebody has asked for it.
pub(crate) fn lasting(text: Option<&str>) -> *const c_char {
    static KEPT: Mutex<BTreeSet<&'static CStr>> = Mutex::new(BTreeSet::new());
    let Some(Ok(text)) = text.map(CString::new) else { return ptr::null() };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(text.as_c_str()) {
        return known.as_ptr();
    }
    let text: &'static CStr = Box::leak(text.into_boxed_c_str());
    kept.insert(text);
    text.as_ptr()
}

/// # Safety
/// `config` is NULL or an hc_store_config of as many bytes as its size says.
unsafe fn store_config(config: *const hc_store_config) -> Result<StoreConfig> {
    // SAFETY: as the caller's contract.
    let c = unsafe { read(config) }?;
    check_flags("hc_store_config.flags", c.flags, HC_STORE_LATENCY | HC_STORE_NO_EARLY)?;
    if c.reserved != 0 {
        return Err(unsupported("hc_store_config.reserved is not 0"));
    }
    if c.default_ttl_ms == HC_TTL_KEEP {
        return Err(invalid(
            "default_ttl_ms is HC_TTL_KEEP; a duration or HC_TTL_NEVER is allowed",
        ));
    }
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Ok(StoreConfig {
        // SAFETY: strings in a config are NULL or NUL-terminated, by its contract.
        name: owned(unsafe { text("hc_store_config.name", c.name) }?),
        limit_bytes: c.limit_bytes,
        limit_entries: c.limit_entries,
        value_len_max: c.value_len_max,
        default_ttl_ms: if c.default_ttl_ms == HC_TTL_NEVER { 0 } else { c.default_ttl_ms },
        shards: c.shards,
        policy: policy(c.policy)?,
        // SAFETY: strings in a config are NULL or NUL-terminated, by its contract.
        policy_options: owned(unsafe { text("policy_options", c.policy_options) }?),
        filter_fpr: c.filter_fpr,
        hash_seed: c.hash_seed,
        floor_bytes: c.floor_bytes,
        jitter_pct: c.jitter_pct,
        latency: c.flags & HC_STORE_LATENCY != 0,
        soft_ttl_ms: c.soft_ttl_ms,
        idle_ttl_ms: c.idle_ttl_ms,
        stale_if_error_ms: c.stale_if_error_ms,
        no_early_refresh: c.flags & HC_STORE_NO_EARLY != 0,
        lease_ms: c.lease_ms,
        negative_ttl_ms: c.negative_ttl_ms,
        negative_pct: c.negative_pct,
    })
}

/// A store as a handle that holds one reference.
fn handle(store: Store) -> *mut hc_store {
    store.into_raw().cast_mut().cast()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_open(
    pool: *mut hc_pool,
    config: *const hc_store_config,
    out: *mut *mut hc_store,
    err: *mut hc_error,
) -> hc_status {
    let inside = || -> Outcome {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        // SAFETY: the header asks for a whole config.
        let config = unsafe { store_config(config) }?;
        place.write(handle(pool.open_store(&config)?));
        Ok(HC_OK)
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_destroy(store: *mut hc_store) {
    quiet(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        unsafe { self::store(store) }?.destroy();
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_find(
    pool: *mut hc_pool,
    name: *const c_char,
    out: *mut *mut hc_store,
) -> hc_status {
    call_allocating(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        // SAFETY: the header asks for a NUL-terminated string.
        let name = unsafe { text("name", name) }?.ok_or_else(|| invalid("name is NULL"))?;
        match pool.find_store(name)? {
            Some(store) => {
                place.write(handle(store));
                Ok(HC_OK)
            }
            None => Ok(HC_NOT_FOUND),
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_retain(store: *mut hc_store) -> *mut hc_store {
    quiet(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        mem::forget(unsafe { self::store(store) }?.clone());
        Ok(())
    });
    store
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_release(store: *mut hc_store) {
    if !store.is_null() {
        quiet(|| {
            // SAFETY: the handle came from Store::into_raw; its reference ends here.
            drop(unsafe { Store::from_raw(store.cast_const().cast()) });
            Ok(())
        });
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_set_limit(store: *mut hc_store, limit_bytes: u64) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        unsafe { self::store(store) }?.set_limit(limit_bytes)?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_set_known_keys(
    store: *mut hc_store,
    filter: *mut hc_filter,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        let filter = match filter.is_null() {
            true => None,
            // SAFETY: not NULL, so a handle that holds a reference, as the header asks.
            false => Some(unsafe { self::filter(filter) }?.clone()),
        };
        store.set_known_keys(filter)?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_config_get(
    store: *mut hc_store,
    config: *mut hc_store_config,
) -> hc_status {
    call_allocating(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        store.check()?;
        let c = store.config();
        let value = hc_store_config {
            name: lasting(c.name.as_deref()),
            limit_bytes: c.limit_bytes,
            limit_entries: c.limit_entries,
            value_len_max: c.value_len_max,
            default_ttl_ms: c.default_ttl_ms,
            shards: c.shards,
            policy: policy_number(c.policy),
            policy_options: lasting(c.policy_options.as_deref()),
            filter_fpr: c.filter_fpr,
            hash_seed: c.hash_seed,
            floor_bytes: c.floor_bytes,
            flags: if c.latency { HC_STORE_LATENCY } else { 0 }
                | if c.no_early_refresh { HC_STORE_NO_EARLY } else { 0 },
            jitter_pct: c.jitter_pct,
            soft_ttl_ms: c.soft_ttl_ms,
            idle_ttl_ms: c.idle_ttl_ms,
            stale_if_error_ms: c.stale_if_error_ms,
            negative_ttl_ms: c.negative_ttl_ms,
            lease_ms: c.lease_ms,
            negative_pct: c.negative_pct,
            ..zeroed()
        };
        // SAFETY: the header asks for a struct of as many bytes as its size says.
        unsafe { fill(config, value) }?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_store_validate(store: *mut hc_store, err: *mut hc_error) -> hc_status {
    let inside = || -> Outcome {
        // SAFETY: the header asks for a handle that holds a reference.
        unsafe { self::store(store) }?.validate()?;
        Ok(HC_OK)
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}
