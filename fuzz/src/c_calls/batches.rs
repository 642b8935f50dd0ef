//! Calls on many keys, some of which may be none.

use super::args::{Fault, Struct, unless};
use super::reads::{NO_VIEW, flags};
use super::world::{HeldView, World};
use super::writes::{Key, options, ttl_of};
use crate::input::Input;
use hypercache::*;
use std::collections::HashSet;
use std::ptr::{null, null_mut};

/// Nobody answers this.
pub const UNWRITTEN: hc_status = 0x7777;
/// Lengths that no array has.
const LONG: [usize; 3] = [usize::MAX, isize::MAX as usize, usize::MAX / 16];

/// A key of a batch, and what is wrong with it.
pub struct Item {
    pub key: Key,
    pub fault: Option<Fault>,
}

pub fn items(input: &mut Input<'_>) -> Vec<Item> {
    let count = input.byte() % 72;
    (0..count)
        .map(|_| {
            let fault = match input.byte() {
                0..230 => None,
                byte if byte & 1 == 0 => Some(Fault::NullKey),
                _ => Some(Fault::LongKey),
            };
            Item { key: Key::read(fault, input), fault }
        })
        .collect()
}

pub fn slices(items: &[Item]) -> Vec<hc_slice> {
    items.iter().map(|item| hc_slice { data: item.key.at, len: item.key.len }).collect()
}

impl World<'_> {
    /// What the whole of a batch answers: all went, or some did not, or the store is closed.
    fn batch_went(
        &mut self,
        store: usize,
        fault: Option<Fault>,
        status: hc_status,
        statuses: &[hc_status],
    ) -> bool {
        if fault.is_some() {
            self.went(status, fault, Some(store), &[]);
            let untouched = statuses.iter().all(|&status| status == UNWRITTEN);
            assert!(untouched || status == HC_ERR_CLOSED, "a status was written");
            return false;
        }
        if self.stores[store].is_closed && !statuses.is_empty() {
            assert_eq!(status, HC_ERR_CLOSED);
            let answered =
                statuses.iter().all(|status| [HC_ERR_CLOSED, HC_ERR_INVALID].contains(status));
            assert!(answered, "statuses of a closed store: {statuses:?}");
            self.log.note("batch on a closed store");
            return false;
        }
        let all = statuses.iter().all(|&status| status == HC_OK);
        assert_eq!(status, if all { HC_OK } else { HC_PARTIAL }, "{statuses:?}");
        self.log.note(if all { "batch went" } else { "batch went in part" });
        true
    }

    pub fn get_many(&mut self, input: &mut Input<'_>) {
        let faults = [
            Fault::NullHandle,
            Fault::NullArray,
            Fault::LongArray,
            Fault::NullBuffer,
            Fault::NullOut,
            Fault::Flags,
        ];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let cap = usize::from(input.word());
        let (flags, which) = (flags(fault, input), input.byte());
        let mut items = items(input);
        if fault.is_some() && items.is_empty() {
            items.push(Item { key: Key::read(None, input), fault: None });
        }
        self.log.begin("hc_get_many", || format!("{} into {cap}", items.len()));
        let keys = slices(&items);
        let mut buf = vec![0xEE_u8; cap];
        let mut values = vec![hc_slice { data: null(), len: 7_777 }; keys.len()];
        let mut types = vec![7_777; keys.len()];
        let mut statuses = vec![UNWRITTEN; keys.len()];
        let wants_types = which & 1 != 0;
        let n = match fault {
            Some(Fault::LongArray) => LONG[usize::from(which) % 3],
            _ => keys.len(),
        };
        let (buf_at, buf_cap) = match fault {
            Some(Fault::NullBuffer) => (null_mut(), cap + 1),
            _ => (buf.as_mut_ptr().cast(), cap),
        };
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let no_out = fault == Some(Fault::NullOut);
        let keys_at = if fault == Some(Fault::NullArray) { null() } else { keys.as_ptr() };
        // SAFETY: what the header leaves to the caller is kept; see the module.
        let status = unsafe {
            hc_get_many(
                at,
                keys_at,
                n,
                flags,
                buf_at,
                buf_cap,
                unless(no_out && which & 2 == 0, values.as_mut_ptr()),
                unless(!wants_types, types.as_mut_ptr()),
                unless(no_out && which & 2 != 0, statuses.as_mut_ptr()),
            )
        };
        if !self.batch_went(store, fault, status, &statuses) {
            return;
        }
        let base = buf.as_ptr() as usize;
        let mut used = 0;
        for (((item, status), value), kind) in items.iter().zip(statuses).zip(values).zip(types) {
            let key = &item.key.bytes;
            match (item.fault, status) {
                (Some(fault), status) => assert_eq!(status, fault.status()),
                (None, HC_OK) => {
                    assert_eq!(value.data as usize, base + used, "values lie one after another");
                    let bytes = buf[used..used + value.len].to_vec();
                    used += value.len;
                    self.has_value(store, key, &bytes);
                    let expected = if wants_types { self.found(store, key).kind } else { 7_777 };
                    assert_eq!(kind, expected);
                }
                (None, HC_SMALL_BUFFER) => {
                    assert!(value.data.is_null() && value.len > cap - used);
                    assert_eq!(self.found(store, key).value.len(), value.len);
                }
                (None, HC_NOT_FOUND) => self.missing(store, key),
                (None, other) => panic!("{other}"),
            }
        }
        assert!(buf[used..].iter().all(|&byte| byte == 0xEE), "written behind the values");
    }

    pub fn pin_many(&mut self, input: &mut Input<'_>) {
        let faults =
            [Fault::NullHandle, Fault::NullArray, Fault::LongArray, Fault::NullOut, Fault::Flags];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let (flags, which) = (flags(fault, input), input.byte());
        let mut items = items(input);
        if fault.is_some() && items.is_empty() {
            items.push(Item { key: Key::read(None, input), fault: None });
        }
        self.log.begin("hc_pin_many", || items.len());
        let keys = slices(&items);
        let mut views = vec![NO_VIEW; keys.len()];
        let mut statuses = vec![UNWRITTEN; keys.len()];
        let n = match fault {
            Some(Fault::LongArray) => LONG[usize::from(which) % 3],
            _ => keys.len(),
        };
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let no_out = fault == Some(Fault::NullOut);
        let keys_at = if fault == Some(Fault::NullArray) { null() } else { keys.as_ptr() };
        // SAFETY: as in `get_many`.
        let status = unsafe {
            hc_pin_many(
                at,
                keys_at,
                n,
                flags,
                unless(no_out && which & 2 == 0, views.as_mut_ptr()),
                unless(no_out && which & 2 != 0, statuses.as_mut_ptr()),
            )
        };
        if !self.batch_went(store, fault, status, &statuses) {
            assert!(views.iter().all(|view| view.data.is_null()), "a view nobody can know of");
            return;
        }
        for ((item, status), view) in items.iter().zip(statuses).zip(views) {
            let key = &item.key.bytes;
            assert_eq!(view.data.is_null(), status != HC_OK, "views are cleared elsewhere");
            match (item.fault, status) {
                (Some(fault), status) => assert_eq!(status, fault.status()),
                (None, HC_OK) => self.hold(store, key, view),
                (None, HC_NOT_FOUND) => self.missing(store, key),
                (None, HC_ERR_NO_SPACE) => {
                    self.found(store, key);
                }
                (None, other) => panic!("{other}"),
            }
        }
    }

    pub fn unpin_many(&mut self, input: &mut Input<'_>) {
        let count = usize::from(input.byte()) % 8;
        self.log.begin("hc_unpin_many", || count);
        let count = count.min(self.views.len());
        let held: Vec<HeldView> = self.views.drain(..count).collect();
        for view in &held {
            view.check();
        }
        let mut views: Vec<hc_view> = held.iter().map(|held| held.view).collect();
        // Twice: they are cleared, and so nothing the second time. And NULL, of nothing and of some.
        for _ in 0..2 {
            // SAFETY: views that were pinned or cleared, each once: the copies in `held` go unused.
            unsafe { hc_unpin_many(views.as_mut_ptr(), views.len()) };
            assert!(views.iter().all(|view| view.data.is_null() && view.pin.is_null()));
        }
        // SAFETY: NULL is nothing to unpin.
        unsafe { hc_unpin_many(null_mut(), count) };
    }

    pub fn put_many(&mut self, input: &mut Input<'_>) {
        let faults = [
            Fault::NullHandle,
            Fault::NullArray,
            Fault::LongArray,
            Fault::SmallStruct,
            Fault::HugeStruct,
            Fault::Tail,
            Fault::Reserved,
            Fault::Later,
        ];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let (batch, memory) = options(fault, 1, input);
        let which = input.byte();
        let count = input.byte() % 72;
        let mut entries = Vec::new();
        let mut held = Vec::new();
        let mut keys = HashSet::new();
        for _ in 0..count.max(u8::from(fault.is_some())) {
            let own = match input.byte() {
                0..220 => None,
                byte => Some(
                    [
                        Fault::NullKey,
                        Fault::LongKey,
                        Fault::NullValue,
                        Fault::BadType,
                        Fault::BadType,
                    ][usize::from(byte % 5)],
                ),
            };
            let key = Key::read(own, input);
            let value = self.value(input.byte());
            let how = input.byte();
            let mut options = Struct::<hc_put_options>::zeroed();
            options.mode = batch.mode;
            if own.is_none() && !keys.insert(key.bytes.clone()) {
                // Each once: what came of it is judged when all are done.
                continue;
            }
            let own_ttl = ttl_of(how);
            options.ttl_ms = if own_ttl == HC_TTL_DEFAULT { batch.ttl_ms } else { own_ttl };
            options.session = u64::from(how >> 3 & 3);
            options.r#type = if own == Some(Fault::BadType) { 256 } else { u32::from(how >> 5) };
            let (data, len) = match own {
                Some(Fault::NullValue) => (null(), value.len() + 1),
                _ => (value.as_ptr().cast(), value.len()),
            };
            entries.push(hc_entry {
                key: hc_slice { data: key.at, len: key.len },
                value: hc_slice { data, len },
                ttl_ms: own_ttl,
                expected_version: 1,
                session: options.session,
                soft_ttl_ms: 0,
                idle_ttl_ms: 0,
                r#type: options.r#type,
                flags: 0,
            });
            held.push((key, value, options, own));
        }
        self.log.begin("hc_put_many", || format!("{} mode {}", held.len(), batch.mode));
        let evicted = self.evicted(store);
        let mut statuses = vec![UNWRITTEN; entries.len()];
        let wants_statuses = which & 1 == 0;
        let n = match fault {
            Some(Fault::LongArray) => LONG[usize::from(which) % 3],
            _ => entries.len(),
        };
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let entries_at = if fault == Some(Fault::NullArray) { null() } else { entries.as_ptr() };
        let statuses_at = unless(!wants_statuses, statuses.as_mut_ptr());
        // SAFETY: as in `get_many`.
        let status = unsafe { hc_put_many(at, entries_at, n, memory.ptr(), statuses_at) };
        if !wants_statuses {
            assert!(statuses.iter().all(|&status| status == UNWRITTEN));
            if fault.is_some() {
                self.went(status, fault, Some(store), &[]);
            } else if self.stores[store].is_closed {
                assert!([HC_ERR_CLOSED, HC_OK].contains(&status));
            } else {
                assert!([HC_OK, HC_PARTIAL].contains(&status));
                // Which went, is not known: the keys' present values are taken for granted.
                for (key, _, _, own) in held {
                    if own.is_none() {
                        self.stores[store].entries.remove(&key.bytes);
                        let _ = self.delete_key(store, &key.bytes);
                    }
                }
            }
            return;
        }
        let whole = if status == HC_ERR_CLOSED { &statuses[..0] } else { &statuses[..] };
        if self.stores[store].is_closed && fault.is_none() {
            assert!(statuses.iter().all(|&status| status < 0), "a closed store took something");
            self.log.note("batch on a closed store");
            return;
        }
        if !self.batch_went(store, fault, status, whole) {
            return;
        }
        for ((key, value, options, own), status) in held.into_iter().zip(statuses) {
            match own {
                Some(own) => assert_eq!(status, own.status(), "{own:?}"),
                None => self.wrote(store, &key.bytes, &value, &options, evicted, status),
            }
        }
    }

    fn delete_key(&self, store: usize, key: &[u8]) -> hc_status {
        // SAFETY: a handle that holds a reference, and a key.
        unsafe { hc_delete(self.stores[store].at, key.as_ptr().cast(), key.len()) }
    }

    pub fn delete_many(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::NullArray, Fault::LongArray]);
        let store = self.pick_store(input);
        let which = input.byte();
        let mut items = items(input);
        if fault.is_some() && items.is_empty() {
            items.push(Item { key: Key::read(None, input), fault: None });
        }
        self.log.begin("hc_delete_many", || items.len());
        let keys = slices(&items);
        let n = match fault {
            Some(Fault::LongArray) => LONG[usize::from(which) % 3],
            _ => keys.len(),
        };
        let mut deleted = 7_777;
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let keys_at = if fault == Some(Fault::NullArray) { null() } else { keys.as_ptr() };
        let place = unless(which & 1 != 0, &raw mut deleted);
        // SAFETY: as in `get_many`.
        let status = unsafe { hc_delete_many(at, keys_at, n, place) };
        let own = items.iter().find_map(|item| item.fault);
        let fault = fault.or(own);
        if items.is_empty() && self.stores[store].is_closed {
            return assert!([HC_OK, HC_ERR_CLOSED].contains(&status));
        }
        if !self.went(status, fault, Some(store), &[HC_OK]) {
            assert_eq!(deleted, 7_777, "a count was written");
            return;
        }
        let known = items
            .iter()
            .filter(|item| self.stores[store].entries.contains_key(&item.key.bytes))
            .count();
        assert!(which & 1 != 0 || deleted <= known as u64, "{deleted} deleted of {known}");
        for item in items {
            self.removed(store, &item.key.bytes);
        }
    }
}
