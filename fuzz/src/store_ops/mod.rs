//! Operations of two stores on one pool against a map.
//!
//! The rules, for a key and what was written under it last:
//!
//! 1. *A hit is the last write.* Whatever finds an entry (a copy, a view, a batch, a scan, an
//!    answer that says it is there) finds what was written last, not removed since and not over:
//!    the value to the byte, its type, session, flags, and exactly the time that it has left.
//! 2. *A miss needs a reason.* An entry that is not over may be missing only if the store says
//!    that it evicted one since this one was written; and all losses together are no more than the
//!    evictions that it says. A key found missing stays missing until it is written again.
//! 3. *Removed is removed.* After a delete, a take, an invalidation that matches, a clear, and after
//!    a write that failed or stored nothing where it should have replaced, the key is missing.
//! 4. *Versions.* Equal versions of a store are the same write of the same key; 0 is none.
//! 5. *A scan* shows each entry that is there throughout once, and nothing that is not there.
//! 6. *Views and blocks* keep their bytes until they are given back, whatever happens to the key,
//!    the store and the limit. What is given back twice, or was never given out, is refused.
//! 7. *Refusals* have the reason that they name: `TooLarge` is for what is long, `NoSpace` for a
//!    budget that is held by something eviction cannot give back.
//! 8. *Leases*: a key has one at a time, and no two are equal; a value is stored under one that was
//!    granted, has not ended and is not over, and under no other; whatever changes the key ends it,
//!    and nothing else does, unless more is being loaded than there are records for. Who waits is
//!    told how it ended, once, and at once.
//! 9. *Limits* hold: the pool's in force, a store's own in bytes and in entries; pool and stores
//!    validate; in the end nothing is left.
//!
//! One thread, a clock that moves when it is told to: an input does the same every time, but for
//! the jitter of times to live, of which the model knows the bounds.

mod bulk;
mod check;
mod keys;
mod life;
mod loads;
mod raw;
mod read;
mod scan;
mod setup;
mod twin;
mod upkeep;
mod world;
mod write;

use crate::input::Input;
use crate::{Log, Target};
use world::World;

/// See the module.
pub const TARGET: Target =
    Target { name: "store_ops", run, reaches: REACHES, generated: 400, len_max: 512 };

/// Operations of one input.
const STEPS_MAX: u32 = 3_000;
/// Bytes of values of one input, or a little more: after it they are short.
const WRITTEN_MAX: usize = 12 << 20;
/// Operations between two checks of everything.
const CHECK_EVERY: u32 = 8;

/// Runs one input.
pub fn run(bytes: &[u8], log: &mut Log) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input, log);
    for steps in 1..=STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        if world.log.explains() || steps.is_multiple_of(CHECK_EVERY) {
            world.check();
        }
    }
    world.end();
}

/// What the corpus is there to reach.
const REACHES: &[&str] = &[
    "absent",
    "advance",
    "alloc",
    "allocated",
    "busy",
    "claim",
    "claim hit",
    "claimed",
    "clear",
    "closed",
    "commit",
    "conflict",
    "delete",
    "delete if",
    "delete many",
    "deleted",
    "destroy",
    "exists",
    "fill",
    "find",
    "forget handles",
    "free",
    "free wrongly",
    "get",
    "get many",
    "get or claim",
    "get or load",
    "hit",
    "hit in a batch",
    "incr",
    "invalid alignment",
    "invalidate",
    "known to be absent",
    "known to fail",
    "lease conflict",
    "lease drop",
    "lease put",
    "lease put went",
    "limit refused",
    "load cancelled",
    "load failed",
    "look",
    "miss",
    "no claim",
    "no room for a block",
    "no space",
    "not found",
    "not pinned",
    "open",
    "open scan",
    "overflow",
    "partial",
    "pin",
    "pin many",
    "pinned",
    "pool limit",
    "pressure",
    "put",
    "put many",
    "reached",
    "read through",
    "refused a pointer",
    "refused an inner pointer",
    "reserve",
    "reserved",
    "scan",
    "scan ended",
    "small buffer",
    "small buffer in a batch",
    "step scan",
    "store limit",
    "stored",
    "sum",
    "switch",
    "take",
    "taken",
    "thresholds",
    "thresholds refused",
    "too large",
    "touch",
    "touched",
    "trim",
    "unpin",
    "wait",
    "waits",
    "wrong arguments",
    "wrong type",
];
