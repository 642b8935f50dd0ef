//! Tables of miss ratios: `reference.csv` of a folder of traces says what other caches and simulators
//! miss on them, and what is measured here is written in the same columns.

use super::{Result, TraceError};
use std::fmt;
use std::fs;
use std::path::Path;

/// What a capacity counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Every object counts 1.
    Objects,
    /// Every object counts its size.
    Bytes,
}

impl Unit {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Bytes => "bytes",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One row: a policy on a trace at a capacity.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The trace, as [`super::TraceFile::name`].
    pub trace: String,
    /// What the capacity counts.
    pub unit: Unit,
    /// The policy or library.
    pub policy: String,
    /// The capacity as a fraction of the trace's unique objects or bytes.
    pub fraction: f64,
    /// The capacity.
    pub capacity: u64,
    /// Misses by requests.
    pub miss_ratio: f64,
    /// Missed bytes by requested bytes.
    pub byte_miss_ratio: f64,
}

/// The first line of a table of figures.
pub const FIGURES_HEADER: &str = "trace,unit,policy,fraction,capacity,miss_ratio,byte_miss_ratio";

/// The rows of the folder's `reference.csv`.
pub fn reference(folder: impl AsRef<Path>) -> Result<Vec<Figure>> {
    figures(folder.as_ref().join("reference.csv"))
}

/// The rows of a table of figures.
pub fn figures(path: impl AsRef<Path>) -> Result<Vec<Figure>> {
    let path = path.as_ref();
    let text =
        fs::read_to_string(path).map_err(|error| TraceError::file(path, &error.to_string()))?;
    let mut lines = text.lines();
    if lines.next() != Some(FIGURES_HEADER) {
        return Err(TraceError::line(path, 1, format!("the header {FIGURES_HEADER} is expected")));
    }
    lines
        .enumerate()
        .map(|(at, line)| {
            row(line).ok_or_else(|| {
                let what = format!("\"{line}\" is no row; {FIGURES_HEADER} are expected");
                TraceError::line(path, at as u64 + 2, what)
            })
        })
        .collect()
}

impl fmt::Display for Figure {
    /// The row, as [`figures`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, unit, policy, fraction, capacity, miss_ratio, byte_miss_ratio } = self;
        write!(
            f,
            "{trace},{unit},{policy},{fraction},{capacity},{miss_ratio:.6},{byte_miss_ratio:.6}"
        )
    }
}

fn row(line: &str) -> Option<Figure> {
    let fields: Vec<_> = line.split(',').collect();
    let [trace, unit, policy, fraction, capacity, miss_ratio, byte_miss_ratio] = fields[..] else {
        return None;
    };
    Some(Figure {
        trace: trace.to_owned(),
        unit: match unit {
            "objects" => Unit::Objects,
            "bytes" => Unit::Bytes,
            _ => return None,
        },
        policy: policy.to_owned(),
        fraction: fraction.parse().ok()?,
        capacity: capacity.parse().ok()?,
        miss_ratio: miss_ratio.parse().ok()?,
        byte_miss_ratio: byte_miss_ratio.parse().ok()?,
    })
}
