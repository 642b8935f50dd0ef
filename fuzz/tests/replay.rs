//! Runs every target over its corpus, and over inputs made from a seed.
//!
//! Nothing here depends on time or on another machine's fuzzer: the same inputs every time.
//! `HYPERCACHE_FUZZ_INPUTS=10000` makes more of them, `HYPERCACHE_FUZZ_SEED=7` others.

#![allow(clippy::unwrap_used)] // helpers of a test are tests

use hypercache_fuzz::generate::Generator;
use hypercache_fuzz::{Log, TARGETS, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// One at a time where tests share a process: what one takes in memory, another would be blamed for.
static TURN: Mutex<()> = Mutex::new(());

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn target(name: &str) -> Target {
    Target::named(name).unwrap()
}

/// Runs one input; its name if it fails.
fn fails(target: &Target, name: &str, input: &[u8], log: &mut Log) -> Option<String> {
    let run = AssertUnwindSafe(|| (target.run)(input, log));
    catch_unwind(run).err().map(|_| name.to_owned())
}

fn corpus(name: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (target, begin) = (target(name), Instant::now());
    let files = target.corpus().unwrap();
    let mut log = Log::default();
    let failed: Vec<_> =
        files.iter().filter_map(|(file, input)| fails(&target, file, input, &mut log)).collect();
    assert!(
        failed.is_empty(),
        "{} of {} inputs fail: {}\n`cargo run -p hypercache-fuzz --bin {name} -- --explain \
         fuzz/corpus/{name}/{}` says what each operation came to",
        failed.len(),
        files.len(),
        failed.join(" "),
        failed[0],
    );
    let missed: Vec<_> =
        target.reaches.iter().filter(|name| !log.seen().contains_key(*name)).collect();
    assert!(
        missed.is_empty(),
        "fuzz/corpus/{name} reaches no {missed:?}: if the decoder has changed, so must the corpus"
    );
    let (total, time) = (log.total(), begin.elapsed());
    println!("replayed: {name}, {} inputs, {total} steps, {time:.1?}", files.len());
}

fn made(name: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (target, begin) = (target(name), Instant::now());
    let files = target.corpus().unwrap();
    let count = number("HYPERCACHE_FUZZ_INPUTS").unwrap_or(target.generated.into());
    let seed = number("HYPERCACHE_FUZZ_SEED").unwrap_or(1);
    let mut generator = Generator::new(seed, target.len_max);
    let mut log = Log::default();
    for at in 0..count {
        let input = generator.next(&files);
        if fails(&target, name, &input, &mut log).is_some() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}-{at}"));
            std::fs::write(&file, input).unwrap();
            panic!("the made input {at} of seed {seed} fails; it is kept as {}", file.display());
        }
    }
    let (total, time) = (log.total(), begin.elapsed());
    println!("made: {name}, {count} inputs from seed {seed}, {total} steps, {time:.1?}");
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(mod $name {
            #[test]
            fn corpus() {
                super::corpus(stringify!($name));
            }

            #[test]
            fn made_inputs() {
                super::made(stringify!($name));
            }
        })*

        #[test]
        fn every_target_and_every_folder_is_replayed() {
            let mut replayed = [$(stringify!($name)),*];
            replayed.sort_unstable();
            let mut targets = TARGETS.map(|target| target.name);
            targets.sort_unstable();
            assert_eq!(replayed, targets);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
            let mut folders: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            folders.sort_unstable();
            assert_eq!(folders, targets, "folders of fuzz/corpus and targets");
        }
    };
}

targets! { c_calls filter_ops options store_ops trace_reader }
