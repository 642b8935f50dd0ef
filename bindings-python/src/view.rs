//! A value in place: the buffer protocol on a pin.
//!
//! The pin is given back by `release`, by leaving a `with` block, or with the object. While a
//! memoryview or an array uses the bytes, `release` refuses, as `memoryview.release` does.

use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hypercache_sys::*;
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::open::seconds;

struct Held {
    view: hc_view,
    /// Buffers handed out and not given back.
    exports: usize,
}

// SAFETY: a view may be unpinned on another thread than the one that pinned it, and its bytes
// do not change.
unsafe impl Send for Held {}

/// A value shown in place, without copying it. The value does not change, whatever happens to the
/// key, and its memory is held back until the view is released.
#[pyclass(module = "hypercache", frozen, weakref)]
pub struct View {
    held: Mutex<Held>,
}

impl View {
    pub fn new(view: hc_view) -> Self {
        Self { held: Mutex::new(Held { view, exports: 0 }) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> PyResult<MutexGuard<'_, Held>> {
        let held = self.held();
        if held.view.data.is_null() {
            return Err(PyValueError::new_err("the view was released"));
        }
        Ok(held)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the view is pinned, or cleared, which is nothing to unpin.
        unsafe { hc_unpin(&raw mut self.held().view) };
    }
}

#[pymethods]
impl View {
    fn __len__(&self) -> PyResult<usize> {
        Ok(self.open()?.view.len)
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let held = self.open()?;
        // SAFETY: a pinned view shows `len` bytes that do not change; the lock keeps it pinned.
        let bytes =
            unsafe { std::slice::from_raw_parts(held.view.data.cast::<u8>(), held.view.len) };
        Ok(PyBytes::new(py, bytes))
    }

    fn __enter__(slf: Py<Self>) -> PyResult<Py<Self>> {
        drop(slf.get().open()?);
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.release()
    }

    /// Gives the value's memory back. Idempotent. A BufferError if a memoryview or an array uses it.
    fn release(&self) -> PyResult<()> {
        let mut held = self.held();
        if held.exports > 0 {
            return Err(PyBufferError::new_err(format!(
                "{} buffers on this view are in use; release them first",
                held.exports
            )));
        }
        // SAFETY: the view is pinned, or cleared, which is nothing to unpin.
        unsafe { hc_unpin(&raw mut held.view) };
        Ok(())
    }

    /// Whether the view was released.
    #[getter]
    fn released(&self) -> bool {
        self.held().view.data.is_null()
    }

    /// The entry's version: equal versions, equal values.
    #[getter]
    fn version(&self) -> PyResult<u64> {
        Ok(self.open()?.view.version)
    }

    /// Seconds that the entry had to live when it was pinned; infinite if it does not expire.
    #[getter]
    fn ttl(&self) -> PyResult<f64> {
        Ok(seconds(self.open()?.view.ttl_ms))
    }

    /// The value's type, one of the TYPE_ constants or the application's.
    #[getter]
    fn type_code(&self) -> PyResult<u32> {
        Ok(self.open()?.view.r#type)
    }

    /// # Safety
    /// The interpreter's: `view` is a place for a buffer.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let mut held = slf.get().open()?;
        let (data, len) = (held.view.data.cast_mut(), held.view.len.cast_signed());
        // SAFETY: the interpreter gives a place; the bytes stay pinned while the buffer is out,
        // because it holds this object and `release` refuses. Read-only: 1.
        let status = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), data, len, 1, flags) };
        if status != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        held.exports += 1;
        Ok(())
    }

    /// # Safety
    /// The interpreter's: the buffer was filled by `__getbuffer__`.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.held().exports -= 1;
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a View cannot be pickled; pickle bytes(view)"))
    }
}
