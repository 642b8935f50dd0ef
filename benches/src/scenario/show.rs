//! Figures and tables of scenarios that were run.

use super::load::Load;
use super::run::{CONTROL, Outcome, Run};
use super::serve::Rush;
use crate::measure::cores;
use crate::report::{Figure, Table, Unit, count, duration, ns, percent};

/// The suite that the figures belong to.
pub const SUITE: &str = "latency";

/// The percentiles of the table, and their names.
pub const PERCENTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// Where the curve of percentiles has points, in per cent.
const CURVE: [f64; 10] = [25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99];

/// A cache is behind a load where it ends so late, in seconds.
const BEHIND: f64 = 0.01;
/// The generator keeps up where half of its requests alone end within so many nanoseconds.
const PROMPT: f64 = 1_000.0;

/// Below this share of their processors, threads that never sleep were not alone.
const ALONE: f64 = 0.95;

/// The figures of a run: for every cache, the control (`(loop)`) among them,
///
/// - `p50`, `p95`, `p99`, `p99.9`, `max`: from the moment a request was meant to be sent;
/// - `response`, placed at a percentage: the same as a curve;
/// - `rate`: requests a second that were served, `behind`: how late the last one was;
/// - `hits`: the share of reads that hit;
/// - `cpu`, `wall`: nanoseconds a request in the closed loop, less those of the control, `cpu` with
///   what other processes spend; `capacity`: requests a second in it, all threads together.
#[must_use]
pub fn figures(run: &Run) -> Vec<Figure> {
    let case = &run.scenario.name;
    let mut figures = Vec::new();
    let control = run.outcomes.iter().find(|outcome| outcome.name == CONTROL);
    let loop_cost = control
        .map_or([0.0; 2], |control| [cpu, wall].map(|cost| median_of(samples(control, cost))));
    for outcome in &run.outcomes {
        let figure = |metric: &str, unit: Unit, value: f64| {
            Figure::new(SUITE, case, &outcome.name, metric, unit, value)
        };
        let response = &outcome.tally.response;
        for (name, share) in PERCENTILES {
            figures.push(figure(name, Unit::Ns, response.quantile(share)));
        }
        figures.push(figure("max", Unit::Ns, response.max()));
        for at in CURVE {
            figures.push(figure("response", Unit::Ns, response.quantile(at / 100.0)).at(at));
        }
        let tally = &outcome.tally;
        let took = run.scenario.seconds + outcome.behind;
        figures.push(figure("rate", Unit::PerSecond, tally.requests as f64 / took));
        figures.push(figure("behind", Unit::Ns, outcome.behind * 1e9));
        if outcome.name != CONTROL {
            let hits = tally.hits as f64 / tally.reads.max(1) as f64;
            figures.push(figure("hits", Unit::Share, hits));
        }
        for ((metric, cost), less) in
            [("cpu", cpu as Cost), ("wall", wall as Cost)].into_iter().zip(loop_cost)
        {
            let less = if outcome.name == CONTROL { 0.0 } else { less };
            let samples: Vec<f64> =
                samples(outcome, cost).iter().map(|ns| (ns - less).max(0.1)).collect();
            figures.push(figure(metric, Unit::Ns, 0.0).of_samples(&samples));
        }
        let capacities = capacities(run, outcome);
        figures.push(figure("capacity", Unit::PerSecond, 0.0).of_samples(&capacities));
    }
    figures
}

/// The figures of closed loops with several numbers of threads: for every cache but the control,
/// placed at the number of threads, `throughput`: requests a second, all threads together, and
/// `cpu`: processor time in nanoseconds a request.
#[must_use]
pub fn by_threads(suite: &str, runs: &[Run]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for run in runs {
        for outcome in run.outcomes.iter().filter(|outcome| outcome.name != CONTROL) {
            let figure = |metric: &str, unit: Unit, samples: Vec<f64>| {
                Figure::new(suite, &run.scenario.name, &outcome.name, metric, unit, 0.0)
                    .of_samples(&samples)
                    .at(run.scenario.threads as f64)
            };
            figures.push(figure("throughput", Unit::PerSecond, capacities(run, outcome)));
            figures.push(figure("cpu", Unit::Ns, samples(outcome, cpu)));
        }
    }
    figures
}

/// The table of closed loops with several numbers of threads, made of their figures.
#[must_use]
pub fn table_by_threads(runs: &[Run], figures: &[Figure]) -> Table {
    let of = |run: &Run, outcome: &Outcome, metric: &str| {
        (figures.iter())
            .find(|figure| {
                (figure.case == run.scenario.name && figure.cache == outcome.name)
                    && (figure.metric == metric && figure.at == Some(run.scenario.threads as f64))
            })
            .map_or(f64::NAN, |figure| figure.value)
    };
    let threads = runs.iter().map(|run| format!("{} threads", run.scenario.threads));
    let header: Vec<String> = std::iter::once("<cache".to_owned())
        .chain(threads.flat_map(|threads| [threads, "CPU".to_owned()]))
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let title = runs.first().map_or_else(String::new, |run| {
        format!("{}: requests a second in closed loops, by threads", run.scenario.name)
    });
    let mut table = Table::new(title, &header);
    let outcomes = runs.first().map_or(&[][..], |run| &run.outcomes);
    for outcome in outcomes.iter().filter(|outcome| outcome.name != CONTROL) {
        let mut row = vec![outcome.name.clone()];
        for run in runs {
            row.push(count(of(run, outcome, "throughput") as u64));
            row.push(ns(of(run, outcome, "cpu")));
        }
        push(&mut table, outcome, row);
    }
    table.note("CPU: nanoseconds of processor time a request, with those of the loop around it.");
    for outcome in outcomes {
        if let Some(measures) = &outcome.measures {
            table.note(format!("{}: {measures}.", outcome.name));
        }
    }
    table
}

/// A row; ours stands out.
fn push(table: &mut Table, outcome: &Outcome, row: Vec<String>) {
    if outcome.name == crate::cache::Kind::Ours.name() {
        table.strong(row);
    } else {
        table.row(row);
    }
}

/// Requests a second of every turn, all threads together.
fn capacities(run: &Run, outcome: &Outcome) -> Vec<f64> {
    let threads = run.scenario.threads as f64;
    samples(outcome, wall).iter().map(|ns| threads * 1e9 / ns).collect()
}

type Cost = fn(&Rush, u64) -> f64;

fn cpu(rush: &Rush, elsewhere: u64) -> f64 {
    (rush.cpu_ns + elsewhere) as f64 / rush.requests.max(1) as f64
}

fn wall(rush: &Rush, _elsewhere: u64) -> f64 {
    rush.wall_ns / rush.requests.max(1) as f64
}

fn samples(outcome: &Outcome, cost: Cost) -> Vec<f64> {
    let turns = outcome.rushes.iter().zip(&outcome.elsewhere);
    turns.map(|(rush, &elsewhere)| cost(rush, elsewhere)).collect()
}

fn median_of(mut samples: Vec<f64>) -> f64 {
    crate::measure::median(&mut samples)
}

/// What a reader must know beside the figures of a run.
#[must_use]
pub fn notes(run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    let asked = run.scenario.load.schedule(0.0, run.scenario.seconds);
    for outcome in &run.outcomes {
        let (name, tally) = (&outcome.name, &outcome.tally);
        if name == CONTROL {
            let half = tally.response.quantile(0.5);
            let had = tally.had();
            if had < ALONE && run.scenario.threads <= cores() {
                notes.push(format!(
                    "Other programs ran: the threads had {} of their processors. All percentiles \
                     contain the waiting for them; {CONTROL} shows how much.",
                    percent(had)
                ));
            } else if outcome.behind > BEHIND || half > PROMPT {
                notes.push(format!(
                    "The generator cannot keep up with {} requests a second here: without a cache \
                     half of them end later than {} after their moment. The percentiles of all \
                     caches contain that.",
                    count(asked.peak() as u64),
                    duration(half),
                ));
            }
            continue;
        }
        if outcome.behind > BEHIND {
            notes.push(format!(
                "{name} could not keep up: at the end it was {} late; its percentiles say how long \
                 its queue grew.",
                duration(outcome.behind * 1e9)
            ));
        }
        if tally.for_good > 0 {
            notes.push(format!("{name} has no time to live an entry and stored for good."));
        }
        if let Some(measures) = &outcome.measures {
            notes.push(format!("{name}: {measures}."));
        }
    }
    notes
}

/// The table of a run, made of its figures.
#[must_use]
pub fn table(run: &Run, figures: &[Figure]) -> Table {
    let scenario = &run.scenario;
    let header =
        ["<cache", "p50", "p95", "p99", "p99.9", "max", "hits", "rate", "CPU", "wall", "capacity"];
    let mut table = Table::new(format!("{}: {}", scenario.name, scenario.about), &header);
    for outcome in &run.outcomes {
        let of = |metric: &str| {
            (figures.iter())
                .find(|figure| {
                    (figure.case == scenario.name && figure.cache == outcome.name)
                        && figure.metric == metric
                })
                .map_or(f64::NAN, |figure| figure.value)
        };
        let mut row = vec![outcome.name.clone()];
        row.extend(["p50", "p95", "p99", "p99.9", "max"].map(|name| duration(of(name))));
        let hits = of("hits");
        row.push(if hits.is_nan() { "-".to_owned() } else { percent(hits) });
        row.push(count(of("rate") as u64));
        row.extend(["cpu", "wall"].map(|name| ns(of(name))));
        row.push(count(of("capacity") as u64));
        push(&mut table, outcome, row);
    }
    table.note(format!("{}, {} threads.", load(&scenario.load), scenario.threads));
    table.note(format!(
        "p50 to max: from the moment a request was meant to be sent. CPU, wall: ns a request in a \
         closed loop, less {CONTROL}; capacity: requests a second in it."
    ));
    for note in notes(run) {
        table.note(note);
    }
    table
}

/// A load in words.
fn load(load: &Load) -> String {
    let rate = |rate: f64| count(rate as u64);
    match *load {
        Load::Constant { rate: at, .. } => format!("{} requests a second", rate(at)),
        Load::Ramp { from, to, .. } => {
            format!("From {} to {} requests a second", rate(from), rate(to))
        }
        Load::Spike { rate: at, peak, for_seconds, .. } => {
            format!("{} requests a second, {} for {for_seconds} s", rate(at), rate(peak))
        }
        Load::Burst { rate: at, peak, every_seconds, for_seconds, .. } => format!(
            "{} requests a second, {} for {for_seconds} s of every {every_seconds} s",
            rate(at),
            rate(peak)
        ),
    }
}
