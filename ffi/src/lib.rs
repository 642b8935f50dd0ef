//! The C boundary of HyperCache: translation and nothing else.
#![allow(non_camel_case_types, reason = "the names are those of include/hypercache.h")]

mod version;

pub use version::*;
