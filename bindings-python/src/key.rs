//! Python objects as keys, and back.
//!
//! A `str` is its own UTF-8, which CPython hands out without a copy; an `int` is built on the stack;
//! `bytes` and tuples are encoded into a buffer. Only exact types are keys: a subclass may compare
//! and hash as it likes, and two keys that Python holds for different must not meet in one entry.
//! `True` and `1` are one key, as they are in a dict.

use std::ffi::c_void;

use hypercache_bindings::key::{self, Key, KeyError, TupleWriter};
use pyo3::exceptions::{PyTypeError, PyUnicodeEncodeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple, PyType};

use crate::arguments::{of_type, shown};

/// A key that C or another language wrote, byte for byte.
///
/// Keys of other types than str, bytes, int and tuple come back as this when a cache is iterated.
#[pyclass(module = "hypercache", frozen, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct RawKey {
    bytes: Vec<u8>,
}

impl RawKey {
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

#[pymethods]
impl RawKey {
    #[new]
    #[pyo3(signature = (key, /))]
    fn new(key: &Bound<'_, PyAny>) -> PyResult<Self> {
        let bytes: &[u8] = of_type(key, "key", "bytes")?;
        Ok(Self { bytes: bytes.to_vec() })
    }

    /// The bytes of the key.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (Bound<'py, PyBytes>,)) {
        (slf.get_type(), (slf.get().key(slf.py()),))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("RawKey({})", PyBytes::new(py, &self.bytes).repr()?))
    }
}

/// Where a key is built that is not the object's own bytes.
#[derive(Default)]
pub struct Scratch {
    int: [u8; 10],
    bytes: Vec<u8>,
}

/// The bytes of a key: the object's own, or in the [`Scratch`]. Valid while both are.
#[derive(Clone, Copy)]
pub struct KeyRef {
    pub data: *const u8,
    pub len: usize,
}

// SAFETY: the bytes are only read, and belong to objects or buffers that do not change meanwhile.
unsafe impl Sync for KeyRef {}
// SAFETY: as above.
unsafe impl Send for KeyRef {}

impl KeyRef {
    pub fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }

    /// Address and length, as the library takes them.
    pub fn parts(self) -> (*const c_void, usize) {
        (self.data.cast(), self.len)
    }

    /// The bytes.
    ///
    /// # Safety
    /// They are alive, and stay so while the result is used.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the caller's word; a key is never NULL.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// The UTF-8 of an exact `str`.
///
/// # Safety
/// `object` is a live `str`, and the bytes are used only while it lives.
#[inline]
unsafe fn utf8(py: Python<'_>, object: *mut ffi::PyObject) -> PyResult<KeyRef> {
    let mut len = 0;
    // SAFETY: the caller's word: a str.
    let data = unsafe { ffi::PyUnicode_AsUTF8AndSize(object, &raw mut len) };
    if data.is_null() {
        // SAFETY: as above.
        let object = unsafe { Borrowed::from_ptr(py, object) };
        return Err(no_text(PyErr::fetch(py), &object));
    }
    Ok(KeyRef { data: data.cast(), len: len.cast_unsigned() })
}

/// The bytes of a key.
///
/// # Safety
/// `object` is alive and stays so, with `scratch` untouched, while the bytes are used.
#[inline]
pub unsafe fn encode(
    py: Python<'_>,
    object: *mut ffi::PyObject,
    scratch: &mut Scratch,
) -> PyResult<KeyRef> {
    // SAFETY: the caller's word: a live object.
    if unsafe { ffi::PyUnicode_CheckExact(object) } != 0 {
        // SAFETY: it is a str, and the caller keeps it alive.
        return bounded(unsafe { utf8(py, object) }?);
    }
    // SAFETY: as above.
    let object = unsafe { Borrowed::from_ptr(py, object) };
    other(&object, scratch)
}

#[inline]
fn bounded(key: KeyRef) -> PyResult<KeyRef> {
    if key.len > key::MAX_LEN { Err(refused(KeyError::TooLong(key.len))) } else { Ok(key) }
}

fn other(object: &Bound<'_, PyAny>, scratch: &mut Scratch) -> PyResult<KeyRef> {
    if let Ok(raw) = object.cast::<RawKey>() {
        return Ok(KeyRef::of(&raw.get().bytes));
    }
    if let Some(value) = small_int(object)? {
        scratch.int = key::int(value);
        return Ok(KeyRef::of(&scratch.int));
    }
    scratch.bytes.clear();
    push(object, &mut scratch.bytes, 1)?;
    bounded(KeyRef::of(&scratch.bytes))
}

/// The value of an exact `int` or `bool` that fits 64 bits.
fn small_int(object: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    let pointer = object.as_ptr();
    // SAFETY: a live object.
    let is_int = unsafe { ffi::PyLong_CheckExact(pointer) != 0 || ffi::PyBool_Check(pointer) != 0 };
    if !is_int {
        return Ok(None);
    }
    let mut overflow = 0;
    // SAFETY: it is an int.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(pointer, &raw mut overflow) };
    Ok((overflow == 0).then_some(value))
}

/// Appends the encoding of any key, and refuses one that is too long.
pub fn push_bounded(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    let start = out.len();
    push(object, out, 1)?;
    bounded(KeyRef::of(&out[start..])).map(drop)
}

/// Appends the encoding of any key.
pub fn push(object: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> PyResult<()> {
    if let Ok(text) = object.cast_exact::<PyString>() {
        let utf8 = text.to_str().map_err(|error| no_text(error, object))?;
        out.extend_from_slice(utf8.as_bytes());
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        key::push_bytes(out, bytes.as_bytes());
    } else if let Some(value) = small_int(object)? {
        out.extend_from_slice(&key::int(value));
    } else if let Ok(large) = object.cast_exact::<PyInt>() {
        let decimal = large.str().map_err(|error| too_many_digits(&error, large))?;
        key::push_decimal(out, decimal.to_str()?).map_err(refused)?;
    } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        let writer = TupleWriter::begin(out, depth).map_err(refused)?;
        for part in tuple.iter_borrowed() {
            let mark = writer.part(out);
            push(&part, out, writer.inner_depth())?;
            writer.end_part(out, &mark).map_err(refused)?;
        }
    } else if let Ok(raw) = object.cast::<RawKey>() {
        if depth > 1 {
            return Err(refused(KeyError::RawInTuple));
        }
        out.extend_from_slice(&raw.get().bytes);
    } else {
        let name = object.get_type().fully_qualified_name()?;
        return Err(PyTypeError::new_err(format!(
            "keys are str, bytes, int and tuples of these, of exactly these types, or RawKey; \
             not {name}"
        )));
    }
    Ok(())
}

#[cold]
fn refused(error: KeyError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The refusal of a str that has no UTF-8.
#[cold]
fn no_text(error: PyErr, key: &Bound<'_, PyAny>) -> PyErr {
    if !error.is_instance_of::<PyUnicodeEncodeError>(key.py()) {
        return error;
    }
    PyValueError::new_err(format!(
        "key is {}; it takes text that is Unicode, without lone surrogates",
        shown(key)
    ))
}

/// The refusal of an int that the interpreter makes no text of.
#[cold]
fn too_many_digits(error: &PyErr, int: &Bound<'_, PyInt>) -> PyErr {
    let py = int.py();
    if !error.is_instance_of::<PyValueError>(py) {
        return error.clone_ref(py);
    }
    let bits = int.call_method0("bit_length").map_or_else(|_| "?".into(), |bits| bits.to_string());
    let most = py
        .import("sys")
        .and_then(|sys| sys.call_method0("get_int_max_str_digits"))
        .map_or_else(|_| "?".into(), |most| most.to_string());
    PyValueError::new_err(format!(
        "key is an int of {bits} bits; it takes up to {most} decimal digits \
         (sys.set_int_max_str_digits)"
    ))
}

/// The key as the type that was put in.
pub fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match build(py, &key::decode(bytes)) {
        // An int of more digits than the interpreter takes: the key as it is written.
        Err(error) if error.is_instance_of::<PyValueError>(py) => {
            Ok(Bound::new(py, RawKey::of(bytes.to_vec()))?.into_any())
        }
        built => built,
    }
}

fn build<'py>(py: Python<'py>, key: &Key<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match key {
        Key::Text(text) => PyString::new(py, text).into_any(),
        Key::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Key::Int(value) => value.into_pyobject(py)?.into_any(),
        Key::Big(decimal) => py.get_type::<PyInt>().call1((*decimal,))?,
        Key::Tuple(parts) => {
            let parts: PyResult<Vec<_>> = parts.iter().map(|part| build(py, part)).collect();
            PyTuple::new(py, parts?)?.into_any()
        }
        Key::Raw(bytes) => Bound::new(py, RawKey { bytes: bytes.to_vec() })?.into_any(),
    })
}
