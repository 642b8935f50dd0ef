//! Which library this is.

use std::ffi::c_char;

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
