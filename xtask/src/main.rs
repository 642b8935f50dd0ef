//! The project's one door: every task is `cargo xtask <task>`.
//!
//! A task is a list of named steps ([`steps`]). A step either passes, is skipped with the reason
//! and what was therefore not checked, or fails with the output of what failed and the next thing
//! to do. Nothing here knows how the library works inside: the tasks use it as a user would, by
//! installing it and building against the installed tree.

mod bench;
mod demo;
mod dist;
mod header;
mod install;
mod node;
mod process;
mod python;
mod screenshot;
mod showcase;
mod steps;
mod test;
mod tools;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// New here? Run `cargo xtask demo`: it builds the library, runs the examples, replays a workload.
///
/// Then `cargo xtask test` checks everything that the project promises, and `cargo xtask install
/// --prefix DIR` puts the library where your compiler finds it.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// See it work: build, install into a scratch folder, run the examples, replay a workload
    Demo(DemoArgs),
    /// Check everything: format, lints, header, tests, models, the installed library, the README
    Test(TestArgs),
    /// Install the library, its headers and its pkg-config and CMake files
    Install(InstallArgs),
    /// Build what is handed out into target/dist: the Python wheel, the npm tarballs
    Dist,
    /// Prove that include/hypercache.h is what the library defines
    Header,
    /// Measure everything; with arguments, runs `hypercache-bench` with them (try `cargo xtask bench
    /// --help`)
    Bench(BenchArgs),
    /// Take a picture of the benchmarks' page for the README (needs Chromium)
    Screenshot(ScreenshotArgs),
}

#[derive(Args)]
struct DemoArgs {
    /// Replay this trace: libCacheSim's oracleGeneral (plain or .zst) or CSV. Without it, a seeded
    /// synthetic workload
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// The byte limit of the pool, such as 64MiB
    #[arg(long, value_name = "BYTES")]
    limit: Option<String>,
    /// The eviction policy, such as adaptive, s3fifo or lru
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// How many threads replay
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// More options for the replay (see `cargo xtask bench replay --help`)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    more: Vec<String>,
}

#[derive(Args)]
struct TestArgs {
    /// Only what a change is checked with while it is being made: no models, no valgrind, fewer
    /// random cases
    #[arg(long)]
    quick: bool,
    /// For machines: plain output, and a missing tool is a failure instead of a note
    #[arg(long)]
    ci: bool,
    /// Go on after a failed step and report all of them
    #[arg(long)]
    keep_going: bool,
    /// Run only steps whose name contains this (may be given several times)
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// List the steps and stop
    #[arg(long)]
    list: bool,
}

#[derive(Args)]
struct InstallArgs {
    /// Where to: creates DIR/lib and DIR/include
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
}

#[derive(Args)]
#[command(disable_help_flag = true)]
struct BenchArgs {
    /// A subcommand of `hypercache-bench` and its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

#[derive(Args)]
struct ScreenshotArgs {
    /// The page [default: the one that the last `cargo xtask bench` left]
    #[arg(value_name = "FILE")]
    page: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = tree::Tree::find().and_then(|tree| match cli.task {
        Task::Demo(args) => demo::run(&tree, &args),
        Task::Test(args) => test::run(&tree, &args),
        Task::Install(args) => install::run(&tree, &args.prefix),
        Task::Dist => dist::run(&tree),
        Task::Header => header::run(&tree),
        Task::Bench(args) => bench::run(&tree, &args.args),
        Task::Screenshot(args) => screenshot::run(&tree, args.page),
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}
