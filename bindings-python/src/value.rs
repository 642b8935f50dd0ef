//! Python objects as typed values, and back.
//!
//! `bytes`, `str`, `int` of 64 bits, `float`, `bool` and `None` are stored as what they are, so that
//! C, C++ and Node read them. Everything else, subclasses of these included, goes through the
//! cache's codec, so that what comes out has the type that went in.

use std::ptr;

use hypercache_sys::*;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::arguments::shown;
use crate::errors;
use crate::hot::LONG;
use crate::passed::Held;

/// How objects of other types become bytes.
pub struct Codec {
    /// The type that encoded values carry; None: such objects are refused.
    pub tag: Option<u32>,
    pub dumps: Py<PyAny>,
    pub loads: Py<PyAny>,
}

/// A value to be stored. `data` points into the object, into `small`, or into `owner`.
pub struct Encoded<'py> {
    data: *const u8,
    len: usize,
    pub tag: u32,
    small: [u8; 8],
    /// What `data` points into where it is not the caller's object.
    owner: Option<Bound<'py, PyAny>>,
}

impl<'py> Encoded<'py> {
    fn borrowed(data: *const u8, len: usize, tag: u32) -> Self {
        Self { data, len, tag, small: [0; 8], owner: None }
    }

    fn small(small: [u8; 8], len: usize, tag: u32) -> Self {
        Self { data: ptr::null(), len, tag, small, owner: None }
    }

    fn owned(bytes: Bound<'py, PyAny>, tag: u32) -> PyResult<Self> {
        let inner = bytes.cast_exact::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!(
                "the codec's dumps returned {}; it returns bytes",
                shown(&bytes)
            ))
        })?;
        let (data, len) = (inner.as_bytes().as_ptr(), inner.as_bytes().len());
        Ok(Self { data, len, tag, small: [0; 8], owner: Some(bytes) })
    }

    /// The bytes; small values live in `self`.
    #[inline]
    pub fn data(&self) -> *const u8 {
        if self.data.is_null() { self.small.as_ptr() } else { self.data }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The value held for others to decode; `object` is what it was made of.
    pub fn held(&self, object: &Bound<'py, PyAny>) -> Held {
        let py = object.py();
        let (owner, data) = match &self.owner {
            Some(owner) => (owner.clone(), self.data),
            None if self.data.is_null() => {
                let copy = PyBytes::new(py, &self.small[..self.len]);
                let data = copy.as_bytes().as_ptr();
                (copy.into_any(), data)
            }
            None => (object.clone(), self.data),
        };
        Held { owner: owner.unbind(), data, len: self.len, tag: self.tag }
    }
}

/// The value's bytes and type.
///
/// # Safety
/// `object` is alive and stays so while the result is used.
#[inline]
pub unsafe fn encode<'py>(
    py: Python<'py>,
    object: *mut ffi::PyObject,
    codec: &Codec,
) -> PyResult<Encoded<'py>> {
    // SAFETY: the caller's word: a live object; each conversion follows the check of its type.
    unsafe {
        if ffi::PyBytes_CheckExact(object) != 0 {
            let data = ffi::PyBytes_AsString(object).cast::<u8>();
            return Ok(Encoded::borrowed(data, length(ffi::PyBytes_Size(object)), HC_TYPE_BYTES));
        }
        if ffi::PyUnicode_CheckExact(object) != 0 {
            let mut len = 0;
            let data = ffi::PyUnicode_AsUTF8AndSize(object, &raw mut len);
            if !data.is_null() {
                return Ok(Encoded::borrowed(data.cast(), length(len), HC_TYPE_STRING));
            }
            // Not Unicode: lone surrogates. No other language could read it; the codec may.
            ffi::PyErr_Clear();
        } else if ffi::PyLong_CheckExact(object) != 0 {
            let mut overflow = 0;
            let value = ffi::PyLong_AsLongLongAndOverflow(object, &raw mut overflow);
            if overflow == 0 {
                return Ok(Encoded::small(value.to_le_bytes(), 8, HC_TYPE_INT64));
            }
        } else if ffi::PyFloat_CheckExact(object) != 0 {
            let value = ffi::PyFloat_AsDouble(object);
            return Ok(Encoded::small(value.to_le_bytes(), 8, HC_TYPE_FLOAT64));
        } else if ffi::PyBool_Check(object) != 0 {
            let is_true = u8::from(object == ffi::Py_True());
            return Ok(Encoded::small([is_true, 0, 0, 0, 0, 0, 0, 0], 1, HC_TYPE_BOOL));
        } else if object == ffi::Py_None() {
            return Ok(Encoded::small([0; 8], 0, HC_TYPE_NULL));
        }
        by_codec(&Borrowed::from_ptr(py, object), codec)
    }
}

#[inline]
fn length(len: ffi::Py_ssize_t) -> usize {
    len.cast_unsigned()
}

fn by_codec<'py>(object: &Bound<'py, PyAny>, codec: &Codec) -> PyResult<Encoded<'py>> {
    let Some(tag) = codec.tag else {
        let name = object.get_type().fully_qualified_name()?;
        let text = format!(
            "this cache has no codec, so values are bytes, str, int of 64 bits, float, bool or \
             None, of exactly these types; not {name}"
        );
        return Err(errors::named(object.py(), "CodecError", text));
    };
    Encoded::owned(codec.dumps.bind(object.py()).call1((object,))?, tag)
}

/// The object that was stored.
#[inline]
pub fn decode<'py>(
    py: Python<'py>,
    tag: u32,
    bytes: &[u8],
    codec: &Codec,
) -> PyResult<Bound<'py, PyAny>> {
    match tag {
        HC_TYPE_BYTES => Ok(PyBytes::new(py, bytes).into_any()),
        HC_TYPE_STRING => PyString::from_bytes(py, bytes).map(Bound::into_any),
        HC_TYPE_INT64 => Ok(i64::from_le_bytes(eight(bytes)?).into_pyobject(py)?.into_any()),
        HC_TYPE_FLOAT64 => Ok(f64::from_le_bytes(eight(bytes)?).into_pyobject(py)?.into_any()),
        HC_TYPE_BOOL if bytes.len() == 1 => {
            Ok((bytes[0] != 0).into_pyobject(py)?.to_owned().into_any())
        }
        HC_TYPE_NULL => Ok(py.None().into_bound(py)),
        _ => decode_other(py, tag, bytes, codec),
    }
}

/// A bytes object of a length, and where to fill it before anybody else has it.
pub fn unfilled(py: Python<'_>, len: usize) -> PyResult<(Bound<'_, PyAny>, *mut u8)> {
    // SAFETY: NULL asks for bytes of this length that the caller fills; what comes is bytes, or NULL
    // with an error.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(ptr::null(), len.cast_signed());
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let data = ffi::PyBytes_AsString(object.as_ptr()).cast();
        Ok((object, data))
    }
}

/// The object that a pinned view shows; a long one is copied while other threads run.
pub fn decode_view<'py>(
    py: Python<'py>,
    view: &hc_view,
    codec: &Codec,
) -> PyResult<Bound<'py, PyAny>> {
    struct Place(*mut u8);
    // SAFETY: one thread uses it: the one that copies.
    unsafe impl Sync for Place {}
    // SAFETY: the pinned view shows `len` bytes; an empty one has no address.
    let bytes: &[u8] = unsafe {
        if view.len == 0 { &[] } else { std::slice::from_raw_parts(view.data.cast(), view.len) }
    };
    if view.r#type != HC_TYPE_BYTES || bytes.len() < LONG {
        return decode(py, view.r#type, bytes, codec);
    }
    let (object, data) = unfilled(py, bytes.len())?;
    let place = Place(data);
    py.detach(|| {
        let Place(data) = &place;
        // SAFETY: both are as long, and the object is this function's own.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), *data, bytes.len()) };
    });
    Ok(object)
}

fn eight(bytes: &[u8]) -> PyResult<[u8; 8]> {
    bytes.try_into().map_err(|_| {
        PyValueError::new_err(format!(
            "the entry says it is a number but has {} bytes",
            bytes.len()
        ))
    })
}

#[cold]
fn foreign<'py>(py: Python<'py>, tag: u32, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let decode = py.import("hypercache._codecs")?.getattr("decode_foreign")?;
    decode.call1((tag, PyBytes::new(py, bytes)))
}

fn decode_other<'py>(
    py: Python<'py>,
    tag: u32,
    bytes: &[u8],
    codec: &Codec,
) -> PyResult<Bound<'py, PyAny>> {
    if codec.tag == Some(tag) {
        return codec.loads.bind(py).call1((PyBytes::new(py, bytes),));
    }
    if tag == HC_TYPE_PICKLE {
        let text = "the entry is pickled, and this cache's codec is not pickle: unpickling runs \
                    code, so it is never done unasked";
        return Err(errors::named(py, "CodecError", text.into()));
    }
    foreign(py, tag, bytes)
}
