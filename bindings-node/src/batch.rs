//! Many keys in one call.
//!
//! Keys come as arguments and values go back as arguments of a function that makes an array of them:
//! both cost a few nanoseconds a value, where reading and setting elements of an array costs tens.

use std::mem::MaybeUninit;
use std::ptr;

use hypercache_sys as hc;

use crate::js::{Call, Js, Value};
use crate::keys::KeyBuffer;
use crate::read::{LARGE, store};
use crate::sized;
use crate::values::{self, ValueBuffer};
use crate::write::{ENCODE, outcome, ttl};

/// The most keys of a call; JavaScript cuts longer lists.
pub const MOST: usize = 64;

/// Where the words of a batch's values begin: type, offset and length of each.
const WORDS: usize = 8;

const NOTHING: hc::hc_slice = hc::hc_slice { data: ptr::null(), len: 0 };

/// Keys of a batch, one after another in memory of their own.
struct Keys {
    bytes: Vec<u8>,
    ends: [u32; MOST],
    count: usize,
}

impl Keys {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(4_096), ends: [0; MOST], count: 0 }
    }

    #[inline]
    fn push(&mut self, call: Call<'_>, buffer: &mut KeyBuffer, key: Value<'_>) -> Js<()> {
        buffer.append(call, key, &mut self.bytes)?;
        if let Some(end) = self.ends.get_mut(self.count) {
            *end = self.bytes.len() as u32;
            self.count += 1;
        }
        Ok(())
    }

    fn read<'a>(call: Call<'a>, keys: &[Value<'a>]) -> Js<Self> {
        let mut all = Self::new();
        let mut buffer = KeyBuffer::new();
        for key in keys.iter().take(MOST) {
            all.push(call, &mut buffer, *key)?;
        }
        Ok(all)
    }

    fn slices(&self) -> [hc::hc_slice; MOST] {
        let mut slices = [NOTHING; MOST];
        let mut start = 0;
        for (slice, end) in slices.iter_mut().zip(&self.ends[..self.count]) {
            let key = &self.bytes[start..*end as usize];
            *slice = hc::hc_slice { data: key.as_ptr().cast(), len: key.len() };
            start = *end as usize;
        }
        slices
    }
}

/// `getMany(store, ...keys)`: the values as an array; where it holds `more`, the words say where the
/// value's bytes are in the scratch memory, or that it has to be read on its own. The first word
/// counts these.
pub fn get_many<'a>(call: Call<'a>, arguments: &[Value<'a>]) -> Js<Value<'a>> {
    let Some((id, keys)) = arguments.split_first() else { return call.undefined() };
    let keys = Keys::read(call, keys)?;
    let store = store(call, *id)?;
    let slices = keys.slices();
    let scratch = call.state.scratch.get();
    let mut found = [MaybeUninit::<hc::hc_slice>::uninit(); MOST];
    let mut kinds = [MaybeUninit::<u32>::uninit(); MOST];
    let mut statuses = [hc::HC_ERR_INTERNAL; MOST];
    // SAFETY: the table holds a reference to the store; all arrays have at least `count` elements,
    // and the scratch memory has `len` bytes, which nothing else uses during the call.
    unsafe {
        // The statuses say what came of each key.
        let _ = hc::hc_get_many(
            store,
            slices.as_ptr(),
            keys.count,
            0,
            scratch.data.cast(),
            scratch.len,
            found.as_mut_ptr().cast(),
            kinds.as_mut_ptr().cast(),
            statuses.as_mut_ptr(),
        );
    }
    let undefined = call.undefined()?;
    let more = call.more()?;
    let mut values = [undefined; MOST];
    let mut left = 0;
    for index in 0..keys.count {
        values[index] = match statuses[index] {
            hc::HC_OK => {
                // SAFETY: for HC_OK the library has written both, and the slice is `len` bytes of the
                // scratch memory.
                let (slice, kind, bytes) = unsafe {
                    let slice = found[index].assume_init();
                    let bytes = std::slice::from_raw_parts(slice.data.cast::<u8>(), slice.len);
                    (slice, kinds[index].assume_init(), bytes)
                };
                match values::to_value(call, kind, bytes)? {
                    Some(value) => value,
                    None => {
                        let offset = slice.data.addr() - scratch.data.addr();
                        place(call, index, kind, offset, slice.len);
                        left += 1;
                        more
                    }
                }
            }
            hc::HC_NOT_FOUND => undefined,
            hc::HC_SMALL_BUFFER => {
                place(call, index, LARGE, 0, 0);
                left += 1;
                more
            }
            failed => return Err(call.failed(failed)),
        };
    }
    call.state.tell(0, left);
    call.call(call.referenced(call.state.collect.get())?, &values[..keys.count])
}

#[inline]
fn place(call: Call<'_>, index: usize, kind: u32, offset: usize, len: usize) {
    let at = WORDS + 3 * index;
    call.state.tell(at, kind);
    call.state.tell(at + 1, offset as u32);
    call.state.tell(at + 2, len as u32);
}

/// A value of a batch: in a buffer of JavaScript's, or copied.
enum Part<'a> {
    Here(&'a [u8]),
    Copied(usize, usize),
}

/// `setMany(store, ttl, key, value, ...)`: 0 and the number of those that were stored in the first
/// word; or that JavaScript has to encode one of them, with nothing stored.
pub fn set_many<'a>(call: Call<'a>, arguments: &[Value<'a>]) -> Js<Value<'a>> {
    let [id, ttl_value, pairs @ ..] = arguments else { return call.undefined() };
    let ttl_ms = ttl(call, *ttl_value)?.unwrap_or(hc::HC_TTL_DEFAULT);
    let mut keys = Keys::new();
    let mut copies: Vec<u8> = Vec::with_capacity(4_096);
    let mut parts: Vec<(u32, Part<'_>)> = Vec::with_capacity(MOST);
    let mut key_buffer = KeyBuffer::new();
    let (pairs, _) = pairs.as_chunks::<2>();
    // All keys first: reading one may run JavaScript, which may free what a slice of a value shows.
    for [key, _] in pairs.iter().take(MOST) {
        keys.push(call, &mut key_buffer, *key)?;
    }
    let store = store(call, *id)?;
    for [_, value] in pairs.iter().take(MOST) {
        let part = match call.bytes(*value) {
            Some(bytes) => (hc::HC_TYPE_BYTES, Part::Here(bytes.as_slice())),
            None => {
                let mut buffer = ValueBuffer::new();
                let Some(typed) = buffer.read(call, *value)? else { return call.int(ENCODE) };
                let start = copies.len();
                copies.extend_from_slice(typed.bytes);
                (typed.kind, Part::Copied(start, copies.len()))
            }
        };
        parts.push(part);
    }
    let slices = keys.slices();
    let mut entries = Vec::with_capacity(MOST);
    for (key, (kind, part)) in slices.iter().zip(&parts) {
        let bytes = match part {
            Part::Here(bytes) => bytes,
            Part::Copied(start, end) => &copies[*start..*end],
        };
        let value = hc::hc_slice { data: bytes.as_ptr().cast(), len: bytes.len() };
        entries.push(hc::hc_entry {
            key: *key,
            value,
            ttl_ms,
            expected_version: 0,
            session: 0,
            soft_ttl_ms: 0,
            idle_ttl_ms: 0,
            r#type: *kind,
            flags: 0,
        });
    }
    let options = sized!(hc::hc_put_options);
    let mut statuses = [0; MOST];
    // SAFETY: the table holds a reference to the store; the entries point to keys, copies and
    // buffers that live for the call, and there are as many statuses.
    unsafe {
        // The statuses say what came of each entry.
        let _ = hc::hc_put_many(
            store,
            entries.as_ptr(),
            entries.len(),
            &raw const options,
            statuses.as_mut_ptr(),
        );
    }
    let statuses = &statuses[..entries.len()];
    if let Some(failed) = statuses.iter().find(|status| **status < 0) {
        return Err(call.failed(*failed));
    }
    let stored = statuses.iter().filter(|status| **status == hc::HC_OK).count();
    call.state.tell(0, stored as u32);
    call.int(0)
}

/// `deleteMany(store, ...keys)`: how many were there.
pub fn delete_many<'a>(call: Call<'a>, arguments: &[Value<'a>]) -> Js<Value<'a>> {
    let Some((id, keys)) = arguments.split_first() else { return call.undefined() };
    let keys = Keys::read(call, keys)?;
    let store = store(call, *id)?;
    let slices = keys.slices();
    let mut deleted = 0;
    // SAFETY: the table holds a reference to the store; `slices` has at least `count` elements.
    let status =
        unsafe { hc::hc_delete_many(store, slices.as_ptr(), keys.count, &raw mut deleted) };
    outcome(call, status)?;
    values::count(call, deleted)
}
