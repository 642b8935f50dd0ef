//! Read-through: claims, leases, and waits for event loops.
//!
//! The library decides who loads (`hc_get_or_claim`); here a claim becomes the value, a [`Lease`]
//! for the one who is to load it, or a wait. A thread waits in the library, in slices, so that a
//! signal is seen; a task waits on the descriptor of [`Waits`], which its event loop watches.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use hypercache_sys::*;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cache::CacheBase;
use crate::errors::{check, detail, error, error_with};
use crate::handle::Owned;
use crate::hot::{LONG, put_options};
use crate::key::{self, KeyRef, Scratch};
use crate::open::{Ttl, ttl};
use crate::value;

/// How long a thread waits before it looks for signals, in milliseconds.
const SLICE_MS: u64 = 100;

/// Values up to this length are read into a buffer on the stack.
const BUFFER: usize = 2048;

/// What came of a claim.
pub enum Claim<'py> {
    Value(Bound<'py, PyAny>),
    Claimed(Lease),
    /// Somebody else loads.
    Busy,
    /// The source has no such key.
    Absent,
}

/// The right, and the task, to load a key: made by a claim that found nothing.
#[pyclass(module = "hypercache._native", frozen)]
pub struct Lease {
    lease: Mutex<hc_lease>,
    cache: Py<CacheBase>,
    share: Arc<Owned>,
}

impl Lease {
    fn taken(&self) -> hc_lease {
        let none = hc_lease { id: 0, generation: 0 };
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *lease, none)
    }

    fn end(&self, reason: i32, retry_ms: u64) {
        let mut lease = self.taken();
        if lease.generation != 0 {
            // SAFETY: the share holds the store; the lease is a place.
            unsafe { hc_lease_drop(self.share.store, &raw mut lease, reason, retry_ms) };
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end(HC_DROP_CANCELLED, 0);
    }
}

#[pymethods]
impl Lease {
    /// Stores the loaded value, wakes who waits, and ends the lease; whether it was stored. From
    /// `soft_ms` on, where that is not 0, claims have one caller load it anew.
    #[pyo3(signature = (value, ttl=None, soft_ms=0))]
    fn put(
        &self,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        soft_ms: u64,
    ) -> PyResult<bool> {
        struct Shared(*const u8, usize, hc_put_options);
        // SAFETY: the bytes are only read.
        unsafe impl Sync for Shared {}
        let py = value.py();
        let ttl =
            ttl.map_or(Ok(Ttl::Lasts(HC_TTL_DEFAULT)), |object| self::ttl(object, HC_TTL_DEFAULT))?;
        let Ttl::Lasts(ttl_ms) = ttl else {
            self.end(HC_DROP_CANCELLED, 0);
            return Ok(false);
        };
        // SAFETY: the caller holds the object through this function.
        let value = unsafe { value::encode(py, value.as_ptr(), &self.cache.get().codec) }?;
        let mut lease = self.taken();
        if lease.generation == 0 {
            return Ok(false);
        }
        let mut options = put_options(HC_PUT_SET, value.tag, ttl_ms, 0);
        options.soft_ttl_ms = soft_ms;
        let parts = Shared(value.data(), value.len(), options);
        let store = &self.share;
        let mut put = || {
            let Shared(data, len, options) = &parts;
            // SAFETY: the share holds the store; value, options and lease are this function's.
            unsafe {
                let options = ptr::from_ref(options);
                hc_lease_put(
                    store.store,
                    &raw mut lease,
                    data.cast(),
                    *len,
                    options,
                    ptr::null_mut(),
                )
            }
        };
        let status = if value.len() < LONG { put() } else { py.detach(put) };
        match status {
            HC_OK => Ok(true),
            // Written meanwhile, declined, or there is no room: the caller has the value anyhow.
            HC_CONFLICT | HC_NOT_ADMITTED | HC_ERR_TOO_LARGE | HC_ERR_NO_SPACE
            | HC_ERR_NO_MEMORY | HC_ERR_CLOSED | HC_ERR_POISONED => Ok(false),
            _ => Err(error(py, status)),
        }
    }

    /// Ends the lease: one of those who wait loads instead.
    fn cancel(&self) {
        self.end(HC_DROP_CANCELLED, 0);
    }

    /// Ends the lease: who waits, and who claims the key within so many milliseconds, is told that
    /// the load failed.
    #[pyo3(signature = (retry_ms=0))]
    fn fail(&self, retry_ms: u64) {
        self.end(HC_DROP_FAILED, retry_ms);
    }

    /// Ends the lease: the source has no such key, and for so many milliseconds nobody asks again.
    #[pyo3(signature = (retry_ms))]
    fn absent(&self, retry_ms: u64) {
        self.end(HC_DROP_ABSENT, retry_ms);
    }
}

/// How a key is claimed.
#[derive(Clone, Copy)]
pub struct How {
    /// Wait for somebody else's load, while other Python threads run.
    pub wait: bool,
    /// Take a value that is due to be loaded anew while somebody else does that.
    pub stale: bool,
}

/// Claims a key.
///
/// # Safety
/// The key's bytes stay alive through the call.
pub unsafe fn claim<'py>(
    cache: &Bound<'py, CacheBase>,
    key: KeyRef,
    how: How,
) -> PyResult<Claim<'py>> {
    let (py, this) = (cache.py(), cache.get());
    let flags = if how.stale { HC_CLAIM_STALE } else { 0 };
    let mut place = Place::new();
    let mut timeout = 0;
    loop {
        // SAFETY: the caller's word.
        let status = unsafe { place.ask(py, this, key, flags, timeout) }?;
        match status {
            HC_OK => {
                let (info, bytes) = place.found();
                return Ok(Claim::Value(value::decode(py, info.r#type, bytes, &this.codec)?));
            }
            HC_CLAIMED => return place.leased(cache).map(Claim::Claimed),
            HC_SMALL_BUFFER => place.grow(),
            HC_TIMEOUT if how.wait => {
                py.check_signals()?;
                timeout = SLICE_MS;
            }
            HC_TIMEOUT => return Ok(Claim::Busy),
            HC_NOT_FOUND => return Ok(Claim::Absent),
            // Declined by the policy and not passed on: another claim loads it again.
            HC_NOT_ADMITTED => timeout = 0,
            _ => return Err(error(py, status)),
        }
    }
}

/// What the library writes an answer to.
struct Place {
    buffer: MaybeUninit<[u8; BUFFER]>,
    long: Vec<u8>,
    info: MaybeUninit<hc_info>,
    lease: hc_lease,
}

impl Place {
    #[inline]
    fn new() -> Self {
        Self {
            buffer: MaybeUninit::uninit(),
            long: Vec::new(),
            info: MaybeUninit::uninit(),
            lease: hc_lease { id: 0, generation: 0 },
        }
    }

    fn buffer(&mut self) -> (*mut u8, usize) {
        if self.long.capacity() > 0 {
            (self.long.as_mut_ptr(), self.long.capacity())
        } else {
            (self.buffer.as_mut_ptr().cast(), BUFFER)
        }
    }

    /// # Safety
    /// The key's bytes stay alive through the call.
    unsafe fn ask(
        &mut self,
        py: Python<'_>,
        cache: &CacheBase,
        key: KeyRef,
        flags: u32,
        timeout: u64,
    ) -> PyResult<hc_status> {
        struct Shared(KeyRef, *mut u8, usize, *mut hc_info, *mut hc_lease);
        // SAFETY: one thread uses them at a time: the one that waits for the work.
        unsafe impl Sync for Shared {}
        let (data, cap) = self.buffer();
        let places = Shared(key, data, cap, self.info.as_mut_ptr(), &raw mut self.lease);
        let ask = |store| {
            let Shared(key, data, cap, info, lease) = &places;
            // SAFETY: the key's bytes are alive (the caller's word); the buffer has its capacity,
            // metadata and lease have a place.
            unsafe {
                let (key, len, data) = (key.data.cast(), key.len, data.cast());
                hc_get_or_claim(store, key, len, flags, timeout, data, *cap, *info, *lease)
            }
        };
        if timeout == 0 { cache.call(py, ask) } else { cache.long(py, ask) }
    }

    /// What was found: only after `HC_OK`.
    fn found(&mut self) -> (hc_info, &[u8]) {
        // SAFETY: with this status both were written, the buffer for `len` bytes.
        unsafe {
            let info = *self.info.assume_init_ref();
            let (data, _) = self.buffer();
            (info, std::slice::from_raw_parts(data, info.len))
        }
    }

    /// Room for what did not fit: only after `HC_SMALL_BUFFER`.
    fn grow(&mut self) {
        // SAFETY: with this status the metadata was written.
        self.long.reserve(unsafe { self.info.assume_init_ref() }.len);
    }

    /// What was granted: only after `HC_CLAIMED`.
    fn leased(&self, cache: &Bound<'_, CacheBase>) -> PyResult<Lease> {
        let share = cache.get().share(cache.py())?;
        let cache = cache.clone().unbind();
        Ok(Lease { lease: Mutex::new(self.lease), cache, share })
    }
}

/// Waits for leases, for one event loop.
#[pyclass(module = "hypercache._native", frozen)]
pub struct Waits {
    waits: Mutex<Opened>,
    cache: Py<CacheBase>,
    /// The store stays as long as anything waits.
    _share: Arc<Owned>,
}

struct Opened(*mut hc_waits);

// SAFETY: waits may be used from any thread; the lock has them used by one at a time.
unsafe impl Send for Opened {}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: the waits are open, or NULL, and are not used again.
        unsafe { hc_waits_close(self.0) };
    }
}

/// A wait that has ended: its cookie, whether there is a value, and the value.
type Told<'py> = (u64, &'static str, Option<Bound<'py, PyAny>>);

#[pymethods]
impl Waits {
    #[new]
    fn new(cache: &Bound<'_, CacheBase>) -> PyResult<Self> {
        let py = cache.py();
        let share = cache.get().share(py)?;
        let (mut waits, mut why) = (ptr::null_mut(), detail());
        // SAFETY: the share holds the store; the outputs are places.
        let status = unsafe { hc_waits_open(share.store, &raw mut waits, &raw mut why) };
        if status != HC_OK {
            return Err(error_with(py, status, &why));
        }
        let cache = cache.clone().unbind();
        Ok(Self { waits: Mutex::new(Opened(waits)), cache, _share: share })
    }

    /// The descriptor: readable while `ended` has something to tell.
    fn fileno(&self) -> i32 {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the waits are open, or NULL.
        unsafe { hc_waits_fd(waits.0) }
    }

    /// Waits for the end of a key's lease; how many milliseconds that lasts at most. None: nobody
    /// holds one any more, claim again now.
    fn add(&self, key: &Bound<'_, PyAny>, cookie: u64) -> PyResult<Option<u64>> {
        let py = key.py();
        let mut scratch = Scratch::default();
        // SAFETY: the caller holds the object through this function.
        let key = unsafe { key::encode(py, key.as_ptr(), &mut scratch) }?;
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if waits.0.is_null() {
            return Err(PyRuntimeError::new_err("the waits are closed"));
        }
        let mut left = 0;
        // SAFETY: the waits are open; the key's bytes are alive; `left` is a place.
        let status =
            unsafe { hc_waits_add(waits.0, key.data.cast(), key.len, cookie, &raw mut left) };
        match status {
            HC_OK => Ok(Some(left)),
            HC_NOT_FOUND => Ok(None),
            _ => Err(error(py, status)),
        }
    }

    /// The waits that have ended, without waiting: cookie, what came of it ("again", "value",
    /// "absent", "failed"), and the value.
    fn ended<'py>(&self, py: Python<'py>) -> PyResult<Vec<Told<'py>>> {
        let mut all = Vec::new();
        loop {
            // SAFETY: all zeroes is a cleared view.
            let mut view: hc_view = unsafe { std::mem::zeroed() };
            let (mut cookie, mut outcome) = (0, HC_OK);
            let status = {
                let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
                if waits.0.is_null() {
                    return Ok(all);
                }
                // SAFETY: the waits are open; the outputs are places.
                unsafe { hc_waits_next(waits.0, &raw mut cookie, &raw mut outcome, &raw mut view) }
            };
            if status == HC_DONE {
                return Ok(all);
            }
            check(py, status)?;
            all.push(match outcome {
                HC_OK => {
                    // SAFETY: the pinned view shows `len` bytes until it is unpinned, once.
                    let value = unsafe {
                        let bytes = std::slice::from_raw_parts(view.data.cast::<u8>(), view.len);
                        let codec = &self.cache.get().codec;
                        let value = value::decode(py, view.r#type, bytes, codec);
                        hc_unpin(&raw mut view);
                        value
                    };
                    match value {
                        Ok(value) => (cookie, "value", Some(value)),
                        // The one who waits will meet the same failure with its own claim.
                        Err(_) => (cookie, "again", None),
                    }
                }
                HC_NOT_FOUND => (cookie, "absent", None),
                HC_LOAD_FAILED => (cookie, "failed", None),
                _ => (cookie, "again", None),
            });
        }
    }

    /// Forgets all waits. Take the descriptor out of the event loop first.
    fn close(&self) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        *waits = Opened(ptr::null_mut());
    }
}
