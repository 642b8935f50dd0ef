//! What is wrong with a trace, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of reading a trace.
pub type Result<T, E = TraceError> = std::result::Result<T, E>;

/// A failure: the file, the line or record, and one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    path: PathBuf,
    place: Place,
    what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    File,
    Line(u64),
    Record(u64),
}

impl TraceError {
    pub(super) fn file(path: &Path, what: &str) -> Self {
        Self { path: path.to_owned(), place: Place::File, what: what.to_owned() }
    }

    pub(super) fn line(path: &Path, line: u64, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), place: Place::Line(line), what: what.into() }
    }

    pub(super) fn record(path: &Path, record: u64, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), place: Place::Record(record), what: what.into() }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match self.place {
            Place::File => {}
            Place::Line(line) => write!(f, "line {line}: ")?,
            Place::Record(record) => write!(f, "record {record}: ")?,
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for TraceError {}
