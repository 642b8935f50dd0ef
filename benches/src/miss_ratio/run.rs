//! Runs cells on all processors: traces are read when their turn comes and dropped with their last
//! cell.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Error, Result};
use indicatif::ProgressBar;

use super::contender::Contender;
use super::grid::{self, Size, Wanted};
use super::loaded::Loaded;
use super::ours;
use super::results::Results;
use crate::trace::{Figure, TraceFile};

/// What is to be run.
#[derive(Debug)]
pub struct Plan {
    /// The traces.
    pub files: Vec<TraceFile>,
    /// Who replays them.
    pub contenders: Vec<Contender>,
    /// At which capacities.
    pub wanted: Wanted,
    /// How many cells at once.
    pub threads: usize,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Done {
    /// Cells run.
    pub run: usize,
    /// Cells that were there already.
    pub found: usize,
    /// What was odd.
    pub notes: Vec<String>,
}

struct Cell {
    trace: Arc<Loaded>,
    size: Size,
    contender: Contender,
    /// Its part of the progress.
    weight: u64,
}

struct State<'a> {
    files: Vec<TraceFile>,
    ready: Vec<Cell>,
    /// Traces that are being read.
    reading: usize,
    results: &'a mut Results,
    done: Done,
    failure: Option<Error>,
}

struct Shared<'a> {
    plan: &'a Plan,
    state: Mutex<State<'a>>,
    changed: Condvar,
    bar: &'a ProgressBar,
}

/// Runs every cell that `results` has no row of. The bar counts bytes of trace files.
pub fn run(plan: &Plan, results: &mut Results, bar: &ProgressBar) -> Result<Done> {
    let mut files = plan.files.clone();
    // The largest first: so that no long cell is left for the end.
    files.sort_by_key(|file| file.bytes);
    bar.set_length(files.iter().map(|file| file.bytes).sum());
    let state = State {
        files,
        ready: Vec::new(),
        reading: 0,
        results,
        done: Done::default(),
        failure: None,
    };
    let shared = Shared { plan, state: Mutex::new(state), changed: Condvar::new(), bar };
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(|| shared.work());
        }
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failure {
        Some(failure) => Err(failure),
        None => Ok(state.done),
    }
}

impl<'a> Shared<'a> {
    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        while state.failure.is_none() {
            let step = if let Some(cell) = state.ready.pop() {
                drop(state);
                self.run_cell(cell)
            } else if let Some(file) = state.files.pop() {
                state.reading += 1;
                drop(state);
                let read = self.read(&file);
                self.lock().reading -= 1;
                read
            } else if state.reading > 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            } else {
                return;
            };
            state = self.lock();
            if let Err(failure) = step {
                state.failure.get_or_insert(failure);
            }
            self.changed.notify_all();
        }
    }

    fn read(&self, file: &TraceFile) -> Result<()> {
        let trace = Arc::new(Loaded::read(file)?);
        let sizes = grid::sizes(&trace, &self.plan.wanted);
        let mut state = self.lock();
        let mut cells = Vec::new();
        for &size in &sizes {
            for contender in &self.plan.contenders {
                if state.results.has(&trace.name, &size, &contender.to_string()) {
                    state.done.found += 1;
                    continue;
                }
                let (trace, contender) = (Arc::clone(&trace), contender.clone());
                cells.push(Cell { trace, size, contender, weight: 0 });
            }
        }
        let share = file.bytes / (cells.len() as u64).max(1);
        cells.iter_mut().for_each(|cell| cell.weight = share);
        self.bar.inc(file.bytes - share * cells.len() as u64);
        state.ready.extend(cells);
        Ok(())
    }

    fn run_cell(&self, cell: Cell) -> Result<()> {
        let Cell { trace, size, contender, weight } = cell;
        let (policy, name) = (contender.to_string(), &trace.name);
        self.bar.set_message(format!("{name} {policy} {} {}", size.unit, size.fraction));
        let mut notes = Vec::new();
        let mut note = |what: String| {
            notes.push(format!("{name} {} {} {policy}: {what}", size.unit, size.fraction));
        };
        let missed = match &contender {
            Contender::Ours(ours) => {
                let outcome = ours::replay(&trace, &size, ours)?;
                if !outcome.is_fair() {
                    note(format!("{:.1} % of the capacity live", outcome.full * 100.0));
                }
                if outcome.failures > 0 {
                    note(format!("{} writes failed", outcome.failures));
                }
                outcome.missed
            }
            Contender::Peer(peer) => replay_peer(&trace, &size, *peer)?,
        };
        let mut state = self.lock();
        state.results.add(Figure {
            trace: name.clone(),
            unit: size.unit,
            policy,
            fraction: size.fraction,
            capacity: size.capacity,
            miss_ratio: missed.ratio(),
            byte_miss_ratio: missed.byte_ratio(),
        })?;
        state.done.run += 1;
        state.done.notes.extend(notes);
        self.bar.inc(weight);
        Ok(())
    }
}

#[cfg(feature = "peers")]
use super::peers::replay as replay_peer;

#[cfg(not(feature = "peers"))]
fn replay_peer(
    _: &Loaded,
    _: &Size,
    peer: super::contender::Peer,
) -> Result<super::loaded::Missed> {
    anyhow::bail!(
        "{} is not in this program, which was built without the feature `peers`",
        peer.name()
    )
}
