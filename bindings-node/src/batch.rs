//! Many keys in one call.
//!
//! Each call of Node costs some ten nanoseconds and each string that it reads or makes some forty, so there is
//! one of each a batch where that can be: keys that are strings come joined, with their ends in the words;
//! short texts go back joined, for JavaScript to cut apart, and all that is said of a value goes through the
//! words. Keys of other kinds come as arguments, which is cheaper than reading elements of an array.

use std::mem::MaybeUninit;
use std::ptr;

use hypercache_sys as hc;

use crate::js::{Call, Js, Thrown, Value};
use crate::keys::KeyBuffer;
use crate::read::{FULL, SMALL, store};
use crate::sized;
use crate::values::{self, Plain, ValueBuffer};
use crate::write::{ENCODE, outcome, too_large, ttl};

/// The most keys of a call; JavaScript cuts longer lists.
pub const MOST: usize = 64;

/// The most bytes of keys that are joined by JavaScript, and of values that it cuts apart: as for
/// Buffers from the slab, a string that is kept keeps those that were made with it.
pub const TEXT_KEYS: usize = 4_096;
const TEXT_VALUES: usize = 8_192;

/// Words for JavaScript: whether values are left that it has to decode or to read on their own, and
/// for each value what it is (or, for short text, its length in what is returned), where its bytes are,
/// how many, of which type; and numbers, in two words each.
const REST: usize = 0;
/// Where the words begin that say what each value is, or where each joined key ends.
pub const CODES: usize = 8;
const OFFSETS: usize = CODES + MOST;
const LENGTHS: usize = OFFSETS + MOST;
const KINDS: usize = LENGTHS + MOST;
/// Where the words of numbers begin.
pub const NUMBERS: usize = KINDS + MOST;
/// How many words these are.
pub const WORDS: usize = NUMBERS + 2 * MOST;

/// What a value is; a lesser number is a length.
const MISS: u32 = 1 << 16;
/// A number, in the words for these.
pub const NUMBER: u32 = MISS + 1;
const BIGINT: u32 = MISS + 2;
const FALSE: u32 = MISS + 3;
const TRUE: u32 = MISS + 4;
const NULL: u32 = MISS + 5;
/// Bytes in the slab.
const BYTES: u32 = MISS + 6;
/// Text in the scratch memory.
const TEXT: u32 = MISS + 7;
/// Bytes to be decoded, or copied, from the slab and from the scratch memory.
const ENCODED_IN_SLAB: u32 = MISS + 8;
const ENCODED: u32 = MISS + 9;
/// Too large for the scratch memory.
const ALONE: u32 = MISS + 10;

const NOTHING: hc::hc_slice = hc::hc_slice { data: ptr::null(), len: 0 };

/// Keys of a batch, one after another in memory of their own.
pub struct Keys {
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

    /// Reads keys of any kind, [`MOST`] at most.
    pub fn read<'a>(call: Call<'a>, keys: &[Value<'a>]) -> Js<Self> {
        let mut all = Self::new();
        let mut buffer = KeyBuffer::new();
        for key in keys.iter().take(MOST) {
            all.push(call, &mut buffer, *key)?;
        }
        Ok(all)
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The keys, and nothing behind them.
    pub fn slices(&self) -> [hc::hc_slice; MOST] {
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

/// Texts that JavaScript has joined, as bytes.
pub struct Joined<const N: usize> {
    units: [MaybeUninit<u16>; N],
    bytes: [MaybeUninit<u8>; N],
}

/// The single ones of joined texts.
pub struct Parts {
    slices: [hc::hc_slice; MOST],
    count: usize,
}

impl Parts {
    /// All of them.
    pub fn slices(&self) -> &[hc::hc_slice] {
        &self.slices[..self.count]
    }
}

impl<const N: usize> Joined<N> {
    /// A buffer without texts.
    pub const fn new() -> Self {
        Self { units: [MaybeUninit::uninit(); N], bytes: [MaybeUninit::uninit(); N] }
    }

    /// Reads them; the words from `ends` on say where each one ends. The slices show this buffer. None:
    /// they are not ASCII, or longer than the buffer.
    ///
    /// # Errors
    /// A pending exception if it is no string.
    #[inline]
    pub fn read(
        &mut self,
        call: Call<'_>,
        text: Value<'_>,
        ends: usize,
        count: i32,
    ) -> Js<Option<Parts>> {
        let len = call.utf16(text, &mut self.units).ok_or(Thrown)?;
        if len + 1 == N {
            return Ok(None);
        }
        // SAFETY: Node has written the first `len` units.
        let units = unsafe { std::slice::from_raw_parts(self.units.as_ptr().cast(), len) };
        if !values::narrow(units, &mut self.bytes[..len]) {
            return Ok(None);
        }
        // SAFETY: `narrow` has written all of them.
        let bytes: &[u8] = unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast(), len) };
        let mut parts = Parts { slices: [NOTHING; MOST], count: (count as usize).min(MOST) };
        let mut start = 0;
        for (index, slice) in parts.slices.iter_mut().enumerate().take(parts.count) {
            let end = call.state.told(ends + index) as usize;
            let Some(part) = bytes.get(start..end) else { return Ok(None) };
            *slice = hc::hc_slice { data: part.as_ptr().cast(), len: part.len() };
            start = end;
        }
        Ok(Some(parts))
    }
}

/// `getManyText(store, text, count)`: the values of keys that are strings, joined in `text`; the words
/// say where each one ends. `undefined`: a key is not ASCII, or there is too much of them for this way.
pub fn get_many_text<'a>(call: Call<'a>, [id, text, count]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let mut joined = Joined::<TEXT_KEYS>::new();
    match joined.read(call, text, CODES, call.i32(count))? {
        Some(keys) => values_of(call, id, keys.slices()),
        None => call.undefined(),
    }
}

/// `getMany(store, ...keys)`: the values of keys of any kind.
pub fn get_many<'a>(call: Call<'a>, arguments: &[Value<'a>]) -> Js<Value<'a>> {
    let Some((id, keys)) = arguments.split_first() else { return call.undefined() };
    let keys = Keys::read(call, keys)?;
    values_of(call, *id, &keys.slices()[..keys.count])
}

/// Reads the keys and tells JavaScript in the words what came of each (see [`MISS`] and those below
/// it). Returns the short texts among the values, joined.
#[inline]
fn values_of<'a>(call: Call<'a>, id: Value<'a>, slices: &[hc::hc_slice]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    let scratch = call.state.scratch.get();
    let mut found = [MaybeUninit::<hc::hc_slice>::uninit(); MOST];
    let mut kinds = [MaybeUninit::<u32>::uninit(); MOST];
    let mut statuses = [hc::HC_ERR_INTERNAL; MOST];
    // SAFETY: the table holds a reference to the store; all arrays have at least as many elements as
    // there are keys, and the scratch memory has `len` bytes, which nothing else uses during the call.
    unsafe {
        // The statuses say what came of each key.
        let _ = hc::hc_get_many(
            store,
            slices.as_ptr(),
            slices.len(),
            0,
            scratch.data.cast(),
            scratch.len,
            found.as_mut_ptr().cast(),
            kinds.as_mut_ptr().cast(),
            statuses.as_mut_ptr(),
        );
    }
    let mut text = [MaybeUninit::<u8>::uninit(); TEXT_VALUES];
    let mut written = 0;
    let mut slab = call.state.slab.get();
    call.state.tell(REST, 0);
    for index in 0..slices.len() {
        let code = match statuses[index] {
            hc::HC_OK => {
                // SAFETY: for HC_OK the library has written both, and the slice is `len` bytes of the
                // scratch memory.
                let (slice, kind, bytes) = unsafe {
                    let slice = found[index].assume_init();
                    let bytes = std::slice::from_raw_parts(slice.data.cast::<u8>(), slice.len);
                    (slice, kinds[index].assume_init(), bytes)
                };
                match values::plain(kind, bytes) {
                    Plain::Text if bytes.len() <= TEXT_VALUES - written && bytes.is_ascii() => {
                        // SAFETY: there is room for them, as was just asked, and the text is not the
                        // scratch memory.
                        unsafe {
                            let to = text.as_mut_ptr().add(written).cast::<u8>();
                            ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                        }
                        written += bytes.len();
                        bytes.len() as u32
                    }
                    Plain::Number(number) => {
                        call.state.tell_number(NUMBERS + 2 * index, number);
                        NUMBER
                    }
                    Plain::Bool(false) => FALSE,
                    Plain::Bool(true) => TRUE,
                    Plain::Null => NULL,
                    Plain::Integer(integer)
                        if integer.unsigned_abs() <= values::MAX_SAFE as u64 =>
                    {
                        call.state.tell_number(NUMBERS + 2 * index, integer as f64);
                        NUMBER
                    }
                    Plain::Integer(integer) => {
                        call.state.tell_number(NUMBERS + 2 * index, f64::from_bits(integer as u64));
                        BIGINT
                    }
                    plain => {
                        let text = matches!(plain, Plain::Text);
                        let to = slab.data.wrapping_add(slab.used);
                        let in_slab = !text && bytes.len() <= SMALL.min(slab.len - slab.used);
                        let at = if in_slab {
                            // SAFETY: there is room for them at the slab's end, which no Buffer shows
                            // yet and which is not the scratch memory.
                            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
                            slab.take(bytes.len())
                        } else {
                            slice.data.addr() - scratch.data.addr()
                        };
                        call.state.tell(OFFSETS + index, at as u32);
                        call.state.tell(LENGTHS + index, bytes.len() as u32);
                        call.state.tell(KINDS + index, kind);
                        match (text, in_slab && kind == hc::HC_TYPE_BYTES) {
                            (true, _) => TEXT,
                            (_, true) => BYTES,
                            (_, false) => {
                                call.state.tell(REST, 1);
                                if in_slab { ENCODED_IN_SLAB } else { ENCODED }
                            }
                        }
                    }
                }
            }
            hc::HC_NOT_FOUND => MISS,
            hc::HC_SMALL_BUFFER => {
                call.state.tell(REST, 1);
                ALONE
            }
            failed => return Err(call.failed(failed)),
        };
        call.state.tell(CODES + index, code);
    }
    call.state.slab.set(slab);
    call.state.tell(FULL, u32::from(slab.len - slab.used < SMALL));
    // SAFETY: the first `written` bytes are.
    call.utf8(unsafe { std::slice::from_raw_parts(text.as_ptr().cast(), written) })
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
        entries.push(entry(*key, value, *kind, ttl_ms));
    }
    put_all(call, store, &entries)
}

/// `setManyText(store, keys, values, count, ttl)`: the same for keys and values that are strings, each
/// joined. `undefined`: some are not ASCII, or there is too much of them for this way.
pub fn set_many_text<'a>(
    call: Call<'a>,
    [id, keys, values, count, ttl_value]: [Value<'a>; 5],
) -> Js<Value<'a>> {
    let ttl_ms = ttl(call, ttl_value)?.unwrap_or(hc::HC_TTL_DEFAULT);
    let (mut keys_joined, mut values_joined) =
        (Joined::<TEXT_KEYS>::new(), Joined::<TEXT_VALUES>::new());
    let count = call.i32(count);
    let Some(keys) = keys_joined.read(call, keys, CODES, count)? else { return call.undefined() };
    let Some(values) = values_joined.read(call, values, OFFSETS, count)? else {
        return call.undefined();
    };
    let store = store(call, id)?;
    let mut entries = [entry(NOTHING, NOTHING, 0, 0); MOST];
    for ((to, key), value) in entries.iter_mut().zip(keys.slices()).zip(values.slices()) {
        *to = entry(*key, *value, hc::HC_TYPE_STRING, ttl_ms);
    }
    put_all(call, store, &entries[..keys.count])
}

const fn entry(key: hc::hc_slice, value: hc::hc_slice, kind: u32, ttl_ms: u64) -> hc::hc_entry {
    hc::hc_entry {
        key,
        value,
        ttl_ms,
        expected_version: 0,
        session: 0,
        soft_ttl_ms: 0,
        idle_ttl_ms: 0,
        r#type: kind,
        flags: 0,
    }
}

/// Stores entries that point to what lives for the call.
fn put_all<'a>(
    call: Call<'a>,
    store: *mut hc::hc_store,
    entries: &[hc::hc_entry],
) -> Js<Value<'a>> {
    let options = sized!(hc::hc_put_options);
    let mut statuses = [0; MOST];
    // SAFETY: the table holds a reference to the store; the caller's entries point to what lives for
    // the call, and there are as many statuses.
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
    if let Some((entry, failed)) = entries.iter().zip(statuses).find(|(_, status)| **status < 0) {
        return Err(if *failed == hc::HC_ERR_TOO_LARGE {
            too_large(call, store, entry.value.len)
        } else {
            call.failed(*failed)
        });
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
