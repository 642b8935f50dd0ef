//! `cargo xtask header`: the C header against the Rust side of the C interface.
//!
//! The header is written for readers, in an order and with prose that no generator knows; a test
//! of the ffi crate proves it equal to what cbindgen generates. Only the crate can say what it
//! defines, so the test lives there and this task runs it.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::process;
use crate::steps::{Manner, Outcome, Progress, Steps, passed};
use crate::tree::Tree;

/// What to do when they differ.
pub const NEXT: &str = "the output above names what differs: mend include/hypercache.h or ffi/src, \
                        then run `cargo xtask header`";

pub fn run(tree: &Tree) -> Result<ExitCode> {
    let mut steps = Steps::new(Manner::for_task(tree, "header"));
    steps.step("header", NEXT, |progress| check(tree, progress));
    Ok(steps.finish())
}

/// Fails where the committed header and the ffi crate differ.
pub fn check(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    progress.run(&mut command(tree))?;
    passed("include/hypercache.h is what the library defines")
}

fn command(tree: &Tree) -> Command {
    let mut cargo = process::cargo(&tree.root);
    // The same packages as for all tests: another choice would give shared dependencies other
    // features and build them twice.
    cargo.args(["test", "--workspace", "--exclude", "xtask", "--test", "header"]);
    cargo
}
