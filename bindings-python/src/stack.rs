//! How much of the thread's stack is left.
//!
//! A function that calls itself through an extension takes C stack at each step. The interpreter
//! bounds the steps (`sys.setrecursionlimit`) and, before 3.12, knows nothing of the stack: where
//! that bound was raised, what would be a fault becomes a RecursionError here.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;

/// What must be left, in bytes: room for the library's calls, a codec's, and the interpreter's on
/// the way back. Of a small stack, a quarter.
const MARGIN: usize = 128 << 10;

thread_local! {
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// A RecursionError where too little of the stack is left to call on.
pub fn enough() -> PyResult<()> {
    let place = MaybeUninit::<u8>::uninit();
    let here = place.as_ptr().addr();
    let (start, end) = STACK.get().unwrap_or_else(|| {
        let Range { start, end } = addresses();
        STACK.set(Some((start, end)));
        (start, end)
    });
    let margin = MARGIN.min((end - start) / 4);
    // Whoever runs threads on stacks of its own (as some coroutine libraries do) knows their ends.
    if (start..end).contains(&here) && here - start < margin {
        return Err(PyRecursionError::new_err(
            "maximum recursion depth exceeded: the thread's stack is used up",
        ));
    }
    Ok(())
}

/// Where the calling thread's stack lies; empty if the system does not say.
fn addresses() -> Range<usize> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut start, mut len) = (ptr::null_mut(), 0);
    // SAFETY: the first call fills the attributes in, if it succeeds; the second only reads them;
    // the third gives back what the first allocated.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return 0..0;
        }
        libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut len);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
    let start = start.addr();
    start..start + len
}
