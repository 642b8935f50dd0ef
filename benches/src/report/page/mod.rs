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
use super::svg::{Shape, escape};
pub use style::STYLE;

/// The page.
#[must_use]
pub fn page(run: &Run) -> String {
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
         two sides are within 3 %.</li>\n\
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
