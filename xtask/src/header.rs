//! `cargo xtask header`: the C header against the Rust side of the C interface.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::tree::Tree;

pub fn run(tree: &Tree, only_check: bool) -> Result<ExitCode> {
    if only_check {
        check(tree)?;
        println!("include/hypercache.h says what the library does.");
        return Ok(ExitCode::SUCCESS);
    }
    let path = tree.root.join("include/hypercache.h");
    std::fs::write(&path, generated(tree)?).context("cannot write include/hypercache.h")?;
    println!("Wrote include/hypercache.h.");
    Ok(ExitCode::SUCCESS)
}

/// Fails where the committed header and the generated one differ.
pub fn check(tree: &Tree) -> Result<()> {
    let committed = std::fs::read_to_string(tree.root.join("include/hypercache.h"))
        .context("cannot read include/hypercache.h")?;
    let generated = generated(tree)?;
    if committed == generated {
        return Ok(());
    }
    let line = committed.lines().zip(generated.lines()).take_while(|(a, b)| a == b).count();
    bail!(
        "include/hypercache.h differs from the ffi crate, first in line {}:\n  header: {}\n  crate:  \
         {}",
        line + 1,
        committed.lines().nth(line).unwrap_or_default(),
        generated.lines().nth(line).unwrap_or_default()
    )
}

fn generated(tree: &Tree) -> Result<String> {
    let ffi = tree.root.join("ffi");
    let config = cbindgen::Config::from_file(ffi.join("cbindgen.toml"))
        .map_err(|error| anyhow::anyhow!("ffi/cbindgen.toml: {error}"))?;
    let bindings = cbindgen::Builder::new()
        .with_crate(&ffi)
        .with_config(config)
        .generate()
        .context("cbindgen cannot read the ffi crate")?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(String::from_utf8(text)?)
}
