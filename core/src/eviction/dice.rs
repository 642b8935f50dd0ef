//! Random numbers for policies: plain data, and the same in every run.

/// A congruential generator with Steele's and Vigna's multiplier, of which the high half is used.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The same numbers for the same salts.
    pub const fn new() -> Self {
        Self(1)
    }

    /// The next 32 bits; the salt, an entry's fingerprint, makes shards differ.
    #[inline(always)]
    pub fn roll(&mut self, salt: u32) -> u32 {
        self.0 = self.0.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(u64::from(salt) | 1);
        (self.0 >> 32) as u32
    }
}
