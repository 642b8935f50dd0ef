//! The calls that programs make all the time, in the interpreter's own calling convention.
//!
//! PyO3's wrappers take their arguments apart in a general way and cost more than a hit does. These
//! functions get the arguments as the interpreter has them (`METH_FASTCALL`), read keys and values
//! in place, copy a value once into a buffer on the stack and once into the object that is handed
//! out, and keep the interpreter's lock: giving it back and taking it again costs as much as the
//! work. Values beyond [`LONG`] are the exception, read without it and straight into their object.
//!
//! The functions are put on the type as method descriptors ([`install`]), which check that `self` is
//! a `CacheBase` before they call. None may unwind into the interpreter: [`guarded`] turns a panic
//! into an exception.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use hypercache_sys::*;
use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::arguments::{Arguments, U64, whole};
use crate::cache::CacheBase;
use crate::errors::{self, error};
use crate::key::{self, KeyRef, Scratch};
use crate::open::{Ttl, ttl};
use crate::value::{self, Encoded};

/// From this length on a copy takes longer than letting other threads run, in bytes.
pub const LONG: usize = 128 << 10;

/// Values up to this length are read into a buffer on the stack.
pub const BUFFER: usize = 2048;

/// The cache behind `self`.
///
/// # Safety
/// `slf` is a live `CacheBase`, and the reference is used only while it lives.
#[inline]
unsafe fn cache<'a>(slf: *mut ffi::PyObject) -> &'a CacheBase {
    // SAFETY: the caller's word. The instance is frozen, so that a shared reference is sound; it
    // lives as long as the caller's own reference to it.
    unsafe {
        let py = Python::assume_attached();
        let object = Borrowed::from_ptr(py, slf);
        let cache: *const CacheBase = object.cast_unchecked::<CacheBase>().get();
        &*cache
    }
}

/// Runs the body of a method: an error becomes the interpreter's, a panic an exception.
#[inline]
fn guarded(work: impl FnOnce(Python<'_>) -> PyResult<*mut ffi::PyObject>) -> *mut ffi::PyObject {
    let done = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the interpreter calls methods on an attached thread.
        let py = unsafe { Python::assume_attached() };
        match work(py) {
            Ok(object) => object,
            Err(error) => fail(error),
        }
    }));
    done.unwrap_or_else(|_| {
        fail(PyRuntimeError::new_err("a fault in hypercache; please report it"))
    })
}

#[cold]
fn fail(error: PyErr) -> *mut ffi::PyObject {
    Python::attach(|py| error.restore(py));
    ptr::null_mut()
}

/// A new reference to True or False.
#[inline]
fn bool_object(value: bool) -> *mut ffi::PyObject {
    // SAFETY: the thread is attached; it is one of two objects that never go.
    unsafe { ffi::PyBool_FromLong(i64::from(value)) }
}

/// A new reference.
#[inline]
fn shared(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the caller's argument is alive during the call.
    unsafe { ffi::Py_NewRef(object) }
}

/// The value under a key as an object; NULL if there is none.
///
/// # Safety
/// The key's bytes are alive.
#[inline]
pub unsafe fn read(py: Python<'_>, cache: &CacheBase, key: KeyRef) -> PyResult<*mut ffi::PyObject> {
    let mut buffer = MaybeUninit::<[u8; BUFFER]>::uninit();
    let mut info = MaybeUninit::<hc_info>::uninit();
    let status = {
        let used = cache.store(py)?;
        // SAFETY: the handle is in use, the key's bytes are alive, the buffer has its length and
        // the metadata a place.
        unsafe {
            let data = buffer.as_mut_ptr().cast();
            hc_get_info(used.store, key.data.cast(), key.len, 0, data, BUFFER, info.as_mut_ptr())
        }
    };
    if status == HC_OK {
        // SAFETY: with this status both were written, the buffer for `len` bytes.
        let (info, bytes) = unsafe {
            let info = info.assume_init_ref();
            (info, std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), info.len))
        };
        if info.r#type == HC_TYPE_BYTES {
            // SAFETY: the slice is as long as it says. NULL is the interpreter's own error.
            let object = unsafe {
                ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len().cast_signed())
            };
            return if object.is_null() { Err(PyErr::fetch(py)) } else { Ok(object) };
        }
        return value::decode(py, info.r#type, bytes, &cache.codec).map(Bound::into_ptr);
    }
    if status == HC_NOT_FOUND {
        return Ok(ptr::null_mut());
    }
    if status == HC_SMALL_BUFFER {
        // SAFETY: with this status the metadata was written; the key's bytes are alive.
        return unsafe { read_again(py, cache, key, *info.assume_init_ref()) };
    }
    if cache.renewed(py, status)? {
        // A store that was opened just now is empty.
        return Ok(ptr::null_mut());
    }
    Err(error(py, status))
}

/// The same for a value that does not fit the buffer. `info` is what is known of it.
///
/// # Safety
/// The key's bytes are alive.
#[cold]
unsafe fn read_again(
    py: Python<'_>,
    cache: &CacheBase,
    key: KeyRef,
    mut info: hc_info,
) -> PyResult<*mut ffi::PyObject> {
    let found = read_long(py, cache, &mut info, |store, data, cap, info| {
        let (key, len) = key.parts();
        // SAFETY: the key's bytes are alive (the caller's word); the rest is `read_long`'s.
        unsafe { hc_get_info(store, key, len, 0, data, cap, info) }
    })?;
    match found {
        Ok(object) => Ok(object.into_ptr()),
        Err(HC_NOT_FOUND) => Ok(ptr::null_mut()),
        Err(status) => Err(error(py, status)),
    }
}

/// Reads a value that takes `info.len` bytes straight into the object that is handed out, while
/// other threads run if it is long. `get` copies into a buffer of so many bytes and says what it
/// found there; what is neither found nor too long for the buffer is the caller's to know.
pub fn read_long<'py>(
    py: Python<'py>,
    cache: &CacheBase,
    info: &mut hc_info,
    get: impl Fn(*mut hc_store, *mut c_void, usize, *mut hc_info) -> hc_status + Sync,
) -> PyResult<Result<Bound<'py, PyAny>, hc_status>> {
    struct Shared(*mut u8, *mut hc_info);
    // SAFETY: one thread uses them at a time: the one that waits for the work.
    unsafe impl Sync for Shared {}
    loop {
        // The value may have been written anew since: if it is longer now, it is asked for again.
        let cap = info.len;
        let (object, data) = value::unfilled(py, cap)?;
        let places = Shared(data, info);
        let ask = |store| {
            let Shared(data, info) = &places;
            get(store, data.cast(), cap, *info)
        };
        let status = if cap < LONG { cache.call(py, ask)? } else { cache.long(py, ask)? };
        match status {
            HC_OK if info.r#type == HC_TYPE_BYTES && info.len == cap => return Ok(Ok(object)),
            HC_OK => {
                // SAFETY: the call wrote `len` bytes, at most `cap`.
                let bytes = unsafe { std::slice::from_raw_parts(data, info.len) };
                return value::decode(py, info.r#type, bytes, &cache.codec).map(Ok);
            }
            HC_SMALL_BUFFER => {}
            status => return Ok(Err(status)),
        }
    }
}

/// Looks an object up; NULL if there is no entry.
///
/// # Safety
/// `key` is a live object and stays so.
#[inline]
unsafe fn look_up(
    py: Python<'_>,
    cache: &CacheBase,
    key: *mut ffi::PyObject,
) -> PyResult<*mut ffi::PyObject> {
    let mut scratch = Scratch::default();
    // SAFETY: the caller's word; the scratch outlives the read.
    unsafe {
        let key = key::encode(py, key, &mut scratch)?;
        read(py, cache, key)
    }
}

unsafe extern "C" fn get(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: isize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(|py| {
        let arguments = Arguments { args, count, names };
        let (key, default) = if let Some([key]) = arguments.exactly() {
            (key, ptr::null_mut())
        } else {
            let [key, default] = arguments.spread(py, "get", ["key", "default"], 1)?;
            (key, default)
        };
        // SAFETY: the interpreter's arguments live through the call.
        let found = unsafe { look_up(py, cache(slf), key) }?;
        if !found.is_null() {
            return Ok(found);
        }
        // SAFETY: None never goes.
        Ok(shared(if default.is_null() { unsafe { ffi::Py_None() } } else { default }))
    })
}

/// `c[key]`.
pub fn item<'py>(
    slf: &Bound<'py, CacheBase>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    // SAFETY: the caller holds both objects; what is found is a new reference.
    unsafe {
        let found = look_up(py, slf.get(), key.as_ptr())?;
        if found.is_null() {
            return Err(PyKeyError::new_err((key.clone().unbind(),)));
        }
        Ok(Bound::from_owned_ptr(py, found))
    }
}

/// A write's status: true if it was done, false where the mode or the policy declined.
pub fn written(py: Python<'_>, status: hc_status) -> PyResult<bool> {
    match status {
        HC_OK => Ok(true),
        HC_NOT_ADMITTED | HC_EXISTS | HC_NOT_FOUND => Ok(false),
        _ => Err(error(py, status)),
    }
}

/// Stores an encoded value.
///
/// # Safety
/// The key's and the value's bytes are alive.
#[inline]
pub unsafe fn store_encoded(
    py: Python<'_>,
    cache: &CacheBase,
    key: KeyRef,
    value: &Encoded<'_>,
    options: &hc_put_options,
) -> PyResult<hc_status> {
    struct Shared<'a>(KeyRef, *const u8, usize, &'a hc_put_options);
    // SAFETY: the bytes are only read.
    unsafe impl Sync for Shared<'_> {}
    let parts = Shared(key, value.data(), value.len(), options);
    let put = |store| {
        let Shared(key, data, len, options) = &parts;
        let plain = options.mode == HC_PUT_SET && options.r#type == 0 && options.session == 0;
        // SAFETY: the caller's word for the bytes; the options are a place.
        unsafe {
            if plain {
                hc_set(store, key.data.cast(), key.len, data.cast(), *len, options.ttl_ms)
            } else {
                let options = ptr::from_ref(*options);
                let data = data.cast();
                hc_put(store, key.data.cast(), key.len, data, *len, options, ptr::null_mut())
            }
        }
    };
    if value.len() < LONG { cache.call(py, put) } else { cache.long(py, put) }
}

/// The options of a write with defaults.
pub fn put_options(mode: i32, tag: u32, ttl_ms: u64, session: u64) -> hc_put_options {
    hc_put_options {
        size: size_of::<hc_put_options>(),
        ttl_ms,
        expected_version: 0,
        session,
        soft_ttl_ms: 0,
        idle_ttl_ms: 0,
        mode,
        r#type: tag,
        flags: 0,
        reserved: 0,
    }
}

/// Stores an object under a key.
///
/// # Safety
/// `key` and `object` are live objects and stay so.
#[inline]
pub unsafe fn store_object(
    py: Python<'_>,
    cache: &CacheBase,
    key: *mut ffi::PyObject,
    object: *mut ffi::PyObject,
    mode: i32,
    ttl_ms: u64,
    session: u64,
) -> PyResult<bool> {
    let mut scratch = Scratch::default();
    // SAFETY: the caller's word; scratch and value outlive the write.
    let status = unsafe {
        let key = key::encode(py, key, &mut scratch)?;
        let value = value::encode(py, object, &cache.codec)?;
        let options = put_options(mode, value.tag, ttl_ms, session);
        let status = store_encoded(py, cache, key, &value, &options)?;
        if status == HC_ERR_TOO_LARGE {
            return Err(too_large(py, key.len, value.len()));
        }
        status
    };
    written(py, status)
}

/// The refusal of an entry that could never fit.
#[cold]
pub fn too_large(py: Python<'_>, key: usize, value: usize) -> PyErr {
    let text = format!(
        "the key takes {key} bytes and the value {value}; this cache never has room for that"
    );
    errors::named(py, "TooLargeError", text)
}

/// A write by position or by name: key, value, ttl, session.
///
/// # Safety
/// `slf` is a live `CacheBase`, and the arguments are the interpreter's.
#[inline]
unsafe fn write(
    slf: *mut ffi::PyObject,
    arguments: Arguments,
    call: &str,
    mode: i32,
) -> *mut ffi::PyObject {
    guarded(|py| {
        // SAFETY: the interpreter's arguments live through the call.
        let cache = unsafe { cache(slf) };
        if let Some([key, value]) = arguments.exactly() {
            // SAFETY: as above.
            let done = unsafe { store_object(py, cache, key, value, mode, HC_TTL_DEFAULT, 0) };
            return done.map(bool_object);
        }
        let names = ["key", "value", "ttl", "session"];
        let [key, value, ttl, session] = arguments.spread(py, call, names, 2)?;
        // SAFETY: as above.
        let done = unsafe { write_fully(py, cache, key, value, [ttl, session], mode) };
        done.map(bool_object)
    })
}

/// The number of a session; 0, for none, where it is not given or None.
pub fn session(value: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
    let given = value.filter(|value| !value.is_none());
    given.map_or(Ok(0), |value| whole(value, "session", U64))
}

/// # Safety
/// The pointers are NULL or live objects.
unsafe fn write_fully(
    py: Python<'_>,
    cache: &CacheBase,
    key: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    [ttl_object, session]: [*mut ffi::PyObject; 2],
    mode: i32,
) -> PyResult<bool> {
    // SAFETY: the caller's word.
    let (ttl_object, session, key_object) = unsafe {
        (
            Bound::from_borrowed_ptr_or_opt(py, ttl_object),
            Bound::from_borrowed_ptr_or_opt(py, session),
            Bound::from_borrowed_ptr(py, key),
        )
    };
    let ttl =
        ttl_object.map_or(Ok(Ttl::Lasts(HC_TTL_DEFAULT)), |object| ttl(&object, HC_TTL_DEFAULT))?;
    let session = self::session(session.as_ref())?;
    match ttl {
        // SAFETY: the caller's word.
        Ttl::Lasts(ttl_ms) => unsafe { store_object(py, cache, key, value, mode, ttl_ms, session) },
        // What would be gone at once is not stored; and what it would replace is gone too.
        Ttl::Gone => {
            if mode != HC_PUT_ADD {
                remove(cache, &key_object)?;
            }
            Ok(false)
        }
    }
}

unsafe extern "C" fn set(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: isize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor has checked `slf`.
    unsafe { write(slf, Arguments { args, count, names }, "set", HC_PUT_SET) }
}

unsafe extern "C" fn add(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: isize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor has checked `slf`.
    unsafe { write(slf, Arguments { args, count, names }, "add", HC_PUT_ADD) }
}

unsafe extern "C" fn replace(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: isize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor has checked `slf`.
    unsafe { write(slf, Arguments { args, count, names }, "replace", HC_PUT_REPLACE) }
}

/// Removes an entry; whether it was there.
pub fn remove(cache: &CacheBase, key: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = key.py();
    let mut scratch = Scratch::default();
    // SAFETY: the caller holds the object through this function.
    let key = unsafe { key::encode(py, key.as_ptr(), &mut scratch) }?;
    // SAFETY: the key's bytes are alive.
    let status = cache.call(py, |store| unsafe { hc_delete(store, key.data.cast(), key.len) })?;
    CacheBase::found(py, status)
}

/// Whether there is an entry; counts no access.
pub fn contains(cache: &CacheBase, key: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = key.py();
    let mut scratch = Scratch::default();
    // SAFETY: the caller holds the object through this function.
    let key = unsafe { key::encode(py, key.as_ptr(), &mut scratch) }?;
    // SAFETY: the key's bytes are alive.
    let status = cache.call(py, |store| unsafe { hc_contains(store, key.data.cast(), key.len) })?;
    CacheBase::found(py, status)
}

unsafe extern "C" fn delete(
    slf: *mut ffi::PyObject,
    key: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(|py| {
        // SAFETY: the interpreter's arguments live through the call.
        let (cache, key) = unsafe { (cache(slf), Borrowed::from_ptr(py, key)) };
        remove(cache, &key).map(bool_object)
    })
}

unsafe extern "C" fn get_many(
    slf: *mut ffi::PyObject,
    keys: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(|py| {
        // SAFETY: the interpreter's arguments live through the call.
        let (cache, keys) = unsafe { (cache(slf), Borrowed::from_ptr(py, keys)) };
        crate::batch::get_many(cache, &keys).map(Bound::into_ptr)
    })
}

/// A method definition that lives as long as the process.
struct Method(ffi::PyMethodDef);

// SAFETY: it is never written, and its pointers are to static strings.
unsafe impl Sync for Method {}

const fn method(
    name: &'static CStr,
    call: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> Method {
    Method(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    })
}

const fn method_o(name: &'static CStr, call: ffi::PyCFunction, doc: &'static CStr) -> Method {
    Method(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: call },
        ml_flags: ffi::METH_O,
        ml_doc: doc.as_ptr(),
    })
}

static METHODS: [Method; 6] = [
    method(
        c"get",
        get,
        c"get($self, key, default=None)\n--\n\nThe value under a key, or the default.",
    ),
    method(
        c"set",
        set,
        c"set($self, key, value, ttl=None, session=None)\n--\n\n\
          Stores a value, for `ttl` seconds, in a session; whether it was stored.\n\n\
          False: the policy declined it, or ttl is 0 or less. What the key had is gone either way.",
    ),
    method(
        c"add",
        add,
        c"add($self, key, value, ttl=None, session=None)\n--\n\n\
          Stores a value if the key has none; whether it was stored.",
    ),
    method(
        c"replace",
        replace,
        c"replace($self, key, value, ttl=None, session=None)\n--\n\n\
          Stores a value if the key has one; whether it was stored.",
    ),
    method_o(
        c"delete",
        delete,
        c"delete($self, key, /)\n--\n\nRemoves an entry; whether it was there.",
    ),
    method_o(
        c"get_many",
        get_many,
        c"get_many($self, keys, /)\n--\n\n\
          A dict of those of the keys that are there, with their values.\n\n\
          The keys are looked up together, which is several times as fast as one by one.",
    ),
];

/// Puts the methods on the type.
pub fn install(class: &Bound<'_, pyo3::types::PyType>) -> PyResult<()> {
    for method in &METHODS {
        let definition = &raw const method.0;
        // SAFETY: the definition is static and is only read; the type is ready.
        let descriptor = unsafe {
            let object = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition.cast_mut());
            Bound::from_owned_ptr_or_err(class.py(), object)?
        };
        // SAFETY: the name is a static string.
        let name = unsafe { CStr::from_ptr(method.0.ml_name) };
        class.setattr(name.to_string_lossy().as_ref(), descriptor)?;
    }
    Ok(())
}
