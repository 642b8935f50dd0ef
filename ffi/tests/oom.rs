//! A process without memory: every call answers with a status, none ends it.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

#[test]
fn every_allocation_may_fail() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oom/oom.c");
    let program = support::scratch("oom").join("oom");
    // The compiler must not take malloc for the one it knows.
    let extra = ["-fno-builtin"];
    support::build("gcc", "c99", &[source], &extra, &support::archive(), &program);
    support::run(&mut Command::new(program));
}
