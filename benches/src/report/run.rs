//! A whole run, as it is kept: everything that the page, the tables and later runs need.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Csv, Figure, trend};
use crate::gate::{Origin, Record, history};
use crate::measure::Place;

/// The form of `results.json`; a reader of another one asks for a new run.
pub const FORM: u32 = 1;

/// Everything of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The form of this record: [`FORM`].
    pub form: u32,
    /// When it began, in UTC.
    pub began: String,
    /// How it was asked for, as typed.
    pub command: String,
    /// Where and with what.
    pub place: Place,
    /// The suites, in order.
    pub suites: Vec<Part>,
    /// All figures.
    pub figures: Vec<Figure>,
}

/// One suite of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// What stands on the horizontal axis of its curves.
    pub axis: String,
    /// How far it came.
    pub state: State,
    /// How long it took.
    pub seconds: f64,
    /// What it tells the reader.
    pub notes: Vec<String>,
}

/// How far a suite came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not begun.
    Waiting,
    /// It is being measured, or was when the run was broken off.
    Begun,
    /// All of it was measured.
    Done,
    /// It ended with this error.
    Failed(String),
}

impl Run {
    /// Reads what [`Files::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let run: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not what a run leaves", path.display()))?;
        if run.form != FORM {
            bail!("{} has form {}; this program reads {FORM}", path.display(), run.form);
        }
        Ok(run)
    }

    /// Figures of one suite.
    #[must_use]
    pub fn of(&self, suite: &str) -> Vec<Figure> {
        self.figures.iter().filter(|figure| figure.suite == suite).cloned().collect()
    }
}

/// The columns of a file of figures, such as `results.csv`.
pub const COLUMNS: [&str; 11] = [
    "suite", "case", "cache", "metric", "unit", "repeats", "at", "value", "low", "high", "samples",
];

/// The files that a run leaves in its folder.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// In this folder, which is made.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Every figure, a row each.
    #[must_use]
    pub fn csv(&self) -> PathBuf {
        self.folder.join("results.csv")
    }

    /// The run as it is kept.
    #[must_use]
    pub fn json(&self) -> PathBuf {
        self.folder.join("results.json")
    }

    fn aside(&self) -> PathBuf {
        self.folder.join("results-before.json")
    }

    /// Whether a run has at least as many suites as the one that was put aside before.
    #[must_use]
    pub fn is_worth_more(&self, run: &Run) -> bool {
        Run::read(&self.aside()).map_or(true, |aside| run.suites.len() >= aside.suites.len())
    }

    /// Renames the run that is kept, so that another one does not take its place. `results.json`
    /// is all that page and tables are made of.
    pub fn put_aside(&self) -> Result<PathBuf> {
        let aside = self.aside();
        fs::rename(self.json(), &aside)
            .with_context(|| format!("cannot write {}", aside.display()))?;
        Ok(aside)
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> PathBuf {
        self.folder.join("report.html")
    }

    /// Earlier runs, a line each.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.folder.join("history.jsonl")
    }

    /// Adds what is worth it of a run to the history.
    pub fn remember(&self, run: &Run) -> Result<()> {
        let figures = trend::worth_keeping(run).cloned().collect();
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        history::append(&self.history(), &Record::new(Origin::of(tree), figures))
    }

    /// Writes all three. Each takes its place whole, so that a reader never sees half of one.
    pub fn write(&self, run: &Run) -> Result<()> {
        let rows = self.csv().with_extension("csv.new");
        let mut csv = Csv::create(Some(&rows), &COLUMNS)?;
        for figure in &run.figures {
            csv.row(&cells(figure))?;
        }
        drop(csv);
        fs::rename(&rows, self.csv())?;
        replace(&self.json(), &serde_json::to_string_pretty(run)?)?;
        let past = history::read(&self.history())?;
        replace(&self.page(), &super::page::page(run, &trend::trends(run, &past)))
    }
}

/// Writes a file in one step.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let write = || {
        fs::write(&new, text)?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A figure in these columns.
#[must_use]
pub fn cells(figure: &Figure) -> Vec<String> {
    let or_empty = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    vec![
        figure.suite.clone(),
        figure.case.clone(),
        figure.cache.clone(),
        figure.metric.clone(),
        named(figure.unit),
        named(figure.repeats),
        or_empty(figure.at),
        figure.value.to_string(),
        or_empty(figure.interval.map(|(low, _)| low)),
        or_empty(figure.interval.map(|(_, high)| high)),
        figure.samples.to_string(),
    ]
}

/// As JSON has it, without its quotes.
fn named(value: impl Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;

    #[test]
    fn a_run_is_read_back_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("hc-run-{}", std::process::id()));
        let files = Files::in_folder(&folder).unwrap();
        let figure = Figure::new("speed", "hit, 64 B", "hypercache", "time", Unit::Ns, 41.5)
            .of_samples(&[40.0, 41.0, 42.0, 43.0, 41.5, 41.5]);
        let run = Run {
            form: FORM,
            began: "2026-01-01 00:00:00 UTC".to_owned(),
            command: "all --quick".to_owned(),
            place: Place::here(),
            suites: vec![Part {
                name: "speed".to_owned(),
                about: "times".to_owned(),
                axis: String::new(),
                state: State::Failed("out of \"luck\"".to_owned()),
                seconds: 1.5,
                notes: vec!["a note".to_owned()],
            }],
            figures: vec![figure],
        };
        files.write(&run).unwrap();
        assert_eq!(Run::read(&files.json()).unwrap(), run);
        let csv = fs::read_to_string(files.csv()).unwrap();
        let rows: Vec<&str> = csv.lines().collect();
        assert_eq!(rows[0], COLUMNS.join(","));
        assert_eq!(rows[1], "speed,\"hit, 64 B\",hypercache,time,ns,roughly,,41.5,40,43,6");
        assert!(fs::read_to_string(files.page()).unwrap().contains("hit, 64 B"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
