//! Reads of one key.

use super::args::{Fault, unless};
use super::world::{HeldView, World};
use super::writes::Key;
use crate::input::Input;
use hypercache::*;
use std::ptr::null_mut;

/// What may be wrong with a call that copies a value and says what it is.
pub const COPY_FAULTS: [Fault; 6] = [
    Fault::NullHandle,
    Fault::NullKey,
    Fault::LongKey,
    Fault::NullBuffer,
    Fault::NullOut,
    Fault::Flags,
];
const NO_INFO: hc_info =
    hc_info { len: 0, version: 0, ttl_ms: 0, session: 0, r#type: 0, flags: 0, reserved: [0; 2] };
/// What outputs hold before a call.
pub const MARK: hc_info = hc_info {
    len: 7_777,
    version: 7,
    ttl_ms: 7,
    session: 7,
    r#type: 7,
    flags: 7,
    reserved: [7; 2],
};

pub const NO_VIEW: hc_view = hc_view {
    data: std::ptr::null(),
    len: 0,
    version: 0,
    ttl_ms: 0,
    session: 0,
    r#type: 0,
    flags: 0,
    pin: null_mut(),
    reserved: 0,
};

/// Room for a value, and what C is told of it.
pub struct Room {
    pub bytes: Vec<u8>,
    pub at: *mut std::ffi::c_void,
    pub cap: usize,
}

impl Room {
    /// Too little, just enough, or more.
    pub fn read(len: usize, fault: Option<Fault>, input: &mut Input<'_>) -> Self {
        let cap = match input.byte() & 7 {
            0..3 => len,
            3 => len.saturating_sub(1),
            4 => 0,
            5 => len / 2,
            _ => len + 100,
        };
        let mut bytes = vec![0xEE; cap];
        let (at, cap) = match fault {
            Some(Fault::NullBuffer) => (null_mut(), cap + 1),
            _ if cap == 0 => (null_mut(), 0),
            _ => (bytes.as_mut_ptr().cast(), cap),
        };
        Self { bytes, at, cap }
    }

    pub fn is_untouched_from(&self, len: usize) -> bool {
        self.bytes[len..].iter().all(|&byte| byte == 0xEE)
    }
}

impl World<'_> {
    pub fn expected_len(&self, store: usize, key: &[u8]) -> usize {
        self.stores[store].entries.get(key).map_or(9, |entry| entry.value.len())
    }

    /// The metadata of a key's entry.
    pub fn metadata(&self, store: usize, key: &[u8]) -> Option<hc_info> {
        let mut info = NO_INFO;
        let (at, store) = (key.as_ptr().cast(), self.stores[store].at);
        // SAFETY: a handle that holds a reference, a key, no room, a place for the metadata.
        let status =
            unsafe { hc_get_info(store, at, key.len(), HC_PEEK, null_mut(), 0, &mut info) };
        [HC_OK, HC_SMALL_BUFFER].contains(&status).then_some(info)
    }

    /// A copy was answered. Rules 4 and 5.
    pub fn copied(&mut self, store: usize, key: &[u8], status: hc_status, len: usize, room: &Room) {
        match status {
            HC_OK => {
                self.has_value(store, key, &room.bytes[..len]);
                assert!(room.is_untouched_from(len), "written behind the value");
            }
            HC_SMALL_BUFFER => {
                assert!(len > room.cap && room.is_untouched_from(0));
                assert_eq!(self.found(store, key).value.len(), len);
            }
            _ => {
                assert!(room.is_untouched_from(0));
                self.missing(store, key);
            }
        }
    }

    pub fn has_metadata(&mut self, store: usize, key: &[u8], info: &hc_info) {
        let entry = self.found(store, key);
        let found = (info.len, info.r#type, info.session, info.flags, info.reserved);
        let expected = (entry.value.len(), entry.kind, entry.session, entry.flags, [0; 2]);
        assert_eq!(found, expected, "metadata");
        assert_ne!(info.version, 0);
    }

    pub fn get(&mut self, input: &mut Input<'_>) {
        let faults =
            [Fault::NullHandle, Fault::NullKey, Fault::LongKey, Fault::NullBuffer, Fault::NullOut];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let room = Room::read(self.expected_len(store, &key.bytes), fault, input);
        self.log.begin("hc_get", || format!("{} into {}", key.len, room.cap));
        let mut len = 7_777;
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let place = unless(fault == Some(Fault::NullOut), &raw mut len);
        // SAFETY: what the header leaves to the caller is kept; see the module.
        let status = unsafe { hc_get(at, key.at, key.len, room.at, room.cap, place) };
        if self.went(status, fault, Some(store), &[HC_OK, HC_SMALL_BUFFER, HC_NOT_FOUND]) {
            self.copied(store, &key.bytes, status, len, &room);
        }
        if ![HC_OK, HC_SMALL_BUFFER].contains(&status) {
            assert_eq!(len, 7_777, "a length was written");
        }
    }

    pub fn get_info(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &COPY_FAULTS);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let room = Room::read(self.expected_len(store, &key.bytes), fault, input);
        let flags = flags(fault, input);
        self.log.begin("hc_get_info", || format!("{} into {}", key.len, room.cap));
        let mut info = MARK;
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let place = unless(fault == Some(Fault::NullOut), &raw mut info);
        // SAFETY: as in `get`.
        let status = unsafe { hc_get_info(at, key.at, key.len, flags, room.at, room.cap, place) };
        self.read_with_info(store, &key.bytes, fault, status, &info, &room);
    }

    fn read_with_info(
        &mut self,
        store: usize,
        key: &[u8],
        fault: Option<Fault>,
        status: hc_status,
        info: &hc_info,
        room: &Room,
    ) {
        let found = [HC_OK, HC_SMALL_BUFFER].contains(&status);
        if self.went(status, fault, Some(store), &[HC_OK, HC_SMALL_BUFFER, HC_NOT_FOUND]) {
            self.copied(store, key, status, info.len, room);
            if found {
                self.has_metadata(store, key, info);
            }
        }
        if !found {
            assert_eq!((info.len, info.reserved), (7_777, [7; 2]), "metadata were written");
        }
    }

    pub fn take(&mut self, input: &mut Input<'_>) {
        let faults =
            [Fault::NullHandle, Fault::NullKey, Fault::LongKey, Fault::NullBuffer, Fault::NullOut];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let room = Room::read(self.expected_len(store, &key.bytes), fault, input);
        self.log.begin("hc_take", || format!("{} into {}", key.len, room.cap));
        let mut info = MARK;
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let place = unless(fault == Some(Fault::NullOut), &raw mut info);
        // SAFETY: as in `get`.
        let status = unsafe { hc_take(at, key.at, key.len, room.at, room.cap, place) };
        self.read_with_info(store, &key.bytes, fault, status, &info, &room);
        if status == HC_OK {
            self.removed(store, &key.bytes);
        }
    }

    pub fn contains(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::NullKey, Fault::LongKey]);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        if input.flag() {
            self.log.begin("hc_may_exist", || key.len);
            // SAFETY: as in `get`.
            let status = unsafe { hc_may_exist(at, key.at, key.len) };
            if self.went(status, fault, Some(store), &[HC_OK, HC_NOT_FOUND])
                && status == HC_NOT_FOUND
            {
                assert!(self.may_exclude(store, &key.bytes), "a known key exists nowhere");
                self.missing(store, &key.bytes);
                self.log.note("certainly absent");
            }
            return;
        }
        self.log.begin("hc_contains", || key.len);
        // SAFETY: as in `get`.
        let status = unsafe { hc_contains(at, key.at, key.len) };
        if self.went(status, fault, Some(store), &[HC_OK, HC_NOT_FOUND]) {
            if status == HC_OK {
                self.found(store, &key.bytes);
            } else {
                self.missing(store, &key.bytes);
            }
        }
    }

    pub fn pin(&mut self, input: &mut Input<'_>) {
        let faults =
            [Fault::NullHandle, Fault::NullKey, Fault::LongKey, Fault::NullOut, Fault::Flags];
        let fault = Fault::read(input, &faults);
        let store = self.pick_store(input);
        let key = Key::read(fault, input);
        let flags = flags(fault, input);
        self.log.begin("hc_pin", || key.len);
        let mut view = hc_view { len: 7_777, ..NO_VIEW };
        let at = unless(fault == Some(Fault::NullHandle), self.stores[store].at);
        let place = unless(fault == Some(Fault::NullOut), &raw mut view);
        // SAFETY: as in `get`.
        let status = unsafe { hc_pin(at, key.at, key.len, flags, place) };
        if self.went(status, fault, Some(store), &[HC_OK, HC_NOT_FOUND, HC_ERR_NO_SPACE]) {
            if status == HC_OK {
                self.hold(store, &key.bytes, view);
            } else {
                self.missing(store, &key.bytes);
            }
        }
        if status != HC_OK {
            assert!(view.data.is_null() && view.len == 7_777, "a view was written");
        }
    }

    /// A key was pinned.
    pub fn hold(&mut self, store: usize, key: &[u8], view: hc_view) {
        assert!(!view.data.is_null(), "data is never NULL");
        // SAFETY: a pinned view's data are readable until it is unpinned.
        let bytes = unsafe { std::slice::from_raw_parts(view.data.cast::<u8>(), view.len) };
        self.has_value(store, key, bytes);
        let info = hc_info {
            len: view.len,
            version: view.version,
            ttl_ms: view.ttl_ms,
            session: view.session,
            r#type: view.r#type,
            flags: view.flags,
            reserved: [0; 2],
        };
        self.has_metadata(store, key, &info);
        self.views.push(HeldView { view, value: bytes.to_vec() });
        if self.views.len() > 12 {
            let mut oldest = self.views.remove(0);
            // SAFETY: a view that was pinned or cleared.
            unsafe { hc_unpin(&mut oldest.view) };
        }
    }

    pub fn unpin(&mut self, input: &mut Input<'_>) {
        let number = input.byte();
        self.log.begin("hc_unpin", || number);
        // SAFETY: NULL is nothing to unpin.
        unsafe { hc_unpin(null_mut()) };
        if self.views.is_empty() {
            return;
        }
        let at = usize::from(number) % self.views.len();
        let held = &mut self.views[at];
        held.check();
        // SAFETY: a view that was pinned or cleared.
        unsafe { hc_unpin(&mut held.view) };
        assert!(held.view.data.is_null() && held.view.len == 0 && held.view.pin.is_null());
        // Some cleared ones stay, to be unpinned again.
        if input.flag() {
            self.views.remove(at);
        }
    }
}

/// `HC_PEEK` or nothing, or a bit that means nothing yet.
pub fn flags(fault: Option<Fault>, input: &mut Input<'_>) -> u32 {
    let byte = input.byte();
    let peek = u32::from(byte & 1);
    if fault == Some(Fault::Flags) { peek | 2 << (byte % 31) } else { peek }
}
