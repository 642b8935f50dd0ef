//! The rules that the packages for other languages share, and that the C interface has no word on.
//!
//! A key of Python and the same key of Node are one entry, `"64MiB"` is the same number in both,
//! and a failure reads the same. None of it knows a cache: limits, defaults and statuses are the
//! core's, and what is written here is only how a language spells them.
//!
//! - [`key`]: keys that are not text, as bytes;
//! - [`bytes`]: byte sizes as text, and shares of the machine's memory;
//! - [`time`]: times to live as a language gives them;
//! - [`policy`]: policies by name;
//! - [`status`]: what a status means, as a sentence.

pub mod bytes;
pub mod key;
pub mod policy;
pub mod status;
pub mod time;
