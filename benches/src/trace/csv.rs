//! Traces as text: one request a line, fields apart by commas.
//!
//! A first line that names columns says which is which: `time` (or `timestamp`), `id` (or `key`,
//! `obj`, `obj_id`, `object`) and `size` (or `obj_size`, `bytes`, `length`), in any order and case,
//! among others that are passed over. Without it, one field is the id, two are id and size, three
//! or more begin with time, id, size. Times and sizes are numbers (a time may have a fraction,
//! which is dropped); an id that is no number is hashed. Empty lines and lines that begin with `#`
//! are passed over.

use super::{Request, Result, TraceError};
use std::io::BufRead;
use std::path::PathBuf;

/// The longest line that is read, so that a file that is no text does not fill the memory.
const LINE_MAX: u64 = 64 << 10;

pub(super) struct Lines {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    columns: Columns,
    line: Vec<u8>,
    number: u64,
    /// The line in the buffer was not handed out yet.
    pending: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    time: Option<usize>,
    id: usize,
    size: Option<usize>,
}

impl Lines {
    pub fn new(path: PathBuf, input: Box<dyn BufRead + Send>) -> Result<Self> {
        let columns = Columns { time: None, id: 0, size: None };
        let mut lines = Self {
            path,
            input,
            columns,
            line: Vec::new(),
            number: 0,
            pending: false,
            ended: false,
        };
        if !lines.fill()? {
            return Ok(lines);
        }
        let first = String::from_utf8_lossy(&lines.line).into_owned();
        let fields: Vec<_> = first.split(',').map(clean).collect();
        match Columns::named(&fields) {
            Some(columns) => lines.columns = columns,
            None if fields.iter().any(|field| field.starts_with(|c: char| c.is_ascii_digit())) => {
                lines.columns = Columns::unnamed(fields.len());
                lines.pending = true;
            }
            None => {
                return Err(lines.fail(format!(
                    "\"{first}\" names no column of ids and is no request; a header with id (and \
                     time, size) or lines of time,id,size are expected"
                )));
            }
        }
        Ok(lines)
    }

    pub fn next(&mut self) -> Option<Result<Request>> {
        if self.ended {
            return None;
        }
        if !std::mem::take(&mut self.pending) {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let request = self.parse();
        Some(request.map_err(|what| self.fail(what)))
    }

    /// Reads the next line with something on it; false at the end.
    fn fill(&mut self) -> Result<bool> {
        loop {
            self.line.clear();
            let mut limited = std::io::Read::take(&mut self.input, LINE_MAX);
            let read = limited.read_until(b'\n', &mut self.line);
            self.number += 1;
            match read {
                Ok(0) => {
                    self.ended = true;
                    return Ok(false);
                }
                Ok(read) if read as u64 == LINE_MAX && !self.line.ends_with(b"\n") => {
                    return Err(self.fail(format!(
                        "it is longer than {LINE_MAX} bytes; lines of time,id,size are expected"
                    )));
                }
                Ok(_) => {}
                Err(error) => return Err(self.fail(error.to_string())),
            }
            self.line.truncate(self.line.trim_ascii_end().len());
            if !self.line.is_empty() && !self.line.starts_with(b"#") {
                return Ok(true);
            }
        }
    }

    fn parse(&self) -> Result<Request, String> {
        let Ok(line) = std::str::from_utf8(&self.line) else {
            return Err("it is not UTF-8; lines of text are expected".to_owned());
        };
        let field = |at: usize| line.split(',').nth(at).map(clean);
        let number = |at: Option<usize>, name: &str, most: u64, unset: u64| match at {
            None => Ok(unset),
            Some(at) => {
                let text = field(at).ok_or_else(|| missing(line, name, at))?;
                let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
                whole.parse::<u64>().ok().filter(|&value| value <= most).ok_or_else(|| {
                    format!("{name} is \"{text}\"; a number from 0 to {most} is expected")
                })
            }
        };
        let Columns { time, id, size } = self.columns;
        let text = field(id).ok_or_else(|| missing(line, "id", id))?;
        if text.is_empty() {
            return Err("the id is empty; a number or a name is expected".to_owned());
        }
        Ok(Request {
            time: number(time, "time", u64::MAX, 0)?,
            id: text.parse().unwrap_or_else(|_| hash(text)),
            size: number(size, "size", u64::from(u32::MAX), 1)? as u32,
        })
    }

    fn fail(&mut self, what: String) -> TraceError {
        self.ended = true;
        TraceError::line(&self.path, self.number, what)
    }
}

impl Columns {
    fn named(fields: &[&str]) -> Option<Self> {
        let find = |names: &[&str]| {
            fields.iter().position(|field| names.contains(&field.to_ascii_lowercase().as_str()))
        };
        Some(Self {
            time: find(&["time", "timestamp"]),
            id: find(&["id", "key", "obj", "obj_id", "object"])?,
            size: find(&["size", "obj_size", "bytes", "length"]),
        })
    }

    fn unnamed(fields: usize) -> Self {
        match fields {
            0 | 1 => Self { time: None, id: 0, size: None },
            2 => Self { time: None, id: 0, size: Some(1) },
            _ => Self { time: Some(0), id: 1, size: Some(2) },
        }
    }
}

fn clean(field: &str) -> &str {
    field.trim().trim_matches('"')
}

fn missing(line: &str, name: &str, at: usize) -> String {
    format!("it has {} fields; the {name} is expected in field {}", line.split(',').count(), at + 1)
}

/// FNV-1a: the same id in every run and on every machine.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
