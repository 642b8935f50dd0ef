//! Writing single values.

use hypercache_bindings::time::{self, Ttl};
use hypercache_sys as hc;
use napi_sys::ValueType;

use crate::js::{Call, Js, Kind, Thrown, Value};
use crate::keys::{KeyBuffer, whole};
use crate::read::keyed;
use crate::values::{self, ValueBuffer};

/// The longest time that an option may give, in milliseconds.
pub const MILLIS_MAX: u64 = (1 << 53) - 1;

/// In place of a status: JavaScript has to encode the value.
pub const ENCODE: i32 = 1_000;

/// A struct of the library with its size set and everything else the default.
#[macro_export]
macro_rules! sized {
    ($kind:ty) => {{
        // SAFETY: these are structs of integers, floats and pointers, for which zero is a value,
        // and the documented default.
        let mut zeroed: $kind = unsafe { std::mem::zeroed() };
        zeroed.size = size_of::<$kind>();
        zeroed
    }};
}

/// A time to live in milliseconds as JavaScript gives it; None if the entry is to go.
pub fn ttl(call: Call<'_>, value: Value<'_>) -> Js<Option<u64>> {
    const ALLOWED: &str = "a number of milliseconds or, where there is an entry, \"keep\",";
    match call.type_of(value) {
        ValueType::napi_undefined => Ok(Some(hc::HC_TTL_DEFAULT)),
        ValueType::napi_number => match call.f64(value).and_then(time::from_millis) {
            Some(Ttl::Gone) => Ok(None),
            Some(Ttl::Millis(millis)) => Ok(Some(millis)),
            Some(Ttl::Never) => Ok(Some(hc::HC_TTL_NEVER)),
            None => Err(call.outside("ttl", value, ALLOWED)),
        },
        ValueType::napi_string if call.string(value).as_deref() == Some("keep") => {
            Ok(Some(hc::HC_TTL_KEEP))
        }
        _ => Err(call.refused("ttl", value, ALLOWED)),
    }
}

/// An integer from 0 to `most`; `undefined` is 0.
pub fn natural(call: Call<'_>, value: Value<'_>, name: &str, most: u64) -> Js<u64> {
    let given = match call.type_of(value) {
        ValueType::napi_undefined => Some(0),
        ValueType::napi_number => {
            call.f64(value).and_then(whole).and_then(|integer| u64::try_from(integer).ok())
        }
        ValueType::napi_bigint => call.bigint_u64(value),
        _ => return Err(call.refused(name, value, &format!("an integer from 0 to {most}"))),
    };
    given
        .filter(|given| *given <= most)
        .ok_or_else(|| call.outside(name, value, &format!("an integer from 0 to {most}")))
}

/// A status as a number; failures are thrown.
#[inline]
pub fn outcome(call: Call<'_>, status: i32) -> Js<Value<'_>> {
    if status < 0 { Err(call.failed(status)) } else { call.int(status) }
}

/// The outcome of writing a value of so many bytes.
#[inline]
fn written<'a>(call: Call<'a>, store: *mut hc::hc_store, status: i32, len: usize) -> Js<Value<'a>> {
    if status == hc::HC_ERR_TOO_LARGE {
        Err(too_large(call, store, len))
    } else {
        outcome(call, status)
    }
}

/// Says how long a value may be.
#[cold]
pub fn too_large(call: Call<'_>, store: *mut hc::hc_store, len: usize) -> Thrown {
    let mut config = sized!(hc::hc_store_config);
    // SAFETY: the caller has the store from the table, which holds a reference to it.
    let _ = unsafe { hc::hc_store_config_get(store, &raw mut config) };
    let most = config.value_len_max;
    let message = format!("value takes {len} bytes; up to {most}, with its key, is allowed");
    call.throw(Kind::Range, "HC_ERR_TOO_LARGE", &message)
}

/// `set(store, key, value)`.
#[inline]
pub fn set<'a>(call: Call<'a>, [id, key, value]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    stored(call, store, key, value, hc::HC_TTL_DEFAULT)
}

/// `setFor(store, key, value, ttl)`: `put` with a time to live alone, at less.
#[inline]
pub fn set_for<'a>(call: Call<'a>, [id, key, value, ttl_value]: [Value<'a>; 4]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    match ttl(call, ttl_value)? {
        Some(ttl_ms) => stored(call, store, key, value, ttl_ms),
        None => remove(call, store, key, &sized!(hc::hc_put_options)),
    }
}

#[inline]
fn stored<'a>(
    call: Call<'a>,
    store: *mut hc::hc_store,
    key: &[u8],
    value: Value<'a>,
    ttl_ms: u64,
) -> Js<Value<'a>> {
    let mut buffer = ValueBuffer::new();
    let Some(value) = buffer.read(call, value)? else { return call.int(ENCODE) };
    let (key_data, val_data) = (key.as_ptr().cast(), value.bytes.as_ptr().cast());
    let len = value.bytes.len();
    let status = if value.kind == hc::HC_TYPE_BYTES {
        // SAFETY: the table holds a reference to the store; the slices live for the call.
        unsafe { hc::hc_set(store, key_data, key.len(), val_data, len, ttl_ms) }
    } else {
        let mut options = sized!(hc::hc_put_options);
        options.r#type = value.kind;
        options.ttl_ms = ttl_ms;
        let version = std::ptr::null_mut();
        // SAFETY: as above.
        unsafe {
            hc::hc_put(store, key_data, key.len(), val_data, len, &raw const options, version)
        }
    };
    written(call, store, status, len)
}

/// What a write with options is told beside key and value.
pub fn put_options<'a>(
    call: Call<'a>,
    [mode, ttl_value, session, flags, version, soft_ttl, idle_ttl]: [Value<'a>; 7],
) -> Js<(hc::hc_put_options, bool)> {
    let mut options = sized!(hc::hc_put_options);
    let ttl = ttl(call, ttl_value)?;
    options.mode = call.i32(mode);
    options.ttl_ms = ttl.unwrap_or(hc::HC_TTL_DEFAULT);
    options.session = natural(call, session, "session", u64::MAX)?;
    options.flags = natural(call, flags, "flags", u32::MAX.into())? as u32;
    options.soft_ttl_ms = natural(call, soft_ttl, "softTtl", MILLIS_MAX)?;
    options.idle_ttl_ms = natural(call, idle_ttl, "idleTtl", u32::MAX.into())?;
    options.expected_version = natural(call, version, "ifVersion", u64::MAX)?;
    Ok((options, ttl.is_none()))
}

/// `put(store, key, value, mode, ttl, session, flags, version, softTtl, idleTtl, type)`: a type says that the value
/// is bytes that JavaScript has encoded.
pub fn put<'a>(call: Call<'a>, arguments: [Value<'a>; 11]) -> Js<Value<'a>> {
    let [id, key, value, rest @ .., kind] = arguments;
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let (mut options, gone) = put_options(call, rest)?;
    if gone {
        return remove(call, store, key, &options);
    }
    let mut buffer = ValueBuffer::new();
    let Some(value) = buffer.read(call, value)? else { return call.int(ENCODE) };
    options.r#type =
        if call.is_undefined(kind) { value.kind } else { natural(call, kind, "type", 255)? as u32 };
    // SAFETY: the table holds a reference to the store; slices and options live for the call.
    let status = unsafe {
        hc::hc_put(
            store,
            key.as_ptr().cast(),
            key.len(),
            value.bytes.as_ptr().cast(),
            value.bytes.len(),
            &raw const options,
            std::ptr::null_mut(),
        )
    };
    written(call, store, status, value.bytes.len())
}

/// A write of a value that is gone at once: what it would replace goes, and nothing comes.
fn remove<'a>(
    call: Call<'a>,
    store: *mut hc::hc_store,
    key: &[u8],
    options: &hc::hc_put_options,
) -> Js<Value<'a>> {
    let data = key.as_ptr().cast();
    // SAFETY: the table holds a reference to the store.
    let status = unsafe {
        match options.mode {
            hc::HC_PUT_ADD => match hc::hc_contains(store, data, key.len()) {
                hc::HC_OK => hc::HC_EXISTS,
                hc::HC_NOT_FOUND => hc::HC_OK,
                failed => failed,
            },
            hc::HC_PUT_CAS => hc::hc_delete_if(store, data, key.len(), options.expected_version),
            hc::HC_PUT_REPLACE => hc::hc_delete(store, data, key.len()),
            _ => hc::hc_delete(store, data, key.len()).min(hc::HC_OK),
        }
    };
    outcome(call, status)
}

/// `delete(store, key, version)`.
#[inline]
pub fn delete<'a>(call: Call<'a>, [id, key, version]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let data = key.as_ptr().cast();
    let status = if call.is_undefined(version) {
        // SAFETY: the table holds a reference to the store.
        unsafe { hc::hc_delete(store, data, key.len()) }
    } else {
        let version = natural(call, version, "ifVersion", u64::MAX)?;
        // SAFETY: the table holds a reference to the store.
        unsafe { hc::hc_delete_if(store, data, key.len(), version) }
    };
    outcome(call, status)
}

/// `touch(store, key, ttl)`.
pub fn touch<'a>(call: Call<'a>, [id, key, ttl_value]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let data = key.as_ptr().cast();
    // SAFETY: the table holds a reference to the store.
    let status = unsafe {
        match ttl(call, ttl_value)? {
            Some(ttl) => hc::hc_touch(store, data, key.len(), ttl),
            None => hc::hc_delete(store, data, key.len()),
        }
    };
    outcome(call, status)
}

fn signed(call: Call<'_>, value: Value<'_>, name: &str) -> Js<i64> {
    const ALLOWED: &str = "a safe integer, or a bigint of 64 bits,";
    let given = match call.type_of(value) {
        ValueType::napi_number => call.f64(value).and_then(whole),
        ValueType::napi_bigint => call.bigint_i64(value),
        _ => return Err(call.refused(name, value, ALLOWED)),
    };
    given.ok_or_else(|| call.outside(name, value, ALLOWED))
}

/// `incr(store, key, delta, initial, ttl)`: the sum.
pub fn incr<'a>(
    call: Call<'a>,
    [id, key, delta, initial, ttl_value]: [Value<'a>; 5],
) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let delta = signed(call, delta, "delta")?;
    let initial = signed(call, initial, "initial")?;
    let Some(ttl) = ttl(call, ttl_value)? else {
        return Err(call.outside("ttl", ttl_value, "for a counter, more than 0"));
    };
    let mut sum = 0;
    // SAFETY: the table holds a reference to the store.
    let status = unsafe {
        let data = key.as_ptr().cast();
        hc::hc_incr(store, data, key.len(), delta, initial, ttl, &raw mut sum)
    };
    match status {
        hc::HC_OK => values::integer(call, sum),
        hc::HC_WRONG_TYPE => Err(wrong(call, Kind::Type, status)),
        hc::HC_OVERFLOW => Err(wrong(call, Kind::Range, status)),
        // The policy may decline it like any entry; the sum is what it would have been.
        hc::HC_NOT_ADMITTED => values::integer(call, initial),
        failed => Err(call.failed(failed)),
    }
}

fn wrong(call: Call<'_>, kind: Kind, status: i32) -> Thrown {
    use hypercache_bindings::status;
    call.throw(kind, status::name(status), status::text(status))
}
