//! Reads of one key.

use super::keys::key;
use super::world::{World, take_out};
use crate::input::Input;
use hypercache_core::store::{Copied, View};
use hypercache_core::{ErrorKind, Read, Result};
use std::mem::MaybeUninit;

/// What a read filled.
pub fn filled(bytes: &[MaybeUninit<u8>]) -> Vec<u8> {
    // SAFETY: the caller passes what a read filled, or what was initialised before.
    bytes.iter().map(|byte| unsafe { byte.assume_init() }).collect()
}

/// A buffer whose bytes are known, to see that a read leaves them alone.
pub fn marked(len: usize) -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::new(0xEE); len]
}

fn is_untouched(buf: &[MaybeUninit<u8>]) -> bool {
    filled(buf).iter().all(|&byte| byte == 0xEE)
}

impl World<'_> {
    pub fn get(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        let via = input.below(8);
        self.begin("get", &key, || format!("way {via}"));
        let store = self.twin().store.clone();
        let now = self.now();
        match via {
            0 => match store.get_vec(&key).unwrap() {
                Some(value) => self.twin_mut().has_value(&key, now, &value),
                None => self.missing(&key, "get_vec"),
            },
            1 => match store.contains(&key).unwrap() {
                true => self.twin_mut().found(&key, now),
                false => self.missing(&key, "contains"),
            },
            // Room that is short by some, exact, or more than enough.
            _ => {
                let len = self.twin().maybe(&key, now).map_or(9, |entry| entry.value.len());
                let room = match via {
                    2 | 3 => len,
                    4 | 5 => len.saturating_sub(1),
                    6 => len + 1_000,
                    _ => 0,
                };
                let mut buf = marked(room);
                if via & 1 == 0 {
                    let read = store.get_with(&key, &mut buf, via == 4).unwrap();
                    self.has_read(&key, read, &buf, "get");
                } else {
                    let read = store.copy(&key, &mut buf).unwrap();
                    self.has_copied(&key, read, &buf);
                }
            }
        }
    }

    pub fn has_read(&mut self, key: &[u8], read: Read, buf: &[MaybeUninit<u8>], why: &str) {
        let now = self.now();
        match read {
            Read::Hit(info) => {
                self.log.result("hit", || info.len);
                assert!(info.len <= buf.len());
                self.twin_mut().has_value(key, now, &filled(&buf[..info.len]));
                self.twin_mut().has_info(key, now, &info);
                assert!(is_untouched(&buf[info.len..]), "written behind the value");
            }
            Read::SmallBuffer(info) => {
                self.log.result("small buffer", || info.len);
                assert!(info.len > buf.len() && is_untouched(buf));
                self.twin_mut().has_info(key, now, &info);
            }
            Read::Miss => {
                self.log.result("miss", || "");
                if why == "take" {
                    self.twin_mut().loads.end(key);
                }
                assert!(is_untouched(buf));
                self.missing(key, why);
            }
        }
    }

    fn has_copied(&mut self, key: &[u8], read: Copied, buf: &[MaybeUninit<u8>]) {
        let now = self.now();
        match read {
            Copied::Hit { len, value_type } => {
                self.log.result("hit", || len);
                self.twin_mut().has_value(key, now, &filled(&buf[..len]));
                assert_eq!(self.twin().entries[key].value_type, value_type);
                assert!(is_untouched(&buf[len..]), "written behind the value");
            }
            Copied::SmallBuffer { len } => {
                self.log.result("small buffer", || len);
                self.twin_mut().found(key, now);
                assert!(len > buf.len() && is_untouched(buf));
                assert_eq!(self.twin().entries[key].value.len(), len);
            }
            Copied::Miss => {
                self.log.result("miss", || "");
                assert!(is_untouched(buf));
                self.missing(key, "copy");
            }
        }
    }

    pub fn take(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        let short = input.byte().is_multiple_of(4);
        self.begin("take", &key, || format!("short {short}"));
        let now = self.now();
        let len = self.twin().maybe(&key, now).map_or(0, |entry| entry.value.len());
        let mut buf = marked(if short { len.saturating_sub(1) } else { len });
        let read = self.twin().store.take(&key, &mut buf).unwrap();
        self.has_read(&key, read, &buf, "take");
        if let Read::Hit(_) = read {
            self.log.note("taken");
            self.disturb(&key);
            self.twin_mut().removed(&key);
        }
    }

    pub fn pin(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        let peek = input.flag();
        self.begin("pin", &key, || format!("peek {peek}"));
        let pinned = self.twin().store.pin(&key, peek);
        self.pinned(&key, pinned);
    }

    pub fn pinned(&mut self, key: &[u8], pinned: Result<Option<View>>) {
        let now = self.now();
        match pinned {
            Ok(Some(view)) => {
                self.log.result("pinned", || view.len());
                self.twin_mut().has_value(key, now, &view);
                self.twin_mut().has_info(key, now, view.info());
                let value = self.twin().entries[key].value.clone();
                self.views.push((view, value));
                if self.views.len() > 12 {
                    self.views.remove(0);
                }
            }
            Ok(None) => self.missing(key, "pin"),
            Err(error) => {
                self.log.result("not pinned", || &error);
                assert_eq!(error.kind(), ErrorKind::NoSpace);
                let len = self.twin().maybe(key, now).map_or(0, |entry| entry.value.len());
                self.check_pin_limit(len);
                self.twin_mut().found(key, now);
            }
        }
    }

    /// A pin is refused for the pin limit only.
    pub fn check_pin_limit(&self, len: usize) {
        let limit = self.pool.config().pin_limit_bytes;
        let pinned = self.pool.stats().pinned_bytes;
        // A value lies in a segment, which is pinned whole, or in whole pages.
        let most = (len as u64).next_multiple_of(4_096).max(self.pool.space().seg_bytes());
        assert!(pinned + most > limit, "{pinned} of {limit} pinned, and {most} were refused");
    }

    pub fn unpin(&mut self, input: &mut Input<'_>) {
        if let Some((view, value)) = take_out(&mut self.views, input.byte()) {
            self.log.begin("unpin", || format!("{} bytes", value.len()));
            assert!(view[..] == value[..], "a view changed");
        }
    }
}
