//! Comma-separated values (RFC 4180).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// A file of rows, or nothing where no file was asked for.
#[derive(Debug)]
pub struct Csv(Option<BufWriter<File>>);

impl Csv {
    /// Creates the file and writes the header.
    pub fn create(path: Option<&Path>, header: &[&str]) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut csv = Self(Some(BufWriter::new(file)));
        csv.row(header)?;
        Ok(csv)
    }

    /// Writes one row. Rows reach the file at once, so that a broken run leaves what it had.
    pub fn row<S: AsRef<str>>(&mut self, cells: &[S]) -> Result<()> {
        let Some(out) = &mut self.0 else { return Ok(()) };
        for (at, cell) in cells.iter().enumerate() {
            let separator = if at > 0 { "," } else { "" };
            let cell = cell.as_ref();
            if cell.contains([',', '"', '\n']) {
                write!(out, "{separator}\"{}\"", cell.replace('"', "\"\""))?;
            } else {
                write!(out, "{separator}{cell}")?;
            }
        }
        writeln!(out)?;
        out.flush()?;
        Ok(())
    }
}
