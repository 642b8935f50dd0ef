//! The results as one file that any browser shows: a plot of all standings and a curve for each
//! trace, drawn as SVG. No scripts, nothing from elsewhere; light or dark as the reader has it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::chart::{self, Curve};
use super::contender::Peer;
use super::summary::{BELADY, Cells, Key, Source, Standing, is_real};
use crate::report::svg::escape;

/// Colours that the style has; further policies begin again.
const COLOURS: usize = 10;

/// What every drawing names.
pub const INKS: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #6b7280; --line: #d8dce2;
  --c0: #0b62c4; --c1: #c2410c; --c2: #15803d; --c3: #7c3aed; --c4: #b91c5c;
  --c5: #0e7490; --c6: #a16207; --c7: #4b5563; --c8: #be123c; --c9: #3f6212; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --ink: #e6e8eb; --faint: #9aa3af; --line: #353b45;
    --c0: #60a5fa; --c1: #fb923c; --c2: #4ade80; --c3: #c4a7ff; --c4: #f472b6;
    --c5: #22d3ee; --c6: #facc15; --c7: #b6bfca; --c8: #fb7185; --c9: #a3e635; } }
";

/// How what is drawn looks, on a page or alone.
pub const DRAWN: &str = "
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .faint { fill: var(--faint); } svg .axis { stroke: var(--line); stroke-width: 1; }
svg .curve { fill: none; stroke-width: 1.6; } svg .curve:hover { stroke-width: 4; }
svg .dash { stroke-dasharray: 5 3; } svg .dots { stroke-dasharray: 1.5 3; }
svg .strong { font-weight: 600; }
";

const STYLE: &str = "
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p, summary { max-width: 46rem; }
.legend { background: var(--paper); border-bottom: 1px solid var(--line); padding: .4rem 0;
  position: sticky; top: 0; }
.legend span { display: inline-block; margin-right: 1rem; white-space: nowrap; }
.legend svg { height: 10px; margin-right: .3rem; width: 26px; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); }
figure { margin: 0; } figcaption { font-size: .85rem; } figcaption small { color: var(--faint); }
svg { display: block; width: 100%; } .legend svg { display: inline-block; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid var(--line); padding: .1rem .6rem; text-align: right; }
td:first-child, th:first-child, td:last-child, th:last-child { text-align: left; }
tr.here { font-weight: 600; }
";

/// How a policy is drawn in every chart.
#[derive(Clone, Debug)]
pub struct Look {
    /// A colour of the style.
    pub colour: String,
    /// A class of the style, for dashes.
    pub dash: &'static str,
}

/// The page.
#[must_use]
pub fn page(cells: &Cells, classes: &BTreeMap<String, String>) -> String {
    let measured = cells.policies(Source::Here);
    let looks = looks(&measured);
    let mut out = String::with_capacity(1 << 20);
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = write!(
        out,
        "<title>HyperCache: miss ratios</title>\n<style>{INKS}{STYLE}{DRAWN}</style>\n</head>\n"
    );
    out.push_str("<body>\n<h1>Miss ratios</h1>\n");
    out.push_str(
        "<p>Each request is a get, and an insert if it missed, on one thread. Capacities are \
         fractions of a trace's unique objects (every object counts 1) or bytes (the sizes of \
         objects, without keys and overhead). Made by <code>cargo xtask bench --miss-ratio</code>; \
         docs/miss-ratio.md says how.</p>\n",
    );
    summary(&mut out, cells, &looks);
    out.push_str("<h2>Trace by trace</h2>\n");
    legend(&mut out, &measured, &looks);
    out.push_str("<div class=\"grid\">\n");
    for (trace, in_bytes) in charts(cells) {
        let part = cells.only(|key| key.trace == trace && key.in_bytes == in_bytes);
        let class = classes.get(trace).map_or("", String::as_str);
        figure(&mut out, &part, (trace, in_bytes), class, &looks);
    }
    out.push_str("</div>\n</body>\n</html>\n");
    out
}

/// Libraries are dashed, policies of ours are not.
pub fn looks(measured: &[String]) -> BTreeMap<String, Look> {
    let is_peer = |name: &str| Peer::ALL.iter().any(|peer| peer.name() == name);
    let mut looks = BTreeMap::new();
    for (at, name) in measured.iter().enumerate() {
        let colour = format!("var(--c{})", at % COLOURS);
        looks.insert(name.clone(), Look { colour, dash: if is_peer(name) { "dash" } else { "" } });
    }
    looks
}

/// How the bound, which no policy reaches, is drawn.
#[must_use]
pub fn bound() -> Look {
    Look { colour: "var(--faint)".to_owned(), dash: "dots" }
}

fn summary(out: &mut String, cells: &Cells, looks: &BTreeMap<String, Look>) {
    let real = cells.only(|key| is_real(&key.trace));
    let (part, which) =
        if real.0.is_empty() { (cells, "all traces") } else { (&real, "real traces") };
    let standings = part.standings();
    let most = standings.iter().map(|standing| standing.cells).max().unwrap_or(0);
    let _ = write!(
        out,
        "<h2>Share of FIFO's misses that are avoided</h2>\n<p>Over {which}, {most} cells of trace \
         and size, both units. The dot is the mean, the bar reaches to the 10th percentile (cut at -15 %). \
         What was measured here is in colour; the rest is from the folder's reference.csv.</p>\n"
    );
    chart::standings(out, &standings, looks);
    out.push_str("<details><summary>As a table</summary>\n<table>\n<tr><th>policy</th>");
    out.push_str(
        "<th>cells</th><th>mean</th><th>10th pct.</th><th>worst</th><th>where</th></tr>\n",
    );
    for standing in &standings {
        let Standing { policy, source, cells: count, mean, p10, worst: (worst, key) } = standing;
        let class = if *source == Source::Here { " class=\"here\"" } else { "" };
        let _ = writeln!(
            out,
            "<tr{class}><td>{}</td><td>{count}</td><td>{mean:+.4}</td><td>{:+.4}</td>\
             <td>{worst:+.3}</td><td>{}</td></tr>",
            escape(policy),
            p10 + 0.0,
            escape(&named(key))
        );
    }
    out.push_str("</table>\n</details>\n");
}

fn named(key: &Key) -> String {
    let unit = if key.in_bytes { "bytes" } else { "objects" };
    format!("{} at {} {unit}", key.trace, crate::report::count(key.capacity))
}

fn legend(out: &mut String, measured: &[String], looks: &BTreeMap<String, Look>) {
    out.push_str("<div class=\"legend\">");
    let mut entry = |name: &str, look: &Look| {
        let _ = write!(
            out,
            "<span><svg viewBox=\"0 0 26 10\"><path class=\"curve {}\" style=\"stroke:{}\" \
             d=\"M0 5H26\"/></svg>{}</span>",
            look.dash,
            look.colour,
            escape(name)
        );
    };
    for name in measured {
        if let Some(look) = looks.get(name) {
            entry(name, look);
        }
    }
    entry("belady (the bound, from the reference)", &bound());
    out.push_str("</div>\n");
}

fn figure(
    out: &mut String,
    part: &Cells,
    (trace, in_bytes): (&str, bool),
    class: &str,
    looks: &BTreeMap<String, Look>,
) {
    let curves = curves(part, looks);
    let unit = if in_bytes { "bytes" } else { "objects" };
    let _ = writeln!(
        out,
        "<figure><figcaption>{} <small>{} {unit}</small></figcaption>",
        escape(trace),
        escape(class)
    );
    chart::curves(out, &curves);
    out.push_str("</figure>\n");
}

/// The bound, and a curve for each policy that has a look.
#[must_use]
pub fn curves(part: &Cells, looks: &BTreeMap<String, Look>) -> Vec<Curve> {
    let points = |name: &str, source| {
        let of = |(_, cell): (&Key, &super::summary::Cell)| {
            let ratios = if source == Source::Here { &cell.measured } else { &cell.reference };
            Some((cell.fraction, *ratios.get(name)?))
        };
        let mut points: Vec<(f64, f64)> = part.0.iter().filter_map(of).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let mut curves = vec![Curve {
        name: BELADY.to_owned(),
        look: bound(),
        points: points(BELADY, Source::Reference),
    }];
    curves.extend(looks.iter().map(|(name, look)| Curve {
        name: name.clone(),
        look: look.clone(),
        points: points(name, Source::Here),
    }));
    curves
}

/// Traces and units that there are cells of: real traces first.
#[must_use]
pub fn charts(cells: &Cells) -> Vec<(&str, bool)> {
    let mut charts: Vec<(&str, bool)> =
        cells.0.keys().map(|key| (key.trace.as_str(), key.in_bytes)).collect();
    charts.dedup();
    charts.sort_by_key(|&(trace, in_bytes)| (!is_real(trace), trace, in_bytes));
    charts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Figure, Unit};

    fn row(trace: &str, policy: &str, fraction: f64, miss_ratio: f64) -> Figure {
        Figure {
            trace: trace.to_owned(),
            unit: Unit::Objects,
            policy: policy.to_owned(),
            fraction,
            capacity: (fraction * 1e5) as u64,
            miss_ratio,
            byte_miss_ratio: miss_ratio,
        }
    }

    #[test]
    fn the_page_stands_alone_and_its_tags_close() {
        let measured = [
            row("a<b", "fifo", 0.01, 0.9),
            row("a<b", "fifo", 0.1, 0.5),
            row("a<b", "moka", 0.1, 0.4),
            row("syn_c", "fifo", 0.1, 1.0),
        ];
        let reference = [row("a<b", "belady", 0.1, 0.3), row("a<b", "fifo", 0.1, 0.5)];
        let page = page(&Cells::new(&measured, &reference), &BTreeMap::new());
        for outside in ["http", "<script", "src=", "@import", "url(", "NaN", "inf"] {
            assert!(!page.contains(outside), "{outside} is in the page");
        }
        assert!(page.contains("a&lt;b") && !page.contains("a<b"));
        assert_eq!(page.matches("<figure>").count(), 2);
        for tag in ["figure", "svg", "table", "tr", "td", "div", "span", "details", "p", "g"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
