//! The caches that HyperCache is compared with.
//!
//! Each is used the way that suits it best within the contract of [`crate::cache::Cache`]: its
//! fastest hasher among ours (`ahash` for all that take one), told how many entries to expect,
//! shards as its own defaults or better, values in the container whose read costs it least. The
//! weigher is key plus value bytes, which is what a user who thinks in bytes writes.

mod foyer;
mod lru;
mod moka;
mod quick;
mod seg;

pub(super) use foyer::Foyer;
pub(super) use lru::Lru;
pub(super) use moka::Moka;
pub(super) use quick::Quick;
pub(super) use seg::Seg;

use super::Spec;

/// What most of them keep keys and values in.
type Boxed = Box<[u8]>;

/// A power of two of shards, at most `most`, that leaves each a hundred entries or so.
fn shards(spec: &Spec, most: u64) -> usize {
    let wanted = (spec.entries / 128).max(1).min(most);
    1 << wanted.ilog2()
}

/// Copies a value out; a buffer that is too small is a fault of the workload and counts as a miss.
#[inline]
fn copy_out(value: &[u8], buf: &mut [u8]) -> Option<usize> {
    buf.get_mut(..value.len())?.copy_from_slice(value);
    Some(value.len())
}
