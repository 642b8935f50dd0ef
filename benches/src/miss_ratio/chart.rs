//! Charts of the page, as SVG.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::page::Look;
use super::summary::{Source, Standing};
use crate::report::svg::{Scale, escape, step_for};

/// Miss ratios of a policy by fraction.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The policy.
    pub name: String,
    /// How it is drawn.
    pub look: Look,
    /// Fraction and miss ratio, by fraction.
    pub points: Vec<(f64, f64)>,
}

/// Width and height of a chart of curves.
pub const CURVES: (f64, f64) = (320.0, 200.0);
/// Width of the chart of standings, and height of a row of it.
const STANDINGS: (f64, f64) = (900.0, 18.0);

/// Width and height of the chart of so many standings.
#[must_use]
pub fn size_of_standings(count: usize) -> (f64, f64) {
    (STANDINGS.0, STANDINGS.1 * count as f64 + 34.0)
}

/// Miss ratio over cache size, which is on a logarithmic scale.
pub fn curves(out: &mut String, curves: &[Curve]) {
    const SIZE: (f64, f64) = CURVES;
    let all = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let (mut least, mut most) = (f64::MAX, f64::MIN);
    let (mut low, mut high) = (f64::MAX, f64::MIN);
    for (fraction, ratio) in all() {
        (least, most) = (least.min(fraction), most.max(fraction));
        (low, high) = (low.min(ratio), high.max(ratio));
    }
    let step = step_for((high - low).max(0.002));
    let low = ((low / step).floor() * step).max(0.0);
    let high = (high / step).ceil() * step;
    // A little beside the outermost points, and some width where there is only one.
    let (left, right) = (42.0, SIZE.0 - 6.0);
    let x = Scale::linear((least.log10() - 0.1, most.log10() + 0.1), (left, right));
    let high = high.max(low + step);
    let y = Scale::linear((low, high), (SIZE.1 - 22.0, 8.0));
    let _ = writeln!(out, "<svg viewBox=\"0 0 {} {}\" role=\"img\">", SIZE.0, SIZE.1);
    let mut tick = low;
    while tick <= high + step / 2.0 {
        let at = y.at(tick);
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{:.1} {at:.1}H{:.1}\"/><text class=\"faint\" x=\"{:.1}\" \
             y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left,
            right,
            left - 5.0,
            at + 4.0,
            percent(tick, step)
        );
        tick += step;
    }
    let mut fractions: Vec<f64> = all().map(|(fraction, _)| fraction).collect();
    fractions.sort_by(f64::total_cmp);
    fractions.dedup();
    for fraction in fractions {
        let _ = writeln!(
            out,
            "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} %</text>",
            x.at(fraction.log10()),
            SIZE.1 - 6.0,
            fraction * 100.0
        );
    }
    for Curve { name, look, points } in curves.iter().filter(|curve| !curve.points.is_empty()) {
        let _ = write!(out, "<g><path class=\"curve {}\" ", look.dash);
        let _ = write!(out, "style=\"stroke:{}\" d=\"", look.colour);
        for (at, &(fraction, ratio)) in points.iter().enumerate() {
            let letter = if at == 0 { 'M' } else { 'L' };
            let _ = write!(out, "{letter}{:.1} {:.1}", x.at(fraction.log10()), y.at(ratio));
        }
        let _ = write!(out, "\"><title>{}</title></path>", escape(name));
        for &(fraction, ratio) in points {
            let _ = write!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.2\" style=\"fill:{}\"><title>{} {} %: \
                 {:.2} %</title></circle>",
                x.at(fraction.log10()),
                y.at(ratio),
                look.colour,
                escape(name),
                fraction * 100.0,
                ratio * 100.0
            );
        }
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
}

fn percent(ratio: f64, step: f64) -> String {
    let digits = if step < 0.001 { 2 } else { usize::from(step < 0.01 || step == 0.025) };
    format!("{:.digits$} %", ratio * 100.0)
}

/// Mean and 10th percentile of every standing, a row each.
pub fn standings(out: &mut String, standings: &[Standing], looks: &BTreeMap<String, Look>) {
    const LEAST: f64 = -0.15;
    let (width, height) = size_of_standings(standings.len());
    let most = standings.iter().map(|standing| standing.mean).fold(0.05, f64::max);
    let most = (most * 20.0).ceil() / 20.0;
    let x = Scale::linear((LEAST, most), (210.0, 850.0));
    let _ = writeln!(out, "<svg viewBox=\"0 0 {width} {height}\" role=\"img\">");
    let ticks = ((most - LEAST) / 0.05).round() as i32;
    for tick in 0..=ticks {
        let value = LEAST + 0.05 * f64::from(tick);
        let at = x.at(value);
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{at:.1} 4V{:.1}\"/><text class=\"faint\" x=\"{at:.1}\" \
             y=\"{:.1}\" text-anchor=\"middle\">{:.0} %</text>",
            height - 26.0,
            height - 10.0,
            // No zero below zero.
            (value * 100.0).round() + 0.0
        );
    }
    for (at, standing) in standings.iter().enumerate() {
        let y = 6.0 + STANDINGS.1 * (at as f64 + 0.5);
        let here = standing.source == Source::Here;
        let look = looks.get(&standing.policy).filter(|_| here);
        let colour = look.map_or("var(--faint)", |look| look.colour.as_str());
        let (mean, p10) = (x.at(standing.mean), x.at(standing.p10));
        let _ = writeln!(
            out,
            "<g><text class=\"{}\" x=\"202\" y=\"{:.1}\" text-anchor=\"end\">{}</text><path \
             class=\"curve\" style=\"stroke:{colour}\" d=\"M{p10:.1} {y:.1}H{mean:.1}\"/><circle \
             cx=\"{mean:.1}\" cy=\"{y:.1}\" r=\"{}\" style=\"fill:{colour}\"/><title>{}: mean \
             {:+.4}, 10th percentile {:+.4}, worst {:+.3}, {} cells</title></g>",
            if here { "strong" } else { "faint" },
            y + 4.0,
            escape(&standing.policy),
            if here { 5 } else { 3 },
            escape(&standing.policy),
            standing.mean,
            standing.p10,
            standing.worst.0,
            standing.cells
        );
    }
    out.push_str("</svg>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_the_digits_of_their_steps() {
        assert_eq!(percent(0.25, 0.1), "25 %");
        assert_eq!(percent(0.025, 0.005), "2.5 %");
    }
}
