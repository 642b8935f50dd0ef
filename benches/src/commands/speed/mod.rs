//! `speed`: nanoseconds an operation, beside the peers, cell by cell.
//!
//! All caches of a cell are alive at once and take turns, round after round, each time for a few
//! ten milliseconds; a cell's figure is the median of its rounds, and ratios are taken within the
//! run. So a neighbour that wakes up disturbs one round of everybody. Figures are the thread's
//! own processor time, less what the loop costs around a cache that does nothing. What becomes of
//! the rounds, and the tables, are in `table`.

mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};
use indicatif::ProgressBar;

use super::{Caches, range, shown_as_typed, typed};
use crate::cache::{Kind, Null, Spec};
use crate::drive::{self, BATCHED_VALUE_MAX, READ_MAX, Sample, Subject, Task, rotated, run_lanes};
use crate::report::{self, Csv, Unit, progress, size};
use crate::suite::{Extent, Findings, Plan};
use crate::workload::{KEY_LEN, Rng, ValueBytes, Zipf};
use table::{Cell, Figure, figure};

/// Compare the speed of reads and writes, cell by cell; all of them take a quarter of an hour
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    caches: Caches,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Op::ALL)]
    ops: Vec<Op>,
    /// Sizes of the working set
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Size::L2, Size::Llc, Size::Dram])]
    sizes: Vec<Size>,
    /// Lengths of the values, in bytes
    #[arg(long, value_delimiter = ',', default_values_t = [64, 256, 4096])]
    values: Vec<usize>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Rounds a cell; its figure is their median
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Milliseconds a round and cache
    #[arg(long, default_value_t = 40)]
    millis: u64,
    /// Live keys and values as a share of the limit while overwriting
    #[arg(long, default_value_t = 0.6)]
    live_share: f64,
    /// Which time the tables show; the CSV has both
    #[arg(long, value_enum, default_value_t = Clock::Cpu)]
    clock: Clock,
    /// Seed of the workload
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write every figure to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// What a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Op {
    /// Reads of resident keys, uniformly random.
    Hit,
    /// Reads of absent keys.
    Miss,
    /// Sets of new keys into a full cache.
    Set,
    /// Sets of resident keys.
    Overwrite,
    /// Zipf 0.99 over resident keys, 95 % reads.
    Zipf,
    /// Batches of 32 reads against single ones.
    Batch,
    /// Two readers of one key against two readers of private stores.
    Hotkey,
}

impl Op {
    const ALL: [Self; 7] =
        [Self::Hit, Self::Miss, Self::Set, Self::Overwrite, Self::Zipf, Self::Batch, Self::Hotkey];

    /// As the cases of the suite begin.
    fn case(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Set => "set into full",
            Self::Overwrite => "overwrite",
            Self::Zipf => "zipf 95/5",
            Self::Batch => "hit in batches of 32",
            Self::Hotkey => "two readers of one key",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Hit => "Hit: uniformly random over resident keys, value copied out",
            Self::Miss => "Miss: keys that were never stored",
            Self::Set => "Set of new keys into a full cache, every one evicts",
            Self::Overwrite => "Overwrite of resident keys",
            Self::Zipf => "Zipf 0.99 over resident keys, 95 % reads, 5 % overwrites",
            Self::Batch => "Reads in batches of 32, a key, against the best single hit",
            Self::Hotkey => "Two readers of one key: private store / shared store (1 is perfect)",
        }
    }

    /// How many times faster than the best of the four it is meant to be.
    fn goal(self, size: Size, len: usize) -> Option<f64> {
        match self {
            Self::Hit => (len <= 256).then_some(1.5),
            Self::Miss => Some(1.0),
            Self::Set => (len <= 256).then_some(2.0),
            Self::Overwrite => (len <= 256).then_some(1.5),
            Self::Zipf => None,
            Self::Batch => (size == Size::Dram).then_some(4.0),
            Self::Hotkey => Some(0.95),
        }
    }
}

shown_as_typed!(Op, Size, Clock);

/// How large the working set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Size {
    /// 256 KiB of keys and values; sets and overwrites have what the smallest budget of 1 MiB holds.
    L2,
    /// 16 MiB.
    Llc,
    /// 256 MiB.
    Dram,
}

impl Size {
    fn bytes(self) -> u64 {
        match self {
            Self::L2 => 256 << 10,
            Self::Llc => 16 << 20,
            Self::Dram => 256 << 20,
        }
    }

    /// What a working set of so many bytes is called: this, or by its bytes where it is larger than
    /// this asks for, because nobody's budget is below [`BUDGET_MIN`].
    fn place(self, bytes: u64) -> String {
        if bytes == self.bytes() { self.to_string() } else { size(bytes) }
    }
}

/// The smallest pool of HyperCache, in bytes: nobody gets less.
const BUDGET_MIN: u64 = 1 << 20;

/// Which clock tables show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clock {
    /// The thread's processor time.
    Cpu,
    /// Time on the wall.
    Wall,
}

/// The caches of one cell, alive together.
struct Field {
    caches: Vec<Box<dyn Subject>>,
    /// Ids never used before, a cache.
    next_id: Vec<u64>,
}

/// The matrix; the quick form has what fits the processor's caches, and reads of memory.
pub fn suite(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let seed = plan.seed.to_string();
    let options = ["--seed", &seed];
    if plan.extent == Extent::Full {
        return measure(&typed(&options)?, findings);
    }
    let lines = [
        "--sizes l2 --values 64 --rounds 6 --millis 10",
        "--sizes llc --values 64 --rounds 6 --millis 10 --threads 1",
        "--sizes dram --values 64 --rounds 6 --millis 10 --threads 1 --ops hit,miss,batch",
    ];
    for line in lines {
        let more: Vec<&str> = line.split(' ').collect();
        measure(&typed(&[&options[..], &more].concat())?, findings)?;
    }
    Ok(())
}

/// Runs the comparison and prints its tables.
pub fn run(args: &Args) -> Result<()> {
    measure(args, &mut Findings::default())
}

impl Args {
    fn check(&self) -> Result<()> {
        range("--rounds", f64::from(self.rounds), 1.0, 1e6)?;
        range("--millis", self.millis as f64, 1.0, 60_000.0)?;
        range("--live-share", self.live_share, 0.01, 1.0)?;
        for &threads in &self.threads {
            range("--threads", threads as f64, 1.0, 1024.0)?;
        }
        // The loops' buffer has room for so much; a longer value would be a miss that nobody sees.
        let longest = if self.ops.contains(&Op::Batch) { BATCHED_VALUE_MAX } else { READ_MAX };
        for &len in &self.values {
            range("--values", len as f64, 0.0, longest as f64)?;
        }
        Ok(())
    }
}

fn measure(args: &Args, findings: &mut Findings) -> Result<()> {
    args.check()?;
    let kinds = args.caches.or(Kind::BUILT)?;
    let mut bench = Bench {
        args,
        kinds: &kinds,
        csv: Csv::create(
            args.csv.as_deref(),
            &["op", "size", "value_len", "threads", "cache", "cpu_ns", "wall_ns", "hit_share"],
        )?,
        bar: progress(0, "speed"),
        cells: Vec::new(),
        findings,
    };
    bench.bar.set_length(bench.planned());
    for &size in &args.sizes {
        for &len in &args.values {
            bench.place(size, len)?;
        }
    }
    bench.bar.finish_and_clear();
    for &op in &args.ops {
        bench.table(op);
    }
    Ok(())
}

struct Bench<'a> {
    args: &'a Args,
    kinds: &'a [Kind],
    csv: Csv,
    bar: ProgressBar,
    cells: Vec<Cell>,
    findings: &'a mut Findings,
}

impl Bench<'_> {
    fn wants(&self, op: Op) -> bool {
        self.args.ops.contains(&op)
    }

    fn planned(&self) -> u64 {
        let per_size = |size: &Size| -> usize {
            (self.args.ops.iter())
                .map(|op| match op {
                    Op::Batch => 1 + usize::from(!self.wants(Op::Hit)),
                    Op::Hotkey => usize::from(*size == Size::L2),
                    _ => self.args.threads.len(),
                })
                .sum()
        };
        let cells: usize = self.args.sizes.iter().map(per_size).sum();
        (cells * self.args.values.len()) as u64
    }

    /// All cells of one size and one length of values.
    fn place(&mut self, size: Size, len: usize) -> Result<()> {
        self.bar.set_message(format!("{size}, {len} B: fill"));
        let values = ValueBytes::new(len, self.args.seed);
        let entry = (KEY_LEN + len) as u64;
        let keys = (size.bytes() / entry).max(1);
        let budget = |bytes: u64| bytes.max(BUDGET_MIN);

        if [Op::Hit, Op::Miss, Op::Zipf, Op::Batch, Op::Hotkey].iter().any(|&op| self.wants(op)) {
            let spec = Spec { entries: keys, ..Spec::new(budget(2 * size.bytes()), len as u64) };
            let mut field = self.field(&spec, keys, len, &values)?;
            self.reads(&mut field, size, len, keys, &values)?;
            self.hot_key(&mut field, &spec, size, len, &values)?;
        }
        if self.wants(Op::Overwrite) {
            let limit = (size.bytes() as f64 / self.args.live_share) as u64;
            let spec = Spec::new(budget(limit), len as u64);
            let keys = if limit < BUDGET_MIN {
                ((BUDGET_MIN as f64 * self.args.live_share) as u64 / entry).max(1)
            } else {
                keys
            };
            let place = size.place(if limit < BUDGET_MIN { keys * entry } else { size.bytes() });
            let mut field = self.field(&spec, keys, len, &values)?;
            for &threads in &self.args.threads {
                let task = Task::Overwrite { keys, len, values: &values };
                let figures = self.measure(&mut field, threads, &task, "overwrite")?;
                let cell = Cell { place: place.clone(), ..Cell::new(Op::Overwrite, size, len) };
                self.push(Cell { threads, figures, ..cell })?;
            }
        }
        if self.wants(Op::Set) {
            let spec = Spec::new(budget(size.bytes()), len as u64);
            let place = size.place(spec.budget);
            let mut field = self.field(&spec, 2 * spec.entries, len, &values)?;
            for &threads in &self.args.threads {
                let task = Task::SetNew { first: 0, len, values: &values };
                let figures = self.measure(&mut field, threads, &task, "set")?;
                let cell = Cell { place: place.clone(), ..Cell::new(Op::Set, size, len) };
                self.push(Cell { threads, figures, ..cell })?;
            }
        }
        Ok(())
    }

    fn reads(
        &mut self,
        field: &mut Field,
        size: Size,
        len: usize,
        keys: u64,
        values: &ValueBytes,
    ) -> Result<()> {
        let mut single = Vec::new();
        for &threads in &self.args.threads {
            if self.wants(Op::Hit) {
                let figures = self.measure(field, threads, &Task::Get { keys }, "hit")?;
                if threads == 1 {
                    single.clone_from(&figures);
                }
                self.push(Cell { threads, figures, ..Cell::new(Op::Hit, size, len) })?;
            }
            if self.wants(Op::Miss) {
                let figures = self.measure(field, threads, &Task::Miss, "miss")?;
                self.push(Cell { threads, figures, ..Cell::new(Op::Miss, size, len) })?;
            }
        }
        if self.wants(Op::Batch) {
            if single.is_empty() {
                single = self.measure(field, 1, &Task::Get { keys }, "single")?;
            }
            let figures = self.measure(field, 1, &Task::GetMany { keys }, "batch")?;
            self.push(Cell { figures, against: single, ..Cell::new(Op::Batch, size, len) })?;
        }
        if self.wants(Op::Zipf) {
            let zipf = Zipf::new(keys, 0.99);
            let mut rng = Rng::new(self.args.seed);
            let ids: Vec<u32> = (0..1 << 20).map(|_| zipf.sample(&mut rng) as u32).collect();
            for &threads in &self.args.threads {
                let task = Task::Mixed { ids: &ids, len, values };
                let figures = self.measure(field, threads, &task, "zipf")?;
                self.push(Cell { threads, figures, ..Cell::new(Op::Zipf, size, len) })?;
            }
        }
        Ok(())
    }

    fn hot_key(
        &mut self,
        field: &mut Field,
        spec: &Spec,
        size: Size,
        len: usize,
        values: &ValueBytes,
    ) -> Result<()> {
        if !self.wants(Op::Hotkey) || size != Size::L2 {
            return Ok(());
        }
        let private = self.field(spec, 1_000.min(spec.entries), len, values)?;
        let lanes = [Task::GetOne { id: 7 }; 2];
        let rounds = self.args.rounds;
        let mut shared: Vec<Vec<Sample>> = vec![Vec::new(); self.kinds.len()];
        let mut apart = shared.clone();
        for round in 0..=rounds {
            for at in rotated(self.kinds.len(), round) {
                let (one, other) = (&*field.caches[at], &*private.caches[at]);
                let ops = self.args.millis * 20_000;
                let apart_sample = run_lanes(&[one, other], &lanes, ops, u64::from(round));
                let shared_sample = run_lanes(&[one], &lanes, ops, u64::from(round));
                if round > 0 {
                    shared[at].push(shared_sample);
                    apart[at].push(apart_sample);
                }
            }
        }
        self.bar.inc(1);
        let loop_cost = Figure::FREE;
        let figures = shared.iter().map(|samples| figure(samples, &loop_cost)).collect();
        let against = apart.iter().map(|samples| figure(samples, &loop_cost)).collect();
        self.push(Cell { threads: 2, figures, against, ..Cell::new(Op::Hotkey, size, len) })
    }

    fn field(&self, spec: &Spec, keys: u64, len: usize, values: &ValueBytes) -> Result<Field> {
        let mut caches = Vec::new();
        for kind in self.kinds {
            let cache = kind.build(spec)?;
            cache.fill(0..keys, len, values);
            caches.push(cache);
        }
        Ok(Field { next_id: vec![keys; caches.len()], caches })
    }

    /// Rounds over all caches of the field; the loop without a cache takes part.
    fn measure(
        &self,
        field: &mut Field,
        threads: usize,
        task: &Task<'_>,
        what: &str,
    ) -> Result<Vec<Figure>> {
        let count = self.kinds.len();
        let seed = self.args.seed;
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); count + 1];
        let mut ops = vec![2_000_u64; count + 1];
        self.bar.set_message(format!("{what}, {}", drive::threads(threads)));
        for round in 0..self.args.rounds + 2 {
            for at in rotated(count + 1, round) {
                let cache: &dyn Subject = field.caches.get(at).map_or(&Null, |cache| &**cache);
                let tasks: Vec<Task<'_>> =
                    (0..threads).map(|lane| lane_task(task, field.next_id.get(at), lane)).collect();
                let seed = seed ^ (u64::from(round) << 32);
                let sample = run_lanes(&[cache], &tasks, ops[at], seed);
                if let Some(next) = field.next_id.get_mut(at) {
                    *next += ops[at];
                }
                if round < 2 {
                    // The first two rounds warm up and say how many operations make a turn.
                    let per_op = sample.wall_per_op().max(0.2);
                    ops[at] = ((self.args.millis as f64 * 1e6 / per_op) as u64).clamp(320, 1 << 25);
                } else {
                    samples[at].push(sample);
                }
            }
        }
        self.bar.inc(1);
        let loop_cost = figure(&samples[count], &Figure::FREE);
        Ok(samples[..count].iter().map(|samples| figure(samples, &loop_cost)).collect())
    }

    fn push(&mut self, cell: Cell) -> Result<()> {
        let Cell { op, ref place, len, threads, ref figures, .. } = cell;
        for (kind, figure) in self.kinds.iter().zip(figures) {
            self.csv.row(&[
                op.to_string(),
                place.clone(),
                len.to_string(),
                threads.to_string(),
                kind.name().to_owned(),
                format!("{:.2}", figure.cpu),
                format!("{:.2}", figure.wall),
                format!("{:.5}", figure.hit_share),
            ])?;
        }
        let case = format!("{}, {len} B, {place}, {}", op.case(), drive::threads(threads));
        self.hand_in(op, &case, figures);
        self.cells.push(cell);
        Ok(())
    }

    /// As figures of the suite.
    fn hand_in(&mut self, op: Op, case: &str, figures: &[Figure]) {
        for (kind, figure) in self.kinds.iter().zip(figures) {
            let of = |metric, unit, value| {
                report::Figure::new("speed", case, kind.name(), metric, unit, value)
            };
            self.findings.figure(of("time", Unit::Ns, 0.0).of_samples(&figure.rounds));
            self.findings.figure(of("wall time", Unit::Ns, figure.wall));
            if !matches!(op, Op::Miss | Op::Set | Op::Overwrite) {
                self.findings.figure(of("hits", Unit::Share, figure.hit_share));
            }
        }
    }
}

/// Lanes that set new keys must not meet.
fn lane_task<'a>(task: &Task<'a>, next: Option<&u64>, lane: usize) -> Task<'a> {
    match *task {
        Task::SetNew { len, values, .. } => {
            Task::SetNew { first: next.copied().unwrap_or(0) | ((lane as u64) << 40), len, values }
        }
        other => other,
    }
}
