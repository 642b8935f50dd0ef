//! What was measured before: a file with a line a run, the latest last, a hundred at most.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use super::Record;
use super::counted::SUITE;
use super::record::replace;
use crate::report::{Figure, Repeats, Unit};

/// Runs that are kept.
pub const RUNS_MAX: usize = 100;

/// The runs of a file, the oldest first; none if there is no file. Lines of a form that is not
/// known are passed over: they are what another version left.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter_map(|line| Record::parse(line).ok()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Adds a run, and drops the oldest beyond [`RUNS_MAX`].
pub fn append(path: &Path, record: &Record) -> Result<()> {
    let mut runs = read(path)?;
    runs.push(record.clone());
    let lines: Result<Vec<String>, _> =
        runs[runs.len().saturating_sub(RUNS_MAX)..].iter().map(serde_json::to_string).collect();
    replace(path, &(lines?.join("\n") + "\n"))
}

/// What a figure was in these runs, the oldest first: in runs of the extent of the last one, but for
/// what the gate counts, which is the same in any; instructions where the tools were the same, and
/// what does not repeat exactly where the machine was.
#[must_use]
pub fn trend(runs: &[Record], figure: &Figure) -> Vec<f64> {
    let Some(last) = runs.last() else { return Vec::new() };
    let name = figure.name();
    let is_alike = |run: &&Record| {
        let (here, there) = (&run.origin, &last.origin);
        let tools =
            figure.unit != Unit::Instructions || here.tools.difference(&there.tools).is_none();
        let extent = figure.suite == SUITE || here.is_quick() == there.is_quick();
        let machine = figure.repeats == Repeats::Exactly || here.machine == there.machine;
        tools && extent && machine
    };
    runs.iter()
        .filter(is_alike)
        .filter_map(|run| run.figures.iter().find(|figure| figure.name() == name))
        .map(|figure| figure.value)
        .collect()
}

/// A line of bars, one a value, between the least and the greatest; flat where they are within a
/// thousandth of each other.
#[must_use]
pub fn bars(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = greatest - least;
    let bar = |value: &f64| {
        if range <= greatest.abs() / 1000.0 {
            return BARS[0];
        }
        let height = (value - least) / range * (BARS.len() - 1) as f64;
        BARS.get(height.round() as usize).copied().unwrap_or(BARS[0])
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{instructions, origin};
    use super::*;

    fn run(value: f64) -> Record {
        Record::new(origin(), vec![instructions("get, hit", value)])
    }

    #[test]
    fn the_oldest_make_room() {
        let folder = std::env::temp_dir().join(format!("hc-history-{}", std::process::id()));
        let path = folder.join("history.jsonl");
        assert!(read(&path).unwrap().is_empty());
        for value in 0..RUNS_MAX as u32 + 3 {
            append(&path, &run(f64::from(value))).unwrap();
        }
        // What another version wrote does not end the run.
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("not a record\n{text}")).unwrap();
        let runs = read(&path).unwrap();
        assert_eq!(runs.len(), RUNS_MAX);
        let values = trend(&runs, &runs[0].figures[0]);
        assert_eq!((values[0], values[RUNS_MAX - 1]), (3.0, 102.0));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn trends_are_of_one_toolchain() {
        let mut old = run(900.0);
        old.origin.tools.rustc = "1.0.0".to_owned();
        let runs = [old, run(300.0), run(310.0)];
        assert_eq!(trend(&runs, &runs[2].figures[0]), [300.0, 310.0]);
    }

    #[test]
    fn trends_are_of_one_extent_and_times_of_one_machine() {
        let of = |asked: &str, machine: &str, value| {
            let time = Figure::new("speed", "hit", "hypercache", "time", Unit::Ns, value);
            let entry = Figure::new("memory", "64 B", "hypercache", "bytes", Unit::Bytes, value);
            let figures = vec![time, entry.exact(), instructions("get, hit", value)];
            let mut record = Record::new(origin(), figures);
            record.origin.asked = asked.to_owned();
            record.origin.machine = machine.to_owned();
            record
        };
        let runs = [
            of("all", "one", 1.0),
            of("all --quick", "other", 2.0),
            of("gate --baseline x", "one", 3.0),
            of("all --quick --only speed", "one", 4.0),
        ];
        let course = |nth: usize| trend(&runs, &runs[3].figures[nth]);
        assert_eq!(course(0), [4.0]);
        assert_eq!(course(1), [2.0, 4.0]);
        assert_eq!(course(2), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn bars_go_up() {
        assert_eq!(bars(&[1.0, 2.0, 3.0]), "▁▅█");
        assert_eq!(bars(&[300.0, 300.1]), "▁▁");
        assert_eq!(bars(&[]), "");
    }
}
