//! Parts of a suite that run in a process of their own: because they measure its memory, because
//! they need another program around them, or because they may end it.
//!
//! A child is told its [`Job`] as JSON in its one argument, and says what it finds on its standard
//! output, a figure or a note a line. A child that ends badly is an error of the suite.
//!
//! Three programs serve: this one; `hypercache-bench-counting`, whose allocator counts, which would
//! cost the other caches time in every table of speed; and `hypercache-bench-faults`, which is built
//! with the hooks of the engine's tests.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Findings, Found, memory, stress};
use crate::report::Figure;

/// The hidden subcommand under which the benchmark program itself serves.
pub const SUBCOMMAND: &str = "suite-child";

/// What a child does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// A part of the suite `memory`.
    Memory(memory::Job),
    /// A part of the suite `stress`.
    Stress(stress::Job),
}

/// Which program does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// This one.
    Own,
    /// The one whose allocator counts.
    Counting,
    /// The one in which failures are injected.
    Faults,
}

impl Program {
    /// The file's name, and the features that it takes to build it.
    const fn named(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Own => ("hypercache-bench", None),
            Self::Counting => ("hypercache-bench-counting", None),
            Self::Faults => ("hypercache-bench-faults", Some("faults")),
        }
    }

    /// The program; it lies where this one does. `None`: it was not built.
    fn file(self) -> Result<Option<PathBuf>> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let (name, _) = self.named();
        let file = match self {
            Self::Own => own,
            Self::Counting | Self::Faults => {
                own.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX))
            }
        };
        Ok(file.is_file().then_some(file))
    }
}

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Figure(Figure),
    Note(String),
}

/// Has a child do a job and takes what it finds. Where its program was not built, a note says so,
/// and how to build it.
pub fn run(program: Program, job: &Job, findings: &mut Findings) -> Result<()> {
    let Some(file) = program.file()? else {
        let (name, feature) = program.named();
        let feature = feature.map(|feature| format!(" --features {feature}")).unwrap_or_default();
        findings.note(format!(
            "Not measured, because {name} is not beside this program: {}. `cargo build --release -p \
             hypercache-bench{feature} --bin {name}` builds it.",
            job.what()
        ));
        return Ok(());
    };
    let mut command = Command::new(file);
    if program == Program::Own {
        command.arg(SUBCOMMAND);
    }
    command.arg(serde_json::to_string(job)?).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start a child process")?;
    let out = child.stdout.take().context("the child has no output")?;
    for line in BufReader::new(out).lines() {
        match serde_json::from_str(&line?)? {
            Said::Figure(figure) => findings.figure(figure),
            Said::Note(note) => findings.note(note),
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{}: the child process ended with {status}", job.what());
    }
    Ok(())
}

/// Does the job that a parent gave this process, and says what it found.
pub fn serve(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job).context("this is no job of a suite")?;
    let refused = Rc::new(RefCell::new(None));
    let listener = Rc::clone(&refused);
    // At once, so that a child which dies has said what it found.
    let mut findings = Findings::told_to(Box::new(move |found| {
        if let Err(error) = say(found) {
            listener.borrow_mut().get_or_insert(error);
        }
    }));
    job.run(&mut findings)?;
    refused.take().map_or(Ok(()), Err)
}

fn say(found: Found<'_>) -> Result<()> {
    let said = match found {
        Found::Figure(figure) => Said::Figure(figure.clone()),
        Found::Note(note) => Said::Note(note.to_owned()),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&said)?)?;
    out.flush().context("cannot say what was found")
}

/// The whole of a program that only serves: its exit code, after the job in its one argument.
#[must_use]
pub fn serving() -> std::process::ExitCode {
    let mut args = std::env::args().skip(1);
    let done = match (args.next(), args.next()) {
        (Some(job), None) => serve(&job),
        _ => Err(anyhow::anyhow!("a part of the benchmarks, started by hypercache-bench")),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

impl Job {
    fn run(&self, findings: &mut Findings) -> Result<()> {
        match self {
            Self::Memory(job) => job.run(findings),
            Self::Stress(job) => job.run(findings),
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Memory(job) => job.what(),
            Self::Stress(job) => job.what(),
        }
    }
}
