//! `CacheBase`: one store, as Python calls it.
//!
//! The calls that a program makes all the time are in `hot` and `batch`, written against the
//! interpreter's own calling convention; here are opening, closing and everything that is rare
//! enough for PyO3's wrappers. Rules, defaults and limits are the library's: what an argument leaves
//! out is passed on as "the default".

use std::mem::MaybeUninit;
use std::ptr;

use hypercache_bindings::policy;
use hypercache_sys::*;
use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use crate::arguments::{I64, U32, U64, of_type, whole};
use crate::batch;
use crate::errors::{self, check, detail, error, error_with};
use crate::filter::FilterBase;
use crate::handle::{Handle, Owned, Use};
use crate::hot;
use crate::key::{self, Scratch};
use crate::lease::{self, Claim, How};
use crate::open::{NAMES, Opening, Ttl, c_text, lasting_for, seconds, size, ttl as ttl_of};
use crate::pool::PoolBase;
use crate::scan::{Scan, Shown, filled_match};
use crate::value::{self, Codec};
use crate::view::View;

/// One store: what `hypercache.Cache` is made of.
#[pyclass(module = "hypercache._native", subclass, frozen, weakref)]
pub struct CacheBase {
    pub handle: Handle,
    pub codec: Codec,
    opening: Opening,
    fresh_after_fork: bool,
}

impl CacheBase {
    #[cold]
    pub fn closed_error(py: Python<'_>) -> PyErr {
        errors::named(py, "ClosedError", "the cache is closed".into())
    }

    /// The store for a call that keeps the interpreter's lock and runs no Python code.
    #[inline]
    pub fn store(&self, py: Python<'_>) -> PyResult<Use> {
        self.handle.brief().ok_or_else(|| Self::closed_error(py))
    }

    /// A share of the store, for calls that let other threads run.
    pub fn share(&self, py: Python<'_>) -> PyResult<std::sync::Arc<Owned>> {
        self.handle.share().ok_or_else(|| Self::closed_error(py))
    }

    /// After a failed call: whether it is worth doing again, because this process is a forked
    /// child that is to have caches of its own, and now has.
    #[cold]
    pub fn renewed(&self, py: Python<'_>, status: hc_status) -> PyResult<bool> {
        if status != HC_ERR_FORKED || !self.fresh_after_fork {
            return Ok(false);
        }
        self.handle.replace(self.opening.open(py)?);
        Ok(true)
    }

    /// Makes a short call, once more in a forked child that has opened a store of its own.
    pub fn call(
        &self,
        py: Python<'_>,
        mut call: impl FnMut(*mut hc_store) -> hc_status,
    ) -> PyResult<hc_status> {
        let status = call(self.store(py)?.store);
        if status < 0 && self.renewed(py, status)? {
            return Ok(call(self.store(py)?.store));
        }
        Ok(status)
    }

    /// Makes a long call: other Python threads run meanwhile.
    pub fn long(
        &self,
        py: Python<'_>,
        call: impl Fn(*mut hc_store) -> hc_status + Sync,
    ) -> PyResult<hc_status> {
        let share = self.share(py)?;
        let status = py.detach(|| call(share.store));
        if status < 0 && self.renewed(py, status)? {
            let share = self.share(py)?;
            return Ok(py.detach(|| call(share.store)));
        }
        Ok(status)
    }

    /// An entry's metadata, without counting an access; None if there is none.
    fn info(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<hc_info>> {
        let py = key.py();
        let mut scratch = Scratch::default();
        // SAFETY: the caller holds the object through this function.
        let key = unsafe { key::encode(py, key.as_ptr(), &mut scratch) }?;
        // SAFETY: all zeroes is a valid hc_info.
        let mut info: hc_info = unsafe { std::mem::zeroed() };
        // SAFETY: the key's bytes live through the call; an empty buffer may be NULL.
        let status = self.call(py, |store| unsafe {
            let data = key.data.cast();
            hc_get_info(store, data, key.len, HC_PEEK, ptr::null_mut(), 0, &raw mut info)
        })?;
        match status {
            HC_OK | HC_SMALL_BUFFER => Ok(Some(info)),
            HC_NOT_FOUND => Ok(None),
            _ => Err(error(py, status)),
        }
    }

    /// One of the statuses done and not there, as a bool.
    pub fn found(py: Python<'_>, status: hc_status) -> PyResult<bool> {
        match status {
            HC_OK => Ok(true),
            HC_NOT_FOUND => Ok(false),
            _ => Err(error(py, status)),
        }
    }
}

/// What `read` makes of an argument, if it is given.
fn given<'a, 'py, T>(
    value: Option<&'a Bound<'py, PyAny>>,
    read: impl FnOnce(&'a Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    value.map(read).transpose()
}

#[pymethods]
impl CacheBase {
    #[new]
    #[pyo3(signature = (limit, name, pool, policy, policy_options, ttl, max_entries, shards,
                        filter_fpr, jitter, lease, codec, fresh_after_fork))]
    #[allow(clippy::too_many_arguments, reason = "one a parameter of Cache, which names them")]
    fn new(
        limit: Option<&Bound<'_, PyAny>>,
        name: Option<&Bound<'_, PyAny>>,
        pool: Option<&Bound<'_, PyAny>>,
        policy: Option<&str>,
        policy_options: Option<&str>,
        ttl: &Bound<'_, PyAny>,
        max_entries: Option<&Bound<'_, PyAny>>,
        shards: Option<&Bound<'_, PyAny>>,
        filter_fpr: Option<&Bound<'_, PyAny>>,
        jitter: Option<&Bound<'_, PyAny>>,
        lease: &Bound<'_, PyAny>,
        codec: (Option<u32>, Py<PyAny>, Py<PyAny>),
        fresh_after_fork: bool,
    ) -> PyResult<Self> {
        let py = ttl.py();
        let name: Option<&str> = given(name, |name| of_type(name, "name", "a str, or None"))?;
        let pool: Option<Py<PoolBase>> =
            given(pool, |pool| of_type(pool, "pool", "a Pool, or None"))?;
        let find_only = limit.is_none() && name.is_some() && pool.is_none();
        let limit = limit.map(|limit| size(limit, "max_bytes")).transpose()?;
        if limit.is_none() && name.is_none() && pool.is_none() {
            return Err(PyTypeError::new_err(
                "a cache takes max_bytes, a pool, or the name of one that is open",
            ));
        }
        let ttl = match ttl_of(ttl, HC_TTL_DEFAULT)? {
            Ttl::Lasts(ttl) => ttl,
            Ttl::Gone => {
                let text = format!("ttl is {ttl}; it takes seconds above 0, or None");
                return Err(PyValueError::new_err(text));
            }
        };
        let policy = policy.map_or(Ok(HC_POLICY_DEFAULT), policy::parse);
        let opening = Opening {
            limit: limit.unwrap_or(0),
            name: name.map(|name| c_text(name, "name")).transpose()?,
            pool,
            policy: policy.map_err(|error| PyValueError::new_err(error.to_string()))?,
            options: policy_options.map(|text| c_text(text, "policy")).transpose()?,
            ttl,
            entries: given(max_entries, |entries| whole(entries, "max_entries", U64))?.unwrap_or(0),
            shards: given(shards, |shards| whole(shards, "shards", U32))?.unwrap_or(0),
            fpr: given(filter_fpr, |fpr| of_type(fpr, "filter_fpr", "a number, or None"))?
                .unwrap_or(0.0),
            jitter: given(jitter, |jitter| whole(jitter, "jitter", "0 to 100"))?.unwrap_or(0),
            lease: match lasting_for(lease, "lease", 0)? {
                Ttl::Lasts(HC_TTL_NEVER) | Ttl::Gone => {
                    return Err(PyValueError::new_err(format!(
                        "lease is {lease}; it takes seconds above 0 that end, or None"
                    )));
                }
                Ttl::Lasts(millis) => millis,
            },
            find_only,
        };
        let handle = Handle::new(opening.open(py)?);
        let (tag, dumps, loads) = codec;
        Ok(Self { handle, codec: Codec { tag, dumps, loads }, opening, fresh_after_fork })
    }

    /// Whether the cache was closed.
    #[getter(_closed)]
    fn closed(&self) -> bool {
        self.handle.share().is_none()
    }

    /// The name, or None.
    #[getter]
    fn name(&self) -> Option<String> {
        self.opening.name.as_ref().map(|name| name.to_string_lossy().into_owned())
    }

    /// A number that all who have the store open share.
    #[getter(_store_number)]
    fn store_number(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.share(py)?.store.addr())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let stats = self.raw_stats(py)?;
        usize::try_from(stats.entries).map_err(|_| PyRuntimeError::new_err("too many entries"))
    }

    /// The store's statistics by name.
    #[pyo3(name = "_stats_dict")]
    fn stats_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        crate::stats::store(py, &self.raw_stats(py)?)
    }

    /// The configuration in force by name.
    #[pyo3(name = "_config_dict")]
    fn config_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        // SAFETY: all zeroes is a valid config.
        let mut config: hc_store_config = unsafe { std::mem::zeroed() };
        config.size = size_of::<hc_store_config>();
        // SAFETY: the struct is a place of the size it names.
        let status =
            self.call(py, |store| unsafe { hc_store_config_get(store, &raw mut config) })?;
        check(py, status)?;
        crate::stats::config(py, &config)
    }

    /// Seconds until the entry expires: infinite if it does not, None if it is not there.
    #[pyo3(signature = (key, /))]
    fn ttl(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        Ok(self.info(key)?.map(|info| seconds(info.ttl_ms)))
    }

    /// What is known of an entry besides its value; None if it is not there.
    #[pyo3(name = "_entry_tuple", signature = (key, /))]
    fn entry_tuple(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<EntryParts>> {
        Ok(self.info(key)?.map(|info| {
            (info.len, info.version, seconds(info.ttl_ms), info.session, info.r#type, info.flags)
        }))
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        hot::item(slf, key)
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, key, value) = (key.py(), key.as_ptr(), value.as_ptr());
        // SAFETY: the caller holds both objects through this function.
        unsafe { hot::store_object(py, self, key, value, HC_PUT_SET, HC_TTL_DEFAULT, 0) }?;
        Ok(())
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        if hot::remove(self, key)? {
            return Ok(());
        }
        Err(PyKeyError::new_err((key.clone().unbind(),)))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        hot::contains(self, key)
    }

    /// Stores the entries of a mapping; how many were stored.
    #[pyo3(signature = (entries, ttl=None, session=None))]
    fn set_many(
        &self,
        entries: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        session: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        batch::set_many(self, entries, ttl, hot::session(session)?)
    }

    /// Removes keys; how many were there.
    #[pyo3(signature = (keys, /))]
    fn delete_many(&self, keys: &Bound<'_, PyAny>) -> PyResult<u64> {
        batch::delete_many(self, keys)
    }

    /// Restarts an entry's time to live; None only counts an access.
    #[pyo3(signature = (key, ttl=None))]
    fn touch(&self, key: &Bound<'_, PyAny>, ttl: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let ttl = ttl.map_or(Ok(Ttl::Lasts(HC_TTL_KEEP)), |ttl| ttl_of(ttl, HC_TTL_KEEP))?;
        self.restart(key, ttl)
    }

    /// Has an entry expire in so many seconds (None: the cache's own time); whether it is there.
    #[pyo3(signature = (key, ttl))]
    fn expire(&self, key: &Bound<'_, PyAny>, ttl: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.restart(key, ttl_of(ttl, HC_TTL_DEFAULT)?)
    }

    /// Adds to an integer, atomically, and returns the sum. An absent key becomes `initial`, to which
    /// nothing is added; None: the same as `delta`.
    #[pyo3(signature = (key, delta=None, initial=None, ttl=None),
           text_signature = "($self, key, delta=1, initial=None, ttl=None)")]
    fn incr(
        &self,
        key: &Bound<'_, PyAny>,
        delta: Option<&Bound<'_, PyAny>>,
        initial: Option<&Bound<'_, PyAny>>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<i64> {
        let py = key.py();
        let lasts =
            ttl.map_or(Ok(Ttl::Lasts(HC_TTL_DEFAULT)), |ttl| ttl_of(ttl, HC_TTL_DEFAULT))?;
        let Ttl::Lasts(ttl) = lasts else {
            let given = ttl.map(ToString::to_string).unwrap_or_default();
            let text = format!("ttl is {given}; a counter's takes seconds above 0, or None");
            return Err(PyValueError::new_err(text));
        };
        let delta = given(delta, |delta| whole(delta, "delta", I64))?.unwrap_or(1);
        let initial = given(initial, |initial| whole(initial, "initial", I64))?.unwrap_or(delta);
        let mut scratch = Scratch::default();
        // SAFETY: the caller holds the object through this function.
        let key = unsafe { key::encode(py, key.as_ptr(), &mut scratch) }?;
        let mut sum = 0;
        // SAFETY: the key's bytes live through the call, and `sum` is a place.
        let status = self.call(py, |store| unsafe {
            hc_incr(store, key.data.cast(), key.len, delta, initial, ttl, &raw mut sum)
        })?;
        match status {
            HC_OK => Ok(sum),
            HC_WRONG_TYPE => Err(PyTypeError::new_err("the value under this key is no int")),
            HC_OVERFLOW => Err(pyo3::exceptions::PyOverflowError::new_err(
                "the sum does not fit 64 bits; the value is unchanged",
            )),
            HC_NOT_ADMITTED => {
                let text = "the policy declined the counter, and what the key had is gone";
                Err(errors::named(py, "NoSpaceError", text.into()))
            }
            _ => Err(error(py, status)),
        }
    }

    /// Reads and removes an entry in one step, once it is decoded; the default if it is not there.
    #[pyo3(name = "_take", signature = (key, default, /))]
    fn take<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let mut scratch = Scratch::default();
        // SAFETY: the caller holds the object through this function.
        let key = unsafe { key::encode(py, key.as_ptr(), &mut scratch) }?;
        // The value is decoded before it is removed: what the codec cannot read stays.
        loop {
            let mut buffer = MaybeUninit::<[u8; hot::BUFFER]>::uninit();
            // SAFETY: all zeroes is a valid hc_info.
            let mut info: hc_info = unsafe { std::mem::zeroed() };
            let status = self.call(py, |store| {
                let ((data, len), to) = (key.parts(), buffer.as_mut_ptr().cast());
                // SAFETY: the key's bytes live through the call; the buffer has its capacity.
                unsafe { hc_get_info(store, data, len, 0, to, hot::BUFFER, &raw mut info) }
            })?;
            let value = match status {
                HC_OK => {
                    // SAFETY: the call wrote `len` bytes, at most the capacity.
                    let bytes =
                        unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast(), info.len) };
                    Ok(value::decode(py, info.r#type, bytes, &self.codec)?)
                }
                HC_SMALL_BUFFER => hot::read_long(py, self, &mut info, |store, to, cap, info| {
                    let (data, len) = key.parts();
                    // SAFETY: as above; `to` has `cap` bytes.
                    unsafe { hc_get_info(store, data, len, 0, to, cap, info) }
                })?,
                status => Err(status),
            };
            let value = match value {
                Ok(value) => value,
                Err(HC_NOT_FOUND) => return Ok(default),
                Err(status) => return Err(error(py, status)),
            };
            let status = self.call(py, |store| {
                let (data, len) = key.parts();
                // SAFETY: the key's bytes live through the call.
                unsafe { hc_delete_if(store, data, len, info.version) }
            })?;
            match status {
                HC_OK => return Ok(value),
                // Written or taken by another meanwhile: whoever has removed it has it.
                HC_CONFLICT | HC_NOT_FOUND => py.check_signals()?,
                _ => return Err(error(py, status)),
            }
        }
    }

    /// Shows a value in place, without copying it; None if it is not there.
    #[pyo3(signature = (key, /))]
    fn view(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<View>> {
        let py = key.py();
        let mut scratch = Scratch::default();
        // SAFETY: the caller holds the object through this function.
        let key = unsafe { key::encode(py, key.as_ptr(), &mut scratch) }?;
        // SAFETY: all zeroes is a cleared view.
        let mut view: hc_view = unsafe { std::mem::zeroed() };
        // SAFETY: the key's bytes live through the call; the view is a place.
        let status = self.call(py, |store| unsafe {
            hc_pin(store, key.data.cast(), key.len, 0, &raw mut view)
        })?;
        match status {
            HC_OK => Ok(Some(View::new(view))),
            HC_NOT_FOUND => Ok(None),
            _ => Err(error(py, status)),
        }
    }

    /// The value, a lease to load it, or one of the two marks: somebody else loads, or the source
    /// has no such key. With `wait` it waits for somebody else's load.
    #[pyo3(name = "_claim", signature = (key, wait, stale, busy, absent))]
    fn claim<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        wait: bool,
        stale: bool,
        busy: Bound<'py, PyAny>,
        absent: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let mut scratch = Scratch::default();
        // SAFETY: the caller holds the object, and the scratch lives through the call.
        let found = unsafe {
            let key = key::encode(py, key.as_ptr(), &mut scratch)?;
            lease::claim(slf, key, How { wait, stale })?
        };
        Ok(match found {
            Claim::Value(value) => value,
            Claim::Claimed(lease) => Bound::new(py, lease)?.into_any(),
            Claim::Busy => busy,
            Claim::Absent => absent,
        })
    }

    /// Walks the store: keys (0), values (1) or both (2).
    #[pyo3(name = "_scan", signature = (shown, prefix=None, glob=None, session=None))]
    fn scan(
        slf: &Bound<'_, Self>,
        shown: u8,
        prefix: Option<&Bound<'_, PyAny>>,
        glob: Option<&Bound<'_, PyAny>>,
        session: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Scan> {
        let py = slf.py();
        let (entries, _bytes) = filled_match(
            prefix,
            glob,
            session.map(|session| hot::session(Some(session))).transpose()?,
        )?;
        let this = slf.get();
        let mut scan = ptr::null_mut();
        let status = this.call(py, |store| {
            let entries = entries.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: the pattern's bytes live through the call, which copies what it keeps.
            unsafe { hc_scan_open(store, entries, &raw mut scan) }
        })?;
        check(py, status)?;
        let shown = match shown {
            0 => Shown::Keys,
            1 => Shown::Values,
            _ => Shown::Items,
        };
        let matches = entries.is_some();
        Ok(Scan::new(scan, shown, matches, slf.clone().unbind(), this.share(py)?))
    }

    /// Removes what matches and returns how many there were.
    #[pyo3(signature = (*, prefix=None, glob=None, session=None))]
    fn invalidate(
        &self,
        py: Python<'_>,
        prefix: Option<&Bound<'_, PyAny>>,
        glob: Option<&Bound<'_, PyAny>>,
        session: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let (entries, _bytes) = filled_match(
            prefix,
            glob,
            session.map(|session| hot::session(Some(session))).transpose()?,
        )?;
        let Some(entries) = entries else {
            return Err(PyTypeError::new_err(
                "invalidate takes prefix=, glob= or session=; clear() removes everything",
            ));
        };
        self.invalidated(py, entries)
    }

    /// Gives the cache the keys of its backing source: a load of a key that the filter excludes is
    /// None at once. Add a key to the filter before it is written to the source. None: no filter.
    #[pyo3(signature = (filter, /))]
    fn set_known_keys(
        &self,
        py: Python<'_>,
        filter: Option<&Bound<'_, FilterBase>>,
    ) -> PyResult<()> {
        let filter = filter.map_or(ptr::null_mut(), |filter| filter.get().raw());
        // SAFETY: the caller's object holds the filter, of which the store takes a share.
        let status = self.call(py, |store| unsafe { hc_store_set_known_keys(store, filter) })?;
        check(py, status)
    }

    /// Removes everything.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: the share holds the store through the call.
        let status = self.long(py, |store| unsafe { hc_clear(store) })?;
        check(py, status)
    }

    /// Changes the limit, in bytes or as text. A cache with a pool of its own resizes the pool.
    #[pyo3(signature = (max_bytes))]
    fn resize(&self, max_bytes: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = max_bytes.py();
        let limit = size(max_bytes, "max_bytes")?;
        if self.opening.pool.is_some() {
            // SAFETY: the share holds the store through the call.
            let status = self.long(py, |store| unsafe { hc_store_set_limit(store, limit) })?;
            return check(py, status);
        }
        // In a forked child that is to have a cache of its own, this opens it.
        self.raw_stats(py)?;
        let share = self.share(py)?;
        crate::pool::set_limit(py, share.pool, limit, NAMES)
    }

    /// Gives the cache back. The last holder of a named one ends it, as of an unnamed one its only
    /// holder does.
    fn close(&self, py: Python<'_>) {
        // With the interpreter's lock: a brief call of another thread would lose its store otherwise.
        let owned = self.handle.close();
        py.detach(|| drop(owned));
    }

    /// Ends the cache for everybody who has it open, in any language, and closes it. A ForkedError in
    /// a forked child: it is the parent's.
    fn destroy(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(share) = self.handle.share() {
            // A forked child has nothing of the parent's to end, and is told so.
            // SAFETY: all zeroes are valid statistics.
            let mut stats: hc_store_stats = unsafe { std::mem::zeroed() };
            stats.size = size_of::<hc_store_stats>();
            // SAFETY: the share holds the store through the call; the struct is a place.
            let status = unsafe { hc_store_stats_get(share.store, &raw mut stats) };
            if status == HC_ERR_FORKED && !self.fresh_after_fork {
                return Err(error(py, status));
            }
            // SAFETY: the share holds the store through the call.
            py.detach(|| unsafe { hc_store_destroy(share.store) });
        }
        self.close(py);
        Ok(())
    }

    /// Checks every invariant of the store.
    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        // As in `resize`.
        self.raw_stats(py)?;
        let share = self.share(py)?;
        let mut why = detail();
        // SAFETY: the share holds the store through the call; `why` is a place.
        let status = py.detach(|| unsafe { hc_store_validate(share.store, &raw mut why) });
        if status == HC_OK { Ok(()) } else { Err(error_with(py, status, &why)) }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.codec.dumps)?;
        visit.call(&self.codec.loads)?;
        visit.call(&self.opening.pool)
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<()> {
        let name = slf.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "a {name} cannot be pickled or copied: its bytes live in this process. Open it by name \
             (name=) where it is needed, or pass what you need of it"
        )))
    }
}

impl CacheBase {
    fn restart(&self, key: &Bound<'_, PyAny>, ttl: Ttl) -> PyResult<bool> {
        let py = key.py();
        let mut scratch = Scratch::default();
        // SAFETY: the caller holds the object through this function.
        let key = unsafe { key::encode(py, key.as_ptr(), &mut scratch) }?;
        let status = self.call(py, |store| match ttl {
            // SAFETY: the key's bytes live through the call.
            Ttl::Gone => unsafe { hc_delete(store, key.data.cast(), key.len) },
            // SAFETY: as above.
            Ttl::Lasts(ms) => unsafe { hc_touch(store, key.data.cast(), key.len, ms) },
        })?;
        Self::found(py, status)
    }

    fn raw_stats(&self, py: Python<'_>) -> PyResult<hc_store_stats> {
        // SAFETY: all zeroes are valid statistics.
        let mut stats: hc_store_stats = unsafe { std::mem::zeroed() };
        stats.size = size_of::<hc_store_stats>();
        // SAFETY: the struct is a place of the size it names.
        let status = self.call(py, |store| unsafe { hc_store_stats_get(store, &raw mut stats) })?;
        check(py, status)?;
        Ok(stats)
    }

    fn invalidated(&self, py: Python<'_>, entries: hc_match) -> PyResult<u64> {
        struct Shared(hc_match);
        // SAFETY: the pattern is only read, and outlives the call.
        unsafe impl Sync for Shared {}
        let entries = Shared(entries);
        let removed = std::sync::atomic::AtomicU64::new(0);
        let status = self.long(py, |store| {
            let entries = &entries;
            let mut count = 0;
            // SAFETY: the pattern's bytes live through the call; `count` is a place.
            let status = unsafe { hc_invalidate(store, &raw const entries.0, &raw mut count) };
            removed.store(count, std::sync::atomic::Ordering::Relaxed);
            status
        })?;
        check(py, status)?;
        Ok(removed.into_inner())
    }
}

/// Length, version, seconds to live, session, type and flags.
type EntryParts = (usize, u64, f64, u64, u32, u32);
