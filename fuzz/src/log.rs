//! What inputs did, by name: for people who read a failure, and to see that a corpus is alive.

use std::collections::BTreeMap;
use std::fmt::Display;

/// Notes of one or many runs.
#[derive(Debug, Default)]
pub struct Log {
    explains: bool,
    seen: BTreeMap<&'static str, u64>,
}

impl Log {
    /// Notes that are also printed, one operation a line, as they come; and targets check after
    /// every operation, so that the last line is the one that went wrong.
    #[must_use]
    pub fn explaining() -> Self {
        Self { explains: true, seen: BTreeMap::new() }
    }

    /// Whether it prints.
    #[must_use]
    pub fn explains(&self) -> bool {
        self.explains
    }

    /// An operation is about to run.
    pub fn begin<D: Display>(&mut self, name: &'static str, detail: impl FnOnce() -> D) {
        self.note(name);
        if self.explains {
            println!("{name} {}", detail());
        }
    }

    /// Something came to pass.
    pub fn note(&mut self, name: &'static str) {
        *self.seen.entry(name).or_default() += 1;
    }

    /// What the last operation came to.
    pub fn result<D: Display>(&mut self, name: &'static str, detail: impl FnOnce() -> D) {
        self.note(name);
        if self.explains {
            println!("    {name} {}", detail());
        }
    }

    /// How often each name was noted.
    #[must_use]
    pub fn seen(&self) -> &BTreeMap<&'static str, u64> {
        &self.seen
    }

    /// Operations and results noted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.seen.values().sum()
    }
}
