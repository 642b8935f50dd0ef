//! `cargo xtask test`: everything the project promises, checked the way a user would meet it.
//!
//! The order is that of cost: what takes seconds and fails most often comes first. One target
//! folder serves all steps, and each build profile is built once: lints in the check profile,
//! tests in the test profile, the library in the release profile.

mod fuzz;
mod gate;
mod headers;
mod installed;
mod links;
mod node;
mod python;
mod readme;
mod rust;
mod symbols;

use std::process::ExitCode;

use anyhow::Result;

use crate::TestArgs;
use crate::header;
use crate::install::{self, Installed};
use crate::steps::{Manner, Outcome, Progress, Steps, passed};
use crate::tree::{Tree, show};

const READ_AND_RERUN: &str = "the output above names the place; once mended, `cargo xtask test \
                              --only TEXT` runs the steps whose name contains TEXT";

pub fn run(tree: &Tree, args: &TestArgs) -> Result<ExitCode> {
    let mut steps = Steps::new(Manner {
        plain: args.ci,
        strict: args.ci,
        keep_going: args.keep_going,
        only: args.only.clone(),
        list: args.list,
        ..Manner::for_task(tree, "test")
    });
    rust_steps(tree, args, &mut steps);
    if !args.quick {
        installed_steps(tree, &mut steps);
    }
    Ok(steps.finish())
}

fn rust_steps(tree: &Tree, args: &TestArgs, steps: &mut Steps) {
    steps.step("format", "run `cargo fmt`", |progress| rust::format(tree, progress));
    steps.step("links", READ_AND_RERUN, |progress| links::check(tree, progress));
    steps.step("lints", READ_AND_RERUN, |progress| rust::lints(tree, progress));
    steps.step("lints with test hooks", READ_AND_RERUN, |progress| {
        rust::lints_everywhere(tree, progress)
    });
    steps.step("header", header::NEXT, |progress| header::check(tree, progress));
    steps.step("tests", READ_AND_RERUN, |progress| rust::tests(tree, progress, args.quick));
    steps.step("tests of xtask", READ_AND_RERUN, |progress| rust::own_tests(tree, progress));
    if args.quick {
        return;
    }
    steps.step("doc tests", READ_AND_RERUN, |progress| rust::doc_tests(tree, progress));
    steps.step("documentation", READ_AND_RERUN, |progress| rust::documentation(tree, progress));
    steps.step("fuzz corpora", READ_AND_RERUN, |progress| fuzz::replay(tree, progress));
    steps.step("models (loom)", READ_AND_RERUN, |progress| rust::models(tree, progress));
    steps.step("benchmarks gate", gate::NEXT, |progress| gate::check(tree, progress));
    steps.step("benchmarks gate closes", READ_AND_RERUN, |progress| gate::proof(tree, progress));
}

/// A check of the installed tree.
type Check = fn(&Tree, &Installed, &Progress) -> Result<Outcome>;

const INSTALLED: [(&str, Check); 11] = [
    ("headers in every standard", headers::matrix),
    ("exported symbols", symbols::check),
    ("examples with pkg-config", installed::with_pkg_config),
    ("examples with CMake", installed::with_cmake),
    ("examples linked statically", installed::linked_statically),
    ("a moved tree", installed::moved),
    ("examples with sanitizers", installed::with_sanitizers),
    ("examples under valgrind", installed::under_valgrind),
    ("README programs in C and C++", readme::native),
    ("node", node::check),
    ("python", python::check),
];

fn installed_steps(tree: &Tree, steps: &mut Steps) {
    // Wanted also where `--only` names just a check of what it makes.
    if steps.wants("install") || INSTALLED.iter().any(|(name, _)| steps.wants(name)) {
        let prefix = tree.target.join("test-prefix");
        let mut made = None;
        steps.always("install", READ_AND_RERUN, |progress| {
            if prefix.exists() {
                std::fs::remove_dir_all(&prefix)?;
            }
            made = Some(install::install(tree, &prefix, &|command| progress.run(command))?);
            passed(show(&prefix))
        });
        for (name, check) in INSTALLED {
            match &made {
                Some(installed) => {
                    steps.step(name, READ_AND_RERUN, |progress| check(tree, installed, progress));
                }
                None => steps.not_run(name),
            }
        }
    }
    steps.step("README programs in Rust", READ_AND_RERUN, |progress| readme::rust(tree, progress));
}
