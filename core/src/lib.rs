//! The engine of HyperCache: an in-process cache that holds its byte limit.
//!
//! A [`Pool`] owns bytes, a [`Store`] holds entries inside a pool. Everything a pool causes to be
//! allocated is charged to it, and the charge is never above the limit in force.
//!
//! Imports run one way: `memory <- pool <- eviction <- store`. The eviction policies know no
//! store; the pool sees its stores as [`pool::Tenant`]s.

pub mod clock;
pub mod config;
pub mod error;
pub mod eviction;
mod hash;
pub mod log;
pub mod memory;
pub mod pool;
pub mod stats;
pub mod store;
pub mod types;

pub use config::{PolicyKind, PoolConfig, StoreConfig, Thresholds};
pub use error::{Error, ErrorKind, Result};
pub use pool::Pool;
pub use store::Store;
pub use types::{
    BatchEntry, DeleteOutcome, IncrOutcome, Info, Match, Pressure, PutMode, PutOptions, PutOutcome,
    Read, Ttl, ValueType,
};
