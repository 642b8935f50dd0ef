//! `cargo xtask bench`: the benchmark program, built for release, with the user's arguments.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::node;
use crate::process;
use crate::python;
use crate::tree::Tree;

/// The name of the benchmark package and of its program.
const PROGRAM: &str = "hypercache-bench";

/// The subcommand that measures the Node package instead.
const NODE: &str = "node";

/// The subcommand that measures the Python package instead.
const PYTHON: &str = "python";

/// The whole run, which no subcommand asks for.
const ALL: &str = "all";

/// Subcommands that compare HyperCache with no other cache.
const ALONE: [&str; 6] = ["raw", "replay", "sessions", "leases", GATE, STRESS];

/// The subcommand of which a part runs in a program of its own, in which failures are injected.
const STRESS: &str = "stress";

/// How the comparison of miss ratios is asked for, beside its name as a subcommand.
const MISS_RATIO: (&str, &str) = ("--miss-ratio", "miss-ratio");
/// The option of the program that stands before or behind any subcommand, and takes a value.
const PROFILE: &str = "--profile";

/// The subcommand whose status says whether something got worse ...
const GATE: &str = "gate";
/// ... and what it is where that could not be found out.
const NOT_FOUND_OUT: u8 = 2;

/// The option of the comparison of miss ratios that leaves the other caches out.
const NO_PEERS: &str = "--no-peers";

pub fn run(tree: &Tree, args: &[String]) -> Result<ExitCode> {
    let args = with_subcommand(args);
    let done = measure(tree, &args);
    match done {
        // 1 says that something got worse, and nothing was compared.
        Err(error) if subcommand(&args) == Some(GATE) => {
            eprintln!("\n{error:#}");
            Ok(ExitCode::from(NOT_FOUND_OUT))
        }
        done => done,
    }
}

fn measure(tree: &Tree, args: &[String]) -> Result<ExitCode> {
    if let Some((NODE, rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return node::bench(tree, rest);
    }
    if let Some((PYTHON, rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return python::bench(tree, rest);
    }
    let asked = subcommand(args);
    let alone = asked.is_some_and(|name| {
        ALONE.contains(&name) || name == MISS_RATIO.1 && args.iter().any(|arg| arg == NO_PEERS)
    });
    let peers = if alone { Peers::Without } else { Peers::With };
    let mut program_build = building(tree, peers);
    if let Some(feature) = profile_feature(args) {
        program_build.args(["--features", feature]);
    }
    let mut builds = vec![program_build];
    if asked.is_some_and(|name| name == STRESS || name == ALL) {
        builds.push(building_faults(tree));
    }
    for mut cargo in builds {
        let status = process::in_the_open(&mut cargo)?;
        if !status.success() {
            bail!("`{}` {}", process::line_of(&cargo), process::ended(status));
        }
    }
    let status = process::in_the_open(program(tree).args(args))?;
    // The program's own status says more than failed or not; one that a signal ended has none.
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Ok(ExitCode::from(code)),
        None => bail!("{PROGRAM} {}", process::ended(status)),
    }
}

/// `--miss-ratio`, wherever it stands, as the subcommand that it means; the whole run where there is
/// no subcommand (`--help` is about all of them).
fn with_subcommand(args: &[String]) -> Vec<String> {
    let (option, name) = MISS_RATIO;
    let rest = || args.iter().filter(|arg| *arg != option).cloned();
    let is_about_all = |first: &str| ["-h", "--help", "-V", "--version"].contains(&first);
    match first_of(args) {
        _ if rest().count() < args.len() => {
            std::iter::once(name.to_owned()).chain(rest()).collect()
        }
        Some(first) if is_about_all(first) || !first.starts_with('-') => args.to_vec(),
        Some(_) | None => std::iter::once(ALL.to_owned()).chain(rest()).collect(),
    }
}

/// The subcommand, where there is one.
fn subcommand(args: &[String]) -> Option<&str> {
    first_of(args).filter(|first| !first.starts_with('-'))
}

/// The first argument behind those that stand before any subcommand.
fn first_of(args: &[String]) -> Option<&str> {
    let mut args = args.iter().map(String::as_str);
    let is_of_profile =
        |arg: &str| arg.strip_prefix(PROFILE).is_some_and(|rest| rest.starts_with('='));
    loop {
        match args.next() {
            Some(PROFILE) => drop(args.next()),
            Some(arg) if is_of_profile(arg) => {}
            first => return first,
        }
    }
}

/// The feature of the program that a profile takes, if it takes one.
fn profile_feature(args: &[String]) -> Option<&'static str> {
    let at = args.iter().position(|arg| arg == PROFILE);
    let apart = at.and_then(|at| args.get(at + 1)).map(String::as_str);
    match apart.or_else(|| args.iter().find_map(|arg| arg.strip_prefix("--profile="))) {
        Some("cpu") => Some("profile-cpu"),
        Some("heap") => Some("profile-heap"),
        Some(_) | None => None,
    }
}

/// Whether the caches that HyperCache is compared with are built in: they are most of what there is
/// to compile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    With,
    Without,
}

/// Builds the program.
pub fn building(tree: &Tree, peers: Peers) -> Command {
    let mut cargo = process::cargo(&tree.root);
    cargo.args(["build", "--release", "--package", PROGRAM]);
    if peers == Peers::With {
        cargo.args(["--features", "peers"]);
    }
    cargo
}

/// Builds the program in which failures are injected: with the hooks of the engine's tests, and so
/// apart from all that is measured.
pub fn building_faults(tree: &Tree) -> Command {
    let mut cargo = process::cargo(&tree.root);
    cargo.args(["build", "--release", "--package", PROGRAM, "--features", "faults"]);
    cargo.args(["--bin", "hypercache-bench-faults"]);
    cargo
}

/// The built program, run in the user's own folder, so that paths mean what they meant there.
pub fn program(tree: &Tree) -> Command {
    Command::new(tree.target.join("release").join(PROGRAM))
}

#[cfg(test)]
mod tests {
    use super::{profile_feature, subcommand, with_subcommand};

    #[test]
    fn the_option_is_the_subcommand() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (typed, meant) in [
            ("--miss-ratio --no-peers", "miss-ratio --no-peers"),
            ("--traces x --miss-ratio", "miss-ratio --traces x"),
            ("miss-ratio --no-peers", "miss-ratio --no-peers"),
            ("speed --ops hit", "speed --ops hit"),
        ] {
            assert_eq!(with_subcommand(&words(typed)), words(meant));
        }
    }

    #[test]
    fn without_a_subcommand_everything_is_run() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (typed, meant) in [
            ("", "all"),
            ("--quick", "all --quick"),
            ("--only speed,tail", "all --only speed,tail"),
            ("speed --csv f", "speed --csv f"),
            ("--help", "--help"),
            ("--profile cpu speed --ops hit", "--profile cpu speed --ops hit"),
            ("--profile=heap gate", "--profile=heap gate"),
            ("--profile cpu --quick", "all --profile cpu --quick"),
            ("--profile cpu", "all --profile cpu"),
            ("--profile heap --miss-ratio", "miss-ratio --profile heap"),
        ] {
            assert_eq!(with_subcommand(&words(typed)), words(meant));
        }
    }

    #[test]
    fn the_subcommand_stands_behind_what_is_global() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (typed, name) in [
            ("gate --baseline x", Some("gate")),
            ("--profile instructions gate", Some("gate")),
            ("--profile=cpu stress", Some("stress")),
            ("--help", None),
            ("", None),
        ] {
            assert_eq!(subcommand(&words(typed)), name);
        }
    }

    #[test]
    fn profiles_are_features() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (typed, feature) in [
            ("speed --profile cpu", Some("profile-cpu")),
            ("--profile=heap tail", Some("profile-heap")),
            ("speed --profile instructions", None),
            ("speed --ops hit", None),
        ] {
            assert_eq!(profile_feature(&words(typed)), feature);
        }
    }
}
