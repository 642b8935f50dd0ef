//! The keys and orders of all cases: the same in every run and on every machine.

/// Bytes of a key.
pub const KEY_LEN: usize = 16;
/// Bytes of a value, where the case does not say otherwise.
pub const VALUE_LEN: usize = 64;

pub type Key = [u8; KEY_LEN];

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The key of an id; different ids have different keys.
pub fn key_of(id: u64) -> Key {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&mix(id).to_le_bytes());
    key[8..].copy_from_slice(&id.to_le_bytes());
    key
}

/// The keys of `count` ids drawn from `0..ids`, in a fixed random order.
pub fn drawn(count: usize, ids: u64) -> Vec<Key> {
    (0..count as u64).map(|turn| key_of(mix(turn ^ 0x5EED) % ids)).collect()
}

/// The keys of a range of ids.
pub fn of_range(ids: std::ops::Range<u64>) -> Vec<Key> {
    ids.map(key_of).collect()
}
