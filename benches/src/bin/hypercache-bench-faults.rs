//! The parts of the suites in which memory is made to fail, by the hooks of the engine's tests. Built
//! with the feature `faults` alone, started by `hypercache-bench`.

use std::process::ExitCode;

use hypercache_bench::suite::child;

fn main() -> ExitCode {
    child::serving()
}
