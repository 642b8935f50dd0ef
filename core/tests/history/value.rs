//! Values that say what they are: every byte follows from the key and the number of the write.

/// Values from this length on name their key and write in their first bytes.
pub const NAMED: usize = 16;
/// The longest value written.
pub const LEN_MAX: usize = 60 << 10;

/// The bytes of a key.
pub fn key_bytes(key: u32) -> [u8; 8] {
    let mut bytes = *b"h0:00000";
    // Two prefixes, for removals by pattern.
    bytes[1] = b'0' + (key & 1) as u8;
    bytes[3..7].copy_from_slice(&key.to_be_bytes());
    bytes
}

fn seed(key: u32, seq: u64) -> u64 {
    let mut x = u64::from(key) << 40 ^ seq;
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Writes the value of write `seq` of `key` over all of `out`.
pub fn fill(key: u32, seq: u64, out: &mut [u8]) {
    let len = out.len() as u64;
    let mut word = seed(key, seq).wrapping_add(len);
    let mut body = out;
    if len as usize >= NAMED {
        let (head, rest) = body.split_at_mut(NAMED);
        head[..4].copy_from_slice(&key.to_le_bytes());
        head[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        head[8..].copy_from_slice(&seq.to_le_bytes());
        body = rest;
    }
    let mut chunks = body.chunks_exact_mut(8);
    for chunk in &mut chunks {
        chunk.copy_from_slice(&word.to_le_bytes());
        word = word.wrapping_add(STEP);
    }
    let rest = chunks.into_remainder();
    rest.copy_from_slice(&word.to_le_bytes()[..rest.len()]);
}

/// Whether `bytes` are, all of them, the value of write `seq` of `key`.
pub fn is_whole(key: u32, seq: u64, bytes: &[u8]) -> bool {
    let mut word = seed(key, seq).wrapping_add(bytes.len() as u64);
    let body = bytes.get(NAMED..).unwrap_or(bytes);
    let mut chunks = body.chunks_exact(8);
    let mut wrong = 0;
    for chunk in &mut chunks {
        let found = chunk.first_chunk::<8>().map_or(0, |chunk| u64::from_le_bytes(*chunk));
        wrong |= found ^ word;
        word = word.wrapping_add(STEP);
    }
    let rest = chunks.remainder();
    wrong == 0 && rest == &word.to_le_bytes()[..rest.len()]
}

/// The write that a value names, if it names this key and its own length.
pub fn named_write(key: u32, bytes: &[u8]) -> Result<u64, &'static str> {
    let head = bytes.first_chunk::<NAMED>().ok_or("too short to name its write")?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(0) != key {
        return Err("foreign: it names another key");
    }
    if word(4) as usize != bytes.len() {
        return Err("torn: it names another length");
    }
    Ok(u64::from(word(8)) | u64::from(word(12)) << 32)
}

#[test]
fn values_are_told_from_each_other() {
    let mut bytes = vec![0; 1_000];
    for len in [0, 1, 7, 8, 15, 16, 17, 31, 500, 1_000] {
        fill(7, 9, &mut bytes[..len]);
        assert!(is_whole(7, 9, &bytes[..len]));
        assert!(len == 0 || !is_whole(7, 8, &bytes[..len]) || len == NAMED);
        if len >= NAMED {
            assert!(named_write(7, &bytes[..len]) == Ok(9));
            assert!(named_write(8, &bytes[..len]).is_err());
        }
        if len > NAMED {
            bytes[len - 1] ^= 1;
            assert!(!is_whole(7, 9, &bytes[..len]));
        }
    }
}
