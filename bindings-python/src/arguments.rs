//! What callers pass: the arguments of a call in the interpreter's own convention
//! (`METH_FASTCALL`), and values that are refused by name.

use std::ptr;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyInt;

/// The arguments as the interpreter passes them.
#[derive(Clone, Copy)]
pub struct Arguments {
    pub args: *const *mut ffi::PyObject,
    pub count: isize,
    pub names: *mut ffi::PyObject,
}

impl Arguments {
    /// The first positional arguments where there are exactly so many and no named ones.
    #[inline]
    pub fn exactly<const N: usize>(self) -> Option<[*mut ffi::PyObject; N]> {
        if self.names.is_null() && self.count == N.cast_signed() {
            // SAFETY: the interpreter passes `count` pointers.
            return Some(unsafe { *self.args.cast() });
        }
        None
    }

    /// Arguments by position or by name; those that are not given are NULL. The first `required`
    /// must be given.
    #[cold]
    pub fn spread<const N: usize>(
        self,
        py: Python<'_>,
        call: &str,
        parameters: [&str; N],
        required: usize,
    ) -> PyResult<[*mut ffi::PyObject; N]> {
        let mut found = [ptr::null_mut(); N];
        let positional = self.count.cast_unsigned();
        if positional > N {
            return Err(PyTypeError::new_err(format!(
                "{call}() takes at most {N} arguments ({positional} given)"
            )));
        }
        // SAFETY: the interpreter passes `count` positional arguments, then the named ones.
        let given = |at: usize| unsafe { *self.args.add(at) };
        for (at, place) in found.iter_mut().enumerate().take(positional) {
            *place = given(at);
        }
        if !self.names.is_null() {
            // SAFETY: the interpreter passes a tuple of the names.
            let names = unsafe { Borrowed::from_ptr(py, self.names) };
            for (at, name) in names.try_iter()?.enumerate() {
                let name = name?;
                let name: &str = name.extract()?;
                let Some(place) = parameters.iter().position(|parameter| *parameter == name) else {
                    return Err(PyTypeError::new_err(format!(
                        "{call}() got an unexpected keyword argument '{name}'"
                    )));
                };
                if !found[place].is_null() {
                    return Err(PyTypeError::new_err(format!(
                        "{call}() got multiple values for argument '{name}'"
                    )));
                }
                found[place] = given(positional + at);
            }
        }
        for (name, object) in parameters.iter().zip(&found).take(required) {
            if object.is_null() {
                return Err(PyTypeError::new_err(format!(
                    "{call}() missing required argument: '{name}'"
                )));
            }
        }
        Ok(found)
    }
}

/// The range of an unsigned integer of 64 bits.
pub const U64: &str = "0 to 2^64 - 1";

/// The range of a signed integer of 64 bits.
pub const I64: &str = "-2^63 to 2^63 - 1";

/// The range of an unsigned integer of 32 bits.
pub const U32: &str = "0 to 2^32 - 1";

/// An integer; `range` says what its type holds.
pub fn whole<'a, 'py, T: FromPyObject<'a, 'py>>(
    value: &'a Bound<'py, PyAny>,
    what: &str,
    range: &str,
) -> PyResult<T> {
    value.extract().map_err(|_| {
        let text = format!("{what} is {}; it takes an int from {range}", shown(value));
        if value.is_instance_of::<PyInt>() {
            PyValueError::new_err(text)
        } else {
            PyTypeError::new_err(text)
        }
    })
}

/// What `takes` describes, such as "a number" or "a Pool".
pub fn of_type<'a, 'py, T: FromPyObject<'a, 'py>>(
    value: &'a Bound<'py, PyAny>,
    what: &str,
    takes: &str,
) -> PyResult<T> {
    value
        .extract()
        .map_err(|_| PyTypeError::new_err(format!("{what} is {}; it takes {takes}", shown(value))))
}

/// An object as messages show it, cut if it is long.
pub fn shown(value: &Bound<'_, PyAny>) -> String {
    const MOST: usize = 100;
    let text = value.repr().map_or_else(|_| "?".into(), |text| text.to_string());
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
