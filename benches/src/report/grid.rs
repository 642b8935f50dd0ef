//! Figures side by side: a grid a metric, and in each row ours against the best of the others.

use super::{Figure, Unit, digits};
use crate::suite::SUITES;

/// HyperCache, as figures name it.
pub const OURS: &str = "hypercache";

/// Metrics that stand beside others and are not compared: time on the wall is the machine's other
/// work as well; hits and the load that was served say what the times beside them are worth; live
/// payload means nothing where the limit was not kept (bytes an entry says the same, and is
/// compared); a curve of responses has its percentiles as figures of their own; resident memory is
/// the one by the limit, and the capacity of a closed loop its processor time, over again; false
/// positives are as many as each filter was asked for.
const BESIDE: [&str; 10] = [
    "wall time",
    "wall",
    "hits",
    "rate",
    "behind",
    "response",
    "live payload",
    "resident",
    "capacity",
    "false positives",
];

/// Metrics of which less is better down to a value, and no further: who keeps to the limit by
/// storing less has not kept to it better.
const ENOUGH: [(&str, f64); 1] = [("resident by limit", 1.0)];

/// Of a metric, what is too little to be compared: a process keeps some pages of its own.
const TOO_LITTLE: [(&str, f64); 1] = [("resident after the end", 2_097_152.0)];

/// Counts nearer to each other are one: a cache that asked once in a thousand operations asks for
/// something else.
const ONE_COUNT: f64 = 0.01;

fn of_metric(rules: &[(&str, f64)], metric: &str) -> Option<f64> {
    rules.iter().find(|(name, _)| *name == metric).map(|(_, value)| *value)
}

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
    /// Nobody: within 3 %, or the intervals of both overlap.
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
        let too_little = of_metric(&TOO_LITTLE, &ours.metric);
        if too_little.is_some_and(|least| ours.value < least && best.value < least) {
            return None;
        }
        let enough = of_metric(&ENOUGH, &ours.metric).unwrap_or(f64::NEG_INFINITY);
        let (us, them) = (ours.value.max(enough), best.value.max(enough));
        let (over, under) = if more { (us, them) } else { (them, us) };
        let is_one = ours.unit == Unit::Count && (over - under).abs() < ONE_COUNT;
        let factor = if over == under || is_one { 1.0 } else { over / under };
        let verdict = match factor {
            _ if self.is_noise(ours.value.min(best.value)) && !more => Verdict::Unclear,
            _ if overlap(ours, best) => Verdict::Even,
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

/// Whether both medians have an interval, and these have a value in common.
fn overlap(one: &Figure, other: &Figure) -> bool {
    match (one.interval, other.interval) {
        (Some(one), Some(other)) => one.0 <= other.1 && other.0 <= one.1,
        (Some(_) | None, Some(_) | None) => false,
    }
}

/// The case of a suite's figure, and where on the suite's axis it stands if the case does not say so
/// itself. Large places are bytes, which cases name as people write them.
#[must_use]
pub fn placed(suite: &str, case: &str, at: Option<f64>) -> String {
    match at {
        Some(at) if at.abs() < 10_000.0 && !case.contains(&at.to_string()) => {
            let axis = SUITES.iter().find(|one| one.name == suite).map_or("", |one| one.axis);
            format!("{case}, {}", place(axis, at))
        }
        Some(_) | None => case.to_owned(),
    }
}

/// A place on an axis of this name.
fn place(axis: &str, at: f64) -> String {
    // To a hundredth, which is more than any axis shows.
    let rounded = (at * 100.0).round() / 100.0;
    match axis {
        "threads" if at == 1.0 => "1 thread".to_owned(),
        "threads" => format!("{rounded} threads"),
        "seconds" => format!("at {rounded} s"),
        "percentile" => format!("p{at}"),
        _ => format!("at {rounded}"),
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
        _ if factor >= 0.1 || factor <= 0.0 => format!("{factor:.2}x"),
        _ => format!("{}x", digits(factor, 2)),
    }
}

/// How many cells of a list were won, even and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Better than the best of the others.
    pub won: usize,
    /// Within 3 %, or intervals that overlap.
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
        for (suite, case, at, shown) in [
            ("concurrency", "web-cache", Some(4.0), "web-cache, 4 threads"),
            ("concurrency", "web-cache", Some(1.0), "web-cache, 1 thread"),
            ("concurrency", "hit, 4 threads", Some(4.0), "hit, 4 threads"),
            ("stress", "part 2", Some(0.835_476), "part 2, at 0.84 s"),
            ("latency", "web-cache", Some(99.5), "web-cache, p99.5"),
            ("memory", "64.0 MiB", Some(67_108_864.0), "64.0 MiB"),
            ("speed", "hit", None, "hit"),
        ] {
            assert_eq!(placed(suite, case, at), shown);
        }
    }

    #[test]
    fn small_factors_keep_two_digits() {
        for (factor, shown) in
            [(0.003_3, "0.0033x"), (0.099, "0.099x"), (0.1, "0.10x"), (0.0, "0.00x")]
        {
            assert_eq!(times(factor), shown);
        }
    }

    /// The verdict on two figures, ours first.
    fn verdict(ours: Figure, other: Figure) -> Option<(Verdict, String)> {
        let other = Figure { cache: "moka".to_owned(), ..other };
        let figures = [Figure { cache: OURS.to_owned(), ..ours }, other];
        grids(&figures)[0].matches().next().map(|found| (found.verdict, found.shown()))
    }

    #[test]
    fn intervals_that_overlap_are_even() {
        let of = |samples: &[f64]| figure("hit", "", Unit::Ns, 0.0).of_samples(samples);
        let slow = [50.0, 52.0, 60.0, 62.0, 64.0, 70.0];
        let near = [40.0, 41.0, 42.0, 43.0, 44.0, 51.0];
        let fast = [40.0, 41.0, 42.0, 43.0, 44.0, 45.0];
        assert_eq!(verdict(of(&slow), of(&near)), Some((Verdict::Even, "0.70x".to_owned())));
        assert_eq!(verdict(of(&slow), of(&fast)), Some((Verdict::Lost, "0.70x".to_owned())));
        // Without an interval there is nothing to overlap.
        assert_eq!(verdict(of(&slow), of(&[42.5])).map(|found| found.0), Some(Verdict::Lost));
    }

    #[test]
    fn what_is_not_better_is_not_called_so() {
        let of = |metric: &str, unit, value| {
            let metric = metric.to_owned();
            Figure { metric, ..figure("a case", "", unit, value) }
        };
        // Both keep to the limit.
        let kept = |value| of("resident by limit", Unit::Ratio, value);
        assert_eq!(verdict(kept(0.99), kept(0.4)), Some((Verdict::Even, "1.00x".to_owned())));
        assert_eq!(verdict(kept(0.99), kept(1.5)), Some((Verdict::Won, "1.50x".to_owned())));
        // One allocation in a thousand operations.
        let calls = |value| of("calls of the allocator", Unit::Count, value);
        assert_eq!(verdict(calls(0.0), calls(0.001)), Some((Verdict::Even, "1.00x".to_owned())));
        assert_eq!(verdict(calls(0.0), calls(1.0)).map(|found| found.0), Some(Verdict::Won));
        // Some pages of the process.
        let left = |mib: f64| of("resident after the end", Unit::Bytes, mib * 1_048_576.0);
        assert_eq!(verdict(left(0.7), left(0.2)), None);
        assert_eq!(verdict(left(0.7), left(90.0)).map(|found| found.0), Some(Verdict::Won));
        for metric in ["false positives", "resident", "capacity"] {
            let of = |value| of(metric, Unit::Ratio, value);
            assert_eq!(verdict(of(1.0), of(2.0)), None, "{metric}");
        }
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
