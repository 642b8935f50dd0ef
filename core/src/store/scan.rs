//! A scan: a walk that the caller steps.

use super::writer::Live;
use super::{Store, View};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Match;

/// What a scan looks for; owns its pattern.
enum Wanted {
    All,
    Prefix(Box<[u8]>),
    Glob(Box<[u8]>),
    Session(u64),
    Type(crate::types::ValueType),
}

/// A walk over a store. Every entry that is present throughout is seen exactly once, however the
/// store grows, shrinks or moves it meanwhile; one that is written or removed meanwhile may or may
/// not be. The order is unspecified; no hits are counted.
pub struct Scan {
    store: Store,
    wanted: Wanted,
    shard: usize,
    /// Reversed hash from which on keys are still to be seen; `None`: the shard is done.
    position: Option<u64>,
    /// The key seen last, for keys that share one hash.
    key: Vec<u8>,
    /// Reversed hash of `key`, if it was at `position`.
    seen: Option<u64>,
}

/// An entry that a scan found.
pub struct ScanEntry<'a> {
    /// Its key, until the next step.
    pub key: &'a [u8],
    /// Its value, pinned, if it was asked for.
    pub view: Option<View>,
}

impl Scan {
    pub(super) fn new(store: Store, wanted: Match<'_>) -> Result<Self> {
        let wanted = match wanted {
            Match::All => Wanted::All,
            Match::Prefix(prefix) => Wanted::Prefix(prefix.into()),
            Match::Glob(pattern) => Wanted::Glob(pattern.into()),
            Match::Session(session) => Wanted::Session(session),
            Match::Type(value_type) => Wanted::Type(value_type),
        };
        let mut key = Vec::new();
        key.try_reserve_exact(crate::types::KEY_LEN_MAX).map_err(|_| {
            Error::fixed(ErrorKind::NoMemory, "no memory for the key buffer of a scan")
        })?;
        Ok(Self { store, wanted, shard: 0, position: Some(0), key, seen: None })
    }

    fn wanted(&self) -> Match<'_> {
        match &self.wanted {
            Wanted::All => Match::All,
            Wanted::Prefix(prefix) => Match::Prefix(prefix),
            Wanted::Glob(pattern) => Match::Glob(pattern),
            Wanted::Session(session) => Match::Session(*session),
            Wanted::Type(value_type) => Match::Type(*value_type),
        }
    }

    /// The next entry, `None` after the last. Time O(bucket) beside empty buckets passed.
    ///
    /// # Errors
    /// `Closed`, `Forked`, `Poisoned`; `NoSpace` if the value cannot be pinned: the entry is then
    /// passed.
    pub fn next(&mut self, want_view: bool) -> Result<Option<ScanEntry<'_>>> {
        let store = self.store.clone();
        crate::memory::fork::check(store.0.generation)?;
        while let Some(shard) = store.0.shards.get(self.shard) {
            let Some(position) = self.position else {
                self.shard += 1;
                self.position = Some(0);
                self.seen = None;
                continue;
            };
            let writer = shard.lock(&store.0)?;
            let mut first: Option<(u64, Live)> = None;
            let wanted = store.0.match_kept(self.wanted());
            let next = writer.visit_bucket(position, |hash, live| {
                let order = hash.reverse_bits();
                let entry = live.entry;
                if self.seen == Some(order) && entry.key() <= self.key.as_slice() {
                    return;
                }
                let better = first.as_ref().is_none_or(|(known, known_live)| {
                    (order, entry.key()) < (*known, known_live.entry.key())
                });
                if better && wanted.accepts(&entry) && !writer.is_expired(&entry) {
                    first = Some((order, live));
                }
            });
            let Some((order, live)) = first else {
                self.position = next;
                self.seen = None;
                continue;
            };
            self.key.clear();
            self.key.extend_from_slice(live.entry.key());
            self.position = Some(order);
            self.seen = Some(order);
            let view = if want_view { Some(store.0.pin_live(&writer, &live)?) } else { None };
            drop(writer);
            return Ok(Some(ScanEntry { key: &self.key, view }));
        }
        Ok(None)
    }
}
