//! Operations on many keys.

use super::keys::{How, Mode, Which, key_of};
use super::read::{filled, marked};
use super::world::World;
use crate::input::Input;
use hypercache_core::BatchEntry;
use hypercache_core::store::{BatchRead, View};
use std::collections::HashMap;
use std::sync::Arc;

/// Some keys: few that single operations use too, or many that only bulk operations use.
fn keys(input: &mut Input<'_>, most: u8) -> Vec<Vec<u8>> {
    let (first, count) = (input.byte(), input.byte());
    let first = u16::from(first);
    let (first, count) =
        if count < 128 { (first % 28, count % 24) } else { (64 + first, count % most) };
    (first..first + u16::from(count)).map(key_of).collect()
}

impl World<'_> {
    pub fn put_many(&mut self, input: &mut Input<'_>) {
        let keys = keys(input, 128);
        let how = How::read(input);
        let how = if how.mode == Mode::Cas { How { mode: Mode::Set, ..how } } else { how };
        let len = self.len(input);
        self.log.begin("put many", || format!("{} x {len} bytes {how:?}", keys.len()));
        let values: Vec<Arc<[u8]>> = (0..keys.len())
            .map(|i| {
                self.value(if self.written > super::WRITTEN_MAX {
                    50
                } else {
                    len.saturating_sub(7 * i)
                })
                .into()
            })
            .collect();
        self.written += len * keys.len();
        let wanted: Vec<_> =
            keys.iter().zip(&values).map(|(key, value)| self.wanted(key, value, how)).collect();
        let entries: Vec<_> = wanted
            .iter()
            .map(|wanted| BatchEntry {
                key: wanted.key,
                value: wanted.value,
                options: wanted.options,
            })
            .collect();
        let mut outcomes = Vec::new();
        self.twin()
            .store
            .put_many(&entries, &mut |at, outcome| {
                assert_eq!(at, outcomes.len());
                outcomes.push(outcome);
            })
            .unwrap();
        assert_eq!(outcomes.len(), keys.len());
        for (wanted, outcome) in wanted.iter().zip(outcomes) {
            self.wrote(wanted, outcome);
        }
    }

    /// Writes much in little input: what a cache is under load.
    pub fn fill(&mut self, input: &mut Input<'_>) {
        let (count, len) = (usize::from(input.byte()) * 8, usize::from(input.byte()) * 32);
        self.log.begin("fill", || format!("{count} x {len} bytes"));
        for number in 0..count {
            if self.written > super::WRITTEN_MAX {
                break;
            }
            self.written += len;
            let value: Arc<[u8]> = self.value(len).into();
            let key = key_of(400 + number as u16);
            let wanted = self.wanted(&key, &value, How::PLAIN);
            let result = self.twin().store.set(&key, &value);
            self.wrote(&wanted, result);
        }
    }

    pub fn get_many(&mut self, input: &mut Input<'_>) {
        let names = keys(input, 128);
        let room = usize::from(input.word());
        let peek = room & 1 != 0;
        self.log.begin("get many", || format!("{} keys into {room} bytes", names.len()));
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut buf = marked(room);
        let mut out = vec![BatchRead::Miss; keys.len()];
        self.twin().store.get_many(&keys, peek, &mut buf, &mut out).unwrap();
        let now = self.now();
        let mut used = 0;
        for (key, read) in keys.iter().zip(out) {
            match read {
                BatchRead::Hit { offset, len, value_type } => {
                    self.log.note("hit in a batch");
                    assert_eq!(offset, used);
                    used += len;
                    self.twin_mut().has_value(key, now, &filled(&buf[offset..offset + len]));
                    assert_eq!(self.twin().entries[*key].value_type, value_type);
                }
                BatchRead::SmallBuffer { len } => {
                    self.log.note("small buffer in a batch");
                    assert!(len > room - used);
                    self.twin_mut().found(key, now);
                    assert_eq!(self.twin().entries[*key].value.len(), len);
                }
                BatchRead::Miss => self.missing(key, "get_many"),
                BatchRead::Failed(kind) => panic!("{kind:?}"),
            }
        }
        assert!(filled(&buf[used..]).iter().all(|&byte| byte == 0xEE), "written behind values");
    }

    pub fn pin_many(&mut self, input: &mut Input<'_>) {
        let names = keys(input, 40);
        let peek = input.flag();
        self.log.begin("pin many", || format!("{} keys", names.len()));
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut out: Vec<Option<View>> = keys.iter().map(|_| None).collect();
        let mut failed = HashMap::new();
        self.twin()
            .store
            .pin_many(&keys, peek, &mut out, &mut |at, error| {
                failed.insert(at, error);
            })
            .unwrap();
        for (at, view) in out.into_iter().enumerate() {
            match failed.remove(&at) {
                Some(error) => {
                    assert!(view.is_none());
                    // Views of keys behind it are given back by now: not the limit's moment.
                    self.log.result("not pinned", || &error);
                    assert_eq!(error.kind(), hypercache_core::ErrorKind::NoSpace);
                    let now = self.now();
                    self.twin_mut().found(keys[at], now);
                }
                None => self.pinned(keys[at], Ok(view)),
            }
        }
    }

    pub fn delete_many(&mut self, input: &mut Input<'_>) {
        let names = keys(input, 128);
        self.log.begin("delete many", || format!("{} keys", names.len()));
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let now = self.now();
        let possible = keys.iter().filter(|key| self.twin().maybe(key, now).is_some()).count();
        let deleted = self.twin().store.delete_many(&keys).unwrap();
        self.log.result("deleted many", || deleted);
        assert!(deleted <= possible as u64, "{deleted} deleted and {possible} there");
        for key in keys {
            self.disturb(key);
            self.twin_mut().removed(key);
        }
    }

    pub fn invalidate(&mut self, input: &mut Input<'_>) {
        let which = Which::read(input);
        self.log.begin("invalidate", || format!("{which:?}"));
        let matching: Vec<_> = self
            .twin()
            .entries
            .iter()
            .filter(|(key, entry)| which.takes(key, entry))
            .map(|(key, _)| key.clone())
            .collect();
        let removed = self.twin().store.invalidate(which.wanted()).unwrap();
        self.log.result("invalidated", || removed);
        // What is being loaded may be of any session and any type.
        let ends_all = matches!(which, Which::All | Which::Session(_) | Which::Type(_));
        self.twin_mut().loads.end_all(|key| ends_all || which.takes_key(key));
        assert!(removed <= matching.len() as u64, "more than there were");
        for key in matching {
            self.disturb(&key);
            self.twin_mut().removed(&key);
        }
    }

    pub fn clear(&mut self) {
        self.log.begin("clear", || "");
        self.twin().store.clear().unwrap();
        self.twin_mut().loads.end_all(|_| true);
        let keys: Vec<_> = self.twin().entries.keys().cloned().collect();
        for key in keys {
            self.disturb(&key);
            self.twin_mut().removed(&key);
        }
        assert_eq!(self.twin().store.stats().entries, 0);
    }
}
