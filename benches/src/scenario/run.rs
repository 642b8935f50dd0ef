//! Runs a scenario: all caches in turns, each on a clock of its own.
//!
//! The time of a scenario is cut into slices. Every cache serves a slice, then every cache serves
//! the next, in rotating order; a neighbour on the machine that wakes up disturbs all of them. A
//! cache's clock stands still while the others have their turn. What it has not served by the end
//! of a slice it serves to the end, and begins the next slice as late as it ended this one, so that
//! a queue lives on across slices and is paid for by every request in it.
//!
//! Percentiles are those of parts that are alike: the slices of a steady load, the periods of one
//! that comes in bursts, and, where the load changes only once, the passes through all of it. A part
//! of a ramp is no sample of the ramp. So every part has a histogram, and the median of the parts'
//! percentiles has an interval. A pass begins without the queue that the one before has left.
//!
//! Beside the caches runs one that does nothing. What it shows is what the loop and the machine add
//! to every figure; where it falls behind, the generator cannot keep up with the load, and that is
//! said.
//!
//! After the slices, closed loops over the same requests show what a request costs in processor
//! time and how many a second there can be.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;

use super::entrant::Entrant;
use super::file::Scenario;
use super::plan::{Drawer, Lengths, Op, Request, stock};
use super::serve::{Rush, Tally, Terms};
use crate::cache::{Null, Spec};
use crate::drive::{Subject, rotated, threads};
use crate::measure::{Histogram, Ticker, cores, pin_to_core};
use crate::workload::{ValueBytes, key_of};

/// What the cache that does nothing is called in results.
pub const CONTROL: &str = "(loop)";

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Turns of closed loops a cache.
    pub rushes: u32,
    /// How long such a turn is.
    pub rush: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, rushes: 7, rush: Duration::from_millis(40) }
    }
}

/// What became of one cache.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which cache.
    pub name: String,
    /// What its figures stand for, where they are not those of calls within the process.
    pub measures: Option<String>,
    /// What it did, all lanes together.
    pub tally: Tally,
    /// Its response times in each part that is like the others.
    pub parts: Vec<Histogram>,
    /// How late it was at the end of each pass, in seconds: of its slowest lane.
    pub behind: Vec<f64>,
    /// Its turns of closed loops, all lanes of one together: times are sums.
    pub rushes: Vec<Rush>,
    /// Processor time that other processes spent for it in those, in nanoseconds.
    pub elsewhere: Vec<u64>,
}

/// A scenario that was run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which.
    pub scenario: Scenario,
    /// The control first, then the caches in the order asked for.
    pub outcomes: Vec<Outcome>,
}

impl Outcome {
    fn new(name: String, measures: Option<String>) -> Self {
        Self {
            name,
            measures,
            tally: Tally::default(),
            parts: Vec::new(),
            behind: Vec::new(),
            rushes: Vec::new(),
            elsewhere: Vec::new(),
        }
    }
}

/// A cache at work.
struct Contender {
    cache: Box<dyn Subject>,
    outcome: Outcome,
    /// How late each lane is, in ticks.
    behind: Vec<u64>,
    /// Which request is next for each lane of closed loops.
    next: Vec<usize>,
}

/// The shortest and the longest slice, in seconds; in between, a run has thirty.
const SLICES: f64 = 30.0;
const SLICE: (f64, f64) = (0.01, 0.25);

/// A pass has so many parts at most, each with a histogram.
const PARTS: f64 = 30.0;

/// Some time of a scenario, in seconds from the beginning of its warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slice {
    from: f64,
    to: f64,
    /// Which of the parts that are alike it belongs to, if any.
    part: Option<usize>,
    /// A pass ends with it.
    ends_pass: bool,
}

/// The slices of a scenario. None lies in two parts.
fn slices(scenario: &Scenario) -> Vec<Slice> {
    let Scenario { seconds, passes, warm_up_seconds: warm_up, .. } = *scenario;
    let whole = warm_up + scenario.measured();
    let most = (whole / SLICES).clamp(SLICE.0, SLICE.1);
    let pieces = |from: f64, to: f64| ((to - from) / most - 1e-9).ceil().max(1.0) as u32;
    let mut slices: Vec<Slice> = Vec::new();
    let mut cut = |from: f64, to: f64, part: Option<usize>| {
        let count = pieces(from, to);
        let moment = |nth: u32| match nth {
            _ if nth == count => to,
            _ => from + (to - from) * f64::from(nth) / f64::from(count),
        };
        slices.extend((0..count).filter(|_| to > from).map(|nth| Slice {
            from: moment(nth),
            to: moment(nth + 1),
            part,
            ends_pass: false,
        }));
    };
    cut(0.0, warm_up, None);
    let mut part = 0;
    let mut ends = Vec::new();
    for pass in 0..passes {
        let begin = warm_up + f64::from(pass) * seconds;
        let end = warm_up + f64::from(pass + 1) * seconds;
        let steady = || seconds / f64::from(pieces(begin, end)).min(PARTS);
        let period = scenario.load.period(seconds).unwrap_or_else(steady);
        // Several periods are a part where there are many.
        let period = period * (seconds / period / PARTS - 1e-9).ceil().max(1.0);
        // What is left behind the last whole one is like none of them.
        let periods = (seconds / period + 1e-9).floor().max(1.0) as u32;
        let mut from = begin;
        for nth in 1..=periods {
            let to = (begin + f64::from(nth) * period).min(end);
            let to = if end - to < SLICE.0 / 10.0 { end } else { to };
            cut(from, to, Some(part));
            part += 1;
            from = to;
        }
        cut(from, end, None);
        ends.push(end);
    }
    for slice in &mut slices {
        slice.ends_pass = ends.contains(&slice.to);
    }
    slices
}

/// How long a cache is brought back into those of the processor before its turn, at most.
const TOUCHING: Duration = Duration::from_millis(3);

/// Runs a scenario.
///
/// # Errors
/// A cache cannot be built, fails, or returns other bytes than were stored.
pub fn run(
    scenario: &Scenario,
    entrants: &[Entrant],
    options: &Options,
    bar: &ProgressBar,
) -> Result<Run> {
    let values = ValueBytes::new(scenario.values.longest() as usize, options.seed);
    let mut contenders = field(scenario, entrants, options, &values, bar)?;
    let terms = terms(scenario, &values, contenders.len());
    let mut drawers = drawers(scenario, options);

    let whole = scenario.warm_up_seconds + scenario.measured();
    let slices = slices(scenario);
    let turns = slices.len() as u64 + u64::from(options.rushes);
    bar.inc_length(turns * contenders.len() as u64);
    for (turn, slice) in (0..).zip(&slices) {
        let lanes: Vec<Vec<Request>> =
            drawers.iter_mut().map(|drawer| drawer.slice(slice.from, slice.to)).collect();
        in_turns(&mut contenders, turn, &scenario.name, bar, |contender| {
            contender.serve(&lanes, slice, &terms)
        })?;
    }
    closed(&mut contenders, &mut drawers, whole, scenario, options, &terms, bar)?;
    let outcomes = contenders.into_iter().map(|contender| contender.outcome).collect();
    Ok(Run { scenario: scenario.clone(), outcomes })
}

/// Runs the requests of a scenario in closed loops only, with these numbers of threads one after
/// the other. The outcomes of each are as those of [`run`], with nothing in their tallies.
///
/// # Errors
/// As [`run`].
pub fn by_threads(
    scenario: &Scenario,
    threads: &[usize],
    entrants: &[Entrant],
    options: &Options,
    bar: &ProgressBar,
) -> Result<Vec<Run>> {
    let values = ValueBytes::new(scenario.values.longest() as usize, options.seed);
    // A server gets as many threads as there will ever be clients.
    let most = threads.iter().copied().max().unwrap_or(scenario.threads);
    let widest = Scenario { threads: most, ..scenario.clone() };
    let mut contenders = field(&widest, entrants, options, &values, bar)?;
    let terms = terms(&widest, &values, contenders.len());
    bar.inc_length((threads.len() * contenders.len()) as u64 * u64::from(options.rushes));
    let mut runs = Vec::new();
    for &threads in threads {
        let scenario = Scenario { threads, ..widest.clone() };
        let mut drawers = drawers(&scenario, options);
        closed(&mut contenders, &mut drawers, 0.0, &scenario, options, &terms, bar)?;
        let outcomes = contenders.iter_mut().map(Contender::take).collect();
        runs.push(Run { scenario, outcomes });
    }
    Ok(runs)
}

/// The control and the entrants, with the scenario's entries in them.
fn field(
    scenario: &Scenario,
    entrants: &[Entrant],
    options: &Options,
    values: &ValueBytes,
    bar: &ProgressBar,
) -> Result<Vec<Contender>> {
    let mut contenders = vec![Contender::new(scenario, Box::new(Null), CONTROL, None)];
    for entrant in entrants {
        bar.set_message(format!("{}: fill {}", scenario.name, entrant.name()));
        let cache = prepared(scenario, entrant, options.seed, values)?;
        contenders.push(Contender::new(scenario, cache, entrant.name(), entrant.measures()));
    }
    Ok(contenders)
}

/// A cache with the scenario's entries in it, and with what it learns by being asked for them.
///
/// # Errors
/// It cannot be built.
pub fn prepared(
    scenario: &Scenario,
    entrant: &Entrant,
    seed: u64,
    values: &ValueBytes,
) -> Result<Box<dyn Subject>> {
    let cache = entrant
        .build(&spec(scenario), scenario.threads)
        .with_context(|| format!("{} for scenario {}", entrant.name(), scenario.name))?;
    let mut buf = vec![0; values.longest()];
    let lengths = Lengths::new(scenario, seed);
    for id in stock(scenario, seed) {
        let key = key_of(id);
        if cache.get(&key, &mut buf).is_none() {
            cache.set(&key, values.get(id, lengths.of(id) as usize));
        }
    }
    cache.settle();
    Ok(cache)
}

/// What the scenario's loops need, where so many caches take turns.
#[must_use]
pub fn terms<'a>(scenario: &Scenario, values: &'a ValueBytes, turns: usize) -> Terms<'a> {
    Terms {
        values,
        longest: (scenario.values.longest() as usize).max(1),
        // In a cache's own time: the others' turns pass meanwhile.
        ttl: Duration::from_secs_f64(scenario.mix.ttl_seconds * turns as f64),
        fill_misses: scenario.mix.fill_misses,
        crowded: scenario.threads > cores(),
        ticker: Ticker::calibrate(),
    }
}

fn drawers(scenario: &Scenario, options: &Options) -> Vec<Drawer> {
    (0..scenario.threads).map(|lane| Drawer::new(scenario, lane, options.seed)).collect()
}

/// One turn of each contender, in rotated order.
fn in_turns(
    contenders: &mut [Contender],
    turn: u32,
    what: &str,
    bar: &ProgressBar,
    mut run: impl FnMut(&mut Contender) -> Result<()>,
) -> Result<()> {
    for at in rotated(contenders.len(), turn) {
        let contender = &mut contenders[at];
        bar.set_message(format!("{what}: {}", contender.outcome.name));
        run(contender)?;
        contender.check()?;
        bar.inc(1);
    }
    Ok(())
}

/// The closed loops, over requests as of the moment `at`.
fn closed(
    contenders: &mut [Contender],
    drawers: &mut [Drawer],
    at: f64,
    scenario: &Scenario,
    options: &Options,
    terms: &Terms<'_>,
    bar: &ProgressBar,
) -> Result<()> {
    let each = RUSHED / drawers.len().max(1);
    let lanes: Vec<Vec<Request>> =
        drawers.iter_mut().map(|drawer| (0..each).map(|_| drawer.draw(at)).collect()).collect();
    for contender in &mut *contenders {
        contender.next = vec![0; lanes.len()];
    }
    let what = format!("{}, {}", scenario.name, threads(lanes.len()));
    for turn in 0..options.rushes {
        in_turns(contenders, turn, &what, bar, |contender| {
            contender.rush(&lanes, options.rush, terms)
        })?;
    }
    Ok(())
}

/// How many requests all lanes of a closed loop together go round, whatever their number: more than
/// there are keys that a scenario's caches hold, so that going round is not what makes them hit.
const RUSHED: usize = 1 << 20;

/// What a scenario's caches are built for.
fn spec(scenario: &Scenario) -> Spec {
    let held = Spec::new(scenario.limit, scenario.values.mean() as u64);
    Spec {
        entries: held.entries.min(scenario.keys.count()),
        expires: scenario.mix.write_ttl > 0.0,
        ..held
    }
}

impl Contender {
    fn new(
        scenario: &Scenario,
        cache: Box<dyn Subject>,
        name: &str,
        measures: Option<String>,
    ) -> Self {
        let outcome = Outcome::new(name.to_owned(), measures);
        Self { cache, outcome, behind: vec![0; scenario.threads], next: Vec::new() }
    }

    /// One slice.
    fn serve(&mut self, lanes: &[Vec<Request>], slice: &Slice, terms: &Terms<'_>) -> Result<()> {
        let cache = &*self.cache;
        let behind = &self.behind;
        let length = terms.ticker.ticks((slice.to - slice.from) * 1e9);
        // Close enough that nobody waits for long, and far enough that all lanes are ready.
        let lead = terms.ticker.ticks(20_000.0);
        let began = AtomicU64::new(0);
        let served = in_lanes(lanes.len(), &|lane, barrier| {
            touch(cache, &lanes[lane], terms);
            if barrier.wait().is_leader() {
                began.store(Ticker::now() + lead, Ordering::Release);
            }
            barrier.wait();
            let start = began.load(Ordering::Acquire).wrapping_sub(behind[lane]);
            let mut tally = Tally::default();
            let ended = cache.paced(&lanes[lane], start, terms, &mut tally);
            (tally, ended.saturating_sub(start.wrapping_add(length)))
        })?;
        for (lane, (tally, behind)) in served.into_iter().enumerate() {
            self.outcome.tally.merge(&tally);
            if let Some(part) = slice.part {
                let parts = &mut self.outcome.parts;
                parts.resize_with(parts.len().max(part + 1), Histogram::default);
                parts[part].merge(&tally.response);
            }
            self.behind[lane] = behind;
        }
        if slice.ends_pass {
            let behind = self.behind.iter().copied().max().unwrap_or(0);
            self.outcome.behind.push(terms.ticker.ns(behind) / 1e9);
            self.behind.fill(0);
        }
        Ok(())
    }

    /// One turn of the closed loop; it goes on where the last one ended.
    fn rush(&mut self, lanes: &[Vec<Request>], length: Duration, terms: &Terms<'_>) -> Result<()> {
        let (cache, next) = (&*self.cache, &self.next);
        let elsewhere = cache.elsewhere_ns();
        let rushes = in_lanes(lanes.len(), &|lane, barrier| {
            touch(cache, &lanes[lane][next[lane]..], terms);
            barrier.wait();
            cache.rushed(&lanes[lane], next[lane], length, terms)
        })?;
        let mut total = Rush::default();
        for (lane, rush) in rushes.iter().enumerate() {
            total.merge(rush);
            let next = self.next[lane] + rush.requests as usize;
            self.next[lane] = next.checked_rem(lanes[lane].len()).unwrap_or(0);
        }
        self.outcome.rushes.push(total);
        self.outcome.elsewhere.push(cache.elsewhere_ns() - elsewhere);
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let (name, tally) = (&self.outcome.name, &self.outcome.tally);
        ensure!(
            tally.wrong == 0 || name == CONTROL,
            "{name} returned other bytes than were stored: {} of {} values compared",
            tally.wrong,
            tally.checked
        );
        self.cache.health().with_context(|| name.clone())
    }

    /// What there is of it so far; it begins anew.
    fn take(&mut self) -> Outcome {
        let Outcome { name, measures, .. } = &self.outcome;
        let fresh = Outcome::new(name.clone(), measures.clone());
        std::mem::replace(&mut self.outcome, fresh)
    }
}

/// Looks at what the turn will ask for, so that it does not begin in a processor's cache full of
/// another's entries. Nothing of it counts, for policies neither: an access would be a second one to
/// every key. (A server knows no look that is none; its scenarios ask for keys that all fit.)
fn touch(cache: &dyn Subject, requests: &[Request], terms: &Terms<'_>) {
    let mut buf = vec![0; terms.longest];
    let most = terms.ticker.ticks(TOUCHING.as_nanos() as f64);
    let began = Ticker::now();
    for request in requests.iter().filter(|request| request.op == Op::Read) {
        if Ticker::now().wrapping_sub(began) > most {
            return;
        }
        cache.peek(&key_of(request.id), &mut buf);
    }
}

/// Runs one closure a lane, each on a thread and a core of its own; a single one on the caller's.
fn in_lanes<T: Send>(lanes: usize, run: &(dyn Fn(usize, &Barrier) -> T + Sync)) -> Result<Vec<T>> {
    let barrier = Barrier::new(lanes);
    if lanes == 1 {
        return Ok(vec![run(0, &barrier)]);
    }
    std::thread::scope(|scope| {
        let barrier = &barrier;
        let threads: Vec<_> = (0..lanes)
            .map(|lane| {
                scope.spawn(move || {
                    pin_to_core(lane);
                    run(lane, barrier)
                })
            })
            .collect();
        (threads.into_iter())
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a lane of the load panicked")))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::named;

    fn of(name: &str, seconds: f64) -> (Scenario, Vec<Slice>) {
        let scenario = named(name).unwrap().lasting(seconds);
        let slices = slices(&scenario);
        assert_eq!(slices.first().map(|slice| slice.from), Some(0.0));
        assert!(slices.windows(2).all(|two| two[0].to == two[1].from), "{slices:?}");
        let end = scenario.warm_up_seconds + scenario.measured();
        assert!((slices.last().unwrap().to - end).abs() < 1e-9);
        let longest = slices.iter().map(|slice| slice.to - slice.from).fold(0.0, f64::max);
        assert!(longest <= SLICE.1 + 1e-9, "{longest}");
        (scenario, slices)
    }

    /// The parts' lengths, in seconds.
    fn parts(slices: &[Slice]) -> Vec<f64> {
        let count = slices.iter().filter_map(|slice| slice.part).max().unwrap() + 1;
        let length = |part| {
            let of_it = slices.iter().filter(|slice| slice.part == Some(part));
            of_it.map(|slice| slice.to - slice.from).sum()
        };
        (0..count).map(length).collect()
    }

    fn passes(slices: &[Slice]) -> usize {
        slices.iter().filter(|slice| slice.ends_pass).count()
    }

    #[test]
    fn parts_are_what_is_alike() {
        for seconds in [0.6, 8.0, 60.0] {
            let (steady, slices) = of("web-cache", seconds);
            let of_it = parts(&slices);
            assert!((26..=30).contains(&of_it.len()), "a slice or more each: {}", of_it.len());
            assert!((of_it.iter().sum::<f64>() - steady.seconds).abs() < 1e-6);
            assert_eq!(passes(&slices), 1);

            let (burst, slices) = of("batch-scan", seconds);
            let of_it = parts(&slices);
            assert_eq!(of_it.len(), 8, "a period each");
            assert!(of_it.iter().all(|part| (part - burst.seconds / 8.0).abs() < 1e-6));

            let (ramp, slices) = of("morning-rush", seconds);
            let of_it = parts(&slices);
            assert_eq!((of_it.len(), passes(&slices)), (6, 6), "a pass each");
            assert!(of_it.iter().all(|part| (part - ramp.seconds).abs() < 1e-6));
        }
    }

    #[test]
    fn a_period_that_is_cut_short_is_no_part() {
        let scenario = Scenario { seconds: 2.5, ..named("batch-scan").unwrap() };
        let slices = slices(&scenario);
        assert_eq!(parts(&slices).len(), 2);
        let rest: f64 = (slices.iter())
            .filter(|slice| slice.part.is_none() && slice.from >= 1.0)
            .map(|slice| slice.to - slice.from)
            .sum();
        assert!((rest - 0.5).abs() < 1e-9, "{rest}");
    }
}
