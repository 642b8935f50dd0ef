//! A row a case, a mark a cache: who is where, on one axis.

use std::collections::BTreeMap;

use super::{Look, look_of, ours_last, plain, ruled, width_of};
use crate::report::grid::Grid;
use crate::report::svg::{self, Scale};

const WIDTH: f64 = 540.0;
const ROW: f64 = 24.0;
const TOP: f64 = 6.0;
const FOOT: f64 = 40.0;

/// Draws a grid. `label` shortens the name of a case; `axis` names the horizontal axis.
pub fn dots(
    out: &mut String,
    grid: &Grid<'_>,
    label: &dyn Fn(&str) -> String,
    axis: &str,
    looks: &BTreeMap<String, Look>,
) {
    let labels: Vec<String> = grid.rows.iter().map(|row| label(row.case)).collect();
    let margin = labels.iter().map(|text| width_of(text)).fold(30.0, f64::max).min(260.0) + 12.0;
    let height = TOP + ROW * grid.rows.len() as f64 + FOOT;
    let bottom = height - FOOT;
    let values = grid.rows.iter().flat_map(|row| row.all()).map(|figure| figure.value);
    let scale = Scale::around(values, false, grid.unit.round(), (margin + 8.0, WIDTH - 28.0));
    svg::open(out, (WIDTH, height), &format!("{}, {}: {axis}", grid.suite, grid.metric));
    ruled(out, grid.unit, &scale, (TOP, bottom), axis);
    let other = plain();
    let order = ours_last(&grid.caches);
    for ((nth, row), label) in grid.rows.iter().enumerate().zip(&labels) {
        let y = TOP + ROW * (nth as f64 + 0.5);
        svg::text(out, (margin, y + 4.0), "end", "", label);
        let places = || row.all().map(|figure| scale.at(figure.value));
        let (first, last) = (places().fold(WIDTH, f64::min), places().fold(0.0, f64::max));
        if first < last {
            svg::line(out, (first, y), (last, y), "span");
        }
        for &at in &order {
            let Some(figure) = row.figures.get(at).copied().flatten() else { continue };
            let look = look_of(looks, &figure.cache, &other);
            let title = told(figure);
            let r = if look.large { 6.0 } else { 4.5 };
            look.shape.draw(out, (scale.at(figure.value), y), r, &look.colour, &title);
        }
    }
    svg::close(out);
}

/// What a reader is told who points at a figure.
pub fn told(figure: &crate::report::Figure) -> String {
    let mut text = format!("{}, {}: {}", figure.cache, figure.case, figure.unit.show(figure.value));
    if let Some((low, high)) = figure.interval {
        text.push_str(&format!(
            " ({} to {} with 95 % confidence)",
            figure.unit.show(low),
            figure.unit.show(high)
        ));
    }
    text
}
