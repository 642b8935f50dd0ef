//! Measures HyperCache beside its peers and replays workloads through its C interface.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hypercache_bench::commands::replay;
use hypercache_bench::commands::{
    all, churn, filter, gate, leases, limit, memory, miss_ratio, raw, scenario, sessions, speed,
    stress, tail,
};
use hypercache_bench::miss_ratio::equal;
use hypercache_bench::profile::{self, Profile};
use hypercache_bench::suite::child;

#[derive(Parser)]
#[command(version, about, long_about = None)]
struct Cli {
    /// Profile what the subcommand does, into target/bench
    #[arg(long, global = true, value_enum, value_name = "WHAT")]
    profile: Option<Profile>,
    #[command(subcommand)]
    command: Command,
}

/// Every allocation is counted while the heap is profiled, and only then.
#[cfg(feature = "profile-heap")]
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[derive(Subcommand)]
enum Command {
    All(all::Args),
    Speed(speed::Args),
    Tail(tail::Args),
    Limit(limit::Args),
    #[command(hide = true)]
    LimitChild(limit::ChildArgs),
    Churn(churn::Args),
    Memory(memory::Args),
    Raw(raw::Args),
    Sessions(sessions::Args),
    Leases(leases::Args),
    Stress(stress::Args),
    Filter(filter::Args),
    Gate(gate::Args),
    Scenario(scenario::Args),
    Replay(replay::Args),
    MissRatio(miss_ratio::Args),
    #[command(hide = true)]
    MissRatioChild(equal::ChildArgs),
    #[command(hide = true, name = child::SUBCOMMAND)]
    SuiteChild {
        /// What to do, as JSON
        job: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.profile {
        None => run(cli.command),
        Some(Profile::Instructions) => counted(),
        Some(profile) => profiled(profile, cli.command),
    };
    match done {
        Ok(status) => status,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn profiled(profile: Profile, command: Command) -> anyhow::Result<ExitCode> {
    let running = profile::Running::begin(profile, &all::default_folder())?;
    let status = run(command)?;
    running.end()?;
    Ok(status)
}

fn counted() -> anyhow::Result<ExitCode> {
    let args = profile::without_profile(std::env::args().skip(1));
    let status = profile::under_callgrind(&args, &all::default_folder())?;
    anyhow::ensure!(status.success(), "the program ended with {status} under valgrind");
    Ok(ExitCode::SUCCESS)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::All(args) => all::run(&args)?,
        Command::Speed(args) => speed::run(&args)?,
        Command::Tail(args) => tail::run(&args)?,
        Command::Limit(args) => limit::run(&args)?,
        Command::LimitChild(args) => limit::run_child(&args)?,
        Command::Churn(args) => churn::run(&args)?,
        Command::Memory(args) => memory::run(&args)?,
        Command::Raw(args) => raw::run(&args)?,
        Command::Sessions(args) => sessions::run(&args)?,
        Command::Leases(args) => leases::run(&args)?,
        Command::Stress(args) => stress::run(&args)?,
        Command::Filter(args) => filter::run(&args)?,
        Command::Gate(args) => return Ok(gate::run(&args)),
        Command::Scenario(args) => scenario::run(&args)?,
        Command::Replay(args) => replay::run(&args)?,
        Command::MissRatio(args) => miss_ratio::run(&args)?,
        Command::MissRatioChild(args) => equal::run_child(&args)?,
        Command::SuiteChild { job } => child::serve(&job)?,
    }
    Ok(ExitCode::SUCCESS)
}
