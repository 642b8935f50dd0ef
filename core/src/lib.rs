//! The engine of HyperCache: an in-process cache that holds its byte limit.
//!
//! A [`Pool`] owns bytes, a [`Store`] holds entries inside a pool. Everything a pool causes to be
//! allocated is charged to it, and the charge is never above the limit in force.
//!
//! Imports run one way: `memory <- pool <- eviction <- store`. The eviction policies know no
//! store; the pool sees its stores as [`pool::Tenant`]s.

#[cfg(not(loom))]
pub mod clock;
pub mod config;
pub mod error;
pub mod eviction;
#[cfg(not(loom))]
mod hash;
#[cfg(not(loom))]
pub mod log;
#[cfg(not(loom))]
pub mod memory;
#[cfg(not(loom))]
pub mod pool;
#[cfg(not(loom))]
pub mod stats;
#[cfg(not(loom))]
pub mod store;
pub mod types;

/// What the models of the read protocol (`tests/loom_*.rs`) run, on loom's atomics.
#[cfg(loom)]
#[doc(hidden)]
pub mod memory {
    pub mod slot;
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
}

pub use config::{PolicyKind, PoolConfig, StoreConfig, Thresholds};
pub use error::{Error, ErrorKind, Result};
#[cfg(not(loom))]
pub use pool::Pool;
#[cfg(not(loom))]
pub use store::Store;
pub use types::{
    BatchEntry, DeleteOutcome, IncrOutcome, Info, Match, Pressure, PutMode, PutOptions, PutOutcome,
    Read, Ttl, ValueType,
};
