//! The cells of the matrix: what rounds come to, and the tables that show it.

use super::{Bench, Clock, Op, Size};
use crate::cache::Kind;
use crate::drive::Sample;
use crate::measure::median;
use crate::report::{Table, ns};

/// One measured cell: a place in the matrix and a figure a cache.
pub(super) struct Cell {
    pub(super) op: Op,
    pub(super) size: Size,
    /// How large the working set is, as shown: the size's name, or its bytes where they are others.
    pub(super) place: String,
    pub(super) len: usize,
    pub(super) threads: usize,
    /// In the order of the caches.
    pub(super) figures: Vec<Figure>,
    /// What `hotkey` and `batch` are held against: per cache the private or single figure.
    pub(super) against: Vec<Figure>,
}

impl Cell {
    /// One of one thread without figures; the other fields are set by name.
    pub(super) fn new(op: Op, size: Size, len: usize) -> Self {
        let place = size.to_string();
        Self { op, size, place, len, threads: 1, figures: Vec::new(), against: Vec::new() }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) cpu: f64,
    pub(super) wall: f64,
    pub(super) hit_share: f64,
    /// Processor time of each round, without the loop.
    pub(super) rounds: Vec<f64>,
}

impl Figure {
    /// What a loop costs that is not measured.
    pub(super) const FREE: Self = Self { cpu: 0.0, wall: 0.0, hit_share: 0.0, rounds: Vec::new() };

    pub(super) fn shown(&self, clock: Clock) -> f64 {
        match clock {
            Clock::Cpu => self.cpu,
            Clock::Wall => self.wall,
        }
    }
}

/// What the rounds of a cache come to, less what the loop costs.
pub(super) fn figure(samples: &[Sample], loop_cost: &Figure) -> Figure {
    let cpu = |sample: &Sample| (sample.cpu_per_op() - loop_cost.cpu).max(0.1);
    let rounds: Vec<f64> = samples.iter().map(cpu).collect();
    let mut wall: Vec<f64> = samples.iter().map(Sample::wall_per_op).collect();
    let reads: u64 = samples.iter().map(|sample| sample.reads).sum();
    let hits: u64 = samples.iter().map(|sample| sample.hits).sum();
    Figure {
        cpu: median(&mut rounds.clone()),
        wall: (median(&mut wall) - loop_cost.wall).max(0.1),
        hit_share: hits as f64 / reads.max(1) as f64,
        rounds,
    }
}

impl Bench<'_> {
    /// Prints the cells of one operation.
    pub(super) fn table(&self, op: Op) {
        let cells: Vec<&Cell> = self.cells.iter().filter(|cell| cell.op == op).collect();
        if cells.is_empty() {
            return;
        }
        let mut header = vec!["<size", "value", "threads"];
        header.extend(self.kinds.iter().map(|kind| kind.name()));
        let ours = self.kinds.iter().position(|kind| kind.is_ours());
        if ours.is_some() {
            header.extend(["best of 4", "ratio", "goal", "segcache"]);
        }
        let clock = self.args.clock;
        let mut table = Table::new(op.title(), &header);
        let mut lossy = false;
        let mut size = None;
        for cell in cells {
            if size.replace(cell.size).is_some_and(|before| before != cell.size) {
                table.rule();
            }
            let shown: Vec<f64> = match op {
                Op::Hotkey => (cell.figures.iter().zip(&cell.against))
                    .map(|(shared, apart)| apart.shown(clock) / shared.shown(clock))
                    .collect(),
                _ => cell.figures.iter().map(|figure| figure.shown(clock)).collect(),
            };
            let mut row =
                vec![cell.place.clone(), format!("{} B", cell.len), cell.threads.to_string()];
            for (&value, figure) in shown.iter().zip(&cell.figures) {
                let reads_resident = matches!(op, Op::Hit | Op::Batch | Op::Hotkey);
                let mark = if reads_resident && figure.hit_share < 0.999 { "*" } else { "" };
                lossy |= !mark.is_empty();
                row.push(if op == Op::Hotkey {
                    format!("{value:.2}{mark}")
                } else {
                    format!("{}{mark}", ns(value))
                });
            }
            if let Some(ours) = ours {
                row.extend(self.verdict(cell, &shown, ours));
            }
            table.row(row);
        }
        match op {
            Op::Hotkey => table.note("Ratio of two threads' times; nobody's lines bounce at 1."),
            _ => table.note(format!(
                "Nanoseconds of {clock} time an operation and thread, median of {} rounds, without the loop.",
                self.args.rounds
            )),
        };
        if lossy {
            table.note("* the cache did not hold all keys (below 99.9 % hits).");
        }
        table.print();
    }

    fn verdict(&self, cell: &Cell, shown: &[f64], ours: usize) -> Vec<String> {
        let clock = self.args.clock;
        let rivals = match cell.op {
            Op::Batch => cell.against.iter().map(|figure| figure.shown(clock)).collect(),
            _ => shown.to_vec(),
        };
        let mine = shown[ours];
        let goal = cell.op.goal(cell.size, cell.len);
        let met = |ratio: f64| goal.is_none_or(|goal| ratio >= goal);
        let goal_text = |ratio: f64| match goal {
            Some(goal) if !ratio.is_nan() => {
                format!("{goal:.2} {}", if met(ratio) { "ok" } else { "--" })
            }
            Some(_) | None => String::new(),
        };
        if cell.op == Op::Hotkey {
            return vec![String::new(), String::new(), goal_text(mine), String::new()];
        }
        let best = (self.kinds.iter().zip(&rivals))
            .filter(|(kind, _)| kind.is_rival())
            .map(|(_, &value)| value)
            .fold(f64::NAN, f64::min);
        let segcache = (self.kinds.iter().zip(&rivals))
            .find(|(kind, _)| **kind == Kind::Segcache)
            .map_or(f64::NAN, |(_, &value)| value);
        let times =
            |ratio: f64| if ratio.is_nan() { "-".to_owned() } else { format!("{ratio:.2}x") };
        vec![ns(best), times(best / mine), goal_text(best / mine), times(segcache / mine)]
    }
}
