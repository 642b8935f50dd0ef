//! The Python package, as a user meets it: its wheel installed into a fresh environment, run there.

use std::path::Path;

use anyhow::{Result, bail};

use super::readme;
use crate::dist;
use crate::install::Installed;
use crate::process;
use crate::python::{self, Environment};
use crate::steps::{Outcome, Progress, passed, skipped};
use crate::tools;
use crate::tree::{Tree, files_with, show};

/// What the tests need beside the package.
const TEST_TOOLS: [&str; 4] = ["pytest>=8", "mypy>=1.18", "numpy", "msgpack"];

/// The extension names the library and holds none of it, and finds it in its own package.
fn one_library(
    environment: &Environment,
    place: &Path,
    library: &Installed,
    progress: &Progress,
) -> Result<()> {
    let mut ask = environment.python(place);
    ask.args(["-c", "import hypercache._native as n; print(n.__file__)"]);
    let addon = progress.run(&mut ask)?;
    let addon = Path::new(addon.trim());
    let carried = addon.with_file_name("lib").join(&library.soname);
    if std::fs::read(&carried)? != std::fs::read(library.shared())? {
        bail!("the wheel does not carry the library that is installed");
    }
    let linked = progress.run(process::program("ldd", place).arg(addon))?;
    let ours = |line: &str| line.contains(&library.soname) && line.contains("hypercache/lib");
    if !linked.lines().any(ours) {
        bail!("{} does not load the library of its package:\n{linked}", show(addon));
    }
    if let Some(readelf) = tools::READELF.find() {
        let mut symbols = process::program(readelf, place);
        let said = progress.run(symbols.args(["-Ws", "--dyn-syms"]).arg(addon))?;
        let defined = said.lines().find(|line| line.contains(" hc_") && !line.contains(" UND "));
        if let Some(defined) = defined {
            bail!("{} defines {defined}: it has a copy of the library", show(addon));
        }
    }
    Ok(())
}

/// Types: the package's own, the stub against what it describes, the tests and the examples.
fn types(
    tree: &Tree,
    environment: &Environment,
    place: &Path,
    examples: &[std::path::PathBuf],
    progress: &Progress,
) -> Result<()> {
    let tests = python::folder(tree).join("tests");
    let mypy = || {
        let mut mypy = environment.python(place);
        mypy.args(["-m", "mypy", "--strict", "--cache-dir"]).arg(place.join("mypy-cache"));
        mypy
    };
    progress.run(mypy().args(["-p", "hypercache"]))?;
    progress.run(mypy().arg(&tests).args(examples))?;
    let mut stubtest = environment.python(place);
    stubtest.args(["-m", "mypy.stubtest", "hypercache", "--allowlist"]);
    stubtest.arg(tests.join("stubtest-allowed.txt"));
    // What is allowed differs between versions of Python.
    progress.run(stubtest.arg("--ignore-unused-allowlist"))?;
    Ok(())
}

pub fn check(tree: &Tree, library: &Installed, progress: &Progress) -> Result<Outcome> {
    if let Err(reason) = python::interpreter() {
        return skipped(format!("The Python package: {reason}"));
    }
    let run = &|command: &mut std::process::Command| progress.run(command);
    let wheel = python::wheel(tree, library, &dist::folder(tree)?, run)?;
    let place = tree.fresh("python")?;
    let environment = Environment::at(place.join("environment"), run)?;
    environment.install(&[&wheel.display().to_string()], run)?;
    environment.install(&TEST_TOOLS, run)?;
    one_library(&environment, &place, library, progress)?;

    let mut pytest = environment.python(&place);
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir"]).arg(&place);
    let said = progress.run(pytest.arg(python::folder(tree).join("tests")))?;
    let tests = said.lines().rev().find_map(|line| line.split_once(" passed")).map(|it| it.0);

    let examples = files_with(&tree.root.join("examples/python"), &["py"])?;
    if examples.is_empty() {
        bail!("examples/python holds no examples");
    }
    types(tree, &environment, &place, &examples, progress)?;
    for example in &examples {
        progress.run(environment.python(&place).arg(example))?;
    }
    readme::python(tree, &environment, progress)?;
    passed(format!("{} tests, types, {} examples", tests.unwrap_or("no"), examples.len()))
}
