//! One measured figure, the same in every suite, file and page.

use serde::{Deserialize, Serialize};

use super::svg::Round;

/// What a figure counts in, and so how it is written and which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds: fewer are better.
    Ns,
    /// Operations a second: more are better.
    PerSecond,
    /// Bytes: fewer are better.
    Bytes,
    /// Instructions: fewer are better.
    Instructions,
    /// A plain count (allocations, loads, faults): fewer are better.
    Count,
    /// A share between 0 and 1 of which more is better (hits, live payload).
    Share,
    /// A share between 0 and 1 of which less is better (misses, false positives).
    Faults,
    /// A quotient of which less is better (memory by budget, time by a peer's time).
    Ratio,
}

impl Unit {
    /// Whether a greater value is a better one.
    #[must_use]
    pub const fn more_is_better(self) -> bool {
        match self {
            Self::PerSecond | Self::Share => true,
            Self::Ns
            | Self::Bytes
            | Self::Instructions
            | Self::Count
            | Self::Faults
            | Self::Ratio => false,
        }
    }

    /// Which of its values are round.
    #[must_use]
    pub const fn round(self) -> Round {
        match self {
            Self::Bytes => Round::Binary,
            Self::Ns
            | Self::PerSecond
            | Self::Instructions
            | Self::Count
            | Self::Share
            | Self::Faults
            | Self::Ratio => Round::Decimal,
        }
    }

    /// A round value in it, as an axis has it.
    #[must_use]
    pub fn show_tick(self, value: f64) -> String {
        let scaled = |steps: &[(f64, &str)]| {
            let fits = |step: &&(f64, &str)| value.abs() >= step.0;
            let (scale, name) = steps.iter().rev().find(fits).or(steps.first())?;
            // Zeros that the division has left behind say nothing.
            let text = format!("{:.3}", value / scale);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            Some(format!("{text}{name}"))
        };
        let steps: &[(f64, &str)] = match self {
            Self::Ns => &[(1.0, " ns"), (1e3, " us"), (1e6, " ms"), (1e9, " s")],
            Self::PerSecond => &[(1.0, "/s"), (1e3, " k/s"), (1e6, " M/s")],
            Self::Bytes => {
                &[(1.0, " B"), (1024.0, " KiB"), (1_048_576.0, " MiB"), (1_073_741_824.0, " GiB")]
            }
            Self::Instructions | Self::Count => &[(1.0, ""), (1e3, " k"), (1e6, " M")],
            Self::Share | Self::Faults => {
                return format!("{} %", (value * 1e5).round() / 1e3);
            }
            Self::Ratio => &[(1.0, "")],
        };
        scaled(steps).unwrap_or_default()
    }

    /// A value in it, as a person would write it; "-" for one that is no number.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return "-".to_owned();
        }
        match self {
            Self::Ns if value.abs() < 100.0 => format!("{value:.1} ns"),
            Self::Ns => super::duration(value),
            Self::PerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Self::PerSecond if value >= 1e3 => format!("{:.1} k/s", value / 1e3),
            Self::PerSecond => format!("{value:.1} /s"),
            Self::Bytes if value < 10_240.0 && value.fract() == 0.0 && value >= 0.0 => {
                format!("{} B", super::count(value as u64))
            }
            Self::Bytes if value < 10_240.0 => format!("{value:.1} B"),
            Self::Bytes => super::size(value.max(0.0) as u64),
            Self::Instructions | Self::Count if value.fract() == 0.0 && value >= 0.0 => {
                super::count(value as u64)
            }
            Self::Instructions | Self::Count => super::mean(value),
            Self::Share if value > 0.0 && value < 0.001 => format!("{:.4} %", value * 100.0),
            Self::Share => super::percent(value),
            Self::Faults => format!("{} %", super::digits(value * 100.0, 3)),
            Self::Ratio => super::digits(value, 3),
        }
    }
}

/// How much a figure repeats, and so what a change of it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeats {
    /// The same in every run of one build (instructions, bytes an entry, allocations): a change of
    /// more than a per cent is a change of the code, and gates.
    Exactly,
    /// Different in every run (times, shares under threads): reported, gates nothing.
    Roughly,
}

/// One measured figure. `suite`, `case`, `cache` and `metric` together name it: two runs are
/// compared by them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The suite that measured it: "speed", "memory".
    pub suite: String,
    /// The row: "hit, 64 B, llc, 1 thread".
    pub case: String,
    /// The cache measured, as its peers' table names it: "hypercache", "`quick_cache`".
    pub cache: String,
    /// What was measured: "time", "p99.9", "resident".
    pub metric: String,
    /// What it counts in.
    pub unit: Unit,
    /// How much it repeats.
    pub repeats: Repeats,
    /// Where it stands on the horizontal axis of a curve (threads, seconds, a limit in bytes).
    pub at: Option<f64>,
    /// The figure: a median where there are several samples.
    pub value: f64,
    /// The interval that holds the median with 95 % confidence, where there are samples enough.
    pub interval: Option<(f64, f64)>,
    /// How many samples stand behind it.
    pub samples: u32,
}

impl Figure {
    /// A figure of one sample; the other fields are set by name.
    #[must_use]
    pub fn new(suite: &str, case: &str, cache: &str, metric: &str, unit: Unit, value: f64) -> Self {
        Self {
            suite: suite.to_owned(),
            case: case.to_owned(),
            cache: cache.to_owned(),
            metric: metric.to_owned(),
            unit,
            repeats: Repeats::Roughly,
            at: None,
            value,
            interval: None,
            samples: 1,
        }
    }

    /// The median of `samples` and the interval that holds it with 95 % confidence (order
    /// statistics of the binomial distribution; none below six samples, where no such interval
    /// exists).
    #[must_use]
    pub fn of_samples(mut self, samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        self.value = crate::measure::median(&mut sorted);
        self.interval = median_interval(&sorted);
        self.samples = u32::try_from(sorted.len()).unwrap_or(u32::MAX);
        self
    }

    /// Says that it is the same in every run of one build.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.repeats = Repeats::Exactly;
        self
    }

    /// Places it on the horizontal axis of a curve.
    #[must_use]
    pub fn at(mut self, at: f64) -> Self {
        self.at = Some(at);
        self
    }

    /// What names it across runs.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} / {} / {} / {}", self.suite, self.case, self.cache, self.metric)
    }
}

/// The narrowest symmetric pair of order statistics of `sorted` that holds the median with 95 %
/// confidence. For n samples the pair (k, n + 1 - k) holds it with probability 1 - 2 P(B < k), B
/// binomial with n and 1/2.
fn median_interval(sorted: &[f64]) -> Option<(f64, f64)> {
    let n = sorted.len();
    let mut below = 0.0;
    let mut rank = 0;
    let mut term = 0.5_f64.powi(i32::try_from(n).ok()?);
    for k in 0..n / 2 {
        below += term;
        if below > 0.025 {
            break;
        }
        rank = k + 1;
        term *= (n - k) as f64 / (k + 1) as f64;
    }
    (rank > 0).then(|| (sorted[rank - 1], sorted[n - rank]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_needs_six_samples() {
        let of = |n: u32| {
            let samples: Vec<f64> = (1..=n).map(f64::from).collect();
            Figure::new("s", "c", "h", "m", Unit::Ns, 0.0).of_samples(&samples)
        };
        assert_eq!(of(5).interval, None);
        assert_eq!(of(6).interval, Some((1.0, 6.0)));
        assert_eq!(of(9).interval, Some((2.0, 8.0)));
        assert_eq!(of(21).interval, Some((6.0, 16.0)));
        assert_eq!(of(21).value.to_bits(), 11.0_f64.to_bits());
    }

    #[test]
    fn units_read_well() {
        for (unit, value, text) in [
            (Unit::Ns, 41.95, "42.0 ns"),
            (Unit::Ns, 1_500.0, "1.50 us"),
            (Unit::PerSecond, 12_345_678.0, "12.35 M/s"),
            (Unit::Bytes, 105.5, "105.5 B"),
            (Unit::Bytes, 67_108_864.0, "64.0 MiB"),
            (Unit::Count, 0.0, "0"),
            (Unit::Instructions, 1_234_567.0, "1,234,567"),
            (Unit::Share, 0.5, "50.0 %"),
            (Unit::Bytes, 4_096.0, "4,096 B"),
            (Unit::Bytes, 0.0, "0 B"),
            (Unit::Faults, 0.000_874, "0.0874 %"),
            (Unit::Faults, 0.581_3, "58.1 %"),
            (Unit::Ratio, 0.000_93, "0.000930"),
            (Unit::Ratio, 1.26, "1.26"),
            (Unit::Ratio, 16.78, "16.8"),
            (Unit::Ratio, 1_234.4, "1,234"),
            (Unit::Ns, f64::NAN, "-"),
        ] {
            assert_eq!(unit.show(value), text);
        }
    }

    #[test]
    fn ticks_read_well() {
        for (unit, value, text) in [
            (Unit::Ns, 0.5, "0.5 ns"),
            (Unit::Ns, 20_000.0, "20 us"),
            (Unit::Bytes, 67_108_864.0, "64 MiB"),
            (Unit::Share, 0.025, "2.5 %"),
            (Unit::PerSecond, 5e6, "5 M/s"),
            (Unit::Ratio, 0.0, "0"),
        ] {
            assert_eq!(unit.show_tick(value), text);
        }
    }

    #[test]
    fn figures_travel_as_json() {
        let figure = Figure::new("memory", "64 B", "hypercache", "entry", Unit::Bytes, 105.5)
            .exact()
            .at(2.0);
        let text = serde_json::to_string(&figure).unwrap();
        assert_eq!(serde_json::from_str::<Figure>(&text).unwrap(), figure);
    }
}
