//! Removing and walking entries.

use std::ptr;

use hypercache_sys as hc;

use crate::js::{Call, Js, Value};
use crate::keys;
use crate::open::numbered;
use crate::read::store;
use crate::sized;
use crate::values;
use crate::write::{natural, outcome};

/// What is matched: a kind and its operand. `pattern` keeps the bytes alive.
fn matching<'a>(
    call: Call<'a>,
    kind: Value<'a>,
    operand: Value<'a>,
    pattern: &mut Vec<u8>,
) -> Js<hc::hc_match> {
    let mut what = sized!(hc::hc_match);
    what.kind = call.i32(kind);
    match what.kind {
        kind @ (hc::HC_MATCH_PREFIX | hc::HC_MATCH_GLOB) => {
            let pattern_name = if kind == hc::HC_MATCH_GLOB { "glob" } else { "prefix" };
            *pattern = match call.bytes(operand) {
                Some(bytes) => bytes.as_slice().to_vec(),
                None => match call.string(operand) {
                    Some(text) => text.into_bytes(),
                    None => {
                        return Err(call.refused(
                            pattern_name,
                            operand,
                            "a string or a Uint8Array",
                        ));
                    }
                },
            };
            what.pattern = hc::hc_slice { data: pattern.as_ptr().cast(), len: pattern.len() };
        }
        hc::HC_MATCH_SESSION => what.session = natural(call, operand, "session", u64::MAX)?,
        hc::HC_MATCH_TYPE => what.r#type = natural(call, operand, "type", 255)? as u32,
        _ => {}
    }
    Ok(what)
}

/// `invalidate(store, kind, operand)`: how many were removed.
pub fn invalidate<'a>(call: Call<'a>, [id, kind, operand]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    let mut pattern = Vec::new();
    let what = matching(call, kind, operand, &mut pattern)?;
    let mut removed = 0;
    // SAFETY: the table holds a reference to the store; the pattern lives for the call.
    outcome(call, unsafe { hc::hc_invalidate(store, &raw const what, &raw mut removed) })?;
    values::count(call, removed)
}

/// `scan(store, kind, operand)`: the number of a walk.
pub fn scan<'a>(call: Call<'a>, [id, kind, operand]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    let mut pattern = Vec::new();
    let what = matching(call, kind, operand, &mut pattern)?;
    let mut opened = ptr::null_mut();
    // SAFETY: as in `invalidate`.
    outcome(call, unsafe { hc::hc_scan_open(store, &raw const what, &raw mut opened) })?;
    numbered(call, &call.state.scans, opened)
}

/// `scanNext(walk, count, withValues)`: an array of so many keys at most, empty at the end; with
/// values, each key is followed by its value and by the type that JavaScript has to decode it from,
/// or `undefined` if it is decoded.
pub fn scan_next<'a>(call: Call<'a>, [id, count, with_values]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let scan = call.state.scans.get(call.i32(id));
    if scan.is_null() {
        return Err(call.failed(hc::HC_ERR_CLOSED));
    }
    let with_values = call.bool(with_values);
    let array = call.array()?;
    let mut at = 0;
    for _ in 0..call.i32(count) {
        let mut key = hc::hc_slice { data: ptr::null(), len: 0 };
        let mut view = Pinned::none();
        let wanted = if with_values { &raw mut view.0 } else { ptr::null_mut() };
        // SAFETY: the table holds the walk, and this thread is the only one to use it.
        match unsafe { hc::hc_scan_next(scan, &raw mut key, wanted) } {
            hc::HC_OK => {}
            hc::HC_DONE => break,
            failed => return Err(call.failed(failed)),
        }
        // SAFETY: the key is valid until the next call on this walk.
        let key = unsafe { bytes_of(key.data.cast(), key.len) };
        call.set_element(array, at, keys::to_value(call, key)?)?;
        at += 1;
        if with_values {
            // SAFETY: the view is pinned.
            let bytes = unsafe { bytes_of(view.0.data.cast(), view.0.len) };
            let (value, kind) = match values::to_value(call, view.0.r#type, bytes)? {
                Some(value) => (value, call.undefined()?),
                None => (call.buffer(bytes)?, call.int(view.0.r#type as i32)?),
            };
            call.set_element(array, at, value)?;
            call.set_element(array, at + 1, kind)?;
            at += 2;
        }
    }
    Ok(array)
}

/// A slice of the library's bytes, which may have no place where there are none.
unsafe fn bytes_of<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller vouches for `len` bytes at `data`.
    unsafe { std::slice::from_raw_parts(data, len) }
}

/// A view that is given back with it.
struct Pinned(hc::hc_view);

impl Pinned {
    const fn none() -> Self {
        // SAFETY: integers and pointers, for which zero is a value: a cleared view.
        Self(unsafe { std::mem::zeroed() })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: the view is pinned or cleared, and nobody has a copy of it.
        unsafe { hc::hc_unpin(&raw mut self.0) };
    }
}
