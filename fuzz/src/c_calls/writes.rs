//! Writes and removals of one key.

use super::args::{Fault, Struct, name_of, unless};
use super::world::{Entry, HeldDraft, World, take_out};
use crate::input::{Input, bytes_of};
use hypercache::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

/// A duration that cannot be over while an input runs.
const HOUR: u64 = 3_600_000;

/// A key: few, so that calls meet on them, and some at the edge of what is one.
pub fn key_of(number: u8) -> Vec<u8> {
    match number {
        250 => vec![b'k'; 65_535],
        251 => vec![b'k'; 20_000],
        252 => vec![b'k'; 4_000],
        253 => b"with\0nul".to_vec(),
        254 => vec![0xFF; 255],
        _ => match number % 24 {
            0 => Vec::new(),
            number => format!("user:{number}").into_bytes(),
        },
    }
}

/// A key as C passes it.
pub struct Key {
    pub bytes: Vec<u8>,
    pub at: *const c_void,
    pub len: usize,
}

impl Key {
    pub fn read(fault: Option<Fault>, input: &mut Input<'_>) -> Self {
        let number = input.byte();
        let bytes = key_of(number);
        let (at, len) = match fault {
            Some(Fault::NullKey) => (null(), usize::from(number) + 1),
            Some(Fault::LongKey) => {
                let long = [65_536, usize::MAX, isize::MAX as usize, 1 << 32];
                (bytes.as_ptr().cast(), long[usize::from(number & 3)])
            }
            // An empty key may have a NULL pointer.
            _ if bytes.is_empty() && number & 64 != 0 => (null(), 0),
            _ => (bytes.as_ptr().cast(), bytes.len()),
        };
        Self { bytes, at, len }
    }
}

pub fn ttl_of(number: u8) -> u64 {
    match number % 8 {
        0..3 => HC_TTL_DEFAULT,
        3 => HC_TTL_NEVER,
        4 => HC_TTL_KEEP,
        5 => 1,
        6 => HOUR,
        _ => HC_TTL_KEEP - 1,
    }
}

/// Options, and what may be wrong with them.
pub const OPTION_FAULTS: [Fault; 8] = [
    Fault::SmallStruct,
    Fault::HugeStruct,
    Fault::Tail,
    Fault::Reserved,
    Fault::Later,
    Fault::Enumerator,
    Fault::BadType,
    Fault::NullHandle,
];

pub fn options(
    fault: Option<Fault>,
    version: u64,
    input: &mut Input<'_>,
) -> (hc_put_options, Struct<hc_put_options>) {
    let (how, more) = (input.byte(), input.byte());
    let mut value = Struct::<hc_put_options>::zeroed();
    value.mode = [HC_PUT_SET, HC_PUT_SET, HC_PUT_SET, HC_PUT_ADD, HC_PUT_REPLACE, HC_PUT_CAS, 0, 3]
        [usize::from(how & 7)];
    value.expected_version = if how & 7 == 5 { version } else { u64::from(more) };
    value.ttl_ms = ttl_of(how >> 3);
    value.session = u64::from(more & 3);
    value.r#type = [0, 1, 2, 255][usize::from(more >> 2 & 3)];
    value.flags = if more & 16 == 0 { 0 } else { u32::MAX };
    match fault {
        Some(Fault::Reserved) => value.reserved = 1 << (more & 31),
        Some(Fault::Later) => value.reserved = u32::MAX,
        Some(Fault::Enumerator) => value.mode = [4, -1, i32::MIN, 7][usize::from(more & 3)],
        Some(Fault::BadType) => value.r#type = [256, u32::MAX][usize::from(more & 1)],
        _ => {}
    }
    (value, Struct::input(value, fault, input))
}

impl World<'_> {
    pub fn evicted(&self, store: usize) -> u64 {
        let mut stats = Struct::<hc_store_stats>::zeroed();
        stats.size = size_of::<hc_store_stats>();
        // SAFETY: a handle that holds a reference, and a struct of its size.
        let status = unsafe { hc_store_stats_get(self.stores[store].at, &mut stats) };
        assert_eq!(status, HC_OK);
        assert_eq!((stats.faults, stats.poisoned_shards), (0, 0));
        stats.evicted
    }

    /// Whether the key is there, as the store says.
    pub fn is_there(&self, store: usize, key: &[u8]) -> bool {
        // SAFETY: a handle that holds a reference, and a key.
        let status = unsafe { hc_contains(self.stores[store].at, key.as_ptr().cast(), key.len()) };
        assert!([HC_OK, HC_NOT_FOUND].contains(&status), "{}", name_of(status));
        status == HC_OK
    }

    /// The present version of a key.
    pub fn version(&self, store: usize, key: &[u8]) -> Option<u64> {
        let mut info = hc_info {
            len: 0,
            version: 0,
            ttl_ms: 0,
            session: 0,
            r#type: 0,
            flags: 0,
            reserved: [0; 2],
        };
        let (at, len) = (key.as_ptr().cast(), key.len());
        let store = self.stores[store].at;
        // SAFETY: a handle that holds a reference, a key, no room, a place for the metadata.
        let status = unsafe { hc_get_info(store, at, len, HC_PEEK, null_mut(), 0, &mut info) };
        [HC_OK, HC_SMALL_BUFFER].contains(&status).then_some(info.version)
    }

    /// Rule 5: the key was found.
    pub fn found(&mut self, store: usize, key: &[u8]) -> &Entry {
        let entry = self.stores[store].entries.get(key);
        entry.unwrap_or_else(|| panic!("\"{}\" cannot be there", key.escape_ascii()))
    }

    /// Rule 5: the key was found with this value.
    pub fn has_value(&mut self, store: usize, key: &[u8], value: &[u8]) {
        let entry = self.found(store, key);
        assert!(entry.value == value, "\"{}\": another value", key.escape_ascii());
    }

    /// Rule 5: the key was not found.
    pub fn missing(&mut self, store: usize, key: &[u8]) {
        let evicted = self.evicted(store);
        if let Some(entry) = self.stores[store].entries.remove(key) {
            assert!(
                entry.may_end || evicted > entry.evicted,
                "\"{}\" was lost, and nothing was evicted since it was written",
                key.escape_ascii()
            );
        }
    }

    pub fn removed(&mut self, store: usize, key: &[u8]) {
        self.stores[store].entries.remove(key);
        assert!(!self.is_there(store, key), "\"{}\": after its removal", key.escape_ascii());
    }

    pub fn value(&mut self, number: u8) -> Vec<u8> {
        const LONG: [usize; 8] = [1_000, 4_096, 4_097, 9_000, 16_384, 40_000, 262_144, 300_000];
        self.seed += 1;
        let len = match number {
            0..200 => usize::from(number),
            _ if self.written > super::WRITTEN_MAX => 7,
            number => LONG[usize::from(number & 7)],
        };
        self.written += len;
        bytes_of(self.seed, len)
    }

    /// Notes what a write did. Rule 5, and the header's rule for all writes.
    pub fn wrote(
        &mut self,
        store: usize,
        key: &[u8],
        value: &[u8],
        options: &hc_put_options,
        evicted: u64,
        status: hc_status,
    ) {
        match status {
            HC_OK => {
                match options.mode {
                    HC_PUT_ADD => self.missing(store, key),
                    HC_PUT_REPLACE | HC_PUT_CAS => {
                        self.found(store, key);
                    }
                    _ => {}
                }
                let slot = &mut self.stores[store];
                let config = &slot.config;
                let kept = slot.entries.get(key).is_none_or(|entry| entry.may_end);
                let short_default = ![0, HC_TTL_NEVER].contains(&config.default_ttl_ms)
                    && (config.default_ttl_ms < HOUR || config.jitter_pct > 0);
                let may_end = match options.ttl_ms {
                    HC_TTL_NEVER => false,
                    HC_TTL_DEFAULT => short_default,
                    HC_TTL_KEEP => kept || short_default,
                    ms => ms < HOUR || config.jitter_pct > 0,
                };
                let entry = Entry {
                    value: value.to_vec(),
                    kind: options.r#type,
                    session: options.session,
                    flags: options.flags,
                    may_end,
                    reloads: false,
                    evicted,
                };
                slot.entries.insert(key.to_vec(), entry);
            }
            HC_EXISTS => {
                assert_eq!(options.mode, HC_PUT_ADD);
                self.found(store, key);
            }
            HC_NOT_FOUND => {
                assert!([HC_PUT_REPLACE, HC_PUT_CAS].contains(&options.mode));
                self.missing(store, key);
            }
            HC_CONFLICT => {
                assert_eq!(options.mode, HC_PUT_CAS);
                self.found(store, key);
            }
            HC_ERR_TOO_LARGE | HC_ERR_NO_SPACE => match options.mode {
                HC_PUT_SET | HC_PUT_REPLACE => self.removed(store, key),
                HC_PUT_CAS if !self.is_there(store, key) => {
                    self.stores[store].entries.remove(key);
                }
                _ => {}
            },
            other => panic!("{}", name_of(other)),
        }
    }

    pub fn set(&mut self, input: &mut Input<'_>) {
        let faults =
            [Fault::NullHandle, Fault::NullKey, Fault::LongKey, Fault::NullValue, Fault::LongValue];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let value = self.value(input.byte());
        let mut options = Struct::<hc_put_options>::zeroed();
        options.ttl_ms = ttl_of(input.byte());
        self.log.begin("hc_set", || format!("{:?} {} bytes", key.len, value.len()));
        let evicted = self.evicted(store);
        let (val, val_len) = match fault {
            Some(Fault::NullValue) => (null(), 1 + value.len()),
            Some(Fault::LongValue) => (value.as_ptr().cast(), isize::MAX as usize + 1),
            _ if value.is_empty() => (null(), 0),
            _ => (value.as_ptr().cast(), value.len()),
        };
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        // SAFETY: what the header leaves to the caller is kept; see the module.
        let status = unsafe { hc_set(at, key.at, key.len, val, val_len, options.ttl_ms) };
        let statuses = [HC_OK, HC_ERR_TOO_LARGE, HC_ERR_NO_SPACE];
        self.went(status, fault, Some(store), &statuses);
        if fault.is_none() && !self.stores[store].is_closed {
            self.wrote(store, &key.bytes, &value, &options, evicted, status);
        }
    }

    pub fn put(&mut self, input: &mut Input<'_>) {
        let mut faults = vec![Fault::NullKey, Fault::LongKey, Fault::NullValue];
        faults.extend(OPTION_FAULTS);
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let value = self.value(input.byte());
        let present = self.version(store, &key.bytes).unwrap_or(1);
        let (options, memory) = options(fault, present, input);
        self.log
            .begin("hc_put", || format!("{} {} bytes mode {}", key.len, value.len(), options.mode));
        let evicted = self.evicted(store);
        let mut version = 0xEEEE;
        let wants_version = input.flag();
        let (val, val_len) = match fault {
            Some(Fault::NullValue) => (null(), 1),
            _ => (value.as_ptr().cast(), value.len()),
        };
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let place = unless(!wants_version, &raw mut version);
        // SAFETY: as in `set`.
        let status = unsafe { hc_put(at, key.at, key.len, val, val_len, memory.ptr(), place) };
        assert_eq!(version != 0xEEEE, status == HC_OK && wants_version, "the version's place");
        self.went(status, fault, Some(store), &PUT);
        if fault.is_none() && !self.stores[store].is_closed {
            self.wrote(store, &key.bytes, &value, &options, evicted, status);
        }
    }

    pub fn incr(&mut self, input: &mut Input<'_>) {
        const NUMBERS: [i64; 4] = [1, -5, i64::MAX, i64::MIN];
        let faults = [Fault::NullHandle, Fault::NullKey, Fault::LongKey, Fault::NullOut];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let how = input.byte();
        let (delta, initial) = (NUMBERS[usize::from(how & 3)], NUMBERS[usize::from(how >> 2 & 3)]);
        let ttl_ms = ttl_of(how >> 4);
        self.log.begin("hc_incr", || format!("{} by {delta} from {initial}", key.len));
        let evicted = self.evicted(store);
        let mut sum = 0x1234_5678_9ABC;
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let place = unless(fault == Some(Fault::NullOut), &raw mut sum);
        // SAFETY: as in `set`.
        let status = unsafe { hc_incr(at, key.at, key.len, delta, initial, ttl_ms, place) };
        let statuses = [HC_OK, HC_WRONG_TYPE, HC_OVERFLOW, HC_ERR_TOO_LARGE, HC_ERR_NO_SPACE];
        self.went(status, fault, Some(store), &statuses);
        if status != HC_OK {
            assert_eq!(sum, 0x1234_5678_9ABC, "a sum was written");
        }
        if fault.is_some() || self.stores[store].is_closed {
            return;
        }
        let before = self.stores[store].entries.get(&key.bytes).cloned();
        let number = before.as_ref().filter(|entry| entry.kind == HC_TYPE_INT64);
        let number =
            number.and_then(|entry| entry.value[..].try_into().ok()).map(i64::from_le_bytes);
        match status {
            HC_OK => {
                let continues = number.and_then(|number| number.checked_add(delta)) == Some(sum);
                let mut options = Struct::<hc_put_options>::zeroed();
                options.r#type = HC_TYPE_INT64;
                options.ttl_ms = ttl_ms;
                if continues {
                    let old = before.as_ref().expect("it continues");
                    let begins = sum == initial;
                    self.wrote(store, &key.bytes, &sum.to_le_bytes(), &options, evicted, HC_OK);
                    let entry = self.stores[store].entries.get_mut(&key.bytes).expect("just made");
                    entry.may_end |= old.may_end;
                    if !begins {
                        (entry.session, entry.flags) = (old.session, old.flags);
                    } else {
                        // Continued, or lost and begun anew: which, is not known.
                        let version = self.version(store, &key.bytes);
                        assert!(version.is_some() || self.evicted(store) > evicted || old.may_end);
                        let (session, flags) = (old.session, old.flags);
                        let info = self.metadata(store, &key.bytes);
                        if let Some(info) = info {
                            assert!(info.session == 0 || info.session == session);
                            let entry =
                                self.stores[store].entries.get_mut(&key.bytes).expect("just made");
                            (entry.session, entry.flags) = (info.session, flags & info.flags);
                        }
                    }
                } else {
                    assert_eq!(sum, initial, "a sum from nowhere");
                    self.missing(store, &key.bytes);
                    self.wrote(store, &key.bytes, &sum.to_le_bytes(), &options, evicted, HC_OK);
                }
            }
            HC_WRONG_TYPE => assert!(before.is_some() && number.is_none()),
            HC_OVERFLOW => {
                assert!(number.is_some_and(|number| number.checked_add(delta).is_none()));
            }
            _ => self.removed(store, &key.bytes),
        }
    }

    pub fn touch(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::NullKey, Fault::LongKey]);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let ttl_ms = ttl_of(input.byte());
        self.log.begin("hc_touch", || format!("{} {ttl_ms}", key.len));
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        // SAFETY: as in `set`.
        let status = unsafe { hc_touch(at, key.at, key.len, ttl_ms) };
        if self.went(status, fault, Some(store), &[HC_OK, HC_NOT_FOUND, HC_ERR_NO_SPACE]) {
            if status == HC_NOT_FOUND {
                return self.missing(store, &key.bytes);
            }
            self.found(store, &key.bytes);
            let slot = &mut self.stores[store];
            let entry = slot.entries.get_mut(&key.bytes).expect("found");
            if ttl_ms != HC_TTL_KEEP {
                // Shortened or made longer: only what never ends is certain.
                entry.may_end = ttl_ms != HC_TTL_NEVER
                    && (ttl_ms < HOUR || slot.config.jitter_pct > 0)
                    && (ttl_ms != HC_TTL_DEFAULT
                        || ![0, HC_TTL_NEVER].contains(&slot.config.default_ttl_ms));
            }
        }
    }

    pub fn delete(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::NullKey, Fault::LongKey]);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        self.log.begin("hc_delete", || key.len);
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        // SAFETY: as in `set`.
        let status = unsafe { hc_delete(at, key.at, key.len) };
        if self.went(status, fault, Some(store), &[HC_OK, HC_NOT_FOUND]) {
            if status == HC_OK {
                self.found(store, &key.bytes);
            } else {
                self.missing(store, &key.bytes);
            }
            self.removed(store, &key.bytes);
        }
    }

    pub fn delete_if(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::NullKey, Fault::LongKey]);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let version = match input.byte() {
            byte @ 0..64 => u64::from(byte),
            _ => self.version(store, &key.bytes).unwrap_or(u64::MAX),
        };
        self.log.begin("hc_delete_if", || key.len);
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        // SAFETY: as in `set`.
        let status = unsafe { hc_delete_if(at, key.at, key.len, version) };
        if self.went(status, fault, Some(store), &[HC_OK, HC_NOT_FOUND, HC_CONFLICT]) {
            match status {
                HC_OK => {
                    self.found(store, &key.bytes);
                    self.removed(store, &key.bytes);
                }
                HC_NOT_FOUND => self.missing(store, &key.bytes),
                _ => {
                    self.found(store, &key.bytes);
                }
            }
        }
    }

    pub fn reserve(&mut self, input: &mut Input<'_>) {
        let mut faults = vec![Fault::NullKey, Fault::LongKey, Fault::NullOut];
        faults.extend(OPTION_FAULTS);
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let number = input.byte();
        let value = self.value(number);
        let present = self.version(store, &key.bytes).unwrap_or(1);
        let (options, memory) = options(fault, present, input);
        let absurd = [usize::MAX, 1 << 32, isize::MAX as usize, 1 << 63];
        let is_absurd = number >= 252;
        let len = if is_absurd { absurd[usize::from(number & 3)] } else { value.len() };
        self.log.begin("hc_reserve", || format!("{} {len} bytes", key.len));
        let evicted = self.evicted(store);
        let mut draft = hc_draft { data: null_mut(), len: 77, slot: [7; 2] };
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let out = unless(fault == Some(Fault::NullOut), &raw mut draft);
        // SAFETY: as in `set`.
        let status = unsafe { hc_reserve(at, key.at, key.len, len, memory.ptr(), out) };
        self.went(status, fault, Some(store), &[HC_OK, HC_ERR_TOO_LARGE, HC_ERR_NO_SPACE]);
        if status != HC_OK {
            assert_eq!((draft.len, draft.slot), (77, [7; 2]), "a draft was written");
            if fault.is_none() && !self.stores[store].is_closed {
                self.wrote(store, &key.bytes, &value, &options, evicted, status);
            }
            return;
        }
        assert!(!is_absurd && draft.len == value.len() && !draft.data.is_null());
        // SAFETY: the draft's memory is this program's until it is committed or abandoned.
        unsafe { draft.data.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len()) };
        if self.drafts.len() == 6 {
            let mut oldest = self.drafts.remove(0);
            // SAFETY: a draft of hc_reserve, or a cleared one.
            unsafe { hc_abandon(&mut oldest.draft) };
        }
        let store = self.stores[store].at;
        self.drafts.push(HeldDraft { draft, store, key: key.bytes, value, options });
    }

    pub fn commit(&mut self, input: &mut Input<'_>) {
        let number = input.byte();
        if number == 255 || self.drafts.is_empty() {
            self.log.begin("hc_commit", || "nothing");
            // SAFETY: NULL is refused.
            let status = unsafe { hc_commit(null_mut(), null_mut()) };
            return assert_eq!(status, HC_ERR_INVALID);
        }
        let at = usize::from(number) % self.drafts.len();
        let keep = input.flag();
        self.log.begin("hc_commit", || at);
        let held = &mut self.drafts[at];
        let had_ended = held.draft.slot == [0; 2];
        // A store all of whose handles went is closed.
        let store = self.stores.iter().position(|store| store.at == held.store);
        let is_closed = store.is_none_or(|store| self.stores[store].is_closed);
        let evicted = store.map_or(0, |store| self.evicted(store));
        let held = &mut self.drafts[at];
        let mut version = 0xEEEE;
        // SAFETY: a draft of hc_reserve whose bytes were written, or a cleared one.
        let status = unsafe { hc_commit(&mut held.draft, &mut version) };
        assert_eq!((held.draft.data, held.draft.len, held.draft.slot), (null_mut(), 0, [0; 2]));
        assert_eq!(version != 0xEEEE, status == HC_OK, "the version's place");
        self.log.result(name_of(status), || "");
        if had_ended {
            assert_eq!(status, HC_ERR_INVALID);
            self.drafts.remove(at);
            return;
        }
        let HeldDraft { draft, key, value, options, store: handle } = self.drafts.remove(at);
        match store {
            _ if is_closed => assert_eq!(status, HC_ERR_CLOSED),
            Some(store) => {
                assert!(PUT.contains(&status), "{}", name_of(status));
                self.wrote(store, &key, &value, &options, evicted, status);
            }
            None => {}
        }
        if keep {
            // An ended one, to be committed or abandoned again.
            self.drafts.push(HeldDraft { draft, store: handle, key, value, options });
        }
    }

    pub fn abandon(&mut self, input: &mut Input<'_>) {
        let number = input.byte();
        self.log.begin("hc_abandon", || number);
        // SAFETY: NULL is nothing to abandon.
        unsafe { hc_abandon(null_mut()) };
        if let Some(mut held) = take_out(&mut self.drafts, number) {
            for _ in 0..2 {
                // SAFETY: a draft of hc_reserve, and then a cleared one.
                unsafe { hc_abandon(&mut held.draft) };
                assert_eq!((held.draft.data, held.draft.slot), (null_mut(), [0; 2]));
            }
            if input.flag() {
                self.drafts.push(held);
            }
        }
    }

    /// Writes much in little input.
    pub fn fill(&mut self, input: &mut Input<'_>) {
        let store = self.pick_store(input);
        let (count, len) = (usize::from(input.byte()) * 4, usize::from(input.byte()) * 16);
        if self.stores[store].is_closed {
            return;
        }
        self.log.begin("fill", || format!("{count} x {len}"));
        let options = Struct::<hc_put_options>::zeroed();
        for number in 0..count {
            if self.written > super::WRITTEN_MAX {
                break;
            }
            self.written += len;
            self.seed += 1;
            let (key, value) = (format!("item:{number}").into_bytes(), bytes_of(self.seed, len));
            let evicted = self.evicted(store);
            let (at, key_at, val) =
                (self.stores[store].at, key.as_ptr().cast(), value.as_ptr().cast());
            // SAFETY: as in `set`.
            let status = unsafe { hc_set(at, key_at, key.len(), val, len, 0) };
            self.wrote(store, &key, &value, &options, evicted, status);
        }
    }
}

/// What a write may answer.
pub const PUT: [hc_status; 6] =
    [HC_OK, HC_EXISTS, HC_NOT_FOUND, HC_CONFLICT, HC_ERR_TOO_LARGE, HC_ERR_NO_SPACE];
