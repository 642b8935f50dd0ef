//! A generator fast enough to be drowned out by what it feeds.

/// Weyl sequence under a multiply-and-fold finaliser ("wyrand", Wang Yi, 2019): one 64 x 64
/// multiplication a number, which is what a benchmark loop can afford; nothing here is secret.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5851_F42D_4C95_7F2D))
    }

    /// 64 uniform bits.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "it never ends, so no Option")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0xA076_1D64_78BD_642F);
        let product = u128::from(self.0) * u128::from(self.0 ^ 0xE703_7ED1_A0B4_28DB);
        (product >> 64) as u64 ^ product as u64
    }

    /// Uniform in `0..bound`; the bias of at most `bound / 2^64` does not matter here.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `least..=most`.
    #[inline]
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Uniform in [0, 1), 53 bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A bijection of 64 bits in which every input bit moves every output bit (the finaliser of
/// SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
#[inline]
#[must_use]
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut rng = Rng::new(7);
        let mut seen = [false; 10];
        for _ in 0..1_000 {
            seen[rng.below(10) as usize] = true;
            assert!((3..=5).contains(&rng.between(3, 5)));
            assert!((0.0..1.0).contains(&rng.unit()));
        }
        assert_eq!(seen, [true; 10]);
    }

    #[test]
    fn seeds_decide() {
        assert_eq!(Rng::new(1).next(), Rng::new(1).next());
        assert_ne!(Rng::new(1).next(), Rng::new(2).next());
    }
}
