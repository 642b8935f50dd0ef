//! The library's structs as dicts: names and order are the header's, and the dataclasses of the
//! package are made from them.

use hypercache_sys::*;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::open::{lasting, seconds};

macro_rules! dict {
    ($py:expr, $from:expr, $($field:ident)*) => {{
        let dict = PyDict::new($py);
        $(dict.set_item(stringify!($field), $from.$field)?;)*
        dict
    }};
}

pub fn store<'py>(py: Python<'py>, stats: &hc_store_stats) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, stats,
        entries payload_bytes dead_bytes waiting_bytes used_bytes limit_bytes pinned_bytes hits
        misses stale_hits inserts updates deletes invalidated evicted evicted_bytes expired
        not_admitted rejected written_bytes moved_bytes filter_skips leases lease_waits sessions
        sessions_idle sessions_expired sessions_ended faults poisoned_shards
    ))
}

pub fn pool<'py>(py: Python<'py>, stats: &hc_pool_stats) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, stats,
        limit_bytes target_bytes used_bytes peak_bytes pinned_bytes held_bytes app_bytes
        overhead_bytes resident_bytes huge_bytes stores level_changes alloc_failures alloc_created
        alloc_reused alloc_returned alloc_discarded pressure
    ))
}

pub fn filter<'py>(py: Python<'py>, stats: &hc_filter_stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = dict!(py, stats,
        keys capacity bytes adds add_failures lookups removes remove_failures kicks
        longest_kick_chain resizes positives load_factor fpr_theoretical fpr_sampled
    );
    dict.set_item("saturated", stats.saturated != 0)?;
    Ok(dict)
}

pub fn config<'py>(py: Python<'py>, config: &hc_store_config) -> PyResult<Bound<'py, PyDict>> {
    let dict = dict!(py, config, limit_bytes limit_entries value_len_max shards filter_fpr
        jitter_pct floor_bytes);
    dict.set_item("name", lasting(config.name))?;
    dict.set_item("policy", hypercache_bindings::policy::name(config.policy))?;
    dict.set_item("policy_options", lasting(config.policy_options))?;
    let ttl = match config.default_ttl_ms {
        HC_TTL_DEFAULT => HC_TTL_NEVER,
        ttl => ttl,
    };
    dict.set_item("ttl", seconds(ttl))?;
    Ok(dict)
}
