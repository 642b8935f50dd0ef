//! One suite: what it shows, its plots, its figures as numbers.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::head::verdict;
use super::{legend, mark};
use crate::report::grid::{Grid, OURS, Row, grids, placed};
use crate::report::plot::{Axis, Curve, Look, bars, curve_look, dots, lines, looks, told};
use crate::report::run::{Part, Run, State};
use crate::report::svg::escape;
use crate::report::{Figure, Unit};

/// A plot of dots has at most so many rows; longer grids are divided by how their cases begin.
const ROWS: usize = 9;
/// The ratio that means memory beside its limit.
const BY_LIMIT: &str = "resident by limit";
/// A curve over percentiles, in per cent.
const RESPONSE: &str = "response";

pub fn section(out: &mut String, run: &Run, part: &Part) {
    let figures = run.of(&part.name);
    if figures.is_empty() && part.notes.is_empty() && part.state == State::Waiting {
        return;
    }
    let _ = writeln!(
        out,
        "<h2>{}</h2>\n<p class=\"faint\">{}. {}</p>",
        escape(&part.name),
        escape(&capital(&part.about)),
        match &part.state {
            State::Done => format!("Took {:.0} s.", part.seconds),
            State::Waiting => "Not begun.".to_owned(),
            State::Begun => "Broken off: what follows is what was measured until then.".to_owned(),
            State::Failed(error) => format!("Failed: {}.", escape(error)),
        }
    );
    if !part.notes.is_empty() {
        out.push_str("<ul>");
        for note in &part.notes {
            let _ = write!(out, "<li>{}</li>", escape(note));
        }
        out.push_str("</ul>\n");
    }
    let grids = grids(&figures);
    let looks = looks(figures.iter().map(|figure| figure.cache.as_str()));
    if looks.len() > 1 {
        legend(out, &looks);
    }
    out.push_str("<div class=\"plots\">\n");
    plots(out, &grids, part, &looks);
    out.push_str("</div>\n");
    if !grids.is_empty() {
        let _ = writeln!(out, "<details><summary>All {} figures</summary>", figures.len());
        for grid in &grids {
            table(out, grid, &looks);
        }
        out.push_str("</details>\n");
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn plots(out: &mut String, grids: &[Grid<'_>], part: &Part, looks: &BTreeMap<String, Look>) {
    let curve = grids.iter().find(|grid| grid.metric == RESPONSE);
    match curve {
        Some(curve) => over_percentiles(out, curve, looks),
        None => percentiles(out, grids, looks),
    }
    let tails = curve.is_some() || has_percentiles(grids);
    for grid in grids.iter().filter(|grid| grid.is_compared()) {
        if grid.metric == BY_LIMIT {
            figure(out, "Memory beside the limit", |out| {
                bars(out, grid, Some((1.0, "limit")), &axis(grid), looks);
            });
            continue;
        }
        if tails && (share_below_tail(grid.metric).is_some() || grid.metric == "max") {
            continue;
        }
        let along = has_axis(grid);
        let curves = grid.only(|row| along && row.at.is_some());
        over_axis(out, &curves, part, looks);
        let rest = grid.only(|row| !along || row.at.is_none());
        if rest.rows.is_empty() {
            continue;
        }
        for (title, group) in divided(&rest) {
            let short = |case: &str| {
                let rest = case.strip_prefix(title.as_str()).unwrap_or(case);
                let rest = rest.trim_start_matches(", ");
                if rest.is_empty() { case.to_owned() } else { rest.to_owned() }
            };
            let caption = if title.is_empty() {
                grid.metric.to_owned()
            } else {
                format!("{title}: {}", grid.metric)
            };
            figure(out, &capital(&caption), |out| dots(out, &group, &short, &axis(grid), looks));
        }
    }
}

/// Whether a cache was measured at two places of the axis at least: else there is no curve.
fn has_axis(grid: &Grid<'_>) -> bool {
    let mut places: Vec<f64> = grid.rows.iter().filter_map(|row| row.at).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    places.len() > 1
}

fn figure(out: &mut String, caption: &str, draw: impl FnOnce(&mut String)) {
    let _ = writeln!(out, "<figure><figcaption>{}</figcaption>", escape(caption));
    draw(out);
    out.push_str("</figure>\n");
}

/// A grid in parts whose cases begin alike, where it is too long for one plot.
fn divided<'a>(grid: &Grid<'a>) -> Vec<(String, Grid<'a>)> {
    if grid.rows.len() <= ROWS {
        return vec![(String::new(), grid.clone())];
    }
    let beginning = |row: &Row<'_>| row.case.split(", ").next().unwrap_or_default().to_owned();
    let mut beginnings: Vec<String> = Vec::new();
    for row in &grid.rows {
        let this = beginning(row);
        if !beginnings.contains(&this) {
            beginnings.push(this);
        }
    }
    let part = |this: String| {
        let part = grid.only(|row| beginning(row) == this);
        (this, part)
    };
    beginnings.into_iter().map(part).collect()
}

/// What the horizontal axis says.
fn axis(grid: &Grid<'_>) -> String {
    let better = if grid.unit.more_is_better() { "more is better" } else { "less is better" };
    let unit = match grid.unit {
        Unit::Ns => "time an operation",
        Unit::PerSecond => "operations a second",
        Unit::Bytes => "bytes",
        Unit::Instructions => "instructions",
        Unit::Count => "count",
        Unit::Share | Unit::Faults => "share",
        Unit::Ratio => "ratio",
    };
    match grid.metric {
        "time" => format!("{unit}; {better}"),
        metric => format!("{metric} ({unit}); {better}"),
    }
}

/// The share above a percentile: "p99.9" is 0.001; "max" has none.
fn share_below_tail(metric: &str) -> Option<f64> {
    let percent: f64 = metric.strip_prefix('p')?.parse().ok()?;
    (0.0..100.0).contains(&percent).then_some(1.0 - percent / 100.0)
}

fn has_percentiles(grids: &[Grid<'_>]) -> bool {
    grids.iter().filter(|grid| share_below_tail(grid.metric).is_some()).count() >= 3
}

/// As far to the right as a percentile has nines: a half stands at 0.3, 99.9 % at 3.
fn nines(share_above: f64) -> f64 {
    -share_above.max(1e-9).log10()
}

/// A plot for every case that percentiles were measured of: how long the slowest take.
fn percentiles(out: &mut String, grids: &[Grid<'_>], looks: &BTreeMap<String, Look>) {
    if !has_percentiles(grids) {
        return;
    }
    let place = |metric: &str| share_below_tail(metric).map(nines);
    let mut parts: Vec<(f64, &Grid<'_>)> =
        grids.iter().filter_map(|grid| Some((place(grid.metric)?, grid))).collect();
    let last = parts.iter().map(|part| part.0).fold(0.0, f64::max);
    parts.extend(grids.iter().filter(|grid| grid.metric == "max").map(|grid| (last + 1.0, grid)));
    parts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ticks: Vec<(f64, String)> =
        parts.iter().map(|(at, grid)| (*at, grid.metric.to_owned())).collect();
    let Some((_, first)) = parts.first() else { return };
    for row in &first.rows {
        let mut curves = Curves::default();
        for (at, grid) in &parts {
            let same = |other: &&Row<'_>| other.case == row.case && other.at == row.at;
            for figure in grid.rows.iter().filter(same).flat_map(Row::all) {
                curves.add(figure, *at, grid.metric, looks);
            }
        }
        curves.draw(out, row.case, ("percentile; less is better", "latency"), &ticks);
    }
}

/// A plot for every case of a curve over percentiles.
fn over_percentiles(out: &mut String, grid: &Grid<'_>, looks: &BTreeMap<String, Look>) {
    let ticks = [50.0, 90.0, 99.0, 99.9, 99.99]
        .map(|percent: f64| (nines(1.0 - percent / 100.0), format!("p{percent}")));
    let mut cases: Vec<&str> = grid.rows.iter().map(|row| row.case).collect();
    cases.dedup();
    for case in cases {
        let mut curves = Curves::default();
        for row in grid.rows.iter().filter(|row| row.case == case) {
            let Some(percent) = row.at.filter(|percent| *percent >= 50.0) else { continue };
            for figure in row.all() {
                let at = nines(1.0 - percent / 100.0);
                curves.add(figure, at, &format!("p{percent}"), looks);
            }
        }
        let axes = ("percentile; less is better", "latency, from the intended start");
        curves.draw(out, case, axes, &ticks);
    }
}

/// Curves that grow figure by figure, by cache.
#[derive(Default)]
struct Curves(BTreeMap<String, Curve>);

impl Curves {
    fn add(&mut self, figure: &Figure, at: f64, of: &str, looks: &BTreeMap<String, Look>) {
        let curve = self.0.entry(figure.cache.clone()).or_insert_with(|| Curve {
            name: figure.cache.clone(),
            look: curve_look(looks, &figure.cache),
            points: Vec::new(),
        });
        curve.points.push((at, figure.value, format!("{of}: {}", told(figure))));
    }

    fn draw(self, out: &mut String, case: &str, axes: (&str, &str), ticks: &[(f64, String)]) {
        let mut curves: Vec<Curve> = self.0.into_values().collect();
        curves.sort_by_key(|curve| curve.name == OURS);
        let across = Axis { name: axes.0, unit: None, ticks };
        let up = Axis { name: axes.1, unit: Some(Unit::Ns), ticks: &[] };
        figure(out, &capital(case), |out| lines(out, case, &curves, (&across, &up)));
    }
}

/// Curves over the suite's axis: a plot for every case, less the part of its name that says where
/// on the axis it stands.
fn over_axis(out: &mut String, grid: &Grid<'_>, part: &Part, looks: &BTreeMap<String, Look>) {
    let mut stems: Vec<(String, Vec<&Row<'_>>)> = Vec::new();
    for row in &grid.rows {
        let stem = stem(row, &grid.rows);
        match stems.iter_mut().find(|(other, _)| *other == stem) {
            Some((_, rows)) => rows.push(row),
            None => stems.push((stem, vec![row])),
        }
    }
    for (stem, rows) in stems {
        let mut curves: Vec<Curve> = Vec::new();
        for cache in &grid.caches {
            let of = |row: &&Row<'_>| {
                let figure = row.of(cache)?;
                Some((row.at?, figure.value, told(figure)))
            };
            let points: Vec<_> = rows.iter().filter_map(of).collect();
            if !points.is_empty() {
                curves.push(Curve {
                    name: (*cache).to_owned(),
                    look: curve_look(looks, cache),
                    points,
                });
            }
        }
        curves.sort_by_key(|curve| curve.name == OURS);
        let mut places: Vec<f64> = rows.iter().filter_map(|row| row.at).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let in_bytes = part.axis.contains("byte");
        let near = places.iter().all(|at| at.abs() <= 16.0);
        let few: Vec<(f64, String)> = match places.len() {
            2..=6 if near => places.iter().map(|&at| (at, at.to_string())).collect(),
            _ => Vec::new(),
        };
        let unit = in_bytes.then_some(Unit::Bytes);
        let across = Axis { name: &part.axis, unit, ticks: &few };
        let better = if grid.unit.more_is_better() { "more is better" } else { "less is better" };
        let vertical = format!("{}; {better}", grid.metric);
        let up = Axis { name: &vertical, unit: Some(grid.unit), ticks: &[] };
        let caption = match stem.as_str() {
            "" => grid.metric.to_owned(),
            stem => format!("{stem}: {}", grid.metric),
        };
        figure(out, &capital(&caption), |out| lines(out, &caption, &curves, (&across, &up)));
    }
}

/// The case without the part (between commas) that changes along the axis.
fn stem(row: &Row<'_>, rows: &[Row<'_>]) -> String {
    let parts: Vec<&str> = row.case.split(", ").collect();
    let without = |case: &str, at: usize| {
        let parts: Vec<&str> = case.split(", ").collect();
        let kept = parts.iter().enumerate().filter(|(nth, _)| *nth != at).map(|(_, part)| *part);
        kept.collect::<Vec<_>>().join(", ")
    };
    let along = |at: usize| {
        let here = without(row.case, at);
        let same = |other: &&Row<'_>| {
            other.at != row.at
                && other.case != row.case
                && other.case.split(", ").count() == parts.len()
                && without(other.case, at) == here
        };
        rows.iter().filter(same).count()
    };
    let best = (0..parts.len()).max_by_key(|&at| along(at)).filter(|&at| along(at) > 0);
    best.map_or_else(|| row.case.to_owned(), |at| without(row.case, at))
}

fn table(out: &mut String, grid: &Grid<'_>, looks: &BTreeMap<String, Look>) {
    let _ = write!(
        out,
        "<h3>{}</h3>\n<div class=\"wide\"><table><tr><th>case</th>",
        escape(grid.metric)
    );
    for cache in &grid.caches {
        let _ = write!(out, "<th>{} {}</th>", mark(looks.get(*cache)), escape(cache));
    }
    let compared = grid.is_compared() && grid.matches().next().is_some();
    out.push_str(if compared { "<th>times better</th></tr>\n" } else { "</tr>\n" });
    for row in &grid.rows {
        let _ = write!(out, "<tr><td>{}</td>", escape(&placed(grid.suite, row.case, row.at)));
        for (at, cache) in grid.caches.iter().enumerate() {
            let figure = row.figures.get(at).copied().flatten();
            let class = if *cache == OURS { " class=\"ours\"" } else { "" };
            let title = figure.map_or(String::new(), told);
            let text = figure.map_or("-".to_owned(), |figure| figure.unit.show(figure.value));
            let _ = write!(out, "<td{class} title=\"{}\">{text}</td>", escape(&title));
        }
        match row.versus().filter(|_| compared) {
            Some(versus) => out.push_str(&verdict(&versus)),
            None if compared => out.push_str("<td></td>"),
            None => {}
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}
