//! Builds `hypercache-counted` in a checkout and reads what it counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::measure::said_by;
use crate::report::{Figure, Unit};
use crate::suite::Findings;

/// The package and its program.
const PROGRAM: &str = "hypercache-counted";
/// The function that everything counted happens in.
const FUNCTION: &str = "hypercache_counted";
/// What its figures say they are from.
pub const SUITE: &str = "counts";
/// What was counted, in the figures' words.
pub const CACHE: &str = "hypercache";

/// A source tree and where it is built.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Checkout {
    /// The tree that this program was built from, and the target folder that it lies in.
    pub fn own() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        // Tests lie a folder deeper.
        let target = program
            .ancestors()
            .skip(1)
            .find(|folder| folder.ends_with("release") || folder.ends_with("debug"))
            .and_then(Path::parent)
            .context("this program is not in a target folder: run it as `cargo xtask bench`")?;
        Ok(Self { root: root.to_owned(), target: target.to_owned() })
    }

    /// Another tree, built inside itself.
    pub fn at(root: &Path) -> Result<Self> {
        let root =
            root.canonicalize().with_context(|| format!("there is no {}", root.display()))?;
        Ok(Self { target: root.join("target"), root })
    }

    /// Builds the program for release.
    pub fn build(&self) -> Result<Program> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.current_dir(&self.root).stdin(Stdio::null()).args(["build", "--release"]);
        build.args(["--package", PROGRAM, "--target-dir"]).arg(&self.target);
        // What `cargo xtask` says of itself would look like settings of this build.
        for (name, _) in std::env::vars_os() {
            let is_outer = |prefix: &&str| name.to_string_lossy().starts_with(prefix);
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(is_outer) {
                build.env_remove(&name);
            }
        }
        let status = build.status().context("cannot run cargo")?;
        if !status.success() {
            bail!("building {PROGRAM} in {} failed ({status})", self.root.display());
        }
        Ok(Program { path: self.target.join("release").join(PROGRAM) })
    }
}

/// The built program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
}

impl Program {
    /// Counts everything; `scratch` is a folder for callgrind's files.
    pub fn count(&self, scratch: &Path, findings: &mut Findings) -> Result<()> {
        self.count_of(&[], scratch, findings)
    }

    /// The same, with the instructions of these cases only; of all where none is named.
    pub fn count_of(&self, cases: &[&str], scratch: &Path, findings: &mut Findings) -> Result<()> {
        if valgrind_version().is_some() {
            if cases.is_empty() {
                self.instructions(None, scratch, findings)?;
            }
            for case in cases {
                self.instructions(Some(case), scratch, findings)?;
            }
        } else {
            findings.note(
                "Instructions were not counted: valgrind is not installed (on Debian or Ubuntu: \
                 apt-get install valgrind).",
            );
        }
        self.bytes(findings)?;
        self.allocations(findings)
    }

    /// The names of the cases.
    pub fn cases(&self) -> Result<Vec<String>> {
        Ok(said_by(Command::new(&self.path).arg("list"))?.lines().map(str::to_owned).collect())
    }

    fn instructions(
        &self,
        case: Option<&str>,
        scratch: &Path,
        findings: &mut Findings,
    ) -> Result<()> {
        let folder = scratch.join(format!("callgrind-{}", std::process::id()));
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let counted = self.counted_in(case, &folder);
        fs::remove_dir_all(&folder)?;
        for (name, per_op) in counted? {
            let figure =
                Figure::new(SUITE, &name, CACHE, "instructions", Unit::Instructions, per_op);
            findings.figure(figure.exact());
        }
        Ok(())
    }

    /// Callgrind leaves a file each time the function returns, numbered from 1; the program says
    /// in the same order which case it was.
    fn counted_in(&self, case: Option<&str>, folder: &Path) -> Result<Vec<(String, f64)>> {
        let files = folder.join("counts");
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--quiet"]);
        valgrind.arg(format!("--callgrind-out-file={}", files.display()));
        valgrind.arg(format!("--toggle-collect={FUNCTION}"));
        valgrind.arg(format!("--dump-after={FUNCTION}"));
        let said = said_by(valgrind.arg(&self.path).arg("instructions").args(case))?;
        let rows = rows::<1>(&said)?;
        let mut counted = Vec::new();
        for (at, (name, [ops])) in (1..).zip(rows) {
            let file = files.with_extension(at.to_string());
            let text = fs::read_to_string(&file)
                .with_context(|| format!("callgrind did not write down {name:?}"))?;
            let count = summary(&text)
                .with_context(|| format!("callgrind's file of {name:?} has no sum"))?;
            counted.push((name, count / ops));
        }
        if counted.is_empty() {
            bail!("{PROGRAM} counted nothing");
        }
        Ok(counted)
    }

    fn bytes(&self, findings: &mut Findings) -> Result<()> {
        let said = said_by(Command::new(&self.path).arg("bytes"))?;
        for (len, [log, limit]) in rows::<2>(&said)? {
            let case = format!("entry, value of {len} B");
            for (metric, value) in [("bytes in the log", log), ("bytes of the limit", limit)] {
                let figure = Figure::new(SUITE, &case, CACHE, metric, Unit::Bytes, value);
                findings.figure(figure.exact());
            }
        }
        Ok(())
    }

    fn allocations(&self, findings: &mut Findings) -> Result<()> {
        let said = said_by(Command::new(&self.path).arg("allocations"))?;
        for (name, [ops, asked]) in rows::<2>(&said)? {
            let figure = Figure::new(SUITE, &name, CACHE, "allocations", Unit::Count, asked / ops);
            findings.figure(figure.exact());
        }
        Ok(())
    }

    /// Nanoseconds an operation of one case, round by round.
    pub fn times(&self, case: &str, rounds: u32) -> Result<Vec<f64>> {
        let said = said_by(Command::new(&self.path).args(["time", case]).arg(rounds.to_string()))?;
        said.lines()
            .map(|line| line.parse().with_context(|| format!("{PROGRAM} said {line:?}")))
            .collect()
    }
}

/// What the program printed: a name and N numbers a line, separated by tabs.
fn rows<const N: usize>(said: &str) -> Result<Vec<(String, [f64; N])>> {
    let row = |line: &str| {
        let mut fields = line.split('\t');
        let name = fields.next()?.to_owned();
        let numbers: Vec<f64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
        Some((name, numbers.try_into().ok()?))
    };
    said.lines().map(|line| row(line).with_context(|| format!("{PROGRAM} said {line:?}"))).collect()
}

/// The sum of callgrind's file.
fn summary(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("summary: "))?.trim().parse().ok()
}

/// "valgrind-3.19.0", if it is installed.
pub(super) fn valgrind_version() -> Option<String> {
    said_by(Command::new("valgrind").arg("--version")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_program_are_read() {
        let said = "get, hit\t20480\t3\nincr\t10\t0\n";
        let read = rows::<2>(said).unwrap();
        assert_eq!(read[0], ("get, hit".to_owned(), [20480.0, 3.0]));
        assert_eq!(read.len(), 2);
        assert!(rows::<1>(said).is_err());
        assert!(rows::<1>("get\tmany").is_err());
    }

    #[test]
    fn sums_of_callgrind_are_read() {
        let text = "# callgrind format\nevents: Ir\nsummary: 6375963\n\nfn=(1)\n1 2\ntotals: 1\n";
        assert_eq!(summary(text), Some(6_375_963.0));
        assert_eq!(summary("events: Ir\n"), None);
    }
}
