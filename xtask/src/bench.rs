//! `cargo xtask bench`: the benchmark program, built for release, with the user's arguments.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::process;
use crate::tree::Tree;

/// The name of the benchmark package and of its program.
const PROGRAM: &str = "hypercache-bench";

pub fn run(tree: &Tree, args: &[String]) -> Result<ExitCode> {
    let mut cargo = building(tree);
    let status = process::in_the_open(&mut cargo)?;
    if !status.success() {
        bail!("`{}` {}", process::line_of(&cargo), process::ended(status));
    }
    let status = process::in_the_open(program(tree).args(args))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the program.
pub fn building(tree: &Tree) -> Command {
    let mut cargo = process::cargo(&tree.root);
    // HyperCache itself is one of its features, beside its peers.
    cargo.args(["build", "--release", "--package", PROGRAM, "--all-features"]);
    cargo
}

/// The built program, run in the user's own folder, so that paths mean what they meant there.
pub fn program(tree: &Tree) -> Command {
    Command::new(tree.target.join("release").join(PROGRAM))
}
