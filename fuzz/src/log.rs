//! What inputs did, by name: for people who read a failure, and to see that a corpus is alive.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// What explanations call slow.
const SLOW: Duration = Duration::from_millis(5);

/// Notes of one or many runs.
#[derive(Debug, Default)]
pub struct Log {
    explains: bool,
    /// When the operation began that runs now.
    began: Option<Instant>,
    seen: BTreeMap<&'static str, u64>,
}

impl Log {
    /// Notes that are also printed, one operation a line, as they come; and targets check after
    /// every operation, so that the last line is the one that went wrong.
    #[must_use]
    pub fn explaining() -> Self {
        Self { explains: true, ..Self::default() }
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
            self.tell_if_slow();
            println!("{name} {}", detail());
            self.began = Some(Instant::now());
        }
    }

    fn tell_if_slow(&mut self) {
        let time = self.began.take().map_or(Duration::ZERO, |began| began.elapsed());
        if time > SLOW {
            println!("    took {time:.1?}");
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
            self.tell_if_slow();
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
