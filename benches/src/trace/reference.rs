//! `reference.csv` of a folder of traces: what other caches and simulators miss on them.

use super::{Result, TraceError};
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

const HEADER: &str = "trace,unit,policy,fraction,capacity,miss_ratio,byte_miss_ratio";

/// The rows of the folder's `reference.csv`.
pub fn reference(folder: impl AsRef<Path>) -> Result<Vec<Figure>> {
    let path = folder.as_ref().join("reference.csv");
    let text =
        fs::read_to_string(&path).map_err(|error| TraceError::file(&path, &error.to_string()))?;
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(TraceError::line(&path, 1, format!("the header {HEADER} is expected")));
    }
    lines
        .enumerate()
        .map(|(at, line)| {
            row(line).ok_or_else(|| {
                let what = format!("\"{line}\" is no row; {HEADER} are expected");
                TraceError::line(&path, at as u64 + 2, what)
            })
        })
        .collect()
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
