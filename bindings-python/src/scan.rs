//! Walks over a store as Python iterators.

use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// How many keys that match are taken at a time: looking for them is without the interpreter's lock.
const AHEAD: usize = 64;

/// A walk, and keys that were found on it and not given yet, the next one last.
struct Walk {
    scan: *mut hc_scan,
    found: Vec<Vec<u8>>,
}

// SAFETY: a scan belongs to one thread at a time: the lock around it sees to that.
unsafe impl Send for Walk {}

impl Drop for Walk {
    fn drop(&mut self) {
        // SAFETY: the scan is open, or NULL, and is not used again.
        unsafe { hc_scan_close(self.scan) };
    }
}

impl Walk {
    const fn new(scan: *mut hc_scan) -> Self {
        Self { scan, found: Vec::new() }
    }

    /// Looks for more keys; the status that ended that, if it was not their number.
    fn look_ahead(&mut self) -> hc_status {
        let mut status = HC_OK;
        while self.found.len() < AHEAD && !self.scan.is_null() {
            let mut slice = hc_slice { data: ptr::null(), len: 0 };
            // SAFETY: the scan is open and this thread has it; the output is a place.
            status = unsafe { hc_scan_next(self.scan, &raw mut slice, ptr::null_mut()) };
            if status != HC_OK {
                if status == HC_DONE {
                    // SAFETY: it is open, and not used again.
                    unsafe { hc_scan_close(self.scan) };
                    self.scan = ptr::null_mut();
                }
                break;
            }
            // SAFETY: the key stays valid until the next call on this scan.
            let bytes = unsafe { std::slice::from_raw_parts(slice.data.cast::<u8>(), slice.len) };
            self.found.push(bytes.to_vec());
        }
        self.found.reverse();
        status
    }
}

/// An iterator over a cache. Entries that are present throughout come exactly once.
#[pyclass(module = "hypercache._native", frozen)]
pub struct Scan {
    walk: Mutex<Walk>,
    shown: Shown,
    /// Whether it is of few keys among many.
    matches: bool,
    cache: Py<CacheBase>,
    /// The store stays while it is walked.
    _share: Arc<Owned>,
}

impl Scan {
    pub fn new(
        scan: *mut hc_scan,
        shown: Shown,
        matches: bool,
        cache: Py<CacheBase>,
        share: Arc<Owned>,
    ) -> Self {
        Self { walk: Mutex::new(Walk::new(scan)), shown, matches, cache, _share: share }
    }

    fn walk(&self) -> MutexGuard<'_, Walk> {
        self.walk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next key that matches: there may be a whole store between two, which other threads and
    /// signals do not wait for.
    fn next_match<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = self.walk().found.pop();
        if let Some(bytes) = found {
            return key::decode(py, &bytes).map(Some);
        }
        py.check_signals()?;
        let (found, status) = py.detach(|| {
            let mut walk = self.walk();
            let status = if walk.found.is_empty() { walk.look_ahead() } else { HC_OK };
            let found = walk.found.pop();
            if found.is_none() {
                *walk = Walk::new(ptr::null_mut());
            }
            (found, status)
        });
        match found {
            Some(bytes) => key::decode(py, &bytes).map(Some),
            None if status == HC_OK || status == HC_DONE => Ok(None),
            None => Err(error(py, status)),
        }
    }
}

#[pymethods]
impl Scan {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.matches && self.shown == Shown::Keys {
            return self.next_match(py);
        }
        let mut slice = hc_slice { data: ptr::null(), len: 0 };
        // SAFETY: all zeroes is a cleared view.
        let mut view: hc_view = unsafe { std::mem::zeroed() };
        let place = if self.shown == Shown::Keys { ptr::null_mut() } else { &raw mut view };
        let key = {
            let mut walk = self.walk();
            if walk.scan.is_null() {
                return Ok(None);
            }
            // SAFETY: the scan is open and this thread has it; the outputs are places.
            match unsafe { hc_scan_next(walk.scan, &raw mut slice, place) } {
                HC_OK => {}
                HC_DONE => {
                    *walk = Walk::new(ptr::null_mut());
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
