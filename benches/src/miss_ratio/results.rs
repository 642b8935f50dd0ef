//! The table of finished cells: a CSV file in the columns of `reference.csv` that grows by a row a
//! cell, so that a run can be broken off and taken up again.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::grid::Size;
use crate::trace::{FIGURES_HEADER, Figure, figures};

/// Rows, and the file that they go to.
#[derive(Debug, Default)]
pub struct Results {
    rows: Vec<Figure>,
    out: Option<File>,
}

impl Results {
    /// Takes the rows of a file, if there is one, and writes further ones behind them. A last row
    /// that was broken off is dropped.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let out = append_to(path, FIGURES_HEADER)?.1;
        Ok(Self { rows: figures(path)?, out: Some(out) })
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[Figure] {
        &self.rows
    }

    /// Whether the cell's row is there.
    #[must_use]
    pub fn has(&self, trace: &str, size: &Size, policy: &str) -> bool {
        self.rows.iter().any(|row| {
            row.policy == policy
                && row.trace == trace
                && (row.unit, row.fraction, row.capacity)
                    == (size.unit, size.fraction, size.capacity)
        })
    }

    /// Adds a row. It reaches the file at once.
    pub fn add(&mut self, row: Figure) -> Result<()> {
        if let Some(out) = &mut self.out {
            // In one piece, so that a row is there or is not.
            out.write_all(format!("{row}\n").as_bytes())?;
        }
        self.rows.push(row);
        Ok(())
    }
}

/// Opens a table for further rows, creating it with this header if it is not there, and returns
/// its text. A last row that was broken off is dropped; a file with another header is refused.
pub fn append_to(path: &Path, header: &str) -> Result<(String, File)> {
    let named = || format!("cannot write {}", path.display());
    let mut text = match path.exists() {
        true => fs::read_to_string(path).with_context(named)?,
        false => String::new(),
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let begun = if whole == 0 { header.starts_with(&text) } else { false };
    if !begun && text.lines().next() != Some(header) {
        bail!("{}: it is there and has no header {header}", path.display());
    }
    let mut out = OpenOptions::new().create(true).append(true).open(path).with_context(named)?;
    out.set_len(whole as u64).with_context(named)?;
    text.truncate(whole);
    if whole == 0 {
        text = format!("{header}\n");
        out.write_all(text.as_bytes()).with_context(named)?;
    }
    Ok((text, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Unit;

    fn figure(trace: &str, capacity: u64) -> Figure {
        Figure {
            trace: trace.to_owned(),
            unit: Unit::Bytes,
            policy: "s3fifo:small=5;threshold=2".to_owned(),
            fraction: 0.001,
            capacity,
            miss_ratio: 0.123_456,
            byte_miss_ratio: 1.0,
        }
    }

    #[test]
    fn rows_are_found_again_and_broken_ones_dropped() {
        let path = std::env::temp_dir().join(format!("hc-results-{}.csv", std::process::id()));
        let _ = fs::remove_file(&path);
        let rows = [figure("a", 187), figure("b", 2_064)];
        let mut results = Results::open(Some(&path)).unwrap();
        rows.iter().for_each(|row| results.add(row.clone()).unwrap());
        assert_eq!(results.rows(), rows);
        drop(results);
        assert_eq!(figures(&path).unwrap(), rows);

        let text = fs::read_to_string(&path).unwrap();
        for cut in [1, 5, rows[1].to_string().len()] {
            fs::write(&path, &text[..text.len() - cut]).unwrap();
            let mut results = Results::open(Some(&path)).unwrap();
            assert_eq!(results.rows(), &rows[..1]);
            let size = |capacity| Size { unit: Unit::Bytes, fraction: 0.001, capacity, objects: 9 };
            assert!(results.has("a", &size(187), &rows[0].policy));
            assert!(!results.has("a", &size(188), &rows[0].policy));
            assert!(!results.has("b", &size(2_064), &rows[0].policy));
            results.add(rows[1].clone()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        for begun in ["", "trace,un"] {
            fs::write(&path, begun).unwrap();
            assert_eq!(Results::open(Some(&path)).unwrap().rows(), []);
        }
        for other in ["a list of things", "cache,limit\nmoka,1\n"] {
            fs::write(&path, other).unwrap();
            let error = Results::open(Some(&path)).unwrap_err().to_string();
            assert!(error.contains("header"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), other, "it is left alone");
        }
        fs::remove_file(&path).unwrap();
    }
}
