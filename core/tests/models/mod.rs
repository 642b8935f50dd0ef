//! How a model is run, and how a broken one is shown to fail.

#![allow(dead_code)] // each file of models uses its part

use loom::model::Builder;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Loom's message when two accesses to an entry's bytes are not ordered.
pub const RACE: &str = "Causality violation";

/// Preemptions of an execution; so many show every fault that these models know.
const PREEMPTIONS: usize = 3;

/// Runs every execution with up to so many preemptions, or with `LOOM_MAX_PREEMPTIONS` of them. What
/// a load may see is not bounded.
fn run(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.check(model);
}

/// The model holds in every execution.
pub fn holds(model: impl Fn() + Sync + Send + 'static) {
    run(PREEMPTIONS, model);
}

/// The same with fewer preemptions, for a model that is long.
pub fn holds_within(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    run(preemptions, model);
}

/// The model fails in some execution, and for the reason given.
pub fn fails(reason: &str, model: impl Fn() + Sync + Send + 'static) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(|| run(PREEMPTIONS, model))) else {
        panic!("the broken model holds");
    };
    let said = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    assert!(said.contains(reason), "it fails, but not of {reason:?}: {said}");
}

/// The two sides of the asymmetric barrier, as sequentially consistent fences.
///
/// Loom switches threads at accesses, and only where another thread touches the same place. A fence
/// is neither, so it would always come with the access before it. The store before it makes the
/// order of fences something that loom tries out; nobody reads it.
pub struct Fences(AtomicU32);

impl Fences {
    /// No fence yet.
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// `barrier::light` where the reclaimer's heavy barrier makes it a fence. Left out if broken.
    pub fn light(&self, is_there: bool) {
        self.0.store(0, Ordering::Relaxed);
        if is_there {
            fence(Ordering::SeqCst);
        }
    }

    /// `barrier::heavy`. Left out if broken.
    pub fn heavy(&self, is_there: bool) {
        self.light(is_there);
    }
}
