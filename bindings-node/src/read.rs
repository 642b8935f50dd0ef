//! Reading single values: the hot paths.
//!
//! The library copies a value straight into the slab (see [`crate::state::Slab`]), where JavaScript
//! can cut a Buffer without copying again; values that become strings or numbers leave the slab as it
//! was. JavaScript sees to it that the slab always has [`SMALL`] bytes left; a value that is larger
//! is read again into a place of its own.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use hypercache_sys as hc;

use crate::js::{Call, Js, Thrown, Value};
use crate::keys::KeyBuffer;
use crate::values;

/// Values up to this size, in bytes, go through the slab.
pub const SMALL: usize = 4_096;

/// Words for JavaScript: the value's type, its place in the slab, its length, and whether the slab
/// has too little left.
const KIND: usize = 0;
const OFFSET: usize = 1;
const LEN: usize = 2;
pub const FULL: usize = 3;

/// In place of a type: the value is large.
pub const LARGE: u32 = u32::MAX;

/// The store of a number that JavaScript holds. To be asked for once keys are read: reading one may
/// run JavaScript (an accessor, a proxy), which may close the store.
///
/// # Errors
/// A pending exception if it was closed.
#[inline]
pub fn store<'a>(call: Call<'a>, id: Value<'a>) -> Js<*mut hc::hc_store> {
    numbered(call, call.i32(id))
}

/// The store and the key of a call. Where the number's bits are inverted, the key is an array whose parts
/// JavaScript has joined (see [`KeyBuffer::read_joined`]).
///
/// # Errors
/// As [`KeyBuffer::read`] and [`store`].
#[inline]
pub fn keyed<'a, 'b>(
    call: Call<'a>,
    id: Value<'a>,
    key: Value<'a>,
    buffer: &'b mut KeyBuffer,
) -> Js<(*mut hc::hc_store, &'b [u8])> {
    let id = call.i32(id);
    let key = if id < 0 { buffer.read_joined(call, key)? } else { buffer.read(call, key)? };
    Ok((numbered(call, if id < 0 { !id } else { id })?, key))
}

#[inline]
fn numbered(call: Call<'_>, id: i32) -> Js<*mut hc::hc_store> {
    let store = call.state.stores.get(id);
    if store.is_null() {
        Err(call.throw(crate::js::Kind::Status, "HC_ERR_CLOSED", "the cache is closed"))
    } else {
        Ok(store)
    }
}

/// An output that the library fills.
#[inline]
fn no_info() -> MaybeUninit<hc::hc_info> {
    MaybeUninit::uninit()
}

/// A value that was copied to the slab's end.
#[derive(Clone, Copy)]
pub struct Copied<'a> {
    kind: u32,
    len: usize,
    bytes: &'a [u8],
}

/// Has a read of the library copy a value to the slab's end. Gives its status and, for `HC_OK`, the
/// value; for `HC_SMALL_BUFFER`, its type and length.
#[inline]
pub fn into_slab<'a>(
    call: Call<'a>,
    read: impl FnOnce(*mut c_void, usize, *mut hc::hc_info) -> hc::hc_status,
) -> (hc::hc_status, Copied<'a>) {
    let slab = call.state.slab.get();
    let mut info = no_info();
    let end = slab.data.wrapping_add(slab.used);
    let status = read(end.cast(), slab.len - slab.used, info.as_mut_ptr());
    let found = match status {
        // SAFETY: for HC_OK the library has filled the info and copied `len` bytes, which stay as
        // they are until the next call.
        hc::HC_OK => unsafe {
            let info = info.assume_init_ref();
            let bytes = std::slice::from_raw_parts(end, info.len);
            Copied { kind: info.r#type, len: info.len, bytes }
        },
        hc::HC_SMALL_BUFFER => {
            // SAFETY: for HC_SMALL_BUFFER too the library has filled the info.
            let info = unsafe { info.assume_init_ref() };
            Copied { kind: info.r#type, len: info.len, bytes: &[] }
        }
        _ => Copied { kind: 0, len: 0, bytes: &[] },
    };
    (status, found)
}

#[inline]
fn find<'a>(
    call: Call<'a>,
    store: *mut hc::hc_store,
    key: &[u8],
    flags: u32,
) -> (hc::hc_status, Copied<'a>) {
    into_slab(call, |to, room, info| {
        // SAFETY: the table holds a reference to the store; the slab has `room` bytes at its end,
        // which no Buffer shows yet.
        unsafe { hc::hc_get_info(store, key.as_ptr().cast(), key.len(), flags, to, room, info) }
    })
}

/// The value in the slab; `more` for bytes, which stay there.
#[inline]
pub fn found<'a>(call: Call<'a>, Copied { kind, bytes, .. }: Copied<'a>) -> Js<Value<'a>> {
    match values::to_value(call, kind, bytes)? {
        Some(value) => Ok(value),
        None => {
            leave(call, kind, bytes.len());
            call.more()
        }
    }
}

/// Says how large a place a value needs; one that is larger than a word says is asked for again.
fn tell_len(call: Call<'_>, len: usize) {
    call.state.tell(LEN, u32::try_from(len).unwrap_or(u32::MAX));
}

/// Leaves the bytes at the slab's end to JavaScript, and says where they are.
#[inline]
fn leave(call: Call<'_>, kind: u32, len: usize) {
    let mut slab = call.state.slab.get();
    call.state.tell(KIND, kind);
    call.state.tell(LEN, len as u32);
    call.state.tell(OFFSET, slab.take(len) as u32);
    call.state.tell(FULL, u32::from(slab.len - slab.used < SMALL));
    call.state.slab.set(slab);
}

#[inline]
fn get_with<'a>(call: Call<'a>, id: Value<'a>, key: Value<'a>, flags: u32) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    match find(call, store, key, flags) {
        (hc::HC_OK, value) => found(call, value),
        (hc::HC_NOT_FOUND, _) => call.undefined(),
        (hc::HC_SMALL_BUFFER, value) => large(call, store, key, value),
        (failed, _) => Err(call.failed(failed)),
    }
}

/// A value of any size. The look-up that found it too large was counted. Text is made here; for bytes,
/// JavaScript makes a place and has them copied there.
#[cold]
pub fn large<'a>(
    call: Call<'a>,
    store: *mut hc::hc_store,
    key: &[u8],
    found: Copied<'a>,
) -> Js<Value<'a>> {
    if found.kind == hc::HC_TYPE_STRING
        && let Some((info, bytes)) = copied(call, store, key, hc::HC_PEEK)?
    {
        // It may have been written anew as something else; then it is looked up once more.
        if info.r#type == hc::HC_TYPE_STRING {
            return call.utf8(&bytes);
        }
    }
    call.state.tell(KIND, LARGE);
    tell_len(call, found.len);
    call.more()
}

/// A value and what is said of it, copied to the heap; None if there is none.
pub fn copied(
    call: Call<'_>,
    store: *mut hc::hc_store,
    key: &[u8],
    flags: u32,
) -> Js<Option<(hc::hc_info, Vec<u8>)>> {
    copied_by(call, |buffer, capacity, info| {
        // SAFETY: the table holds a reference to the store; the buffer has `capacity` bytes.
        unsafe {
            hc::hc_get_info(store, key.as_ptr().cast(), key.len(), flags, buffer, capacity, info)
        }
    })
}

/// What a read gives that is told how much it may copy and says how much it needs.
fn copied_by(
    call: Call<'_>,
    mut read: impl FnMut(*mut c_void, usize, *mut hc::hc_info) -> hc::hc_status,
) -> Js<Option<(hc::hc_info, Vec<u8>)>> {
    let mut bytes: Vec<u8> = Vec::with_capacity(SMALL);
    loop {
        let mut info = no_info();
        match read(bytes.as_mut_ptr().cast(), bytes.capacity(), info.as_mut_ptr()) {
            hc::HC_OK => {
                // SAFETY: for HC_OK the library has filled the info and written `len` bytes.
                unsafe {
                    let info = info.assume_init();
                    bytes.set_len(info.len);
                    return Ok(Some((info, bytes)));
                }
            }
            hc::HC_NOT_FOUND => return Ok(None),
            hc::HC_SMALL_BUFFER => {
                // SAFETY: for HC_SMALL_BUFFER too the library has filled the info.
                bytes.reserve(unsafe { info.assume_init() }.len);
            }
            failed => return Err(call.failed(failed)),
        }
    }
}

/// `get(store, key)`: the value; `undefined` for a miss; `more` for bytes in the slab.
#[inline]
pub fn get<'a>(call: Call<'a>, [id, key]: [Value<'a>; 2]) -> Js<Value<'a>> {
    get_with(call, id, key, 0)
}

/// `get` that counts no hit.
pub fn peek<'a>(call: Call<'a>, [id, key]: [Value<'a>; 2]) -> Js<Value<'a>> {
    get_with(call, id, key, hc::HC_PEEK)
}

/// `getString(store, key)`: text; `undefined` for a miss.
#[inline]
pub fn get_string<'a>(call: Call<'a>, [id, key]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let mut value = [MaybeUninit::<u8>::uninit(); SMALL];
    let mut info = no_info();
    // SAFETY: the table holds a reference to the store; the value has SMALL bytes of room.
    let status = unsafe {
        let (key_data, to) = (key.as_ptr().cast(), value.as_mut_ptr().cast());
        hc::hc_get_info(store, key_data, key.len(), 0, to, SMALL, info.as_mut_ptr())
    };
    if ![hc::HC_OK, hc::HC_SMALL_BUFFER].contains(&status) {
        return if status == hc::HC_NOT_FOUND {
            call.undefined()
        } else {
            Err(call.failed(status))
        };
    }
    // SAFETY: for both statuses the library has filled the info.
    let (kind, len) = unsafe { (info.assume_init_ref().r#type, info.assume_init_ref().len) };
    if ![hc::HC_TYPE_STRING, hc::HC_TYPE_BYTES, hc::HC_TYPE_JSON].contains(&kind) {
        let message = "the value is neither text, JSON nor bytes; read it with get";
        return Err(call.throw(crate::js::Kind::Type, "HC_WRONG_TYPE", message));
    }
    if status == hc::HC_OK {
        // SAFETY: for HC_OK the library has written `len` bytes.
        return call.utf8(unsafe { std::slice::from_raw_parts(value.as_ptr().cast(), len) });
    }
    match copied(call, store, key, hc::HC_PEEK)? {
        Some((_, bytes)) => call.utf8(&bytes),
        None => call.undefined(),
    }
}

/// `getBuffer(store, key)`: true for bytes in the slab; `undefined` for a miss; false for a large
/// value, whose length is in the words.
#[inline]
pub fn get_buffer<'a>(call: Call<'a>, [id, key]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let slab = call.state.slab.get();
    let mut len = 0;
    // SAFETY: the table holds a reference to the store; the slab has so many bytes at its end, which
    // no Buffer shows yet.
    let status = unsafe {
        let to = slab.data.wrapping_add(slab.used).cast();
        let data = key.as_ptr().cast();
        hc::hc_get(store, data, key.len(), to, slab.len - slab.used, &raw mut len)
    };
    match status {
        hc::HC_OK => {
            leave(call, hc::HC_TYPE_BYTES, len);
            call.boolean(true)
        }
        hc::HC_NOT_FOUND => call.undefined(),
        hc::HC_SMALL_BUFFER => {
            tell_len(call, len);
            call.boolean(false)
        }
        failed => Err(call.failed(failed)),
    }
}

/// `load(store, key, target)`: copies a value into the target if it fits, and gives its length, also
/// if it does not, with its type in the words; `undefined` for a miss. Counts no hit.
pub fn load<'a>(call: Call<'a>, [id, key, target]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let target = call.bytes(target).ok_or(Thrown)?;
    let mut info = no_info();
    // SAFETY: the table holds a reference to the store; the target has as many bytes as it says.
    let status = unsafe {
        let (data, to) = (key.as_ptr().cast(), target.as_mut_ptr().cast());
        let info = info.as_mut_ptr();
        hc::hc_get_info(store, data, key.len(), hc::HC_PEEK, to, target.len(), info)
    };
    match status {
        hc::HC_OK | hc::HC_SMALL_BUFFER => {
            // SAFETY: for both statuses the library has filled the info.
            let info = unsafe { info.assume_init_ref() };
            call.state.tell(KIND, info.r#type);
            call.number(info.len as f64)
        }
        hc::HC_NOT_FOUND => call.undefined(),
        failed => Err(call.failed(failed)),
    }
}

/// `getInto(store, key, target, offset)`: the length; `undefined` for a miss.
#[inline]
pub fn get_into<'a>(call: Call<'a>, [id, key, target, offset]: [Value<'a>; 4]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let Some(room) = call.bytes(target) else {
        return Err(call.refused("target", target, "a Uint8Array"));
    };
    let allowed = || format!("an integer from 0 to the target's {}", room.len());
    let Some(at) = call.f64(offset) else {
        return Err(call.refused("offset", offset, &allowed()));
    };
    if !(at >= 0.0 && at <= room.len() as f64 && at.fract() == 0.0) {
        return Err(call.outside("offset", offset, &allowed()));
    }
    let (target, offset) = (room, at as usize);
    let mut len = 0;
    // SAFETY: the table holds a reference to the store; the target has `len - offset` bytes at
    // the offset.
    let status = unsafe {
        hc::hc_get(
            store,
            key.as_ptr().cast(),
            key.len(),
            target.as_mut_ptr().wrapping_add(offset).cast(),
            target.len() - offset,
            &raw mut len,
        )
    };
    match status {
        hc::HC_OK => match i32::try_from(len) {
            Ok(len) => call.int(len),
            Err(_) => call.number(len as f64),
        },
        hc::HC_NOT_FOUND => call.undefined(),
        hc::HC_SMALL_BUFFER => Err(too_small(call, len, target.len() - offset)),
        failed => Err(call.failed(failed)),
    }
}

#[cold]
fn too_small(call: Call<'_>, needed: usize, room: usize) -> Thrown {
    call.throw(
        crate::js::Kind::Range,
        "HC_SMALL_BUFFER",
        &format!("value takes {needed} bytes, and the target has {room} from the offset"),
    )
}

type Question = unsafe extern "C" fn(*mut hc::hc_store, *const c_void, usize) -> hc::hc_status;

#[inline]
fn asked<'a>(call: Call<'a>, [id, key]: [Value<'a>; 2], question: Question) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    // SAFETY: the table holds a reference to the store.
    match unsafe { question(store, key.as_ptr().cast(), key.len()) } {
        hc::HC_OK => call.boolean(true),
        hc::HC_NOT_FOUND => call.boolean(false),
        failed => Err(call.failed(failed)),
    }
}

/// `has(store, key)`.
#[inline]
pub fn has<'a>(call: Call<'a>, arguments: [Value<'a>; 2]) -> Js<Value<'a>> {
    asked(call, arguments, hc::hc_contains)
}

/// `mayExist(store, key)`: false where the key is certainly neither here nor in the source.
pub fn may_exist<'a>(call: Call<'a>, arguments: [Value<'a>; 2]) -> Js<Value<'a>> {
    asked(call, arguments, hc::hc_may_exist)
}

/// `entry(store, key, mode)`: a value with what is said of it, as an array; `undefined` for a miss.
/// The mode is 0 to read, 1 to read without counting a hit; `raw` leaves bytes bytes.
pub fn entry<'a>(call: Call<'a>, [id, key, mode, raw]: [Value<'a>; 4]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let flags = if call.i32(mode) == 1 { hc::HC_PEEK } else { 0 };
    let Some((info, bytes)) = copied(call, store, key, flags)? else { return call.undefined() };
    let raw = call.bool(raw);
    let simple = if raw { None } else { values::to_value(call, info.r#type, &bytes)? };
    let (value, decoded) = match simple {
        Some(value) => (value, true),
        None => (call.buffer(&bytes)?, raw),
    };
    let fields = [
        value,
        call.boolean(decoded)?,
        call.int(info.r#type as i32)?,
        call.number(f64::from(info.flags))?,
        values::count(call, info.session)?,
        time_left(call, info.ttl_ms)?,
        call.bigint_unsigned(info.version)?,
        call.number(info.len as f64)?,
    ];
    call.call(call.referenced(call.state.collect.get())?, &fields)
}

fn time_left(call: Call<'_>, ttl_ms: u64) -> Js<Value<'_>> {
    call.number(if ttl_ms == hc::HC_TTL_NEVER { f64::INFINITY } else { ttl_ms as f64 })
}

/// `remainingTtl(store, key)`: milliseconds, infinite for one that does not expire; `undefined` for
/// a miss.
pub fn remaining_ttl<'a>(call: Call<'a>, [id, key]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let mut info = no_info();
    // SAFETY: the table holds a reference to the store; a capacity of 0 needs no buffer.
    let status = unsafe {
        let key_data = key.as_ptr().cast();
        let nowhere = std::ptr::null_mut();
        hc::hc_get_info(store, key_data, key.len(), hc::HC_PEEK, nowhere, 0, info.as_mut_ptr())
    };
    match status {
        // SAFETY: for both statuses the library has filled the info.
        hc::HC_OK | hc::HC_SMALL_BUFFER => time_left(call, unsafe { info.assume_init() }.ttl_ms),
        hc::HC_NOT_FOUND => call.undefined(),
        failed => Err(call.failed(failed)),
    }
}
