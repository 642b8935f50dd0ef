//! The vocabulary that every call shares: what a value is, how it is written, what came of it.

use crate::error::{Error, ErrorKind, Result};

/// The longest key, in bytes. Keys are 0 to this many bytes.
pub const KEY_LEN_MAX: usize = 65_535;

/// Refuses a key that is longer than any.
#[inline(always)]
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() > KEY_LEN_MAX { Err(long_key(key.len())) } else { Ok(()) }
}

#[cold]
#[inline(never)]
fn long_key(len: usize) -> Error {
    Error::new(ErrorKind::Invalid, format!("key has {len} bytes; 0 to {KEY_LEN_MAX} are allowed"))
}

/// The longest value the format can hold, in bytes; a store's `value_len_max` is what counts.
pub const VALUE_LEN_MAX: u64 = 0xFFFF_FFFF;

/// What a value is, so that one language reads what another wrote. 0 to 255; the store attaches
/// no meaning to it, except that [`crate::Store::incr`] works on [`ValueType::INT64`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ValueType(pub u8);

impl ValueType {
    /// Plain bytes.
    pub const BYTES: Self = Self(0);
    /// UTF-8 text.
    pub const STRING: Self = Self(1);
    /// A signed 64-bit integer, 8 bytes, little-endian.
    pub const INT64: Self = Self(2);
    /// A 64-bit float, 8 bytes, little-endian.
    pub const FLOAT64: Self = Self(3);
    /// One byte, 0 or 1.
    pub const BOOL: Self = Self(4);
    /// No bytes.
    pub const NULL: Self = Self(5);
    /// JSON text.
    pub const JSON: Self = Self(6);
    /// MessagePack.
    pub const MSGPACK: Self = Self(7);
    /// Python's pickle.
    pub const PICKLE: Self = Self(64);
    /// V8's structured serialisation.
    pub const V8: Self = Self(65);
    /// The first type that belongs to the application.
    pub const APP: Self = Self(128);
}

/// A time to live, in milliseconds on a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// The store's default.
    #[default]
    Default,
    /// What the replaced entry has left; the store's default if there is none.
    Keep,
    /// Does not expire.
    Never,
    /// Expires after so many milliseconds; 0 is expired at once.
    Millis(u64),
}

/// Under which condition a write takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PutMode {
    /// Always.
    #[default]
    Set,
    /// Only if the key has no live entry.
    Add,
    /// Only if the key has a live entry.
    Replace,
    /// Only if the entry's version is this one.
    CompareAndSet(u64),
}

/// How an entry is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Time to live.
    pub ttl: Ttl,
    /// Condition.
    pub mode: PutMode,
    /// Session the entry belongs to; 0: none.
    pub session: u64,
    /// What the value is.
    pub value_type: ValueType,
    /// The application's flags, kept with the entry.
    pub flags: u32,
    /// Milliseconds after which a claim has one caller load the entry anew; 0: the store's.
    pub soft_ttl_ms: u64,
    /// Milliseconds that it lives without an access; 0: the store's.
    pub idle_ttl_ms: u64,
}

#[cfg(not(loom))]
impl PutOptions {
    /// Every default, for a value of this type.
    #[inline(always)]
    pub(crate) const fn plain(value_type: ValueType) -> Self {
        Self {
            ttl: Ttl::Default,
            mode: PutMode::Set,
            session: 0,
            value_type,
            flags: 0,
            soft_ttl_ms: 0,
            idle_ttl_ms: 0,
        }
    }

    /// Whether all but the type is as in [`PutOptions::plain`].
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::plain(self.value_type)
    }
}

/// What came of a write that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The entry is stored under this version.
    Stored(u64),
    /// [`PutMode::Add`]: the key already has a live entry, which stays.
    Exists,
    /// [`PutMode::Replace`] or [`PutMode::CompareAndSet`]: the key has no live entry.
    NotFound,
    /// [`PutMode::CompareAndSet`]: the version is another one; the entry stays.
    Conflict,
    /// The policy declined the entry. Nothing is stored, and the older value is gone.
    NotAdmitted,
}

/// What came of a conditional removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The entry is gone.
    Deleted,
    /// There was none.
    NotFound,
    /// Its version is another one; it stays.
    Conflict,
}

/// What came of an increment that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncrOutcome {
    /// The new sum.
    Sum(i64),
    /// The entry is not an [`ValueType::INT64`]; unchanged.
    WrongType,
    /// The sum does not fit 64 bits; unchanged.
    Overflow,
    /// The policy declined the entry; nothing is stored.
    NotAdmitted,
}

/// An entry's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Length of the value in bytes, copied or not.
    pub len: usize,
    /// Equal versions of one key prove equal values. Never 0.
    pub version: u64,
    /// Milliseconds left to live; `None`: does not expire.
    pub ttl_ms: Option<u64>,
    /// Session; 0: none.
    pub session: u64,
    /// What the value is.
    pub value_type: ValueType,
    /// The application's flags.
    pub flags: u32,
}

/// What came of a read that copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The value is in the buffer.
    Hit(Info),
    /// The buffer is too small and untouched; [`Info::len`] is what it takes.
    SmallBuffer(Info),
    /// No live entry.
    Miss,
}

/// Which entries a walk visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match<'a> {
    /// All of them.
    All,
    /// Keys that begin with these bytes.
    Prefix(&'a [u8]),
    /// Keys that match: `*` any run, `?` one byte, `\` quotes the next byte.
    Glob(&'a [u8]),
    /// Entries of this session.
    Session(u64),
    /// Values of this type.
    Type(ValueType),
}

/// One entry of a batch write; see [`PutOptions`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchEntry<'a> {
    /// Key, 0 to [`KEY_LEN_MAX`] bytes.
    pub key: &'a [u8],
    /// Value.
    pub value: &'a [u8],
    /// How it is written.
    pub options: PutOptions,
}

/// How full a pool is with what eviction cannot give back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Below every threshold.
    #[default]
    None,
    /// At or above the first threshold.
    Elevated,
    /// At or above the second.
    High,
    /// At or above the third.
    Critical,
}

/// Matches `key` against a glob pattern: `*` any run, `?` one byte, `\` quotes the next byte (a
/// trailing `\` stands for itself).
///
/// Time O(key x pattern) at worst, constant space.
#[must_use]
pub fn glob_matches(pattern: &[u8], key: &[u8]) -> bool {
    let (mut p, mut k) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while k < key.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, k));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'\\') if p + 1 < pattern.len() => (pattern[p + 1] == key[k]).then_some(2),
            Some(&byte) => (byte == key[k]).then_some(1),
            None => None,
        };
        match (step, retry) {
            (Some(width), _) => {
                p += width;
                k += 1;
            }
            (None, Some((after_star, start))) => {
                p = after_star;
                k = start + 1;
                retry = Some((after_star, k));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::glob_matches;

    #[test]
    fn globs() {
        for (pattern, key, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*:7:*", "user:7:name", true),
            ("*:7:*", "user:8:name", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("a\\", "a\\", true),
            ("**a**", "bab", true),
            ("*ab*ab", "abxabab", true),
        ] {
            assert_eq!(
                glob_matches(pattern.as_bytes(), key.as_bytes()),
                expected,
                "{pattern} {key}"
            );
        }
    }
}
