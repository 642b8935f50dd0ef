//! Reading one entry.
//!
//! `hc_get` is the call that programs make most: it checks four pointers, borrows the handle and
//! is the engine's `copy`.

use std::ffi::c_void;

use hypercache_core::store::RawView;
use hypercache_core::{Copied, Read, Result, View};

use crate::abi::*;
use crate::boundary::{buffer, call, check_flags, out, quiet, store_and_key};
use crate::convert::{found, info, ttl, view_info};

pub(crate) fn peek(flags: u32) -> Result<bool> {
    check_flags("flags", flags, HC_PEEK)?;
    Ok(flags & HC_PEEK != 0)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_get(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    buf: *mut c_void,
    cap: usize,
    len: *mut usize,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for cap writable bytes.
        let buf = unsafe { buffer(buf, cap) }?;
        // SAFETY: the header asks for a place to write to.
        let len = unsafe { out(len, "len is NULL") }?;
        match store.copy(key, buf)? {
            Copied::Hit { len: copied, .. } => {
                len.write(copied);
                Ok(HC_OK)
            }
            Copied::SmallBuffer { len: needed } => {
                len.write(needed);
                Ok(HC_SMALL_BUFFER)
            }
            Copied::Miss => Ok(HC_NOT_FOUND),
        }
    })
}

#[inline(always)]
pub(crate) fn with_info(read: Read, place: &mut std::mem::MaybeUninit<hc_info>) -> hc_status {
    match read {
        Read::Hit(found) => {
            place.write(info(&found));
            HC_OK
        }
        Read::SmallBuffer(found) => {
            place.write(info(&found));
            HC_SMALL_BUFFER
        }
        Read::Miss => HC_NOT_FOUND,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_get_info(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    flags: u32,
    buf: *mut c_void,
    cap: usize,
    info: *mut hc_info,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for cap writable bytes.
        let buf = unsafe { buffer(buf, cap) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { out(info, "info is NULL") }?;
        Ok(with_info(store.get_with(key, buf, peek(flags)?)?, place))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_take(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    buf: *mut c_void,
    cap: usize,
    info: *mut hc_info,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for cap writable bytes.
        let buf = unsafe { buffer(buf, cap) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { out(info, "info is NULL") }?;
        Ok(with_info(store.take(key, buf)?, place))
    })
}

pub(crate) const CLEARED: hc_view = hc_view {
    data: std::ptr::null(),
    len: 0,
    version: 0,
    ttl_ms: 0,
    session: 0,
    r#type: 0,
    flags: 0,
    pin: std::ptr::null_mut(),
    reserved: 0,
};

/// A pinned view as the header shows it; [`unpin`] takes it back.
pub(crate) fn show(view: View) -> hc_view {
    let RawView { data, len, info, pin, token } = view.into_raw();
    let info = self::info(&info);
    hc_view {
        data: data.cast(),
        len,
        version: info.version,
        ttl_ms: info.ttl_ms,
        session: info.session,
        r#type: info.r#type,
        flags: info.flags,
        pin,
        reserved: token,
    }
}

/// Gives a view back and clears it; a cleared one has no data.
pub(crate) fn unpin(view: &mut hc_view) {
    let held = std::mem::replace(view, CLEARED);
    if held.data.is_null() {
        return;
    }
    let raw = RawView {
        data: held.data.cast(),
        len: held.len,
        info: view_info(&held),
        pin: held.pin,
        token: held.reserved,
    };
    // SAFETY: the parts are those that View::into_raw gave, and the view was cleared above, so
    // that they come back once; the header lets nobody unpin a copy.
    drop(unsafe { View::from_raw(raw) });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pin(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    flags: u32,
    out: *mut hc_view,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        match store.pin(key, peek(flags)?)? {
            Some(view) => {
                place.write(show(view));
                Ok(HC_OK)
            }
            None => Ok(HC_NOT_FOUND),
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_unpin(view: *mut hc_view) {
    if !view.is_null() {
        quiet(|| {
            // SAFETY: not NULL; the header asks for a view that was pinned or cleared.
            unpin(unsafe { &mut *view });
            Ok(())
        });
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_contains(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        Ok(found(store.contains(key)?))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_may_exist(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        Ok(found(store.may_exist(key)?))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_touch(
    store: *mut hc_store,
    key: *const c_void,
    key_len: usize,
    ttl_ms: u64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference and key_len readable bytes.
        let (store, key) = unsafe { store_and_key(store, key, key_len) }?;
        Ok(found(store.touch(key, ttl(ttl_ms))?))
    })
}
