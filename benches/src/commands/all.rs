//! `all`: the whole run. Every suite in order, and what a person keeps of it: a table on the
//! terminal, `results.csv`, `results.json` and `report.html`.
//!
//! The files are written after every suite and when the run is broken off with Ctrl-C, so that
//! whatever was measured is left. A suite that fails is said so in the page, and the others run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use super::against::{self, Against};
use crate::gate::Checkout;
use crate::measure::{Place, now_utc};
use crate::report::grid::{Grid, Match, Tally, Verdict, grids, placed};
use crate::report::run::{FORM, Files, Part, Run, State, replace};
use crate::report::{Table, headline, markdown};
use crate::suite::{Extent, Findings, Found, Plan, SUITES, Suite};

/// Run every suite and leave a table, results.csv, results.json and report.html
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// The short form: less than five minutes on two processors, once built
    #[arg(long)]
    quick: bool,
    /// Only these suites, separated by commas (`--list` names them)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// List the suites and stop
    #[arg(long)]
    list: bool,
    /// The folder for what the run leaves [default: target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also write the tables as Markdown to this file: between its markers `<!-- tables` and
    /// `<!-- end of tables`, where it has them
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Keep our figures under this name
    #[arg(long, value_name = "NAME")]
    save_baseline: Option<String>,
    /// Compare our figures with those kept under this name; status 1 if any that repeats exactly got
    /// worse
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Measure nothing: make the page and tables from the results.json that is in the folder
    #[arg(long, conflicts_with_all = ["quick", "only", "list", "baseline", "save_baseline"])]
    again: bool,
    /// Seed of the workloads
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How often the files are brought up to date while a suite measures.
const SAVE_EVERY: Duration = Duration::from_secs(20);

/// Runs the suites.
pub fn run(args: &Args) -> Result<()> {
    let suites = args.suites()?;
    if args.list {
        let mut table = Table::new("Suites", &["<name", "<shows"]);
        for suite in SUITES {
            table.row(vec![suite.name.to_owned(), suite.about.to_owned()]);
        }
        table.print();
        return Ok(());
    }
    args.refuse_document()?;
    let against =
        args.baseline.as_deref().map(|name| Against::load(name, args.quick)).transpose()?;
    if let Some(name) = &args.save_baseline {
        against::kept_at(name, &Checkout::own()?)?;
    }
    let folder = args.out.clone().unwrap_or_else(default_folder);
    let files = Files::in_folder(&folder)?;
    if args.again {
        let run = Run::read(&files.json())?;
        files.write(&run)?;
        return args.finish(&run, &files);
    }
    let before = Run::read(&files.json()).ok();
    if let Some(before) = &before {
        keep_what_is_not_measured(before, &suites, &files)?;
    }
    let kept = Kept::begin(args.record(&suites), files.clone());
    kept.leave_when_broken_off()?;
    let plan = Plan { extent: args.extent(), seed: args.seed };
    for (at, suite) in suites.iter().enumerate() {
        announce(at, &suites, before.as_ref(), args);
        measure(suite, &plan, &kept, at)?;
    }
    let run = kept.run().clone();
    files.remember(&run)?;
    files.write(&run)?;
    args.finish(&run, &files)?;
    if let Some(name) = &args.save_baseline {
        against::save(name, &run)?;
    }
    let failed: Vec<&str> = (run.suites.iter())
        .filter(|part| part.state != State::Done)
        .map(|part| part.name.as_str())
        .collect();
    let compared = against.map_or(Ok(()), |against| against.compare(&run));
    if failed.is_empty() { compared } else { bail!("not measured: {}", failed.join(", ")) }
}

impl Args {
    fn extent(&self) -> Extent {
        if self.quick { Extent::Quick } else { Extent::Full }
    }

    fn suites(&self) -> Result<Vec<&'static Suite>> {
        for name in &self.only {
            if SUITES.iter().all(|suite| suite.name != name) {
                let names: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
                bail!("--only is {name:?}; there are {}", names.join(", "));
            }
        }
        let is_wanted = |suite: &&Suite| {
            self.only.is_empty() || self.only.iter().any(|name| name == suite.name)
        };
        Ok(SUITES.iter().filter(is_wanted).collect())
    }

    fn record(&self, suites: &[&Suite]) -> Run {
        let part = |suite: &&Suite| Part {
            name: suite.name.to_owned(),
            about: suite.about.to_owned(),
            axis: suite.axis.to_owned(),
            state: State::Waiting,
            seconds: 0.0,
            notes: Vec::new(),
        };
        Run {
            form: FORM,
            began: now_utc(),
            command: self.typed(),
            place: Place::here(),
            suites: suites.iter().map(part).collect(),
            figures: Vec::new(),
        }
    }

    /// What to type for the same run.
    fn typed(&self) -> String {
        let mut line = String::from("cargo xtask bench");
        if self.quick {
            line.push_str(" --quick");
        }
        if !self.only.is_empty() {
            line.push_str(&format!(" --only {}", self.only.join(",")));
        }
        if self.seed != 1 {
            line.push_str(&format!(" --seed {}", self.seed));
        }
        line
    }

    /// Before anything is measured: a document without markers would be replaced by tables.
    fn refuse_document(&self) -> Result<()> {
        let Some(path) = &self.markdown else { return Ok(()) };
        let written = markdown::into_document(&document(path)?, &self.record(&[]));
        written.with_context(|| without_markers(path)).map(drop)
    }

    fn finish(&self, run: &Run, files: &Files) -> Result<()> {
        print(run);
        if let Some(path) = &self.markdown {
            let written = markdown::into_document(&document(path)?, run);
            replace(path, &written.with_context(|| without_markers(path))?)?;
            println!("  Markdown: {}", path.display());
        }
        println!("  Page:     {}", files.page().display());
        println!("  Figures:  {} and .json", files.csv().display());
        Ok(())
    }
}

/// The text of a document; none where there is no file.
fn document(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("cannot read {}", path.display())),
    }
}

fn without_markers(path: &Path) -> String {
    format!(
        "--markdown is {}, which has text and no markers: the tables go between a line that begins \
         with {:?} and one that begins with {:?}",
        path.display(),
        markdown::MARKERS.0,
        markdown::MARKERS.1
    )
}

/// Puts an earlier run aside that has suites which this one leaves out: the folder has one run.
fn keep_what_is_not_measured(before: &Run, suites: &[&Suite], files: &Files) -> Result<()> {
    let is_left_out = |part: &Part| suites.iter().all(|suite| suite.name != part.name);
    if before.suites.iter().any(is_left_out) && files.is_worth_more(before) {
        let aside = files.put_aside()?;
        eprintln!("What `{}` measured is kept as {}", before.command, aside.display());
    }
    Ok(())
}

/// `target/bench` of the source tree, or of the folder that cargo builds into.
#[must_use]
pub fn default_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    tree.join(target.unwrap_or_else(|| PathBuf::from("target"))).join("bench")
}

/// The run so far, and where it is kept; the thread that hears of Ctrl-C has it too.
#[derive(Clone)]
struct Kept {
    run: Arc<Mutex<Run>>,
    files: Files,
}

impl Kept {
    fn begin(run: Run, files: Files) -> Self {
        Self { run: Arc::new(Mutex::new(run)), files }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        // A panic elsewhere has not left half a figure: what is there is worth keeping.
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave_when_broken_off(&self) -> Result<()> {
        let kept = self.clone();
        let leave = move || {
            let run = kept.run();
            let code = match kept.files.write(&run) {
                Ok(()) => {
                    let count = run.figures.len();
                    eprintln!(
                        "\nBroken off: {count} figures are in {}",
                        kept.files.page().display()
                    );
                    130
                }
                Err(error) => {
                    eprintln!("\nBroken off, and nothing could be kept: {error:#}");
                    1
                }
            };
            std::process::exit(code);
        };
        ctrlc::set_handler(leave).context("cannot listen for Ctrl-C")
    }
}

/// Says what comes, and what is left after it: by how long it took the last time, where it was
/// run before in the same form.
fn announce(at: usize, suites: &[&Suite], before: Option<&Run>, args: &Args) {
    let before = before.filter(|run| run.command.contains("--quick") == args.quick);
    let took = |suite: &&Suite| {
        let part = before?.suites.iter().find(|part| part.name == suite.name)?;
        (part.state == State::Done).then_some(part.seconds)
    };
    let known: Option<f64> = suites[at..].iter().map(took).sum();
    let left = match known {
        Some(seconds) if seconds < 90.0 => format!(", about {:.0} s left", seconds.max(1.0)),
        Some(seconds) => format!(", about {:.0} min left", seconds / 60.0),
        None => String::new(),
    };
    let suite = suites[at];
    eprintln!("[{}/{}] {}: {}{left}", at + 1, suites.len(), suite.name, suite.about);
}

fn measure(suite: &Suite, plan: &Plan, kept: &Kept, at: usize) -> Result<()> {
    let began = Instant::now();
    kept.run().suites[at].state = State::Begun;
    let listener = kept.clone();
    let mut saved = Instant::now();
    let mut findings = Findings::told_to(Box::new(move |found| {
        let mut run = listener.run();
        match found {
            Found::Figure(figure) => run.figures.push(figure.clone()),
            Found::Note(note) => run.suites[at].notes.push(note.to_owned()),
        }
        run.suites[at].seconds = began.elapsed().as_secs_f64();
        if saved.elapsed() > SAVE_EVERY {
            // A disk that is full now is told of when the suite ends.
            let _ = listener.files.write(&run);
            saved = Instant::now();
        }
    }));
    let done = (suite.run)(plan, &mut findings);
    let mut run = kept.run();
    let part = &mut run.suites[at];
    part.seconds = began.elapsed().as_secs_f64();
    part.state = match done {
        Ok(()) => State::Done,
        Err(error) => {
            eprintln!("{} failed: {error:#}", suite.name);
            State::Failed(format!("{error:#}"))
        }
    };
    kept.files.write(&run)
}

/// The table that a run ends with.
fn print(run: &Run) {
    let headlines = headline::found(&run.figures);
    if !headlines.is_empty() {
        let header = ["<in short", "hypercache", "best other", "<which", "times better", "<"];
        let mut table = Table::new("HyperCache against the best of the others", &header);
        for found in &headlines {
            let mut row = vec![found.words.to_owned()];
            row.extend(compared(&found.versus));
            table.row(row);
        }
        table.print();
    }
    let grids = grids(&run.figures);
    let mut table = Table::new(
        "All cells",
        &["<suite", "<metric", "cells", "better", "even", "lost", "unclear"],
    );
    for grid in &grids {
        let tally = Tally::of(grid.matches());
        if tally.cells() > 0 {
            let counts = [tally.cells(), tally.won, tally.even, tally.lost, tally.unclear];
            let mut row = vec![grid.suite.to_owned(), grid.metric.to_owned()];
            row.extend(counts.map(|count| count.to_string()));
            table.row(row);
        }
    }
    table.note(
        "Against the best of the other caches in each cell; even is within 3 %, or intervals \
         that overlap; unclear where a loop without a cache takes half as long as the best or longer.",
    );
    table.print();
    lost(&grids);
}

fn compared(found: &Match<'_>) -> [String; 5] {
    let verdict = if found.verdict == Verdict::Lost { found.verdict.name() } else { "" };
    [
        found.ours.unit.show(found.ours.value),
        found.best.unit.show(found.best.value),
        found.best.cache.clone(),
        found.shown(),
        verdict.to_owned(),
    ]
}

fn lost(grids: &[Grid<'_>]) {
    const SHOWN: usize = 12;
    let is_lost = |found: &Match<'_>| found.verdict == Verdict::Lost;
    let mut lost: Vec<Match<'_>> = grids.iter().flat_map(Grid::matches).filter(is_lost).collect();
    if lost.is_empty() {
        return;
    }
    lost.sort_by(|a, b| a.factor.total_cmp(&b.factor));
    let header =
        ["<suite", "<case", "<metric", "hypercache", "best other", "<which", "times better", "<"];
    let mut table = Table::new(format!("Lost cells: {}", lost.len()), &header);
    for found in lost.iter().take(SHOWN) {
        let ours = found.ours;
        let case = placed(&ours.suite, &ours.case, ours.at);
        let mut row = vec![ours.suite.clone(), case, ours.metric.clone()];
        row.extend(compared(found));
        table.row(row);
    }
    if lost.len() > SHOWN {
        table.note(format!("The worst {SHOWN}; all are in the page."));
    }
    table.print();
}
