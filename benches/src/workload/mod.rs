//! Seeded inputs: the same seed gives the same keys, sizes and order on every machine.
//!
//! Keys are made from ids on the fly, because a table of keys would compete with the measured
//! cache for the processor's caches. What making them costs is measured beside every cell and
//! subtracted (see [`crate::drive`]).

mod lognormal;
mod requests;
mod rng;
mod zipf;

pub use lognormal::LogNormal;
pub use requests::{
    Asked, FromTrace, SYNTHETIC_LEN_MAX, Synthetic, footprint, parse_count, read_trace,
};
pub use rng::{Rng, mix};
pub use zipf::Zipf;

/// Length of every generated key, in bytes.
pub const KEY_LEN: usize = 16;

/// The key of an id: 16 bytes, different ids have different keys.
#[inline]
#[must_use]
pub fn key_of(id: u64) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&mix(id).to_le_bytes());
    key[8..].copy_from_slice(&id.to_le_bytes());
    key
}

/// Ids from here on are never stored by any workload, so that reading them misses.
pub const ABSENT: u64 = 1 << 62;

/// Bytes that values are cut from: small enough to stay in the first cache levels, random enough
/// that nothing compresses or deduplicates them.
#[derive(Clone, Debug)]
pub struct ValueBytes {
    bytes: Box<[u8]>,
    longest: usize,
}

impl ValueBytes {
    const SPREAD: usize = 4096;

    /// Values of up to `longest` bytes.
    #[must_use]
    pub fn new(longest: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let len = longest.next_multiple_of(8) + Self::SPREAD;
        let bytes = std::iter::repeat_with(|| rng.next().to_le_bytes()).take(len / 8).flatten();
        Self { bytes: bytes.collect(), longest }
    }

    /// How long the longest is, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// `len` bytes (at most the longest) that depend on `id`.
    #[inline]
    #[must_use]
    pub fn get(&self, id: u64, len: usize) -> &[u8] {
        let start = (id as usize).wrapping_mul(64) % Self::SPREAD;
        &self.bytes[start..start + len.min(self.longest)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ() {
        let keys: std::collections::HashSet<_> = (0..10_000).map(key_of).collect();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn values_have_their_length() {
        let values = ValueBytes::new(100, 1);
        for len in [0, 1, 99, 100] {
            assert_eq!(values.get(12_345, len).len(), len);
        }
    }
}
