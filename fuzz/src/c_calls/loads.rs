//! Claims, and how what they grant ends.

use super::args::{Fault, name_of, unless};
use super::batches::{UNWRITTEN, items, slices};
use super::reads::{COPY_FAULTS, MARK, NO_VIEW, Room};
use super::world::{HeldView, World};
use super::writes::{Key, OPTION_FAULTS, options};
use crate::input::Input;
use hypercache::*;
use std::ptr::{null, null_mut};

/// What outputs hold before a call.
const MARKED: hc_lease = hc_lease { id: 0xEEEE, generation: 0xEEEE };
/// What a claim answers, one that copies first.
const ANSWERS: [hc_status; 8] = [
    HC_SMALL_BUFFER,
    HC_OK,
    HC_CLAIMED,
    HC_TIMEOUT,
    HC_NOT_FOUND,
    HC_LOAD_FAILED,
    HC_ERR_DEADLOCK,
    HC_ERR_NO_SPACE,
];
/// Leases that an input keeps.
const LEASES_MAX: usize = 24;

/// A lease that was granted, ended or not.
pub struct HeldLease {
    pub store: *mut hc_store,
    pub key: Vec<u8>,
    pub lease: hc_lease,
}

/// Waits, and how many of them were not told.
pub struct HeldWaits {
    pub at: *mut hc_waits,
    pub store: *mut hc_store,
    asked: u64,
    told: u64,
}

fn is_cleared(lease: hc_lease) -> bool {
    (lease.id, lease.generation) == (0, 0)
}

fn is_marked(lease: hc_lease) -> bool {
    (lease.id, lease.generation) == (MARKED.id, MARKED.generation)
}

impl World<'_> {
    /// Flags and patience of a claim. All leases are this thread's, so no patience is put to the
    /// test.
    fn claim_flags(fault: Option<Fault>, input: &mut Input<'_>) -> (u32, u64) {
        let byte = input.byte();
        let flags = match fault {
            Some(Fault::Flags) => 4 << (byte % 30),
            _ => u32::from(byte & 1) * HC_CLAIM_STALE,
        };
        (flags, [0, 0, 1, u64::MAX][usize::from(byte >> 1 & 3)])
    }

    /// What a claim came to that found no value.
    fn without_value(&mut self, store: usize, key: &[u8], status: hc_status, lease: hc_lease) {
        match status {
            HC_CLAIMED => {
                assert!(!is_marked(lease) && lease.generation != 0);
                let entry = self.stores[store].entries.get(key);
                if !entry.is_some_and(|entry| entry.reloads) {
                    self.missing(store, key);
                }
                self.keep_lease(store, key, lease);
            }
            HC_ERR_NO_SPACE => {}
            HC_TIMEOUT | HC_ERR_DEADLOCK | HC_NOT_FOUND | HC_LOAD_FAILED => {
                let entry = self.stores[store].entries.get(key);
                if !entry.is_some_and(|entry| entry.reloads) {
                    self.missing(store, key);
                }
            }
            other => panic!("{}", name_of(other)),
        }
    }

    fn keep_lease(&mut self, store: usize, key: &[u8], lease: hc_lease) {
        if self.leases.len() == LEASES_MAX {
            let mut oldest = self.leases.remove(0);
            // SAFETY: a handle that holds a reference, and a lease.
            unsafe { hc_lease_drop(oldest.store, &mut oldest.lease, HC_DROP_CANCELLED, 0) };
        }
        self.leases.push(HeldLease { store: self.stores[store].at, key: key.to_vec(), lease });
    }

    pub fn claim(&mut self, input: &mut Input<'_>) {
        let faults =
            [Fault::NullHandle, Fault::NullKey, Fault::LongKey, Fault::NullOut, Fault::Flags];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let (flags, timeout_ms) = Self::claim_flags(fault, input);
        self.log.begin("hc_claim", || format!("{} {flags} {timeout_ms}", key.len));
        let (mut view, mut lease) = (hc_view { len: 7_777, ..NO_VIEW }, MARKED);
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let no_out = fault == Some(Fault::NullOut);
        let view_at = unless(no_out && timeout_ms == 0, &raw mut view);
        let lease_at = unless(no_out && timeout_ms != 0, &raw mut lease);
        // SAFETY: what the header leaves to the caller is kept; see the module.
        let status = unsafe { hc_claim(at, key.at, key.len, flags, timeout_ms, view_at, lease_at) };
        self.went(status, fault, Some(store), &ANSWERS[1..]);
        assert_eq!(status == HC_OK, view.len != 7_777, "the view's place");
        assert_eq!(status == HC_CLAIMED, !is_marked(lease), "the lease's place");
        if fault.is_some() || self.stores[store].is_closed {
            return;
        }
        match status {
            HC_OK => self.hold(store, &key.bytes, view),
            status => self.without_value(store, &key.bytes, status, lease),
        }
    }

    pub fn get_or_claim(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &COPY_FAULTS);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let room = Room::read(self.expected_len(store, &key.bytes), fault, input);
        let (flags, timeout_ms) = Self::claim_flags(fault, input);
        self.log.begin("hc_get_or_claim", || format!("{} into {}", key.len, room.cap));
        let (mut info, mut lease) = (MARK, MARKED);
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let no_out = fault == Some(Fault::NullOut);
        let info_at = unless(no_out && timeout_ms == 0, &raw mut info);
        let lease_at = unless(no_out && timeout_ms != 0, &raw mut lease);
        // SAFETY: as in `claim`.
        let status = unsafe {
            hc_get_or_claim(
                at, key.at, key.len, flags, timeout_ms, room.at, room.cap, info_at, lease_at,
            )
        };
        let found = [HC_OK, HC_SMALL_BUFFER].contains(&status);
        self.went(status, fault, Some(store), &ANSWERS);
        assert_eq!(found, info.len != 7_777, "the metadata's place");
        assert_eq!(status == HC_CLAIMED, !is_marked(lease), "the lease's place");
        if !found {
            assert!(room.is_untouched_from(0));
        }
        if fault.is_some() || self.stores[store].is_closed {
            return;
        }
        if found {
            self.copied(store, &key.bytes, status, info.len, &room);
            self.has_metadata(store, &key.bytes, &info);
        } else {
            self.without_value(store, &key.bytes, status, lease);
        }
    }

    pub fn claim_many(&mut self, input: &mut Input<'_>) {
        let faults =
            [Fault::NullHandle, Fault::NullArray, Fault::LongArray, Fault::NullOut, Fault::Flags];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let (flags, _) = Self::claim_flags(fault, input);
        let which = input.byte();
        let mut items = items(input);
        if fault.is_some() && items.is_empty() {
            items.push(super::batches::Item { key: Key::read(None, input), fault: None });
        }
        self.log.begin("hc_claim_many", || items.len());
        let keys = slices(&items);
        let mut views = vec![NO_VIEW; keys.len()];
        let mut leases = vec![MARKED; keys.len()];
        let mut statuses = vec![UNWRITTEN; keys.len()];
        let n = match fault {
            Some(Fault::LongArray) => usize::MAX >> (which & 3),
            _ => keys.len(),
        };
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let no_out = fault == Some(Fault::NullOut);
        let keys_at = if fault == Some(Fault::NullArray) { null() } else { keys.as_ptr() };
        // SAFETY: as in `claim`.
        let status = unsafe {
            hc_claim_many(
                at,
                keys_at,
                n,
                flags,
                unless(no_out && which.is_multiple_of(3), views.as_mut_ptr()),
                unless(no_out && which % 3 == 1, leases.as_mut_ptr()),
                unless(no_out && which % 3 == 2, statuses.as_mut_ptr()),
            )
        };
        let is_closed = self.stores[store].is_closed;
        if fault.is_some() {
            self.went(status, fault, Some(store), &[]);
            assert!(leases.iter().all(|&lease| is_marked(lease)), "a lease nobody can know of");
            assert!(statuses.iter().all(|&status| status == UNWRITTEN));
            return;
        }
        let all = statuses.iter().all(|&status| status == HC_OK);
        assert_eq!(status, if all { HC_OK } else { HC_PARTIAL }, "{statuses:?}");
        for (((item, status), view), lease) in items.iter().zip(statuses).zip(views).zip(leases) {
            let key = &item.key.bytes;
            assert_eq!(view.data.is_null(), status != HC_OK, "views are cleared elsewhere");
            assert_eq!(is_cleared(lease), status != HC_CLAIMED, "leases are cleared elsewhere");
            match (item.fault, status) {
                (Some(fault), status) => assert_eq!(status, fault.status()),
                (None, status) if is_closed => assert_eq!(status, HC_ERR_CLOSED),
                (None, HC_OK) => self.hold(store, key, view),
                (None, HC_ERR_DEADLOCK) => panic!("no key of a batch is waited for"),
                (None, status) => self.without_value(store, key, status, lease),
            }
        }
    }

    /// A lease that was granted, or none, or one that was made up.
    fn pick_lease(&mut self, input: &mut Input<'_>) -> (hc_lease, Option<Vec<u8>>, usize) {
        let byte = input.byte();
        let mut lease = hc_lease { id: u64::from(byte), generation: u64::from(input.byte()) };
        let mut store = self.pick_store(input);
        if !self.leases.is_empty() && byte < 240 {
            let at = usize::from(byte) % self.leases.len();
            lease = self.leases[at].lease;
            if byte < 200 {
                let own = self.leases[at].store;
                store = self.stores.iter().position(|slot| slot.at == own).unwrap_or(store);
            } else if byte < 220 {
                lease.id ^= 1 << (input.byte() & 63);
            }
        }
        // The lease decides for which key it is.
        let own = self.stores[store].at;
        let held = self.leases.iter().find(|held| {
            held.store == own
                && (held.lease.id, held.lease.generation) == (lease.id, lease.generation)
        });
        (lease, held.map(|held| held.key.clone()), store)
    }

    pub fn lease_put(&mut self, input: &mut Input<'_>) {
        let mut faults = vec![Fault::NullValue, Fault::LongValue, Fault::NullOut];
        faults.extend(OPTION_FAULTS);
        let fault = Fault::read(input, &faults);
        let (mut lease, key, store) = self.pick_lease(input);
        let value = self.value(input.byte());
        let (options, memory) = options(fault, 1, input);
        self.log.begin("hc_lease_put", || format!("{key:?} {} bytes", value.len()));
        let evicted = self.evicted(store);
        let mut version = 0xEEEE;
        let wants_version = input.flag();
        let (val, val_len) = match fault {
            Some(Fault::NullValue) => (null(), 1),
            Some(Fault::LongValue) => (value.as_ptr().cast(), isize::MAX as usize + 1),
            _ => (value.as_ptr().cast(), value.len()),
        };
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let lease_at = unless(fault == Some(Fault::NullOut), &raw mut lease);
        let place = unless(!wants_version, &raw mut version);
        // SAFETY: as in `claim`.
        let status = unsafe { hc_lease_put(at, lease_at, val, val_len, memory.ptr(), place) };
        assert_eq!(version != 0xEEEE, status == HC_OK && wants_version, "the version's place");
        if ![Some(Fault::NullHandle), Some(Fault::NullOut)].contains(&fault) {
            assert!(is_cleared(lease), "a lease is cleared, whatever is returned");
        }
        let is_closed = self.stores[store].is_closed;
        if fault.is_none() && options.mode != HC_PUT_SET {
            let expected = if is_closed { HC_ERR_CLOSED } else { HC_ERR_INVALID };
            assert!([expected, HC_ERR_INVALID].contains(&status), "{}", name_of(status));
            return;
        }
        let statuses = [HC_OK, HC_CONFLICT, HC_ERR_TOO_LARGE, HC_ERR_NO_SPACE];
        self.went(status, fault, Some(store), &statuses);
        if fault.is_some() || is_closed || status == HC_CONFLICT {
            return;
        }
        let Some(key) = key else { panic!("stored under a lease that nobody granted") };
        self.wrote(store, &key, &value, &options, evicted, status);
        if let Some(entry) = self.stores[store].entries.get_mut(&key) {
            entry.reloads = true;
        }
    }

    pub fn lease_drop(&mut self, input: &mut Input<'_>) {
        let (mut lease, key, store) = self.pick_lease(input);
        let byte = input.byte();
        let reason = [HC_DROP_CANCELLED, HC_DROP_FAILED, HC_DROP_ABSENT, 3, -1, i32::MAX]
            [usize::from(byte & 7) % 6];
        let ms = [0, 1, 60_000, u64::MAX][usize::from(byte >> 3 & 3)];
        self.log.begin("hc_lease_drop", || format!("{key:?} {reason} {ms}"));
        let at = self.stores[store].at;
        // SAFETY: as in `claim`; NULL is nothing to drop.
        unsafe {
            hc_lease_drop(null_mut(), &mut lease, reason, ms);
            hc_lease_drop(at, null_mut(), reason, ms);
            hc_lease_drop(at, &mut lease, reason, ms);
        }
        assert!(is_cleared(lease));
        if let Some(key) = key
            && reason == HC_DROP_ABSENT
            && !self.stores[store].is_closed
            && !self.is_there(store, &key)
        {
            // Removed, or gone before.
            self.stores[store].entries.remove(&key);
        }
    }

    /// One call on waits.
    pub fn waits(&mut self, input: &mut Input<'_>) {
        match input.byte() & 7 {
            0 => self.waits_open(input),
            1..5 => self.waits_add(input),
            5 | 6 => self.waits_next(input),
            _ => self.waits_close(input),
        }
    }

    fn waits_open(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::NullOut]);
        let store = self.pick_store(input);
        self.log.begin("hc_waits_open", || store);
        let mut waits = null_mut();
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let place = unless(fault == Some(Fault::NullOut), &raw mut waits);
        // SAFETY: as in `claim`.
        let status = unsafe { hc_waits_open(at, place, null_mut()) };
        self.went(status, fault, Some(store), &[HC_OK]);
        assert_eq!(status == HC_OK, !waits.is_null());
        if status != HC_OK {
            return;
        }
        // SAFETY: waits that were opened; NULL has no descriptor.
        unsafe { assert!(hc_waits_fd(waits) >= 0 && hc_waits_fd(null_mut()) == -1) };
        if self.waits.len() == 2 {
            self.close_waits(0);
        }
        self.waits.push(HeldWaits { at: waits, store: self.stores[store].at, asked: 0, told: 0 });
    }

    fn waits_add(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::NullKey, Fault::LongKey]);
        let number = usize::from(input.byte());
        let key = Key::read(fault, input);
        if self.waits.is_empty() {
            return;
        }
        let number = number % self.waits.len();
        self.log.begin("hc_waits_add", || key.len);
        let held = &self.waits[number];
        let mut left = 0xEEEE;
        let at = unless(fault == Some(Fault::NullHandle), held.at);
        // SAFETY: as in `claim`.
        let status = unsafe { hc_waits_add(at, key.at, key.len, held.asked, &mut left) };
        let store = self.stores.iter().position(|slot| slot.at == held.store);
        self.went(status, fault, store, &[HC_OK, HC_NOT_FOUND, HC_ERR_NO_SPACE]);
        assert_eq!(status == HC_OK, left != 0xEEEE, "the time's place");
        if status == HC_OK {
            self.waits[number].asked += 1;
        }
    }

    fn waits_next(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::NullOut]);
        let byte = input.byte();
        if self.waits.is_empty() {
            return;
        }
        let number = usize::from(byte >> 1) % self.waits.len();
        self.log.begin("hc_waits_next", || number);
        let held = &mut self.waits[number];
        let (mut cookie, mut outcome, mut view) = (0xEEEE, UNWRITTEN, NO_VIEW);
        let at = unless(fault == Some(Fault::NullHandle), held.at);
        let no_out = fault == Some(Fault::NullOut);
        // SAFETY: as in `claim`.
        let status = unsafe {
            hc_waits_next(
                at,
                unless(no_out && byte & 1 == 0, &raw mut cookie),
                unless(no_out && byte & 1 != 0, &raw mut outcome),
                unless(byte & 64 != 0, &raw mut view),
            )
        };
        match (fault, status) {
            (Some(fault), status) => assert_eq!(status, fault.status()),
            (None, HC_OK) => {
                held.told += 1;
                assert!(cookie < held.asked && held.told <= held.asked, "told twice");
                assert_eq!(view.data.is_null(), outcome != HC_OK || byte & 64 != 0);
                let outcomes = [HC_OK, HC_DONE, HC_LOAD_FAILED, HC_NOT_FOUND, HC_NOT_ADMITTED];
                assert!(outcomes.contains(&outcome), "{}", name_of(outcome));
                self.log.note("told");
            }
            (None, status) => assert_eq!((status, outcome, cookie), (HC_DONE, UNWRITTEN, 0xEEEE)),
        }
        if !view.data.is_null() {
            assert_eq!((view.version, view.ttl_ms), (0, 0));
            // SAFETY: a pinned view's data are readable until it is unpinned.
            let value = unsafe { std::slice::from_raw_parts(view.data.cast(), view.len) }.to_vec();
            self.views.push(HeldView { view, value });
        }
    }

    fn waits_close(&mut self, input: &mut Input<'_>) {
        let number = usize::from(input.byte());
        self.log.begin("hc_waits_close", || number);
        // SAFETY: NULL is nothing to close.
        unsafe { hc_waits_close(null_mut()) };
        if !self.waits.is_empty() {
            self.close_waits(number % self.waits.len());
        }
    }

    fn close_waits(&mut self, at: usize) {
        let held = self.waits.remove(at);
        // SAFETY: waits of hc_waits_open, closed once.
        unsafe { hc_waits_close(held.at) };
    }

    /// Forgets what belongs to a store, or to all of them.
    pub fn end_loads(&mut self, store: Option<*mut hc_store>) {
        let concerns = |of: *mut hc_store| store.is_none_or(|store| store == of);
        self.leases.retain(|held| !concerns(held.store));
        while let Some(at) = self.waits.iter().position(|held| concerns(held.store)) {
            self.close_waits(at);
        }
    }
}
