//! The bytes of an entry.
//!
//! ```text
//! 0        2     3    4            8                                        size, a multiple of
//! | key    | fl- | ty | value      | expiry  | session | app     | run     | key | value | pad |
//! | length | ags | pe | length     | 8, opt. | 8, opt. | 8, opt. | and 3 * |     |       |     |
//! ```
//! \* when to load it anew, what that takes, and how long it lives without an access.
//!
//! The header is one 64-bit word. Optional fields follow in the order of their flag bits, each 8
//! bytes, only if the flag is set. A *large* value lies in a run of its own: the entry holds the
//! run's id in place of the value.
//!
//! Invariants: once an index slot names an entry, none of its bytes change, except the expiry and
//! the last two of the optional fields, which are only accessed as atomics. Once no slot names it any more, the holder of the shard's
//! lock marks its header *dead*, so that whoever walks the log later passes it without asking the
//! index; a reader that is still in it takes no notice.

use crate::memory::copy;
use crate::types::{KEY_LEN_MAX, ValueType};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the header.
pub const HEADER: usize = 8;
/// Bytes of all optional fields together.
pub const FIELDS_MAX: usize = 56;
/// The value that stands for "does not expire".
pub const NEVER: u64 = u64::MAX;

const EXPIRES: u8 = 1;
const SESSION: u8 = 2;
const APP: u8 = 4;
const LARGE: u8 = 8;
const SOFT: u8 = 16;
const LOAD: u8 = 32;
const IDLE: u8 = 64;
/// In the header word: no slot names the entry.
const DEAD: u64 = 0x80 << 16;

/// What an entry is made of, apart from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub key_len: u16,
    pub value_len: u32,
    pub value_type: ValueType,
    /// When it expires, in milliseconds of the store's clock; [`NEVER`] takes no field.
    pub expires: u64,
    /// 0 takes no field.
    pub session: u64,
    /// The application's flags; 0 takes no field.
    pub app: u32,
    /// Run that holds the value.
    pub run: Option<u32>,
    /// When it is to be loaded anew; [`NEVER`] takes no field.
    pub soft: u64,
    /// What loading it takes, and who does; 0 takes no field. See [`super::lease::fresh`].
    pub load: u64,
    /// How long it lives without an access; 0 takes no field. See [`super::lease::fresh`].
    pub idle: u64,
}

impl Shape {
    /// An entry without optional fields.
    #[inline(always)]
    pub fn plain(key: &[u8], value: &[u8], value_type: ValueType) -> Self {
        Self {
            key_len: key.len() as u16,
            value_len: value.len() as u32,
            value_type,
            expires: NEVER,
            session: 0,
            app: 0,
            run: None,
            soft: NEVER,
            load: 0,
            idle: 0,
        }
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.expires != NEVER {
            flags |= EXPIRES;
        }
        if self.session != 0 {
            flags |= SESSION;
        }
        if self.app != 0 {
            flags |= APP;
        }
        if self.run.is_some() {
            flags |= LARGE;
        }
        if self.soft != NEVER {
            flags |= SOFT;
        }
        if self.load != 0 {
            flags |= LOAD;
        }
        if self.idle != 0 {
            flags |= IDLE;
        }
        flags
    }

    /// Bytes in the log, before rounding up to the location unit.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        let inline = if self.run.is_some() { 0 } else { self.value_len as usize };
        HEADER + 8 * self.flags().count_ones() as usize + usize::from(self.key_len) + inline
    }

    /// Writes header, fields and key at `at`; returns where the value goes.
    ///
    /// # Safety
    /// `at` must be 8-aligned and have room for [`Shape::bytes`], not readable by others yet.
    /// `key` must have `key_len` bytes.
    #[inline(always)]
    pub unsafe fn write(&self, at: *mut u8, key: &[u8]) -> *mut u8 {
        debug_assert_eq!(key.len(), usize::from(self.key_len));
        let flags = self.flags();
        let header = u64::from(self.key_len)
            | u64::from(flags) << 16
            | u64::from(self.value_type.0) << 24
            | u64::from(self.value_len) << 32;
        // SAFETY: the caller promises room for header, fields and key, 8-aligned, unshared.
        unsafe {
            let mut place = at.cast::<u64>();
            place.write(header);
            if flags != 0 {
                let fields = [
                    (flags & EXPIRES != 0).then_some(self.expires),
                    (flags & SESSION != 0).then_some(self.session),
                    (flags & APP != 0).then_some(u64::from(self.app)),
                    self.run.map(u64::from),
                    (flags & SOFT != 0).then_some(self.soft),
                    (flags & LOAD != 0).then_some(self.load),
                    (flags & IDLE != 0).then_some(self.idle),
                ];
                for field in fields.into_iter().flatten() {
                    place = place.add(1);
                    place.write(field);
                }
            }
            let key_at = place.add(1).cast::<u8>();
            copy::key(key.as_ptr(), key_at, key.len());
            key_at.add(key.len())
        }
    }
}

/// A published entry: a header word and where it was read.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    at: *const u8,
    header: u64,
}

impl Entry {
    /// Reads the header at `at`.
    ///
    /// # Safety
    /// `at` must be the place of an entry that stays where it is while the result is used: it is
    /// announced or pinned, or the shard's lock is held.
    #[inline(always)]
    pub unsafe fn at(at: *const u8) -> Self {
        // SAFETY: the caller's promise.
        let header = unsafe { header_cell(at) }.load(Ordering::Relaxed) & !DEAD;
        Self { at, header }
    }

    /// [`Entry::at`], and whether the entry is marked dead.
    ///
    /// # Safety
    /// As [`Entry::at`], with the shard's lock held.
    #[inline(always)]
    pub unsafe fn at_marked(at: *const u8) -> (Self, bool) {
        // SAFETY: the caller's promise.
        let header = unsafe { header_cell(at) }.load(Ordering::Relaxed);
        (Self { at, header: header & !DEAD }, header & DEAD != 0)
    }

    /// The entry, if it is without optional fields and its key has so many bytes; most are, and the
    /// compiler knows of this one that it is.
    #[inline(always)]
    pub fn bare(self, key_len: usize) -> Option<Self> {
        const KEY_AND_FLAGS: u64 = KEY_LEN_MAX as u64 | (0xFF << 16);
        if self.header & (KEY_AND_FLAGS & !DEAD) != key_len as u64 {
            return None;
        }
        Some(Self { at: self.at, header: self.header & !KEY_AND_FLAGS | key_len as u64 })
    }

    /// The entry, if it is without optional fields; the compiler knows of this one that it is.
    #[inline(always)]
    pub fn without_fields(self) -> Option<Self> {
        const FLAGS: u64 = 0xFF << 16;
        if self.header & (FLAGS & !DEAD) != 0 {
            return None;
        }
        Some(Self { at: self.at, header: self.header & !FLAGS })
    }

    /// Marks the entry at `at` dead.
    ///
    /// # Safety
    /// As [`Entry::at`], with the shard's lock held.
    #[inline(always)]
    pub unsafe fn mark_dead(at: *const u8) {
        // SAFETY: the caller's promise; only holders of the lock write the word.
        let cell = unsafe { header_cell(at) };
        cell.store(cell.load(Ordering::Relaxed) | DEAD, Ordering::Relaxed);
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        (self.header >> 16) as u8
    }

    /// Bytes of the optional fields. Most entries have none, which a branch foresees faster than
    /// their number is counted.
    #[inline(always)]
    fn fields_bytes(&self) -> usize {
        let flags = self.flags();
        if flags == 0 { 0 } else { 8 * flags.count_ones() as usize }
    }

    #[inline(always)]
    fn field(&self, flag: u8) -> Option<*const u8> {
        let flags = self.flags();
        if flags & flag == 0 {
            return None;
        }
        let before = (flags & (flag - 1)).count_ones() as usize;
        // SAFETY: the flag says that the field exists, inside the entry.
        Some(unsafe { self.at.add(HEADER + 8 * before) })
    }

    #[inline(always)]
    pub fn key_len(&self) -> usize {
        (self.header & KEY_LEN_MAX as u64) as usize
    }

    #[inline(always)]
    pub fn value_len(&self) -> usize {
        (self.header >> 32) as usize
    }

    #[inline(always)]
    pub fn value_type(&self) -> ValueType {
        ValueType((self.header >> 24) as u8)
    }

    #[inline(always)]
    fn key_at(&self) -> *const u8 {
        // SAFETY: the fields that the flags name lie inside the entry, and the key follows them.
        unsafe { self.at.add(HEADER + self.fields_bytes()) }
    }

    #[inline(always)]
    pub fn key(&self) -> &[u8] {
        // SAFETY: the key's bytes follow the fields, are initialised and never change.
        unsafe { std::slice::from_raw_parts(self.key_at(), self.key_len()) }
    }

    /// Whether the entry's key is this one.
    #[inline(always)]
    pub fn key_is(&self, key: &[u8]) -> bool {
        // SAFETY: the entry's key has as many bytes then, which never change.
        self.key_len() == key.len() && unsafe { same_bytes(self.key_at(), key) }
    }

    /// The value, if it lies in the entry.
    #[inline(always)]
    pub fn inline_value(&self) -> *const u8 {
        // SAFETY: the value follows the key inside the entry.
        unsafe { self.key_at().add(self.key_len()) }
    }

    /// When it expires; [`NEVER`] if it does not.
    #[inline(always)]
    pub fn expires(&self) -> u64 {
        self.expiry().map_or(NEVER, |cell| cell.load(Ordering::Relaxed))
    }

    /// The expiry's cell, which may be changed in place.
    #[inline(always)]
    pub fn expiry(&self) -> Option<&AtomicU64> {
        // SAFETY: the field is 8-aligned, inside the entry, and only accessed as an atomic once
        // the entry is published.
        self.field(EXPIRES).map(|cell| unsafe { &*cell.cast::<AtomicU64>() })
    }

    fn word(&self, flag: u8) -> Option<u64> {
        // SAFETY: an aligned field inside the entry that never changes.
        self.field(flag).map(|cell| unsafe { cell.cast::<u64>().read() })
    }

    /// The session, 0 if none.
    pub fn session(&self) -> u64 {
        self.word(SESSION).unwrap_or(0)
    }

    /// The application's flags.
    pub fn app(&self) -> u32 {
        self.word(APP).unwrap_or(0) as u32
    }

    /// The run that holds the value.
    #[inline(always)]
    pub fn run(&self) -> Option<u32> {
        self.word(LARGE).map(|run| run as u32)
    }

    fn cell(&self, flag: u8) -> Option<&AtomicU64> {
        // SAFETY: as in `expiry`.
        self.field(flag).map(|cell| unsafe { &*cell.cast::<AtomicU64>() })
    }

    /// When it is to be loaded anew; [`NEVER`] if it is not.
    #[inline(always)]
    pub fn soft(&self) -> u64 {
        self.word(SOFT).unwrap_or(NEVER)
    }

    /// What loading it takes, and who does.
    #[inline(always)]
    pub fn load(&self) -> Option<&AtomicU64> {
        if self.flags() & LOAD == 0 { None } else { self.cell(LOAD) }
    }

    /// How long it lives without an access.
    #[inline(always)]
    pub fn idle(&self) -> Option<&AtomicU64> {
        if self.flags() & IDLE == 0 { None } else { self.cell(IDLE) }
    }

    /// Bytes in the log, before rounding up.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        let flags = self.flags();
        let inline = if flags & LARGE == 0 { self.value_len() } else { 0 };
        HEADER + self.fields_bytes() + self.key_len() + inline
    }

    /// What it is made of.
    pub fn shape(&self) -> Shape {
        Shape {
            key_len: (self.header & KEY_LEN_MAX as u64) as u16,
            value_len: (self.header >> 32) as u32,
            value_type: self.value_type(),
            expires: self.expires(),
            session: self.session(),
            app: self.app(),
            run: self.run(),
            soft: self.soft(),
            load: self.load().map_or(0, |cell| cell.load(Ordering::Relaxed)),
            idle: self.idle().map_or(0, |cell| cell.load(Ordering::Relaxed)),
        }
    }

    /// Where the entry begins.
    pub fn place(&self) -> *const u8 {
        self.at
    }
}

/// The header word of the entry at `at`.
///
/// # Safety
/// `at` must be the place of an entry that stays where it is while the result is used.
#[inline(always)]
unsafe fn header_cell<'a>(at: *const u8) -> &'a AtomicU64 {
    // SAFETY: the caller names an entry, which begins with an aligned word that is only accessed
    // as an atomic once the entry is published.
    unsafe { &*at.cast::<AtomicU64>() }
}

/// Compares a key of an entry with one of so many bytes. Keys are short: two overlapping words
/// decide 8 to 16 bytes without a call.
///
/// # Safety
/// As many bytes at `at` as `key` has are initialised and do not change.
#[inline(always)]
unsafe fn same_bytes(at: *const u8, key: &[u8]) -> bool {
    let len = key.len();
    if len.wrapping_sub(8) <= 8 {
        // SAFETY: with 8 <= len <= 16 all four words lie inside the two keys.
        return unsafe {
            let word = |from: *const u8| from.cast::<u64>().read_unaligned();
            let (first, last) = (word(key.as_ptr()), word(key.as_ptr().add(len - 8)));
            (word(at) ^ first) | (word(at.add(len - 8)) ^ last) == 0
        };
    }
    // SAFETY: the caller's promise.
    let own = unsafe { std::slice::from_raw_parts(at, len) };
    own == key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_reads_back() {
        let mut memory = vec![0_u64; 64];
        for bits in 0..128_u32 {
            for key_len in [0_u16, 1, 7, 8, 16, 17, 40] {
                let key: Vec<u8> = (0..key_len).map(|i| i as u8).collect();
                let shape = Shape {
                    key_len,
                    value_len: 33,
                    value_type: ValueType(200),
                    expires: if bits & 1 == 0 { NEVER } else { 77 },
                    session: u64::from(bits & 2) * 1_000_000_007,
                    app: bits & 4,
                    run: (bits & 8 != 0).then_some(9_000_001),
                    soft: if bits & 16 == 0 { NEVER } else { 99 },
                    load: u64::from(bits & 32) << 40,
                    idle: u64::from(bits & 64) << 30,
                };
                let at = memory.as_mut_ptr().cast::<u8>();
                // SAFETY: the buffer has 512 aligned bytes, more than any shape here takes.
                let (value, entry) = unsafe { (shape.write(at, &key), Entry::at(at)) };
                assert_eq!(entry.shape(), shape);
                assert_eq!(entry.key(), key);
                assert!(entry.key_is(&key));
                assert_eq!(entry.inline_value(), value.cast_const());
                assert_eq!(entry.bytes(), shape.bytes());
            }
        }
    }
}
