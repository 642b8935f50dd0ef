//! A trace in memory, small enough that several are there at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use anyhow::{Context, Result, bail};

use crate::trace::{Trace, TraceFile, Unit};

/// The requests of a trace by objects that are numbered as they appear: four bytes a request.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The trace's name.
    pub name: String,
    /// Which object each request asks for.
    pub requests: Vec<u32>,
    /// Bytes of each object, at least 1: what its first request said.
    pub sizes: Vec<u32>,
    /// Sum of the sizes.
    pub unique_bytes: u64,
    /// Whether the trace has sizes; where it has none, every size is 1.
    pub has_sizes: bool,
}

impl Loaded {
    /// Reads the file.
    pub fn read(file: &TraceFile) -> Result<Self> {
        let mut loaded = Self { name: file.name.clone(), ..Self::default() };
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        for request in Trace::open(&file.path)? {
            let request = request?;
            let number = match numbers.entry(request.id) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let number = u32::try_from(loaded.sizes.len());
                    let number = number.context("a trace of more than 4,294,967,296 objects")?;
                    loaded.sizes.push(request.size.max(1));
                    *new.insert(number)
                }
            };
            loaded.requests.push(number);
        }
        if loaded.requests.is_empty() {
            bail!("{}: there are no requests in it", file.path.display());
        }
        loaded.requests.shrink_to_fit();
        loaded.sizes.shrink_to_fit();
        loaded.unique_bytes = loaded.sizes.iter().map(|&size| u64::from(size)).sum();
        loaded.has_sizes = loaded.sizes.iter().any(|&size| size > 1);
        Ok(loaded)
    }

    /// How many different objects there are.
    #[must_use]
    pub fn uniques(&self) -> u64 {
        self.sizes.len() as u64
    }

    /// All that there is, in a unit.
    #[must_use]
    pub fn whole(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Objects => self.uniques(),
            Unit::Bytes => self.unique_bytes,
        }
    }
}

/// What was missed of what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Requests.
    pub requests: u64,
    /// Of them, those that missed.
    pub misses: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Of them, those missed.
    pub missed_bytes: u64,
}

impl Missed {
    /// Misses by requests.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.misses as f64 / self.requests.max(1) as f64
    }

    /// Missed bytes by bytes asked for.
    #[must_use]
    pub fn byte_ratio(&self) -> f64 {
        self.missed_bytes as f64 / self.bytes.max(1) as f64
    }

    /// Counts a request.
    #[inline]
    pub fn count(&mut self, bytes: u64, hit: bool) {
        self.requests += 1;
        self.bytes += bytes;
        if !hit {
            self.misses += 1;
            self.missed_bytes += bytes;
        }
    }
}
