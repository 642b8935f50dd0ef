//! Curves over one axis.

use std::fmt::Write;

use super::Look;
use crate::report::Unit;
use crate::report::svg::{self, Round, Scale};

const SIZE: (f64, f64) = (540.0, 300.0);
const LEFT: f64 = 78.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 10.0;
const FOOT: f64 = 42.0;

/// One curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Whose it is.
    pub name: String,
    /// How it is drawn.
    pub look: Look,
    /// Places on the axis, figures, and what a reader is told who points at them.
    pub points: Vec<(f64, f64, String)>,
}

/// One axis: its name and its ticks.
#[derive(Clone, Debug)]
pub struct Axis<'a> {
    /// Its name, with the unit.
    pub name: &'a str,
    /// What its values count in; `None`: bare numbers.
    pub unit: Option<Unit>,
    /// Ticks with names of their own on a linear axis, the first and last at its ends; round values
    /// where there are none.
    pub ticks: &'a [(f64, String)],
}

impl Axis<'_> {
    fn scale(&self, values: impl Iterator<Item = f64>, places: (f64, f64)) -> Scale {
        match (self.ticks.first(), self.ticks.last()) {
            (Some((first, _)), Some((last, _))) if first < last => {
                Scale::linear((*first, *last), places)
            }
            _ => {
                let round = self.unit.map_or(Round::Decimal, Unit::round);
                Scale::around(values, false, round, places)
            }
        }
    }

    fn ticks(&self, scale: &Scale) -> Vec<(f64, String)> {
        if !self.ticks.is_empty() {
            return self.ticks.to_vec();
        }
        let name = |at: f64| self.unit.map_or_else(|| at.to_string(), |unit| unit.show_tick(at));
        scale.ticks().into_iter().map(|at| (at, name(at))).collect()
    }
}

/// Draws curves. Points that are no numbers are left out; a curve without points is too. `said` is
/// for those who do not see it.
pub fn lines(out: &mut String, said: &str, curves: &[Curve], (across, up): (&Axis<'_>, &Axis<'_>)) {
    let is_point = |point: &&(f64, f64, String)| point.0.is_finite() && point.1.is_finite();
    let all = || curves.iter().flat_map(|curve| curve.points.iter().filter(is_point));
    let x = across.scale(all().map(|point| point.0), (LEFT + 8.0, SIZE.0 - RIGHT - 8.0));
    let bottom = SIZE.1 - FOOT;
    let y = up.scale(all().map(|point| point.1), (bottom, TOP));
    svg::open(out, SIZE, said);
    for (tick, name) in up.ticks(&y) {
        let at = y.at(tick);
        svg::line(out, (LEFT, at), (SIZE.0 - RIGHT, at), "axis");
        svg::text(out, (LEFT - 6.0, at + 4.0), "end", "faint", &name);
    }
    for (tick, name) in across.ticks(&x) {
        let at = x.at(tick);
        svg::line(out, (at, bottom), (at, bottom + 4.0), "axis");
        svg::text(out, (at, bottom + 17.0), "middle", "faint", &name);
    }
    let middle = f64::midpoint(LEFT, SIZE.0 - RIGHT);
    svg::text(out, (middle, SIZE.1 - 6.0), "middle", "name", across.name);
    let _ = write!(
        out,
        "<text transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\" \
         class=\"name\">{}</text>",
        f64::midpoint(TOP, bottom),
        svg::escape(up.name)
    );
    for Curve { look, points, .. } in curves {
        let mut points: Vec<_> = points.iter().filter(is_point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let path: Vec<String> =
            points.iter().map(|p| format!("{:.1} {:.1}", x.at(p.0), y.at(p.1))).collect();
        if path.len() > 1 {
            let _ = write!(
                out,
                "<path class=\"curve {}{}\" style=\"stroke:{}\" d=\"M{}\"/>",
                look.dash,
                if look.large { " ours" } else { "" },
                look.colour,
                path.join("L")
            );
        }
        for (at, value, title) in points {
            let r = if look.large { 5.0 } else { 4.0 };
            look.shape.draw(out, (x.at(*at), y.at(*value)), r, &look.colour, title);
        }
    }
    svg::close(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_finite_whatever_the_points() {
        let curve = |points: &[(f64, f64)]| Curve {
            name: "a".to_owned(),
            look: super::super::plain(),
            points: points.iter().map(|&(x, y)| (x, y, String::new())).collect(),
        };
        for curves in [
            vec![],
            vec![curve(&[])],
            vec![curve(&[(f64::NAN, 1.0), (1.0, f64::INFINITY)])],
            vec![curve(&[(1.0, 0.0)]), curve(&[(1.0, 5.0), (64.0, -3.0)])],
        ] {
            let mut out = String::new();
            let axis = |unit| Axis { name: "x", unit, ticks: &[] };
            lines(&mut out, "", &curves, (&axis(None), &axis(Some(Unit::Bytes))));
            assert!(!out.contains("NaN") && !out.contains("inf"), "{out}");
            assert!(out.starts_with("<svg") && out.ends_with("</svg>\n"));
        }
    }
}
