//! Read-through: claims, leases, and waits for event loops.
//!
//! The library decides who loads (`hc_get_or_claim`); here a claim becomes the value, a [`Lease`]
//! for the one who is to load it, or a wait. A thread waits in the library, in slices, so that a
//! signal is seen; a task waits on the descriptor of [`Waits`], which its event loop watches.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use hypercache_sys::*;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cache::CacheBase;
use crate::errors::{check, detail, error, error_with};
use crate::handle::Owned;
use crate::hot::{LONG, put_options, read_long};
use crate::key::{self, KeyRef, Scratch};
use crate::open::{Ttl, lasting_for};
use crate::passed::{self, Joined};
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
    /// What is loaded.
    name: passed::Name,
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
    /// Stores the loaded value, wakes who waits, and ends the lease; whether it was stored. After
    /// `soft` seconds, where they are given, claims have one caller load it anew.
    #[pyo3(signature = (value, ttl=None, soft=None))]
    fn put(
        &self,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        soft: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        struct Shared(*const u8, usize, hc_put_options);
        // SAFETY: the bytes are only read.
        unsafe impl Sync for Shared {}
        let py = value.py();
        let ttl = time(ttl, "ttl", HC_TTL_DEFAULT)?;
        let soft = time(soft, "soft", 0)?;
        let Ttl::Lasts(ttl_ms) = ttl else {
            self.end(HC_DROP_CANCELLED, 0);
            return Ok(false);
        };
        let object = value;
        // SAFETY: the caller holds the object through this function.
        let value = unsafe { value::encode(py, object.as_ptr(), &self.cache.get().codec) }?;
        let mut lease = self.taken();
        if lease.generation == 0 {
            return Ok(false);
        }
        let mut options = put_options(HC_PUT_SET, value.tag, ttl_ms, 0);
        options.soft_ttl_ms = millis(soft);
        // A short value is put with the interpreter's lock held: who waits now is all who do.
        let is_long = value.len() >= LONG;
        let waiting = if is_long {
            Some(Joined::new(self.name.clone()))
        } else {
            Joined::waited_for(&self.name)
        };
        if let Some(waiting) = &waiting {
            waiting.open();
        }
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
        let status = if is_long { py.detach(put) } else { put() };
        if let Some(waiting) = waiting {
            let is_old_or_held = status == HC_OK || status == HC_CONFLICT;
            waiting.settle((!is_old_or_held).then(|| value.held(object)));
        }
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

    /// Ends the lease: who waits, and who claims the key within so many seconds, is told that the
    /// load failed.
    #[pyo3(signature = (retry=None))]
    fn fail(&self, retry: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.end(HC_DROP_FAILED, millis(time(retry, "retry", 0)?));
        Ok(())
    }

    /// Ends the lease: the source has no such key, and for so many seconds nobody asks again.
    #[pyo3(signature = (retry))]
    fn absent(&self, retry: &Bound<'_, PyAny>) -> PyResult<()> {
        let retry = millis(time(Some(retry), "retry", 0)?);
        self.end(HC_DROP_ABSENT, retry.max(1));
        Ok(())
    }
}

/// The time that an argument names, by the rule for all times of the package.
fn time(seconds: Option<&Bound<'_, PyAny>>, what: &str, default: u64) -> PyResult<Ttl> {
    seconds.map_or(Ok(Ttl::Lasts(default)), |seconds| lasting_for(seconds, what, default))
}

fn millis(time: Ttl) -> u64 {
    match time {
        Ttl::Gone => 0,
        Ttl::Lasts(millis) => millis,
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
    let mut waiting: Option<Joined> = None;
    loop {
        // SAFETY: the caller's word.
        let mut answer = unsafe { place.ask(py, this, key, flags) }?;
        while let (Answer::Told(HC_TIMEOUT), true) = (&answer, how.wait) {
            py.check_signals()?;
            if waiting.is_none() {
                // SAFETY: the caller's word.
                let bytes = unsafe { key.bytes() };
                waiting = Some(Joined::new(passed::name(this.share(py)?.store, bytes)));
            }
            // SAFETY: the caller's word.
            answer = unsafe { place.wait(py, this, key, flags) }?;
        }
        match answer {
            Answer::Value(value) => return Ok(Claim::Value(value)),
            Answer::Told(HC_CLAIMED) => {
                // SAFETY: the caller's word; the lease was granted.
                let lease = unsafe { place.leased(cache, key) }?;
                // The load may have ended between two waits.
                let offered = waiting.take().map(|waiting| waiting.offered(py, &this.codec));
                return Ok(match offered.transpose()?.flatten() {
                    Some(value) => Claim::Value(value),
                    None => Claim::Claimed(lease),
                });
            }
            Answer::Told(HC_TIMEOUT) => return Ok(Claim::Busy),
            Answer::Told(HC_NOT_FOUND) => return Ok(Claim::Absent),
            Answer::Told(HC_NOT_ADMITTED) => {
                // Nothing could hold the value. Who loaded it in another language kept it; then
                // one of those who wait here loads it for them.
                let offered = waiting.take().map(|waiting| waiting.offered(py, &this.codec));
                if let Some(value) = offered.transpose()?.flatten() {
                    return Ok(Claim::Value(value));
                }
            }
            // Views hold all that may be held, so that it cannot be shown in place: copied then.
            Answer::Told(HC_ERR_NO_SPACE) if waiting.take().is_some() => {}
            Answer::Told(status) => return Err(error(py, status)),
        }
    }
}

/// What came of asking once.
enum Answer<'py> {
    Value(Bound<'py, PyAny>),
    Told(hc_status),
}

/// What the library writes an answer to.
struct Place {
    buffer: MaybeUninit<[u8; BUFFER]>,
    info: MaybeUninit<hc_info>,
    lease: hc_lease,
}

impl Place {
    #[inline]
    fn new() -> Self {
        Self {
            buffer: MaybeUninit::uninit(),
            info: MaybeUninit::uninit(),
            lease: hc_lease { id: 0, generation: 0 },
        }
    }

    /// Claims without waiting.
    ///
    /// # Safety
    /// The key's bytes stay alive through the call.
    #[inline]
    unsafe fn ask<'py>(
        &mut self,
        py: Python<'py>,
        cache: &CacheBase,
        key: KeyRef,
        flags: u32,
    ) -> PyResult<Answer<'py>> {
        let status = cache.call(py, |store| {
            let (data, len, buffer) = (key.data.cast(), key.len, self.buffer.as_mut_ptr().cast());
            let (info, lease) = (self.info.as_mut_ptr(), &raw mut self.lease);
            // SAFETY: the key's bytes are alive (the caller's word); the buffer has its capacity,
            // metadata and lease have a place.
            unsafe { hc_get_or_claim(store, data, len, flags, 0, buffer, BUFFER, info, lease) }
        })?;
        match status {
            HC_OK => {
                // SAFETY: with this status both were written, the buffer for `len` bytes.
                let (info, bytes) = unsafe {
                    let info = self.info.assume_init_ref();
                    (info, std::slice::from_raw_parts(self.buffer.as_ptr().cast(), info.len))
                };
                value::decode(py, info.r#type, bytes, &cache.codec).map(Answer::Value)
            }
            // SAFETY: with this status the metadata was written; else the caller's word.
            HC_SMALL_BUFFER => unsafe { self.ask_long(py, cache, key, flags) },
            status => Ok(Answer::Told(status)),
        }
    }

    /// The same for a value that did not fit the buffer.
    ///
    /// # Safety
    /// The key's bytes stay alive through the call, and the metadata was written.
    #[cold]
    unsafe fn ask_long<'py>(
        &mut self,
        py: Python<'py>,
        cache: &CacheBase,
        key: KeyRef,
        flags: u32,
    ) -> PyResult<Answer<'py>> {
        struct Shared(*mut hc_lease);
        // SAFETY: one thread uses it at a time: the one that waits for the work.
        unsafe impl Sync for Shared {}
        let lease = Shared(&raw mut self.lease);
        // SAFETY: the caller's word.
        let info = unsafe { self.info.assume_init_mut() };
        let found = read_long(py, cache, info, |store, data, cap, info| {
            let (Shared(lease), (key, len)) = (&lease, key.parts());
            // SAFETY: as in `ask`; `data` has `cap` bytes.
            unsafe { hc_get_or_claim(store, key, len, flags, 0, data, cap, info, *lease) }
        })?;
        Ok(found.map_or_else(Answer::Told, Answer::Value))
    }

    /// Claims, and waits for somebody else's load for a while, which other Python threads use. What
    /// is found is shown in place: a value that was only passed on can be taken once.
    ///
    /// # Safety
    /// The key's bytes stay alive through the call.
    unsafe fn wait<'py>(
        &mut self,
        py: Python<'py>,
        cache: &CacheBase,
        key: KeyRef,
        flags: u32,
    ) -> PyResult<Answer<'py>> {
        struct Shared(*mut hc_view, *mut hc_lease);
        // SAFETY: one thread uses them at a time: the one that waits for the work.
        unsafe impl Sync for Shared {}
        // SAFETY: all zeroes is a cleared view.
        let mut view: hc_view = unsafe { std::mem::zeroed() };
        let places = Shared(&raw mut view, &raw mut self.lease);
        let status = cache.long(py, |store| {
            let (Shared(view, lease), (key, len)) = (&places, key.parts());
            // SAFETY: the key's bytes are alive (the caller's word), view and lease are places.
            unsafe { hc_claim(store, key, len, flags, SLICE_MS, *view, *lease) }
        })?;
        if status != HC_OK {
            return Ok(Answer::Told(status));
        }
        let value = value::decode_view(py, &view, &cache.codec);
        // SAFETY: it is pinned, and given back once.
        unsafe { hc_unpin(&raw mut view) };
        value.map(Answer::Value)
    }

    /// What was granted: only after `HC_CLAIMED`.
    ///
    /// # Safety
    /// The key's bytes are alive.
    unsafe fn leased(&self, cache: &Bound<'_, CacheBase>, key: KeyRef) -> PyResult<Lease> {
        let share = cache.get().share(cache.py())?;
        // SAFETY: the caller's word.
        let name = passed::name(share.store, unsafe { key.bytes() });
        let cache = cache.clone().unbind();
        Ok(Lease { lease: Mutex::new(self.lease), name, cache, share })
    }
}

/// Waits for leases, for one event loop.
#[pyclass(module = "hypercache._native", frozen)]
pub struct Waits {
    waits: Mutex<Opened>,
    cache: Py<CacheBase>,
    /// The store stays as long as anything waits.
    share: Arc<Owned>,
}

/// The waits, and by cookie those who wait.
struct Opened(*mut hc_waits, BTreeMap<u64, Joined>);

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
        Ok(Self { waits: Mutex::new(Opened(waits, BTreeMap::new())), cache, share })
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
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if waits.0.is_null() {
            return Err(PyRuntimeError::new_err("the waits are closed"));
        }
        // SAFETY: the key's bytes are alive.
        let joined = Joined::new(passed::name(self.share.store, unsafe { key.bytes() }));
        let mut left = 0;
        // SAFETY: the waits are open; the key's bytes are alive; `left` is a place.
        let status =
            unsafe { hc_waits_add(waits.0, key.data.cast(), key.len, cookie, &raw mut left) };
        match status {
            HC_OK => {
                waits.1.insert(cookie, joined);
                Ok(Some(left))
            }
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
            let (status, joined) = {
                let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
                if waits.0.is_null() {
                    return Ok(all);
                }
                // SAFETY: the waits are open; the outputs are places.
                let status = unsafe {
                    hc_waits_next(waits.0, &raw mut cookie, &raw mut outcome, &raw mut view)
                };
                (status, waits.1.remove(&cookie))
            };
            let codec = &self.cache.get().codec;
            if status == HC_DONE {
                return Ok(all);
            }
            check(py, status)?;
            all.push(match outcome {
                HC_OK => {
                    let value = value::decode_view(py, &view, codec);
                    // SAFETY: it is pinned, and given back once.
                    unsafe { hc_unpin(&raw mut view) };
                    match value {
                        Ok(value) => (cookie, "value", Some(value)),
                        // The one who waits will meet the same failure with its own claim.
                        Err(_) => (cookie, "again", None),
                    }
                }
                HC_NOT_ADMITTED => {
                    let offered = joined.map(|joined| joined.offered(py, codec));
                    match offered.transpose().ok().flatten().flatten() {
                        Some(value) => (cookie, "value", Some(value)),
                        None => (cookie, "again", None),
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
        *waits = Opened(ptr::null_mut(), BTreeMap::new());
    }
}
