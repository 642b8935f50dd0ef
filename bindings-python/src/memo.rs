//! `Memo`: one memoized function's keys, claims and counters.
//!
//! The key of a call is a tuple: the function's name, the positional arguments as a tuple, and, where
//! there are any, the named ones as a tuple of names and values in order of name. Arguments that are
//! no keys of their own take a private form (`FF 'p'`) that no other key has: a float's eight bytes,
//! None, or what the package's Python half makes of the object. So all keys of a function begin
//! alike, and clearing it is removing a prefix.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypercache_bindings::key::{MARK, TupleWriter};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyString, PyTuple};

use crate::cache::CacheBase;
use crate::key::{self, KeyRef, RawKey, Scratch};
use crate::lease::{Claim, How, claim};

/// The letter of forms that only memoization writes.
const PRIVATE: u8 = b'p';

/// Calls whose arguments take more bytes than this are known by a digest of them.
const LONG: usize = 1024;

/// The keys, claims and counters of a memoized function.
#[pyclass(module = "hypercache._native", frozen)]
pub struct Memo {
    cache: Py<CacheBase>,
    /// The beginning of every key: the tuple's mark and its first part.
    prefix: Vec<u8>,
    typed: bool,
    stale: bool,
    /// Makes bytes of an argument that has no form of its own.
    other: Py<PyAny>,
    /// Makes a digest of long arguments.
    digest: Py<PyAny>,
    busy: Py<PyAny>,
    absent: Py<PyAny>,
    hits: AtomicU64,
    misses: AtomicU64,
}

fn text_part(out: &mut Vec<u8>, tuple: &TupleWriter, text: &str) -> PyResult<()> {
    let mark = tuple.part(out);
    out.extend_from_slice(text.as_bytes());
    end(out, tuple, &mark)
}

fn end(
    out: &mut [u8],
    tuple: &TupleWriter,
    mark: &hypercache_bindings::key::PartMark,
) -> PyResult<()> {
    tuple.end_part(out, mark).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn tuple(out: &mut Vec<u8>, depth: usize) -> PyResult<TupleWriter> {
    TupleWriter::begin(out, depth).map_err(|error| PyValueError::new_err(error.to_string()))
}

impl Memo {
    fn argument(&self, out: &mut Vec<u8>, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(float) = object.cast_exact::<PyFloat>() {
            out.extend_from_slice(&[MARK, PRIVATE, b'f']);
            // 0.0 and -0.0 are equal, but a function may tell them apart.
            out.extend_from_slice(&float.value().to_be_bytes());
            return Ok(());
        }
        if object.is_none() {
            out.extend_from_slice(&[MARK, PRIVATE, b'n']);
            return Ok(());
        }
        let plain = object.is_exact_instance_of::<PyString>()
            || object.is_exact_instance_of::<PyInt>()
            || object.is_exact_instance_of::<PyBytes>();
        let start = out.len();
        // A tuple is a key if its parts are; bool is int's kin.
        if (plain
            || object.is_exact_instance_of::<PyTuple>()
            || object.is_exact_instance_of::<pyo3::types::PyBool>())
            && key::push(object, out, 3).is_ok()
        {
            return Ok(());
        }
        out.truncate(start);
        let bytes = self.other.bind(object.py()).call1((object,))?;
        out.extend_from_slice(&[MARK, PRIVATE, b'o']);
        out.extend_from_slice(bytes.cast::<PyBytes>()?.as_bytes());
        Ok(())
    }

    fn arguments(
        &self,
        out: &mut Vec<u8>,
        args: &Bound<'_, PyTuple>,
        named: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let outer = tuple(&mut Vec::new(), 1)?;
        let mark = outer.part(out);
        let inner = tuple(out, outer.inner_depth())?;
        for object in args.iter_borrowed() {
            let mark = inner.part(out);
            self.argument(out, &object)?;
            end(out, &inner, &mark)?;
        }
        end(out, &outer, &mark)?;
        if named.is_empty() && !self.typed {
            return Ok(());
        }
        let mut pairs: Vec<(String, Bound<'_, PyAny>)> = named.extract_pairs()?;
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let mark = outer.part(out);
        let inner = tuple(out, outer.inner_depth())?;
        for (name, object) in &pairs {
            text_part(out, &inner, name)?;
            let mark = inner.part(out);
            self.argument(out, object)?;
            end(out, &inner, &mark)?;
        }
        end(out, &outer, &mark)?;
        if self.typed {
            let mark = outer.part(out);
            let inner = tuple(out, outer.inner_depth())?;
            for object in args.iter().chain(pairs.into_iter().map(|(_, object)| object)) {
                text_part(out, &inner, object.get_type().fully_qualified_name()?.to_str()?)?;
            }
            end(out, &outer, &mark)?;
        }
        Ok(())
    }

    /// The key of a call.
    fn key(
        &self,
        args: &Bound<'_, PyTuple>,
        named: &Bound<'_, PyDict>,
        out: &mut Vec<u8>,
    ) -> PyResult<()> {
        out.extend_from_slice(&self.prefix);
        let long = match self.arguments(out, args, named) {
            Ok(()) => out.len() - self.prefix.len() > LONG,
            // A part that is longer than a key may be: known by a digest as well.
            Err(error) if error.is_instance_of::<PyValueError>(args.py()) => true,
            Err(error) => return Err(error),
        };
        if long {
            out.truncate(self.prefix.len());
            let digest = self.digest.bind(args.py()).call1((args, named))?;
            let outer = tuple(&mut Vec::new(), 1)?;
            let mark = outer.part(out);
            out.extend_from_slice(&[MARK, PRIVATE, b'h']);
            out.extend_from_slice(digest.cast::<PyBytes>()?.as_bytes());
            end(out, &outer, &mark)?;
        }
        Ok(())
    }

    /// Claims the bytes of a key.
    ///
    /// # Safety
    /// They stay alive through the call.
    unsafe fn claimed(&self, py: Python<'_>, key: KeyRef, wait: bool) -> PyResult<Py<PyAny>> {
        // SAFETY: the caller's word.
        let found = unsafe { claim(self.cache.bind(py), key, How { wait, stale: self.stale }) }?;
        Ok(match found {
            Claim::Value(value) => {
                self.hits.fetch_add(1, Relaxed);
                value.unbind()
            }
            Claim::Claimed(lease) => {
                self.misses.fetch_add(1, Relaxed);
                Bound::new(py, lease)?.into_any().unbind()
            }
            Claim::Busy => self.busy.clone_ref(py),
            Claim::Absent => {
                self.hits.fetch_add(1, Relaxed);
                self.absent.clone_ref(py)
            }
        })
    }
}

trait Pairs<'py> {
    fn extract_pairs(&self) -> PyResult<Vec<(String, Bound<'py, PyAny>)>>;
}

impl<'py> Pairs<'py> for Bound<'py, PyDict> {
    fn extract_pairs(&self) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
        self.iter().map(|(name, object)| Ok((name.extract()?, object))).collect()
    }
}

#[pymethods]
impl Memo {
    #[new]
    #[allow(clippy::too_many_arguments, reason = "the package's Python half is the only caller")]
    fn new(
        cache: Py<CacheBase>,
        name: &str,
        typed: bool,
        stale: bool,
        other: Py<PyAny>,
        digest: Py<PyAny>,
        busy: Py<PyAny>,
        absent: Py<PyAny>,
    ) -> PyResult<Self> {
        let mut prefix = Vec::new();
        let outer = tuple(&mut prefix, 1)?;
        text_part(&mut prefix, &outer, name)?;
        let (hits, misses) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { cache, prefix, typed, stale, other, digest, busy, absent, hits, misses })
    }

    /// The value of a call, a lease to load it, or one of the two marks.
    fn claim(
        &self,
        args: &Bound<'_, PyTuple>,
        named: &Bound<'_, PyDict>,
        wait: bool,
    ) -> PyResult<Py<PyAny>> {
        let mut key = Vec::with_capacity(128);
        self.key(args, named, &mut key)?;
        // SAFETY: the vector lives through the call.
        unsafe { self.claimed(args.py(), KeyRef::of(&key), wait) }
    }

    /// The same for a key that the caller has made.
    fn claim_key(&self, key: &Bound<'_, PyAny>, wait: bool) -> PyResult<Py<PyAny>> {
        let mut scratch = Scratch::default();
        // SAFETY: the caller holds the object, and the scratch lives through the call.
        unsafe {
            let bytes = key::encode(key.py(), key.as_ptr(), &mut scratch)?;
            self.claimed(key.py(), bytes, wait)
        }
    }

    /// The key of a call: a tuple, or raw where an argument is no key.
    fn key_of<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        named: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut key = Vec::new();
        self.key(args, named, &mut key)?;
        key::decode(args.py(), &key)
    }

    /// What all keys of the function begin with.
    #[getter]
    fn prefix(&self) -> RawKey {
        RawKey::of(self.prefix.clone())
    }

    /// Calls that were answered from the cache, and those that were not.
    #[getter]
    fn counts(&self) -> (u64, u64) {
        (self.hits.load(Relaxed), self.misses.load(Relaxed))
    }
}
