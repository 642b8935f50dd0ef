//! Statuses as exceptions.
//!
//! The classes are Python's own (`hypercache/_errors.py`), so that type checkers and readers find
//! them there; this module picks one and words it with the library's own sentence.

use std::ffi::CStr;

use hypercache_bindings::status::describe;
use hypercache_sys::*;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// A place for the library to say why a call failed.
pub fn detail() -> hc_error {
    hc_error { size: size_of::<hc_error>(), status: HC_OK, os_error: 0, message: [0; 240] }
}

/// The exception for a failed status.
pub fn error(py: Python<'_>, status: hc_status) -> PyErr {
    with_text(py, status, describe(status, b""), 0)
}

/// The exception for a failed status, in the library's words.
pub fn error_with(py: Python<'_>, status: hc_status, detail: &hc_error) -> PyErr {
    // SAFETY: the array lives as long as `detail`, and u8 has the layout of c_char.
    let message: &[u8] =
        unsafe { std::slice::from_raw_parts(detail.message.as_ptr().cast(), detail.message.len()) };
    with_text(py, status, describe(status, message), detail.os_error)
}

/// Arguments of Python that the library knows under another name, in the same unit.
pub type Names = &'static [(&'static str, &'static str)];

/// [`error_with`], with the caller's argument in the place of the library's.
pub fn error_naming(py: Python<'_>, status: hc_status, detail: &hc_error, names: Names) -> PyErr {
    let error = error_with(py, status, detail);
    let text = error.value(py).to_string();
    for (theirs, ours) in names {
        let rest = text.strip_prefix(theirs).filter(|rest| rest.starts_with(' '));
        if let Some(rest) = rest {
            return with_text(py, status, format!("{ours}{rest}"), detail.os_error);
        }
    }
    error
}

/// `Ok` for `HC_OK`, else the exception.
pub fn check(py: Python<'_>, status: hc_status) -> PyResult<()> {
    if status == HC_OK { Ok(()) } else { Err(error(py, status)) }
}

fn with_text(py: Python<'_>, status: hc_status, text: String, os_error: i32) -> PyErr {
    let class = match status {
        HC_ERR_INVALID => return PyValueError::new_err(text),
        HC_ERR_IO => return PyOSError::new_err((os_error, text)),
        HC_TIMEOUT => return PyTimeoutError::new_err(text),
        HC_ERR_NO_MEMORY => return PyMemoryError::new_err(text),
        HC_ERR_UNSUPPORTED => "UnsupportedError",
        HC_ERR_TOO_LARGE => "TooLargeError",
        HC_ERR_NO_SPACE => "NoSpaceError",
        HC_ERR_CLOSED => "ClosedError",
        HC_ERR_FORKED => "ForkedError",
        HC_ERR_CORRUPT => "CorruptError",
        HC_ERR_POISONED => "PoisonedError",
        HC_ERR_DEADLOCK => "DeadlockError",
        HC_LOAD_FAILED => "LoadError",
        _ => "InternalError",
    };
    named(py, class, text)
}

/// An exception of `hypercache._errors`.
pub fn named(py: Python<'_>, class: &str, text: String) -> PyErr {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let made = MODULE
        .get_or_try_init(py, || py.import("hypercache._errors").map(Bound::unbind))
        .and_then(|module| module.bind(py).getattr(class))
        .and_then(|class| class.call1((text.as_str(),)));
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(_) => PyRuntimeError::new_err(text),
    }
}

/// Static text of the library.
pub fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the library's strings are NUL-terminated and stay valid as long as the process.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
