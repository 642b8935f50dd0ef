//! Writing and removing one entry.

use std::ffi::c_void;

use hypercache_core::store::RawDraft;
use hypercache_core::{Draft, PutOptions, PutOutcome};

use crate::abi::*;
use crate::boundary::{bytes, call, invalid, out, put_out, quiet, store_and_key};
use crate::convert::{delete_status, found, incr_status, put_options, put_status, ttl};

pub(crate) const NULL_VALUE: &str = "val is NULL and val_len is not 0";

/// The status of a write; what it stored has a version.
///
/// # Safety
/// `version` is NULL or writable.
#[inline(always)]
pub(crate) unsafe fn stored(outcome: PutOutcome, version: *mut u64) -> hc_status {
    let (status, stored) = put_status(outcome);
    if status == HC_OK {
        // SAFETY: as the caller's contract.
        unsafe { put_out(version, stored) };
    }
    status
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_set(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    val: *const c_void,
    val_len: usize,
    ttl_ms: u64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for val_len readable bytes.
        let value = unsafe { bytes(val, val_len, NULL_VALUE) }?;
        let outcome = if ttl_ms == HC_TTL_DEFAULT {
            store.set(key, value)?
        } else {
            store.put(key, value, &PutOptions { ttl: ttl(ttl_ms), ..PutOptions::default() })?
        };
        Ok(put_status(outcome).0)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_put(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    val: *const c_void,
    val_len: usize,
    options: *const hc_put_options,
    version: *mut u64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for val_len readable bytes.
        let value = unsafe { bytes(val, val_len, NULL_VALUE) }?;
        // SAFETY: the header asks for NULL or whole options.
        let options = unsafe { put_options(options) }?;
        // SAFETY: the header asks for NULL or a place to write to.
        Ok(unsafe { stored(store.put(key, value, &options)?, version) })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_incr(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    delta: i64,
    initial: i64,
    ttl_ms: u64,
    value: *mut i64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { out(value, "value is NULL") }?;
        let (status, sum) = incr_status(store.incr(key, delta, initial, ttl(ttl_ms))?);
        if let Some(sum) = sum {
            place.write(sum);
        }
        Ok(status)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_delete(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        Ok(found(store.delete(key)?))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_delete_if(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    expected_version: u64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        Ok(delete_status(store.delete_if(key, expected_version)?))
    })
}

const NO_DRAFT: hc_draft = hc_draft { data: std::ptr::null_mut(), len: 0, slot: [0; 2] };

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_reserve(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    val_len: usize,
    options: *const hc_put_options,
    out: *mut hc_draft,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for NULL or whole options.
        let options = unsafe { put_options(options) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        let RawDraft { data, len, slot } = store.reserve(key, val_len, &options)?.into_raw();
        place.write(hc_draft { data: data.cast(), len, slot });
        Ok(HC_OK)
    })
}

/// The engine's draft behind the caller's, which is cleared; `None` for a cleared one.
///
/// # Safety
/// `draft` is NULL, cleared, or filled by hc_reserve and neither committed nor abandoned.
unsafe fn taken(draft: *mut hc_draft) -> Option<Draft> {
    if draft.is_null() {
        return None;
    }
    // SAFETY: not NULL, and a whole hc_draft by the caller's contract.
    let held = unsafe { draft.replace(NO_DRAFT) };
    // SAFETY: the slots are those that Draft::into_raw gave, or 0; clearing the caller's draft above
    // makes them come back once.
    unsafe { Draft::from_raw(held.slot) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_commit(draft: *mut hc_draft, version: *mut u64) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a draft of hc_reserve.
        let draft = unsafe { taken(draft) }
            .ok_or_else(|| invalid("draft is NULL or was committed or abandoned"))?;
        // SAFETY: the header asks the caller to have written all bytes.
        let outcome = unsafe { draft.commit() }?;
        // SAFETY: the header asks for NULL or a place to write to.
        Ok(unsafe { stored(outcome, version) })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_abandon(draft: *mut hc_draft) {
    quiet(|| {
        // SAFETY: the header asks for NULL or a draft of hc_reserve; dropping it abandons it.
        drop(unsafe { taken(draft) });
        Ok(())
    });
}
