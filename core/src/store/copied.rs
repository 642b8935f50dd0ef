//! What reads make of the entry they find: a copy of its value, with or without its metadata.
//!
//! The read of only the value is the one that has a straight path of its own; its result fits one
//! word.

use super::entry::Entry;
use super::read::{Hit, Near, Probe, Visit};
use super::{HitRule, StoreInner};
use crate::error::Result;
use crate::memory::copy;
use crate::memory::guard::Guard;
use crate::types::{KEY_LEN_MAX, Read, ValueType};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
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

/// A [`Copied`] in one word: a result that goes through memory in pieces costs as much as the
/// look-up of a word. The upper half is the length, then comes a byte for the type, as in the
/// header of an entry; the rest says which of the three it is.
#[derive(Clone, Copy)]
pub struct Outcome(NonZeroU64);

impl Outcome {
    const HIT: u64 = 1;
    const SMALL_BUFFER: NonZeroU64 = NonZeroU64::MIN.saturating_add(1);
    const MISS: Self = Self(NonZeroU64::MIN.saturating_add(2));

    /// The value of this entry was copied.
    #[inline(always)]
    fn hit(entry: &Entry) -> Self {
        let value_type = u64::from(entry.value_type().0) << 24;
        Self(NonZeroU64::MIN | value_type | (entry.value_len() as u64) << 32)
    }

    #[inline(always)]
    fn small_buffer(len: usize) -> Self {
        Self(Self::SMALL_BUFFER | (len as u64) << 32)
    }
}

impl From<Outcome> for Copied {
    #[inline(always)]
    fn from(outcome: Outcome) -> Self {
        let word = outcome.0.get();
        let len = (word >> 32) as usize;
        if word & 0xFF == Outcome::HIT {
            return Self::Hit { len, value_type: ValueType((word >> 24) as u8) };
        }
        if outcome.0 == Outcome::MISS.0 { Self::Miss } else { Self::SmallBuffer { len } }
    }
}

/// Where a value is copied to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    at: *mut u8,
    len: usize,
    buffer: PhantomData<&'a mut [MaybeUninit<u8>]>,
}

impl<'a> Target<'a> {
    #[inline(always)]
    pub fn new(buf: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { at: buf.as_mut_ptr().cast(), len: buf.len(), buffer: PhantomData }
    }

    /// Copies the value of a hit; `None`: it was replaced meanwhile.
    #[inline(always)]
    fn fill<G: Guard>(self, hit: &mut Hit<'_, G>, peek: bool) -> Option<()> {
        let value = hit.value()?;
        // SAFETY: the hit protects the value's bytes, the caller saw that the buffer has room for
        // them, and pool memory does not overlap it.
        unsafe { copy::value(value, self.at, hit.entry().value_len()) };
        hit.count(peek);
        Some(())
    }
}

/// Copies the value.
#[derive(Clone, Copy)]
struct CopyValue<'a> {
    target: Target<'a>,
    peek: bool,
}

impl Visit for CopyValue<'_> {
    type Out = Outcome;
    const WEIGHS: bool = false;

    #[inline(always)]
    fn counts(self) -> bool {
        !self.peek
    }

    #[inline(always)]
    fn miss(self, store: &StoreInner, slot: u32) -> Outcome {
        store.count_miss(slot, self.peek);
        Outcome::MISS
    }

    #[inline(always)]
    fn visit<G: Guard>(self, hit: &mut Hit<'_, G>) -> Option<Outcome> {
        if hit.time_left().is_err() {
            hit.count_miss(self.peek);
            return Some(Outcome::MISS);
        }
        let len = hit.entry().value_len();
        if len > self.target.len {
            return Some(Outcome::small_buffer(len));
        }
        self.target.fill(hit, self.peek)?;
        Some(Outcome::hit(hit.entry()))
    }
}

/// Copies the value and takes the metadata.
#[derive(Clone, Copy)]
pub(super) struct ReadEntry<'a> {
    pub target: Target<'a>,
    pub peek: bool,
}

impl Visit for ReadEntry<'_> {
    type Out = Read;

    #[inline(always)]
    fn counts(self) -> bool {
        !self.peek
    }

    #[inline(always)]
    fn miss(self, store: &StoreInner, slot: u32) -> Read {
        store.count_miss(slot, self.peek);
        Read::Miss
    }

    #[inline(always)]
    fn visit<G: Guard>(self, hit: &mut Hit<'_, G>) -> Option<Read> {
        let Ok(ttl_ms) = hit.time_left() else {
            hit.count_miss(self.peek);
            return Some(Read::Miss);
        };
        let info = hit.info(ttl_ms);
        if info.len > self.target.len {
            return Some(Read::SmallBuffer(info));
        }
        self.target.fill(hit, self.peek)?;
        Some(Read::Hit(info))
    }
}

/// Says whether the entry is live.
#[derive(Clone, Copy)]
pub struct IsLive;

impl Visit for IsLive {
    type Out = bool;

    fn counts(self) -> bool {
        false
    }

    fn miss(self, _store: &StoreInner, _slot: u32) -> bool {
        false
    }

    fn visit<G: Guard>(self, hit: &mut Hit<'_, G>) -> Option<bool> {
        Some(hit.time_left().is_ok())
    }
}

impl StoreInner {
    /// Copies the value of a key out, if the straight path settles it.
    #[inline(never)]
    pub fn copy_straight(&self, key: &[u8], buf: &mut [MaybeUninit<u8>]) -> Option<Outcome> {
        if key.len() > KEY_LEN_MAX {
            return None;
        }
        let hash = self.hash.of(key);
        let visitor = CopyValue { target: Target::new(buf), peek: false };
        let outcome = self.probe_straight(hash, key, visitor)?;
        self.promote_after(hash);
        Some(outcome)
    }

    /// Looks a key up without a lock; `None`: it takes the lock to find out.
    #[inline(always)]
    pub fn look_up<V: Visit>(&self, hash: u64, key: &[u8], visitor: V) -> Result<Option<V::Out>> {
        self.settled(hash, self.probe(hash, key, visitor))
    }

    #[inline(always)]
    fn settled<T>(&self, hash: u64, probe: Probe<T>) -> Result<Option<T>> {
        let Probe::Settled(out) = probe else { return probe.failure().map_or(Ok(None), Err) };
        self.promote_after(hash);
        Ok(Some(out))
    }

    /// Copies the value of a key out.
    pub fn copy_out(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Copied> {
        let found = self.look_up(hash, key, CopyValue { target: Target::new(buf), peek })?;
        self.copied(found, hash, key, buf, peek)
    }

    /// [`StoreInner::copy_out`] of a key whose index line was asked for.
    pub fn copy_near(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Copied> {
        let found = self.look_up(hash, key, Near(CopyValue { target: Target::new(buf), peek }))?;
        self.copied(found, hash, key, buf, peek)
    }

    /// [`StoreInner::copy_out`] after the straight path was tried in vain.
    pub fn copy_otherwise(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
    ) -> Result<Copied> {
        let visitor = CopyValue { target: Target::new(buf), peek: false };
        let found = self.settled(hash, self.probe_otherwise(hash, key, visitor))?;
        self.copied(found, hash, key, buf, false)
    }

    /// What a look-up without a lock found, or else the read of last resort.
    #[inline(always)]
    fn copied(
        &self,
        found: Option<Outcome>,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Copied> {
        if let Some(outcome) = found {
            return Ok(outcome.into());
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
        let visitor = ReadEntry { target: Target::new(buf), peek };
        match self.look_up(hash, key, visitor)? {
            Some(read) => Ok(read),
            None => self.read_locked(hash, key, buf, peek),
        }
    }

    /// After a look-up that took no lock: carries out what hits asked for, if it is time.
    #[inline(always)]
    pub fn promote_after(&self, hash: u64) {
        if self.hit_rule == HitRule::Asks {
            self.promote_if_due(hash);
        }
    }

    /// Counts a miss, but for a peek.
    #[inline(always)]
    pub fn count_miss(&self, slot: u32, peek: bool) {
        if !peek {
            self.counters.miss(slot);
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
    pub fn read_locked(
        &self,
        hash: u64,
        key: &[u8],
        buf: &mut [MaybeUninit<u8>],
        peek: bool,
    ) -> Result<Read> {
        let (writer, live) = self.probe_locked(hash, key)?;
        let Some(live) = live.filter(|live| !writer.is_expired(&live.entry)) else {
            self.count_miss(u32::MAX, peek);
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
