//! A whole run as one file that any browser shows and that can be sent to somebody: no scripts,
//! nothing from elsewhere, light or dark as the reader has it.
//!
//! First what a reader wants to know (who is better, where we lose), then every figure drawn, then
//! every figure as a number. Nothing is left out because it is not to our advantage: the table of
//! lost cells is made by the same rule as the one of all cells.

mod head;
mod section;
mod style;

use std::collections::BTreeMap;
use std::fmt::Write;

use super::plot::Look;
use super::run::Run;
use super::svg::{Round, Scale, Shape, escape};
use super::trend::Trend;
pub use style::STYLE;

/// The page; `trends` is what its figures were before.
#[must_use]
pub fn page(run: &Run, trends: &[Trend]) -> String {
    let mut out = String::with_capacity(1 << 18);
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = write!(
        out,
        "<title>HyperCache measured, {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        escape(&run.began)
    );
    head::head(&mut out, run);
    for part in &run.suites {
        section::section(&mut out, run, part);
    }
    course(&mut out, trends);
    method(&mut out);
    out.push_str("</body>\n</html>\n");
    out
}

fn legend(out: &mut String, looks: &BTreeMap<String, Look>) {
    out.push_str("<div class=\"legend\">");
    let ours_first = |entry: &(&String, &Look)| !entry.1.large;
    let mut entries: Vec<(&String, &Look)> = looks.iter().collect();
    entries.sort_by_key(ours_first);
    for (name, look) in entries {
        let mut mark = String::new();
        look.shape.draw(&mut mark, (17.0, 7.0), 4.5, &look.colour, "");
        let class = if look.large { " ours" } else { "" };
        let _ = write!(
            out,
            "<span><svg viewBox=\"0 0 34 14\"><path class=\"curve {}{class}\" style=\"stroke:{}\" \
             d=\"M0 7H34\"/>{mark}</svg>{}</span>",
            look.dash,
            look.colour,
            escape(name)
        );
    }
    out.push_str("</div>\n");
}

/// What figures were in earlier runs: a small curve each.
fn course(out: &mut String, trends: &[Trend]) {
    if trends.is_empty() {
        return;
    }
    out.push_str(
        "<h2>trend</h2>\n<p class=\"faint\">Figures of HyperCache run by run, the oldest left, up to \
         the last hundred runs kept here.</p>\n<div class=\"wide\"><table><tr><th>figure</th><th \
         class=\"text\">course</th><th>first</th><th>now</th><th>change</th></tr>\n",
    );
    for trend in trends {
        let (Some(first), Some(last)) = (trend.values.first(), trend.values.last()) else {
            continue;
        };
        let change = trend.change();
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"text\">{}</td><td>{}</td><td class=\"ours\">{}</td>\
             <td>{:+.1} %</td></tr>",
            escape(&trend.name),
            spark(&trend.values),
            trend.unit.show(*first),
            trend.unit.show(*last),
            // No zero below zero.
            (change * 1000.0).round() / 10.0 + 0.0
        );
    }
    out.push_str("</table></div>\n");
}

fn spark(values: &[f64]) -> String {
    let x = Scale::linear((0.0, values.len().max(2) as f64 - 1.0), (3.0, 137.0));
    let y = Scale::around(values.iter().copied(), false, Round::Decimal, (21.0, 3.0));
    let points: Vec<String> = (values.iter().enumerate())
        .map(|(nth, value)| format!("{:.1} {:.1}", x.at(nth as f64), y.at(*value)))
        .collect();
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 140 24\"><path class=\"curve\" \
         style=\"stroke:var(--c0)\" d=\"M{}\"/></svg>",
        points.join("L")
    )
}

fn method(out: &mut String) {
    out.push_str(
        "<h2>How the figures are made</h2>\n<ul>\n\
         <li>Every cache runs for real, in the same run, at a pinned version, doing the same work: \
         keys of 16 bytes, bytes copied in, bytes copied out.</li>\n\
         <li>Caches that are compared take turns, round after round; a figure is the median of its \
         rounds. Intervals hold the median with 95 % confidence.</li>\n\
         <li>Times are the thread's own processor time unless they say otherwise, so that \
         neighbours on the machine do not count.</li>\n\
         <li>Only ratios carry over from one machine to another. A cell counts as even where the \
         two sides are within 3 % or the intervals of both overlap.</li>\n\
         <li>A cell is lost where any other cache is better, whatever the reason; \
         docs/performance.md names the reasons.</li>\n</ul>\n",
    );
}

/// The same mark everywhere for a cache, small, beside its name in a table.
fn mark(look: Option<&Look>) -> String {
    let mut out = String::from("<svg class=\"mark\" viewBox=\"0 0 12 12\">");
    let (shape, colour) =
        look.map_or((Shape::Ring, "var(--faint)"), |look| (look.shape, look.colour.as_str()));
    shape.draw(&mut out, (6.0, 6.0), 4.0, colour, "");
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests;
