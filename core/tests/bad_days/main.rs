//! Bad input and bad days: each gets its status, nothing is lost or aborted, and every invariant
//! holds afterwards.

mod arguments;
mod common;
