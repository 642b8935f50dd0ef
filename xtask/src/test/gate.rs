//! The benchmarks' regression gate, and the proof that it closes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::bench::{self, Peers};
use crate::process;
use crate::steps::{Outcome, Progress, passed, skipped};
use crate::tools::VALGRIND;
use crate::tree::Tree;

pub const NEXT: &str = "find what costs that; if it is worth its price, keep the new figures with \
                        the change: cargo xtask bench gate --save-baseline repository";

/// What the gate prints in front of a reason.
const NOT_COMPARED: &str = "Not compared: ";
/// The baseline that the proof compares with.
const BEFORE: &str = "proof";

/// How often the same build is counted again.
const RERUNS: &str = "20";

/// Instructions, bytes an entry and allocations beside `benches/baseline.json`.
pub fn check(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    progress.run(&mut bench::building(tree, Peers::Without))?;
    let said = progress.run(&mut gate(tree, "check")?)?;
    for why in said.lines().filter_map(|line| line.strip_prefix(NOT_COMPARED)) {
        progress.unchecked(why);
    }
    let sum = said.lines().find(|line| line.contains("figures compared"));
    passed(sum.context("the gate did not say what it compared")?)
}

/// The gate stays open for the same source, counted again and again, and closes for a copy of it with a read that takes 2 %
/// more instructions, and for one whose entries have 8 more bytes of header.
pub fn proof(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    if VALGRIND.find().is_none() {
        return skipped(format!("That the regression gate closes. {}", VALGRIND.advice()));
    }
    let Some(copy) = copied(tree, progress)? else {
        return skipped("That the regression gate closes: this tree is not one of git.");
    };
    progress.run(&mut bench::building(tree, Peers::Without))?;
    let said = progress.run(gate(tree, BEFORE)?.args(["--save-baseline", BEFORE]))?;
    let instructions = of_a_hit(&said).context("the gate did not count hits")?;
    progress.run(gate(tree, BEFORE)?.args(["--baseline", BEFORE, "--repeat", RERUNS]))?;

    let nops = vec!["\"nop\""; (instructions * 0.02).ceil() as usize].join(", ");
    let slower = Patch {
        file: "core/src/store/copied.rs",
        after: &["pub fn copy_straight(", "{\n"],
        add: &format!(
            "// SAFETY: does nothing.\nunsafe {{ std::arch::asm!({nops}, options(nomem, nostack, \
             preserves_flags)) }};\n"
        ),
    };
    let closed = closes(tree, progress, &copy, &[slower])?;
    if !closed.iter().any(|row| row.starts_with("get, hit ")) {
        bail!("reads with 2 % more instructions were not among what got worse:\n{closed:#?}");
    }
    let longer = [
        Patch {
            file: "core/src/store/entry.rs",
            after: &["pub const HEADER: usize = 8"],
            add: " + 8",
        },
        Patch {
            file: "core/src/store/entry.rs",
            after: &["place.write(header);\n"],
            add: "place = place.add(1);\nplace.write(0);\n",
        },
    ];
    let closed = closes(tree, progress, &copy, &longer)?;
    for len in 64..72 {
        let row = format!("entry, value of {len} B ");
        if closed.iter().filter(|closed| closed.starts_with(&row)).count() != 2 {
            bail!("8 more bytes a header were not among what got worse for {row}:\n{closed:#?}");
        }
    }
    passed("same source open, 20 times the same; 2 % of a read, 8 bytes of a header closed")
}

/// The gate with a history of its own: a check is no measurement that somebody asked for.
fn gate(tree: &Tree, name: &str) -> Result<Command> {
    let history = tree.scratch("gate")?.join(name).with_extension("jsonl");
    let mut gate = bench::program(tree);
    gate.current_dir(&tree.root).arg("gate").arg("--history").arg(history);
    Ok(gate)
}

/// All that git knows of the tree, or would, below the target folder.
fn copied(tree: &Tree, progress: &Progress) -> Result<Option<PathBuf>> {
    if !tree.root.join(".git").exists() {
        return Ok(None);
    }
    let mut git = process::program("git", &tree.root);
    git.args(["-c", "core.quotePath=false", "ls-files", "--cached", "--others"]);
    let files = progress.run(git.arg("--exclude-standard"))?;
    let copy = tree.fresh("gate-proof")?;
    for file in files.lines() {
        let (from, to) = (tree.root.join(file), copy.join(file));
        // One that is deleted but not yet committed is still listed.
        if from.is_file() {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::copy(&from, &to).with_context(|| format!("cannot copy {file}"))?;
        }
    }
    Ok(Some(copy))
}

/// Text that goes into a file.
struct Patch<'a> {
    file: &'a str,
    /// Behind the last of these, each sought behind the one before.
    after: &'a [&'a str],
    add: &'a str,
}

impl Patch<'_> {
    fn apply(&self, text: &str) -> Result<String> {
        let mut at = 0;
        for marker in self.after {
            let found = text[at..].find(marker);
            let found = found.with_context(|| {
                format!("{} has no {marker:?} any more: name where it went", self.file)
            })?;
            at += found + marker.len();
        }
        Ok(format!("{}{}{}", &text[..at], self.add, &text[at..]))
    }
}

/// What the gate says got worse in the copy with these changes; the copy is as before then.
fn closes(
    tree: &Tree,
    progress: &Progress,
    copy: &Path,
    patches: &[Patch<'_>],
) -> Result<Vec<String>> {
    let mut before = Vec::new();
    for patch in patches {
        let path = copy.join(patch.file);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, patch.apply(&text)?)?;
        before.push((path, text));
    }
    let mut command = gate(tree, BEFORE)?;
    // What is meant to get worse is nothing to tell a CI service about.
    command.env_remove("CI").env_remove("GITHUB_ACTIONS");
    let said = progress.run(command.args(["--baseline", BEFORE, "--tree"]).arg(copy));
    for (path, text) in before.into_iter().rev() {
        fs::write(path, text)?;
    }
    let said = match said {
        Ok(_) => bail!("the gate stayed open for a change of {}", patches[0].file),
        Err(error) => error.to_string(),
    };
    if !said.contains("failed with status 1\n") {
        bail!("the gate did not compare:\n{said}");
    }
    Ok(said.lines().map(str::trim).filter(|row| row.contains("WORSE")).map(str::to_owned).collect())
}

/// Instructions of a hit, by the gate's table.
fn of_a_hit(said: &str) -> Option<f64> {
    said.lines().find_map(|line| {
        let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        match cells[..] {
            ["get, hit", "instructions", _, now, ..] => now.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Patch, of_a_hit};

    #[test]
    fn the_table_is_read() {
        let said = "  Counted\n  get, hit, from Rust  instructions  -  269.3\n  get, hit             \
                    instructions  -  311.3\n";
        assert_eq!(of_a_hit(said), Some(311.3));
        assert_eq!(of_a_hit("nothing"), None);
    }

    #[test]
    fn patches_go_behind_their_place() {
        let patch = Patch { file: "f", after: &["fn b(", "{"], add: "X" };
        assert_eq!(patch.apply("fn a() {} fn b() {}").unwrap(), "fn a() {} fn b() {X}");
        assert!(patch.apply("fn a() {}").is_err());
    }
}
