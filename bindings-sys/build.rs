//! Makes the library that extension modules are linked with: a stub.
//!
//! It has the name and the versioned symbols of the real one and no code. So an extension names
//! `libhypercache.so.0` and each call it makes as `hc_...@HC_0.1`, exactly as if it had been linked
//! with the installed library, and building it needs no library to be built before. The stub has
//! no file name that the loader would look for.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const CALLS: &str = "src/calls.rs";
const MAP: &str = "../ffi/packaging/hypercache.map";

fn main() -> Result<(), Box<dyn Error>> {
    for file in ["build.rs", CALLS, MAP] {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-env-changed=CC");
    let folder = env::var("OUT_DIR")?;
    let folder = Path::new(&folder);
    let mut text = String::new();
    for name in names(&fs::read_to_string(CALLS)?) {
        writeln!(text, "void {name}(void) {{}}")?;
    }
    let source = folder.join("stub.c");
    fs::write(&source, text)?;
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut link = Command::new(&compiler);
    link.args(["-shared", "-fPIC", "-nostdlib", "-Wl,-soname,libhypercache.so.0"]);
    link.arg(format!("-Wl,--version-script={MAP}"));
    link.arg("-o").arg(folder.join("libhypercache.so")).arg(source);
    let status = link.status().map_err(|error| format!("cannot run {compiler}: {error}"))?;
    if !status.success() {
        return Err(format!("{compiler} cannot make the stub library: {status}").into());
    }
    println!("cargo:rustc-link-search=native={}", folder.display());
    println!("cargo:rustc-link-lib=dylib=hypercache");
    Ok(())
}

/// The functions that the crate declares.
fn names(calls: &str) -> impl Iterator<Item = &str> {
    calls.split("fn ").skip(1).filter_map(|rest| {
        let name = rest.split('(').next()?;
        name.starts_with("hc_").then_some(name)
    })
}
