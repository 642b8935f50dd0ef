//! Parts of the suites that need to know what the heap was asked for. Started by `hypercache-bench`.

use std::process::ExitCode;

use hypercache_bench::measure::Counting;
use hypercache_bench::suite::child;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    child::serving()
}
