//! Plots of figures: curves, percentiles, rows of dots, bars with a limit.

mod bars;
mod dots;
mod lines;

use std::collections::{BTreeMap, BTreeSet};

pub use bars::bars;
pub use dots::{dots, told};
pub use lines::{Axis, Curve, lines};

use super::Unit;
use super::grid::{CONTROL, OURS};
use super::svg::{self, Scale, Shape};

/// How a cache is drawn in every plot of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// A colour of the style.
    pub colour: String,
    /// Its mark.
    pub shape: Shape,
    /// A class of the style for its lines: dashes.
    pub dash: &'static str,
    /// How large its marks are, against others.
    pub large: bool,
}

/// Colours that the style has.
const COLOURS: usize = 8;
/// Dashes that the style has; ours is drawn through.
const DASHES: [&str; 5] = ["dash1", "dash2", "dash3", "dash4", "dash5"];

/// Caches that look the same in every plot, whatever stands beside them.
const KNOWN: [&str; 7] =
    ["quick_cache", "moka", "foyer", "lru-mtx", "segcache", "memcached", "valkey"];

/// A look for each name of a suite: HyperCache's own, those that are known, controls in grey, and
/// the others in the order of their names.
#[must_use]
pub fn looks<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, Look> {
    let names: BTreeSet<&str> = names.collect();
    let is_known = |name: &str| KNOWN.contains(&name);
    let mut free = (0..COLOURS - 1).filter(|&at| !names.contains(KNOWN[at])).cycle();
    let mut looks = BTreeMap::new();
    for &name in &names {
        let at = match KNOWN.iter().position(|known| *known == name) {
            _ if name == OURS || name.starts_with(CONTROL) => None,
            None if !is_known(name) => free.next(),
            known => known,
        };
        looks.insert(name.to_owned(), look(name, at));
    }
    looks
}

fn look(name: &str, at: Option<usize>) -> Look {
    match at {
        None if name == OURS => {
            Look { colour: "var(--c0)".to_owned(), shape: Shape::Disc, dash: "", large: true }
        }
        None => plain(),
        Some(at) => Look {
            colour: format!("var(--c{})", at + 1),
            shape: Shape::ALL[1 + at % (Shape::ALL.len() - 1)],
            dash: DASHES[at % DASHES.len()],
            large: false,
        },
    }
}

/// How a name is drawn that no look was made for.
fn look_of<'a>(looks: &'a BTreeMap<String, Look>, cache: &str, other: &'a Look) -> &'a Look {
    looks.get(cache).unwrap_or(other)
}

/// The look of a cache's curve.
#[must_use]
pub fn curve_look(looks: &BTreeMap<String, Look>, cache: &str) -> Look {
    look_of(looks, cache, &plain()).clone()
}

/// What nothing else is drawn as.
fn plain() -> Look {
    Look { colour: "var(--faint)".to_owned(), shape: Shape::Ring, dash: "", large: false }
}

/// Rules from `top` to `bottom` at the ticks of a horizontal scale, their values and its name below.
fn ruled(out: &mut String, unit: Unit, scale: &Scale, (top, bottom): (f64, f64), name: &str) {
    for tick in scale.ticks() {
        let x = scale.at(tick);
        svg::line(out, (x, top), (x, bottom), "axis");
        svg::text(out, (x, bottom + 15.0), "middle", "faint", &unit.show_tick(tick));
    }
    let middle = f64::midpoint(scale.places().0, scale.places().1);
    svg::text(out, (middle, bottom + 33.0), "middle", "name", name);
}

/// Draws ours last, over the others.
fn ours_last(caches: &[&str]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..caches.len()).collect();
    order.sort_by_key(|&at| caches[at] == OURS);
    order
}

/// The length of a text in the drawing's units, near enough for a margin.
fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * 6.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_differ_without_colour() {
        let names = ["moka", OURS, "foyer", "quick_cache", "lru-mtx", "segcache", "a", "(b)"];
        let looks = looks(names.into_iter());
        assert_eq!(looks[OURS].colour, "var(--c0)");
        let mut shapes: Vec<String> =
            looks.values().map(|look| format!("{:?}", look.shape)).collect();
        shapes.sort();
        shapes.dedup();
        // The control and what it may stand beside share the last one.
        assert!(shapes.len() >= names.len() - 1, "{shapes:?}");
        assert_eq!(super::looks(["moka"].into_iter())["moka"], looks["moka"]);
    }
}
