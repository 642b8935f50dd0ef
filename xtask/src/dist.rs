//! `cargo xtask dist`: what is handed out, in `target/dist`.
//!
//! Each package carries the same `libhypercache.so`, linked as `cargo xtask install` links it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::install;
use crate::node;
use crate::python;
use crate::steps::{Manner, Steps, passed};
use crate::tree::{Tree, show};

pub fn run(tree: &Tree) -> Result<ExitCode> {
    let mut steps = Steps::new(Manner::for_task(tree, "dist"));
    steps.step("wheel", "read the message above", |progress| {
        let wheel = wheel(tree, &|command| progress.run(command))?;
        passed(show(&wheel))
    });
    steps.step("npm tarballs", "read the message above", |progress| {
        let tarballs = tarballs(tree, &|command| progress.run(command))?;
        passed(tarballs.iter().map(|path| show(path)).collect::<Vec<_>>().join(", "))
    });
    Ok(steps.finish())
}

/// Where packages go.
pub fn folder(tree: &Tree) -> Result<PathBuf> {
    let folder = tree.target.join("dist");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Builds the library and the wheel that carries it.
pub fn wheel(tree: &Tree, run: &dyn Fn(&mut Command) -> Result<String>) -> Result<PathBuf> {
    let installed = install::install(tree, &tree.target.join("dist-prefix"), run)?;
    python::wheel(tree, &installed, &folder(tree)?, run)
}

/// Builds the library and the tarballs that carry it.
fn tarballs(tree: &Tree, run: &dyn Fn(&mut Command) -> Result<String>) -> Result<Vec<PathBuf>> {
    let installed = install::install(tree, &tree.target.join("dist-prefix"), run)?;
    node::tarballs(tree, &installed, &folder(tree)?, run)
}

/// Copies `from` to `to` unless it is there already with the same bytes.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(from)?;
    if std::fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    std::fs::write(to, bytes)?;
    Ok(())
}
