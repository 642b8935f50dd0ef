//! What reads make of the entry they find: a copy of its value, with or without its metadata.
//!
//! The read of only the value is the one that has a straight path of its own; its result fits one
//! word.

use super::StoreInner;
use super::read::{Hit, Probe, Visit};
use crate::error::Result;
use crate::memory::copy;
use crate::memory::guard::Guard;
use crate::types::{Read, ValueType};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

/// What came of a read that copies only the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The value is in the buffer.
    Hit {
        /// Its bytes.
        len: usize,
        /// What it is.
        value_type: ValueType,
    },
    /// The buffer is too small and untouched.
    SmallBuffer {
        /// Bytes that it takes.
        len: usize,
    },
    /// No live entry.
    Miss,
}

/// A [`Copied`], or nothing yet, in one word: a result that goes through memory in pieces costs as
/// much as the look-up of a word.
#[derive(Clone, Copy)]
pub struct Outcome(u64);

impl Outcome {
    const NOTHING: Self = Self(0);
    const MISS: Self = Self(1 << Self::KIND);
    const KIND: u32 = 40;

    #[inline(always)]
    fn hit(len: usize, value_type: ValueType) -> Self {
        Self(2 << Self::KIND | u64::from(value_type.0) << 32 | len as u64)
    }

    #[inline(always)]
    fn small_buffer(len: usize) -> Self {
        Self(3 << Self::KIND | len as u64)
    }

    /// What came of the read; `None`: nothing yet.
    #[inline(always)]
    pub fn settled(self) -> Option<Copied> {
        let len = self.0 as u32 as usize;
        match self.0 >> Self::KIND {
            0 => None,
            1 => Some(Copied::Miss),
            2 => Some(Copied::Hit { len, value_type: ValueType((self.0 >> 32) as u8) }),
            _ => Some(Copied::SmallBuffer { len }),
        }
    }
}

/// Copies the value.
struct CopyValue<'a> {
    buf: &'a mut [MaybeUninit<u8>],
    peek: bool,
    out: Outcome,
}

impl Visit for CopyValue<'_> {
    #[inline(always)]
    fn visit<G: Guard>(&mut self, hit: &mut Hit<'_, G>) -> bool {
        if hit.time_left().is_err() {
            hit.count_miss(self.peek);
            self.out = Outcome::MISS;
            return true;
        }
        let len = hit.entry.value_len();
        if len > self.buf.len() {
            self.out = Outcome::small_buffer(len);
            return true;
        }
        let value_type = hit.entry.value_type();
        let Some(value) = hit.value() else { return false };
        // SAFETY: the hit protects the value's bytes, the buffer has room for them, and pool
        // memory does not overlap it.
        unsafe { copy::value(value, self.buf.as_mut_ptr().cast(), len) };
        hit.count(self.peek);
        self.out = Outcome::hit(len, value_type);
        true
    }
}

/// Copies the value and takes the metadata.
struct ReadEntry<'a> {
    buf: &'a mut [MaybeUninit<u8>],
    peek: bool,
    out: Read,
}

impl Visit for ReadEntry<'_> {
    #[inline(always)]
    fn visit<G: Guard>(&mut self, hit: &mut Hit<'_, G>) -> bool {
        let Ok(ttl_ms) = hit.time_left() else {
            hit.count_miss(self.peek);
            self.out = Read::Miss;
            return true;
        };
        let info = hit.info(ttl_ms);
        if info.len > self.buf.len() {
            self.out = Read::SmallBuffer(info);
            return true;
        }
        let Some(value) = hit.value() else { return false };
        // SAFETY: as in `CopyValue`.
        unsafe { copy::value(value, self.buf.as_mut_ptr().cast(), info.len) };
        hit.count(self.peek);
        self.out = Read::Hit(info);
        true
    }
}

/// Says whether the entry is live.
#[derive(Default)]
pub struct IsLive(pub bool);

impl Visit for IsLive {
    fn visit<G: Guard>(&mut self, hit: &mut Hit<'_, G>) -> bool {
        self.0 = hit.time_left().is_ok();
        true
    }
}

impl StoreInner {
    /// Copies the value of a key out, if the straight path settles it.
    #[inline(never)]
    pub fn copy_straight(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Outcome {
        let hash = self.hash.of(key);
        let mut visitor = CopyValue { buf, peek: false, out: Outcome::NOTHING };
        match self.probe_straight(hash, key, &mut visitor) {
            Probe::Hit => {
                if self.promotes {
                    self.promote_if_due(hash);
                }
                visitor.out
            }
            Probe::Miss(slot) => {
                self.counters.miss(slot);
                Outcome::MISS
            }
            Probe::Unsettled | Probe::Forked | Probe::Closed | Probe::Poisoned => Outcome::NOTHING,
        }
    }

    /// Copies the value of a key out.
    pub fn copy_out(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Copied> {
        let mut visitor = CopyValue { buf, peek, out: Outcome::NOTHING };
        match self.probe(hash, key, &mut visitor) {
            Probe::Hit => {
                if self.promotes {
                    self.promote_if_due(hash);
                }
                Ok(visitor.out.settled().unwrap_or(Copied::Miss))
            }
            Probe::Miss(slot) => {
                if !peek {
                    self.counters.miss(slot);
                }
                Ok(Copied::Miss)
            }
            other => self.copy_locked(other, hash, key, visitor.buf, peek),
        }
    }

    #[cold]
    fn copy_locked(
        &self,
        probe: Probe,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Copied> {
        if let Some(error) = probe.failure() {
            return Err(error);
        }
        Ok(match self.read_locked(hash, key, buf, peek)? {
            Read::Hit(info) => Copied::Hit { len: info.len, value_type: info.value_type },
            Read::SmallBuffer(info) => Copied::SmallBuffer { len: info.len },
            Read::Miss => Copied::Miss,
        })
    }

    /// Copies the value of a key out, with its metadata.
    pub fn read(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Read> {
        let mut visitor = ReadEntry { buf, peek, out: Read::Miss };
        match self.probe(hash, key, &mut visitor) {
            Probe::Hit => {
                if self.promotes {
                    self.promote_if_due(hash);
                }
                Ok(visitor.out)
            }
            Probe::Miss(slot) => {
                if !peek {
                    self.counters.miss(slot);
                }
                Ok(Read::Miss)
            }
            other => match other.failure() {
                Some(error) => Err(error),
                None => self.read_locked(hash, key, visitor.buf, peek),
            },
        }
    }

    #[inline(never)]
    fn promote_if_due(&self, hash: u64) {
        if self.promotions_due.load(Ordering::Relaxed) {
            self.drain_due(self.shard_of(hash));
        }
    }

    /// The read of last resort, for a key that writers do not leave alone.
    #[cold]
    fn read_locked(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Read> {
        let (writer, live) = self.probe_locked(hash, key)?;
        let Some(live) = live.filter(|live| !writer.is_expired(&live.entry)) else {
            if !peek {
                self.counters.miss(u32::MAX);
            }
            return Ok(Read::Miss);
        };
        let info = self.info_under_lock(&live);
        if info.len > buf.len() {
            return Ok(Read::SmallBuffer(info));
        }
        self.copy_under_lock(&live, buf);
        if !peek {
            self.counters.hit(u32::MAX);
        }
        Ok(Read::Hit(info))
    }
}
