//! `hypercache._native`: the Python package's own half in Rust.
//!
//! It declares the C interface (`hypercache-sys`), turns Python objects into keys and values and
//! statuses into exceptions, and holds no rule of the cache: the engine is `libhypercache.so.0`,
//! which the wheel carries and the loader finds once for the whole process. So a C++ extension that
//! links the same library opens the pools that Python has named.
//!
//! - [`key`], [`value`]: objects as bytes, and back;
//! - [`handle`], [`cache`]: one store, and the calls that are rare enough for PyO3's wrappers;
//! - [`open`]: how a store is opened, byte sizes and times to live;
//! - [`hot`], [`batch`], [`arguments`]: those that are not, in the interpreter's calling convention;
//! - [`lease`], [`memo`], [`passed`]: read-through and memoization;
//! - [`pool`], [`filter`], [`view`], [`scan`], [`stats`]: the other objects;
//! - [`errors`]: statuses as exceptions; [`stack`]: recursion before it is a fault.
//!
//! What reads better in Python (the mapping's other methods, memoization, dataclasses, documentation)
//! is in `python/hypercache/`, on top of this module.

mod arguments;
mod batch;
mod cache;
mod errors;
mod filter;
mod handle;
mod hot;
mod key;
mod lease;
mod memo;
mod open;
mod passed;
mod pool;
mod scan;
mod stack;
mod stats;
mod value;
mod view;

use pyo3::prelude::*;

/// The native half of `hypercache`; use that.
#[pymodule(gil_used = false)]
mod _native {
    use hypercache_sys::*;
    use pyo3::exceptions::PyImportError;
    use pyo3::ffi;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    #[pymodule_export]
    use super::cache::CacheBase;
    #[pymodule_export]
    use super::filter::FilterBase;
    #[pymodule_export]
    use super::key::RawKey;
    #[pymodule_export]
    use super::lease::{Lease, Waits};
    #[pymodule_export]
    use super::memo::Memo;
    #[pymodule_export]
    use super::pool::{PoolBase, Watch};
    #[pymodule_export]
    use super::scan::Scan;
    #[pymodule_export]
    use super::view::View;

    /// The version of the library in use.
    #[pyfunction]
    fn version() -> String {
        // SAFETY: the call takes nothing and returns static text.
        super::errors::text(unsafe { hc_version_string() })
    }

    /// Version, commit, target and build options of the library in use.
    #[pyfunction]
    fn build_info() -> String {
        // SAFETY: the call takes nothing and returns static text.
        super::errors::text(unsafe { hc_build_info() })
    }

    /// A byte size: an int, or text such as "64MiB" or "25%".
    #[pyfunction]
    fn parse_size(size: &Bound<'_, PyAny>) -> PyResult<u64> {
        super::open::size(size, "size")
    }

    /// The bytes of a key: equal bytes, equal keys.
    #[pyfunction]
    #[pyo3(signature = (key, /))]
    fn key_bytes<'py>(key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = Vec::new();
        super::key::push(key, &mut bytes, 1)?;
        Ok(PyBytes::new(key.py(), &bytes))
    }

    /// All pools and stores of the process in Prometheus' text format.
    #[pyfunction]
    fn metrics_text(py: Python<'_>) -> PyResult<String> {
        let mut text: Vec<u8> = Vec::with_capacity(16 << 10);
        loop {
            let mut len = 0;
            // SAFETY: the buffer has its capacity, `len` is a place.
            let status =
                unsafe { hc_metrics_text(text.as_mut_ptr().cast(), text.capacity(), &raw mut len) };
            match status {
                HC_OK => {
                    // SAFETY: the call wrote `len` bytes, at most the capacity.
                    unsafe { text.set_len(len) };
                    return Ok(String::from_utf8_lossy(&text).into_owned());
                }
                HC_SMALL_BUFFER => text.reserve(len),
                status => return Err(super::errors::error(py, status)),
            }
        }
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        // The bindings keep objects of one interpreter for all, and their waits its lock.
        // SAFETY: the interpreter runs this, and its state lives meanwhile.
        let interpreter = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
        if interpreter != 0 {
            return Err(PyImportError::new_err(format!(
                "hypercache works in the main interpreter only, and this is sub-interpreter \
                 {interpreter}: its objects would be shared between interpreters"
            )));
        }
        super::hot::install(&module.py().get_type::<CacheBase>())
    }
}
