//! `limit`: what the process's memory grows by when a cache is told to keep to a budget.
//!
//! Every cache runs in a child process of its own, because memory that one has freed hides what
//! the next one takes. A child fills its cache in phases of unique keys, a few budgets each, whose
//! value sizes change from phase to phase; resident memory is read from the page tables, huge
//! pages included, a hundred times a phase; after each phase every entry is read back, compared,
//! and counted.

mod child;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use hypercache_core::PolicyKind;
use indicatif::ProgressBar;

use super::{Caches, built, typed};
use crate::cache::Kind;
use crate::report::{Csv, Figure, Table, Unit, count, mib, parse_bytes, percent, progress};
use crate::suite::{Extent, Findings, Plan};
pub use child::{ChildArgs, run_child};

/// Compare memory taken with the budget asked for
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    caches: Caches,
    /// The budget
    #[arg(long, default_value = "256MiB", value_parser = parse_bytes)]
    limit: u64,
    /// Lengths of the values in each phase, in bytes; "mixed" is 16 to 4,096
    #[arg(long, value_delimiter = ',', default_values = ["64", "1024", "300", "64", "mixed"])]
    phases: Vec<String>,
    /// Budgets of unique sets a phase
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    budgets: u64,
    /// Seconds to wait after the shrink before memory is read again
    #[arg(long, default_value_t = 30)]
    settle_seconds: u64,
    /// Only the first phase, at this many limits from three quarters of the limit to one and a
    /// half; 0: leave them out
    #[arg(long, default_value_t = 9)]
    sweep: u64,
    /// Caches of the sweep
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Ours])]
    sweep_caches: Vec<Kind>,
    /// HyperCache's policy. The default one keeps half of what was there through a flood of keys that
    /// are never asked for again; under `s3fifo` a phase is what the phase before left no trace of
    #[arg(long, default_value = "default", value_parser = policy)]
    policy: PolicyKind,
    /// Also write every figure to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

fn policy(name: &str) -> Result<PolicyKind, hypercache_core::Error> {
    if name == "default" { Ok(PolicyKind::Default) } else { PolicyKind::parse(name) }
}

/// How much the process may grow beyond the limit.
const SLACK: u64 = 4 << 20;

/// What a child says after each step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub name: String,
    pub limit: u64,
    pub peak: u64,
    pub now: u64,
    pub entries: u64,
    pub payload: u64,
}

impl Step {
    /// What it is called, for people.
    pub(crate) fn words(&self) -> String {
        match self.name.strip_suffix("s-later") {
            Some(seconds) => format!("{seconds} s later"),
            None => self.name.clone(),
        }
    }

    fn to_line(&self) -> String {
        format!(
            "step {} {} {} {} {} {}",
            self.name, self.limit, self.peak, self.now, self.entries, self.payload
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("step ")?.split(' ');
        let name = fields.next()?.to_owned();
        let mut number = || fields.next()?.parse().ok();
        Some(Self {
            name,
            limit: number()?,
            peak: number()?,
            now: number()?,
            entries: number()?,
            payload: number()?,
        })
    }
}

/// Values of one length each, every cache new; what happens while lengths drift is another suite's
/// (`memory`).
pub fn suite(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let (caches, limit) = (built(), plan.pick("32MiB", "256MiB"));
    let phases = match plan.extent {
        Extent::Quick => &["64", "mixed"][..],
        Extent::Full => &["64", "300", "1024", "mixed"],
    };
    for phase in phases {
        let options = ["--caches", &caches, "--limit", limit, "--phases", phase, "--sweep", "0"];
        measure(&typed(&[&options[..], &["--settle-seconds", "0"]].concat())?, findings)?;
    }
    Ok(())
}

/// Runs the comparison and prints its tables.
pub fn run(args: &Args) -> Result<()> {
    measure(args, &mut Findings::default())
}

fn measure(args: &Args, findings: &mut Findings) -> Result<()> {
    let kinds = args.caches.or(&[Kind::Moka, Kind::Foyer, Kind::Quick, Kind::Ours])?;
    let mut csv = Csv::create(
        args.csv.as_deref(),
        &["cache", "limit", "step", "rss_peak", "rss_now", "entries", "payload_bytes"],
    )?;
    let bar = progress(1000 * kinds.len() as u64, "limit");
    let mut drift = Vec::new();
    for (at, &kind) in kinds.iter().enumerate() {
        bar.set_message(format!("phases: {kind}"));
        let steps = in_child(kind, args.limit, args, Some(args.settle_seconds), &bar, at as u64)?;
        record(&mut csv, kind, &steps)?;
        hand_in(kind, &steps, args, findings);
        drift.push((kind, steps));
    }
    bar.finish_and_clear();
    drift_table(args, &drift);
    if args.sweep > 0 {
        sweep(args, &args.sweep_caches, &mut csv)?;
    }
    Ok(())
}

/// The phases as figures of the suite.
fn hand_in(kind: Kind, steps: &[Step], args: &Args, findings: &mut Findings) {
    for (step, phase) in steps.iter().zip(&args.phases) {
        let case = match phase.as_str() {
            "mixed" => "values of 16 to 4096 B".to_owned(),
            len => format!("values of {len} B"),
        };
        let of =
            |metric, unit, value| Figure::new("limit", &case, kind.name(), metric, unit, value);
        let of_limit = step.peak as f64 / step.limit as f64;
        findings.figure(of("resident by limit", Unit::Ratio, of_limit));
        let taken = step.limit.max(step.now) as f64;
        // Of mixed lengths some caches keep the short ones: then an entry is not an entry. Of one
        // length both are the same figure.
        if phase == "mixed" {
            let taken = taken / step.payload.max(1) as f64;
            findings.figure(of("memory by payload", Unit::Ratio, taken));
        } else {
            let taken = taken / step.entries.max(1) as f64;
            findings.figure(of("bytes an entry", Unit::Bytes, taken));
        }
    }
}

fn record(csv: &mut Csv, kind: Kind, steps: &[Step]) -> Result<()> {
    for step in steps {
        csv.row(&[
            kind.name().to_owned(),
            step.limit.to_string(),
            step.name.clone(),
            step.peak.to_string(),
            step.now.to_string(),
            step.entries.to_string(),
            step.payload.to_string(),
        ])?;
    }
    Ok(())
}

fn drift_table(args: &Args, drift: &[(Kind, Vec<Step>)]) {
    let title = format!(
        "Told to keep to {}: phases of {} budgets of unique keys in one cache",
        mib(args.limit),
        args.budgets
    );
    let header = [
        "<cache",
        "<phase",
        "RSS peak",
        "of limit",
        "RSS after",
        "entries",
        "bytes an entry",
        "live payload",
    ];
    let mut table = Table::new(title, &header);
    for (kind, steps) in drift {
        for step in steps {
            let row = vec![
                kind.name().to_owned(),
                step.words(),
                mib(step.peak),
                format!("{:.2}", step.peak as f64 / step.limit as f64),
                mib(step.now),
                count(step.entries),
                per_entry(step),
                percent(step.payload as f64 / step.limit as f64),
            ];
            if kind.is_ours() {
                table.strong(row);
            } else {
                table.row(row);
            }
        }
        table.rule();
    }
    table.note("RSS: growth of the process since before the cache was made, huge pages included.");
    table
        .note("Bytes an entry: the larger of limit and RSS after the phase, by entries read back.");
    for (kind, steps) in drift.iter().filter(|(kind, _)| kind.is_ours()) {
        let worst = steps.iter().filter(|step| step.name != "released");
        let over = worst.map(|step| step.peak as i64 - step.limit as i64).max().unwrap_or(0);
        let verdict = if over <= SLACK as i64 { "ok" } else { "--" };
        table.note(format!(
            "{kind}: at most {:+.2} MiB beyond the limit; 4 MiB are allowed: {verdict}",
            over as f64 / f64::from(1 << 20)
        ));
    }
    table.print();
}

fn per_entry(step: &Step) -> String {
    if step.entries == 0 {
        return "-".to_owned();
    }
    format!("{:.1}", step.limit.max(step.now) as f64 / step.entries as f64)
}

fn sweep(args: &Args, kinds: &[Kind], csv: &mut Csv) -> Result<()> {
    let (least, most) = (args.limit * 3 / 4, args.limit * 3 / 2);
    let limits: Vec<u64> = match args.sweep {
        1 => vec![args.limit],
        n => (0..n).map(|at| least + (most - least) * at / (n - 1)).collect(),
    };
    let bar = progress(1000 * (limits.len() * kinds.len()) as u64, "sweep");
    let phase = args.phases.first().map_or("64", String::as_str);
    let title = format!("Bytes an entry at {} limits, values of {phase} bytes", limits.len());
    let header = ["<cache", "limit", "RSS peak", "beyond", "entries", "bytes an entry"];
    let mut table = Table::new(title, &header);
    let mut at = 0;
    for &kind in kinds {
        for &limit in &limits {
            bar.set_message(format!("sweep: {kind} {}", mib(limit)));
            let args = Args { phases: vec![phase.to_owned()], ..args.clone() };
            let steps = in_child(kind, limit, &args, None, &bar, at)?;
            at += 1;
            record(csv, kind, &steps)?;
            if let Some(step) = steps.first() {
                table.row(vec![
                    kind.name().to_owned(),
                    mib(limit),
                    mib(step.peak),
                    format!("{:+.2} MiB", (step.peak as f64 - limit as f64) / f64::from(1 << 20)),
                    count(step.entries),
                    per_entry(step),
                ]);
            }
        }
        table.rule();
    }
    bar.finish_and_clear();
    table.print();
    Ok(())
}

fn in_child(
    kind: Kind,
    limit: u64,
    args: &Args,
    settle: Option<u64>,
    bar: &ProgressBar,
    place: u64,
) -> Result<Vec<Step>> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let value = <Kind as clap::ValueEnum>::to_possible_value(&kind).context("hidden cache")?;
    let mut command = Command::new(program);
    command
        .arg("limit-child")
        .args(["--cache", value.get_name()])
        .args(["--limit", &limit.to_string()])
        .args(["--phases", &args.phases.join(",")])
        .args(["--budgets", &args.budgets.to_string()])
        .args(["--policy", args.policy.name()])
        .stdout(Stdio::piped());
    if let Some(seconds) = settle {
        command.args(["--settle-seconds", &seconds.to_string()]);
    }
    let mut child = command.spawn().context("cannot start a child process")?;
    let out = child.stdout.take().context("the child has no output")?;
    let mut steps = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line?;
        if let Some(share) = line.strip_prefix("progress ") {
            let share: f64 = share.parse().unwrap_or(0.0);
            bar.set_position(place * 1000 + (share * 1000.0) as u64);
        } else if let Some(step) = Step::parse(&line) {
            steps.push(step);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the child that measures {kind} ended with {status}");
    }
    Ok(steps)
}

/// The steps of one cache in a process of its own: the phases, then a shrink to a quarter where the
/// cache can, then the end.
pub(crate) fn steps_of(
    kind: Kind,
    limit: u64,
    phases: &[&str],
    budgets: u64,
    settle_seconds: u64,
) -> Result<Vec<Step>> {
    let args = Args {
        caches: Caches::default(),
        limit,
        phases: phases.iter().map(|&phase| phase.to_owned()).collect(),
        budgets,
        settle_seconds,
        sweep: 0,
        sweep_caches: Vec::new(),
        policy: PolicyKind::Default,
        csv: None,
    };
    in_child(kind, limit, &args, Some(settle_seconds), &ProgressBar::hidden(), 0)
}
