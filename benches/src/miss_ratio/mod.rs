//! Miss ratios on traces, as `reference.csv` beside them has them for other caches and simulators.
//!
//! A *cell* is a trace, a unit, a fraction of the trace's unique objects or bytes, and a contender:
//! a policy of the store, or a library. All cells of the folder are run, as many at once as there
//! are processors, each on one thread: get, then insert on a miss. A finished cell is a row in a
//! CSV file, and a run that finds its rows there leaves them out.
//!
//! What a capacity means, so that ours is the reference's:
//!
//! - `objects`: the store's bound on entries ([`hypercache_core::StoreConfig::limit_entries`]), in a
//!   pool so large that bytes do not bind. Values are empty. Libraries weigh every object 1.
//! - `bytes`: the reference counts the bytes of objects and nothing else, and holds them exactly.
//!   A store's limit covers headers, keys, index, ghosts and what is dead or held back in the log
//!   as well. So the limit is looked for ([`ours`]) at which the *values* that are live in the
//!   store, on the mean from the first eviction on, are as many bytes as an exact FIFO queue of that
//!   capacity holds ([`exact`]), or up to half a hundredth less. What the rest
//!   costs is the matter of the second table ([`equal`]), in which everything counts.
//!   Capacities under 2 MiB are too small for a pool: there, all sizes and the capacity are taken
//!   times the same whole number, which changes no decision that is made on sizes. Libraries weigh
//!   an object its size, without its key.
//!
//! The figure of merit is the S3-FIFO paper's: the share of FIFO's misses that a policy avoids
//! ([`summary`]).

pub mod chart;
pub mod contender;
pub mod equal;
pub mod exact;
pub mod grid;
pub mod loaded;
pub mod ours;
pub mod page;
#[cfg(feature = "peers")]
pub mod peers;
pub mod picture;
pub mod results;
pub mod run;
pub mod summary;
