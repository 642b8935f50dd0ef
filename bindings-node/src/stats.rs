//! Statistics as objects, under the names of the C structs in JavaScript's spelling.

use hypercache_sys as hc;

use crate::filter::filter;
use crate::js::{Call, Js, Value};
use crate::open::pool;
use crate::read::store;
use crate::sized;
use crate::values;
use crate::write::outcome;

/// "used_bytes" as "usedBytes".
fn spelled(name: &str) -> String {
    let mut spelled = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else {
            spelled.push(if upper { letter.to_ascii_uppercase() } else { letter });
            upper = false;
        }
    }
    spelled
}

/// An object with the counts of a struct.
macro_rules! object {
    ($call:expr, $stats:expr, $($field:ident)+) => {{
        let object = $call.object()?;
        $( $call.set(object, &spelled(stringify!($field)), values::count($call, $stats.$field.into())?)?; )+
        object
    }};
}

/// `storeStats(store)`.
pub fn store_stats<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    let mut stats = sized!(hc::hc_store_stats);
    // SAFETY: the table holds a reference to the store.
    outcome(call, unsafe { hc::hc_store_stats_get(store, &raw mut stats) })?;
    Ok(object!(call, stats,
        entries payload_bytes dead_bytes waiting_bytes used_bytes limit_bytes pinned_bytes
        hits misses stale_hits inserts updates deletes invalidated evicted evicted_bytes expired
        not_admitted rejected written_bytes moved_bytes filter_skips leases lease_waits
        sessions sessions_idle sessions_expired sessions_ended faults poisoned_shards))
}

/// `size(store)`: how many entries there are.
pub fn size<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    let mut stats = sized!(hc::hc_store_stats);
    // SAFETY: the table holds a reference to the store.
    outcome(call, unsafe { hc::hc_store_stats_get(store, &raw mut stats) })?;
    values::count(call, stats.entries)
}

/// `poolStats(pool)`.
pub fn pool_stats<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let pool = pool(call, id)?;
    let mut stats = sized!(hc::hc_pool_stats);
    // SAFETY: the table holds a reference to the pool.
    outcome(call, unsafe { hc::hc_pool_stats_get(pool, &raw mut stats) })?;
    let object = object!(call, stats,
        limit_bytes target_bytes used_bytes peak_bytes pinned_bytes held_bytes app_bytes
        overhead_bytes resident_bytes huge_bytes stores level_changes alloc_failures
        alloc_created alloc_reused alloc_returned alloc_discarded);
    call.set(object, "pressure", call.text(crate::pressure::name(stats.pressure))?)?;
    Ok(object)
}

/// `filterStats(filter)`.
pub fn filter_stats<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let filter = filter(call, id)?;
    let mut stats = sized!(hc::hc_filter_stats);
    // SAFETY: the table holds a reference to the filter.
    outcome(call, unsafe { hc::hc_filter_stats_get(filter, &raw mut stats) })?;
    let object = object!(call, stats,
        keys capacity bytes adds add_failures lookups removes remove_failures kicks
        longest_kick_chain resizes positives);
    for (name, value) in [
        ("loadFactor", stats.load_factor),
        ("fprTheoretical", stats.fpr_theoretical),
        ("fprSampled", stats.fpr_sampled),
    ] {
        call.set(object, name, call.number(value)?)?;
    }
    call.set(object, "saturated", call.boolean(stats.saturated != 0)?)?;
    Ok(object)
}

/// `latency(store, operation)`: nanoseconds; `undefined` where they are not measured.
pub fn latency<'a>(call: Call<'a>, [id, operation]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    let mut latency = sized!(hc::hc_latency);
    // SAFETY: the table holds a reference to the store.
    let status = unsafe { hc::hc_store_latency_get(store, call.i32(operation), &raw mut latency) };
    if status == hc::HC_NOT_FOUND {
        return call.undefined();
    }
    outcome(call, status)?;
    Ok(object!(call, latency,
        count min_ns mean_ns p50_ns p90_ns p99_ns p999_ns max_ns))
}
