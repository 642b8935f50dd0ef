//! The plots of the page as pictures, each a file of its own that a document can show.
//!
//! SVG, light or dark as the reader has it, with nothing from elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::chart::{self, CURVES};
use super::page::{DRAWN, INKS, Look, bound, charts, curves, looks};
use super::summary::{Cells, Source, is_real};
use crate::report::svg::escape;

/// Policies whose curves can be told apart in one picture: the default, what it is made of, and
/// the other libraries.
const DRAWN_POLICIES: [&str; 7] =
    ["adaptive", "s3fifo", "wtinylfu", "lru", "moka", "quick_cache", "foyer-s3fifo"];
/// Charts of curves side by side.
const COLUMNS: usize = 3;
/// Above each of them, for its name.
const NAME: f64 = 22.0;

/// How much of FIFO's misses each policy avoids, over the real traces.
#[must_use]
pub fn summary(cells: &Cells) -> String {
    let real = cells.only(|key| is_real(&key.trace));
    let standings = real.standings();
    let (width, height) = chart::size_of_standings(standings.len());
    let mut drawn = String::new();
    chart::standings(&mut drawn, &standings, &looks(&real.policies(Source::Here)));
    let mut out = begun((width, height));
    place(&mut out, &drawn, (0.0, 0.0), (width, height));
    out.push_str("</svg>\n");
    out
}

/// Miss ratio by capacity: a chart for each real trace, capacities in objects.
#[must_use]
pub fn traces(cells: &Cells) -> String {
    let mut drawn = cells.policies(Source::Here);
    drawn.retain(|name| DRAWN_POLICIES.contains(&name.as_str()));
    let looks = looks(&drawn);
    let shown: Vec<&str> = charts(cells)
        .into_iter()
        .filter(|(trace, in_bytes)| is_real(trace) && !in_bytes)
        .map(|(trace, _)| trace)
        .collect();
    let rows = shown.len().div_ceil(COLUMNS);
    let (cell, top) = ((CURVES.0 + 16.0, CURVES.1 + NAME), 30.0);
    let mut out = begun((cell.0 * COLUMNS as f64, top + cell.1 * rows as f64));
    legend(&mut out, &looks);
    for (at, trace) in shown.into_iter().enumerate() {
        let part = cells.only(|key| key.trace == trace && !key.in_bytes);
        let left = cell.0 * (at % COLUMNS) as f64;
        let above = top + cell.1 * (at / COLUMNS) as f64;
        let (x, y) = (left + 42.0, above + 14.0);
        let _ =
            writeln!(out, "<text class=\"strong\" x=\"{x}\" y=\"{y}\">{}</text>", escape(trace));
        let mut drawn = String::new();
        chart::curves(&mut drawn, &curves(&part, &looks));
        place(&mut out, &drawn, (left, above + NAME - 4.0), CURVES);
    }
    out.push_str("</svg>\n");
    out
}

fn begun((width, height): (f64, f64)) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>{INKS}{DRAWN}</style>\n<rect \
         width=\"100%\" height=\"100%\" style=\"fill:var(--paper)\"/>\n"
    )
}

/// Puts a drawing into another one.
fn place(out: &mut String, drawn: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
    let begin = format!("<svg x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" ");
    out.push_str(&drawn.replacen("<svg ", &begin, 1));
}

fn legend(out: &mut String, looks: &BTreeMap<String, Look>) {
    let bound = ("belady".to_owned(), bound());
    let all = looks.iter().map(|(name, look)| (name.clone(), look.clone())).chain([bound]);
    for (at, (name, Look { colour, dash })) in all.enumerate() {
        let x = 42.0 + 112.0 * at as f64;
        let _ = writeln!(
            out,
            "<path class=\"curve {dash}\" style=\"stroke:{colour}\" d=\"M{x} 14h22\"/><text \
             x=\"{}\" y=\"18\">{}</text>",
            x + 27.0,
            escape(&name)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Figure, Unit};

    fn row(trace: &str, policy: &str, fraction: f64) -> Figure {
        Figure {
            trace: trace.to_owned(),
            unit: Unit::Objects,
            policy: policy.to_owned(),
            fraction,
            capacity: (fraction * 1e5) as u64,
            miss_ratio: 0.5,
            byte_miss_ratio: 0.5,
        }
    }

    #[test]
    fn pictures_stand_alone_and_their_tags_close() {
        let measured = [row("a", "fifo", 0.1), row("a", "moka", 0.1), row("syn_b", "moka", 0.1)];
        let cells = Cells::new(&measured, &[row("a", "fifo", 0.1)]);
        for (picture, drawings) in [(summary(&cells), 2), (traces(&cells), 2)] {
            assert!(picture.contains("xmlns") && !picture.contains("syn_b"));
            assert_eq!(picture.matches("<svg").count(), drawings);
            for tag in ["svg", "g", "text", "style"] {
                let opened = picture.matches(&format!("<{tag}>")).count()
                    + picture.matches(&format!("<{tag} ")).count();
                assert_eq!(opened, picture.matches(&format!("</{tag}>")).count(), "{tag}");
            }
        }
    }
}
