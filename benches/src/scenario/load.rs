//! When requests arrive: a rate over time, and the moments that follow from it.
//!
//! A rate is a chain of straight pieces. The n-th arrival is where the integral of the rate reaches
//! n, which for a straight piece is the root of a quadratic, so no moment is approximated and none
//! depends on how fast anything was served.

use serde::Deserialize;

use crate::workload::Rng;

/// How the rate changes over a scenario, in requests a second.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "pattern", rename_all = "snake_case", deny_unknown_fields)]
pub enum Load {
    /// The same all the time.
    Constant {
        /// The rate.
        rate: f64,
        /// How arrivals follow each other.
        #[serde(default)]
        arrivals: Arrivals,
    },
    /// From one rate to another in a straight line.
    Ramp {
        /// The rate at the beginning.
        from: f64,
        /// The rate at the end.
        to: f64,
        /// How arrivals follow each other.
        #[serde(default)]
        arrivals: Arrivals,
    },
    /// One time at a higher rate.
    Spike {
        /// The rate before and after.
        rate: f64,
        /// The rate meanwhile.
        peak: f64,
        /// Seconds from the beginning to it.
        at_seconds: f64,
        /// How long it lasts, in seconds.
        for_seconds: f64,
        /// How arrivals follow each other.
        #[serde(default)]
        arrivals: Arrivals,
    },
    /// A higher rate again and again, at the end of every period.
    Burst {
        /// The rate between bursts.
        rate: f64,
        /// The rate in a burst.
        peak: f64,
        /// From one burst to the next, in seconds.
        every_seconds: f64,
        /// How long each lasts, in seconds.
        for_seconds: f64,
        /// How arrivals follow each other.
        #[serde(default)]
        arrivals: Arrivals,
    },
}

/// How arrivals follow each other at a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Independently of each other, as those of many users do: a Poisson process.
    #[default]
    Poisson,
    /// In even steps.
    Even,
}

/// Numbers by key.
type Named = Vec<(&'static str, f64)>;

impl Load {
    /// How arrivals follow each other.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        match *self {
            Self::Constant { arrivals, .. }
            | Self::Ramp { arrivals, .. }
            | Self::Spike { arrivals, .. }
            | Self::Burst { arrivals, .. } => arrivals,
        }
    }

    /// All rates and times in it, for checks.
    pub(super) fn numbers(&self) -> (Named, Named) {
        match *self {
            Self::Constant { rate, .. } => (vec![("rate", rate)], vec![]),
            Self::Ramp { from, to, .. } => (vec![("from", from), ("to", to)], vec![]),
            Self::Spike { rate, peak, at_seconds, for_seconds, .. } => (
                vec![("rate", rate), ("peak", peak)],
                vec![("at_seconds", at_seconds), ("for_seconds", for_seconds)],
            ),
            Self::Burst { rate, peak, every_seconds, for_seconds, .. } => (
                vec![("rate", rate), ("peak", peak)],
                vec![("every_seconds", every_seconds), ("for_seconds", for_seconds)],
            ),
        }
    }

    /// The same with all its times multiplied.
    #[must_use]
    pub(super) fn stretched(mut self, factor: f64) -> Self {
        match &mut self {
            Self::Constant { .. } | Self::Ramp { .. } => {}
            Self::Spike { at_seconds, for_seconds, .. } => {
                *at_seconds *= factor;
                *for_seconds *= factor;
            }
            Self::Burst { every_seconds, for_seconds, .. } => {
                *every_seconds *= factor;
                *for_seconds *= factor;
            }
        }
        self
    }

    /// Its pieces over so many passes of `seconds`, after `warm_up` seconds at the rate of its
    /// beginning.
    #[must_use]
    pub fn schedule(&self, warm_up: f64, seconds: f64, passes: u32) -> Schedule {
        let mut schedule = Schedule::default();
        for pass in 0..passes {
            let begin = warm_up + f64::from(pass) * seconds;
            self.pass(&mut schedule, begin, warm_up + f64::from(pass + 1) * seconds);
        }
        schedule
    }

    /// The pieces of a pass; what is missing before it is at the rate of its beginning.
    fn pass(&self, schedule: &mut Schedule, begin: f64, end: f64) {
        let mut until = |moment: f64, from: f64, to: f64| schedule.push(moment.min(end), from, to);
        match *self {
            Self::Constant { rate, .. } => until(end, rate, rate),
            Self::Ramp { from, to, .. } => {
                until(begin, from, from);
                until(end, from, to);
            }
            Self::Spike { rate, peak, at_seconds, for_seconds, .. } => {
                until(begin + at_seconds, rate, rate);
                until(begin + at_seconds + for_seconds, peak, peak);
                until(end, rate, rate);
            }
            Self::Burst { rate, peak, every_seconds, for_seconds, .. } => {
                let mut period = begin;
                while period < end {
                    until(period + every_seconds - for_seconds, rate, rate);
                    until(period + every_seconds, peak, peak);
                    period += every_seconds;
                }
            }
        }
    }

    /// After how many seconds of a pass of `seconds` the load begins again; `None`: it is the same
    /// at every moment.
    #[must_use]
    pub fn period(&self, seconds: f64) -> Option<f64> {
        match *self {
            Self::Constant { .. } => None,
            Self::Ramp { .. } | Self::Spike { .. } => Some(seconds),
            Self::Burst { every_seconds, .. } => Some(every_seconds.min(seconds)),
        }
    }
}

/// A rate over time, from 0 to an end, in straight pieces.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    begins: f64,
    ends: f64,
    from: f64,
    to: f64,
    /// Arrivals before it and up to its end.
    before: f64,
    by_end: f64,
}

impl Piece {
    fn slope(&self) -> f64 {
        (self.to - self.from) / (self.ends - self.begins)
    }
}

impl Schedule {
    fn push(&mut self, ends: f64, from: f64, to: f64) {
        let (begins, before) =
            self.pieces.last().map_or((0.0, 0.0), |last| (last.ends, last.by_end));
        if ends > begins {
            let by_end = before + f64::midpoint(from, to) * (ends - begins);
            self.pieces.push(Piece { begins, ends, from, to, before, by_end });
        }
    }

    /// How many arrivals there are by the end.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.pieces.last().map_or(0.0, |last| last.by_end)
    }

    /// The greatest rate.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.from.max(piece.to)).fold(0.0, f64::max)
    }

    /// When the integral of the rate reaches `arrivals` (at least 0), in seconds; `None` after the
    /// end. Pieces are few: a linear search.
    #[must_use]
    pub fn moment(&self, arrivals: f64) -> Option<f64> {
        let piece = self.pieces.iter().find(|piece| piece.by_end > arrivals)?;
        let missing = (arrivals - piece.before).max(0.0);
        // The root of slope / 2 x^2 + from x = missing, in the form that does not cancel and that
        // a slope of 0 suits too.
        let root = (piece.from * piece.from + 2.0 * piece.slope() * missing).max(0.0).sqrt();
        let after = if missing > 0.0 { 2.0 * missing / (piece.from + root) } else { 0.0 };
        Some((piece.begins + after).min(piece.ends))
    }
}

/// The moments of one lane: one of the threads that share a load.
#[derive(Clone, Debug)]
pub struct Moments {
    schedule: Schedule,
    arrivals: Arrivals,
    rng: Rng,
    lanes: f64,
    reached: f64,
    next: Option<f64>,
}

impl Moments {
    /// Those of lane `lane` of `lanes` over a schedule. Even steps are dealt in turn, so that all
    /// lanes together keep them.
    #[must_use]
    pub fn new(
        schedule: Schedule,
        arrivals: Arrivals,
        lane: usize,
        lanes: usize,
        seed: u64,
    ) -> Self {
        let rng = Rng::new(seed ^ ((lane as u64) << 32));
        let lanes = lanes as f64;
        let mut moments = Self { schedule, arrivals, rng, lanes, reached: 0.0, next: None };
        moments.reached = match arrivals {
            Arrivals::Even => lane as f64,
            Arrivals::Poisson => moments.gap(),
        };
        moments.next = moments.schedule.moment(moments.reached);
        moments
    }

    /// The next moment before `end`, in seconds.
    pub fn before(&mut self, end: f64) -> Option<f64> {
        let moment = self.next.filter(|&moment| moment < end)?;
        self.reached += self.gap();
        self.next = self.schedule.moment(self.reached);
        Some(moment)
    }

    /// Arrivals of all lanes until the next of this one; exponential for a Poisson process.
    fn gap(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Even => self.lanes,
            Arrivals::Poisson => -(1.0 - self.rng.unit()).ln() * self.lanes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(load: &Load, warm_up: f64, seconds: f64) -> Vec<f64> {
        let schedule = load.schedule(warm_up, seconds, 1);
        let mut moments = Moments::new(schedule, load.arrivals(), 0, 1, 1);
        std::iter::from_fn(|| moments.before(f64::INFINITY)).collect()
    }

    fn within(moments: &[f64], from: f64, to: f64) -> usize {
        moments.iter().filter(|&&moment| (from..to).contains(&moment)).count()
    }

    #[test]
    fn a_constant_rate_is_even_steps() {
        let load = Load::Constant { rate: 100.0, arrivals: Arrivals::Even };
        let moments = all(&load, 0.5, 1.5);
        assert_eq!(moments.len(), 200);
        for (nth, moment) in moments.iter().enumerate() {
            assert!((moment - nth as f64 / 100.0).abs() < 1e-12, "{nth}: {moment}");
        }
    }

    #[test]
    fn lanes_deal_the_steps_among_them() {
        let load = Load::Ramp { from: 0.0, to: 1_000.0, arrivals: Arrivals::Even };
        let schedule = load.schedule(0.0, 1.0, 1);
        let mut dealt: Vec<f64> = (0..3)
            .flat_map(|lane| {
                let mut lane = Moments::new(schedule.clone(), Arrivals::Even, lane, 3, 1);
                std::iter::from_fn(move || lane.before(2.0)).collect::<Vec<_>>()
            })
            .collect();
        dealt.sort_by(f64::total_cmp);
        assert_eq!(dealt, all(&load, 0.0, 1.0));
    }

    #[test]
    fn a_ramp_is_the_square_root() {
        let load = Load::Ramp { from: 0.0, to: 1_000.0, arrivals: Arrivals::Even };
        let moments = all(&load, 0.0, 1.0);
        assert_eq!(moments.len(), 500);
        for (nth, moment) in moments.iter().enumerate() {
            // The integral of 1000 t is 500 t^2.
            assert!((500.0 * moment * moment - nth as f64).abs() < 1e-6, "{nth}: {moment}");
        }
        let falling = Load::Ramp { from: 1_000.0, to: 0.0, arrivals: Arrivals::Even };
        let mirrored = all(&falling, 0.0, 1.0);
        assert_eq!(mirrored.len(), 500);
        assert!(within(&mirrored, 0.0, 0.5) > within(&mirrored, 0.5, 1.0) * 2);
    }

    #[test]
    fn passes_are_alike() {
        let load = Load::Ramp { from: 100.0, to: 1_000.0, arrivals: Arrivals::Even };
        let schedule = load.schedule(1.0, 2.0, 3);
        assert!((schedule.total() - (100.0 + 3.0 * 1_100.0)).abs() < 1e-6);
        let mut lane = Moments::new(schedule, Arrivals::Even, 0, 1, 1);
        let moments: Vec<f64> = std::iter::from_fn(|| lane.before(f64::INFINITY)).collect();
        for pass in 0..3 {
            let begin = 1.0 + 2.0 * f64::from(pass);
            // The integral of 100 + 450 t over the first and the second half of a pass.
            assert!(within(&moments, begin, begin + 1.0).abs_diff(325) <= 1);
            assert!(within(&moments, begin + 1.0, begin + 2.0).abs_diff(775) <= 1);
        }
    }

    #[test]
    fn a_spike_and_bursts_stand_where_they_were_put() {
        let spike = Load::Spike {
            rate: 100.0,
            peak: 1_000.0,
            at_seconds: 1.0,
            for_seconds: 0.5,
            arrivals: Arrivals::Even,
        };
        let moments = all(&spike, 1.0, 3.0);
        let counts = [(0.0, 2.0), (2.0, 2.5), (2.5, 4.0)].map(|(a, b)| within(&moments, a, b));
        assert_eq!(counts, [200, 500, 150]);
        let burst = Load::Burst {
            rate: 10.0,
            peak: 100.0,
            every_seconds: 1.0,
            for_seconds: 0.2,
            arrivals: Arrivals::Even,
        };
        let moments = all(&burst, 0.0, 2.5);
        // A last period that is cut short has no burst; rounding may move one over a border.
        let counts = [(0.0, 0.8), (0.8, 1.0), (1.0, 1.8), (1.8, 2.0), (2.0, 2.5)];
        for ((from, to), wanted) in counts.into_iter().zip([8, 20, 8, 20, 5]) {
            assert!(within(&moments, from, to).abs_diff(wanted) <= 1, "{from}..{to}");
        }
        assert_eq!(burst.schedule(0.0, 2.5, 1).peak().to_bits(), 100.0_f64.to_bits());
    }

    #[test]
    fn a_poisson_process_keeps_the_rate_and_its_variance() {
        let load = Load::Constant { rate: 1_000.0, arrivals: Arrivals::Poisson };
        let moments = all(&load, 0.0, 100.0);
        assert!(moments.is_sorted());
        let counts: Vec<f64> = (0..1_000)
            .map(|nth| within(&moments, f64::from(nth) / 10.0, f64::from(nth + 1) / 10.0) as f64)
            .collect();
        let mean = counts.iter().sum::<f64>() / 1e3;
        let variance = counts.iter().map(|n| (n - mean) * (n - mean)).sum::<f64>() / 1e3;
        // Both 100; even steps would have a variance of 0.
        assert!((mean - 100.0).abs() < 2.0 && (variance - 100.0).abs() < 25.0, "{mean} {variance}");
        assert_eq!(moments, all(&load, 0.0, 100.0));
    }
}
