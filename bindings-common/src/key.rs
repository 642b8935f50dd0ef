//! Keys of other types than text, as bytes that every language reads alike.
//!
//! A text key is its UTF-8 bytes, so that `"user:7"` is one entry in C, Python and Node. UTF-8 never
//! contains 0xFF, so that byte begins the keys of other types, and a letter says which:
//!
//! | form | what follows |
//! |---|---|
//! | `FF 'b'` | bytes, as they are |
//! | `FF 'i'` | a 64-bit integer: 8 bytes, big-endian, sign bit flipped, so that order is kept |
//! | `FF 'I'` | an integer that needs more than 64 bits, in decimal |
//! | `FF 't'` | a tuple: each part encoded as a key of its own, behind its length (2 bytes, big-endian) |
//!
//! What C wrote under other bytes is a *raw* key. Each key has one encoding, and [`decode`] takes
//! nothing else for it: what is not exactly what an encoder writes is raw. So encoding what was
//! decoded always gives the same bytes back.

use std::fmt;

/// The longest key in bytes (`HC_KEY_LEN_MAX`).
pub const MAX_LEN: usize = 65_535;

/// How deep tuples may be nested: a tuple in a tuple has depth 2.
pub const MAX_DEPTH: usize = 32;

/// The byte that begins every key that is not text.
pub const MARK: u8 = 0xff;

const BYTES: u8 = b'b';
const INT: u8 = b'i';
const BIG: u8 = b'I';
const TUPLE: u8 = b't';

/// A key as the type that was put in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An integer of 64 bits.
    Int(i64),
    /// An integer that needs more, in decimal: digits without leading zeros, `-` before them if
    /// it is negative.
    Big(&'a str),
    /// Keys together; none of them is raw.
    Tuple(Vec<Key<'a>>),
    /// Bytes that none of the forms above encode to.
    Raw(&'a [u8]),
}

/// Why a key cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It would be longer than [`MAX_LEN`]; its length in bytes, as far as it was encoded.
    TooLong(usize),
    /// Tuples are nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// The text of a large integer is not one in canonical decimal, or it fits 64 bits.
    NotBig,
    /// A raw key stands in a tuple, where it could not be told from other keys.
    RawInTuple,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => {
                write!(f, "the key takes {len} bytes or more, and may take {MAX_LEN}")
            }
            Self::TooDeep => write!(f, "the key nests tuples deeper than {MAX_DEPTH}"),
            Self::NotBig => write!(f, "the key is not a decimal integer beyond 64 bits"),
            Self::RawInTuple => write!(f, "the key has a raw key as a part of a tuple"),
        }
    }
}

impl std::error::Error for KeyError {}

/// Appends a bytes key to `out`.
pub fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&[MARK, BYTES]);
    out.extend_from_slice(bytes);
}

/// An integer key.
#[must_use]
pub const fn int(value: i64) -> [u8; 10] {
    let ordered = (value as u64) ^ (1 << 63);
    let [a, b, c, d, e, f, g, h] = ordered.to_be_bytes();
    [MARK, INT, a, b, c, d, e, f, g, h]
}

/// Appends the key of an integer in canonical decimal: of 64 bits where it fits them.
///
/// # Errors
/// [`KeyError::NotBig`] for anything else than `-?[1-9][0-9]*` or `0`.
pub fn push_decimal(out: &mut Vec<u8>, decimal: &str) -> Result<(), KeyError> {
    if let Ok(value) = decimal.parse::<i64>() {
        if value.to_string() != decimal {
            return Err(KeyError::NotBig);
        }
        out.extend_from_slice(&int(value));
        return Ok(());
    }
    if !is_big(decimal) {
        return Err(KeyError::NotBig);
    }
    out.extend_from_slice(&[MARK, BIG]);
    out.extend_from_slice(decimal.as_bytes());
    Ok(())
}

/// Whether it is canonical decimal beyond 64 bits.
fn is_big(decimal: &str) -> bool {
    let digits = decimal.strip_prefix('-').unwrap_or(decimal);
    !digits.is_empty()
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && decimal.parse::<i64>().is_err()
}

/// A tuple being appended part by part, for languages that walk their own objects.
///
/// Each part is written between [`part`](Self::part) and [`end_part`](Self::end_part).
#[derive(Debug)]
pub struct TupleWriter {
    depth: usize,
}

/// The place of a part's length, to be filled when the part ends.
#[derive(Debug)]
pub struct PartMark(usize);

impl TupleWriter {
    /// Begins a tuple at `depth`, which is 1 for one that is itself the key.
    ///
    /// # Errors
    /// [`KeyError::TooDeep`] beyond [`MAX_DEPTH`].
    pub fn begin(out: &mut Vec<u8>, depth: usize) -> Result<Self, KeyError> {
        if depth > MAX_DEPTH {
            return Err(KeyError::TooDeep);
        }
        out.extend_from_slice(&[MARK, TUPLE]);
        Ok(Self { depth })
    }

    /// The depth that a tuple among the parts has.
    #[must_use]
    pub const fn inner_depth(&self) -> usize {
        self.depth + 1
    }

    /// Begins a part: what is appended to `out` until it ends is its encoding.
    #[must_use = "the part must be ended"]
    pub fn part(&self, out: &mut Vec<u8>) -> PartMark {
        out.extend_from_slice(&[0, 0]);
        PartMark(out.len())
    }

    /// Ends a part.
    ///
    /// # Errors
    /// [`KeyError::TooLong`] if it is longer than any key.
    pub fn end_part(&self, out: &mut [u8], part: &PartMark) -> Result<(), KeyError> {
        let len = out.len() - part.0;
        let Ok(short) = u16::try_from(len) else { return Err(KeyError::TooLong(out.len())) };
        out[part.0 - 2..part.0].copy_from_slice(&short.to_be_bytes());
        Ok(())
    }
}

/// Appends a key of any form to `out`.
///
/// # Errors
/// Each of [`KeyError`]; `out` then ends with part of the key.
pub fn encode(out: &mut Vec<u8>, key: &Key<'_>) -> Result<(), KeyError> {
    let start = out.len();
    encode_at(out, key, 1)?;
    let len = out.len() - start;
    if len > MAX_LEN { Err(KeyError::TooLong(len)) } else { Ok(()) }
}

fn encode_at(out: &mut Vec<u8>, key: &Key<'_>, depth: usize) -> Result<(), KeyError> {
    match key {
        Key::Text(text) => out.extend_from_slice(text.as_bytes()),
        Key::Bytes(bytes) => push_bytes(out, bytes),
        Key::Int(value) => out.extend_from_slice(&int(*value)),
        Key::Big(decimal) if is_big(decimal) => push_decimal(out, decimal)?,
        Key::Big(_) => return Err(KeyError::NotBig),
        Key::Raw(_) if depth > 1 => return Err(KeyError::RawInTuple),
        Key::Raw(bytes) => out.extend_from_slice(bytes),
        Key::Tuple(parts) => {
            let tuple = TupleWriter::begin(out, depth)?;
            for part in parts {
                let mark = tuple.part(out);
                encode_at(out, part, tuple.inner_depth())?;
                tuple.end_part(out, &mark)?;
            }
        }
    }
    Ok(())
}

/// What the bytes of a key were put in as.
#[must_use]
pub fn decode(bytes: &[u8]) -> Key<'_> {
    decode_at(bytes, 1).unwrap_or(Key::Raw(bytes))
}

fn decode_at(bytes: &[u8], depth: usize) -> Option<Key<'_>> {
    let [MARK, form, rest @ ..] = bytes else {
        return std::str::from_utf8(bytes).ok().map(Key::Text);
    };
    match *form {
        BYTES => Some(Key::Bytes(rest)),
        INT => {
            let ordered = u64::from_be_bytes(rest.try_into().ok()?);
            Some(Key::Int((ordered ^ (1 << 63)).cast_signed()))
        }
        BIG => std::str::from_utf8(rest).ok().filter(|text| is_big(text)).map(Key::Big),
        TUPLE if depth <= MAX_DEPTH => {
            let mut parts = Vec::new();
            let mut left = rest;
            while !left.is_empty() {
                let (len, after) = left.split_first_chunk::<2>()?;
                let (part, after) =
                    after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
                parts.push(decode_at(part, depth + 1)?);
                left = after;
            }
            Some(Key::Tuple(parts))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, KeyError, MAX_DEPTH, MAX_LEN, decode, encode, int, push_decimal};
    use proptest::prelude::*;

    fn encoded(key: &Key<'_>) -> Result<Vec<u8>, KeyError> {
        let mut out = Vec::new();
        encode(&mut out, key).map(|()| out)
    }

    #[test]
    fn forms_are_as_documented() {
        let tuple = Key::Tuple(vec![Key::Text("a"), Key::Int(-1), Key::Tuple(Vec::new())]);
        let cases: [(Key<'_>, &[u8]); 8] = [
            (Key::Text("user:7"), b"user:7"),
            (Key::Text(""), b""),
            (Key::Bytes(b"\0x"), b"\xffb\0x"),
            (Key::Int(7), b"\xffi\x80\0\0\0\0\0\0\x07"),
            (Key::Int(i64::MIN), b"\xffi\0\0\0\0\0\0\0\0"),
            (Key::Big("-9223372036854775809"), b"\xffI-9223372036854775809"),
            (tuple, b"\xfft\0\x01a\0\x0a\xffi\x7f\xff\xff\xff\xff\xff\xff\xff\0\x02\xfft"),
            (Key::Raw(b"\x80"), b"\x80"),
        ];
        for (key, bytes) in cases {
            assert_eq!(encoded(&key).unwrap(), bytes, "{key:?}");
            assert_eq!(decode(bytes), key);
        }
    }

    #[test]
    fn other_spellings_are_raw() {
        let cases: [&[u8]; 12] = [
            b"\xff",
            b"\xffx",
            b"\xffi1234567",
            b"\xffi123456789",
            b"\xffI7",
            b"\xffI-0",
            b"\xffI09223372036854775808",
            b"\xffI+9223372036854775808",
            b"\xfft\0",
            b"\xfft\0\x05abc",
            b"\xfft\0\x01\x80",
            b"\xed\xa0\x80",
        ];
        for bytes in cases {
            assert_eq!(decode(bytes), Key::Raw(bytes));
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        for text in ["", "-", "+1", "01", "-0", "1e3", "12345678901234567890x", " 1"] {
            assert_eq!(push_decimal(&mut Vec::new(), text), Err(KeyError::NotBig), "{text:?}");
        }
        assert_eq!(encoded(&Key::Big("7")), Err(KeyError::NotBig));
        let long = vec![0; MAX_LEN - 1];
        assert_eq!(encoded(&Key::Bytes(&long)), Err(KeyError::TooLong(MAX_LEN + 1)));
        assert!(encoded(&Key::Bytes(&long[1..])).is_ok());
        let part = Key::Tuple(vec![Key::Bytes(&long)]);
        assert!(matches!(encoded(&part), Err(KeyError::TooLong(_))));
        assert_eq!(encoded(&Key::Tuple(vec![Key::Raw(b"x")])), Err(KeyError::RawInTuple));
    }

    #[test]
    fn tuples_nest_so_deep() {
        let nested = |depth| (1..depth).fold(Key::Tuple(vec![]), |key, _| Key::Tuple(vec![key]));
        let deepest = encoded(&nested(MAX_DEPTH)).unwrap();
        assert_eq!(decode(&deepest), nested(MAX_DEPTH));
        assert_eq!(encoded(&nested(MAX_DEPTH + 1)), Err(KeyError::TooDeep));

        let mut deeper = b"\xfft".to_vec();
        for _ in 0..MAX_DEPTH {
            let mut outer = b"\xfft".to_vec();
            outer.extend_from_slice(&u16::try_from(deeper.len()).unwrap().to_be_bytes());
            outer.append(&mut deeper);
            deeper = outer;
        }
        assert_eq!(decode(&deeper), Key::Raw(&deeper));
    }

    /// A key that owns what [`Key`] borrows.
    #[derive(Clone, Debug)]
    enum Owned {
        Text(String),
        Bytes(Vec<u8>),
        Decimal(i128),
        Tuple(Vec<Owned>),
    }

    fn keys() -> impl Strategy<Value = Owned> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Owned::Text),
            any::<Vec<u8>>().prop_map(Owned::Bytes),
            any::<i64>().prop_map(|value| Owned::Decimal(value.into())),
            any::<i128>().prop_map(Owned::Decimal),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop::collection::vec(inner, 0..6).prop_map(Owned::Tuple)
        })
    }

    impl Owned {
        /// The key, and the texts of its large integers kept in `texts`.
        fn with<R>(&self, then: impl FnOnce(&Key<'_>) -> R) -> R {
            fn texts(key: &Owned, into: &mut Vec<String>) {
                match key {
                    Owned::Decimal(value) => into.push(value.to_string()),
                    Owned::Tuple(parts) => parts.iter().for_each(|part| texts(part, into)),
                    Owned::Text(_) | Owned::Bytes(_) => {}
                }
            }
            fn view<'a>(key: &'a Owned, texts: &mut std::slice::Iter<'a, String>) -> Key<'a> {
                match key {
                    Owned::Text(text) => Key::Text(text),
                    Owned::Bytes(bytes) => Key::Bytes(bytes),
                    Owned::Decimal(value) => {
                        let text = texts.next().unwrap();
                        i64::try_from(*value).map_or(Key::Big(text), Key::Int)
                    }
                    Owned::Tuple(parts) => {
                        Key::Tuple(parts.iter().map(|part| view(part, texts)).collect())
                    }
                }
            }
            let mut all = Vec::new();
            texts(self, &mut all);
            then(&view(self, &mut all.iter()))
        }
    }

    proptest! {
        #[test]
        fn keys_come_back(key in keys()) {
            key.with(|key| {
                let bytes = encoded(key).unwrap();
                assert_eq!(&decode(&bytes), key);
            });
        }

        #[test]
        fn any_bytes_encode_to_themselves(
            head in prop::sample::select(vec![&b""[..], b"\xffi", b"\xfft", b"\xffI1"]),
            tail in any::<Vec<u8>>(),
        ) {
            let bytes = [head, &tail].concat();
            prop_assert_eq!(encoded(&decode(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn integers_keep_their_order(a in any::<i64>(), b in any::<i64>()) {
            prop_assert_eq!(int(a).cmp(&int(b)), a.cmp(&b));
        }

        #[test]
        fn decimals_are_integers(value in any::<i64>()) {
            let mut out = Vec::new();
            push_decimal(&mut out, &value.to_string()).unwrap();
            prop_assert_eq!(out, int(value).to_vec());
        }
    }
}
