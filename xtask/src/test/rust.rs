//! What cargo checks: format, lints, tests, documentation, models.

use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::steps::{Outcome, Progress, passed, skipped};
use crate::tools;
use crate::tree::{Tree, files_with, stem};

/// The crate that holds the engine, and with it the models.
const CORE: &str = "hypercache-core";

/// The benchmarks. They have allocators of their own, and so take the C library without its one: cargo
/// gives all that it builds together the same features, so they are built apart.
const BENCHES: [&str; 4] = ["--package", "hypercache-bench", "--package", "hypercache-counted"];
/// All else.
const OTHERS: [&str; 5] =
    ["--workspace", "--exclude", "hypercache-bench", "--exclude", "hypercache-counted"];

pub fn format(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    progress.run(process::cargo(&tree.root).args(["fmt", "--all", "--check"]))?;
    passed("")
}

/// The code as it is released.
pub fn lints(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    clippy(tree, progress, &[])
}

/// The tests, benches and examples too, and the code that only they switch on.
pub fn lints_everywhere(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    clippy(tree, progress, &["--all-targets", "--all-features"])
}

fn clippy(tree: &Tree, progress: &Progress, what: &[&str]) -> Result<Outcome> {
    for packages in [&OTHERS[..], &BENCHES] {
        let mut cargo = process::cargo(&tree.root);
        cargo.arg("clippy").args(packages).args(what);
        progress.run(cargo.args(["--keep-going", "--", "-D", "warnings"]))?;
    }
    passed("")
}

pub fn tests(tree: &Tree, progress: &Progress, quick: bool) -> Result<Outcome> {
    let mut said = String::new();
    let mut run = |args: &[&str]| -> Result<()> {
        let mut cargo = runner(tree);
        if quick {
            cargo.env("PROPTEST_CASES", "256");
        }
        said += &progress.run(cargo.args(args).arg("--no-fail-fast"))?;
        Ok(())
    };
    if quick {
        run(&["-p", CORE, "-p", "hypercache-ffi"])?;
    } else {
        run(&[&OTHERS[..], &["--exclude", "xtask", "--exclude", super::fuzz::PACKAGE]].concat())?;
        // The peers too: that they do the same work as this cache is tested like all else. And that
        // failures of memory are survived under load.
        let features = ["--features", "hypercache-bench/peers,hypercache-bench/faults"];
        run(&[&BENCHES[..], &features].concat())?;
    }
    passed(format!("{} tests", counted(&said)))
}

/// The tests of these tasks, in the profile that they are built in anyway.
pub fn own_tests(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    let mut cargo = process::cargo(&tree.root);
    let said = progress.run(cargo.args(["test", "--profile", "dev", "-p", "xtask"]))?;
    passed(format!("{} tests", counted(&said)))
}

/// nextest where it is installed (a process a test, so that memory is measured undisturbed), else
/// cargo's own runner; documentation has a step of its own.
fn runner(tree: &Tree) -> Command {
    let mut cargo = process::cargo(&tree.root);
    if tools::NEXTEST.find().is_some() {
        cargo.args(["nextest", "run"]);
    } else {
        cargo.args(["test", "--lib", "--bins", "--tests"]);
    }
    cargo
}

pub fn doc_tests(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    let mut cargo = process::cargo(&tree.root);
    let said = progress.run(cargo.args(["test", "--workspace", "--exclude", "xtask", "--doc"]))?;
    passed(format!("{} tests", counted(&said)))
}

/// The essays at the head of the modules are for who reads the code, and lead to private items too.
pub fn documentation(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    let mut cargo = process::cargo(&tree.root);
    cargo.args(["doc", "--no-deps", "--document-private-items"]);
    cargo.args(["-p", CORE, "-p", "hypercache-ffi"]);
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    progress.run(cargo.env("RUSTDOCFLAGS", flags))?;
    passed("")
}

/// Runs each `core/tests/loom_*.rs`. They need the crate built with loom's atomics, so they have
/// a target folder of their own: the flag would throw out everything built without it.
pub fn models(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    let models: Vec<String> = files_with(&tree.root.join("core/tests"), &["rs"])?
        .iter()
        .map(|file| stem(file))
        .filter(|name| name.starts_with("loom_"))
        .collect();
    if models.is_empty() {
        return skipped("Models of the memory ordering: there is no core/tests/loom_*.rs yet.");
    }
    let mut cargo = process::cargo(&tree.root);
    cargo.args(["test", "-p", CORE]);
    for model in &models {
        cargo.args(["--test", model]);
    }
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    cargo.env("RUSTFLAGS", format!("{flags} --cfg loom").trim());
    cargo.env("CARGO_TARGET_DIR", tree.target.join("loom"));
    let said = progress.run(&mut cargo)?;
    passed(format!("{} models in {} files", counted(&said), models.len()))
}

/// How many tests passed, by the closing lines of nextest ("12 tests run: 12 passed") and of
/// cargo's own runner ("test result: ok. 12 passed").
fn counted(said: &str) -> u64 {
    said.lines()
        .filter(|line| line.contains("tests run:") || line.contains("test result:"))
        .filter_map(|line| {
            let before = line.split(" passed").next()?;
            before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn counts_both_runners() {
        assert_eq!(counted("     Summary [   0.02s] 12 tests run: 12 passed, 0 skipped"), 12);
        let said = "test result: ok. 3 passed; 0 failed\n\ntest result: ok. 4 passed; 0 failed";
        assert_eq!(counted(said), 7);
        assert_eq!(counted("nothing"), 0);
    }
}
