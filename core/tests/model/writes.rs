//! Writes and removals: what they may answer, and what the model then holds.

use crate::ops::{How, KIB, Mode, Which, bytes_of, key_of};
use crate::world::{Entry, HeldDraft, World, take_out};
use hypercache_core::{
    BatchEntry, ErrorKind, IncrOutcome, PutMode, PutOptions, PutOutcome, Read, Ttl, ValueType,
};
use std::sync::Arc;

fn deadline(now: u64, ttl: Ttl, default_ttl_ms: u64, replaced: Option<&Entry>) -> Option<u64> {
    let after = |ms: u64| Some(now.saturating_add(ms).min(u64::MAX - 1));
    match (ttl, replaced) {
        (Ttl::Never, _) => None,
        (Ttl::Millis(ms), _) => after(ms),
        (Ttl::Keep, Some(entry)) => entry.expires,
        (Ttl::Keep | Ttl::Default, _) if default_ttl_ms == 0 => None,
        (Ttl::Keep | Ttl::Default, _) => after(default_ttl_ms),
    }
}

impl World {
    pub fn options(&self, key: &[u8], how: How) -> PutOptions {
        let mode = match how.mode {
            Mode::Set => PutMode::Set,
            Mode::Add => PutMode::Add,
            Mode::Replace => PutMode::Replace,
            Mode::Cas => PutMode::CompareAndSet(self.version(key).unwrap_or(1)),
            Mode::StaleCas => PutMode::CompareAndSet(self.stale_version(key)),
        };
        PutOptions {
            ttl: how.ttl,
            mode,
            session: how.session,
            value_type: ValueType(how.value_type),
            flags: how.flags,
            ..PutOptions::default()
        }
    }

    /// What a write did to the model.
    pub fn wrote(
        &mut self,
        key: &[u8],
        value: &Arc<[u8]>,
        options: &PutOptions,
        stale: bool,
        result: Result<PutOutcome, ErrorKind>,
    ) {
        let live = self.live(key);
        match result {
            Ok(PutOutcome::Stored(version)) => {
                match options.mode {
                    PutMode::Set => {}
                    PutMode::Add => {
                        if live.is_some() {
                            self.absent(key, "add");
                        }
                    }
                    PutMode::Replace => assert!(live.is_some(), "replaced what cannot be there"),
                    PutMode::CompareAndSet(_) => {
                        assert!(live.is_some(), "compared with what cannot be there");
                        assert!(!stale, "a stale version was taken for the present one");
                    }
                }
                // A value that was evicted before has no time to live to keep.
                let kept = if self.setup.roomy { live.as_ref() } else { None };
                let mut expires =
                    deadline(self.now(), options.ttl, self.twin().default_ttl_ms, kept);
                if !self.setup.roomy && options.ttl == Ttl::Keep && live.is_some() {
                    expires = self.kept_deadline(key, live.as_ref(), expires);
                }
                let entry = Entry {
                    value: Arc::clone(value),
                    expires,
                    session: options.session,
                    value_type: options.value_type.0,
                    flags: options.flags,
                };
                self.twin().entries.insert(key.to_vec(), entry);
                self.saw_version(key, value, version);
            }
            Ok(PutOutcome::Exists) => {
                assert!(matches!(options.mode, PutMode::Add) && live.is_some());
            }
            Ok(PutOutcome::NotFound) => {
                assert!(matches!(options.mode, PutMode::Replace | PutMode::CompareAndSet(_)));
                self.absent(key, "conditional write");
            }
            Ok(PutOutcome::Conflict) => {
                assert!(matches!(options.mode, PutMode::CompareAndSet(_)) && live.is_some());
                // A fresh version may conflict too: reclaim moves entries, and a move is a version.
            }
            Ok(PutOutcome::NotAdmitted) => panic!("no policy here declines"),
            Err(kind) => {
                self.refused(kind, key, value.len());
                match options.mode {
                    PutMode::Set | PutMode::Replace => {
                        self.twin().entries.remove(key);
                        assert_eq!(self.store().contains(key), Ok(false), "a failed write");
                    }
                    PutMode::CompareAndSet(_) if !stale => {
                        if live.is_some() && self.store().contains(key) == Ok(false) {
                            self.twin().entries.remove(key);
                        }
                    }
                    PutMode::Add | PutMode::CompareAndSet(_) => {}
                }
            }
        }
    }

    /// The deadline that [`Ttl::Keep`] kept: the replaced entry's, or the default if that was
    /// evicted on the way.
    pub fn kept_deadline(
        &self,
        key: &[u8],
        live: Option<&Entry>,
        default: Option<u64>,
    ) -> Option<u64> {
        let kept = live.and_then(|entry| entry.expires);
        match self.twins[self.at].store.get_with(key, &mut [], true) {
            Ok(Read::Hit(info) | Read::SmallBuffer(info)) => {
                let found = info.ttl_ms.map(|left| left + self.now());
                assert!(found == kept || found == default, "a time to live from nowhere");
                found
            }
            Ok(Read::Miss) | Err(_) => kept,
        }
    }

    pub fn put(&mut self, key: &[u8], value: Vec<u8>, how: How) {
        let options = self.options(key, how);
        let stale = matches!(how.mode, Mode::StaleCas);
        let result = self.store().put(key, &value, &options).map_err(|error| error.kind());
        self.wrote(key, &value.into(), &options, stale, result);
    }

    pub fn touch(&mut self, key: &[u8], ttl: Ttl) {
        let now = self.now();
        match self.store().touch(key, ttl) {
            Ok(true) => {
                assert!(self.live(key).is_some(), "touched what cannot be there");
                let default = self.twin().default_ttl_ms;
                let entry = self.twin().entries.get_mut(key).unwrap();
                if ttl != Ttl::Keep {
                    entry.expires = deadline(now, ttl, default, None);
                }
            }
            Ok(false) => self.absent(key, "touch"),
            Err(error) => self.refused(error.kind(), key, 0),
        }
    }

    pub fn incr(&mut self, key: &[u8], delta: i64, initial: i64, ttl: Ttl) {
        let live = self.live(key);
        let before = live.as_ref().map(|entry| {
            let bytes: Option<[u8; 8]> = (&*entry.value).try_into().ok();
            bytes.filter(|_| entry.value_type == ValueType::INT64.0).map(i64::from_le_bytes)
        });
        match self.store().incr(key, delta, initial, ttl) {
            Ok(IncrOutcome::Sum(sum)) => {
                let continued = before.flatten().and_then(|before| before.checked_add(delta));
                let begun = sum == initial && (live.is_none() || !self.setup.roomy);
                let continued = continued == Some(sum) && !(begun && self.version(key).is_none());
                assert!(continued || begun, "a sum from nowhere");
                let default = self.twin().default_ttl_ms;
                let anew = deadline(self.now(), ttl, default, None);
                let mut entry = Entry {
                    value: sum.to_le_bytes().to_vec().into(),
                    expires: anew,
                    session: 0,
                    value_type: ValueType::INT64.0,
                    flags: 0,
                };
                if let (true, Some(old)) = (continued, live) {
                    (entry.session, entry.flags) = (old.session, old.flags);
                    entry.expires =
                        if begun { self.kept_deadline(key, Some(&old), anew) } else { old.expires };
                    if begun
                        && let Ok(Read::Hit(info) | Read::SmallBuffer(info)) =
                            self.store().get_with(key, &mut [], true)
                    {
                        // Both explain the sum: evicted and begun anew, or continued.
                        assert!([0, old.session].contains(&info.session));
                        (entry.session, entry.flags) = (info.session, info.flags);
                    }
                }
                self.twin().entries.insert(key.to_vec(), entry);
            }
            Ok(IncrOutcome::WrongType) => assert_eq!(before, Some(None)),
            Ok(IncrOutcome::Overflow) => {
                assert!(before.flatten().is_some_and(|sum| sum.checked_add(delta).is_none()));
            }
            Ok(IncrOutcome::NotAdmitted) => panic!("no policy here declines"),
            Err(error) => {
                self.refused(error.kind(), key, 8);
                self.twin().entries.remove(key);
                assert_eq!(self.store().contains(key), Ok(false));
            }
        }
    }

    pub fn put_many(&mut self, first: u16, count: u16, seed: u32, len: usize) {
        let keys: Vec<_> = (first..first + count).map(key_of).collect();
        let values: Vec<Arc<[u8]>> = (0..count)
            .map(|i| bytes_of(seed.wrapping_add(u32::from(i)), len.saturating_sub(7 * i as usize)))
            .map(Arc::from)
            .collect();
        let entries: Vec<_> = keys
            .iter()
            .zip(&values)
            .map(|(key, value)| BatchEntry { key, value, options: PutOptions::default() })
            .collect();
        let mut outcomes = Vec::new();
        self.store()
            .put_many(&entries, &mut |i, outcome| {
                assert_eq!(i, outcomes.len());
                outcomes.push(outcome.map_err(|error| error.kind()));
            })
            .unwrap();
        assert_eq!(outcomes.len(), keys.len());
        for ((key, value), outcome) in keys.iter().zip(&values).zip(outcomes) {
            self.wrote(key, value, &PutOptions::default(), false, outcome);
        }
    }

    pub fn delete_many(&mut self, first: u16, count: u16) {
        let names: Vec<_> = (first..first + count).map(key_of).collect();
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let live = keys.iter().filter(|key| self.live(key).is_some()).count() as u64;
        let deleted = self.store().delete_many(&keys).unwrap();
        assert!(deleted <= live);
        assert!(deleted == live || !self.setup.roomy);
        for key in keys {
            self.twin().entries.remove(key);
            assert_eq!(self.store().contains(key), Ok(false));
        }
    }

    pub fn reserve(&mut self, key: &[u8], value: Vec<u8>, how: How) {
        let options = self.options(key, how);
        let made = self.store().reserve(key, value.len(), &options);
        let value: Arc<[u8]> = value.into();
        match made {
            Ok(mut draft) => {
                let room = draft.data_mut();
                assert_eq!(room.len(), value.len());
                for (to, &from) in room.iter_mut().zip(&*value) {
                    to.write(from);
                }
                if self.drafts.len() == 3 {
                    self.drafts.remove(0);
                }
                let id = self.store().id();
                let twin = self.at;
                self.drafts.push(HeldDraft { twin, id, draft, key: key.to_vec(), value, options });
            }
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                let limit = self.pool.config().pin_limit_bytes;
                let pinned = self.pool.stats().pinned_bytes;
                assert!(self.is_tight() || pinned + 64 * KIB as u64 > limit, "{error}");
                let stale = matches!(how.mode, Mode::StaleCas);
                let gone = self.store().contains(key) == Ok(false);
                if !stale && gone && self.live(key).is_some() {
                    self.twin().entries.remove(key);
                }
                assert!(
                    !matches!(how.mode, Mode::Set | Mode::Replace)
                        || self.store().contains(key) == Ok(false)
                );
            }
            Err(error) => {
                let stale = matches!(how.mode, Mode::StaleCas);
                self.wrote(key, &value, &options, stale, Err(error.kind()));
            }
        }
    }

    pub fn commit(&mut self, i: usize) {
        let Some(held) = take_out(&mut self.drafts, i) else { return };
        let open = self.twins.get(held.twin).filter(|twin| twin.store.id() == held.id).is_some();
        let present = self.at;
        if open {
            self.at = held.twin;
        }
        // What the expected version is worth is judged now, not when the draft was made.
        let stale = match held.options.mode {
            PutMode::CompareAndSet(version) => open && self.version(&held.key) != Some(version),
            PutMode::Set | PutMode::Add | PutMode::Replace => false,
        };
        // SAFETY: all bytes were written when the draft was made.
        let result = unsafe { held.draft.commit() }.map_err(|error| error.kind());
        if open {
            self.wrote(&held.key, &held.value, &held.options, stale, result);
        } else {
            assert_eq!(result, Err(ErrorKind::Closed));
        }
        self.at = present;
    }

    pub fn invalidate(&mut self, which: Which) {
        let matching: Vec<_> = self.twins[self.at]
            .entries
            .iter()
            .filter(|(key, entry)| which.takes(key, entry))
            .map(|(key, _)| key.clone())
            .collect();
        let live = matching.iter().filter(|key| self.live(key).is_some()).count() as u64;
        let removed = self.store().invalidate(which.wanted()).unwrap();
        assert!(removed <= matching.len() as u64, "more than there were");
        assert!(removed >= live || !self.setup.roomy, "less than there were");
        for key in matching {
            self.twin().entries.remove(&key);
            assert_eq!(self.store().contains(&key), Ok(false));
        }
    }
}
