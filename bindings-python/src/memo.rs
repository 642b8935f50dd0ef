//! `Memo`: one memoized function's keys, claims and counters.
//!
//! The key of a call is a tuple: the function's name, the positional arguments as a tuple, and, where
//! there are any, the named ones as a tuple of names and values in order of name. Arguments that are
//! no keys of their own take a private form (`FF 'p'`) that no other key has: a float's eight bytes,
//! None, a tuple of such, or what the package's Python half makes of the object. What is too long
//! becomes a digest of the bytes that it would be, so that length never changes which arguments are
//! equal. All keys of a function begin alike, and clearing it is removing a prefix.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypercache_bindings::key::{MARK, TupleWriter};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::cache::CacheBase;
use crate::key::{self, KeyRef, RawKey, Scratch};
use crate::lease::{Claim, How, Lease, claim};
use crate::stack;

/// The letter of forms that only memoization writes.
const PRIVATE: u8 = b'p';

/// Arguments, and lists of arguments, that take more bytes than this are known by a digest of them.
const LONG: usize = 1024;

/// Tuples nested deeper than this are pickled.
const DEEP: usize = 32;

thread_local! {
    /// Where keys are built.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A memoized function: its keys, claims and counters. Called, it answers a hit without running any
/// Python code. Attributes are for its subclass in Python to have: an instance dict of its own would
/// be made, by CPython 3.11 and 3.12, between the object's memory and what it holds, and a collection
/// that this starts would find nothing there.
#[pyclass(module = "hypercache._native", frozen, subclass)]
pub struct Memo {
    cache: Py<CacheBase>,
    /// The beginning of every key: the tuple's mark and its first part.
    prefix: Vec<u8>,
    /// Writes the other parts of that tuple.
    outer: TupleWriter,
    typed: bool,
    stale: bool,
    /// Makes bytes of an argument that has no form of its own.
    other: Py<PyAny>,
    /// Makes a digest of bytes that are too long.
    digest: Py<PyAny>,
    /// What is memoized.
    function: Py<PyAny>,
    /// Ends a lease with what was loaded: called with both.
    finish: Py<PyAny>,
    /// Ends a lease with the exception that the function raised: called with both.
    failed: Py<PyAny>,
    /// Makes the whole key of the arguments, where the function has its own.
    own_key: Option<Py<PyAny>>,
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
    fn argument(&self, out: &mut Vec<u8>, object: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
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
        if let Ok(tuple) = object.cast_exact::<PyTuple>()
            && depth < DEEP
        {
            // As long as it is: its parts say for themselves what stands for them.
            out.extend_from_slice(&[MARK, PRIVATE, b't']);
            for part in tuple.iter_borrowed() {
                let start = out.len();
                out.extend_from_slice(&[0; size_of::<u64>()]);
                self.argument(out, &part, depth + 1)?;
                let from = start + size_of::<u64>();
                let len = (out.len() - from) as u64;
                out[start..from].copy_from_slice(&len.to_be_bytes());
            }
            return Ok(());
        }
        stack::enough()?;
        let bytes = self.other.bind(object.py()).call1((object,))?;
        out.extend_from_slice(&[MARK, PRIVATE, b'o']);
        out.extend_from_slice(bytes.cast::<PyBytes>()?.as_bytes());
        Ok(())
    }

    /// An argument as a part of a tuple.
    fn part(
        &self,
        out: &mut Vec<u8>,
        tuple: &TupleWriter,
        object: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (mark, start) = (tuple.part(out), out.len());
        self.argument(out, object, 0)?;
        self.shorten(object.py(), out, start)?;
        end(out, tuple, &mark)
    }

    /// Puts a digest in the place of what was written since `start`, if that is long.
    fn shorten(&self, py: Python<'_>, out: &mut Vec<u8>, start: usize) -> PyResult<()> {
        if out.len() - start <= LONG {
            return Ok(());
        }
        let digest = self.digest.bind(py).call1((PyBytes::new(py, &out[start..]),))?;
        out.truncate(start);
        out.extend_from_slice(&[MARK, PRIVATE, b'h']);
        out.extend_from_slice(digest.cast::<PyBytes>()?.as_bytes());
        Ok(())
    }

    /// Appends the parts of a key after the function's name.
    fn arguments(
        &self,
        out: &mut Vec<u8>,
        args: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let (py, outer) = (args.py(), &self.outer);
        let (mark, start) = (outer.part(out), out.len());
        let inner = tuple(out, outer.inner_depth())?;
        for object in args.iter_borrowed() {
            self.part(out, &inner, &object)?;
        }
        self.shorten(py, out, start)?;
        end(out, outer, &mark)?;
        let mut pairs: Vec<(String, Bound<'_, PyAny>)> = match named {
            Some(named) if !named.is_empty() => named.extract_pairs()?,
            _ if !self.typed => return Ok(()),
            _ => Vec::new(),
        };
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let (mark, start) = (outer.part(out), out.len());
        let inner = tuple(out, outer.inner_depth())?;
        for (name, object) in &pairs {
            text_part(out, &inner, name)?;
            self.part(out, &inner, object)?;
        }
        self.shorten(py, out, start)?;
        end(out, outer, &mark)?;
        if self.typed {
            let (mark, start) = (outer.part(out), out.len());
            let inner = tuple(out, outer.inner_depth())?;
            for object in args.iter().chain(pairs.into_iter().map(|(_, object)| object)) {
                text_part(out, &inner, object.get_type().fully_qualified_name()?.to_str()?)?;
            }
            self.shorten(py, out, start)?;
            end(out, outer, &mark)?;
        }
        Ok(())
    }

    /// The key of a call.
    fn key(
        &self,
        args: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
        out: &mut Vec<u8>,
    ) -> PyResult<()> {
        out.extend_from_slice(&self.prefix);
        self.arguments(out, args, named)
    }

    /// Claims the key of a call.
    fn claimed<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
        wait: bool,
    ) -> PyResult<Claim<'py>> {
        let py = args.py();
        let (cache, how) = (self.cache.bind(py), How { wait, stale: self.stale });
        let found = if let Some(own) = &self.own_key {
            stack::enough()?;
            let key = own.bind(py).call(args, named)?;
            let mut scratch = Scratch::default();
            // SAFETY: this function holds the object, and the scratch lives through the call.
            unsafe { claim(cache, key::encode(py, key.as_ptr(), &mut scratch)?, how) }?
        } else {
            // Code that runs meanwhile may come back here: then it takes another.
            let mut key = KEY.take();
            key.clear();
            self.key(args, named, &mut key)?;
            // SAFETY: the vector lives through the call.
            let found = unsafe { claim(cache, KeyRef::of(&key), how) };
            KEY.replace(key);
            found?
        };
        match found {
            Claim::Value(_) | Claim::Absent => self.hits.fetch_add(1, Relaxed),
            Claim::Claimed(_) => self.misses.fetch_add(1, Relaxed),
            Claim::Busy => 0,
        };
        Ok(found)
    }
}

impl Memo {
    /// Calls the function for a lease, from here and not from Python: so a recursive function gets
    /// as deep as the interpreter lets it, with no frames between its own.
    fn load<'py>(
        &self,
        lease: Bound<'py, Lease>,
        args: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = args.py();
        stack::enough()?;
        match self.function.bind(py).call(args, named) {
            Ok(value) => {
                self.finish.bind(py).call1((lease, &value))?;
                Ok(value)
            }
            Err(error) => {
                // Where even that fails, as at the end of the stack, the lease goes with its object.
                let _ = self.failed.bind(py).call1((lease, error.value(py)));
                Err(error)
            }
        }
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
    #[pyo3(signature = (cache, name, typed, stale, other, digest, function, finish, failed, own_key,
                        busy, absent))]
    #[allow(clippy::too_many_arguments, reason = "the package's Python half is the only caller")]
    fn new(
        cache: Py<CacheBase>,
        name: &str,
        typed: bool,
        stale: bool,
        other: Py<PyAny>,
        digest: Py<PyAny>,
        function: Py<PyAny>,
        finish: Py<PyAny>,
        failed: Py<PyAny>,
        own_key: Option<Py<PyAny>>,
        busy: Py<PyAny>,
        absent: Py<PyAny>,
    ) -> PyResult<Self> {
        let mut prefix = Vec::new();
        let outer = tuple(&mut prefix, 1)?;
        text_part(&mut prefix, &outer, name)?;
        let (hits, misses) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self {
            cache,
            prefix,
            outer,
            typed,
            stale,
            other,
            digest,
            function,
            finish,
            failed,
            own_key,
            busy,
            absent,
            hits,
            misses,
        })
    }

    /// The cached result, or the function's.
    #[pyo3(signature = (*args, **named))]
    fn __call__<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = args.py();
        match self.claimed(args, named, true)? {
            Claim::Value(value) => Ok(value),
            Claim::Claimed(lease) => self.load(Bound::new(py, lease)?, args, named),
            Claim::Busy | Claim::Absent => Ok(py.None().into_bound(py)),
        }
    }

    /// The method of an object, as of any function in a class.
    fn __get__<'py>(
        slf: Bound<'py, Self>,
        instance: Bound<'py, PyAny>,
        owner: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = owner;
        if instance.is_none() {
            return Ok(slf.into_any());
        }
        let py = slf.py();
        static METHOD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let method = METHOD
            .get_or_try_init(py, || py.import("types")?.getattr("MethodType").map(Bound::unbind))?;
        method.bind(py).call1((slf, instance))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.cache)?;
        visit.call(&self.other)?;
        visit.call(&self.digest)?;
        visit.call(&self.function)?;
        visit.call(&self.finish)?;
        visit.call(&self.failed)?;
        visit.call(&self.own_key)
    }

    /// The value of a call, a lease to load it, or one of the two marks; does not wait.
    fn claim<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        named: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = args.py();
        Ok(match self.claimed(args, Some(named), false)? {
            Claim::Value(value) => value,
            Claim::Claimed(lease) => Bound::new(py, lease)?.into_any(),
            Claim::Busy => self.busy.bind(py).clone(),
            Claim::Absent => self.absent.bind(py).clone(),
        })
    }

    /// The key of a call: its own, or a tuple, or raw where an argument is no key.
    fn key_of<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        named: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(own) = &self.own_key {
            return own.bind(args.py()).call(args, Some(named));
        }
        let mut key = Vec::new();
        self.key(args, Some(named), &mut key)?;
        key::decode(args.py(), &key)
    }

    /// What all keys of the function begin with.
    #[getter]
    fn prefix(&self) -> RawKey {
        RawKey::of(self.prefix.clone())
    }

    /// Counts a call that waited for another's load, and was answered by it.
    fn waited(&self) {
        self.hits.fetch_add(1, Relaxed);
    }

    /// Calls that were answered from the cache, and those that were not.
    #[getter]
    fn counts(&self) -> (u64, u64) {
        (self.hits.load(Relaxed), self.misses.load(Relaxed))
    }
}
