//! Which library this is.

use std::ffi::{CStr, c_char};

use crate::abi::*;

/// The version in one number: a byte a part, the lowest byte zero.
#[unsafe(no_mangle)]
pub extern "C" fn hc_version_number() -> u32 {
    const fn part(text: &str) -> u32 {
        let bytes = text.as_bytes();
        let (mut value, mut at) = (0, 0);
        while at < bytes.len() {
            value = value * 10 + (bytes[at] - b'0') as u32;
            at += 1;
        }
        value
    }
    const NUMBER: u32 = (part(env!("CARGO_PKG_VERSION_MAJOR")) << 24)
        | (part(env!("CARGO_PKG_VERSION_MINOR")) << 16)
        | (part(env!("CARGO_PKG_VERSION_PATCH")) << 8);
    NUMBER
}

/// The version as text.
#[unsafe(no_mangle)]
pub extern "C" fn hc_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Version, commit, target and build options on one line.
#[unsafe(no_mangle)]
pub extern "C" fn hc_build_info() -> *const c_char {
    concat!(
        "hypercache ",
        env!("CARGO_PKG_VERSION"),
        " commit ",
        env!("HC_BUILD_COMMIT"),
        " target ",
        env!("HC_BUILD_TARGET"),
        " profile ",
        env!("HC_BUILD_PROFILE"),
        "\0"
    )
    .as_ptr()
    .cast()
}

/// A status by its name in the header.
#[unsafe(no_mangle)]
pub extern "C" fn hc_status_name(status: hc_status) -> *const c_char {
    let name: &CStr = match status {
        HC_OK => c"HC_OK",
        HC_NOT_FOUND => c"HC_NOT_FOUND",
        HC_EXISTS => c"HC_EXISTS",
        HC_CONFLICT => c"HC_CONFLICT",
        HC_NOT_ADMITTED => c"HC_NOT_ADMITTED",
        HC_SMALL_BUFFER => c"HC_SMALL_BUFFER",
        HC_DONE => c"HC_DONE",
        HC_CLAIMED => c"HC_CLAIMED",
        HC_TIMEOUT => c"HC_TIMEOUT",
        HC_PARTIAL => c"HC_PARTIAL",
        HC_WRONG_TYPE => c"HC_WRONG_TYPE",
        HC_OVERFLOW => c"HC_OVERFLOW",
        HC_LOAD_FAILED => c"HC_LOAD_FAILED",
        HC_ERR_INVALID => c"HC_ERR_INVALID",
        HC_ERR_UNSUPPORTED => c"HC_ERR_UNSUPPORTED",
        HC_ERR_TOO_LARGE => c"HC_ERR_TOO_LARGE",
        HC_ERR_NO_SPACE => c"HC_ERR_NO_SPACE",
        HC_ERR_NO_MEMORY => c"HC_ERR_NO_MEMORY",
        HC_ERR_CLOSED => c"HC_ERR_CLOSED",
        HC_ERR_FORKED => c"HC_ERR_FORKED",
        HC_ERR_IO => c"HC_ERR_IO",
        HC_ERR_CORRUPT => c"HC_ERR_CORRUPT",
        HC_ERR_POISONED => c"HC_ERR_POISONED",
        HC_ERR_INTERNAL => c"HC_ERR_INTERNAL",
        HC_ERR_DEADLOCK => c"HC_ERR_DEADLOCK",
        _ => c"HC_UNKNOWN",
    };
    name.as_ptr()
}
