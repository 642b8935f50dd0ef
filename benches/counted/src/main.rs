//! The program that the regression gate counts: a fixed number of operations, on one thread, from
//! a cache in a known state, with fixed seeds.
//!
//! It is a program of its own, and not a part of `hypercache-bench`, for three reasons. What the
//! linker makes of the measured code must not depend on the rest of the benchmarks. It counts
//! allocations, which takes an allocator of its own that the peers should not pay for. And it
//! builds in a minute from nothing, which the gate does for the commit that it compares with.
//!
//! ```text
//! hypercache-counted list                  the names of the cases
//! hypercache-counted instructions [NAME]   runs them inside `hypercache_counted`, for callgrind
//! hypercache-counted allocations [NAME]    what each asks of the heap
//! hypercache-counted bytes                 bytes an entry, by length of the value
//! hypercache-counted time NAME ROUNDS      nanoseconds an operation, round by round
//! ```
//!
//! It prints a line a figure, fields separated by tabs, and nothing else.

mod allocations;
mod bytes;
mod cases;
mod inputs;
mod subject;
mod work;

use std::env;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use hypercache_core::{Error, ErrorKind, Result};

use cases::{CASES, Case, OPS};
use work::Work;

/// All that is counted happens in here: callgrind finds it by its name, counts from when it is
/// entered to when it is left, and writes the count down then.
#[inline(never)]
#[unsafe(no_mangle)]
fn hypercache_counted(work: &mut dyn Work) {
    work.run();
    // Keeps the call above from becoming a jump, which is no call to callgrind.
    black_box(work);
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["list"] => each(None, |case| {
            println!("{}", case.name);
            Ok(())
        }),
        ["instructions"] => each(None, instructions),
        ["instructions", name] => each(Some(name), instructions),
        ["allocations"] => each(None, count_allocations),
        ["allocations", name] => each(Some(name), count_allocations),
        ["bytes"] => bytes::print(),
        ["time", name, rounds] => match rounds.parse() {
            Ok(rounds) => each(Some(name), |case| time(case, rounds)),
            Err(_) => Err(unknown(format!("ROUNDS is {rounds:?}; a number is allowed"))),
        },
        _ => Err(unknown(format!(
            "arguments are {args:?}; list, instructions [NAME], allocations [NAME], bytes and \
             time NAME ROUNDS are allowed"
        ))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn unknown(sentence: String) -> Error {
    Error::new(ErrorKind::Invalid, sentence)
}

/// Every case, or the one of this name.
fn each(name: Option<&str>, see: impl Fn(&Case) -> Result<()>) -> Result<()> {
    let mut seen = 0;
    for case in CASES.iter().filter(|case| name.is_none_or(|name| name == case.name)) {
        see(case)?;
        seen += 1;
    }
    match name {
        Some(name) if seen == 0 => Err(unknown(format!(
            "NAME is {name:?}; those that `hypercache-counted list` prints are allowed"
        ))),
        _ => Ok(()),
    }
}

/// A case as it is when it has run for some time: access counters are where they stay, tables
/// have their size, queues their shares.
fn warmed(case: &Case) -> Result<Box<dyn Work>> {
    let mut work = (case.make)()?;
    for _ in 0..4 {
        work.ready();
        work.run();
    }
    work.ready();
    Ok(work)
}

fn instructions(case: &Case) -> Result<()> {
    hypercache_counted(&mut *warmed(case)?);
    println!("{}\t{OPS}", case.name);
    Ok(())
}

fn count_allocations(case: &Case) -> Result<()> {
    let mut work = warmed(case)?;
    let before = allocations::asked();
    work.run();
    let asked = allocations::asked() - before;
    println!("{}\t{OPS}\t{asked}", case.name);
    Ok(())
}

fn time(case: &Case, rounds: u32) -> Result<()> {
    let mut work = warmed(case)?;
    for _ in 0..rounds {
        work.ready();
        let begun = Instant::now();
        work.run();
        println!("{}", begun.elapsed().as_nanos() as f64 / OPS as f64);
    }
    Ok(())
}
