//! What drawings are made of: escaped text, scales, ticks, marks. No coordinate is ever anything
//! but a finite number: what is none is left out before it gets here, and scales clamp.

use std::fmt::Write;

/// Text as it may stand between tags and in attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A range of values on a range of the drawing.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    values: (f64, f64),
    places: (f64, f64),
    logarithmic: bool,
    round: Round,
}

/// Which values are round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Round {
    /// 1, 2, 5, 10, ...
    #[default]
    Decimal,
    /// 1, 2, 4, 8, ...: bytes.
    Binary,
}

impl Scale {
    /// A linear scale.
    #[must_use]
    pub const fn linear(values: (f64, f64), places: (f64, f64)) -> Self {
        Self { values, places, logarithmic: false, round: Round::Decimal }
    }

    /// A logarithmic scale of values above 0.
    #[must_use]
    pub const fn logarithmic(values: (f64, f64), places: (f64, f64)) -> Self {
        Self { values, places, logarithmic: true, round: Round::Decimal }
    }

    /// Where a value stands; the nearer end for one beyond the range, the first for no number.
    #[must_use]
    pub fn at(&self, value: f64) -> f64 {
        let on =
            |value: f64| if self.logarithmic { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let (least, most) = (on(self.values.0), on(self.values.1));
        let share = (on(value) - least) / (most - least);
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.places.0 + share * (self.places.1 - self.places.0)
    }

    /// The places of its ends.
    #[must_use]
    pub const fn places(&self) -> (f64, f64) {
        self.places
    }

    /// The same with other values as the round ones.
    #[must_use]
    const fn rounded(self, round: Round) -> Self {
        Self { round, ..self }
    }

    /// A scale that holds all values and ends at ticks: logarithmic where they span more than a
    /// factor of eight, else linear, from 0 if `from_zero`. Without any value, 0 to 1.
    #[must_use]
    pub fn around(
        values: impl Iterator<Item = f64>,
        from_zero: bool,
        round: Round,
        places: (f64, f64),
    ) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            return Self::linear((0.0, 1.0), places);
        }
        if least > 0.0 && most / least > 8.0 && !from_zero {
            let inner = Self::logarithmic((least, most), places).rounded(round);
            let ticks = inner.round_values();
            let low = ticks.iter().rev().find(|tick| **tick <= least).copied().unwrap_or(least);
            let high = ticks.iter().find(|tick| **tick >= most).copied().unwrap_or(most);
            return Self::logarithmic((low, high), places).rounded(round);
        }
        let (least, most) = if from_zero { (least.min(0.0), most.max(0.0)) } else { (least, most) };
        let low = if least > 0.0 && least < 0.5 * most { 0.0 } else { least };
        let step = round.step(most - low);
        let low = (low / step).floor() * step;
        let high = ((most / step).ceil() * step).max(low + step);
        Self::linear((low, high), places).rounded(round)
    }

    /// Round values from below the range to beyond it.
    fn round_values(&self) -> Vec<f64> {
        let (low, high) = self.values;
        match self.round {
            Round::Decimal => {
                let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
                let of = |power: i32| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power));
                (first..=last).flat_map(of).collect()
            }
            Round::Binary => {
                let (first, last) = (low.log2().floor() as i32, high.log2().ceil() as i32);
                (first..=last).map(|power| 2_f64.powi(power)).collect()
            }
        }
    }

    /// Round values within the range, some four to eight of them.
    #[must_use]
    pub fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.values;
        let within = |value: &f64| *value >= low * (1.0 - 1e-9) && *value <= high * (1.0 + 1e-9);
        if self.logarithmic {
            let all: Vec<f64> = self.round_values().into_iter().filter(within).collect();
            let is_power = |tick: &f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
            let powers: Vec<f64> = all.iter().copied().filter(is_power).collect();
            let every = all.len().div_ceil(8);
            return match self.round {
                Round::Decimal if all.len() > 8 && powers.len() >= 2 => powers,
                Round::Decimal => all,
                Round::Binary => all.into_iter().step_by(every).collect(),
            };
        }
        let step = self.round.step(high - low);
        let count = ((high - low) / step).round().clamp(1.0, 50.0) as i32;
        (0..=count).map(|nth| step.mul_add(f64::from(nth), low)).collect()
    }
}

impl Round {
    /// A round distance between ticks, for four or so of them.
    fn step(self, range: f64) -> f64 {
        match self {
            Self::Decimal => step_for(range),
            Self::Binary => 2_f64.powf((range / 4.0).max(1e-9).log2().ceil()),
        }
    }
}

/// A round distance between ticks, for four or so of them.
#[must_use]
pub fn step_for(range: f64) -> f64 {
    let rough = (range / 4.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|step| step * power >= rough * 0.999);
    step.unwrap_or(10.0) * power
}

/// The form of a mark, so that caches differ without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A disc.
    Disc,
    /// A square on its side.
    Square,
    /// A triangle pointing up.
    Triangle,
    /// A square on its corner.
    Diamond,
    /// A cross of two diagonals.
    Cross,
    /// A triangle pointing down.
    Wedge,
    /// A cross of two straight strokes.
    Plus,
    /// A ring.
    Ring,
}

impl Shape {
    /// All, in the order they are given out.
    pub const ALL: [Self; 8] = [
        Self::Disc,
        Self::Square,
        Self::Triangle,
        Self::Diamond,
        Self::Cross,
        Self::Wedge,
        Self::Plus,
        Self::Ring,
    ];

    /// The path of the mark around a place.
    fn path(self, x: f64, y: f64, r: f64) -> String {
        let d = r * 0.88;
        match self {
            Self::Disc | Self::Ring => format!(
                "M{:.1} {y:.1}a{r:.1} {r:.1} 0 1 0 {:.1} 0a{r:.1} {r:.1} 0 1 0 {:.1} 0z",
                x - r,
                2.0 * r,
                -2.0 * r
            ),
            Self::Square => {
                format!("M{:.1} {:.1}h{:.1}v{:.1}h{:.1}z", x - d, y - d, 2.0 * d, 2.0 * d, -2.0 * d)
            }
            Self::Triangle => {
                format!("M{x:.1} {:.1}L{:.1} {:.1}H{:.1}z", y - r, x + r, y + d, x - r)
            }
            Self::Wedge => {
                format!("M{x:.1} {:.1}L{:.1} {:.1}H{:.1}z", y + r, x + r, y - d, x - r)
            }
            Self::Diamond => {
                let r = r * 1.2;
                format!(
                    "M{x:.1} {:.1}L{:.1} {y:.1}L{x:.1} {:.1}L{:.1} {y:.1}z",
                    y - r,
                    x + r,
                    y + r,
                    x - r
                )
            }
            Self::Cross => format!(
                "M{:.1} {:.1}L{:.1} {:.1}M{:.1} {:.1}L{:.1} {:.1}",
                x - d,
                y - d,
                x + d,
                y + d,
                x - d,
                y + d,
                x + d,
                y - d
            ),
            Self::Plus => {
                format!("M{:.1} {y:.1}H{:.1}M{x:.1} {:.1}V{:.1}", x - r, x + r, y - r, y + r)
            }
        }
    }

    /// Draws it in a colour, with what a reader is told who points at it.
    pub fn draw(self, out: &mut String, (x, y): (f64, f64), r: f64, colour: &str, title: &str) {
        let stroked = matches!(self, Self::Cross | Self::Plus | Self::Ring);
        let style = if stroked {
            format!("fill:none;stroke:{colour};stroke-width:2")
        } else {
            format!("fill:{colour}")
        };
        let _ = write!(out, "<path style=\"{style}\" d=\"{}\"", self.path(x, y, r));
        if title.is_empty() {
            out.push_str("/>");
        } else {
            let _ = write!(out, "><title>{}</title></path>", escape(title));
        }
    }
}

/// Opens a drawing. `said` tells what it shows to those who do not see it.
pub fn open(out: &mut String, (width, height): (f64, f64), said: &str) {
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">",
        escape(said)
    );
}

/// Closes it.
pub fn close(out: &mut String) {
    out.push_str("</svg>\n");
}

/// Text of a class (and an anchor: `start`, `middle`, `end`).
pub fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, said: &str) {
    let _ = write!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>",
        escape(said)
    );
}

/// A thin line of a class.
pub fn line(out: &mut String, from: (f64, f64), to: (f64, f64), class: &str) {
    let ((x, y), (x2, y2)) = (from, to);
    let _ = write!(out, "<path class=\"{class}\" d=\"M{x:.1} {y:.1}L{x2:.1} {y2:.1}\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_clamp_and_never_leave_the_drawing() {
        let linear = Scale::linear((0.0, 2.0), (100.0, 0.0));
        assert_eq!((linear.at(0.5), linear.at(9.0), linear.at(-9.0)), (75.0, 0.0, 100.0));
        let log = Scale::logarithmic((1.0, 100.0), (0.0, 10.0));
        assert!((log.at(10.0) - 5.0).abs() < 1e-9);
        for scale in [linear, log, Scale::linear((1.0, 1.0), (0.0, 10.0))] {
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, f64::MAX] {
                assert!(scale.at(value).is_finite(), "{scale:?} {value}");
            }
        }
    }

    #[test]
    fn scales_hold_what_they_are_made_for() {
        for values in [
            vec![],
            vec![f64::NAN],
            vec![3.0],
            vec![0.0],
            vec![1.0, 1.3],
            vec![0.2, 900.0],
            vec![-1.0, 1.0],
        ] {
            let kinds = [Round::Decimal, Round::Binary];
            for (from_zero, round) in [false, true].into_iter().flat_map(|z| kinds.map(|r| (z, r)))
            {
                let values_of = || values.iter().copied();
                let scale = Scale::around(values_of(), from_zero, round, (0.0, 100.0));
                let ticks = scale.ticks();
                assert!((2..=12).contains(&ticks.len()), "{values:?}: {ticks:?}");
                assert!(ticks.iter().all(|tick| tick.is_finite()));
                for &value in values.iter().filter(|value| value.is_finite()) {
                    let (low, high) = scale.values;
                    assert!((low..=high).contains(&value), "{value} in {low} to {high}");
                }
            }
        }
    }

    #[test]
    fn steps_are_round() {
        for (range, step) in [(0.4, 0.1), (0.9, 0.25), (0.03, 0.01), (20.0, 5.0)] {
            assert!((step_for(range) - step).abs() < 1e-9, "{range}: {}", step_for(range));
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b & \"c\">"), "a&lt;b &amp; &quot;c&quot;&gt;");
    }
}
