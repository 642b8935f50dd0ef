//! Curves over one axis.

use std::fmt::Write;

use super::Look;
use crate::report::svg::{self, Scale};

const SIZE: (f64, f64) = (540.0, 300.0);
const LEFT: f64 = 66.0;
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

/// What a plot of curves is made of.
pub struct Lines<'a> {
    /// What it shows, for those who do not see it.
    pub said: &'a str,
    /// The curves.
    pub curves: &'a [Curve],
    /// The names of both axes.
    pub axes: (&'a str, &'a str),
    /// Ticks of the horizontal axis, with their names; round values where there are none.
    pub ticks: &'a [(f64, String)],
    /// How a value on the vertical axis is written.
    pub show: &'a dyn Fn(f64) -> String,
    /// How a place on the horizontal axis is written, where there are no ticks.
    pub show_at: &'a dyn Fn(f64) -> String,
}

/// Draws curves. Points that are no numbers are left out; a curve without points is too.
pub fn lines(out: &mut String, lines: &Lines<'_>) {
    let is_point = |point: &&(f64, f64, String)| point.0.is_finite() && point.1.is_finite();
    let all = || lines.curves.iter().flat_map(|curve| curve.points.iter().filter(is_point));
    let places = (LEFT + 8.0, SIZE.0 - RIGHT - 8.0);
    let x = match (lines.ticks.first(), lines.ticks.last()) {
        (Some((first, _)), Some((last, _))) if first < last => {
            Scale::linear((*first, *last), places)
        }
        _ => Scale::around(all().map(|point| point.0), false, places),
    };
    let bottom = SIZE.1 - FOOT;
    let y = Scale::around(all().map(|point| point.1), false, (bottom, TOP));
    svg::open(out, SIZE, lines.said);
    for tick in y.ticks() {
        let at = y.at(tick);
        svg::line(out, (LEFT, at), (SIZE.0 - RIGHT, at), "axis");
        svg::text(out, (LEFT - 6.0, at + 4.0), "end", "faint", &(lines.show)(tick));
    }
    let round =
        || x.ticks().into_iter().map(|tick| (tick, (lines.show_at)(tick))).collect::<Vec<_>>();
    let ticks = if lines.ticks.is_empty() { round() } else { lines.ticks.to_vec() };
    for (tick, name) in &ticks {
        let at = x.at(*tick);
        svg::line(out, (at, bottom), (at, bottom + 4.0), "axis");
        svg::text(out, (at, bottom + 17.0), "middle", "faint", name);
    }
    let middle = f64::midpoint(LEFT, SIZE.0 - RIGHT);
    svg::text(out, (middle, SIZE.1 - 6.0), "middle", "name", lines.axes.0);
    let _ = write!(
        out,
        "<text transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\" \
         class=\"name\">{}</text>",
        f64::midpoint(TOP, bottom),
        svg::escape(lines.axes.1)
    );
    for Curve { look, points, .. } in lines.curves {
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
            let show = |value: f64| value.to_string();
            let axes = ("x", "y");
            let (said, ticks, show_at) = ("", &[][..], &show);
            lines(&mut out, &Lines { said, curves: &curves, axes, ticks, show: &show, show_at });
            assert!(!out.contains("NaN") && !out.contains("inf"), "{out}");
            assert!(out.starts_with("<svg") && out.ends_with("</svg>\n"));
        }
    }
}
