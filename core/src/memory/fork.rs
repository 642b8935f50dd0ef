//! Telling a forked child from its parent.
//!
//! The slot table lies in pages that the kernel wipes in a child (`MADV_WIPEONFORK`; where it
//! cannot, a `pthread_atfork` handler wipes them). Its first word holds the *generation*, a number
//! that is 1 in the first process. A child finds 0 there, moves on to the next generation, and
//! thereby turns every handle it inherited into one of another generation: calls on them answer
//! [`ErrorKind::Forked`].

use super::guard;
use crate::error::{Error, ErrorKind, Result};

/// The generation of the calling process, never 0.
#[inline]
#[must_use]
pub fn generation() -> u64 {
    let seen = guard::generation_word();
    if seen == 0 { guard::begin_generation() } else { seen }
}

/// Fails with [`ErrorKind::Forked`] for a handle that was made in another generation.
#[inline]
pub fn check(made_in: u64) -> Result<()> {
    if generation() == made_in { Ok(()) } else { Err(FORKED) }
}

/// The failure of a handle that belongs to the parent process.
pub const FORKED: Error = Error::fixed(
    ErrorKind::Forked,
    "the handle belongs to the parent process; create or open pools anew after fork",
);
