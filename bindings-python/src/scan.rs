//! Walks over a store as Python iterators.

use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use hypercache_sys::*;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::cache::CacheBase;
use crate::errors::error;
use crate::handle::Owned;
use crate::{key, value};

/// What each step gives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Keys,
    Values,
    Items,
}

struct Walk(*mut hc_scan);

// SAFETY: a scan belongs to one thread at a time: the lock around it sees to that.
unsafe impl Send for Walk {}

impl Drop for Walk {
    fn drop(&mut self) {
        // SAFETY: the scan is open, or NULL, and is not used again.
        unsafe { hc_scan_close(self.0) };
    }
}

/// An iterator over a cache. Entries that are present throughout come exactly once.
#[pyclass(module = "hypercache._native", frozen)]
pub struct Scan {
    walk: Mutex<Walk>,
    shown: Shown,
    cache: Py<CacheBase>,
    /// The store stays while it is walked.
    _share: Arc<Owned>,
}

impl Scan {
    pub fn new(scan: *mut hc_scan, shown: Shown, cache: Py<CacheBase>, share: Arc<Owned>) -> Self {
        Self { walk: Mutex::new(Walk(scan)), shown, cache, _share: share }
    }
}

#[pymethods]
impl Scan {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut slice = hc_slice { data: ptr::null(), len: 0 };
        // SAFETY: all zeroes is a cleared view.
        let mut view: hc_view = unsafe { std::mem::zeroed() };
        let place = if self.shown == Shown::Keys { ptr::null_mut() } else { &raw mut view };
        let key = {
            let mut walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
            if walk.0.is_null() {
                return Ok(None);
            }
            // SAFETY: the scan is open and this thread has it; the outputs are places.
            match unsafe { hc_scan_next(walk.0, &raw mut slice, place) } {
                HC_OK => {}
                HC_DONE => {
                    *walk = Walk(ptr::null_mut());
                    return Ok(None);
                }
                status => return Err(error(py, status)),
            }
            // SAFETY: the key stays valid until the next call on this scan, which needs the lock.
            let bytes = unsafe { std::slice::from_raw_parts(slice.data.cast::<u8>(), slice.len) };
            if self.shown == Shown::Values { None } else { Some(bytes.to_vec()) }
        };
        // Without the lock: making objects may run a collection, and so code that walks on.
        let key = key.map(|bytes| key::decode(py, &bytes)).transpose();
        if self.shown == Shown::Keys {
            return key;
        }
        // SAFETY: the pinned view shows `len` bytes until it is unpinned, once, below.
        let object = unsafe {
            let bytes = std::slice::from_raw_parts(view.data.cast::<u8>(), view.len);
            let object = value::decode(py, view.r#type, bytes, &self.cache.get().codec);
            hc_unpin(&raw mut view);
            object
        };
        let object = object?;
        Ok(Some(match key? {
            Some(key) => PyTuple::new(py, [key, object])?.into_any(),
            None => object,
        }))
    }
}

/// The header's description of what a walk is for, and the bytes it points to; None for all.
pub fn filled_match(
    prefix: Option<&Bound<'_, PyAny>>,
    glob: Option<&Bound<'_, PyAny>>,
    session: Option<u64>,
) -> PyResult<(Option<hc_match>, Vec<u8>)> {
    let given = usize::from(prefix.is_some()) + usize::from(glob.is_some());
    if given + usize::from(session.is_some()) > 1 {
        return Err(PyTypeError::new_err("give one of prefix, glob and session"));
    }
    let mut bytes = Vec::new();
    let kind = if let Some(prefix) = prefix {
        key::push(prefix, &mut bytes, 1)?;
        HC_MATCH_PREFIX
    } else if let Some(glob) = glob {
        if !glob.is_instance_of::<PyString>() && !glob.is_instance_of::<PyBytes>() {
            let name = glob.get_type().fully_qualified_name()?;
            return Err(PyTypeError::new_err(format!("glob takes str or bytes, not {name}")));
        }
        key::push(glob, &mut bytes, 1)?;
        HC_MATCH_GLOB
    } else if session.is_some() {
        HC_MATCH_SESSION
    } else {
        return Ok((None, bytes));
    };
    let entries = hc_match {
        size: size_of::<hc_match>(),
        pattern: hc_slice { data: bytes.as_ptr().cast(), len: bytes.len() },
        session: session.unwrap_or(0),
        r#type: 0,
        kind,
    };
    Ok((Some(entries), bytes))
}
