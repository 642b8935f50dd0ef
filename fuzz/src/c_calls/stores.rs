//! Stores: opening, references, ending, configuration, statistics.

use super::args::{Detail, Fault, Struct, Text, unless};
use super::pools::{NAMES, is_name};
use super::world::World;
use crate::input::Input;
use hypercache::*;
use std::ffi::CString;
use std::ptr::{null, null_mut};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const OPTIONS: [&str; 8] =
    ["", "small=50", "share=3", "small", "nonsense=1", "small=0,small=1", "=", "small=999"];

impl World<'_> {
    pub fn store_open(&mut self, input: &mut Input<'_>) {
        let faults = [
            Fault::NullHandle,
            Fault::NullOut,
            Fault::NullStruct,
            Fault::SmallStruct,
            Fault::HugeStruct,
            Fault::Tail,
            Fault::Flags,
            Fault::Reserved,
            Fault::Range,
            Fault::Enumerator,
            Fault::NotUtf8,
            Fault::SmallError,
        ];
        let fault = Fault::read(input, &faults);
        let pool = self.pick_pool(input);
        let (named, limits, more, policy) =
            (input.byte(), input.byte(), input.byte(), input.byte());
        let name = NAMES[usize::from(named) % 6];
        let text = match named {
            0..100 if fault != Some(Fault::NotUtf8) => Text::none(),
            _ => Text::new(fault, name),
        };
        let is_named = !text.ptr().is_null();
        let options = CString::new(OPTIONS[usize::from(policy >> 5)]).unwrap_or_default();
        let mut value = Struct::<hc_store_config>::zeroed();
        value.name = text.ptr();
        value.limit_bytes =
            [0, 0, 0, 512 * KIB, MIB, 1, u64::MAX, 256 * KIB][usize::from(limits & 7)];
        value.floor_bytes = [0, 0, 100_000, u64::MAX][usize::from(limits >> 3 & 3)];
        value.limit_entries = [0, 0, 0, 0, 0, 1, 50, u64::MAX][usize::from(limits >> 5)];
        value.shards = [0, 1, 2, 4, 1, 3, 512, u32::MAX][usize::from(more & 7)];
        value.jitter_pct = [0, 0, 0, 0, 50, 100, 101, 0][usize::from(more >> 3 & 7)];
        value.default_ttl_ms = [0, 3_600_000, HC_TTL_NEVER, HC_TTL_KEEP][usize::from(more >> 6)];
        value.policy = match (named & 0x40, policy & 7) {
            (0, which) => [0, 1, 4, 6, 3, 5, 2, 10][usize::from(which)],
            (_, which) => [8, 9, 7, 11, 8, 9, 8, 9][usize::from(which)],
        };
        value.policy_options = if policy & 8 == 0 { null() } else { options.as_ptr() };
        value.flags = u32::from(policy >> 4 & 1);
        // Of the bits that choose no options.
        value.filter_fpr = if policy & 0xE8 == 0x20 { 0.01 } else { 0.0 };
        match fault {
            Some(Fault::Flags) => value.flags |= 4 << (more % 30),
            Some(Fault::Reserved) => value.reserved = 1,
            Some(Fault::Range) => match more & 7 {
                0 => value.filter_fpr = -0.001,
                1 => value.filter_fpr = f64::NAN,
                2 => value.idle_ttl_ms = u64::MAX,
                3 => value.negative_pct = 101,
                _ => value.filter_fpr = 2.0,
            },
            _ => {}
        }
        // One thing is wrong at a time.
        if fault.is_some() {
            value.default_ttl_ms = 0;
            value.policy = 0;
        }
        if fault == Some(Fault::Enumerator) {
            value.policy = [-1, 12, i32::MAX, i32::MIN][usize::from(more & 3)];
        }
        let memory = Struct::input(value, fault, input);
        self.log.begin("hc_store_open", || format!("named {is_named} policy {}", value.policy));
        let mut detail = Detail::read(fault, input);
        let mut store = null_mut();
        let at = unless(fault == Some(Fault::NullHandle), self.pools[pool].at);
        let config = if fault == Some(Fault::NullStruct) { null() } else { memory.ptr() };
        let out = unless(fault == Some(Fault::NullOut), &raw mut store);
        // SAFETY: what the header leaves to the caller is kept; see the module.
        let status = unsafe { hc_store_open(at, config, out, detail.ptr()) };
        let said = detail.check(status);
        let statuses = [HC_OK, HC_ERR_INVALID, HC_ERR_UNSUPPORTED, HC_ERR_NO_SPACE];
        self.went(status, fault, None, &statuses);
        assert_eq!(store.is_null(), status != HC_OK, "a handle's place");
        if status == HC_OK {
            let sound = value.limit_bytes != 1
                && value.limit_bytes != u64::MAX
                && value.floor_bytes != u64::MAX
                && ![3, 512, u32::MAX].contains(&value.shards)
                && value.jitter_pct <= 100
                && value.default_ttl_ms != HC_TTL_KEEP
                && (!is_named || is_name(name));
            assert!(sound, "opened with a configuration out of range");
            self.opened(store, pool, is_named.then(|| name.to_owned()), value);
        } else if let (Some(said), None) = (said, fault)
            && status == HC_ERR_INVALID
        {
            let words = [
                "limit_bytes",
                "floor_bytes",
                "shards",
                "jitter_pct",
                "default_ttl_ms",
                "name",
                "policy",
            ];
            assert!(words.iter().any(|word| said.contains(word)), "\"{said}\" names nothing");
        }
    }

    fn opened(
        &mut self,
        store: *mut hc_store,
        pool: usize,
        name: Option<String>,
        config: hc_store_config,
    ) {
        if let Some(known) = self.stores.iter_mut().find(|known| known.at == store) {
            assert!(!known.is_closed && known.name == name, "another store was found");
            known.refs += 1;
            return;
        }
        // One that only scans or drafts have kept may be found again: what is in it, is not known.
        let pool = self.pools[pool].at;
        self.add_store(store, pool, config, name);
        let at = self.stores.len() - 1;
        let mut now = Struct::<hc_store_config>::zeroed();
        now.size = size_of::<hc_store_config>();
        // SAFETY: handles that hold a reference, and a struct of its size.
        unsafe {
            assert_eq!(hc_clear(store), HC_OK);
            assert_eq!(hc_store_set_known_keys(store, null_mut()), HC_OK);
            assert_eq!(hc_store_config_get(store, &mut now), HC_OK);
        }
        self.stores[at].config = now;
        if self.stores.len() > 5 {
            self.release_store(0);
        }
    }

    pub fn store_find(&mut self, input: &mut Input<'_>) {
        let faults = [Fault::NullHandle, Fault::NullText, Fault::NotUtf8, Fault::NullOut];
        let fault = Fault::read(input, &faults);
        let pool = self.pick_pool(input);
        let name = NAMES[usize::from(input.byte()) % 6];
        let text = Text::new(fault, name);
        self.log.begin("hc_store_find", || name);
        let mut store = null_mut();
        let at = unless(fault == Some(Fault::NullHandle), self.pools[pool].at);
        let out = unless(fault == Some(Fault::NullOut), &raw mut store);
        // SAFETY: as in `store_open`.
        let status = unsafe { hc_store_find(at, text.ptr(), out) };
        self.went(status, fault, None, &[HC_OK, HC_NOT_FOUND]);
        assert_eq!(store.is_null(), status != HC_OK, "a handle's place");
        if status == HC_OK {
            let config = Struct::<hc_store_config>::zeroed();
            self.opened(store, pool, Some(name.to_owned()), config);
        } else if fault.is_none() {
            let pool = self.pools[pool].at as usize;
            let open = self.stores.iter().find(|store| {
                store.pool == pool && store.name.as_deref() == Some(name) && !store.is_closed
            });
            assert!(open.is_none(), "an open store is not found");
        }
    }

    pub fn store_destroy(&mut self, input: &mut Input<'_>) {
        let store = self.pick_store(input);
        self.log.begin("hc_store_destroy", || store);
        // SAFETY: NULL is nothing to destroy.
        unsafe { hc_store_destroy(null_mut()) };
        let slot = &mut self.stores[store];
        for _ in 0..2 {
            // SAFETY: a handle that holds a reference.
            unsafe { hc_store_destroy(slot.at) };
        }
        slot.is_closed = true;
        slot.entries.clear();
        self.make_another();
    }

    /// So that there is always a store that is open.
    fn make_another(&mut self) {
        if self.stores.iter().all(|store| store.is_closed) {
            self.make_pool_and_store();
        }
    }

    pub fn store_references(&mut self, input: &mut Input<'_>) {
        let store = self.pick_store(input);
        let retains = input.flag();
        self.log.begin(if retains { "hc_store_retain" } else { "hc_store_release" }, || store);
        // SAFETY: NULL is nothing to release, and stays NULL when it is retained.
        unsafe {
            hc_store_release(null_mut());
            assert!(hc_store_retain(null_mut()).is_null());
        }
        if retains {
            let slot = &mut self.stores[store];
            // SAFETY: the handle holds a reference, also to a destroyed store.
            assert_eq!(unsafe { hc_store_retain(slot.at) }, slot.at);
            slot.refs += 1;
        } else {
            self.release_store(store);
        }
    }

    fn release_store(&mut self, store: usize) {
        let slot = &mut self.stores[store];
        slot.refs -= 1;
        let (at, is_last) = (slot.at, slot.refs == 0);
        if is_last {
            self.stores.remove(store);
            self.end_loads(Some(at));
            // Drafts and scans keep a store that is not destroyed: it ends with them.
            for mut held in self.drafts.extract_if(.., |held| held.store == at) {
                // SAFETY: a draft of hc_reserve, or a cleared one.
                unsafe { hc_abandon(&mut held.draft) };
            }
        }
        // SAFETY: a reference that was counted.
        unsafe { hc_store_release(at) };
        if is_last {
            for scan in self.scans.extract_if(.., |scan| scan.store == at) {
                // SAFETY: a scan of hc_scan_open, closed once.
                unsafe { hc_scan_close(scan.scan) };
            }
        }
        self.make_another();
    }

    pub fn store_set_limit(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle]);
        let store = self.pick_store(input);
        let number = input.byte();
        let bytes = match number {
            0..200 => u64::from(number % 9) * 128 * KIB,
            _ => [1, u64::MAX, MIB, 256 * KIB - 1][usize::from(number & 3)],
        };
        self.log.begin("hc_store_set_limit", || bytes);
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        // SAFETY: as in `store_open`.
        let status = unsafe { hc_store_set_limit(at, bytes) };
        let statuses: &[_] = match bytes {
            0 => &[HC_OK],
            1..262_144 | u64::MAX => &[HC_ERR_INVALID],
            _ => &[HC_OK, HC_ERR_NO_SPACE],
        };
        if self.stores[store].is_closed && fault.is_none() {
            self.log.note("a limit for a closed store");
            return assert_eq!(status, HC_ERR_CLOSED);
        }
        self.went(status, fault, Some(store), statuses);
    }

    /// Configuration, statistics, latencies, validation: answered by closed stores too.
    pub fn store_look(&mut self, input: &mut Input<'_>) {
        let faults = [Fault::NullHandle, Fault::SmallStruct, Fault::NullStruct, Fault::HugeStruct];
        let fault = Fault::read(input, &faults);
        // Structs that are filled may be larger than any that is known.
        let expected = fault.filter(|&fault| fault != Fault::HugeStruct);
        let store = self.pick_store(input);
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let is_null = fault == Some(Fault::NullStruct);
        match input.below(4) {
            0 => {
                self.log.begin("hc_store_stats_get", || store);
                let mut stats = Struct::<hc_store_stats>::output(fault, input);
                // SAFETY: as in `store_open`.
                let status = unsafe { hc_store_stats_get(at, unless(is_null, stats.ptr_mut())) };
                if self.went(status, expected, None, &[HC_OK]) {
                    let stats = stats.filled();
                    let known = self.stores[store].entries.len() as u64;
                    assert_eq!((stats.faults, stats.reserved), (0, 0));
                    assert!(!self.stores[store].is_closed || stats.entries == 0);
                    assert!(stats.entries <= known || known == 0, "{} of {known}", stats.entries);
                } else {
                    stats.assert_untouched();
                }
            }
            1 => {
                self.log.begin("hc_store_config_get", || store);
                let mut config = Struct::<hc_store_config>::output(fault, input);
                // SAFETY: as in `store_open`.
                let status = unsafe { hc_store_config_get(at, unless(is_null, config.ptr_mut())) };
                if self.went(status, expected, None, &[HC_OK]) {
                    let config = config.filled();
                    assert!(config.shards.is_power_of_two() && config.reserved == 0);
                    assert_eq!(config.name.is_null(), self.stores[store].name.is_none());
                } else {
                    config.assert_untouched();
                }
            }
            2 => {
                let op = input.pick(&[HC_OP_GET, HC_OP_SET, HC_OP_DELETE, 3, -1, i32::MAX]);
                self.log.begin("hc_store_latency_get", || op);
                let mut latency = Struct::<hc_latency>::output(fault, input);
                // SAFETY: as in `store_open`.
                let status =
                    unsafe { hc_store_latency_get(at, op, unless(is_null, latency.ptr_mut())) };
                let known = (0..3).contains(&op);
                // A store without latencies has none to fill a struct with.
                let statuses = [HC_OK, HC_NOT_FOUND, HC_ERR_UNSUPPORTED];
                if expected.is_none() {
                    self.went(status, None, None, &statuses);
                    assert_eq!(status == HC_ERR_UNSUPPORTED, !known);
                }
                if status == HC_OK {
                    let latency = latency.filled();
                    assert!(latency.min_ns <= latency.max_ns || latency.count == 0);
                } else {
                    latency.assert_untouched();
                }
            }
            _ => {
                self.log.begin("hc_store_validate", || store);
                let fault = match fault {
                    Some(Fault::SmallStruct) => Some(Fault::SmallError),
                    Some(Fault::NullHandle) => fault,
                    _ => None,
                };
                let mut detail = Detail::read(fault, input);
                // SAFETY: as in `store_open`.
                let status = unsafe { hc_store_validate(at, detail.ptr()) };
                detail.check(status);
                self.went(status, fault, None, &[HC_OK]);
            }
        }
    }
}
