//! Keys, lengths and ways of writing, as inputs name them.

use super::world::World;
use crate::input::Input;
use hypercache_core::types::glob_matches;
use hypercache_core::{Match, Ttl, ValueType};

use super::twin::Entry;

const KIB: usize = 1 << 10;

/// Keys of every shape under the low numbers, so that operations meet on them; those of bulk
/// writes from 64 on.
pub fn key_of(number: u16) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        1 => b"a".to_vec(),
        2 => vec![0],
        3..16 => format!("user:{number}:name").into_bytes(),
        16..24 => format!("{number:016}").into_bytes(),
        24..28 => format!("a*{number}?\\").into_bytes(),
        28 => vec![b'k'; 255],
        29 => vec![b'k'; 256],
        30 => vec![b'k'; 4_000],
        31 => vec![b'z'; 9_000],
        32 => vec![0xFF; 16_300],
        33 => vec![0xFF; 65_535],
        _ => format!("item:{number}").into_bytes(),
    }
}

/// Most keys are short: a byte below 250 picks one of 40, the others the long ones.
pub fn key(input: &mut Input<'_>) -> Vec<u8> {
    key_of(match input.byte() {
        byte @ 250.. => u16::from(byte) - 222,
        byte => match u16::from(byte) % 40 {
            long @ 28..34 => long + 100,
            short => short,
        },
    })
}

/// A time to live.
pub fn ttl(kind: u8, input: &mut Input<'_>) -> Ttl {
    match kind % 8 {
        0..3 => Ttl::Default,
        3 => Ttl::Never,
        4 => Ttl::Keep,
        5 => Ttl::Millis(u64::from(input.word())),
        6 => Ttl::Millis(u64::from(input.flag())),
        _ => Ttl::Millis(input.pick(&[u64::MAX, u64::MAX - 1, 1 << 40, 1 << 63])),
    }
}

/// Under which condition a write takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Set,
    Add,
    Replace,
    /// Compare-and-set with the present version.
    Cas,
    /// Compare-and-set with a version that is not the present one.
    StaleCas,
}

/// How an entry is written.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub mode: Mode,
    pub ttl: Ttl,
    pub session: u64,
    pub value_type: ValueType,
    pub flags: u32,
}

impl How {
    pub const PLAIN: Self = Self {
        mode: Mode::Set,
        ttl: Ttl::Default,
        session: 0,
        value_type: ValueType::BYTES,
        flags: 0,
    };

    pub fn read(input: &mut Input<'_>) -> Self {
        let byte = input.byte();
        let mode = match byte & 7 {
            0..4 => Mode::Set,
            4 => Mode::Add,
            5 => Mode::Replace,
            6 => Mode::Cas,
            _ => Mode::StaleCas,
        };
        let ttl = ttl(byte >> 3, input);
        let mut how = Self { mode, ttl, ..Self::PLAIN };
        if byte >= 64 {
            let more = input.byte();
            how.session = [0, 1, 2, u64::MAX][usize::from(more & 3)];
            how.value_type = ValueType([0, 1, 2, 3, 5, 64, 200, 255][usize::from(more >> 2 & 7)]);
            how.flags = [0, 0, 1, 7, 0, 0, 1 << 31, u32::MAX][usize::from(more >> 5)];
        }
        how
    }
}

/// Which entries a walk visits.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    All,
    Users,
    Glob(&'static [u8]),
    Nothing,
    Session(u64),
    Type(u8),
}

impl Which {
    pub fn read(input: &mut Input<'_>) -> Self {
        let byte = input.byte();
        match byte & 7 {
            0 => Self::All,
            1 => Self::Users,
            2 => Self::Glob(b"*:?:*"),
            3 => Self::Glob(b"*\\*2*\\?\\"),
            4 => Self::Nothing,
            5 | 6 => Self::Session([0, 1, 2, u64::MAX][usize::from(byte >> 3 & 3)]),
            _ => Self::Type([0, 1, 2, 255][usize::from(byte >> 3 & 3)]),
        }
    }

    pub fn wanted(self) -> Match<'static> {
        match self {
            Self::All => Match::All,
            Self::Users => Match::Prefix(b"user:"),
            Self::Glob(pattern) => Match::Glob(pattern),
            Self::Nothing => Match::Prefix(b"nothing has this prefix"),
            Self::Session(session) => Match::Session(session),
            Self::Type(value_type) => Match::Type(ValueType(value_type)),
        }
    }

    /// Whether it is a matter of the key, and takes this one.
    pub fn takes_key(self, key: &[u8]) -> bool {
        match self {
            Self::Users => key.starts_with(b"user:"),
            Self::Glob(pattern) => glob_matches(pattern, key),
            Self::All | Self::Nothing | Self::Session(_) | Self::Type(_) => false,
        }
    }

    pub fn takes(self, key: &[u8], entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Users | Self::Glob(_) | Self::Nothing => self.takes_key(key),
            Self::Session(session) => session != 0 && entry.session == session,
            Self::Type(value_type) => entry.value_type == ValueType(value_type),
        }
    }
}

impl World<'_> {
    /// A length: mostly short, often at a boundary (of a view's copy, an entry in the log, a page,
    /// a segment, what the store takes), sometimes long; short ones only when the input has written
    /// much already.
    pub fn len(&mut self, input: &mut Input<'_>) -> usize {
        const EDGES: [usize; 8] = [256, 4_064, 4_096, 8_192, 16_384, 32_768, 61_440, 131_072];
        let len = match input.byte() {
            byte @ 0..128 => usize::from(byte),
            byte @ 128..160 => usize::from(byte - 128) * 64,
            byte @ 160..192 => {
                let edge = EDGES[usize::from(byte & 7)] + 32;
                edge - usize::from(input.byte() & 63)
            }
            192..224 => usize::from(input.word()),
            224..240 => usize::from(input.word()) * 4,
            240..248 => usize::from(input.word()) * 32,
            byte @ 248..252 => {
                let most = self.twin().store.config().value_len_max as usize;
                (most + 1).saturating_sub(usize::from(byte - 248)).min(4 << 20)
            }
            _ => usize::from(input.byte()) * KIB * 8,
        };
        if self.written > super::WRITTEN_MAX {
            return len & 127;
        }
        self.written += len;
        len
    }
}
