//! Values: JavaScript's as typed bytes, and back.
//!
//! What other languages can read has a type of its own: text, bytes, integers of 64 bits, floats,
//! booleans, null. A number that is a safe integer (and not -0, which integers have not) is an
//! integer; a bigint is one outside that range, so that what comes out has the type that went in.
//! Everything else JavaScript encodes itself, and says which type the bytes have.

use std::mem::MaybeUninit;

use hypercache_sys as hc;
use napi_sys::ValueType;

use crate::js::{Bytes, Call, Js, Thrown, Value};
use crate::keys::whole;

/// The largest integer that a number holds for certain.
pub const MAX_SAFE: i64 = 9_007_199_254_740_991;

/// The longest string, in UTF-16 units, that is read without asking for its length first.
const SHORT: usize = 1_023;

/// A value as bytes of a type.
pub struct Typed<'a> {
    /// `HC_TYPE_*`.
    pub kind: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Where the bytes of a value are put that are not those of a buffer.
pub struct ValueBuffer {
    units: [MaybeUninit<u16>; SHORT + 1],
    short: [MaybeUninit<u8>; SHORT + 1],
    word: [u8; 8],
    long: Vec<u8>,
}

impl ValueBuffer {
    /// A buffer without a value, made in place: as an expression the compiler would have it zeroed.
    #[inline(always)]
    pub fn new() -> Self {
        let mut buffer = MaybeUninit::<Self>::uninit();
        // SAFETY: the other fields are valid without having been written.
        unsafe {
            (&raw mut (*buffer.as_mut_ptr()).word).write([0; 8]);
            (&raw mut (*buffer.as_mut_ptr()).long).write(Vec::new());
            buffer.assume_init()
        }
    }

    /// The value's bytes, or None for one that JavaScript has to encode.
    #[inline]
    pub fn read<'a>(&'a mut self, call: Call<'a>, value: Value<'a>) -> Js<Option<Typed<'a>>> {
        let typed = |kind, bytes| Ok(Some(Typed { kind, bytes }));
        match call.type_of(value) {
            ValueType::napi_string => self.text(call, value),
            ValueType::napi_object => Ok(call
                .bytes(value)
                .map(|bytes| Typed { kind: hc::HC_TYPE_BYTES, bytes: Bytes::as_slice(bytes) })),
            ValueType::napi_number => {
                let number = call.f64(value).ok_or(Thrown)?;
                let negative_zero = number == 0.0 && number.is_sign_negative();
                match whole(number).filter(|_| !negative_zero) {
                    Some(integer) => {
                        self.word = integer.to_le_bytes();
                        typed(hc::HC_TYPE_INT64, &self.word)
                    }
                    None => {
                        self.word = number.to_le_bytes();
                        typed(hc::HC_TYPE_FLOAT64, &self.word)
                    }
                }
            }
            ValueType::napi_boolean => {
                typed(hc::HC_TYPE_BOOL, if call.bool(value) { &[1] } else { &[0] })
            }
            ValueType::napi_null => typed(hc::HC_TYPE_NULL, &[]),
            ValueType::napi_bigint => match call.bigint_i64(value) {
                Some(integer) if integer.unsigned_abs() > MAX_SAFE as u64 => {
                    self.word = integer.to_le_bytes();
                    typed(hc::HC_TYPE_INT64, &self.word)
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    #[inline]
    fn text<'a>(&'a mut self, call: Call<'a>, value: Value<'a>) -> Js<Option<Typed<'a>>> {
        let len = call.utf16(value, &mut self.units).ok_or(Thrown)?;
        if len < SHORT {
            // SAFETY: Node has written the first `len` units.
            let units = unsafe { std::slice::from_raw_parts(self.units.as_ptr().cast(), len) };
            if narrow(units, &mut self.short[..len]) {
                // SAFETY: `narrow` has written all of it.
                let bytes = unsafe { std::slice::from_raw_parts(self.short.as_ptr().cast(), len) };
                return Ok(Some(Typed { kind: hc::HC_TYPE_STRING, bytes }));
            }
        }
        self.long_text(call, value)
    }

    fn long_text<'a>(&'a mut self, call: Call<'a>, value: Value<'a>) -> Js<Option<Typed<'a>>> {
        let len = call.utf16_len(value).ok_or(Thrown)?;
        let mut units = vec![MaybeUninit::uninit(); len + 1];
        let len = call.utf16(value, &mut units).ok_or(Thrown)?;
        // SAFETY: Node has written the first `len` units.
        let units = unsafe { std::slice::from_raw_parts(units.as_ptr().cast::<u16>(), len) };
        self.long.clear();
        self.long.reserve(len);
        if narrow(units, &mut self.long.spare_capacity_mut()[..len]) {
            // SAFETY: `narrow` has written the first `len` bytes, for which there is room.
            unsafe { self.long.set_len(len) };
        } else {
            for letter in char::decode_utf16(units.iter().copied()) {
                // Not Unicode: only JavaScript's own encoding keeps it as it is.
                let Ok(letter) = letter else { return Ok(None) };
                self.long.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        Ok(Some(Typed { kind: hc::HC_TYPE_STRING, bytes: &self.long }))
    }
}

/// Writes the units as bytes; whether all of them are ASCII.
#[inline]
pub fn narrow(units: &[u16], bytes: &mut [MaybeUninit<u8>]) -> bool {
    let mut seen = 0;
    for (unit, byte) in units.iter().zip(bytes) {
        seen |= unit;
        byte.write(*unit as u8);
    }
    seen < 0x80
}

/// An integer: a number where it is safe, else a bigint.
#[inline]
pub fn integer(call: Call<'_>, value: i64) -> Js<Value<'_>> {
    match i32::try_from(value) {
        Ok(small) => call.int(small),
        Err(_) if value.unsigned_abs() <= MAX_SAFE as u64 => call.number(value as f64),
        Err(_) => call.bigint(value),
    }
}

/// A count: a number, or a bigint beyond what numbers hold.
pub fn count(call: Call<'_>, value: u64) -> Js<Value<'_>> {
    match i64::try_from(value) {
        Ok(value) => integer(call, value),
        Err(_) => call.bigint_unsigned(value),
    }
}

/// What bytes of a type stand for.
pub enum Plain {
    /// Text.
    Text,
    /// An integer: a number where it is safe, else a bigint.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A boolean.
    Bool(bool),
    /// Null.
    Null,
    /// Bytes, or what JavaScript has to decode from them.
    Bytes,
}

/// What bytes of a type stand for.
#[inline]
pub fn plain(kind: u32, bytes: &[u8]) -> Plain {
    match (kind, bytes) {
        (hc::HC_TYPE_STRING, _) => Plain::Text,
        (hc::HC_TYPE_INT64, &[a, b, c, d, e, f, g, h]) => {
            Plain::Integer(i64::from_le_bytes([a, b, c, d, e, f, g, h]))
        }
        (hc::HC_TYPE_FLOAT64, &[a, b, c, d, e, f, g, h]) => {
            Plain::Number(f64::from_le_bytes([a, b, c, d, e, f, g, h]))
        }
        (hc::HC_TYPE_BOOL, &[flag]) => Plain::Bool(flag != 0),
        (hc::HC_TYPE_NULL, []) => Plain::Null,
        _ => Plain::Bytes,
    }
}

/// The value of bytes that need no decoding by JavaScript; None for those that do.
#[inline]
pub fn to_value<'a>(call: Call<'a>, kind: u32, bytes: &[u8]) -> Js<Option<Value<'a>>> {
    let value = match plain(kind, bytes) {
        Plain::Text => call.utf8(bytes)?,
        Plain::Integer(value) => integer(call, value)?,
        Plain::Number(number) => call.number(number)?,
        Plain::Bool(flag) => call.boolean(flag)?,
        Plain::Null => call.null()?,
        Plain::Bytes => return Ok(None),
    };
    Ok(Some(value))
}
