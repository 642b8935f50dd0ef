//! Log-normal sizes: most values are small, a few are very large, as production caches report.

use super::rng::Rng;

/// A log-normal distribution given by its median and the standard deviation of its logarithm.
#[derive(Clone, Copy, Debug)]
pub struct LogNormal {
    log_median: f64,
    sigma: f64,
}

impl LogNormal {
    /// Half of the draws are below `median` (above 0); `sigma` 1 puts one in six above
    /// 2.7 medians.
    #[must_use]
    pub fn new(median: f64, sigma: f64) -> Self {
        Self { log_median: median.max(f64::MIN_POSITIVE).ln(), sigma }
    }

    /// The next draw (the normal one by Box and Muller, 1958).
    pub fn sample(&self, rng: &mut Rng) -> f64 {
        let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rng.unit()).cos();
        (self.log_median + self.sigma * normal).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread() {
        let sizes = LogNormal::new(300.0, 1.0);
        let mut rng = Rng::new(5);
        let mut draws: Vec<f64> = (0..100_001).map(|_| sizes.sample(&mut rng)).collect();
        draws.sort_by(f64::total_cmp);
        assert!((draws[50_000] / 300.0 - 1.0).abs() < 0.03);
        let above = draws.iter().filter(|&&x| x > 300.0 * 1_f64.exp()).count() as f64 / 1e5;
        assert!((above - 0.1587).abs() < 0.01);
    }
}
