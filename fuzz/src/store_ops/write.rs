//! Writes and removals of one key.

use super::keys::{How, Mode, key};
use super::life::Life;
use super::twin::{Entry, shown};
use super::world::{HeldDraft, World, take_out};
use crate::input::Input;
use hypercache_core::{
    DeleteOutcome, Error, ErrorKind, IncrOutcome, PutMode, PutOptions, PutOutcome, Result, Ttl,
    ValueType,
};
use std::sync::Arc;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What a write was to do.
pub struct Wanted<'a> {
    pub key: &'a [u8],
    pub value: &'a Arc<[u8]>,
    pub options: PutOptions,
    /// Evictions of the store before it.
    pub evicted: u64,
    /// Compare-and-set: whether the version was the present one.
    pub is_current: bool,
}

impl World<'_> {
    pub fn put(&mut self, input: &mut Input<'_>) {
        let (key, how) = Self::read_key_and_how(input);
        let len = self.len(input);
        self.put_value(&key, how, len);
    }

    pub fn put_value(&mut self, key: &[u8], how: How, len: usize) {
        let value: Arc<[u8]> = self.value(len).into();
        self.begin("put", key, || format!("{len} bytes {how:?}"));
        let wanted = self.wanted(key, &value, how);
        let result = self.twin().store.put(key, &value, &wanted.options);
        self.wrote(&wanted, result);
    }

    pub fn wanted<'b>(&self, key: &'b [u8], value: &'b Arc<[u8]>, how: How) -> Wanted<'b> {
        let twin = self.twin();
        let (mode, is_current) = match how.mode {
            Mode::Set => (PutMode::Set, false),
            Mode::Add => (PutMode::Add, false),
            Mode::Replace => (PutMode::Replace, false),
            Mode::Cas => match twin.peek(key) {
                Some(info) => (PutMode::CompareAndSet(info.version), true),
                None => (PutMode::CompareAndSet(1), false),
            },
            Mode::StaleCas => (PutMode::CompareAndSet(twin.stale_version(key)), false),
        };
        let How { ttl, session, value_type, flags, .. } = how;
        let options = PutOptions { ttl, mode, session, value_type, flags, ..PutOptions::default() };
        let evicted = twin.store.stats().evicted;
        Wanted { key, value, options, evicted, is_current }
    }

    /// What a write did.
    pub fn wrote(&mut self, wanted: &Wanted<'_>, result: Result<PutOutcome>) {
        let Wanted { key, options, .. } = *wanted;
        let now = self.now();
        let conditional = matches!(options.mode, PutMode::CompareAndSet(_));
        self.disturb(key);
        match result {
            Ok(PutOutcome::Stored(version)) => {
                self.log.result("stored", || version);
                let there = self.twin().maybe(key, now).is_some();
                match options.mode {
                    PutMode::Set => {}
                    PutMode::Add => self.missing(key, "add"),
                    PutMode::Replace => assert!(there, "replaced what cannot be there"),
                    PutMode::CompareAndSet(_) => {
                        assert!(there && wanted.is_current, "a version that is not the entry's");
                    }
                }
                self.stored(wanted, version);
            }
            Ok(PutOutcome::Exists) => {
                self.log.result("exists", || "");
                assert_eq!(options.mode, PutMode::Add);
                self.twin_mut().found(key, now);
            }
            Ok(PutOutcome::NotFound) => {
                self.log.result("not found", || "");
                assert!(conditional || options.mode == PutMode::Replace);
                self.missing(key, "conditional write");
            }
            Ok(PutOutcome::Conflict) => {
                // Also for the version that was the present one: reclaim moves entries.
                self.log.result("conflict", || "");
                assert!(conditional);
                self.twin_mut().found(key, now);
            }
            Ok(PutOutcome::NotAdmitted) => panic!("no policy here declines"),
            Err(error) => {
                self.refused(&error, key.len(), wanted.value.len());
                self.failed(wanted);
            }
        }
    }

    fn stored(&mut self, wanted: &Wanted<'_>, version: u64) {
        let Wanted { key, value, options, evicted, .. } = *wanted;
        let now = self.now();
        let twin = self.twin_mut();
        let replaced = twin.maybe(key, now).map(|entry| entry.life);
        let life = twin.rules.life(now, options.ttl, replaced);
        let soft = match twin.rules.soft(now, options.soft_ttl_ms) {
            // What it replaced had one, or not.
            soft if options.ttl == Ttl::Keep => Life { earliest: 0, latest: soft.latest },
            soft => soft,
        };
        twin.loads.end(key);
        let entry = Entry {
            value: Arc::clone(value),
            life,
            soft,
            session: options.session,
            value_type: options.value_type,
            flags: options.flags,
            evicted,
        };
        let mut others = Vec::new();
        if options.ttl == Ttl::Keep && replaced.is_some() {
            // Unless the replaced one was evicted or over: then it had nothing left to keep.
            let life = twin.rules.life(now, Ttl::Default, None);
            others.push(Entry { life, ..entry.clone() });
        }
        twin.saw_version(key, value, version);
        self.settle(key, entry, others);
    }

    /// Notes an entry that may be one of several: looks which, if there are several.
    fn settle(&mut self, key: &[u8], first: Entry, others: Vec<Entry>) {
        let now = self.now();
        let twin = self.twin_mut();
        if others.is_empty() {
            twin.entries.insert(key.to_vec(), first);
            return;
        }
        let Some(info) = twin.peek(key) else {
            // Evicted or over at once.
            let mut all = others.iter().map(|entry| entry.life).chain([first.life]);
            let mut life = first.life;
            all.all(|other| {
                life.earliest = life.earliest.min(other.earliest);
                life.latest = life.latest.max(other.latest);
                true
            });
            twin.entries.insert(key.to_vec(), Entry { life, ..first });
            twin.missing(key, now, "just written");
            return;
        };
        let over = info.ttl_ms.map_or(super::life::NEVER, |left| now + left);
        let fits = |entry: &Entry| {
            entry.life.contains(over)
                && (entry.session, entry.flags) == (info.session, info.flags)
                && entry.value.len() == info.len
        };
        let Some(entry) = [first].into_iter().chain(others).find(fits) else {
            panic!("{}: metadata that nothing explains: {info:?}", shown(key))
        };
        twin.entries.insert(key.to_vec(), entry);
        twin.has_info(key, now, &info);
    }

    /// A write failed: what it was to replace is gone.
    fn failed(&mut self, wanted: &Wanted<'_>) {
        let key = wanted.key;
        // Whatever was not stored was newer than what is being loaded.
        self.twin_mut().loads.end(key);
        match wanted.options.mode {
            PutMode::Set | PutMode::Replace => self.twin_mut().removed(key),
            PutMode::CompareAndSet(_) => {
                // Gone, or moved by reclaim and so not meant any more.
                let (now, twin) = (self.now(), self.twin_mut());
                let is_missing = twin.store.contains(key) == Ok(false);
                if is_missing && wanted.is_current {
                    twin.entries.remove(key);
                } else if is_missing && !twin.lives(key, now) {
                    // What is over may have had this version, or lie in the store still.
                    twin.vague += 1;
                }
            }
            PutMode::Add => {}
        }
    }

    /// Rule 7.
    pub fn refused(&mut self, error: &Error, key_len: usize, len: usize) {
        match error.kind() {
            ErrorKind::NoSpace => {
                self.log.result("no space", || error);
                assert!(self.is_tight(len), "{error}; {len} bytes, {:?}", self.pool.stats());
            }
            ErrorKind::TooLarge => {
                self.log.result("too large", || error);
                let most = self.twin().store.config().value_len_max.min(self.limit() / 4);
                assert!(
                    len as u64 > most || key_len > 4_000,
                    "{error}; {len} bytes under a key of {key_len}"
                );
            }
            other => panic!("{other:?}: {error}"),
        }
    }

    /// What the present store can hold at most.
    pub fn limit(&self) -> u64 {
        let pool = self.pool.stats().target_bytes;
        match self.twin().store.config().limit_bytes {
            0 => pool,
            own => own.min(pool),
        }
    }

    /// Whether memory is short for reasons that eviction can do nothing about.
    pub fn is_tight(&self, len: usize) -> bool {
        let stats = self.pool.stats();
        let limit = self.limit();
        let waiting = self.pool.space().waiting_bytes();
        let floors: u64 = self.twins.iter().map(|twin| twin.config.floor_bytes).sum();
        let held = stats.held_bytes + stats.pinned_bytes + waiting + floors;
        held > stats.target_bytes / 8 || limit < MIB || len as u64 > limit / 8
    }

    pub fn touch(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        let ttl = Self::read_ttl(input);
        self.begin("touch", &key, || format!("{ttl:?}"));
        let now = self.now();
        match self.twin().store.touch(&key, ttl) {
            Ok(true) => {
                self.log.result("touched", || "");
                let twin = self.twin_mut();
                twin.found(&key, now);
                if ttl != Ttl::Keep {
                    let life = twin.rules.life(now, ttl, None);
                    if let Some(entry) = twin.entries.get_mut(&key) {
                        entry.life = life;
                    }
                }
            }
            Ok(false) => self.missing(&key, "touch"),
            Err(error) => self.refused(&error, key.len(), 0),
        }
    }

    pub fn delete(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        self.begin("delete", &key, String::new);
        let now = self.now();
        match self.twin().store.delete(&key).unwrap() {
            true => {
                self.log.result("deleted", || "");
                self.twin_mut().found(&key, now);
            }
            false => self.missing(&key, "delete"),
        }
        self.disturb(&key);
        self.twin_mut().removed(&key);
    }

    pub fn delete_if(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        let stale = input.byte().is_multiple_of(3);
        self.begin("delete if", &key, || format!("stale {stale}"));
        let now = self.now();
        let twin = self.twin();
        let version = match stale {
            true => twin.stale_version(&key),
            false => twin.peek(&key).map_or(1, |info| info.version),
        };
        match twin.store.delete_if(&key, version).unwrap() {
            DeleteOutcome::Deleted => {
                self.log.result("deleted", || "");
                assert!(!stale, "{} was deleted for another version", shown(&key));
                self.twin_mut().found(&key, now);
                self.disturb(&key);
                self.twin_mut().removed(&key);
            }
            DeleteOutcome::NotFound => self.missing(&key, "delete_if"),
            DeleteOutcome::Conflict => {
                self.log.result("conflict", || "");
                self.twin_mut().found(&key, now);
            }
        }
    }

    pub fn incr(&mut self, input: &mut Input<'_>) {
        const NUMBERS: [i64; 8] = [1, -1, 5, 0, i64::MAX, i64::MIN, 1 << 40, -7];
        let key = key(input);
        let byte = input.byte();
        let (delta, initial) =
            (NUMBERS[usize::from(byte & 7)], NUMBERS[usize::from(byte >> 3 & 7)]);
        let ttl = Self::read_ttl(input);
        self.begin("incr", &key, || format!("by {delta} from {initial} {ttl:?}"));
        let now = self.now();
        let evicted = self.twin().store.stats().evicted;
        let before = self.twin().maybe(&key, now).cloned();
        let is_number =
            |entry: &Entry| entry.value_type == ValueType::INT64 && entry.value.len() == 8;
        let number = before
            .as_ref()
            .filter(|entry| is_number(entry))
            .map(|entry| i64::from_le_bytes((*entry.value).try_into().unwrap()));
        let result = self.twin().store.incr(&key, delta, initial, ttl);
        self.disturb(&key);
        match result {
            Ok(IncrOutcome::Sum(sum)) => {
                self.log.result("sum", || sum);
                let evicted_one = || {
                    let evicted = self.twin().store.stats().evicted;
                    before.as_ref().is_none_or(|entry| evicted > entry.evicted)
                };
                let begins = sum == initial && (!self.twin().lives(&key, now) || evicted_one());
                let value: Arc<[u8]> = sum.to_le_bytes().to_vec().into();
                let anew = Entry {
                    value: Arc::clone(&value),
                    life: self.twin().rules.life(now, ttl, None),
                    soft: Life { earliest: 0, latest: super::life::NEVER },
                    session: 0,
                    value_type: ValueType::INT64,
                    flags: 0,
                    evicted,
                };
                let mut candidates = Vec::new();
                if let (Some(number), Some(old)) = (number, &before)
                    && number.checked_add(delta) == Some(sum)
                {
                    candidates.push(Entry { value, evicted, ..old.clone() });
                }
                if begins {
                    candidates.push(anew);
                }
                self.twin_mut().loads.end(&key);
                assert!(!candidates.is_empty(), "{}: a sum from nowhere: {sum}", shown(&key));
                let first = candidates.remove(0);
                self.settle(&key, first, candidates);
            }
            Ok(IncrOutcome::WrongType) => {
                self.log.result("wrong type", || "");
                assert!(before.is_some() && number.is_none(), "{} is a number", shown(&key));
                self.twin_mut().found(&key, now);
            }
            Ok(IncrOutcome::Overflow) => {
                self.log.result("overflow", || "");
                let overflows = number.is_some_and(|number| number.checked_add(delta).is_none());
                assert!(overflows, "{number:?} + {delta} does not overflow");
                self.twin_mut().found(&key, now);
            }
            Ok(IncrOutcome::NotAdmitted) => panic!("no policy here declines"),
            Err(error) => {
                self.refused(&error, key.len(), 8);
                self.twin_mut().removed(&key);
            }
        }
    }

    pub fn reserve(&mut self, input: &mut Input<'_>) {
        let (key, how) = Self::read_key_and_how(input);
        let len = self.len(input);
        // Lengths that nobody has bytes for.
        let absurd = match input.byte() {
            byte @ 250.. => Some(
                [1 << 32, (1 << 32) - 1, usize::MAX, isize::MAX as usize, 1 << 40, 1 << 63]
                    [usize::from(byte - 250)],
            ),
            _ => None,
        };
        let asked = absurd.unwrap_or(len);
        self.begin("reserve", &key, || format!("{asked} bytes {how:?}"));
        let value: Arc<[u8]> = self.value(len).into();
        let wanted = self.wanted(&key, &value, how);
        match self.twin().store.reserve(&key, asked, &wanted.options) {
            Ok(mut draft) => {
                self.log.result("reserved", || "");
                assert_eq!((absurd, draft.len()), (None, len));
                for (to, &from) in draft.data_mut().iter_mut().zip(&*value) {
                    to.write(from);
                }
                let (store, options) = (self.twin().store.id(), wanted.options);
                if self.drafts.len() == 4 {
                    self.drafts.remove(0);
                }
                self.drafts.push(HeldDraft { store, draft, key, value, options });
            }
            Err(error) => {
                if error.kind() == ErrorKind::NoSpace {
                    // The pin limit is a reason too.
                    self.log.result("no space", || &error);
                    let pinned = self.pool.stats().pinned_bytes + (len + key.len()) as u64;
                    let limit = self.pool.config().pin_limit_bytes;
                    assert!(self.is_tight(len) || pinned + 8 * KIB > limit, "{error}");
                } else {
                    self.refused(&error, key.len(), asked);
                }
                self.disturb(&key);
                self.failed(&wanted);
            }
        }
    }

    pub fn commit(&mut self, input: &mut Input<'_>) {
        let Some(held) = take_out(&mut self.drafts, input.byte()) else { return };
        let HeldDraft { store, draft, key, value, options } = held;
        self.begin("commit", &key, || format!("{} bytes {options:?}", value.len()));
        let at = self.twins.iter().position(|twin| twin.store.id() == store);
        let Some(at) = at else {
            // SAFETY: all bytes were written when the draft was made.
            let error = unsafe { draft.commit() }.unwrap_err();
            self.log.result("closed", || &error);
            assert_eq!(error.kind(), ErrorKind::Closed);
            return;
        };
        let before = std::mem::replace(&mut self.at, at);
        // The condition is judged now, not when the draft was made.
        let version = self.twin().peek(&key).map(|info| info.version);
        let is_current = match options.mode {
            PutMode::CompareAndSet(expected) => version == Some(expected),
            PutMode::Set | PutMode::Add | PutMode::Replace => false,
        };
        let evicted = self.twin().store.stats().evicted;
        let wanted = Wanted { key: &key, value: &value, options, evicted, is_current };
        // SAFETY: all bytes were written when the draft was made.
        let result = unsafe { draft.commit() };
        self.wrote(&wanted, result);
        self.at = before;
    }

    pub fn abandon(&mut self, input: &mut Input<'_>) {
        let Some(held) = take_out(&mut self.drafts, input.byte()) else { return };
        self.begin("abandon", &held.key, String::new);
    }
}
