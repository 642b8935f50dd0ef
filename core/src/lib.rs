//! The engine of HyperCache: an in-process cache that holds its byte limit.
//!
//! A [`Pool`] owns bytes, a [`Store`] holds entries inside a pool. Everything a pool causes to be
//! allocated is charged to it, and the charge is never above the limit in force.
//!
//! ```
//! use hypercache_core::{
//!     Match, Pool, PoolConfig, PutMode, PutOptions, PutOutcome, Result, StoreConfig, Ttl,
//!     metrics_text,
//! };
//!
//! fn main() -> Result<()> {
//!     // 4 MiB for everything: entries, index, bookkeeping. Handles are shared by cloning them.
//!     let pool = Pool::create(&PoolConfig::new(4 << 20))?;
//!     let store = pool.open_store(&StoreConfig::default())?;
//!
//!     store.set(b"user:7", b"Ada")?;
//!     assert_eq!(store.get_vec(b"user:7")?.as_deref(), Some(&b"Ada"[..]));
//!
//!     // Options: here an add, which leaves what is there, with a time to live.
//!     let ttl = Ttl::Millis(60_000);
//!     let add = PutOptions { ttl, mode: PutMode::Add, ..PutOptions::default() };
//!     assert_eq!(store.put(b"user:7", b"Grace", &add)?, PutOutcome::Exists);
//!
//!     // A view shows the value in place, for as long as it is held.
//!     if let Some(view) = store.pin(b"user:7", false)? {
//!         assert_eq!(&*view, b"Ada");
//!     }
//!
//!     // A walk over what matches.
//!     let mut scan = store.scan(Match::Prefix(b"user:"))?;
//!     while let Some(entry) = scan.next(false)? {
//!         assert_eq!(entry.key, b"user:7");
//!     }
//!
//!     let stats = pool.stats();
//!     assert!(stats.used_bytes <= stats.limit_bytes);
//!     assert!(metrics_text()?.contains("hypercache_store_hits_total"));
//!     Ok(())
//! }
//! ```
//!
//! What a program needs is named at the root of the crate. The modules are for who builds on the
//! engine's parts or reads them.
//!
//! Imports run one way: `memory <- pool <- {filter, eviction} <- store`. The eviction policies and
//! the filter know no store; the pool sees its stores as [`pool::Tenant`]s.

#[cfg(not(loom))]
pub mod clock;
pub mod config;
pub mod error;
pub mod eviction;
#[cfg(not(loom))]
pub mod filter;
#[cfg(not(loom))]
mod hash;
#[cfg(not(loom))]
pub mod log;
#[cfg(not(loom))]
pub mod memory;
#[cfg(not(loom))]
mod metrics;
#[cfg(not(loom))]
pub mod pool;
#[cfg(not(loom))]
pub mod stats;
#[cfg(not(loom))]
pub mod store;
pub mod types;

/// What the models of the read protocol (`tests/loom_*.rs`) run, on loom's atomics; the policies
/// are not among it, but name the lock and the prefetch.
#[cfg(loom)]
#[doc(hidden)]
pub mod memory {
    pub mod bias;
    pub mod lock;
    pub mod racy;
    pub mod slot;
}

/// As above.
#[cfg(loom)]
#[doc(hidden)]
pub mod filter {
    pub mod settled;
}

/// As above; of the pool, only what the index calls a segment.
#[cfg(loom)]
#[doc(hidden)]
pub mod pool {
    pub mod space {
        pub type SegId = u32;
    }
}

/// As above.
#[cfg(loom)]
#[doc(hidden)]
pub mod store {
    pub mod index;
    pub mod lease {
        pub mod word;
    }
}

pub use config::{PolicyKind, PoolConfig, StoreConfig, Thresholds};
pub use error::{Error, ErrorKind, Result};
#[cfg(not(loom))]
pub use filter::{Filter, FilterConfig, FilterStats};
#[cfg(not(loom))]
pub use log::{Severity, set_logger};
#[cfg(not(loom))]
pub use metrics::metrics_text;
#[cfg(not(loom))]
pub use pool::{AllocOptions, LimitOutcome, Pool, PressureEvent, Watch};
#[cfg(not(loom))]
pub use stats::{LatencyOp, LatencySummary, PoolStats, StoreStats};
#[cfg(not(loom))]
pub use store::{
    BatchRead, Claim, ClaimOptions, Copied, Draft, DropReason, Lease, LoadError, LoadOptions,
    Loaded, Scan, ScanEntry, Store, View, Waits,
};
pub use types::{
    BatchEntry, DeleteOutcome, IncrOutcome, Info, Match, Pressure, PutMode, PutOptions, PutOutcome,
    Read, Ttl, ValueType,
};
