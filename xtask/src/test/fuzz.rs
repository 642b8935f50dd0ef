//! The corpora of the fuzz targets, and inputs made from a seed, run on the stable toolchain.
//!
//! The tests of the package do the work; here it is made sure that they did it: for each folder of
//! `fuzz/corpus` a line that says how many inputs were run.

use anyhow::{Context, Result, bail};

use crate::process;
use crate::steps::{Outcome, Progress, passed};
use crate::tools;
use crate::tree::Tree;

/// The package of the fuzz targets.
pub const PACKAGE: &str = "hypercache-fuzz";

pub fn replay(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    let folder = tree.root.join("fuzz").join("corpus");
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(&folder).context("fuzz/corpus is expected")? {
        targets.push(entry?.file_name().to_string_lossy().into_owned());
    }
    targets.sort();
    if targets.is_empty() {
        bail!("fuzz/corpus is empty; a folder of inputs for each fuzz target is expected");
    }
    let mut cargo = process::cargo(&tree.root);
    if tools::NEXTEST.find().is_some() {
        cargo.args(["nextest", "run", "-p", PACKAGE, "--no-fail-fast"]);
        cargo.args(["--success-output", "immediate"]);
    } else {
        cargo.args(["test", "-p", PACKAGE, "--tests", "--no-fail-fast", "--", "--nocapture"]);
    }
    let said = progress.run(&mut cargo)?;
    let mut notes = Vec::new();
    for target in targets {
        let inputs = |what: &str| {
            inputs(&said, what, &target)
                .with_context(|| format!("nothing was {what} for fuzz/corpus/{target}"))
        };
        notes.push(format!("{target} {}+{}", inputs("replayed")?, inputs("made")?));
    }
    passed(format!("{} inputs", notes.join(", ")))
}

/// How many inputs a line "replayed: target, 41 inputs, ..." speaks of.
fn inputs(said: &str, what: &str, target: &str) -> Option<u64> {
    let begin = format!("{what}: {target}, ");
    let line = said.lines().find_map(|line| line.split_once(&begin))?.1;
    line.split_once(" inputs")?.0.parse().ok().filter(|&count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::inputs;

    #[test]
    fn counts_inputs() {
        let said = "x\n    replayed: options, 12 inputs, 9 steps\nmade: options, 0 inputs, 1 steps";
        assert_eq!(inputs(said, "replayed", "options"), Some(12));
        assert_eq!(inputs(said, "made", "options"), None);
        assert_eq!(inputs(said, "replayed", "other"), None);
    }
}
