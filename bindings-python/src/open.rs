//! How a store is opened, and what the arguments for that mean: byte sizes, times, names.

use std::ffi::{CStr, CString};
use std::ptr;

use hypercache_bindings::{bytes, time};
use hypercache_sys::*;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use crate::arguments::{of_type, shown};
use crate::errors::{Names, detail, error, error_naming};
use crate::handle::Owned;
use crate::pool::PoolBase;

/// A byte size: an int, or text such as "64MiB" or "25%".
pub fn size(value: &Bound<'_, PyAny>, what: &str) -> PyResult<u64> {
    if let Ok(text) = value.cast::<PyString>() {
        let parsed = bytes::parse(text.to_str()?);
        return parsed.map_err(|error| PyValueError::new_err(format!("{what}: {error}")));
    }
    value.extract().map_err(|_| {
        let text = format!(
            "{what} is {}; it takes a number of bytes, at least 0, or text such as \"64MiB\" or \
             \"25%\"",
            shown(value)
        );
        if value.is_instance_of::<PyInt>() {
            PyValueError::new_err(text)
        } else {
            PyTypeError::new_err(text)
        }
    })
}

pub fn c_text(text: &str, what: &str) -> PyResult<CString> {
    CString::new(text).map_err(|_| {
        let start: String = text.chars().take(40).collect();
        PyValueError::new_err(format!("{what} begins with {start:?}; it takes text without a NUL"))
    })
}

pub fn pointer(text: Option<&CString>) -> *const std::ffi::c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// What a time to live in seconds asks for. None: what the caller's default is.
#[derive(Clone, Copy)]
pub enum Ttl {
    Gone,
    Lasts(u64),
}

/// The time to live that `ttl` names; `default` where it is None.
pub fn ttl(value: &Bound<'_, PyAny>, default: u64) -> PyResult<Ttl> {
    lasting_for(value, "ttl", default)
}

/// The time that an argument names; `default` where it is None.
pub fn lasting_for(value: &Bound<'_, PyAny>, what: &str, default: u64) -> PyResult<Ttl> {
    if value.is_none() {
        return Ok(Ttl::Lasts(default));
    }
    let seconds: f64 = of_type(value, what, "seconds as a number, or None")?;
    match time::from_seconds(seconds) {
        None => Err(PyValueError::new_err(format!(
            "{what} is not a number (NaN); it takes seconds, or None"
        ))),
        Some(time::Ttl::Gone) => Ok(Ttl::Gone),
        Some(time::Ttl::Never) => Ok(Ttl::Lasts(HC_TTL_NEVER)),
        Some(time::Ttl::Millis(millis)) => Ok(Ttl::Lasts(millis)),
    }
}

/// A time to live as Python reads it: seconds, infinite if none.
pub fn seconds(ttl_ms: u64) -> f64 {
    if ttl_ms == HC_TTL_NEVER { f64::INFINITY } else { ttl_ms as f64 / 1_000.0 }
}

/// A cache's arguments that the library knows under another name.
pub const NAMES: Names =
    &[("limit_bytes", "max_bytes"), ("limit_entries", "max_entries"), ("jitter_pct", "jitter")];

/// How a store is opened; kept so that a forked child can open its own.
pub struct Opening {
    pub limit: u64,
    pub name: Option<CString>,
    /// None: a pool of the cache's own, of the same name if it has one.
    pub pool: Option<Py<PoolBase>>,
    pub policy: i32,
    pub options: Option<CString>,
    pub ttl: u64,
    pub entries: u64,
    pub shards: u32,
    pub fpr: f64,
    pub jitter: u32,
    pub lease: u64,
    pub find_only: bool,
}

impl Opening {
    pub fn open(&self, py: Python<'_>) -> PyResult<Owned> {
        let mut why = detail();
        let mut owned = Owned { pool: ptr::null_mut(), store: ptr::null_mut() };
        match &self.pool {
            // SAFETY: the pool object holds a reference; retain adds one for `owned`.
            Some(pool) => owned.pool = unsafe { hc_pool_retain(pool.get().share(py)?.0) },
            None => self.own_pool(py, &mut owned.pool)?,
        }
        if self.find_only {
            // SAFETY: the pool is held by `owned`, the name is NUL-terminated.
            let status = unsafe {
                hc_store_find(owned.pool, pointer(self.name.as_ref()), &raw mut owned.store)
            };
            return match status {
                HC_OK => Ok(owned),
                HC_NOT_FOUND => Err(missing(self.name.as_ref())),
                _ => Err(error(py, status)),
            };
        }
        // SAFETY: all zeroes is a valid config: integers, floats and null pointers.
        let mut config: hc_store_config = unsafe { std::mem::zeroed() };
        config.size = size_of::<hc_store_config>();
        config.name = pointer(self.name.as_ref());
        config.limit_bytes = if self.pool.is_some() { self.limit } else { 0 };
        config.limit_entries = self.entries;
        config.default_ttl_ms = self.ttl;
        config.shards = self.shards;
        config.policy = self.policy;
        config.policy_options = pointer(self.options.as_ref());
        config.filter_fpr = self.fpr;
        config.jitter_pct = self.jitter;
        config.lease_ms = self.lease;
        // SAFETY: the config and its strings live through the call, the outputs are places.
        let status = unsafe {
            hc_store_open(owned.pool, &raw const config, &raw mut owned.store, &raw mut why)
        };
        if status == HC_OK { Ok(owned) } else { Err(error_naming(py, status, &why, NAMES)) }
    }

    fn own_pool(&self, py: Python<'_>, out: &mut *mut hc_pool) -> PyResult<()> {
        let mut why = detail();
        // SAFETY: all zeroes is a valid config: integers and null pointers.
        let mut config: hc_pool_config = unsafe { std::mem::zeroed() };
        config.size = size_of::<hc_pool_config>();
        config.limit_bytes = self.limit;
        let status = match &self.name {
            None => {
                // SAFETY: the config lives through the call, the outputs are places.
                unsafe { hc_pool_create(&raw const config, out, &raw mut why) }
            }
            Some(name) => {
                let config = if self.find_only { ptr::null() } else { &raw const config };
                // SAFETY: as above; the name is NUL-terminated.
                unsafe { hc_pool_open(name.as_ptr(), config, out, &raw mut why) }
            }
        };
        match status {
            HC_OK => Ok(()),
            HC_NOT_FOUND => Err(missing(self.name.as_ref())),
            _ => Err(error_naming(py, status, &why, NAMES)),
        }
    }
}

fn missing(name: Option<&CString>) -> PyErr {
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    PyKeyError::new_err(format!("no cache named {name:?} is open in this process"))
}

/// A C string that stays valid as long as the process.
pub fn lasting(text: *const std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the header: strings of a config in force stay valid as long as the process.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
