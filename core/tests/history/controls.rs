//! Controls: the protocol with one step taken out must be caught, and whole it must not be.
//!
//! Each runs in a process of its own, because the switches are process-wide and a broken protocol
//! may end in a segmentation fault, which counts as caught.

use crate::run::{Setup, run};
use crate::{ONE_AT_A_TIME, asked_policy, asked_seconds, judge};
use hypercache_core::memory::{barrier, slot, sys};
use hypercache_core::{PolicyKind, Pool, PoolConfig, StoreConfig, pool, store};
use std::process::{Command, ExitStatus};
use std::time::Instant;

const CONTROL: &str = "HYPERCACHE_HISTORY_CONTROL";
/// The time in which a control must be caught, and which the whole protocol must survive.
const SECONDS: f64 = 10.0;
/// What a child exits with that has seen a violation.
const CAUGHT: i32 = 42;

fn spawn(control: &str) -> (ExitStatus, f64) {
    let start = Instant::now();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "controls::child", "--nocapture", "--test-threads=1"])
        .env(CONTROL, control)
        .status()
        .unwrap();
    (status, start.elapsed().as_secs_f64())
}

fn must_be_caught(control: &str) {
    let _alone = ONE_AT_A_TIME.lock();
    let (status, seconds) = spawn(control);
    println!("without {control}: {status}, after {seconds:.1} s");
    assert!(!status.success(), "nobody noticed that {control} is missing");
}

fn must_survive(variant: &str) {
    let _alone = ONE_AT_A_TIME.lock();
    let (status, _) = spawn(variant);
    assert!(status.success(), "{variant}: {status}");
}

/// Not a test of its own: what the controls run in a child process.
#[test]
fn child() {
    let Ok(control) = std::env::var(CONTROL) else { return };
    sys::testing::protect_reclaimed(true);
    store::testing::hostile_schedule(true);
    pool::testing::harvest_at_once(true);
    let mut setup = Setup { hot: (16, 80), ..Setup::new(chosen_policy(), SECONDS) };
    match control.as_str() {
        "barrier" => {
            slot::testing::postpone_announcements(true);
            pool::testing::skip_barrier(true);
        }
        "re-check" => store::testing::skip_recheck(true),
        "pins after guards" => pool::testing::pins_before_guards(true),
        "intact" => {
            setup.seconds = chosen_seconds(SECONDS);
            slot::testing::postpone_announcements(true);
        }
        "large segments" => {
            setup.seconds = chosen_seconds(3.0);
            setup.limit = 128 << 20;
            slot::testing::postpone_announcements(true);
        }
        "no membarrier" => {
            setup.seconds = chosen_seconds(3.0);
            barrier::testing::refuse_membarrier();
        }
        "no slots" => {
            setup.seconds = chosen_seconds(3.0);
            take_all_slots();
        }
        other => unreachable!("{other}"),
    }
    let report = run(&setup);
    if let Some(violation) = &report.violation {
        println!("{control}: {violation}");
        std::process::exit(CAUGHT);
    }
    judge(&control, &report);
}

/// The time that a survivor runs, unless the environment says another.
fn chosen_seconds(usual: f64) -> f64 {
    asked_seconds().unwrap_or(usual)
}

fn chosen_policy() -> PolicyKind {
    asked_policy().map_or(PolicyKind::Default, |name| PolicyKind::parse(&name).unwrap())
}

/// Has sleeping threads hold every reader slot, so that all readers of the history are counted
/// ones.
fn take_all_slots() {
    let pool = Pool::create(&PoolConfig::new(1 << 20)).unwrap();
    let store = pool.open_store(&StoreConfig::default()).unwrap();
    let ready =
        std::sync::Arc::new(std::sync::Barrier::new(hypercache_core::memory::guard::SLOTS + 1));
    for _ in 0..hypercache_core::memory::guard::SLOTS {
        let (store, ready) = (store.clone(), ready.clone());
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || {
                assert!(!store.contains(b"k").unwrap());
                ready.wait();
                drop(store);
                loop {
                    std::thread::park();
                }
            })
            .unwrap();
    }
    ready.wait();
    let own = hypercache_core::memory::guard::slot_index();
    assert!(own.is_none(), "a slot was left over");
}

#[test]
fn the_whole_protocol_survives() {
    must_survive("intact");
}

#[test]
fn readers_pay_for_the_barrier_where_there_is_no_membarrier() {
    must_survive("no membarrier");
}

#[test]
fn readers_without_slots_are_counted() {
    must_survive("no slots");
}

/// Pins hold segments here, not only runs.
#[test]
fn the_whole_protocol_survives_in_large_segments() {
    must_survive("large segments");
}

#[test]
fn a_missing_barrier_is_noticed() {
    // Registers the process; where readers fence, no barrier is missing.
    drop(Pool::create(&PoolConfig::new(1 << 20)));
    if barrier::is_asymmetric() {
        must_be_caught("barrier");
    }
}

#[test]
fn a_missing_second_look_is_noticed() {
    must_be_caught("re-check");
}

#[test]
fn pins_read_before_guards_are_noticed() {
    must_be_caught("pins after guards");
}
