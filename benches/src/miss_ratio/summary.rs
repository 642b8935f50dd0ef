//! What the rows say: the share of FIFO's misses that each policy avoids, and how far ours are from
//! their twins in the reference.
//!
//! The metric is that of the S3-FIFO paper (SOSP'23): `(mr_fifo - mr) / mr_fifo`, not below -1, over
//! traces and sizes. FIFO is the reference's; where that has none, the one measured here.

use std::collections::BTreeMap;

use super::contender::Contender;
use crate::report::{Table, count};
use crate::trace::{Figure, Unit};

/// The simulators' optimum, which knows the future: a bound, not a policy.
pub const BELADY: &str = "belady";
/// The least capacity, in objects, at which a policy is compared with its twin.
const TWIN_OBJECTS: u64 = 1_000;
/// Policies of the reference that the table by class has beside those measured.
const BY_CLASS: [&str; 3] = [BELADY, "s3fifo-t1", "wtinylfu"];

/// A trace at a capacity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The trace.
    pub trace: String,
    /// Whether the capacity is in bytes.
    pub in_bytes: bool,
    /// The capacity.
    pub capacity: u64,
}

impl Key {
    fn of(figure: &Figure) -> Self {
        Self {
            trace: figure.trace.clone(),
            in_bytes: figure.unit == Unit::Bytes,
            capacity: figure.capacity,
        }
    }
}

/// What is known of a cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The capacity as a fraction of the trace.
    pub fraction: f64,
    /// FIFO's miss ratio.
    pub fifo: f64,
    /// Miss ratios measured here.
    pub measured: BTreeMap<String, f64>,
    /// Those of the reference.
    pub reference: BTreeMap<String, f64>,
}

/// Where a figure is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Measured here.
    Here,
    /// `reference.csv`.
    Reference,
}

/// All cells that something was measured of here, and of which FIFO's miss ratio is known.
#[derive(Clone, Debug, Default)]
pub struct Cells(pub BTreeMap<Key, Cell>);

/// How a policy did.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The policy.
    pub policy: String,
    /// Where it was measured.
    pub source: Source,
    /// In how many cells.
    pub cells: usize,
    /// Mean reduction.
    pub mean: f64,
    /// 10th percentile of the reductions.
    pub p10: f64,
    /// The least reduction, and where.
    pub worst: (f64, Key),
}

/// How far a policy is from its twin in the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Distance {
    /// In how many cells.
    pub cells: usize,
    /// Mean of the absolute differences of the miss ratios.
    pub mean: f64,
    /// The largest one, with its sign, and where.
    pub most: (f64, Key),
}

/// The share of FIFO's misses that are avoided, not below -1; 0 where FIFO misses nothing.
#[must_use]
pub fn reduction(fifo: f64, miss_ratio: f64) -> f64 {
    if fifo > 0.0 { ((fifo - miss_ratio) / fifo).max(-1.0) } else { 0.0 }
}

/// The value below which `share` of the sorted values lie, between two of them in proportion; NaN
/// for none.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = last as f64 * share;
    let (below, above) = (sorted[at as usize], sorted[(at as usize + 1).min(last)]);
    below + (above - below) * at.fract()
}

impl Cells {
    /// Puts measured rows beside those of the reference.
    #[must_use]
    pub fn new(measured: &[Figure], reference: &[Figure]) -> Self {
        let mut cells: BTreeMap<Key, Cell> = BTreeMap::new();
        for figure in measured {
            let cell = cells.entry(Key::of(figure)).or_default();
            cell.fraction = figure.fraction;
            cell.measured.insert(figure.policy.clone(), figure.miss_ratio);
        }
        for figure in reference {
            if let Some(cell) = cells.get_mut(&Key::of(figure)) {
                cell.reference.insert(figure.policy.clone(), figure.miss_ratio);
            }
        }
        cells.retain(|_, cell| {
            let fifo = cell.reference.get("fifo").or_else(|| cell.measured.get("fifo"));
            fifo.is_some_and(|&fifo| {
                cell.fifo = fifo;
                true
            })
        });
        Self(cells)
    }

    /// Those that pass.
    #[must_use]
    pub fn only(&self, pass: impl Fn(&Key) -> bool) -> Self {
        let kept = self.0.iter().filter(|(key, _)| pass(key));
        Self(kept.map(|(key, cell)| (key.clone(), cell.clone())).collect())
    }

    /// Every policy of a source, by name.
    #[must_use]
    pub fn policies(&self, source: Source) -> Vec<String> {
        let mut names: Vec<String> =
            self.0.values().flat_map(|cell| cell.of(source).keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// How a policy did; `None` where it was not measured.
    #[must_use]
    pub fn standing(&self, policy: &str, source: Source) -> Option<Standing> {
        self.stand(policy, source, |cell| cell.of(source).get(policy).copied())
    }

    /// The best policy of the reference in each cell, chosen afterwards; Belady's is none.
    #[must_use]
    pub fn best_afterwards(&self) -> Option<Standing> {
        self.stand("(best of these in each cell)", Source::Reference, |cell| {
            let practical = cell.reference.iter().filter(|(name, _)| *name != BELADY);
            practical.map(|(_, &ratio)| ratio).min_by(f64::total_cmp)
        })
    }

    fn stand(
        &self,
        policy: &str,
        source: Source,
        ratio: impl Fn(&Cell) -> Option<f64>,
    ) -> Option<Standing> {
        let reductions: Vec<(f64, &Key)> = self
            .0
            .iter()
            .filter_map(|(key, cell)| Some((reduction(cell.fifo, ratio(cell)?), key)))
            .collect();
        let (least, key) = reductions.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
        let mut sorted: Vec<f64> = reductions.iter().map(|(reduction, _)| *reduction).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Standing {
            policy: policy.to_owned(),
            source,
            cells: sorted.len(),
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            p10: quantile(&sorted, 0.1),
            worst: (*least, (*key).clone()),
        })
    }

    /// All standings, the best first.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let mut all: Vec<Standing> = [Source::Here, Source::Reference]
            .into_iter()
            .flat_map(|source| {
                let names = self.policies(source);
                names.into_iter().filter_map(move |name| self.standing(&name, source))
            })
            .chain(self.best_afterwards())
            .collect();
        all.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        all
    }

    /// How far a measured policy is from its twin, in the unit, over the cells that are large
    /// enough; `None` where the reference has none.
    #[must_use]
    pub fn distance(&self, policy: &str, unit: Unit, class: &Sizes) -> Option<Distance> {
        let twin = Contender::reference_name(policy);
        let differences: Vec<(f64, &Key)> = self
            .0
            .iter()
            .filter(|(key, cell)| {
                key.in_bytes == (unit == Unit::Bytes) && class.objects(key, cell) >= TWIN_OBJECTS
            })
            .filter_map(|(key, cell)| {
                Some((cell.measured.get(policy)? - cell.reference.get(twin)?, key))
            })
            .collect();
        let (most, key) = differences.iter().max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()))?;
        let sum: f64 = differences.iter().map(|(difference, _)| difference.abs()).sum();
        Some(Distance {
            cells: differences.len(),
            mean: sum / differences.len() as f64,
            most: (*most, (*key).clone()),
        })
    }
}

impl Cell {
    fn of(&self, source: Source) -> &BTreeMap<String, f64> {
        match source {
            Source::Here => &self.measured,
            Source::Reference => &self.reference,
        }
    }
}

/// How many objects a capacity in bytes holds: what the same fraction is in the unit `objects`.
#[derive(Clone, Debug, Default)]
pub struct Sizes(BTreeMap<(String, u64), u64>);

impl Sizes {
    /// Learns from every row in the unit `objects`.
    #[must_use]
    pub fn new<'a>(figures: impl IntoIterator<Item = &'a Figure>) -> Self {
        let objects = figures.into_iter().filter(|figure| figure.unit == Unit::Objects);
        Self(
            objects
                .map(|figure| {
                    ((figure.trace.clone(), millionths(figure.fraction)), figure.capacity)
                })
                .collect(),
        )
    }

    fn objects(&self, key: &Key, cell: &Cell) -> u64 {
        if !key.in_bytes {
            return key.capacity;
        }
        self.0.get(&(key.trace.clone(), millionths(cell.fraction))).copied().unwrap_or(0)
    }
}

fn millionths(fraction: f64) -> u64 {
    (fraction * 1e6).round() as u64
}

/// Prints the three tables: standings over the real traces, means by class, distances to twins.
pub fn print(cells: &Cells, classes: &BTreeMap<String, String>, sizes: &Sizes) {
    let real = cells.only(|key| is_real(&key.trace));
    if real.0.is_empty() {
        print_standings(cells, "all traces");
    } else {
        print_standings(&real, "real traces");
    }
    if !classes.is_empty() {
        print_classes(cells, classes);
    }
    print_distances(cells, sizes);
}

/// Whether the trace was recorded, not generated.
#[must_use]
pub fn is_real(trace: &str) -> bool {
    !trace.starts_with("syn_")
}

fn where_is(key: &Key, cells: &Cells) -> String {
    let fraction = cells.0.get(key).map_or(0.0, |cell| cell.fraction);
    let unit = if key.in_bytes { "bytes" } else { "objects" };
    format!("{} {:.4} {unit}", key.trace, fraction).replace("00 ", " ").replace("0 ", " ")
}

fn print_standings(cells: &Cells, which: &str) {
    let title = format!("Share of FIFO's misses that are avoided, {which}");
    let header = ["<policy", "<from", "cells", "mean", "10th pct.", "worst", "<worst cell"];
    let mut table = Table::new(title, &header);
    for standing in cells.standings() {
        let here = standing.source == Source::Here;
        let row = vec![
            standing.policy.clone(),
            if here { "here" } else { "reference" }.to_owned(),
            count(standing.cells as u64),
            format!("{:+.4}", standing.mean),
            format!("{:+.4}", standing.p10 + 0.0),
            format!("{:+.3}", standing.worst.0),
            where_is(&standing.worst.1, cells),
        ];
        if here {
            table.strong(row);
        } else {
            table.row(row);
        }
    }
    table.note("(mr_fifo - mr) / mr_fifo, not below -1, over traces and sizes; both units.");
    table.print();
}

fn print_classes(cells: &Cells, classes: &BTreeMap<String, String>) {
    let class_of = |key: &Key| classes.get(&key.trace).map_or("(none)", String::as_str);
    let mut names: Vec<&str> = cells.0.keys().map(class_of).collect();
    names.sort_unstable();
    names.dedup();
    let header: Vec<&str> = std::iter::once("<policy").chain(names.iter().copied()).collect();
    let mut table = Table::new("The same mean by class of trace", &header);
    let parts: Vec<Cells> =
        names.iter().map(|name| cells.only(|key| class_of(key) == *name)).collect();
    let mut row = |policy: &str, source| {
        let mean = |part: &Cells| {
            let standing = part.standing(policy, source);
            standing.map_or("-".to_owned(), |standing| format!("{:+.3}", standing.mean))
        };
        let row = std::iter::once(policy.to_owned()).chain(parts.iter().map(mean)).collect();
        match source {
            Source::Here => table.strong(row),
            Source::Reference => table.row(row),
        };
    };
    for policy in cells.policies(Source::Here) {
        row(&policy, Source::Here);
    }
    let known = cells.policies(Source::Reference);
    for policy in BY_CLASS.into_iter().filter(|name| known.iter().any(|known| known == name)) {
        row(policy, Source::Reference);
    }
    table.note("Below the measured ones, three of the reference for comparison.");
    table.print();
}

fn print_distances(cells: &Cells, sizes: &Sizes) {
    let title = format!(
        "Miss ratio here less that of the same policy in the reference, points, capacities of at \
         least {} objects",
        count(TWIN_OBJECTS)
    );
    let header =
        ["<policy", "<reference", "<unit", "cells", "mean |d|", "largest d", "<in the cell"];
    let mut table = Table::new(title, &header);
    let mut rows = 0;
    for policy in cells.policies(Source::Here) {
        for unit in [Unit::Objects, Unit::Bytes] {
            let Some(distance) = cells.distance(&policy, unit, sizes) else { continue };
            rows += 1;
            table.row(vec![
                policy.clone(),
                Contender::reference_name(&policy).to_owned(),
                unit.to_string(),
                count(distance.cells as u64),
                format!("{:.3}", distance.mean * 100.0),
                format!("{:+.3}", distance.most.0 * 100.0),
                where_is(&distance.most.1, cells),
            ]);
        }
    }
    if rows > 0 {
        table.print();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(policy: &str, capacity: u64, miss_ratio: f64) -> Figure {
        Figure {
            trace: "web".to_owned(),
            unit: Unit::Objects,
            policy: policy.to_owned(),
            fraction: capacity as f64 / 100_000.0,
            capacity,
            miss_ratio,
            byte_miss_ratio: miss_ratio,
        }
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn reductions_by_hand() {
        near(reduction(0.5, 0.4), 0.2);
        near(reduction(0.5, 0.5), 0.0);
        near(reduction(0.2, 0.3), -0.5);
        near(reduction(0.1, 0.9), -1.0);
        near(reduction(0.0, 0.0), 0.0);
    }

    #[test]
    fn quantiles_by_hand() {
        let eleven: Vec<f64> = (0..11).map(f64::from).collect();
        near(quantile(&eleven, 0.1), 1.0);
        near(quantile(&[0.0, 1.0], 0.1), 0.1);
        near(quantile(&[7.0], 0.1), 7.0);
        assert!(quantile(&[], 0.1).is_nan());
    }

    #[test]
    fn standings_and_distances_by_hand() {
        let measured = [
            row("lru", 100, 0.45),
            row("lru", 1_000, 0.30),
            row("lru", 10_000, 0.30),
            row("s3fifo", 1_000, 0.30),
        ];
        let reference = [
            row("fifo", 100, 0.50),
            row("fifo", 1_000, 0.40),
            row("fifo", 10_000, 0.20),
            // Nothing was measured at this capacity: it counts for nobody.
            row("fifo", 90_000, 0.20),
            row("belady", 90_000, 0.10),
            row("belady", 100, 0.25),
            row("lru", 100, 0.50),
            row("lru", 1_000, 0.31),
            row("lru", 10_000, 0.28),
            row("s3fifo-t1", 1_000, 0.29),
        ];
        let cells = Cells::new(&measured, &reference);
        // 0.1, 0.25, -0.5.
        let lru = cells.standing("lru", Source::Here).unwrap();
        assert_eq!((lru.cells, lru.worst.1.capacity), (3, 10_000));
        near(lru.mean, -0.05);
        near(lru.worst.0, -0.5);
        near(lru.p10, -0.5 + 0.2 * 0.6);
        let belady = cells.standing(BELADY, Source::Reference).unwrap();
        assert_eq!(belady.cells, 1);
        near(belady.mean, 0.5);
        // 0 (FIFO's own), 0.275 (s3fifo-t1), 0 (FIFO's own).
        near(cells.best_afterwards().unwrap().mean, 0.275 / 3.0);
        assert_eq!(cells.standings()[0].policy, BELADY);

        let sizes = Sizes::new(&reference);
        let lru = cells.distance("lru", Unit::Objects, &sizes).unwrap();
        assert_eq!((lru.cells, lru.most.1.capacity), (2, 10_000));
        near(lru.mean, 0.015);
        near(lru.most.0, 0.02);
        let s3fifo = cells.distance("s3fifo", Unit::Objects, &sizes).unwrap();
        near(s3fifo.most.0, 0.01);
        assert_eq!(cells.distance("lru", Unit::Bytes, &sizes), None);
        assert_eq!(cells.distance("fifo", Unit::Objects, &sizes), None);
    }

    #[test]
    fn without_a_reference_fifo_is_the_one_measured() {
        let cells = Cells::new(&[row("fifo", 100, 0.5), row("lru", 100, 0.4)], &[]);
        near(cells.standing("lru", Source::Here).unwrap().mean, 0.2);
        assert!(Cells::new(&[row("lru", 100, 0.4)], &[]).0.is_empty());
    }
}
