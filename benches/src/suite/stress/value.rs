//! Values that prove what they are.
//!
//! A value names its key and the write that it came of, and every further word of it follows from
//! those two and its length. So a reader sees from the bytes alone that they are of this key, of one
//! write, and whole; and how old that write is.

use anyhow::{Result, bail, ensure};

use crate::workload::mix;

/// The shortest value, in bytes.
pub const LEAST: usize = 24;

/// What the body begins with; depends on all of its arguments.
fn seal(id: u64, write: u64, len: usize) -> u64 {
    mix(id ^ mix(write ^ mix(len as u64)))
}

fn word(seal: u64, nth: usize) -> u64 {
    seal.wrapping_add((nth as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Fills `value`, of at least [`LEAST`] bytes.
pub fn fill(value: &mut [u8], id: u64, write: u64) {
    let seal = seal(id, write, value.len());
    let (head, body) = value.split_at_mut(LEAST);
    for (place, part) in head.chunks_exact_mut(8).zip([id, write, seal]) {
        place.copy_from_slice(&part.to_le_bytes());
    }
    for (nth, place) in body.chunks_mut(8).enumerate() {
        place.copy_from_slice(&word(seal, nth).to_le_bytes()[..place.len()]);
    }
}

/// The write that a value of this key came of; an error says what is wrong with it.
pub fn check(value: &[u8], id: u64) -> Result<u64> {
    ensure!(value.len() >= LEAST, "a value of {} bytes, shorter than any written", value.len());
    let (head, body) = value.split_at(LEAST);
    let mut parts = [0; 3];
    for (part, bytes) in parts.iter_mut().zip(head.chunks_exact(8)) {
        *part = bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    let [owner, write, sealed] = parts;
    ensure!(owner == id, "the value of key {owner} under key {id}");
    let seal = seal(id, write, value.len());
    ensure!(sealed == seal, "key {id}, write {write}: a value of another length, or of two writes");
    for (nth, bytes) in body.chunks(8).enumerate() {
        if bytes != &word(seal, nth).to_le_bytes()[..bytes.len()] {
            bail!("key {id}, write {write}: other bytes from {} on", LEAST + 8 * nth);
        }
    }
    Ok(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_proves_its_key_its_write_and_each_byte() {
        for len in [24, 25, 31, 32, 100, 4_097] {
            let mut value = vec![0; len];
            fill(&mut value, 7, 9);
            assert_eq!(check(&value, 7).unwrap(), 9);
            assert!(check(&value, 8).is_err());
            assert!(len == 24 || check(&value[..len - 1], 7).is_err());
            for at in [0, 8, 16, len / 2, len - 1] {
                value[at] ^= 1;
                assert!(check(&value, 7).is_err(), "byte {at} of {len}");
                value[at] ^= 1;
            }
            // The first half of one write, the second of the next.
            let mut newer = vec![0; len];
            fill(&mut newer, 7, 10);
            newer[..12].copy_from_slice(&value[..12]);
            assert!(check(&newer, 7).is_err());
        }
    }
}
