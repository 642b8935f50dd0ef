//! Calls that visit a whole store.

use super::args::{Fault, Struct, unless};
use super::reads::NO_VIEW;
use super::world::{Entry, HeldScan, World, take_out};
use crate::input::Input;
use hypercache::*;
use std::ptr::{null, null_mut};

/// What a walk looks for, for C and for the model.
struct Wanted {
    memory: Struct<hc_match>,
    value: hc_match,
    pattern: Vec<u8>,
}

const FAULTS: [Fault; 7] = [
    Fault::SmallStruct,
    Fault::HugeStruct,
    Fault::Tail,
    Fault::Enumerator,
    Fault::BadType,
    Fault::NullValue,
    Fault::NullHandle,
];

impl Wanted {
    fn read(fault: Option<Fault>, input: &mut Input<'_>) -> Self {
        let byte = input.byte();
        let patterns: [&[u8]; 4] = [b"user:1", b"*:?", b"", b"item:*"];
        let pattern = patterns[usize::from(byte >> 3 & 3)].to_vec();
        let mut value = Struct::<hc_match>::zeroed();
        value.kind = i32::from(byte & 7) % 5;
        value.session = u64::from(byte >> 3 & 3);
        value.r#type = u32::from(byte >> 3 & 3);
        value.pattern = hc_slice { data: pattern.as_ptr().cast(), len: pattern.len() };
        match fault {
            Some(Fault::Enumerator) => {
                value.kind = [5, -1, i32::MAX, i32::MIN][usize::from(byte & 3)];
            }
            Some(Fault::BadType) => {
                (value.kind, value.r#type) =
                    (HC_MATCH_TYPE, [256, u32::MAX][usize::from(byte & 1)]);
            }
            Some(Fault::NullValue) => value.pattern = hc_slice { data: null(), len: 1 },
            _ => {}
        }
        Self { memory: Struct::input(value, fault, input), value, pattern }
    }

    fn takes(&self, key: &[u8], entry: &Entry) -> bool {
        match self.value.kind {
            HC_MATCH_ALL => true,
            HC_MATCH_PREFIX => key.starts_with(&self.pattern),
            HC_MATCH_GLOB => hypercache_core::types::glob_matches(&self.pattern, key),
            HC_MATCH_SESSION => self.value.session != 0 && entry.session == self.value.session,
            _ => entry.kind == self.value.r#type,
        }
    }
}

impl World<'_> {
    pub fn invalidate(&mut self, input: &mut Input<'_>) {
        let mut faults = FAULTS.to_vec();
        faults.push(Fault::NullStruct);
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let wanted = Wanted::read(fault, input);
        self.log.begin("hc_invalidate", || wanted.value.kind);
        let mut removed = 7_777;
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let matching = if fault == Some(Fault::NullStruct) { null() } else { wanted.memory.ptr() };
        let place = unless(input.flag(), &raw mut removed);
        // SAFETY: what the header leaves to the caller is kept; see the module.
        let status = unsafe { hc_invalidate(at, matching, place) };
        if !self.went(status, fault, Some(store), &[HC_OK]) {
            return assert_eq!(removed, 7_777, "a count was written");
        }
        let entries = &self.stores[store].entries;
        let keys: Vec<_> = entries
            .iter()
            .filter(|(key, entry)| wanted.takes(key, entry))
            .map(|(key, _)| key.clone())
            .collect();
        assert!(place.is_null() || removed <= keys.len() as u64, "more than there were");
        for key in keys {
            self.removed(store, &key);
        }
    }

    pub fn clear(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle]);
        let store = self.pick_store(input);
        self.log.begin("hc_clear", || store);
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        // SAFETY: as in `invalidate`.
        let status = unsafe { hc_clear(at) };
        if self.went(status, fault, Some(store), &[HC_OK]) {
            let keys: Vec<_> = self.stores[store].entries.keys().cloned().collect();
            for key in keys {
                self.removed(store, &key);
            }
        }
    }

    pub fn scan_open(&mut self, input: &mut Input<'_>) {
        let mut faults = FAULTS.to_vec();
        faults.push(Fault::NullOut);
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let wanted = Wanted::read(fault, input);
        self.log.begin("hc_scan_open", || wanted.value.kind);
        let mut scan = null_mut();
        let handle = self.stores[store].at;
        let at = unless(fault == Some(Fault::NullHandle), handle);
        let all = fault.is_none() && wanted.value.kind == HC_MATCH_ALL;
        let matching = if all { null() } else { wanted.memory.ptr() };
        let place = unless(fault == Some(Fault::NullOut), &raw mut scan);
        // SAFETY: as in `invalidate`.
        let status = unsafe { hc_scan_open(at, matching, place) };
        let went = self.went(status, fault, Some(store), &[HC_OK]);
        assert_eq!(went, !scan.is_null(), "a scan's place");
        if went {
            if self.scans.len() == 4 {
                let oldest = self.scans.remove(0);
                // SAFETY: a scan of hc_scan_open, closed once.
                unsafe { hc_scan_close(oldest.scan) };
            }
            self.scans.push(HeldScan { scan, store: handle, is_over: false });
        }
    }

    pub fn scan_next(&mut self, input: &mut Input<'_>) {
        let (number, steps) = (input.byte(), input.byte());
        self.log.begin("hc_scan_next", || steps);
        let mut key = hc_slice { data: null(), len: 7_777 };
        // SAFETY: NULL is refused.
        let status = unsafe { hc_scan_next(null_mut(), &mut key, null_mut()) };
        assert_eq!((status, key.len), (HC_ERR_INVALID, 7_777));
        if self.scans.is_empty() {
            return;
        }
        let at = usize::from(number >> 1) % self.scans.len();
        let HeldScan { scan, store: handle, .. } = self.scans[at];
        // SAFETY: a scan that is open; NULL for the key is refused.
        let status = unsafe { hc_scan_next(scan, null_mut(), null_mut()) };
        assert_eq!(status, HC_ERR_INVALID);
        let store = self.stores.iter().position(|store| store.at == handle);
        // A scan keeps its store, so that the last release of a handle does not close it.
        let is_closed = store.is_some_and(|store| self.stores[store].is_closed);
        for _ in 0..steps {
            let mut view = NO_VIEW;
            let place = unless(number & 1 == 0, &raw mut view);
            // SAFETY: a scan that is open, a place for the key, NULL or a place for the view.
            let status = unsafe { hc_scan_next(scan, &mut key, place) };
            match status {
                HC_OK => {
                    self.log.note("scanned");
                    assert!(!self.scans[at].is_over && !is_closed, "a scan goes on");
                    // SAFETY: the key is readable until the next call on the scan.
                    let bytes =
                        unsafe { std::slice::from_raw_parts(key.data.cast::<u8>(), key.len) };
                    let bytes = bytes.to_vec();
                    match store {
                        Some(store) => {
                            self.found(store, &bytes);
                            if !place.is_null() {
                                self.hold(store, &bytes, view);
                            }
                        }
                        // SAFETY: a view that was pinned or cleared.
                        None => unsafe { hc_unpin(&mut view) },
                    }
                }
                HC_DONE => {
                    self.log.note("scan done");
                    self.scans[at].is_over = true;
                    break;
                }
                HC_ERR_NO_SPACE => assert!(number & 1 != 0),
                other => {
                    assert!(is_closed && other == HC_ERR_CLOSED, "{other}");
                    break;
                }
            }
            assert_eq!(view.data.is_null(), status != HC_OK || place.is_null());
        }
    }

    pub fn scan_close(&mut self, input: &mut Input<'_>) {
        let number = input.byte();
        self.log.begin("hc_scan_close", || number);
        // SAFETY: NULL is nothing to close.
        unsafe { hc_scan_close(null_mut()) };
        if let Some(held) = take_out(&mut self.scans, number) {
            // SAFETY: a scan of hc_scan_open, closed once.
            unsafe { hc_scan_close(held.scan) };
        }
    }
}
