//! A bar a case and cache, with a line for what they were to keep to.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::dots::told;
use super::{Look, look_of, plain, ruled, width_of};
use crate::report::grid::{Grid, OURS};
use crate::report::svg::{self, Scale};

const WIDTH: f64 = 540.0;
const BAR: f64 = 17.0;
const GAP: f64 = 9.0;
const TOP: f64 = 22.0;
const FOOT: f64 = 38.0;

/// Draws a grid. `limit` is where the line stands and what it is called.
pub fn bars(
    out: &mut String,
    grid: &Grid<'_>,
    limit: Option<(f64, &str)>,
    axis: &str,
    looks: &BTreeMap<String, Look>,
) {
    let named = |case: &str, cache: &str| {
        if grid.caches.len() == 1 { case.to_owned() } else { format!("{case}  {cache}") }
    };
    let labels = grid.rows.iter().flat_map(|row| row.all().map(|f| named(row.case, &f.cache)));
    let margin = labels.map(|text| width_of(&text)).fold(30.0, f64::max).min(280.0) + 12.0;
    let bars: usize = grid.rows.iter().map(|row| row.all().count()).sum();
    let gaps = GAP * grid.rows.len() as f64;
    let height = TOP + (BAR + 2.0) * bars as f64 + gaps + FOOT;
    let bottom = height - FOOT;
    let values = grid.rows.iter().flat_map(|row| row.all()).map(|figure| figure.value);
    let values = values.chain(limit.map(|(at, _)| at));
    let scale = Scale::around(values, true, grid.unit.round(), (margin + 8.0, WIDTH - 64.0));
    svg::open(out, (WIDTH, height), &format!("{}, {}: {axis}", grid.suite, grid.metric));
    ruled(out, grid.unit, &scale, (TOP, bottom), axis);
    let other = plain();
    let mut y = TOP + GAP / 2.0;
    for row in &grid.rows {
        for figure in row.all() {
            let look = look_of(looks, &figure.cache, &other);
            let class = if figure.cache == OURS { "strong" } else { "" };
            let label = named(row.case, &figure.cache);
            svg::text(out, (margin, y + BAR - 4.5), "end", class, &label);
            let (from, to) = (scale.at(0.0), scale.at(figure.value));
            let _ = write!(
                out,
                "<path style=\"fill:{}\" d=\"M{from:.1} {y:.1}H{to:.1}v{BAR}H{from:.1}z\"><title>\
                 {}</title></path>",
                look.colour,
                svg::escape(&told(figure))
            );
            let value = figure.unit.show(figure.value);
            svg::text(out, (to + 6.0, y + BAR - 4.5), "start", class, &value);
            y += BAR + 2.0;
        }
        y += GAP;
    }
    if let Some((at, name)) = limit {
        let x = scale.at(at);
        svg::line(out, (x, TOP - 4.0), (x, bottom), "limit");
        svg::text(out, (x, TOP - 9.0), "middle", "limit-name", name);
    }
    svg::close(out);
}
