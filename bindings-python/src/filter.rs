//! `FilterBase`: what a set certainly does not contain.

use std::path::PathBuf;
use std::ptr;

use hypercache_sys::*;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments::{U64, of_type, whole};
use crate::batch::many;
use crate::errors::{check, detail, error, error_with};
use crate::key::{self, KeyRef, Scratch};
use crate::open::c_text;
use crate::pool::PoolBase;

/// Keys added before signals are looked for again.
const SIGNALS: usize = 1024;

/// A filter's handle: what `hypercache.CuckooFilter` is made of.
#[pyclass(module = "hypercache._native", subclass, frozen, weakref)]
pub struct FilterBase {
    filter: *mut hc_filter,
}

// SAFETY: filters may be used from any thread.
unsafe impl Send for FilterBase {}
// SAFETY: as above, and from many at once.
unsafe impl Sync for FilterBase {}

impl Drop for FilterBase {
    fn drop(&mut self) {
        // SAFETY: this holds one reference and gives it back once.
        unsafe { hc_filter_release(self.filter) };
    }
}

fn config(capacity: u64, fpr: f64, pool: *mut hc_pool) -> hc_filter_config {
    let size = size_of::<hc_filter_config>();
    hc_filter_config { size, capacity, fpr, pool, hash_seed: 0, flags: 0, reserved: 0 }
}

/// How a filter is made.
struct Opening(hc_filter_config);

// SAFETY: the config is only read, and its pool is held by the caller.
unsafe impl Sync for Opening {}

impl FilterBase {
    /// The library's handle, valid while this object is.
    pub fn raw(&self) -> *mut hc_filter {
        self.filter
    }

    /// Calls with the bytes of a key.
    fn with(
        &self,
        key: &Bound<'_, PyAny>,
        call: unsafe extern "C" fn(*mut hc_filter, *const std::ffi::c_void, usize) -> hc_status,
    ) -> PyResult<hc_status> {
        let mut scratch = Scratch::default();
        // SAFETY: the caller holds the object; the filter is alive; the bytes are the key's.
        unsafe {
            let KeyRef { data, len } = key::encode(key.py(), key.as_ptr(), &mut scratch)?;
            Ok(call(self.filter, data.cast(), len))
        }
    }
}

fn path(path: PathBuf) -> PyResult<std::ffi::CString> {
    let text = path.into_os_string().into_string();
    c_text(&text.map_err(|_| PyValueError::new_err("the path is not UTF-8"))?, "path")
}

#[pymethods]
impl FilterBase {
    #[new]
    #[pyo3(signature = (capacity, fpr, pool, path))]
    fn new(
        py: Python<'_>,
        capacity: &Bound<'_, PyAny>,
        fpr: &Bound<'_, PyAny>,
        pool: Option<&Bound<'_, PyAny>>,
        path: Option<PathBuf>,
    ) -> PyResult<Self> {
        let capacity = whole(capacity, "capacity", U64)?;
        let fpr = of_type(fpr, "fpr", "a number")?;
        let pool: Option<Bound<'_, PoolBase>> =
            pool.map(|pool| of_type(pool, "pool", "a Pool, or None")).transpose()?;
        let pool = pool.map(|pool| pool.get().share(py)).transpose()?;
        let pool = pool.as_ref().map_or(ptr::null_mut(), |pool| pool.0);
        let parts = Opening(config(capacity, fpr, pool));
        let path = path.map(self::path).transpose()?;
        let (status, made, why) = py.detach(|| {
            let (Opening(config), mut filter, mut why) = (&parts, ptr::null_mut(), detail());
            // SAFETY: config and path live through the call, the outputs are places.
            let status = unsafe {
                match &path {
                    None => hc_filter_create(config, &raw mut filter, &raw mut why),
                    Some(path) => {
                        hc_filter_load(path.as_ptr(), config, &raw mut filter, &raw mut why)
                    }
                }
            };
            (status, Self { filter }, why)
        });
        if status == HC_OK { Ok(made) } else { Err(error_with(py, status, &why)) }
    }

    /// Saves the filter; the path names the old file or the whole new one.
    #[pyo3(signature = (path, /))]
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let path = self::path(path)?;
        let (mut why, filter) = (detail(), self);
        // SAFETY: the path lives through the call, `why` is a place.
        let status =
            py.detach(|| unsafe { hc_filter_save(filter.filter, path.as_ptr(), &raw mut why) });
        if status == HC_OK { Ok(()) } else { Err(error_with(py, status, &why)) }
    }

    /// Adds a key.
    #[pyo3(signature = (key, /))]
    fn add(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        check(key.py(), self.with(key, hc_filter_add)?)
    }

    /// Adds keys.
    #[pyo3(signature = (keys, /))]
    fn update(&self, keys: &Bound<'_, PyAny>) -> PyResult<()> {
        for (at, key) in many(keys)?.enumerate() {
            self.add(&key?)?;
            if at % SIGNALS == SIGNALS - 1 {
                keys.py().check_signals()?;
            }
        }
        Ok(())
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        // What is no answer is "maybe".
        Ok(self.with(key, hc_filter_contains)? != HC_NOT_FOUND)
    }

    /// Whether each of the keys may be there, in their order; several times as fast as one by one.
    #[pyo3(signature = (keys, /))]
    fn contains_many(&self, keys: &Bound<'_, PyAny>) -> PyResult<Vec<bool>> {
        let py = keys.py();
        let keys: Vec<Bound<'_, PyAny>> = many(keys)?.collect::<PyResult<_>>()?;
        let mut encoded: Vec<Scratch> = Vec::with_capacity(keys.len());
        let mut slices = Vec::with_capacity(keys.len());
        for key in &keys {
            encoded.push(Scratch::default());
            let Some(scratch) = encoded.last_mut() else { break };
            // SAFETY: the vectors hold the object and the scratch, and neither is moved again.
            let key = unsafe { key::encode(py, key.as_ptr(), scratch) }?;
            slices.push(hc_slice { data: key.data.cast(), len: key.len });
        }
        let mut statuses = vec![HC_OK; keys.len()];
        // SAFETY: the slices are keys, and there is a status for each.
        let status = unsafe {
            let (keys, statuses) = (slices.as_ptr(), statuses.as_mut_ptr());
            hc_filter_contains_many(self.filter, keys, slices.len(), statuses)
        };
        if status < 0 {
            return Err(error(py, status));
        }
        Ok(statuses.into_iter().map(|status| status != HC_NOT_FOUND).collect())
    }

    /// Removes a key that was added; whether there was a trace of it. Do not remove what was never
    /// added: it may take another key's trace.
    #[pyo3(signature = (key, /))]
    fn remove(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        match self.with(key, hc_filter_remove)? {
            HC_OK => Ok(true),
            HC_NOT_FOUND => Ok(false),
            status => Err(error(key.py(), status)),
        }
    }

    /// Forgets all keys.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: the filter is alive.
        check(py, unsafe { hc_filter_clear(self.filter) })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(usize::try_from(self.raw_stats(py)?.keys)?)
    }

    /// The filter's statistics by name.
    #[pyo3(name = "_stats_dict")]
    fn stats_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        crate::stats::filter(py, &self.raw_stats(py)?)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a CuckooFilter cannot be pickled or copied; save it to a file"))
    }
}

impl FilterBase {
    fn raw_stats(&self, py: Python<'_>) -> PyResult<hc_filter_stats> {
        // SAFETY: all zeroes are valid statistics.
        let mut stats: hc_filter_stats = unsafe { std::mem::zeroed() };
        stats.size = size_of::<hc_filter_stats>();
        // SAFETY: the struct is a place of the size it names.
        check(py, unsafe { hc_filter_stats_get(self.filter, &raw mut stats) })?;
        Ok(stats)
    }
}
