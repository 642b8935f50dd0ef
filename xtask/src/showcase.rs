//! Examples that the demo runs beside those in C and C++: they use the crate and the packages as
//! their users do, and nothing else that would have to be fetched.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::dist;
use crate::install::Installed;
use crate::node;
use crate::process;
use crate::python::{self, Environment};
use crate::tree::Tree;

/// Runs a command and returns what it said.
type Run<'a> = &'a dyn Fn(&mut Command) -> Result<String>;

/// An example, and what it said.
pub type Shown = (PathBuf, String);

/// Of `core/examples`.
const RUST: [&str; 1] = ["read_through"];
/// Of `examples/python`: those that need no other package.
const PYTHON: [&str; 2] = ["memoize.py", "shared_pool.py"];
/// Of `examples/node`: those that need no other package.
const NODE: [&str; 1] = ["workers.mjs"];

/// The examples of the crate.
pub fn rust(tree: &Tree, run: Run<'_>) -> Result<Vec<Shown>> {
    let show = |name: &&str| {
        let mut cargo = process::cargo(&tree.root);
        cargo.args(["run", "--quiet", "--release", "--package", "hypercache-core", "--example"]);
        let said = run(cargo.arg(name))?;
        Ok((tree.root.join("core/examples").join(name).with_extension("rs"), said))
    };
    RUST.iter().map(show).collect()
}

/// The wheel, installed into an environment of its own, and examples that use it.
pub fn python(tree: &Tree, library: &Installed, run: Run<'_>) -> Result<Vec<Shown>> {
    let wheel = python::wheel(tree, library, &dist::folder(tree)?, run)?;
    let place = tree.fresh("demo-python")?;
    let environment = Environment::at(place.join("environment"), run)?;
    environment.install(&[&wheel.display().to_string()], run)?;
    shown(&tree.root.join("examples/python"), &PYTHON, |source| {
        run(environment.python(&place).arg(source))
    })
}

/// The npm tarballs, installed into an empty folder, and examples that use them.
pub fn node(tree: &Tree, library: &Installed, run: Run<'_>) -> Result<Vec<Shown>> {
    let tarballs = node::tarballs(tree, library, &dist::folder(tree)?, run)?;
    let place = tree.fresh("demo-node")?;
    node::install(&place, &tarballs, run)?;
    shown(&tree.root.join("examples/node"), &NODE, |source| {
        // A module is found from where the program lies.
        let copy = place.join(source.file_name().unwrap_or_default());
        std::fs::copy(source, &copy)?;
        run(node::node(&place)?.arg(copy))
    })
}

fn shown(
    folder: &Path,
    names: &[&str],
    mut show: impl FnMut(&Path) -> Result<String>,
) -> Result<Vec<Shown>> {
    let sources = names.iter().map(|name| folder.join(name));
    sources.map(|source| show(&source).map(|said| (source, said))).collect()
}
