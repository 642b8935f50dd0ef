//! Gives the shared library that cargo links its name and keeps it loaded, and stamps the build.
//!
//! The *installed* library is linked once more from the static one, with the version script (see
//! `packaging/`): rustc passes the linker an anonymous version script of its own, and GNU ld
//! refuses a named one beside it.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=HYPERCACHE_COMMIT");
    let set = |name: &str, value: String| println!("cargo:rustc-env={name}={value}");
    let get = |name: &str| env::var(name).unwrap_or_else(|_| "unknown".into());
    set("HC_BUILD_TARGET", get("TARGET"));
    set("HC_BUILD_PROFILE", get("PROFILE"));
    set("HC_BUILD_COMMIT", get("HYPERCACHE_COMMIT"));
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libhypercache.so.0");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
