//! Read-through: claims, leases, and waits without a thread.

use std::ffi::c_void;

use hypercache_core::store::Ended;
use hypercache_core::{Claim, ClaimOptions, DropReason, Lease, Result};

use crate::abi::*;
use crate::boundary::{
    array, buffer, bytes, call, call_detailed, check_flags, invalid, key, out, out_array, put_out,
    quiet, store, store_and_key,
};
use crate::convert::put_options;
use crate::read::{CLEARED, show, with_info};
use crate::write::{NULL_VALUE, stored};

const NO_LEASE: hc_lease = hc_lease { id: 0, generation: 0 };

fn options(flags: u32, timeout_ms: u64) -> Result<ClaimOptions> {
    check_flags("flags", flags, HC_CLAIM_STALE)?;
    Ok(ClaimOptions { timeout_ms, stale: flags & HC_CLAIM_STALE != 0 })
}

const fn shown(lease: Lease) -> hc_lease {
    hc_lease { id: lease.id, generation: lease.generation }
}

const fn meant(lease: hc_lease) -> Lease {
    Lease { id: lease.id, generation: lease.generation }
}

/// The status of a claim that found no value; the lease goes to its place.
fn without_value<T>(claim: &Claim<T>, lease: &mut std::mem::MaybeUninit<hc_lease>) -> hc_status {
    match claim {
        Claim::Value(_) => HC_OK,
        Claim::Claimed(granted) => {
            lease.write(shown(*granted));
            HC_CLAIMED
        }
        Claim::TimedOut => HC_TIMEOUT,
        Claim::Absent => HC_NOT_FOUND,
        Claim::LoadFailed => HC_LOAD_FAILED,
        Claim::Declined => HC_NOT_ADMITTED,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_claim(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    flags: u32,
    timeout_ms: u64,
    view: *mut hc_view,
    lease: *mut hc_lease,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for places to write to.
        let (view, lease) = unsafe { (out(view, "view is NULL")?, out(lease, "lease is NULL")?) };
        match store.claim(key, options(flags, timeout_ms)?)? {
            Claim::Value(pinned) => {
                view.write(show(pinned));
                Ok(HC_OK)
            }
            other => Ok(without_value(&other, lease)),
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_get_or_claim(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    flags: u32,
    timeout_ms: u64,
    buf: *mut c_void,
    cap: usize,
    info: *mut hc_info,
    lease: *mut hc_lease,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for cap writable bytes.
        let buf = unsafe { buffer(buf, cap) }?;
        // SAFETY: the header asks for places to write to.
        let (info, lease) = unsafe { (out(info, "info is NULL")?, out(lease, "lease is NULL")?) };
        match store.get_or_claim(key, buf, options(flags, timeout_ms)?)? {
            Claim::Value(read) => Ok(with_info(read, info)),
            other => Ok(without_value(&other, lease)),
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_claim_many(
    store: *mut hc_store,
    keys: *const hc_slice,
    n: usize,
    flags: u32,
    views: *mut hc_view,
    leases: *mut hc_lease,
    statuses: *mut hc_status,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for n keys, and for room for as many views, leases and statuses.
        let (keys, views, leases, statuses) = unsafe {
            (
                array(keys, n, "keys is NULL")?,
                out_array(views, n, "views is NULL")?,
                out_array(leases, n, "leases is NULL")?,
                out_array(statuses, n, "statuses is NULL")?,
            )
        };
        let options = options(flags, 0)?;
        let mut all = true;
        for (((slice, view), lease), status) in keys.iter().zip(views).zip(leases).zip(statuses) {
            view.write(CLEARED);
            lease.write(NO_LEASE);
            // SAFETY: the header asks for keys of as many bytes as they say.
            let claim =
                unsafe { key(slice.data, slice.len) }.and_then(|key| store.claim(key, options));
            let came = match claim {
                Ok(Claim::Value(pinned)) => {
                    view.write(show(pinned));
                    HC_OK
                }
                Ok(other) => without_value(&other, lease),
                Err(error) => crate::boundary::status_of(error.kind()),
            };
            all &= came == HC_OK;
            status.write(came);
        }
        Ok(if all { HC_OK } else { HC_PARTIAL })
    })
}

/// The lease behind the caller's, which is cleared.
///
/// # Safety
/// `lease` is NULL or points to an hc_lease.
unsafe fn taken(lease: *mut hc_lease) -> Option<Lease> {
    // SAFETY: not NULL, so an hc_lease by the caller's contract.
    (!lease.is_null()).then(|| meant(unsafe { lease.replace(NO_LEASE) }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_lease_put(
    store: *mut hc_store,
    lease: *mut hc_lease,
    val: *const c_void,
    val_len: usize,
    options: *const hc_put_options,
    version: *mut u64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for a lease.
        let lease = unsafe { taken(lease) }.ok_or_else(|| invalid("lease is NULL"))?;
        // SAFETY: the header asks for val_len readable bytes, and for NULL or whole options.
        let arguments = unsafe {
            bytes(val, val_len, NULL_VALUE).and_then(|value| Ok((value, put_options(options)?)))
        };
        let (value, options) = match arguments {
            Ok(arguments) => arguments,
            Err(error) => {
                store.lease_drop(lease, DropReason::Cancelled)?;
                return Err(error);
            }
        };
        // SAFETY: the header asks for NULL or a place to write to.
        Ok(unsafe { stored(store.lease_put(lease, value, &options)?, version) })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_lease_drop(
    store: *mut hc_store,
    lease: *mut hc_lease,
    reason: i32,
    retry_ms: u64,
) {
    quiet(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for NULL or a lease.
        let Some(lease) = (unsafe { taken(lease) }) else { return Ok(()) };
        let reason = match reason {
            HC_DROP_FAILED => DropReason::Failed { retry_ms },
            HC_DROP_ABSENT => DropReason::Absent { ttl_ms: retry_ms },
            // Whatever a later release means by another number, the caller will not load.
            _ => DropReason::Cancelled,
        };
        store.lease_drop(lease, reason)
    });
}

/// The waits behind a handle.
///
/// # Safety
/// `waits` is NULL or was opened and not closed.
unsafe fn waits<'a>(waits: *mut hc_waits) -> Result<&'a hc_waits> {
    // SAFETY: NULL or alive, by the caller's contract.
    unsafe { waits.as_ref() }.ok_or_else(|| invalid("waits is NULL"))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_waits_open(
    store: *mut hc_store,
    out: *mut *mut hc_waits,
    err: *mut hc_error,
) -> hc_status {
    let inside = || {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        place.write(Box::into_raw(Box::new(hc_waits { inner: store.waits()? })));
        Ok(HC_OK)
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_waits_fd(waits: *mut hc_waits) -> i32 {
    // SAFETY: the header asks for waits that are open.
    quiet(|| Ok(unsafe { self::waits(waits) }?.inner.fd())).unwrap_or(-1)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_waits_add(
    waits: *mut hc_waits,
    key: *const c_void,
    key_len: usize,
    cookie: u64,
    left_ms: *mut u64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for waits that are open, and for key_len readable bytes.
        let (waits, key) = unsafe { (self::waits(waits)?, self::key(key, key_len)?) };
        match waits.inner.add(key, cookie)? {
            Some(left) => {
                // SAFETY: the header asks for NULL or a place to write to.
                unsafe { put_out(left_ms, left) };
                Ok(HC_OK)
            }
            None => Ok(HC_NOT_FOUND),
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_waits_next(
    waits: *mut hc_waits,
    cookie: *mut u64,
    outcome: *mut hc_status,
    view: *mut hc_view,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for waits that are open.
        let waits = unsafe { self::waits(waits) }?;
        // SAFETY: the header asks for places to write to.
        let (cookie, outcome) =
            unsafe { (out(cookie, "cookie is NULL")?, out(outcome, "outcome is NULL")?) };
        let Some((told, ended)) = waits.inner.next()? else { return Ok(HC_DONE) };
        cookie.write(told);
        let (status, pinned) = match ended {
            Ended::Value(pinned) if !view.is_null() => (HC_OK, show(pinned)),
            Ended::Again | Ended::Value(_) => (HC_DONE, CLEARED),
            Ended::LoadFailed => (HC_LOAD_FAILED, CLEARED),
            Ended::Absent => (HC_NOT_FOUND, CLEARED),
            Ended::Declined => (HC_NOT_ADMITTED, CLEARED),
        };
        outcome.write(status);
        // SAFETY: the header asks for NULL or a place to write to.
        unsafe { put_out(view, pinned) };
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_waits_close(waits: *mut hc_waits) {
    if !waits.is_null() {
        quiet(|| {
            // SAFETY: the header asks for waits that were opened, and lets nobody use them again.
            drop(unsafe { Box::from_raw(waits) });
            Ok(())
        });
    }
}
