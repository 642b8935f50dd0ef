//! Many keys at once: the library looks them up together, so that their memory accesses overlap.
//!
//! Batches are cut into chunks whose arrays fit the stack; between two of them a signal is seen. Keys that are not text are encoded one
//! after another into one buffer, whose place is fixed before anything points into it.

use std::cell::RefCell;
use std::ptr;

use hypercache_sys::*;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyString, PyTuple};

use crate::cache::CacheBase;
use crate::errors::error;
use crate::hot::{LONG, put_options, read, too_large, written};
use crate::key::{self, KeyRef, Scratch};
use crate::open::{Ttl, ttl};
use crate::value::{self, Encoded};

/// Keys a call of the library: enough for their accesses to overlap, few enough for the stack.
const CHUNK: usize = 64;

/// Where the values of a chunk are copied to, in bytes. What does not fit is read alone.
const BUFFER: usize = 64 << 10;

thread_local! {
    static VALUES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The keys of a chunk as slices, and what those point into.
struct Keys {
    slices: [hc_slice; CHUNK],
    /// Encoded keys, and which slices they are: by place until all are there.
    encoded: Vec<u8>,
    places: Vec<(usize, usize, usize)>,
}

impl Keys {
    fn new() -> Self {
        let slices = [hc_slice { data: ptr::null(), len: 0 }; CHUNK];
        Self { slices, encoded: Vec::new(), places: Vec::new() }
    }

    /// Takes the keys of up to [`CHUNK`] objects.
    ///
    /// # Safety
    /// The objects stay alive while the slices are used.
    unsafe fn fill<'py>(
        &mut self,
        py: Python<'py>,
        objects: impl Iterator<Item = Borrowed<'py, 'py, PyAny>>,
    ) -> PyResult<()> {
        self.encoded.clear();
        self.places.clear();
        for (at, object) in objects.enumerate().take(CHUNK) {
            // SAFETY: a live object, by the caller's word.
            let text = unsafe { ffi::PyUnicode_CheckExact(object.as_ptr()) } != 0;
            if text {
                let mut none = Scratch::default();
                // SAFETY: the caller keeps the object alive; a str does not use the scratch.
                let key = unsafe { key::encode(py, object.as_ptr(), &mut none) }?;
                self.slices[at] = hc_slice { data: key.data.cast(), len: key.len };
            } else {
                let start = self.encoded.len();
                key::push_bounded(&object, &mut self.encoded)?;
                self.places.push((at, start, self.encoded.len() - start));
            }
        }
        for &(at, start, len) in &self.places {
            let data = self.encoded[start..start + len].as_ptr();
            self.slices[at] = hc_slice { data: data.cast(), len };
        }
        Ok(())
    }
}

/// The keys of any iterable but a key: a str is one of its characters, which nobody means.
pub fn many<'py>(keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyIterator>> {
    not_one(keys)?;
    keys.try_iter()
}

fn not_one(keys: &Bound<'_, PyAny>) -> PyResult<()> {
    if keys.is_instance_of::<PyString>() || keys.is_instance_of::<PyBytes>() {
        return Err(PyTypeError::new_err("keys is one key; it takes an iterable of keys"));
    }
    Ok(())
}

/// The items of any iterable, held.
fn held<'py>(keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    not_one(keys)?;
    // SAFETY: a live object; the answer is a new reference or NULL with an error.
    unsafe {
        let tuple = ffi::PySequence_Tuple(keys.as_ptr());
        Ok(Bound::from_owned_ptr_or_err(keys.py(), tuple)?.cast_into_unchecked())
    }
}

/// The entries that are there, as a dict.
pub fn get_many<'py>(cache: &CacheBase, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = keys.py();
    let keys = held(keys)?;
    let found = PyDict::new(py);
    // A codec's own code may come back here while the buffer is in use: then it takes another.
    let mut buffer = VALUES.take();
    if buffer.capacity() == 0 {
        buffer.reserve_exact(BUFFER);
    }
    let mut chunk = Keys::new();
    let mut at = 0;
    while at < keys.len() {
        let n = CHUNK.min(keys.len() - at);
        get_chunk(cache, &keys, at..at + n, &mut chunk, &mut buffer, &found)?;
        at += n;
        if at < keys.len() {
            py.check_signals()?;
        }
    }
    VALUES.replace(buffer);
    Ok(found.into_any())
}

fn get_chunk(
    cache: &CacheBase,
    keys: &Bound<'_, PyTuple>,
    range: std::ops::Range<usize>,
    chunk: &mut Keys,
    buffer: &mut Vec<u8>,
    found: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let py = keys.py();
    let n = range.len();
    // SAFETY: the index is in the tuple, which is held and holds its items.
    let key_at = |at: usize| unsafe {
        let item = ffi::PyTuple_GetItem(keys.as_ptr(), at.cast_signed());
        Borrowed::from_ptr(py, item)
    };
    // SAFETY: the tuple holds the objects.
    unsafe { chunk.fill(py, range.clone().map(key_at)) }?;
    let mut values = [hc_slice { data: ptr::null(), len: 0 }; CHUNK];
    let mut types = [0_u32; CHUNK];
    let mut statuses = [0; CHUNK];
    // SAFETY: the slices are keys, the buffer has its capacity, the arrays have n places.
    let status = cache.call(py, |store| unsafe {
        let (data, cap) = (buffer.as_mut_ptr().cast(), buffer.capacity());
        let (keys, values) = (chunk.slices.as_ptr(), values.as_mut_ptr());
        let (types, statuses) = (types.as_mut_ptr(), statuses.as_mut_ptr());
        hc_get_many(store, keys, n, 0, data, cap, values, types, statuses)
    })?;
    if status < 0 {
        return Err(error(py, status));
    }
    for (i, at) in range.enumerate() {
        let object = match statuses[i] {
            HC_OK => {
                // SAFETY: with this status the value points to `len` bytes in the buffer.
                let bytes = unsafe {
                    std::slice::from_raw_parts(values[i].data.cast::<u8>(), values[i].len)
                };
                value::decode(py, types[i], bytes, &cache.codec)?
            }
            HC_SMALL_BUFFER => {
                let slice = chunk.slices[i];
                // SAFETY: the slice is still the key; what is read is a new reference or NULL.
                unsafe {
                    let key = KeyRef { data: slice.data.cast(), len: slice.len };
                    let object = read(py, cache, key)?;
                    match Bound::from_owned_ptr_or_opt(py, object) {
                        Some(object) => object,
                        None => continue,
                    }
                }
            }
            HC_NOT_FOUND => continue,
            status => return Err(error(py, status)),
        };
        // SAFETY: all three are live objects.
        let done =
            unsafe { ffi::PyDict_SetItem(found.as_ptr(), key_at(at).as_ptr(), object.as_ptr()) };
        if done != 0 {
            return Err(PyErr::fetch(py));
        }
    }
    Ok(())
}

/// Stores the entries of a mapping, or pairs; how many were stored.
pub fn set_many(
    cache: &CacheBase,
    entries: &Bound<'_, PyAny>,
    ttl_object: Option<&Bound<'_, PyAny>>,
    session: u64,
) -> PyResult<usize> {
    let py = entries.py();
    let ttl = ttl_object
        .map_or(Ok(Ttl::Lasts(HC_TTL_DEFAULT)), |ttl_object| ttl(ttl_object, HC_TTL_DEFAULT))?;
    let (keys, objects) = pairs(entries)?;
    let Ttl::Lasts(ttl_ms) = ttl else {
        delete_objects(cache, &keys)?;
        return Ok(0);
    };
    let mut chunk = Keys::new();
    let mut stored = 0;
    for (keys, objects) in keys.chunks(CHUNK).zip(objects.chunks(CHUNK)) {
        let mut values: Vec<Encoded<'_>> = Vec::with_capacity(CHUNK);
        for object in objects {
            // SAFETY: the vector holds the object.
            values.push(unsafe { value::encode(py, object.as_ptr(), &cache.codec) }?);
        }
        // SAFETY: the vector holds the objects.
        unsafe { chunk.fill(py, keys.iter().map(|key| Borrowed::from_ptr(py, key.as_ptr()))) }?;
        let entries: Vec<hc_entry> = chunk
            .slices
            .iter()
            .zip(&values)
            .map(|(key, value)| hc_entry {
                key: *key,
                value: hc_slice { data: value.data().cast(), len: value.len() },
                ttl_ms,
                expected_version: 0,
                session,
                soft_ttl_ms: 0,
                idle_ttl_ms: 0,
                r#type: value.tag,
                flags: 0,
            })
            .collect();
        stored += put_chunk(cache, py, &entries, ttl_ms)?;
        if entries.len() == CHUNK {
            py.check_signals()?;
        }
    }
    Ok(stored)
}

/// Stores up to [`CHUNK`] entries, whose keys and values the caller holds; how many were stored.
fn put_chunk(
    cache: &CacheBase,
    py: Python<'_>,
    entries: &[hc_entry],
    ttl_ms: u64,
) -> PyResult<usize> {
    struct Shared<'a>(&'a [hc_entry], *mut hc_status, hc_put_options);
    // SAFETY: the entries are only read, and nobody changes their bytes: keys and values are
    // immutable objects or buffers of this batch. The statuses are written by one thread at a time:
    // the one that waits for the work.
    unsafe impl Sync for Shared<'_> {}
    let mut statuses = [0; CHUNK];
    let options = put_options(HC_PUT_SET, 0, ttl_ms, 0);
    let parts = Shared(entries, statuses.as_mut_ptr(), options);
    let put = |store| {
        let Shared(entries, statuses, options) = &parts;
        // SAFETY: keys and values are alive, and there are as many statuses as entries, or more.
        unsafe { hc_put_many(store, entries.as_ptr(), entries.len(), options, *statuses) }
    };
    let bytes: usize = entries.iter().map(|entry| entry.value.len).sum();
    let status = if bytes < LONG { cache.call(py, put) } else { cache.long(py, put) }?;
    if status < 0 {
        return Err(error(py, status));
    }
    let mut stored = 0;
    for (status, entry) in statuses.iter().zip(entries) {
        if *status == HC_ERR_TOO_LARGE {
            return Err(too_large(py, entry.key.len, entry.value.len));
        }
        stored += usize::from(written(py, *status)?);
    }
    Ok(stored)
}

type Objects<'py> = Vec<Bound<'py, PyAny>>;

/// The keys and the values of a mapping, or of an iterable of pairs, held: encoding values may run
/// code that changes the mapping.
fn pairs<'py>(entries: &Bound<'py, PyAny>) -> PyResult<(Objects<'py>, Objects<'py>)> {
    if let Ok(dict) = entries.cast_exact::<PyDict>() {
        // Without the interpreter's lock another thread may change it meanwhile.
        let dict = if cfg!(Py_GIL_DISABLED) { dict.copy()? } else { dict.clone() };
        return Ok(dict.iter().unzip());
    }
    let (mut keys, mut objects) = (Vec::new(), Vec::new());
    let entries = if !entries.hasattr("keys")? {
        entries.clone()
    } else if entries.hasattr("items")? {
        entries.call_method0("items")?
    } else {
        // What has keys is a mapping for dict.update, whatever else a mapping has.
        for key in entries.call_method0("keys")?.try_iter()? {
            let key = key?;
            objects.push(entries.get_item(&key)?);
            keys.push(key);
        }
        return Ok((keys, objects));
    };
    for (at, pair) in entries.try_iter()?.enumerate() {
        // A pair is what has two parts, as dict.update takes it.
        let parts: Vec<Bound<'_, PyAny>> = pair?.try_iter()?.collect::<PyResult<_>>()?;
        let [key, object] = <[_; 2]>::try_from(parts).map_err(|parts: Vec<_>| {
            PyValueError::new_err(format!("item {at} has {} parts; a pair has 2", parts.len()))
        })?;
        keys.push(key);
        objects.push(object);
    }
    Ok((keys, objects))
}

/// Removes keys; how many were there.
pub fn delete_many(cache: &CacheBase, keys: &Bound<'_, PyAny>) -> PyResult<u64> {
    let keys: Vec<_> = held(keys)?.iter().collect();
    delete_objects(cache, &keys)
}

fn delete_objects(cache: &CacheBase, keys: &[Bound<'_, PyAny>]) -> PyResult<u64> {
    let mut chunk = Keys::new();
    let mut deleted = 0;
    for keys in keys.chunks(CHUNK) {
        let Some(first) = keys.first() else { break };
        let py = first.py();
        // SAFETY: the slice holds the objects.
        unsafe { chunk.fill(py, keys.iter().map(|key| Borrowed::from_ptr(py, key.as_ptr()))) }?;
        let mut count = 0;
        // SAFETY: the slices are keys, `count` is a place.
        let status = cache.call(py, |store| unsafe {
            hc_delete_many(store, chunk.slices.as_ptr(), keys.len(), &raw mut count)
        })?;
        if status < 0 {
            return Err(error(py, status));
        }
        deleted += count;
        if keys.len() == CHUNK {
            py.check_signals()?;
        }
    }
    Ok(deleted)
}
