//! `gate`: counts instructions, bytes and allocations and compares them with a baseline.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use crate::gate::compare::{shown, shown_change};
use crate::gate::record::{REPOSITORY, REPOSITORY_FILE, file_of, folder};
use crate::gate::{Checkout, Comparison, Origin, Program, Record};
use crate::gate::{annotate, history, repeat, show, turns};
use crate::report::Table;
use crate::suite::Findings;

/// Count what every run repeats (instructions, bytes an entry, allocations) and compare it with a
/// baseline; status 1 if any of it got more than 1 % worse, 2 if it could not be done
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Compare with this baseline; `repository` is the one kept in the repository [default:
    /// repository, unless one is saved]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Keep the result under this name; `repository` is the one kept in the repository
    #[arg(long, value_name = "NAME")]
    save_baseline: Option<String>,
    /// Where results are kept, a line a run, the last 100 [default: target/bench/history.jsonl]
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Also run this build and the baseline's in so many turns each and show how long they take
    /// beside each other; this decides nothing
    #[arg(long, value_name = "PAIRS", num_args = 0..=1, default_missing_value = "11")]
    times: Option<u32>,
    /// Also count this build again, so many times (the instructions of two cases), and fail unless
    /// every count is that of the first time
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: Option<u32>,
    /// Never build the baseline's commit; what would take that is not compared
    #[arg(long, conflicts_with = "times")]
    no_build: bool,
    /// Count this source tree instead of the one that the program was built from
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
}

/// Nothing got worse.
const OPEN: u8 = 0;
/// Something got worse.
const CLOSED: u8 = 1;
/// It could not be found out.
const FAILED: u8 = 2;

/// Measures, compares, keeps.
pub fn run(args: &Args) -> ExitCode {
    match gate(args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn gate(args: &Args) -> Result<u8> {
    let own = Checkout::own()?;
    let measured = match &args.tree {
        Some(root) => Checkout::at(root)?,
        None => own.clone(),
    };
    let baseline = match (&args.baseline, &args.save_baseline) {
        (Some(name), _) => Some(name.as_str()),
        (None, Some(_)) => None,
        (None, None) => Some(REPOSITORY),
    };
    let loaded = baseline.map(|name| Record::load(&file_of(name, &own)?)).transpose();
    let loaded = loaded.context(
        "`--save-baseline NAME` keeps a result under a name, to be compared with by `--baseline \
         NAME`",
    )?;
    let saved = args.save_baseline.as_deref().map(|name| file_of(name, &own)).transpose()?;

    let program = measured.build()?;
    let mut findings = Findings::default();
    program.count(&folder(&own), &mut findings)?;
    let record = Record::new(Origin::of(&measured.root), findings.figures().to_vec());
    for note in findings.notes() {
        println!("Not compared: {note}");
    }

    if let Some(times) = args.repeat {
        let each = repeat::repeat(&program, &record.origin, times, &folder(&own))?;
        println!("Counted {times} times more: {each} figures, the same each time");
    }
    let past = args.history.clone().unwrap_or_else(|| folder(&own).join("history.jsonl"));
    history::append(&past, &record)?;
    let runs = history::read(&past)?;
    if let Some(path) = saved {
        record.save(&path)?;
        println!("Saved as {}", path.display());
    }
    let (Some(name), Some(before)) = (baseline, loaded) else {
        show::print("Counted", &record.figures, &Comparison::default(), &runs);
        return Ok(OPEN);
    };
    let then = Then { name, record: before, own: &own, may_build: !args.no_build };
    let compared = then.compare(&record)?;
    let title = format!("{} beside `{name}` ({})", record.origin.shown(), then.shown());
    show::print(&title, &record.figures, &compared, &runs);
    if annotate::is_wanted() {
        for line in annotate::lines(&compared) {
            println!("{line}");
        }
    }
    if let Some(pairs) = args.times {
        print_times(&turns::measure(&program, &then.build()?, pairs)?, name);
    }
    println!("{}", show::closing(&compared, name));
    if compared.is_closed() {
        eprintln!(
            "\nIf this is the price of something worth it, say so in the commit and keep the new \
             figures with it: cargo xtask bench gate --save-baseline {name}"
        );
        return Ok(CLOSED);
    }
    Ok(OPEN)
}

/// A baseline, and what can be done with the commit that it is of.
struct Then<'a> {
    name: &'a str,
    record: Record,
    own: &'a Checkout,
    may_build: bool,
}

impl Then<'_> {
    fn shown(&self) -> String {
        self.record.origin.shown()
    }

    /// With the baseline as it is kept; where that was counted with other tools, with its commit,
    /// counted here.
    fn compare(&self, now: &Record) -> Result<Comparison> {
        let Some(apart) = now.origin.tools.difference(&self.record.origin.tools) else {
            return Ok(Comparison::of(&now.figures, &self.record, None));
        };
        let apart = format!("instructions depend on the tools, and {apart}");
        if !self.may_build || now.origin.tools.valgrind.is_none() {
            return Ok(Comparison::of(&now.figures, &self.record, Some(&apart)));
        }
        println!("{apart}; the baseline's commit is counted here.");
        let program = match self.build() {
            Ok(program) => program,
            Err(error) => {
                let why = format!("{apart}; its commit cannot be counted here: {error:#}");
                return Ok(Comparison::of(&now.figures, &self.record, Some(&why)));
            }
        };
        let mut findings = Findings::default();
        program.count(&folder(self.own), &mut findings)?;
        let origin = Origin { tools: now.origin.tools.clone(), ..self.record.origin.clone() };
        let counted = Record::new(origin, findings.figures().to_vec());
        Ok(Comparison::of(&now.figures, &counted, None))
    }

    /// The commit whose code the baseline is of.
    fn commit(&self) -> Result<String> {
        if self.name == REPOSITORY {
            // It came with the code that it is of.
            let is_committed =
                self.git(&["diff", "--quiet", "HEAD", "--", REPOSITORY_FILE]).is_ok();
            let commit = self.git(&["log", "-1", "--format=%H", "--", REPOSITORY_FILE])?;
            if is_committed && !commit.is_empty() {
                return Ok(commit);
            }
        }
        match &self.record.origin {
            Origin { commit: Some(commit), changed: false, .. } => Ok(commit.clone()),
            Origin { commit: Some(_), .. } => {
                bail!("it was saved from a tree that differs from its commit")
            }
            Origin { commit: None, .. } => bail!("it was saved from a tree without a commit"),
        }
    }

    fn git(&self, args: &[&str]) -> Result<String> {
        let out = Command::new("git")
            .arg("-C")
            .arg(&self.own.root)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .context("cannot run git")?;
        if !out.status.success() {
            bail!(
                "`git {}` failed: {}",
                args.join(" "),
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// Builds the baseline's commit in a folder of its own below the target folder. It is unpacked
    /// there rather than checked out as a worktree, which would leave its mark in the repository.
    fn build(&self) -> Result<Program> {
        let commit = self.commit()?;
        let trees = folder(self.own).join("trees");
        let root = trees.join(&commit);
        if !root.join("Cargo.toml").is_file() {
            let fresh = trees.join(format!("{commit}.new"));
            if fresh.exists() {
                std::fs::remove_dir_all(&fresh)?;
            }
            std::fs::create_dir_all(&fresh)?;
            let packed = trees.join(format!("{commit}.tar"));
            let out = packed.to_string_lossy();
            self.git(&["archive", "--format=tar", "-o", &out, &commit])?;
            let unpacked = Command::new("tar").arg("-xf").arg(&packed).current_dir(&fresh).status();
            std::fs::remove_file(&packed)?;
            if !unpacked.context("cannot run tar")?.success() {
                bail!("tar cannot unpack {commit}");
            }
            std::fs::rename(&fresh, &root)?;
        }
        build_apart(&root, &trees)
    }
}

/// Builds a tree in a target folder that all such trees share, for the crates that they have in
/// common, and takes the program out of it, where the next tree would put its own.
fn build_apart(root: &Path, trees: &Path) -> Result<Program> {
    let built = Checkout { root: root.to_owned(), target: trees.join("target") }.build()?;
    let path = root.join("hypercache-counted");
    std::fs::copy(&built.path, &path)
        .with_context(|| format!("cannot copy {}", built.path.display()))?;
    Ok(Program { path })
}

fn print_times(figures: &[crate::report::Figure], baseline: &str) {
    let title = format!("Time of this build by that of `{baseline}`, in turns; decides nothing");
    let mut table = Table::new(title, &["<case", "median", "change", "95 % interval"]);
    for figure in figures {
        let interval = figure.interval.map_or_else(
            || "too few pairs".to_owned(),
            |(low, high)| format!("{low:.3} to {high:.3}"),
        );
        table.row(vec![
            figure.case.clone(),
            shown(figure.value, figure.unit),
            shown_change(figure.value - 1.0),
            interval,
        ]);
    }
    table.print();
}
