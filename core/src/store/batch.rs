//! Many keys at once: hashes first, then index lines, then entries, so that the waits for memory
//! overlap. One look-up waits for two dependent misses; sixteen that go together wait little
//! longer than one.

use super::copied::Copied;
use super::index::line::tag_of;
use super::{Store, StoreInner, View};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::guard::Inside;
use crate::memory::racy::prefetch;
use crate::types::{BatchEntry, KEY_LEN_MAX, PutOutcome, ValueType};
use std::mem::MaybeUninit;

/// Keys whose memory accesses overlap.
const GROUP: usize = 16;

/// What came of one key of a batch read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchRead {
    /// The value is in the buffer.
    Hit {
        /// Where it begins in the buffer.
        offset: usize,
        /// Its bytes.
        len: usize,
        /// What it is.
        value_type: ValueType,
    },
    /// What is left of the buffer is too small.
    SmallBuffer {
        /// Bytes that it takes.
        len: usize,
    },
    /// No live entry.
    Miss,
    /// The look-up failed.
    Failed(ErrorKind),
}

impl StoreInner {
    /// Brings the index lines and entries of a group of keys near.
    fn warm(&self, keys: &[&[u8]], hashes: &mut [u64; GROUP]) {
        for (key, hash) in keys.iter().zip(hashes.iter_mut()) {
            *hash = self.hash.of(key);
            self.shard_of(*hash).table.prefetch(*hash);
        }
        // The lines are only looked at while inside: an index chunk may be given back otherwise.
        let Some(_guard) = Inside::enter(self.generation) else { return };
        for &hash in &hashes[..keys.len()] {
            let table = &self.shard_of(hash).table;
            let Some(line) = table.home(table.geometry().bucket(hash)) else { continue };
            let mut matches = line.matches(tag_of(hash));
            while matches != 0 {
                let location = line.location(matches.trailing_zeros() as usize);
                matches &= matches - 1;
                let at = self.places.address(location);
                prefetch(at);
                prefetch(at.wrapping_add(64));
            }
        }
    }
}

impl Store {
    /// Copies the values of many keys out, one after another, into `buf`. Values are taken in
    /// order as long as they fit; after one that does not, later smaller ones still are.
    ///
    /// # Errors
    /// `Invalid` when `out` is not as long as `keys`; `Forked`. What fails for one key is in its
    /// result.
    pub fn get_many(
        &self,
        keys: &[&[u8]],
        peek: bool,
        buf: &mut [MaybeUninit<u8>],
        out: &mut [BatchRead],
    ) -> Result<()> {
        check_len("out", out.len(), keys.len())?;
        self.0.check_open()?;
        let mut used = 0;
        let mut hashes = [0; GROUP];
        for (keys, out) in keys.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
            self.0.warm(keys, &mut hashes);
            for ((key, result), &hash) in keys.iter().zip(out).zip(&hashes) {
                let read = if key.len() > KEY_LEN_MAX {
                    Err(Error::fixed(ErrorKind::Invalid, "a key is too long"))
                } else {
                    self.0.copy_near(hash, key, &mut buf[used..], peek)
                };
                *result = match read {
                    Ok(Copied::Hit { len, value_type }) => {
                        let offset = used;
                        used += len;
                        BatchRead::Hit { offset, len, value_type }
                    }
                    Ok(Copied::SmallBuffer { len }) => BatchRead::SmallBuffer { len },
                    Ok(Copied::Miss) => BatchRead::Miss,
                    Err(error) => BatchRead::Failed(error.kind()),
                };
            }
        }
        Ok(())
    }

    /// Pins many keys. `out[i]` is set where key i has a live entry; `failed` is told of keys
    /// whose look-up failed.
    ///
    /// # Errors
    /// `Invalid` when `out` is not as long as `keys`; `Forked`.
    pub fn pin_many(
        &self,
        keys: &[&[u8]],
        peek: bool,
        out: &mut [Option<View>],
        failed: &mut dyn FnMut(usize, Error),
    ) -> Result<()> {
        check_len("out", out.len(), keys.len())?;
        self.0.check_open()?;
        let mut hashes = [0; GROUP];
        for (group, (keys, out)) in keys.chunks(GROUP).zip(out.chunks_mut(GROUP)).enumerate() {
            self.0.warm(keys, &mut hashes);
            for (i, (key, view)) in keys.iter().zip(out).enumerate() {
                *view = match self.pin(key, peek) {
                    Ok(view) => view,
                    Err(error) => {
                        failed(group * GROUP + i, error);
                        None
                    }
                };
            }
        }
        Ok(())
    }

    /// Writes many entries, each on its own, and tells `outcome` what came of each. Not one
    /// transaction.
    ///
    /// # Errors
    /// `Forked`. What fails for one entry is in its outcome.
    pub fn put_many(
        &self,
        entries: &[BatchEntry<'_>],
        outcome: &mut dyn FnMut(usize, Result<PutOutcome>),
    ) -> Result<()> {
        self.0.check_open()?;
        let mut hashes = [0; GROUP];
        for (group, entries) in entries.chunks(GROUP).enumerate() {
            let mut keys: [&[u8]; GROUP] = [&[]; GROUP];
            for (place, entry) in keys.iter_mut().zip(entries) {
                *place = entry.key;
            }
            self.0.warm(&keys[..entries.len()], &mut hashes);
            for (i, (entry, &hash)) in entries.iter().zip(&hashes).enumerate() {
                let result = self.0.put(hash, entry.key, entry.value, &entry.options);
                outcome(group * GROUP + i, result);
            }
        }
        Ok(())
    }

    /// Removes many keys; returns how many were there.
    ///
    /// # Errors
    /// As [`Store::delete`]; the keys before the failing one are gone.
    pub fn delete_many(&self, keys: &[&[u8]]) -> Result<u64> {
        self.0.check_open()?;
        let mut hashes = [0; GROUP];
        let mut deleted = 0;
        for keys in keys.chunks(GROUP) {
            self.0.warm(keys, &mut hashes);
            for key in keys {
                deleted += u64::from(self.delete(key)?);
            }
        }
        Ok(deleted)
    }
}

fn check_len(argument: &str, len: usize, expected: usize) -> Result<()> {
    if len == expected {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("{argument} has {len} elements; {expected} are needed, one a key"),
    ))
}
