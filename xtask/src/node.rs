//! The Node package: its tarballs, and the folders it is installed into.
//!
//! There are two. `hypercache` is JavaScript and the same everywhere; `@hypercache/<platform>` holds
//! the addon, the library and the headers, and npm installs the one that fits the machine, because
//! `hypercache` names all of them as optional dependencies. Nothing is built or fetched when they
//! are installed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::dist;
use crate::install::Installed;
use crate::process;
use crate::tools;
use crate::tree::{Tree, files_with, show, stem};

/// The least version of Node that the package runs on.
const LEAST: u32 = 20;

/// The machine that the tarballs are built for, in npm's words.
const PLATFORM: &str = "linux-x64-gnu";

/// The package's folder.
pub fn folder(tree: &Tree) -> PathBuf {
    tree.root.join("bindings-node")
}

/// Whether there are a Node and an npm to build and run the package with, or the reason.
pub fn usable() -> std::result::Result<(), String> {
    let tool = |tool: &tools::Tool| tool.need().map_err(|error| error.to_string());
    let (node, _) = (tool(&tools::NODE)?, tool(&tools::NPM)?);
    let said = process::stdout_of(Command::new(&node).arg("--version"));
    let said = said.map_err(|error| error.to_string())?;
    let major = said.trim().trim_start_matches('v').split('.').next().unwrap_or_default();
    match major.parse::<u32>() {
        Ok(major) if major >= LEAST => Ok(()),
        _ => Err(format!(
            "{} is Node {}; the package takes {LEAST} or later",
            node.display(),
            said.trim()
        )),
    }
}

/// npm, run in `place`, without what it says beside the matter.
pub fn npm(place: &Path) -> Result<Command> {
    let mut npm = process::program(tools::NPM.need()?, place);
    npm.args(["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]);
    Ok(npm)
}

/// Node, run in `place`, without settings of the one who runs the tasks.
pub fn node(place: &Path) -> Result<Command> {
    let mut node = process::program(tools::NODE.need()?, place);
    node.env_remove("NODE_OPTIONS").env_remove("NODE_PATH");
    Ok(node)
}

/// Builds the tarballs with the library and headers of an installed tree.
pub fn tarballs(
    tree: &Tree,
    installed: &Installed,
    to: &Path,
    run: &dyn Fn(&mut Command) -> Result<String>,
) -> Result<Vec<PathBuf>> {
    usable().map_err(anyhow::Error::msg)?;
    let staged = tree.fresh("npm")?;
    let packages = [platform(tree, installed, &staged, run)?, main(tree, &staged)?];
    for old in files_with(to, &["tgz"])? {
        std::fs::remove_file(old)?;
    }
    for package in packages {
        run(npm(&package)?.arg("pack").arg("--pack-destination").arg(to))?;
    }
    let tarballs = files_with(to, &["tgz"])?;
    if tarballs.len() != 2 {
        bail!("npm left {} tarballs in {}", tarballs.len(), show(to));
    }
    Ok(tarballs)
}

/// Lays out the package of this platform.
fn platform(
    tree: &Tree,
    installed: &Installed,
    staged: &Path,
    run: &dyn Fn(&mut Command) -> Result<String>,
) -> Result<PathBuf> {
    let mut cargo = process::cargo(&tree.root);
    cargo.args(["rustc", "--release", "--locked", "--package", "hypercache-node"]);
    run(cargo.args(["--", "-C", "strip=debuginfo"]))?;
    let place = staged.join(PLATFORM);
    std::fs::create_dir_all(place.join("include"))?;
    let addon = tree.target.join("release").join("libhypercache_node.so");
    dist::copy(&addon, &place.join("hypercache.node"))?;
    dist::copy(&installed.shared(), &place.join(&installed.soname))?;
    for header in files_with(&installed.include(), &["h", "hpp"])? {
        dist::copy(&header, &place.join("include").join(header.file_name().unwrap_or_default()))?;
    }
    let mut text = String::new();
    write!(
        text,
        r#"{{
  "name": "@hypercache/{PLATFORM}",
  "version": "{}",
  "description": "The library and the addon of hypercache for 64-bit Linux with glibc on x64",
  "license": "MIT OR Apache-2.0",
  "main": "hypercache.node",
  "os": ["linux"],
  "cpu": ["x64"],
  "libc": ["glibc"],
  "engines": {{ "node": ">={LEAST}" }}
}}
"#,
        tree.version
    )?;
    std::fs::write(place.join("package.json"), text)?;
    licences(tree, &place)?;
    Ok(place)
}

/// Lays out the package that is the same everywhere.
fn main(tree: &Tree, staged: &Path) -> Result<PathBuf> {
    let place = staged.join("hypercache");
    std::fs::create_dir_all(place.join("lib"))?;
    let manifest = std::fs::read_to_string(folder(tree).join("package.json"))
        .context("cannot read bindings-node/package.json")?;
    for needed in [
        format!("\"version\": \"{}\"", tree.version),
        format!("\"@hypercache/{PLATFORM}\": \"{}\"", tree.version),
    ] {
        if !manifest.contains(&needed) {
            bail!("bindings-node/package.json does not say {needed}");
        }
    }
    for file in files_with(&folder(tree), &["json", "js", "mjs", "ts", "mts", "md"])? {
        dist::copy(&file, &place.join(file.file_name().unwrap_or_default()))?;
    }
    for file in files_with(&folder(tree).join("lib"), &["js"])? {
        dist::copy(&file, &place.join("lib").join(file.file_name().unwrap_or_default()))?;
    }
    licences(tree, &place)?;
    Ok(place)
}

fn licences(tree: &Tree, place: &Path) -> Result<()> {
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        dist::copy(&tree.root.join(licence), &place.join(licence))?;
    }
    Ok(())
}

/// What the benchmark compares with.
const PEERS: [&str; 2] = ["lru-cache@^11", "quick-lru@^7"];

/// `cargo xtask bench node [hot|memory|threads]`: the package as it is installed, beside its floor and
/// beside other caches.
pub fn bench(tree: &Tree, names: &[String]) -> Result<ExitCode> {
    let sources = folder(tree).join("bench");
    let known: Vec<String> =
        files_with(&sources, &["mjs"])?.iter().map(|file| stem(file)).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!("there is no benchmark {unknown} of Node: there are {}", known.join(", "));
    }
    let run = &|command: &mut Command| process::stdout_of(command);
    let installed = crate::install::install(tree, &tree.target.join("dist-prefix"), run)?;
    let place = tree.fresh("node-bench")?;
    install(&place, &tarballs(tree, &installed, &dist::folder(tree)?, run)?, run)?;
    run(npm(&place)?.args(["install", "--ignore-scripts", "--no-save"]).args(PEERS))?;
    floor(tree, &place, run)?;
    std::fs::create_dir_all(place.join("bench"))?;
    for file in files_with(&sources, &["mjs"])? {
        std::fs::copy(&file, place.join("bench").join(file.file_name().unwrap_or_default()))?;
    }
    for name in if names.is_empty() { &known } else { names } {
        let mut program = node(&place)?;
        let status = process::in_the_open(program.arg(format!("bench/{name}.mjs")))?;
        if !status.success() {
            bail!("bench/{name}.mjs {}", process::ended(status));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the addon that is the benchmark's floor, and for the tests another one on the same library.
pub fn floor(
    tree: &Tree,
    place: &Path,
    run: &dyn Fn(&mut Command) -> Result<String>,
) -> Result<()> {
    let mut cargo = process::cargo(&tree.root);
    run(cargo.args(["build", "--release", "--quiet", "--package", "hypercache-node-floor"]))?;
    dist::copy(&tree.target.join("release/libhypercache_node_floor.so"), &place.join("floor.node"))
}

/// Installs tarballs into a folder that is empty, without a registry.
pub fn install(
    place: &Path,
    tarballs: &[PathBuf],
    run: &dyn Fn(&mut Command) -> Result<String>,
) -> Result<()> {
    std::fs::write(place.join("package.json"), "{ \"private\": true }\n")?;
    let mut npm = npm(place)?;
    run(npm.args(["install", "--offline", "--ignore-scripts"]).args(tarballs))?;
    Ok(())
}
