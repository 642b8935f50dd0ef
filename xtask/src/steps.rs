//! A list of steps, shown as they run, with a table at the end.
//!
//! On a terminal the running step has a spinner, its time and the last line that its programs
//! printed. Elsewhere, and for machines, each step is one plain line when it is over.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::process::Log;
use crate::tree::Tree;

/// How a step went well.
pub enum Outcome {
    /// It passed; the note says what was done ("212 tests").
    Passed(String),
    /// It was not done; the note says why and what was therefore not checked.
    Skipped(String),
}

/// A step passed, with a note.
pub fn passed(note: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::Passed(note.into()))
}

/// A step was skipped, and why.
pub fn skipped(note: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::Skipped(note.into()))
}

/// What a running step reports to.
pub struct Progress {
    bar: Option<ProgressBar>,
    log: Log,
    notes: RefCell<Vec<String>>,
}

impl Progress {
    /// Shows a line beside the spinner.
    pub fn say(&self, line: &str) {
        if let Some(bar) = &self.bar
            && !line.trim().is_empty()
        {
            bar.set_message(line.trim().to_owned());
        }
    }

    /// Something that was not checked although the step goes on: shown at the end.
    pub fn unchecked(&self, note: impl Into<String>) {
        let note = note.into();
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Runs a program to its end and returns what it printed.
    pub fn run(&self, command: &mut std::process::Command) -> Result<String> {
        self.log.run(command, &|line| self.say(line))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Passed,
    Skipped,
    Failed,
    NotRun,
}

struct Row {
    name: &'static str,
    mark: Mark,
    time: Duration,
    note: String,
}

/// How a list of steps behaves.
pub struct Manner {
    /// No spinner, no colour.
    pub plain: bool,
    /// Something left unchecked is a failure.
    pub strict: bool,
    /// Steps after a failed one run too.
    pub keep_going: bool,
    /// Only steps whose name contains one of these; empty: all.
    pub only: Vec<String>,
    /// Name the steps and run none.
    pub list: bool,
    /// Where the logs go.
    pub logs: PathBuf,
}

impl Manner {
    /// How a task behaves that was given no options.
    pub fn for_task(tree: &Tree, name: &str) -> Self {
        Self {
            plain: false,
            strict: false,
            keep_going: false,
            only: Vec::new(),
            list: false,
            logs: tree.target.join("xtask").join("logs").join(name),
        }
    }
}

/// The list as it runs.
pub struct Steps {
    manner: Manner,
    rows: Vec<Row>,
    unchecked: Vec<String>,
    failed: bool,
    start: Instant,
}

impl Steps {
    pub fn new(manner: Manner) -> Self {
        let plain = manner.plain || !std::io::stderr().is_terminal();
        Self {
            manner: Manner { plain, ..manner },
            rows: Vec::new(),
            unchecked: Vec::new(),
            failed: false,
            start: Instant::now(),
        }
    }

    /// Runs one step. `next` is what to do when it fails.
    pub fn step(
        &mut self,
        name: &'static str,
        next: &str,
        work: impl FnOnce(&Progress) -> Result<Outcome>,
    ) {
        if self.wants(name) {
            self.always(name, next, work);
        }
    }

    /// A step that could not be run because of an earlier failure.
    pub fn not_run(&mut self, name: &'static str) {
        if self.manner.list {
            println!("{name}");
        } else if self.wants(name) {
            let note = "not run".to_owned();
            self.rows.push(Row { name, mark: Mark::NotRun, time: Duration::ZERO, note });
        }
    }

    /// Whether the user asked for this step.
    pub fn wants(&self, name: &str) -> bool {
        let only = &self.manner.only;
        only.is_empty() || only.iter().any(|text| name.contains(text.as_str()))
    }

    /// Runs a step that others build on, also where the user asked only for those.
    pub fn always(
        &mut self,
        name: &'static str,
        next: &str,
        work: impl FnOnce(&Progress) -> Result<Outcome>,
    ) {
        if self.manner.list {
            println!("{name}");
            return;
        }
        if self.failed && !self.manner.keep_going {
            self.not_run(name);
            return;
        }
        let file = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let start = Instant::now();
        let bar = (!self.manner.plain).then(|| spinner(name));
        let (result, notes) = match Log::create(self.manner.logs.join(file).with_extension("log")) {
            Ok(log) => {
                let progress = Progress { bar: bar.clone(), log, notes: RefCell::default() };
                let result = work(&progress);
                (result, progress.notes.into_inner())
            }
            Err(error) => (Err(error), Vec::new()),
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let result = match result {
            Ok(_) if self.manner.strict && !notes.is_empty() => {
                Err(anyhow::anyhow!("{}", notes.join("\n")))
            }
            Ok(Outcome::Skipped(why)) if self.manner.strict => Err(anyhow::anyhow!("{why}")),
            other => other,
        };
        let time = start.elapsed();
        let (mark, note) = match &result {
            Ok(Outcome::Passed(note)) => (Mark::Passed, note.clone()),
            Ok(Outcome::Skipped(why)) => {
                self.unchecked.push(why.clone());
                (Mark::Skipped, String::new())
            }
            Err(_) => (Mark::Failed, String::new()),
        };
        self.unchecked.extend(notes);
        let row = Row { name, mark, time, note };
        eprintln!("{}", self.line(&row));
        self.rows.push(row);
        if let Err(error) = result {
            self.failed = true;
            eprintln!("\n{error:#}\n\nNext: {next}\n");
        }
    }

    /// Whether a step that others build on went wrong.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Prints the table and the closing line.
    pub fn finish(self) -> ExitCode {
        if self.manner.list {
            return ExitCode::SUCCESS;
        }
        let count = |mark| self.rows.iter().filter(|row| row.mark == mark).count();
        println!("\nSummary");
        for row in &self.rows {
            println!("{}", self.line(row));
        }
        if !self.unchecked.is_empty() {
            println!("\nNot checked:");
            for note in &self.unchecked {
                println!("  {note}");
            }
        }
        let (failed, not_run) = (count(Mark::Failed), count(Mark::NotRun));
        let mut total = format!("\nTotal {}", clock(self.start.elapsed()));
        let skipped = count(Mark::Skipped);
        if skipped > 0 {
            total.push_str(&format!(", {skipped} skipped"));
        }
        if not_run > 0 {
            total.push_str(&format!(", {not_run} not run after the failure"));
        }
        println!("{total}");
        println!("{} passed, {failed} failed", count(Mark::Passed));
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn line(&self, row: &Row) -> String {
        let (word, colour) = match row.mark {
            Mark::Passed => ("ok", "32"),
            Mark::Skipped => ("skipped", "33"),
            Mark::Failed => ("FAILED", "31"),
            Mark::NotRun => ("-", "2"),
        };
        let time = if row.mark == Mark::NotRun { String::new() } else { clock(row.time) };
        let word = if self.manner.plain {
            format!("{word:<8}")
        } else {
            format!("\x1b[{colour}m{word:<8}\x1b[0m")
        };
        format!("  {word} {:<34} {time:>8}  {}", row.name, row.note).trim_end().to_owned()
    }
}

fn spinner(name: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) =
        ProgressStyle::with_template("  {spinner} {prefix:<34} {elapsed:>4}  {wide_msg:.dim}")
    {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// "0.4 s", "12 s", "3:05 min".
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else if seconds < 60.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{}:{:02} min", time.as_secs() / 60, time.as_secs() % 60)
    }
}
