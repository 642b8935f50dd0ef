//! Growth of the process by limit, and while sizes drift.
//!
//! HyperCache at limits from 16 MiB up, every cache at one of them, through phases of unique keys
//! whose values change their sizes (see [`crate::commands::limit`], which measures it). A cache that
//! would take more than half of the machine's free memory is left out, and said to be.

use anyhow::Result;

use super::NAME;
use crate::cache::Kind;
use crate::commands::limit;
use crate::measure::available_bytes;
use crate::report::{Figure, Unit, size};
use crate::suite::{Findings, Plan};

/// Of the values of the first phase.
const SHORT: &str = "64";
/// Sizes that drift: short, long, middling, short again, of all lengths.
const DRIFT: [&str; 5] = [SHORT, "1024", "300", SHORT, "mixed"];
/// Budgets of new keys a phase.
const BUDGETS: u64 = 2;
/// The most that a process has been seen to grow to, by its budget.
const WORST: u64 = 7;

/// A run: which cache, under which limit, through which phases.
struct Row {
    kind: Kind,
    limit: u64,
    phases: &'static [&'static str],
}

fn rows(plan: &Plan) -> Vec<Row> {
    let of = |mib: &[u64]| mib.iter().map(|mib| mib << 20).collect::<Vec<u64>>();
    let limits = plan.pick(&[16, 64, 256][..], &[16, 64, 256, 1_024, 4_096]);
    let drifts_at: u64 = plan.pick(32 << 20, 256 << 20);
    let compared = of(plan.pick(&[], &[16]));
    let short = &DRIFT[..1];
    let mut rows = Vec::new();
    for &kind in Kind::BUILT {
        let limits = if kind.is_ours() { of(limits) } else { compared.clone() };
        let single = limits.into_iter().filter(|&limit| limit != drifts_at);
        rows.extend(single.map(|limit| Row { kind, limit, phases: short }));
        rows.push(Row { kind, limit: drifts_at, phases: &DRIFT });
    }
    rows.sort_by_key(|row| (row.phases.len(), row.limit));
    rows
}

pub(super) fn measure(plan: &Plan, findings: &mut Findings) -> Result<()> {
    for row in rows(plan) {
        let most = row.limit * if row.kind.is_ours() { 1 } else { WORST };
        if most > available_bytes() / 2 {
            findings.note(format!(
                "{NAME}: {} is not measured at {}: it might take {}, and this machine has {} free.",
                row.kind,
                size(row.limit),
                size(most),
                size(available_bytes())
            ));
            continue;
        }
        let steps = limit::steps_of(row.kind, row.limit, row.phases, BUDGETS, plan.pick(1, 5))?;
        for (nth, step) in steps.iter().enumerate() {
            hand_in(&row, nth, step, findings);
        }
    }
    Ok(())
}

fn hand_in(row: &Row, nth: usize, step: &limit::Step, findings: &mut Findings) {
    let drifts = row.phases.len() > 1;
    let begin = if drifts { "drift at" } else { "limit" };
    let lengths = |phase: &&str| match *phase {
        "mixed" => "16 to 4096 B".to_owned(),
        len => format!("{len} B"),
    };
    let what = match row.phases.get(nth) {
        Some(phase) if drifts => format!("phase {}: {}", nth + 1, lengths(phase)),
        Some(phase) => format!("values of {}", lengths(phase)),
        None => format!("then {}", step.words()),
    };
    let case = format!("{begin} {}, {what}", size(row.limit));
    let name = row.kind.name();
    let figure = |metric, unit, value| {
        let figure = Figure::new(NAME, &case, name, metric, unit, value);
        // Curves are over limits; sizes drift at one.
        if drifts { figure } else { figure.at(row.limit as f64) }
    };
    if step.name == "released" {
        findings.figure(figure("resident after the end", Unit::Bytes, step.now as f64));
        return;
    }
    let by_limit = |bytes: u64| bytes as f64 / step.limit as f64;
    findings.figure(figure("resident", Unit::Bytes, step.peak as f64));
    findings.figure(figure("resident by limit", Unit::Ratio, by_limit(step.peak)));
    findings.figure(figure("live payload", Unit::Share, by_limit(step.payload)));
    let taken = step.limit.max(step.now) as f64;
    if nth == 0 && step.entries > 0 {
        findings.figure(figure("bytes an entry", Unit::Bytes, taken / step.entries as f64));
    } else if step.payload > 0 {
        // Entries of several phases, and so of several lengths: an entry is not an entry.
        findings.figure(figure("memory by payload", Unit::Ratio, taken / step.payload as f64));
    }
}
