//! Filters, and what a store knows of its source by one.

use super::args::{Detail, Fault, Struct, Text, unless};
use super::world::{World, take_out};
use super::writes::Key;
use crate::input::Input;
use hypercache::*;
use std::collections::HashMap;
use std::ptr::{null, null_mut};

/// A filter through its handle, and how often each key was added and not removed.
pub struct FilterSlot {
    pub at: *mut hc_filter,
    pub refs: u32,
    pub adds: HashMap<Vec<u8>, u32>,
}

impl FilterSlot {
    fn has(&self, key: &[u8]) -> bool {
        self.adds.get(key).is_some_and(|&adds| adds != 0)
    }
}

/// Filters that an input holds at once.
const FILTERS_MAX: usize = 4;
const UNWRITTEN: hc_status = 0x7777;

impl World<'_> {
    /// One call on a filter, or on a store's known keys.
    pub fn filter(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            0..24 => self.filter_create(input),
            24..112 => self.filter_add(input),
            112..144 => self.filter_contains(input),
            144..168 => self.filter_remove(input),
            168..184 => self.filter_contains_many(input),
            184..192 => self.filter_clear(input),
            192..204 => self.filter_references(input),
            204..212 => self.filter_look(input),
            212..220 => self.filter_file(input),
            220.. => self.known_keys(input),
        }
    }

    /// The filter that an input names; where there is none, NULL, which is what is wrong then.
    fn pick_filter(&self, fault: &mut Option<Fault>, input: &mut Input<'_>) -> Option<usize> {
        let number = usize::from(input.byte());
        let at = (!self.filters.is_empty()).then(|| number % self.filters.len().max(1));
        if at.is_none() {
            *fault = Some(Fault::NullHandle);
        }
        at.filter(|_| *fault != Some(Fault::NullHandle))
    }

    fn handle(&self, filter: Option<usize>) -> *mut hc_filter {
        filter.map_or(null_mut(), |at| self.filters[at].at)
    }

    fn filter_create(&mut self, input: &mut Input<'_>) {
        let faults = [
            Fault::NullOut,
            Fault::NullStruct,
            Fault::SmallStruct,
            Fault::HugeStruct,
            Fault::Tail,
            Fault::Flags,
            Fault::SmallError,
        ];
        let fault = Fault::read(input, &faults);
        let pool = self.pick_pool(input);
        let (size, rate) = (input.byte(), input.byte());
        let mut value = Struct::<hc_filter_config>::zeroed();
        value.capacity = [1, 10, 100, 1_000, 20_000, 0, u64::MAX, 3][usize::from(size & 7)];
        value.fpr = [0.0, 0.001, 0.1, 0.01, 1e-9, 0.5, -1.0, f64::NAN][usize::from(rate & 7)];
        value.hash_seed = u64::from(rate >> 3 & 1);
        value.pool = unless(rate & 16 == 0, self.pools[pool].at);
        if fault == Some(Fault::Flags) {
            value.flags = 1 << (size & 31);
        }
        let memory = Struct::input(value, fault, input);
        self.log.begin("hc_filter_create", || value.capacity);
        let mut detail = Detail::read(fault, input);
        let mut made = null_mut();
        let config = if fault == Some(Fault::NullStruct) { null() } else { memory.ptr() };
        let out = unless(fault == Some(Fault::NullOut), &raw mut made);
        // SAFETY: what the header leaves to the caller is kept; see the module.
        let status = unsafe { hc_filter_create(config, out, detail.ptr()) };
        detail.check(status);
        self.went(status, fault, None, &[HC_OK, HC_ERR_INVALID, HC_ERR_NO_SPACE]);
        assert_eq!(made.is_null(), status != HC_OK, "a handle's place");
        if status == HC_OK {
            let sound = ![0, u64::MAX].contains(&value.capacity) && rate & 7 < 5;
            assert!(sound, "made with a configuration out of range");
            self.filters.push(FilterSlot { at: made, refs: 1, adds: HashMap::new() });
            if self.filters.len() > FILTERS_MAX {
                self.release_filter(0);
            }
        }
    }

    fn filter_add(&mut self, input: &mut Input<'_>) {
        let mut fault = Fault::read(input, &[Fault::NullHandle, Fault::NullKey, Fault::LongKey]);
        let filter = self.pick_filter(&mut fault, input);
        let key = Key::read(fault, input);
        self.log.begin("hc_filter_add", || key.len);
        // SAFETY: as in `filter_create`.
        let status = unsafe { hc_filter_add(self.handle(filter), key.at, key.len) };
        // A filter that finds no room is saturated, and misses no key either.
        self.went(status, fault, None, &[HC_OK, HC_ERR_NO_SPACE]);
        if let (Some(filter), HC_OK) = (filter, status) {
            *self.filters[filter].adds.entry(key.bytes).or_default() += 1;
        }
    }

    fn filter_contains(&mut self, input: &mut Input<'_>) {
        let mut fault = Fault::read(input, &[Fault::NullHandle, Fault::NullKey, Fault::LongKey]);
        let filter = self.pick_filter(&mut fault, input);
        let key = Key::read(fault, input);
        self.log.begin("hc_filter_contains", || key.len);
        // SAFETY: as in `filter_create`.
        let status = unsafe { hc_filter_contains(self.handle(filter), key.at, key.len) };
        self.went(status, fault, None, &[HC_OK, HC_NOT_FOUND]);
        if let (Some(filter), HC_NOT_FOUND) = (filter, status) {
            assert!(!self.filters[filter].has(&key.bytes), "a filter misses a key");
        }
    }

    fn filter_remove(&mut self, input: &mut Input<'_>) {
        let mut fault = Fault::read(input, &[Fault::NullHandle, Fault::NullKey, Fault::LongKey]);
        let filter = self.pick_filter(&mut fault, input);
        let key = Key::read(fault, input);
        if let (Some(filter), None) = (filter, fault)
            && !self.filters[filter].has(&key.bytes)
        {
            // Only what was added may be removed.
            return;
        }
        self.log.begin("hc_filter_remove", || key.len);
        // SAFETY: as in `filter_create`.
        let status = unsafe { hc_filter_remove(self.handle(filter), key.at, key.len) };
        self.went(status, fault, None, &[HC_OK]);
        if let (Some(filter), HC_OK) = (filter, status)
            && let Some(adds) = self.filters[filter].adds.get_mut(&key.bytes)
        {
            *adds -= 1;
        }
    }

    fn filter_contains_many(&mut self, input: &mut Input<'_>) {
        let faults = [Fault::NullHandle, Fault::NullArray, Fault::LongArray, Fault::NullOut];
        let mut fault = Fault::read(input, &faults);
        let filter = self.pick_filter(&mut fault, input);
        let count = input.byte() % 70 + 1;
        let keys: Vec<_> = (0..count).map(|_| Key::read(None, input)).collect();
        self.log.begin("hc_filter_contains_many", || count);
        let slices: Vec<_> =
            keys.iter().map(|key| hc_slice { data: key.at, len: key.len }).collect();
        let mut statuses = vec![UNWRITTEN; keys.len()];
        let n = if fault == Some(Fault::LongArray) { usize::MAX } else { keys.len() };
        let at = if fault == Some(Fault::NullArray) { null() } else { slices.as_ptr() };
        let out = unless(fault == Some(Fault::NullOut), statuses.as_mut_ptr());
        // SAFETY: as in `filter_create`.
        let status = unsafe { hc_filter_contains_many(self.handle(filter), at, n, out) };
        if !self.went(status, fault, None, &[HC_OK, HC_PARTIAL]) {
            assert!(statuses.iter().all(|&status| status == UNWRITTEN), "statuses of no call");
            return;
        }
        let Some(filter) = filter else { return };
        for (key, &status) in keys.iter().zip(&statuses) {
            let is_absent = status == HC_NOT_FOUND && !self.filters[filter].has(&key.bytes);
            assert!(status == HC_OK || is_absent, "a filter misses a key of a batch");
        }
        let all = statuses.iter().all(|&status| status == HC_OK);
        assert_eq!(status, if all { HC_OK } else { HC_PARTIAL });
    }

    fn filter_clear(&mut self, input: &mut Input<'_>) {
        let mut fault = Fault::read(input, &[Fault::NullHandle]);
        let filter = self.pick_filter(&mut fault, input);
        self.log.begin("hc_filter_clear", || "");
        // SAFETY: as in `filter_create`.
        let status = unsafe { hc_filter_clear(self.handle(filter)) };
        self.went(status, fault, None, &[HC_OK]);
        if let (Some(filter), HC_OK) = (filter, status) {
            self.filters[filter].adds.clear();
        }
    }

    fn filter_references(&mut self, input: &mut Input<'_>) {
        let retains = input.flag();
        self.log.begin(if retains { "hc_filter_retain" } else { "hc_filter_release" }, || "");
        // SAFETY: NULL is nothing to release, and stays NULL when it is retained.
        unsafe {
            hc_filter_release(null_mut());
            assert!(hc_filter_retain(null_mut()).is_null());
        }
        let Some(filter) = self.pick_filter(&mut None, input) else { return };
        if retains {
            let slot = &mut self.filters[filter];
            // SAFETY: the handle holds a reference.
            assert_eq!(unsafe { hc_filter_retain(slot.at) }, slot.at);
            slot.refs += 1;
        } else {
            self.release_filter(filter);
        }
    }

    /// A reference goes, and with the last one the handle; a store may keep the filter itself.
    fn release_filter(&mut self, filter: usize) {
        let slot = &mut self.filters[filter];
        // SAFETY: the handle holds a reference, which ends here.
        unsafe { hc_filter_release(slot.at) };
        slot.refs -= 1;
        if slot.refs == 0 {
            let gone = self.filters.remove(filter);
            // Nobody can add to it or remove from it any more.
            for store in self.stores.iter_mut().filter(|store| store.known == Known::By(gone.at)) {
                store.known = Known::For(gone.adds.clone());
            }
        }
    }

    fn filter_look(&mut self, input: &mut Input<'_>) {
        let faults = [Fault::NullHandle, Fault::NullStruct, Fault::SmallStruct, Fault::HugeStruct];
        let mut fault = Fault::read(input, &faults);
        let filter = self.pick_filter(&mut fault, input);
        self.log.begin("hc_filter_stats_get", || "");
        let mut stats = Struct::<hc_filter_stats>::output(fault, input);
        let place = unless(fault == Some(Fault::NullStruct), stats.ptr_mut());
        // SAFETY: as in `filter_create`.
        let status = unsafe { hc_filter_stats_get(self.handle(filter), place) };
        let expected = fault.filter(|&fault| fault != Fault::HugeStruct);
        if fault == Some(Fault::HugeStruct) {
            assert!(status < 0, "a struct that is too large");
            return;
        }
        self.went(status, expected, None, &[HC_OK]);
        if status == HC_OK {
            let stats = stats.filled();
            assert!(stats.positives <= stats.lookups && stats.load_factor <= 1.0);
        }
    }

    fn filter_file(&mut self, input: &mut Input<'_>) {
        let mut fault = Fault::read(input, &[Fault::NullHandle, Fault::NullText, Fault::NotUtf8]);
        let filter = self.pick_filter(&mut fault, input);
        let path = std::env::temp_dir().join(format!("hypercache-c-calls-{}", std::process::id()));
        let text = Text::new(fault, path.to_str().unwrap_or_default());
        self.log.begin("hc_filter_save", || "");
        // SAFETY: as in `filter_create`.
        let status = unsafe { hc_filter_save(self.handle(filter), text.ptr(), null_mut()) };
        self.went(status, fault, None, &[HC_OK]);
        if status != HC_OK {
            return;
        }
        self.log.begin("hc_filter_load", || "");
        let mut loaded = null_mut();
        // SAFETY: a string, no configuration, a place for the handle.
        let status = unsafe { hc_filter_load(text.ptr(), null(), &mut loaded, null_mut()) };
        self.went(status, None, None, &[HC_OK]);
        let removed = std::fs::remove_file(&path);
        assert!(removed.is_ok(), "a saved filter is a file");
        if let Some(filter) = filter {
            for key in self.filters[filter].adds.iter().filter(|(_, adds)| **adds != 0) {
                // SAFETY: a handle that holds a reference, and a readable key.
                let found =
                    unsafe { hc_filter_contains(loaded, key.0.as_ptr().cast(), key.0.len()) };
                assert_eq!(found, HC_OK, "a key was lost in a file");
            }
        }
        // SAFETY: the handle holds one reference.
        unsafe { hc_filter_release(loaded) };
    }

    fn known_keys(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle]);
        let store = self.pick_store(input);
        // None is no fault here: then the store knows nothing.
        let filter = if input.flag() { self.pick_filter(&mut None, input) } else { None };
        self.log.begin("hc_store_set_known_keys", || filter.is_some());
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        // SAFETY: as in `filter_create`.
        let status = unsafe { hc_store_set_known_keys(at, self.handle(filter)) };
        if self.went(status, fault, Some(store), &[HC_OK]) {
            self.stores[store].known = match filter {
                Some(filter) => Known::By(self.filters[filter].at),
                None => Known::Nothing,
            };
        }
    }

    /// Whether a store may answer that a key exists nowhere, which it does not have.
    pub fn may_exclude(&self, store: usize, key: &[u8]) -> bool {
        match &self.stores[store].known {
            Known::Nothing => false,
            Known::By(at) => {
                let filter = self.filters.iter().find(|filter| filter.at == *at);
                filter.is_some_and(|filter| !filter.has(key))
            }
            Known::For(adds) => adds.get(key).is_none_or(|&adds| adds == 0),
        }
    }

    pub fn check_filters(&self) {
        for filter in &self.filters {
            // SAFETY: the handle holds a reference.
            assert_eq!(unsafe { hc_filter_validate(filter.at, null_mut()) }, HC_OK);
        }
    }

    pub fn end_filters(&mut self) {
        while let Some(filter) = take_out(&mut self.filters, 0) {
            for _ in 0..filter.refs {
                // SAFETY: as many references as were taken.
                unsafe { hc_filter_release(filter.at) };
            }
        }
    }
}

/// The known keys of a store.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// It has none.
    #[default]
    Nothing,
    /// Those of a filter that has a handle.
    By(*mut hc_filter),
    /// Those of one that nobody else has.
    For(HashMap<Vec<u8>, u32>),
}
