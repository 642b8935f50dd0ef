//! What reads may return: for each key, which writes have begun and which are over.
//!
//! One writer owns a key, so the writes of a key have numbers in the order in which they took
//! place. `floor` is the least number that a read which begins now may return. It rises when a
//! write has returned, when a read has returned that write (later reads must not go back behind
//! it), and when a read found nothing: whatever was written before that read began is gone for
//! good then.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// What is known of one key.
#[derive(Default)]
pub struct Key {
    /// Number of the latest write that has begun.
    pub started: AtomicU64,
    /// Number of the latest write that has returned.
    pub completed: AtomicU64,
    /// Least number that a read may return.
    pub floor: AtomicU64,
}

/// All keys, and what was seen to be wrong.
pub struct Model {
    pub keys: Box<[Key]>,
    stop: AtomicBool,
    violation: Mutex<Option<String>>,
}

/// What a read that begins now has to respect.
#[derive(Clone, Copy)]
pub struct Begun {
    pub floor: u64,
    pub completed: u64,
}

impl Model {
    pub fn new(keys: u32) -> Self {
        Self {
            keys: (0..keys).map(|_| Key::default()).collect(),
            stop: AtomicBool::new(false),
            violation: Mutex::new(None),
        }
    }

    pub fn is_over(&self) -> bool {
        self.stop.load(SeqCst)
    }

    pub fn end(&self) {
        self.stop.store(true, SeqCst);
    }

    /// Notes what is wrong, the first of it, and ends the run.
    pub fn blame(&self, what: impl FnOnce() -> String) {
        if let Ok(mut violation) = self.violation.lock() {
            violation.get_or_insert_with(what);
        }
        self.end();
    }

    pub fn violation(&self) -> Option<String> {
        self.violation.lock().ok().and_then(|violation| violation.clone())
    }

    pub fn begin_read(&self, key: u32) -> Begun {
        let known = &self.keys[key as usize];
        // The floor last: it may already know more than `completed` did.
        let completed = known.completed.load(SeqCst);
        Begun { floor: known.floor.load(SeqCst), completed }
    }

    /// A read returned write `seq`.
    pub fn saw(&self, how: &str, key: u32, begun: Begun, seq: u64) {
        let known = &self.keys[key as usize];
        let started = known.started.load(SeqCst);
        if seq < begun.floor {
            self.blame(|| {
                format!("{how}: key {key} stale: write {seq} read, {} was due", begun.floor)
            });
        } else if seq > started {
            self.blame(|| format!("{how}: key {key}: write {seq} read, {started} had begun"));
        }
        known.floor.fetch_max(seq, SeqCst);
    }

    /// A read found something, but not what.
    pub fn saw_something(&self, how: &str, key: u32, begun: Begun) {
        let started = self.keys[key as usize].started.load(SeqCst);
        if started < begun.floor {
            self.blame(|| format!("{how}: key {key} is there after write {started} removed it"));
        }
    }

    /// A read found nothing.
    pub fn missed(&self, key: u32, begun: Begun) {
        self.keys[key as usize].floor.fetch_max(begun.completed + 1, SeqCst);
    }

    /// Writes that had returned: all of it is gone when a removal that begins now has returned.
    pub fn begin_removal(&self) -> Vec<u64> {
        self.keys.iter().map(|key| key.completed.load(SeqCst)).collect()
    }

    pub fn end_removal(&self, completed: &[u64], removed: impl Fn(u32) -> bool) {
        for (number, (key, completed)) in self.keys.iter().zip(completed).enumerate() {
            if removed(number as u32) {
                key.floor.fetch_max(completed + 1, SeqCst);
            }
        }
    }
}
