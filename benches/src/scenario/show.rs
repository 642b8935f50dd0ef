//! Figures and tables of scenarios that were run.

use super::load::Load;
use super::run::{CONTROL, Outcome, Run};
use super::serve::Rush;
use crate::drive::threads;
use crate::measure::{Histogram, cores};
use crate::report::{Figure, Table, Unit, count, duration, ns, percent};

/// The suite that the figures belong to.
pub const SUITE: &str = "latency";

/// The percentiles of the table, and their names.
pub const PERCENTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// Percentiles above this are those of the whole run: what happens so seldom falls into few of its
/// parts, and the median of those would hide it.
const BY_PARTS: f64 = 0.99;

/// A percentile says something where so many requests took longer.
const BEYOND: f64 = 10.0;

/// Fewer samples have no interval, and the whole run says more.
const SAMPLES: usize = 6;

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
/// - `p50`, `p95`, `p99`: from the moment a request was meant to be sent; the median of the run's
///   parts (see [`super::run`]) with its interval, or of the whole where those are too few;
/// - `p99.9`, `max`: the same of the whole run;
/// - `response`, placed at a percentage: those of the whole run as a curve;
/// - `rate`: requests a second that were served, `behind`: how late the last one of a pass was;
/// - `hits`: the share of reads that hit, in the open loop and, as a case of its own, in the closed;
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
            let samples = if share > BY_PARTS { Vec::new() } else { by_parts(outcome, share) };
            if samples.len() >= SAMPLES {
                figures.push(figure(name, Unit::Ns, 0.0).of_samples(&samples));
            } else if has(response, share) {
                figures.push(figure(name, Unit::Ns, response.quantile(share)));
            }
        }
        figures.push(figure("max", Unit::Ns, response.max()));
        for at in CURVE.into_iter().filter(|at| has(response, at / 100.0)) {
            figures.push(figure("response", Unit::Ns, response.quantile(at / 100.0)).at(at));
        }
        let tally = &outcome.tally;
        let took = run.scenario.measured() + outcome.behind.iter().sum::<f64>();
        figures.push(figure("rate", Unit::PerSecond, tally.requests as f64 / took));
        let behind: Vec<f64> = outcome.behind.iter().map(|seconds| seconds * 1e9).collect();
        figures.push(figure("behind", Unit::Ns, 0.0).of_samples(&behind));
        if outcome.name != CONTROL {
            let hits = tally.hits as f64 / tally.reads.max(1) as f64;
            figures.push(figure("hits", Unit::Share, hits));
            let closed = format!("{case}, closed loop");
            let figure = Figure::new(SUITE, &closed, &outcome.name, "hits", Unit::Share, 0.0);
            figures.push(figure.of_samples(&hit_shares(outcome)));
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

/// Whether so much of a histogram lies beyond a percentile that it can be told.
fn has(response: &Histogram, share: f64) -> bool {
    // Some rounding is allowed: 1 - 0.99 is not quite 0.01.
    response.count() as f64 * (1.0 - share) >= BEYOND - 1e-6
}

/// A percentile in each part of a run; neighbours that are too small for it count as one.
fn by_parts(outcome: &Outcome, share: f64) -> Vec<f64> {
    let mut samples = Vec::new();
    let mut together = Histogram::default();
    for part in &outcome.parts {
        together.merge(part);
        if has(&together, share) {
            samples.push(together.quantile(share));
            together = Histogram::default();
        }
    }
    samples
}

/// The figures of closed loops with several numbers of threads: for every cache but the control,
/// placed at the number of threads, `throughput`: requests a second, all threads together, `cpu`:
/// processor time in nanoseconds a request, and `hits`: the share of reads that hit.
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
            figures.push(figure("hits", Unit::Share, hit_shares(outcome)));
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
    let names = runs.iter().map(|run| threads(run.scenario.threads));
    let header: Vec<String> = std::iter::once("<cache".to_owned())
        .chain(names.flat_map(|threads| [threads, "CPU".to_owned(), "hits".to_owned()]))
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
            row.push(percent(of(run, outcome, "hits")));
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

/// The share of reads that hit in each turn of the closed loops.
fn hit_shares(outcome: &Outcome) -> Vec<f64> {
    let turns = outcome.rushes.iter();
    turns.map(|rush| rush.hits as f64 / rush.reads.max(1) as f64).collect()
}

fn median_of(mut samples: Vec<f64>) -> f64 {
    crate::measure::median(&mut samples)
}

/// What a reader must know beside the figures of a run.
#[must_use]
pub fn notes(run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    let asked = run.scenario.schedule();
    let period = run.scenario.load.period(run.scenario.seconds);
    if run.scenario.passes < SAMPLES as u32 && period == Some(run.scenario.seconds) {
        notes.push(format!(
            "The load changes over a pass and has {}: percentiles are those of the whole run and \
             have no interval; {SAMPLES} passes or more have one.",
            count(run.scenario.passes.into())
        ));
    }
    for outcome in &run.outcomes {
        let (name, tally) = (&outcome.name, &outcome.tally);
        let behind = median_of(outcome.behind.clone());
        if name == CONTROL {
            let half = tally.response.quantile(0.5);
            let had = tally.had();
            if had < ALONE && run.scenario.threads <= cores() {
                notes.push(format!(
                    "Other programs ran: the threads had {} of their processors. All percentiles \
                     contain the waiting for them; {CONTROL} shows how much.",
                    percent(had)
                ));
            } else if behind > BEHIND || half > PROMPT {
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
        if behind > BEHIND {
            notes.push(format!(
                "{name} could not keep up: at the end it was {} late; its percentiles say how long \
                 its queue grew.",
                duration(behind * 1e9)
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
        let known = |value: f64, show: fn(f64) -> String| match value.is_nan() {
            true => "-".to_owned(),
            false => show(value),
        };
        let percentiles = ["p50", "p95", "p99", "p99.9", "max"];
        row.extend(percentiles.map(|name| known(of(name), duration)));
        row.push(known(of("hits"), percent));
        row.push(count(of("rate") as u64));
        row.extend(["cpu", "wall"].map(|name| ns(of(name))));
        row.push(count(of("capacity") as u64));
        push(&mut table, outcome, row);
    }
    let passes = match scenario.passes {
        1 => String::new(),
        passes => format!(", {passes} times over"),
    };
    table.note(format!("{}{passes}, {}.", load(&scenario.load), threads(scenario.threads)));
    table.note(format!(
        "p50 to max: from the moment a request was meant to be sent; to p99 the median of {}. CPU, \
         wall: ns a request in a closed loop, less {CONTROL}; capacity: requests a second in it.",
        match scenario.load {
            Load::Constant { .. } => "the run's slices",
            Load::Ramp { .. } | Load::Spike { .. } => "the passes",
            Load::Burst { .. } => "the periods",
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{named, serve::Tally};

    /// Parts of so many requests, each of which takes as many nanoseconds as its number, with a
    /// stall of a millisecond for the last twentieth of one part.
    fn outcome(parts: usize, each: u32, stalled: usize) -> Outcome {
        let part = |nth: usize| {
            let mut part = Histogram::default();
            for request in 1..=each {
                let stalls = nth == stalled && request > each - each / 20;
                part.record(if stalls { 1e6 } else { f64::from(request) });
            }
            part
        };
        let parts: Vec<Histogram> = (0..parts).map(part).collect();
        let mut tally = Tally::default();
        parts.iter().for_each(|part| tally.response.merge(part));
        Outcome {
            name: "hypercache".to_owned(),
            measures: None,
            tally,
            parts,
            behind: vec![0.0],
            rushes: vec![Rush { requests: 4, reads: 2, hits: 1, cpu_ns: 400, wall_ns: 400.0 }],
            elsewhere: vec![0],
        }
    }

    fn shown(outcome: Outcome) -> Vec<Figure> {
        figures(&Run { scenario: named("web-cache").unwrap(), outcomes: vec![outcome] })
    }

    fn of<'a>(figures: &'a [Figure], metric: &str) -> Option<&'a Figure> {
        figures.iter().find(|figure| figure.metric == metric)
    }

    #[test]
    fn a_stall_in_one_part_is_seen_where_the_whole_run_is() {
        let figures = shown(outcome(10, 2_000, 3));
        let p99 = of(&figures, "p99").unwrap();
        assert_eq!(p99.samples, 10);
        assert!((p99.value / 1_980.0 - 1.0).abs() < 0.01, "{}", p99.value);
        let (low, high) = p99.interval.unwrap();
        assert!(low <= p99.value && p99.value <= high && high < 1e6);
        let rare = of(&figures, "p99.9").unwrap();
        assert_eq!((rare.samples, rare.interval), (1, None));
        assert!(rare.value >= 0.99e6 && of(&figures, "max").unwrap().value == 1e6);
        let closed = figures.iter().find(|figure| figure.case.ends_with("closed loop")).unwrap();
        assert_eq!((&*closed.metric, closed.value), ("hits", 0.5));
    }

    #[test]
    fn what_rests_on_too_few_requests_is_left_out_or_put_together() {
        // 2,400 in parts of 200: a part has ten beyond p95, six have ten beyond p99, all have two
        // beyond p99.9.
        let figures = shown(outcome(12, 200, 0));
        assert_eq!(of(&figures, "p95").unwrap().samples, 12);
        let p99 = of(&figures, "p99").unwrap();
        assert_eq!((p99.samples, p99.interval), (1, None));
        assert!(of(&figures, "p99.9").is_none());
        let curve: Vec<f64> = figures.iter().filter_map(|figure| figure.at).collect();
        assert_eq!(curve.last(), Some(&99.5));
        let figures = shown(outcome(30, 200, 0));
        assert_eq!(of(&figures, "p99").unwrap().samples, 6);
    }
}
