//! Request traces: streams of who asked for what, from files of other people's simulators.
//!
//! Two formats are read, told apart by the file's name, each plain or under zstd (`.zst`):
//!
//! - libCacheSim's *oracleGeneral* (`.oracleGeneral`, `.oracleGeneral.bin`): packed little-endian
//!   records of 24 bytes, u32 time in seconds, u64 object, u32 size in bytes, i64 index of the next
//!   request of the object (not used here);
//! - *CSV* (`.csv`): one request a line, see [`csv`].
//!
//! A [`Trace`] is an iterator that holds one buffer, however long the file is. Every failure says
//! which file, which line or record, what is wrong and what is expected.

mod csv;
mod error;
mod folder;
mod manifest;
mod oracle;
mod reference;

pub use error::{Result, TraceError};
pub use folder::{TraceFile, default_folder, list};
pub use manifest::classes;
pub use reference::{FIGURES_HEADER, Figure, Unit, figures, reference};

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFER: usize = 256 << 10;

/// One request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Seconds since the trace began or since some other moment; 0 where the trace has no times.
    pub time: u64,
    /// Which object.
    pub id: u64,
    /// Its size in bytes; 1 where the trace has no sizes.
    pub size: u32,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// libCacheSim's oracleGeneral.
    OracleGeneral,
    /// Lines of text.
    Csv,
}

impl Format {
    /// The format that the file's name tells, and whether it is under zstd.
    #[must_use]
    pub fn of(path: &Path) -> Option<(Self, bool)> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let (stem, packed) = match name.strip_suffix(".zst") {
            Some(stem) => (stem, true),
            None => (name.as_str(), false),
        };
        if stem.ends_with(".oraclegeneral") || stem.ends_with(".oraclegeneral.bin") {
            Some((Self::OracleGeneral, packed))
        } else if stem.ends_with(".csv") {
            Some((Self::Csv, packed))
        } else {
            None
        }
    }
}

/// The requests of a file, in its order.
pub struct Trace {
    records: Records,
    progress: Progress,
}

enum Records {
    Oracle(oracle::Records),
    Csv(csv::Lines),
}

impl Trace {
    /// Opens a file of a format that its name tells.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let Some((format, packed)) = Format::of(path) else {
            return Err(TraceError::file(
                path,
                "the name tells no format; it should end in .oracleGeneral, .oracleGeneral.bin or \
                 .csv, each with or without .zst",
            ));
        };
        let failed = |error: io::Error| TraceError::file(path, &error.to_string());
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(TraceError::file(path, "it is a folder; a trace file is expected"));
        }
        let done = Arc::new(AtomicU64::new(0));
        let progress = Progress { done: Arc::clone(&done), total: meta.len() };
        let counted = Counted { file, done };
        let input: Box<dyn BufRead + Send> = if packed {
            let mut decoder = zstd::stream::read::Decoder::new(counted).map_err(failed)?;
            // What `zstd --long=31` writes.
            decoder.window_log_max(31).map_err(failed)?;
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        } else {
            Box::new(BufReader::with_capacity(BUFFER, counted))
        };
        Self::read(path.to_owned(), format, input, progress)
    }

    fn read(
        path: PathBuf,
        format: Format,
        input: Box<dyn BufRead + Send>,
        progress: Progress,
    ) -> Result<Self> {
        let records = match format {
            Format::OracleGeneral => Records::Oracle(oracle::Records::new(path, input)),
            Format::Csv => Records::Csv(csv::Lines::new(path, input)?),
        };
        Ok(Self { records, progress })
    }

    /// How much of the file was read so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Iterator for Trace {
    type Item = Result<Request>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.records {
            Records::Oracle(records) => records.next(),
            Records::Csv(lines) => lines.next(),
        }
    }
}

/// How far a [`Trace`] is, in bytes of the file as it lies on disk. Cheap to ask, also from other
/// threads.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    done: Arc<AtomicU64>,
    total: u64,
}

impl Progress {
    /// Bytes read.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes of the file when it was opened; 0 where that is not known (a pipe).
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

struct Counted {
    file: File,
    done: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buf)?;
        self.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
