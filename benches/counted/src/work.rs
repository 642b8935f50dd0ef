//! The shapes of cases: what is brought about first, and what is counted then.

use crate::inputs::{Key, key_of};

/// Operations that can be repeated.
pub trait Work {
    /// Brings about what [`Work::run`] needs; not counted.
    fn ready(&mut self) {}

    /// Does the operations; counted.
    ///
    /// # Panics
    /// If one of them did something else than it was meant to: then the count means nothing.
    fn run(&mut self);
}

/// One call for each of these keys; all must say that they went as meant.
pub struct Calls<F> {
    pub keys: Vec<Key>,
    pub call: F,
}

impl<F: FnMut(&Key) -> bool> Work for Calls<F> {
    fn run(&mut self) {
        let mut went_well = 0;
        for key in &self.keys {
            went_well += usize::from((self.call)(key));
        }
        assert_eq!(went_well, self.keys.len(), "calls that did what they were meant to");
    }
}

/// [`Calls`] on keys that were never there before.
pub struct OnNewKeys<F> {
    calls: Calls<F>,
    next: u64,
    ops: usize,
}

impl<F> OnNewKeys<F> {
    /// Keys of the ids from `first` on, `ops` of them a run.
    pub fn new(first: u64, ops: usize, call: F) -> Self {
        Self { calls: Calls { keys: Vec::new(), call }, next: first, ops }
    }
}

impl<F: FnMut(&Key) -> bool> Work for OnNewKeys<F> {
    fn ready(&mut self) {
        let end = self.next + self.ops as u64;
        self.calls.keys.clear();
        self.calls.keys.extend((self.next..end).map(key_of));
        self.next = end;
    }

    fn run(&mut self) {
        self.calls.run();
    }
}

/// Calls that need something done anew before every run.
pub struct After<B, W> {
    pub before: B,
    pub work: W,
}

impl<B: FnMut(), W: Work> Work for After<B, W> {
    fn ready(&mut self) {
        (self.before)();
        self.work.ready();
    }

    fn run(&mut self) {
        self.work.run();
    }
}
