//! Views: entries held still while somebody reads them in place.
//!
//! A pin is counted in the segment or run that holds the value *before* the look-up's announcement
//! is withdrawn, so a reclaimer that finds no announcement finds the pin. Small values are pinned
//! as copies, so that 100 bytes do not hold a whole segment back. What is held back is charged
//! against the pool's pin limit, once for a segment however many views it has, and keeps the pool
//! alive after its last handle.

use super::StoreInner;
use super::entry::Entry;
use super::lease::handed::Handed;
use super::read::{Hit, Visit};
use super::writer::{Live, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::guard::Guard;
use crate::pool::{Owner, Pool, PoolInner};
use crate::types::Info;
use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// The longest value that is pinned as a copy, in bytes.
const COPY_MAX: usize = 4096;

const PIN_LIMIT: Error = Error::fixed(
    ErrorKind::NoSpace,
    "views, drafts and waits hold as much memory back as the pool's pin_limit_bytes allows; unpin some",
);

/// What holds the bytes of a view, as its token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Nothing: the value is empty.
    Nothing,
    /// A block of the raw allocator.
    Copy,
    /// A pin on a segment or a run.
    Memory(u32),
    /// A share of a value that was handed over.
    Shared,
}

/// A pinned entry: its bytes do not change while the view lives, whatever happens to the key.
///
/// It may be dropped on another thread, and after the store and the pool's last handle are gone.
pub struct View {
    raw: RawView,
}

// SAFETY: the bytes are immutable while pinned, and unpinning is thread-safe.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("info", self.info()).finish_non_exhaustive()
    }
}

/// A [`View`] in plain words, for callers in other languages.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RawView {
    /// First byte; never null.
    pub data: *const u8,
    /// Bytes.
    pub len: usize,
    /// The entry's metadata when it was pinned.
    pub info: Info,
    /// Pool that holds the bytes; null if none does.
    pub pin: *mut c_void,
    /// What holds them.
    pub token: u64,
}

impl View {
    /// The entry's metadata when it was pinned.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.raw.info
    }

    /// Has the view say that the value's time is over.
    pub(super) fn set_old(&mut self) {
        self.raw.info.ttl_ms = Some(0);
    }

    /// Gives the pin away in plain words.
    #[must_use]
    pub fn into_raw(self) -> RawView {
        let raw = self.raw;
        std::mem::forget(self);
        raw
    }

    /// Takes a pin back.
    ///
    /// # Safety
    /// `raw` came from [`View::into_raw`] and is taken back once.
    #[must_use]
    pub unsafe fn from_raw(raw: RawView) -> Self {
        Self { raw }
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the pin keeps `len` initialised bytes at `data` from being reused.
        unsafe { std::slice::from_raw_parts(self.raw.data, self.raw.len) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.raw.pin.is_null() {
            return;
        }
        let inner = self.raw.pin.cast::<PoolInner>().cast_const();
        // SAFETY: the pinned bytes, which are given back below, keep the pool alive.
        let pool = unsafe { Pool::borrow_raw(inner.cast()) };
        if pool.check().is_err() {
            return;
        }
        let space = pool.space();
        let bytes = match hold_of(self.raw.token) {
            Holder::Nothing => return,
            // SAFETY: the share is this view's, which nobody uses any more.
            Holder::Shared => return unsafe { Handed::give(&pool, inner, self.raw.data) },
            Holder::Copy => {
                let bytes = self.raw.len as u64;
                if let Some(block) = NonNull::new(self.raw.data.cast_mut()) {
                    // SAFETY: the block belongs to this view alone, which nobody uses any more.
                    let freed = unsafe { pool.raw().free(space, block, Owner::Pin) };
                    debug_assert!(freed.is_ok());
                }
                bytes
            }
            Holder::Memory(id) => {
                let (pins, bytes) = pins_of(&pool, id);
                if pins.fetch_sub(1, Ordering::AcqRel) != 1 {
                    return;
                }
                bytes
            }
        };
        // SAFETY: as many bytes were charged when the copy was made or the first pin was set, and
        // this is the one call that takes them back.
        unsafe { Pool::pin_discharge(inner, bytes) };
    }
}

const COPY: u64 = 1 << 32;
const MEMORY: u64 = 2 << 32;
/// Token of a view of a value that was handed over.
pub(super) const SHARED: u64 = 3 << 32;

fn hold_of(token: u64) -> Holder {
    match token & !0xFFFF_FFFF {
        COPY => Holder::Copy,
        MEMORY => Holder::Memory(token as u32),
        SHARED => Holder::Shared,
        _ => Holder::Nothing,
    }
}

/// The pin count of a segment or run, and the bytes that a pin on it holds back.
fn pins_of(pool: &Pool, id: u32) -> (&AtomicU32, u64) {
    let space = pool.space();
    if id < crate::pool::RUN_BASE {
        (&space.meta(id).pins, space.seg_bytes())
    } else {
        (&space.run_meta(id).pins, space.run_charge(id))
    }
}

/// Makes a view of the entry.
#[derive(Clone, Copy)]
pub(super) struct Hold<'a> {
    pub store: &'a StoreInner,
    pub peek: bool,
}

impl Visit for Hold<'_> {
    type Out = Result<Option<View>>;

    fn counts(self) -> bool {
        !self.peek
    }

    fn miss(self, store: &StoreInner, slot: u32) -> Self::Out {
        store.count_miss(slot, self.peek);
        Ok(None)
    }

    fn visit<G: Guard>(self, hit: &mut Hit<'_, G>) -> Option<Self::Out> {
        let Ok(ttl_ms) = hit.time_left() else {
            hit.count_miss(self.peek);
            return Some(Ok(None));
        };
        let info = hit.info(ttl_ms);
        let holder = hit.entry().run().unwrap_or(hit.segment());
        let value = hit.value()?;
        // SAFETY: the hit protects the value until this returns.
        let view = unsafe { self.store.hold(value, info, holder) }.map(Some);
        if view.is_ok() {
            hit.count(self.peek);
        }
        Some(view)
    }
}

impl StoreInner {
    /// Pins the entry of a key.
    pub fn pin(&self, hash: u64, key: &[u8], peek: bool) -> Result<Option<View>> {
        if let Some(view) = self.look_up(hash, key, Hold { store: self, peek })? {
            return view;
        }
        self.pin_locked(hash, key, peek)
    }

    /// [`StoreInner::pin`] of last resort, for a key that writers do not leave alone.
    #[cold]
    pub fn pin_locked(&self, hash: u64, key: &[u8], peek: bool) -> Result<Option<View>> {
        let (writer, live) = self.probe_locked(hash, key)?;
        let found = live.filter(|live| !writer.is_expired(&live.entry));
        match found {
            Some(_) if !peek => self.counters.hit(u32::MAX),
            Some(_) => {}
            None => self.count_miss(u32::MAX, peek),
        }
        found.map(|live| self.pin_live(&writer, &live)).transpose()
    }

    /// Pins an entry under its shard's lock.
    pub fn pin_live(&self, writer: &Writer<'_>, live: &Live) -> Result<View> {
        debug_assert!(std::ptr::eq(writer.store, self));
        let entry: &Entry = &live.entry;
        let info = self.info_under_lock(live);
        let (value, holder) = match entry.run() {
            None => (entry.inline_value(), self.places.segment_of(live.slot.location)),
            Some(run) => (self.space().run_addr(run).cast_const(), run),
        };
        // SAFETY: the lock keeps the entry and its run from being given back.
        unsafe { self.hold(value, info, holder) }
    }

    /// Makes a view of a value.
    ///
    /// # Safety
    /// The value's bytes lie in the segment or run `holder` and are protected until this returns.
    unsafe fn hold(&self, value: *const u8, info: Info, holder: u32) -> Result<View> {
        let pool = &self.pool;
        let pin = pool.as_inner().cast_mut().cast::<c_void>();
        if info.len == 0 {
            let data = NonNull::<u8>::dangling().as_ptr().cast_const();
            let raw = RawView { data, len: 0, info, pin: std::ptr::null_mut(), token: 0 };
            return Ok(View { raw });
        }
        if info.len <= COPY_MAX {
            let bytes = info.len as u64;
            if !pool.pin_charge(bytes) {
                return Err(PIN_LIMIT);
            }
            if let Ok(Some(block)) = pool.raw().alloc(self.space(), info.len, 0, Owner::Pin, false)
            {
                // SAFETY: the caller protects the value; the block is new and long enough.
                unsafe { std::ptr::copy_nonoverlapping(value, block.as_ptr(), info.len) };
                let data = block.as_ptr().cast_const();
                return Ok(View { raw: RawView { data, len: info.len, info, pin, token: COPY } });
            }
            // A full pool has no room for a copy, which is no reason to fail: the value is pinned
            // where it lies.
            // SAFETY: charged just above, taken back once.
            unsafe { Pool::pin_discharge(pool.as_inner(), bytes) };
        }
        let (pins, bytes) = pins_of(pool, holder);
        let mut count = pins.load(Ordering::Relaxed);
        loop {
            let charged = count == 0;
            if charged && !pool.pin_charge(bytes) {
                return Err(PIN_LIMIT);
            }
            match pins.compare_exchange_weak(count, count + 1, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => {
                    if charged {
                        // SAFETY: charged just above, taken back once.
                        unsafe { Pool::pin_discharge(pool.as_inner(), bytes) };
                    }
                    count = now;
                }
            }
        }
        let token = MEMORY | u64::from(holder);
        Ok(View { raw: RawView { data: value, len: info.len, info, pin, token } })
    }
}
