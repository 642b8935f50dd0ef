//! Keys: JavaScript values as the bytes of `hypercache_bindings::key`, and back.
//!
//! A string is read as UTF-16, which is what JavaScript has, and narrowed here: this costs no more
//! than having Node write UTF-8, and shows lone surrogates, which Node would silently replace.

use std::mem::MaybeUninit;

use hypercache_bindings::key::{self, Key, KeyError, MAX_LEN, TupleWriter};
use napi_sys::ValueType;

use crate::batch::{CODES, NUMBER, NUMBERS};
use crate::js::{Call, Js, Thrown, Value};

/// The longest string, in UTF-16 units, that is read without asking for its length first.
const SHORT: usize = 511;

/// The word that says how many parts an array has that comes joined.
const PARTS: usize = 7;

/// Units are narrowed so many at a time.
const LANES: usize = 16;

const WHAT_A_KEY_IS: &str =
    "a string, a Uint8Array, a safe integer, a bigint, an array of these, or a RawKey";

/// Where the bytes of a key are put.
pub struct KeyBuffer {
    units: [MaybeUninit<u16>; SHORT + 1 + LANES],
    short: [MaybeUninit<u8>; SHORT + 1],
    long: Vec<u8>,
}

impl KeyBuffer {
    /// A buffer without a key, made in place: as an expression the compiler would have it zeroed.
    #[inline(always)]
    pub fn new() -> Self {
        let mut buffer = MaybeUninit::<Self>::uninit();
        // SAFETY: the other fields are valid without having been written.
        unsafe {
            (&raw mut (*buffer.as_mut_ptr()).long).write(Vec::new());
            buffer.assume_init()
        }
    }

    /// Reads a key.
    ///
    /// # Errors
    /// A pending `TypeError` for what cannot be a key, a `RangeError` for one that is too long.
    #[inline]
    pub fn read(&mut self, call: Call<'_>, value: Value<'_>) -> Js<&[u8]> {
        match call.utf16(value, &mut self.units[..=SHORT]) {
            Some(len) if len < SHORT && narrow(&mut self.units, &mut self.short, len) => {
                // SAFETY: `narrow` has written the first `len` bytes.
                Ok(unsafe { std::slice::from_raw_parts(self.short.as_ptr().cast(), len) })
            }
            _ => self.read_any(call, value),
        }
    }

    /// Reads an array of which JavaScript has joined the parts, where all of them are short text and safe
    /// integers: the words say how many there are, and of each where its text ends, or that it is a
    /// number, which other words have. Reading elements of an array costs more than all of this.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_joined(&mut self, call: Call<'_>, value: Value<'_>) -> Js<&[u8]> {
        let len = call.utf16(value, &mut self.units[..=SHORT]).ok_or(Thrown)?;
        // SAFETY: Node has written the first `len` units.
        let units: &[u16] =
            unsafe { std::slice::from_raw_parts(self.units.as_ptr().cast(), len.min(SHORT)) };
        let out = &mut self.long;
        out.reserve(2 * SHORT);
        let tuple = TupleWriter::begin(out, 1).map_err(|error| refuse(call, error))?;
        let mut start = 0;
        for index in 0..call.state.told(PARTS) as usize {
            let mark = tuple.part(out);
            match call.state.told(CODES + index) {
                NUMBER => {
                    let number = whole(call.state.told_number(NUMBERS + 2 * index));
                    out.extend_from_slice(&key::int(number.ok_or(Thrown)?));
                }
                end => {
                    let text = units.get(start..end as usize).ok_or(Thrown)?;
                    push_units(call, out, text)?;
                    start = end as usize;
                }
            }
            tuple.end_part(out, &mark).map_err(|error| refuse(call, error))?;
        }
        Ok(&self.long)
    }

    /// Appends a key to others.
    ///
    /// # Errors
    /// As [`Self::read`].
    #[inline]
    pub fn append(&mut self, call: Call<'_>, value: Value<'_>, out: &mut Vec<u8>) -> Js<()> {
        out.reserve(SHORT + 1);
        if let Some(len) = call.utf16(value, &mut self.units[..=SHORT])
            && len < SHORT
            && let Some(room) = out.spare_capacity_mut().first_chunk_mut()
            && narrow(&mut self.units, room, len)
        {
            // SAFETY: `narrow` has written `len` bytes behind those that are there.
            unsafe { out.set_len(out.len() + len) };
            return Ok(());
        }
        out.extend_from_slice(self.read_any(call, value)?);
        Ok(())
    }

    #[cold]
    fn read_any(&mut self, call: Call<'_>, value: Value<'_>) -> Js<&[u8]> {
        self.long.clear();
        push(call, &mut self.long, value, 1)?;
        if call.type_of(value) == ValueType::napi_object && call.bytes(value).is_none() {
            check_slab(call)?;
        }
        if self.long.len() > MAX_LEN {
            return Err(refuse(call, KeyError::TooLong(self.long.len())));
        }
        Ok(&self.long)
    }
}

/// Narrows the first `len` units, which were written, to bytes; whether they are ASCII.
#[inline]
fn narrow(
    units: &mut [MaybeUninit<u16>; SHORT + 1 + LANES],
    bytes: &mut [MaybeUninit<u8>; SHORT + 1],
    len: usize,
) -> bool {
    // What lies behind the string counts as zeros, so that whole chunks can be narrowed.
    if let Some(behind) = units.get_mut(len..).and_then(<[_]>::first_chunk_mut::<LANES>) {
        *behind = [MaybeUninit::new(0); LANES];
    }
    let rounded = len.next_multiple_of(LANES).min(SHORT + 1);
    let (units, _) = units[..rounded].as_chunks::<LANES>();
    let (bytes, _) = bytes[..rounded].as_chunks_mut::<LANES>();
    let mut seen = 0;
    for (units, bytes) in units.iter().zip(bytes) {
        for (unit, byte) in units.iter().zip(bytes) {
            // SAFETY: Node wrote the units up to `len`, and those up to the multiple are written
            // above.
            let unit = unsafe { unit.assume_init() };
            seen |= unit;
            byte.write(unit as u8);
        }
    }
    seen < 0x80
}

/// Sees to it that the slab is there: reading the parts of an object may have run JavaScript, which
/// can take its memory away.
fn check_slab(call: Call<'_>) -> Js<()> {
    let slab = call.referenced(call.state.slab_array.get())?;
    if call.bytes(slab).is_none_or(|bytes| bytes.len() == 0) {
        call.call(call.referenced(call.state.check_slab.get())?, &[])?;
    }
    Ok(())
}

#[cold]
fn refuse(call: Call<'_>, error: KeyError) -> Thrown {
    match error {
        KeyError::TooLong(_) | KeyError::TooDeep => call.out_of_range(&error.to_string()),
        KeyError::NotBig | KeyError::RawInTuple => call.wrong_type(&error.to_string()),
    }
}

/// Appends the bytes of a key. `depth` is 1 for the key itself, more for parts of tuples.
fn push(call: Call<'_>, out: &mut Vec<u8>, value: Value<'_>, depth: usize) -> Js<()> {
    match call.type_of(value) {
        ValueType::napi_string => push_text(call, out, value),
        ValueType::napi_number => {
            let number = call.f64(value).unwrap_or(f64::NAN);
            match whole(number) {
                Some(integer) => out.extend_from_slice(&key::int(integer)),
                None => {
                    return Err(call.outside("key", value, "as a number, a safe integer"));
                }
            }
            Ok(())
        }
        ValueType::napi_bigint => {
            // Making the decimal takes time by the square of its length.
            let bits = 64 * call.bigint_words(value).ok_or(Thrown)?;
            if bits > 4 * MAX_LEN {
                return Err(refuse(call, KeyError::TooLong(bits / 10 * 3)));
            }
            let decimal = call.to_text(value)?;
            key::push_decimal(out, &decimal).map_err(|error| refuse(call, error))
        }
        ValueType::napi_object => push_object(call, out, value, depth),
        _ => Err(call.refused("key", value, WHAT_A_KEY_IS)),
    }
}

/// A number that is a safe integer, as an integer.
pub fn whole(number: f64) -> Option<i64> {
    const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
    (number.trunc() == number && number.abs() <= MAX_SAFE).then_some(number as i64)
}

fn push_text(call: Call<'_>, out: &mut Vec<u8>, value: Value<'_>) -> Js<()> {
    let len = call.utf16_len(value).ok_or(Thrown)?;
    if len > MAX_LEN {
        return Err(refuse(call, KeyError::TooLong(len)));
    }
    let mut units = vec![MaybeUninit::uninit(); len + 1];
    let len = call.utf16(value, &mut units).ok_or(Thrown)?;
    // SAFETY: Node has written the first `len` units.
    let units = unsafe { std::slice::from_raw_parts(units.as_ptr().cast::<u16>(), len) };
    push_units(call, out, units)
}

/// Appends text of UTF-16 units as UTF-8.
#[inline]
fn push_units(call: Call<'_>, out: &mut Vec<u8>, units: &[u16]) -> Js<()> {
    let start = out.len();
    out.extend(units.iter().map(|unit| *unit as u8));
    if units.iter().fold(0, |seen, unit| seen | unit) < 0x80 {
        return Ok(());
    }
    out.truncate(start);
    for letter in char::decode_utf16(units.iter().copied()) {
        let Ok(letter) = letter else {
            return Err(call.wrong_type(
                "the key has a lone surrogate: it is no Unicode text, so no other language could \
                 name it",
            ));
        };
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(())
}

fn push_object(call: Call<'_>, out: &mut Vec<u8>, value: Value<'_>, depth: usize) -> Js<()> {
    if let Some(bytes) = call.bytes(value) {
        if bytes.len() > MAX_LEN {
            return Err(refuse(call, KeyError::TooLong(bytes.len())));
        }
        key::push_bytes(out, bytes.as_slice());
        return Ok(());
    }
    if let Some(len) = call.array_len(value) {
        let tuple = TupleWriter::begin(out, depth).map_err(|error| refuse(call, error))?;
        for index in 0..len {
            let part = call.element(value, index)?;
            let mark = tuple.part(out);
            push(call, out, part, tuple.inner_depth())?;
            tuple.end_part(out, &mark).map_err(|error| refuse(call, error))?;
            if out.len() > MAX_LEN {
                return Err(refuse(call, KeyError::TooLong(out.len())));
            }
        }
        return Ok(());
    }
    let raw = call.referenced(call.state.raw_key.get())?;
    if call.is_instance(value, raw) {
        if depth > 1 {
            return Err(refuse(call, KeyError::RawInTuple));
        }
        let bytes = call.property(value, "bytes")?;
        if let Some(bytes) = call.bytes(bytes) {
            if bytes.len() > MAX_LEN {
                return Err(refuse(call, KeyError::TooLong(bytes.len())));
            }
            out.extend_from_slice(bytes.as_slice());
            return Ok(());
        }
    }
    Err(call.refused("key", value, WHAT_A_KEY_IS))
}

/// The JavaScript value that a key was put in as. Raw keys are given as the class that names them.
pub fn to_value<'a>(call: Call<'a>, bytes: &[u8]) -> Js<Value<'a>> {
    made(call, &key::decode(bytes))
}

fn made<'a>(call: Call<'a>, key: &Key<'_>) -> Js<Value<'a>> {
    match key {
        Key::Text(text) => call.text(text),
        Key::Bytes(bytes) => call.buffer(bytes),
        Key::Int(value) => crate::values::integer(call, *value),
        Key::Big(decimal) => call.bigint_decimal(decimal),
        Key::Raw(bytes) => {
            let class = call.referenced(call.state.raw_key.get())?;
            let bytes = call.buffer(bytes)?;
            call.instance(class, &[bytes])
        }
        Key::Tuple(parts) => {
            let array = call.array()?;
            for (index, part) in (0..).zip(parts) {
                call.set_element(array, index, made(call, part)?)?;
            }
            Ok(array)
        }
    }
}
