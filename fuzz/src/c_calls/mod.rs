//! Calls of the C interface, right and wrong, against what `hypercache.h` says.
//!
//! Everything that the header calls detectable is passed: NULL with and without a length, lengths
//! that no object has, structs of every size, unknown flags, enumerators and tails, limits from
//! nowhere, text that is none, handles of a destroyed store, views, drafts and blocks that were
//! given back. What the header leaves to the caller (that a pointer points, that a handle holds a
//! reference) is kept.
//!
//! The rules:
//! 1. a call with one wrong argument answers the status that the header has for it, and changes
//!    nothing: no output, no entry;
//! 2. a call without one answers a status that it is documented to answer; through a destroyed
//!    store that is `HC_ERR_CLOSED`;
//! 3. a failure fills the `hc_error` that it was given, with its own status and a sentence; nothing
//!    else touches it;
//! 4. outputs are written for the statuses that the header names, and for no others;
//! 5. a hit is the last write, as in [`crate::store_ops`]; a miss needs an eviction, or a time to
//!    live that may be over by now;
//! 6. a lease that was granted is one of the caller's key; one that was made up, was used, or is
//!    another store's stores nothing; it is cleared by whatever ends it; waits are told once;
//! 7. views and blocks keep their bytes; callbacks' contexts are dropped once;
//! 8. no fault: never `HC_ERR_INTERNAL`, no message of that severity, and all validate.

mod args;
mod batches;
mod filters;
mod loads;
mod pools;
mod reads;
mod stores;
mod walks;
mod world;
mod writes;

use crate::input::Input;
use crate::{Log, Target};
use world::World;

/// See the module.
pub const TARGET: Target =
    Target { name: "c_calls", run, reaches: REACHES, generated: 2_000, len_max: 512 };

/// Calls of one input.
const CALLS_MAX: u32 = 2_000;
/// Calls between two checks of everything.
const CHECK_EVERY: u32 = 16;
/// Bytes of values of one input, or a little more.
const WRITTEN_MAX: usize = 8 << 20;

/// Runs one input.
pub fn run(bytes: &[u8], log: &mut Log) {
    let mut input = Input::new(bytes);
    let mut world = World::new(log);
    for calls in 1..=CALLS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        if world.log.explains() || calls.is_multiple_of(CHECK_EVERY) {
            world.check();
        }
    }
    world.end();
}

/// What the corpus is there to reach: every call, and every status that this release answers but
/// for those of faults and forks.
const REACHES: &[&str] = &[
    "HC_CLAIMED",
    "HC_CONFLICT",
    "HC_ERR_CLOSED",
    "HC_ERR_DEADLOCK",
    "HC_ERR_INVALID",
    "HC_ERR_NO_SPACE",
    "HC_ERR_TOO_LARGE",
    "HC_ERR_UNSUPPORTED",
    "HC_EXISTS",
    "HC_LOAD_FAILED",
    "HC_NOT_FOUND",
    "HC_OK",
    "HC_OVERFLOW",
    "HC_PARTIAL",
    "HC_SMALL_BUFFER",
    "HC_TIMEOUT",
    "HC_WRONG_TYPE",
    "a limit for a closed store",
    "batch on a closed store",
    "batch went",
    "batch went in part",
    "block",
    "certainly absent",
    "fill",
    "hc_abandon",
    "hc_claim",
    "hc_claim_many",
    "hc_clear",
    "hc_commit",
    "hc_contains",
    "hc_delete",
    "hc_delete_if",
    "hc_delete_many",
    "hc_filter_add",
    "hc_filter_clear",
    "hc_filter_contains",
    "hc_filter_contains_many",
    "hc_filter_create",
    "hc_filter_load",
    "hc_filter_release",
    "hc_filter_remove",
    "hc_filter_retain",
    "hc_filter_save",
    "hc_filter_stats_get",
    "hc_get",
    "hc_get_info",
    "hc_get_many",
    "hc_get_or_claim",
    "hc_incr",
    "hc_invalidate",
    "hc_lease_drop",
    "hc_lease_put",
    "hc_may_exist",
    "hc_metrics_text",
    "hc_pin",
    "hc_pin_many",
    "hc_pool_alloc",
    "hc_pool_config_get",
    "hc_pool_create",
    "hc_pool_free",
    "hc_pool_open",
    "hc_pool_release",
    "hc_pool_retain",
    "hc_pool_set_limit",
    "hc_pool_set_thresholds",
    "hc_pool_stats_get",
    "hc_pool_trim",
    "hc_pool_validate",
    "hc_pool_wait",
    "hc_pool_watch",
    "hc_put",
    "hc_put_many",
    "hc_reserve",
    "hc_scan_close",
    "hc_scan_next",
    "hc_scan_open",
    "hc_set",
    "hc_status_name",
    "hc_store_config_get",
    "hc_store_destroy",
    "hc_store_find",
    "hc_store_latency_get",
    "hc_store_open",
    "hc_store_release",
    "hc_store_retain",
    "hc_store_set_known_keys",
    "hc_store_set_limit",
    "hc_store_stats_get",
    "hc_store_validate",
    "hc_take",
    "hc_touch",
    "hc_unpin",
    "hc_unpin_many",
    "hc_waits_add",
    "hc_waits_close",
    "hc_waits_next",
    "hc_waits_open",
    "hc_watch_cancel",
    "no block",
    "refused a pointer",
    "scan done",
    "scanned",
    "told",
];
