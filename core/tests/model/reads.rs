//! Reads: what they may find, and what must then be true of it.

use crate::ops::{How, KIB, Mode, Which, bytes_of, key_of};
use crate::world::World;
use hypercache_core::store::{BatchRead, View};
use hypercache_core::{ErrorKind, Read, Ttl};
use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;

impl World {
    pub fn get(&mut self, key: &[u8], via: u8) {
        let store = self.store();
        match via {
            0 => match store.get_vec(key).unwrap() {
                Some(value) => self.present(key, &value, None),
                None => self.absent(key, "get_vec"),
            },
            1 | 2 => {
                let mut buf = vec![MaybeUninit::uninit(); 64 * KIB];
                match store.get_with(key, &mut buf, via == 2).unwrap() {
                    Read::Hit(info) => {
                        let value = filled(&buf[..info.len]);
                        self.present(key, &value, Some(&info));
                    }
                    Read::SmallBuffer(_) => panic!("a value is longer than all that were written"),
                    Read::Miss => self.absent(key, "get"),
                }
            }
            3 => match store.contains(key).unwrap() {
                true => assert!(self.live(key).is_some(), "a key that cannot be there"),
                false => self.absent(key, "contains"),
            },
            4 => {
                let room = self.live(key).map_or(0, |entry| entry.value.len().saturating_sub(1));
                let mut buf = vec![MaybeUninit::new(0xEE); room];
                match store.get(key, &mut buf).unwrap() {
                    Read::Hit(info) => {
                        assert!(info.len <= room);
                        let value = filled(&buf[..info.len]);
                        self.present(key, &value, Some(&info));
                    }
                    Read::SmallBuffer(info) => {
                        assert!(filled(&buf).iter().all(|&byte| byte == 0xEE), "was touched");
                        let entry = self.live(key).unwrap();
                        self.check_info(key, &entry, &info);
                    }
                    Read::Miss => self.absent(key, "get"),
                }
            }
            _ => {
                let version = self.version(key);
                match self.live(key) {
                    Some(entry) => match version {
                        Some(version) => self.saw_version(key, &entry.value, version),
                        None => self.absent(key, "peek"),
                    },
                    None => assert!(version.is_none(), "a key that cannot be there"),
                }
            }
        }
    }

    pub fn pin(&mut self, key: &[u8], peek: bool) {
        let pinned = self.store().pin(key, peek);
        self.pinned(key, pinned.map_err(|error| error.kind()));
    }

    pub fn pinned(&mut self, key: &[u8], pinned: Result<Option<View>, ErrorKind>) {
        match pinned {
            Ok(Some(view)) => {
                let info = *view.info();
                self.present(key, &view, Some(&info));
                let value = self.live(key).unwrap().value;
                self.views.push((view, value));
                if self.views.len() > 8 {
                    self.views.remove(0);
                }
            }
            Ok(None) => self.absent(key, "pin"),
            Err(kind) => {
                assert_eq!(kind, ErrorKind::NoSpace);
                assert!(self.live(key).is_some());
                self.check_pin_limit();
            }
        }
    }

    /// A pin is refused for the pin limit only.
    pub fn check_pin_limit(&self) {
        let limit = self.pool.config().pin_limit_bytes;
        let pinned = self.pool.stats().pinned_bytes;
        assert!(pinned + 64 * KIB as u64 > limit, "{pinned} of {limit} pinned and no more allowed");
    }

    pub fn take(&mut self, key: &[u8], short: bool) {
        let len = self.live(key).map_or(0, |entry| entry.value.len());
        let room = if short { len.saturating_sub(1) } else { len };
        let mut buf = vec![MaybeUninit::uninit(); room];
        match self.store().take(key, &mut buf).unwrap() {
            Read::Hit(info) => {
                let value = filled(&buf[..info.len]);
                self.present(key, &value, Some(&info));
                self.twin().entries.remove(key);
                assert_eq!(self.store().contains(key), Ok(false));
            }
            Read::SmallBuffer(info) => {
                assert!(short);
                let entry = self.live(key).unwrap();
                self.check_info(key, &entry, &info);
            }
            Read::Miss => self.absent(key, "take"),
        }
    }

    pub fn get_many(&mut self, first: u16, count: u16, room: usize) {
        let names: Vec<_> = (first..first + count).map(key_of).collect();
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut buf = vec![MaybeUninit::uninit(); room];
        let mut out = vec![BatchRead::Miss; keys.len()];
        self.store().get_many(&keys, false, &mut buf, &mut out).unwrap();
        let mut used = 0;
        for (key, read) in keys.iter().zip(out) {
            match read {
                BatchRead::Hit { offset, len, value_type } => {
                    assert_eq!(offset, used);
                    used += len;
                    let value = filled(&buf[offset..offset + len]);
                    self.present(key, &value, None);
                    assert_eq!(self.live(key).unwrap().value_type, value_type.0);
                }
                BatchRead::SmallBuffer { len } => {
                    assert!(len > room - used);
                    assert_eq!(self.live(key).unwrap().value.len(), len);
                }
                BatchRead::Miss => self.absent(key, "get_many"),
                BatchRead::Failed(kind) => panic!("{kind:?}"),
            }
        }
    }

    pub fn pin_many(&mut self, first: u16, count: u16) {
        let names: Vec<_> = (first..first + count).map(key_of).collect();
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut out: Vec<Option<View>> = keys.iter().map(|_| None).collect();
        let mut failed = HashMap::new();
        self.store()
            .pin_many(&keys, false, &mut out, &mut |i, error| {
                failed.insert(i, error.kind());
            })
            .unwrap();
        for (i, view) in out.into_iter().enumerate() {
            match failed.get(&i) {
                Some(&kind) => {
                    assert!(view.is_none());
                    self.pinned(keys[i], Err(kind));
                }
                None => self.pinned(keys[i], Ok(view)),
            }
        }
    }

    pub fn scan(&mut self, which: Which, views: bool, disturb: u16) {
        let store = self.store();
        let mut scan = store.scan(which.wanted()).unwrap();
        let (mut seen, mut disturbed) = (HashSet::new(), HashSet::new());
        let mut steps = 0_u16;
        let mut failures = 0;
        loop {
            let (key, view) = match scan.next(views) {
                Ok(Some(entry)) => (entry.key.to_vec(), entry.view),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace);
                    self.check_pin_limit();
                    failures += 1;
                    continue;
                }
            };
            assert!(seen.insert(key.clone()) || disturbed.contains(&key), "seen twice");
            let Some(entry) = self.live(&key) else { panic!("a key that cannot be there") };
            assert!(which.takes(&key, &entry), "a key that does not match");
            assert_eq!(view.is_some(), views);
            if let Some(view) = view {
                let info = *view.info();
                self.present(&key, &view, Some(&info));
            }
            steps += 1;
            if disturb != 0 && steps.is_multiple_of(disturb) && steps < 60 {
                let number = (steps * 7) % 400;
                let number = if (28..32).contains(&number) { 64 } else { number };
                let other = key_of(number);
                if steps.is_multiple_of(2) {
                    let how = How {
                        mode: Mode::Set,
                        ttl: Ttl::Default,
                        session: 1,
                        value_type: 1,
                        flags: 0,
                    };
                    self.put(&other, bytes_of(steps.into(), 40), how);
                } else {
                    store.delete(&other).unwrap();
                    self.twin().entries.remove(&other);
                }
                disturbed.insert(other);
            }
        }
        let now = self.now();
        let missed: Vec<_> = self.twins[self.at]
            .entries
            .iter()
            .filter(|(key, entry)| which.takes(key, entry) && !seen.contains(*key))
            .filter(|(key, entry)| {
                !disturbed.contains(*key) && entry.expires.is_none_or(|at| at > now)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in missed {
            if failures > 0 && store.contains(&key).unwrap() {
                failures -= 1;
                continue;
            }
            assert_eq!(store.contains(&key), Ok(false), "a key was there and not seen");
            self.absent(&key, "scan");
        }
    }
}

fn filled(bytes: &[MaybeUninit<u8>]) -> Vec<u8> {
    // SAFETY: the caller passes what a read filled.
    bytes.iter().map(|byte| unsafe { byte.assume_init() }).collect()
}
