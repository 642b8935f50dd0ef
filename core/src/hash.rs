//! The key hash: rapidhash v3 (with protected mixing), seeded. Keys of up to 16 bytes are hashed
//! without a call.
//!
//! It gives the same result on every CPU and in every version, so that bytes that outlive a
//! process, and runs with a fixed seed, agree. With a random seed its secrets are random too,
//! which makes collisions hard to aim at; it is not a cryptographic hash.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};

/// A seeded hash function.
#[derive(Clone, Debug)]
pub struct KeyHash(RapidSecrets);

impl KeyHash {
    /// The hash of this seed; 0 draws one from the system.
    pub fn new(seed: u64) -> Self {
        Self(RapidSecrets::seed(if seed == 0 { random_u64() } else { seed }))
    }

    /// The hash of a key.
    #[inline(always)]
    pub fn of(&self, key: &[u8]) -> u64 {
        rapidhash_v3_inline::<true, true, true>(key, &self.0)
    }
}

/// A random number of the system; of the clock and an address where the system refuses.
pub fn random_u64() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer is valid for its length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 {
        return u64::from_ne_bytes(bytes);
    }
    let address = (&raw const bytes) as u64;
    crate::clock::monotonic_ns().wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ address.rotate_left(32)
}
