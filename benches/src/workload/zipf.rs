//! Zipf-distributed ranks by rejection-inversion.
//!
//! W. Hörmann, G. Derflinger: "Rejection-inversion to generate variates from monotone discrete
//! distributions", ACM TOMACS 6(3), 1996. Constant time and space whatever the number of keys,
//! for any exponent above 0; a table of cumulated weights would take gigabytes for large key
//! spaces.

use super::rng::Rng;

/// Ranks `0..keys`, rank r with probability proportional to `1 / (r + 1)^exponent`.
#[derive(Clone, Copy, Debug)]
pub struct Zipf {
    keys: f64,
    exponent: f64,
    integral_first: f64,
    integral_last: f64,
    shortcut: f64,
}

impl Zipf {
    /// A distribution over `keys` (at least 1) ranks; `exponent` above 0.
    #[must_use]
    pub fn new(keys: u64, exponent: f64) -> Self {
        let keys = keys.max(1) as f64;
        let mut zipf =
            Self { keys, exponent, integral_first: 0.0, integral_last: 0.0, shortcut: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(keys + 0.5);
        zipf.shortcut = 2.0 - zipf.integral_inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    /// The next rank; 0 is the most frequent.
    #[inline]
    pub fn sample(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.integral_last + rng.unit() * (self.integral_first - self.integral_last);
            let x = self.integral_inverse(u);
            let k = x.round().clamp(1.0, self.keys);
            if k - x <= self.shortcut || u >= self.integral(k + 0.5) - self.density(k) {
                return k as u64 - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the density, shaped so that it is exact near an exponent of 1.
    fn integral(&self, x: f64) -> f64 {
        let log_x = x.ln();
        exp_m1_over_x((1.0 - self.exponent) * log_x) * log_x
    }

    fn integral_inverse(&self, x: f64) -> f64 {
        let t = (x * (1.0 - self.exponent)).max(-1.0);
        (ln_1p_over_x(t) * x).exp()
    }
}

/// `(e^x - 1) / x`, continuous at 0.
fn exp_m1_over_x(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 * (1.0 + x / 3.0 * (1.0 + x * 0.25)) }
}

/// `ln(1 + x) / x`, continuous at 0.
fn ln_1p_over_x(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x * (1.0 / 3.0 - 0.25 * x)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_follow_the_law() {
        for exponent in [0.6, 0.99, 1.0, 1.2] {
            let keys = 1_000;
            let zipf = Zipf::new(keys, exponent);
            let mut rng = Rng::new(11);
            let mut counts = vec![0_u64; keys as usize];
            let draws = 1_000_000;
            for _ in 0..draws {
                counts[zipf.sample(&mut rng) as usize] += 1;
            }
            let weight = |rank: usize| ((rank + 1) as f64).powf(-exponent);
            let total: f64 = (0..keys as usize).map(weight).sum();
            for rank in [0, 1, 2, 9, 99] {
                let expected = draws as f64 * weight(rank) / total;
                let error = (counts[rank] as f64 - expected).abs() / expected.sqrt();
                assert!(error < 5.0, "exponent {exponent} rank {rank}: {error:.1} sigma");
            }
        }
    }

    #[test]
    fn one_key_is_always_drawn() {
        let zipf = Zipf::new(1, 0.99);
        let mut rng = Rng::new(3);
        assert!((0..100).all(|_| zipf.sample(&mut rng) == 0));
    }
}
