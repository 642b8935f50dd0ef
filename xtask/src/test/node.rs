//! The Node package, as a user meets it: its tarballs installed into an empty folder, run there.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::readme;
use crate::dist;
use crate::install::Installed;
use crate::node;
use crate::process;
use crate::steps::{Outcome, Progress, passed, skipped};
use crate::tools;
use crate::tree::{Tree, files_with, show};

/// What the tests need beside the package: the type checker, and what the examples adapt to.
const TEST_TOOLS: [&str; 4] =
    ["typescript@^5", "@types/node@^20", "keyv@^5", "@msgpack/msgpack@^3"];

/// Builds the tarballs and installs them into an empty folder.
fn installed(tree: &Tree, installed: &Installed, progress: &Progress) -> Result<PathBuf> {
    let run = &|command: &mut std::process::Command| progress.run(command);
    let tarballs = node::tarballs(tree, installed, &dist::folder(tree)?, run)?;
    let place = tree.fresh("node")?;
    node::install(&place, &tarballs, run)?;
    one_library(&place, installed, progress)?;
    Ok(place)
}

/// The addon names the library and holds none of it, and finds it beside itself.
fn one_library(place: &Path, installed: &Installed, progress: &Progress) -> Result<()> {
    let folder = place.join("node_modules/@hypercache/linux-x64-gnu");
    if std::fs::read(folder.join(&installed.soname))? != std::fs::read(installed.shared())? {
        bail!("the package does not carry the library that is installed");
    }
    let addon = folder.join("hypercache.node");
    let linked = progress.run(process::program("ldd", place).arg(&addon))?;
    if !linked
        .lines()
        .any(|line| line.contains(&installed.soname) && line.contains("linux-x64-gnu"))
    {
        bail!("{} does not load the library beside it:\n{linked}", show(&addon));
    }
    if let Some(readelf) = tools::READELF.find() {
        let said = progress
            .run(process::program(readelf, place).args(["-Ws", "--dyn-syms"]).arg(&addon))?;
        let defined = said.lines().find(|line| line.contains(" hc_") && !line.contains(" UND "));
        if let Some(defined) = defined {
            bail!("{} defines {defined}: it has a copy of the library", show(&addon));
        }
    }
    Ok(())
}

/// Copies the files of a folder of the checkout into the folder of the tests.
fn copied(from: &Path, to: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(to)?;
    let mut names = Vec::new();
    for file in files_with(from, extensions)? {
        let copy = to.join(file.file_name().unwrap_or_default());
        std::fs::copy(&file, &copy)?;
        names.push(copy);
    }
    if names.is_empty() {
        bail!("{} holds nothing to test", show(from));
    }
    Ok(names)
}

pub fn check(tree: &Tree, library: &Installed, progress: &Progress) -> Result<Outcome> {
    if let Err(reason) = node::usable() {
        return skipped(format!("The Node package: {reason}"));
    }
    let place = installed(tree, library, progress)?;
    readme::node(tree, &place, progress)?;
    node::floor(tree, &place, &|command| progress.run(command))?;
    let mut fetch = node::npm(&place)?;
    fetch.args(["install", "--ignore-scripts", "--no-save", "--prefer-offline"]).args(TEST_TOOLS);
    let tools = progress.run(&mut fetch).is_ok();
    if !tools {
        progress.unchecked(
            "The Node package's types, its MessagePack codec and its Keyv adapter: the packages \
             for that could not be installed from the registry.",
        );
    }
    let sources = node::folder(tree).join("test");
    let tests = copied(&sources, &place.join("test"), &["mjs", "cjs", "mts", "cts"])?;
    copied(&sources.join("programs"), &place.join("test/programs"), &["mjs"])?;
    copied(&tree.root.join("examples/node"), &place.join("examples"), &["mjs"])?;
    copied(&tree.root.join("conformance"), &place.join("conformance"), &["json"])?;
    let mut run = node::node(&place)?;
    run.args(["--test", "--test-reporter=spec"]);
    run.args(tests.iter().filter(|file| file.to_string_lossy().contains(".test.")));
    if !tools {
        run.env("HYPERCACHE_TEST_WITHOUT_TOOLS", "1");
    }
    let said = progress.run(&mut run)?;
    let count = said.lines().find_map(|line| line.trim().strip_prefix("ℹ pass "));
    if tools {
        let mut types = node::node(&place)?;
        types.args([
            "node_modules/typescript/bin/tsc",
            "--noEmit",
            "--strict",
            "--target",
            "es2022",
        ]);
        types.args([
            "--module",
            "nodenext",
            "--moduleResolution",
            "nodenext",
            "--skipLibCheck",
            "false",
        ]);
        types.args(["--lib", "es2022,esnext.disposable", "--types", "node"]);
        progress.run(types.arg("test/types.mts").arg("test/types.cts"))?;
    }
    passed(format!("{} tests", count.unwrap_or("no")))
}
