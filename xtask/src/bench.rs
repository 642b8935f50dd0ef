//! `cargo xtask bench`: the benchmark program, built for release, with the user's arguments.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::process;
use crate::tree::Tree;

/// The name of the benchmark package and of its program.
const PROGRAM: &str = "hypercache-bench";

/// Subcommands that compare HyperCache with no other cache.
const ALONE: [&str; 2] = ["raw", "replay"];

pub fn run(tree: &Tree, args: &[String]) -> Result<ExitCode> {
    let alone = args.first().is_some_and(|name| ALONE.contains(&name.as_str()));
    let peers = if alone { Peers::Without } else { Peers::With };
    let mut cargo = building(tree, peers);
    let status = process::in_the_open(&mut cargo)?;
    if !status.success() {
        bail!("`{}` {}", process::line_of(&cargo), process::ended(status));
    }
    let status = process::in_the_open(program(tree).args(args))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the caches that HyperCache is compared with are built in: they are most of what there is
/// to compile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    With,
    Without,
}

/// Builds the program.
pub fn building(tree: &Tree, peers: Peers) -> Command {
    let mut cargo = process::cargo(&tree.root);
    cargo.args(["build", "--release", "--package", PROGRAM]);
    if peers == Peers::With {
        cargo.args(["--features", "peers"]);
    }
    cargo
}

/// The built program, run in the user's own folder, so that paths mean what they meant there.
pub fn program(tree: &Tree) -> Command {
    Command::new(tree.target.join("release").join(PROGRAM))
}
