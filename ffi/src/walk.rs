//! Calls that visit a whole store.

use hypercache_core::Match;

use crate::abi::*;
use crate::boundary::{call, call_allocating, invalid, out, put_out, quiet, store};
use crate::convert::matching;
use crate::read::show;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_invalidate(
    store: *mut hc_store,
    r#match: *const hc_match,
    removed: *mut u64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for a whole hc_match.
        let count = store.invalidate(unsafe { matching(r#match) }?)?;
        // SAFETY: the header asks for NULL or a place to write to.
        unsafe { put_out(removed, count) };
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_clear(store: *mut hc_store) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        unsafe { self::store(store) }?.clear()?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_scan_open(
    store: *mut hc_store,
    r#match: *const hc_match,
    out: *mut *mut hc_scan,
) -> hc_status {
    call_allocating(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        let matching = match r#match.is_null() {
            true => Match::All,
            // SAFETY: not NULL; the header asks for a whole hc_match.
            false => unsafe { self::matching(r#match) }?,
        };
        place.write(Box::into_raw(Box::new(hc_scan { inner: store.scan(matching)? })));
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_scan_next(
    scan: *mut hc_scan,
    key: *mut hc_slice,
    view: *mut hc_view,
) -> hc_status {
    call(|| {
        if scan.is_null() {
            return Err(invalid("scan is NULL"));
        }
        // SAFETY: not NULL; the header gives a scan to one thread at a time.
        let scan = unsafe { &mut *scan };
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { out(key, "key is NULL") }?;
        match scan.inner.next(!view.is_null())? {
            Some(entry) => {
                place.write(hc_slice { data: entry.key.as_ptr().cast(), len: entry.key.len() });
                if let Some(pinned) = entry.view {
                    // SAFETY: a view is made only if the caller gave a place for it.
                    unsafe { put_out(view, show(pinned)) };
                }
                Ok(HC_OK)
            }
            None => Ok(HC_DONE),
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_scan_close(scan: *mut hc_scan) {
    if !scan.is_null() {
        quiet(|| {
            // SAFETY: the handle came from hc_scan_open, and closing is what ends it.
            drop(unsafe { Box::from_raw(scan) });
            Ok(())
        });
    }
}
