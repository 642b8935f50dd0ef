//! Figures side by side: a grid a metric, and in each row ours against the best of the others.

use super::{Figure, Unit};

/// HyperCache, as figures name it.
pub const OURS: &str = "hypercache";

/// Metrics that stand beside others and are not compared: time on the wall is the machine's other
/// work as well; hits and the load that was served say what the times beside them are worth; live
/// payload means nothing where the limit was not kept (bytes an entry says the same, and is
/// compared); a curve of responses has its percentiles as figures of their own.
const BESIDE: [&str; 7] =
    ["wall time", "wall", "hits", "rate", "behind", "response", "live payload"];

/// How controls begin, such as a loop without a cache: they are shown and beaten by nobody.
pub const CONTROL: char = '(';

/// Within this of 1 neither side is called better.
const EVEN: f64 = 0.03;

/// Where a control took this share of what the better side took, or more, the machine is what was
/// measured, and neither side is called better.
const NOISE: f64 = 0.5;

/// Everything of one suite and metric: a row a case, a column a cache.
#[derive(Clone, Debug)]
pub struct Grid<'a> {
    /// The suite.
    pub suite: &'a str,
    /// The metric.
    pub metric: &'a str,
    /// What it counts in.
    pub unit: Unit,
    /// The caches, in the order they were measured.
    pub caches: Vec<&'a str>,
    /// The rows, in the order they were measured.
    pub rows: Vec<Row<'a>>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// What was measured.
    pub case: &'a str,
    /// Where it stands on the horizontal axis, if it does.
    pub at: Option<f64>,
    /// A figure a cache of the grid.
    pub figures: Vec<Option<&'a Figure>>,
}

/// Who is better in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// HyperCache, by more than 3 %.
    Won,
    /// Nobody.
    Even,
    /// Another cache, by more than 3 %.
    Lost,
    /// Nobody can tell: the control, which does nothing, took half as long as the better side or
    /// longer.
    Unclear,
}

impl Verdict {
    /// As shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Won => "better",
            Self::Even => "even",
            Self::Lost => "LOST",
            Self::Unclear => "unclear",
        }
    }
}

/// Ours against the best of the others.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    /// Ours.
    pub ours: &'a Figure,
    /// The best of the others.
    pub best: &'a Figure,
    /// How many times better ours is; below 1 it is worse. Infinite where ours is 0 and less is
    /// better.
    pub factor: f64,
    /// What that means.
    pub verdict: Verdict,
}

impl Match<'_> {
    /// How many times better ours is, as shown; a word where that would mean nothing.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.verdict {
            Verdict::Won | Verdict::Even | Verdict::Lost => times(self.factor),
            Verdict::Unclear => self.verdict.name().to_owned(),
        }
    }
}

/// The figures as grids, in the order they were measured.
#[must_use]
pub fn grids(figures: &[Figure]) -> Vec<Grid<'_>> {
    let mut grids: Vec<Grid<'_>> = Vec::new();
    for figure in figures {
        let of = |grid: &Grid<'_>| {
            (grid.suite, grid.metric, grid.unit) == (&*figure.suite, &*figure.metric, figure.unit)
        };
        let place = grids.iter().position(of).unwrap_or_else(|| {
            grids.push(Grid {
                suite: &figure.suite,
                metric: &figure.metric,
                unit: figure.unit,
                caches: Vec::new(),
                rows: Vec::new(),
            });
            grids.len() - 1
        });
        if let Some(grid) = grids.get_mut(place) {
            grid.take(figure);
        }
    }
    grids
}

impl<'a> Grid<'a> {
    fn take(&mut self, figure: &'a Figure) {
        let column =
            (self.caches.iter().position(|cache| *cache == figure.cache)).unwrap_or_else(|| {
                self.caches.push(&figure.cache);
                self.caches.len() - 1
            });
        let same = |row: &&mut Row<'_>| {
            row.case == figure.case && row.at.map(f64::to_bits) == figure.at.map(f64::to_bits)
        };
        let row = match self.rows.iter_mut().find(same) {
            Some(row) => row,
            None => {
                let figures = Vec::new();
                self.rows.push(Row { case: &figure.case, at: figure.at, figures });
                let last = self.rows.len() - 1;
                &mut self.rows[last]
            }
        };
        if row.figures.len() <= column {
            row.figures.resize(column + 1, None);
        }
        row.figures[column] = Some(figure);
    }

    /// Whether rows say who is better.
    #[must_use]
    pub fn is_compared(&self) -> bool {
        !BESIDE.contains(&self.metric)
    }

    /// The same with only the rows that `keep` keeps.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Row<'a>) -> bool) -> Self {
        let rows = self.rows.iter().filter(|row| keep(row)).cloned().collect();
        Self { rows, caches: self.caches.clone(), ..*self }
    }

    /// The cells that can be compared.
    pub fn matches(&self) -> impl Iterator<Item = Match<'a>> {
        let compared = self.is_compared();
        self.rows.iter().filter(move |_| compared).filter_map(Row::versus)
    }
}

impl<'a> Row<'a> {
    /// The figure of a cache.
    #[must_use]
    pub fn of(&self, cache: &str) -> Option<&'a Figure> {
        self.all().find(|figure| figure.cache == cache)
    }

    /// All figures there are.
    pub fn all(&self) -> impl Iterator<Item = &'a Figure> {
        self.figures.iter().copied().flatten()
    }

    /// Ours against the best of the others, where both were measured.
    #[must_use]
    pub fn versus(&self) -> Option<Match<'a>> {
        let ours = self.of(OURS)?;
        let more = ours.unit.more_is_better();
        let is_rival = |cache: &str| cache != OURS && !cache.starts_with(CONTROL);
        let others = self.all().filter(|figure| is_rival(&figure.cache));
        let by_value = |a: &&Figure, b: &&Figure| a.value.total_cmp(&b.value);
        let best = if more { others.max_by(by_value) } else { others.min_by(by_value) }?;
        let (over, under) = if more { (ours.value, best.value) } else { (best.value, ours.value) };
        let factor = if over == under { 1.0 } else { over / under };
        let verdict = match factor {
            _ if self.is_noise(ours.value.min(best.value)) && !more => Verdict::Unclear,
            _ if factor > 1.0 + EVEN => Verdict::Won,
            _ if factor < 1.0 - EVEN => Verdict::Lost,
            _ => Verdict::Even,
        };
        Some(Match { ours, best, factor, verdict })
    }

    /// Whether a control of the row comes near this value.
    fn is_noise(&self, value: f64) -> bool {
        let mut controls = self.all().filter(|figure| figure.cache.starts_with(CONTROL));
        controls.any(|control| control.value >= value * NOISE)
    }
}

/// The case of a figure, and where on the axis it stands if the case does not say so itself. Large
/// places are bytes, which cases name as people write them.
#[must_use]
pub fn placed(case: &str, at: Option<f64>) -> String {
    match at {
        Some(at) if at.abs() < 10_000.0 && !case.contains(&at.to_string()) => {
            // To a hundredth, which is more than any axis shows.
            format!("{case}, at {}", (at * 100.0).round() / 100.0)
        }
        Some(_) | None => case.to_owned(),
    }
}

/// A factor as shown.
#[must_use]
pub fn times(factor: f64) -> String {
    match factor {
        _ if factor.is_nan() => "-".to_owned(),
        _ if factor >= 1_000.0 => "> 1000x".to_owned(),
        _ if factor >= 100.0 => format!("{factor:.0}x"),
        _ if factor >= 10.0 => format!("{factor:.1}x"),
        _ => format!("{factor:.2}x"),
    }
}

/// How many cells of a list were won, even and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Better than the best of the others.
    pub won: usize,
    /// Within 3 %.
    pub even: usize,
    /// Worse.
    pub lost: usize,
    /// Nobody can tell.
    pub unclear: usize,
}

impl Tally {
    /// Counts.
    #[must_use]
    pub fn of<'a>(matches: impl Iterator<Item = Match<'a>>) -> Self {
        let mut tally = Self::default();
        for found in matches {
            match found.verdict {
                Verdict::Won => tally.won += 1,
                Verdict::Even => tally.even += 1,
                Verdict::Lost => tally.lost += 1,
                Verdict::Unclear => tally.unclear += 1,
            }
        }
        tally
    }

    /// All cells.
    #[must_use]
    pub const fn cells(self) -> usize {
        self.won + self.even + self.lost + self.unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(case: &str, cache: &str, unit: Unit, value: f64) -> Figure {
        Figure::new("speed", case, cache, "time", unit, value)
    }

    #[test]
    fn rows_say_who_is_better() {
        let figures = [
            figure("hit", "moka", Unit::Ns, 80.0),
            figure("hit", "foyer", Unit::Ns, 60.0),
            figure("hit", OURS, Unit::Ns, 40.0),
            figure("set", "moka", Unit::Ns, 100.0),
            figure("set", OURS, Unit::Ns, 102.0),
            figure("miss", OURS, Unit::Ns, 9.0),
            figure("rate", "moka", Unit::PerSecond, 100.0),
            figure("rate", OURS, Unit::PerSecond, 50.0),
            figure("wait", "moka", Unit::Ns, 5.0),
            figure("wait", OURS, Unit::Ns, 0.0),
        ];
        let grids = grids(&figures);
        // One a unit: the rate counts in another.
        assert_eq!(grids.len(), 2);
        assert_eq!(grids[0].caches, ["moka", "foyer", OURS]);
        let matches: Vec<Match<'_>> = grids.iter().flat_map(Grid::matches).collect();
        let seen: Vec<(&str, &str, Verdict)> =
            matches.iter().map(|m| (&*m.ours.case, &*m.best.cache, m.verdict)).collect();
        assert_eq!(
            seen,
            [
                ("hit", "foyer", Verdict::Won),
                ("set", "moka", Verdict::Even),
                ("wait", "moka", Verdict::Won),
                ("rate", "moka", Verdict::Lost),
            ]
        );
        assert_eq!(times(matches[0].factor), "1.50x");
        assert_eq!(times(matches[2].factor), "> 1000x");
        let tally = Tally::of(matches.into_iter());
        assert_eq!((tally.won, tally.even, tally.lost), (2, 1, 1));
    }

    #[test]
    fn what_a_control_shows_as_well_is_nobodys() {
        let row = |control| {
            let figures = [
                figure("p99", "(loop)", Unit::Ns, control),
                figure("p99", "moka", Unit::Ns, 100.0),
                figure("p99", OURS, Unit::Ns, 300.0),
            ];
            grids(&figures)[0].matches().next().map(|found| (found.verdict, found.shown()))
        };
        assert_eq!(row(10.0), Some((Verdict::Lost, "0.33x".to_owned())));
        assert_eq!(row(50.0), Some((Verdict::Unclear, "unclear".to_owned())));
    }

    #[test]
    fn places_are_named_once() {
        assert_eq!(placed("web-cache", Some(4.0)), "web-cache, at 4");
        assert_eq!(placed("hit, 4 threads", Some(4.0)), "hit, 4 threads");
        assert_eq!(placed("part 2", Some(0.835_476)), "part 2, at 0.84");
        assert_eq!(placed("64.0 MiB", Some(67_108_864.0)), "64.0 MiB");
        assert_eq!(placed("hit", None), "hit");
    }

    #[test]
    fn what_stands_beside_is_not_compared() {
        let mut wall = figure("hit", OURS, Unit::Ns, 40.0);
        wall.metric = "wall time".to_owned();
        let other = Figure { cache: "moka".to_owned(), value: 20.0, ..wall.clone() };
        let figures = [wall, other];
        assert_eq!(grids(&figures)[0].matches().count(), 0);
    }
}
