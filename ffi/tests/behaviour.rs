//! The C and C++ suites, built against the static library and run: as they are, under
//! AddressSanitizer and UBSan, under valgrind, and against a library whose structs have grown.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

fn sources(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .collect();
    found.sort();
    found
}

fn suite(name: &str, compiler: &str, extra: &[&str], archive: &Path) -> PathBuf {
    let program = support::scratch("behaviour").join(name);
    support::build(compiler, "c99", &sources("c", "c"), extra, archive, &program);
    program
}

/// Runs each test of the suite in a process of its own.
fn run_each(program: &Path, wrap: impl Fn(&Path) -> Command) {
    let names = support::run(Command::new(program).arg("--list"));
    let names: Vec<_> = names.lines().collect();
    assert!(names.len() > 40, "the suite is smaller than it was");
    let mut failures = Vec::new();
    for name in names {
        let output = wrap(program).arg(name).output().unwrap();
        if output.status.success() {
            continue;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        failures.push(format!("{name}: {}\n{said}", output.status));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn c_suite() {
    for compiler in support::compilers(&["gcc", "clang"]) {
        let program = suite(&format!("suite-{compiler}"), compiler, &[], &support::archive());
        run_each(&program, |program| Command::new(program));
    }
}

#[test]
fn cpp_suite() {
    for compiler in support::compilers(&["g++", "clang++"]) {
        for standard in ["c++17", "c++20"] {
            let program = support::scratch("behaviour").join(format!("wrapper-{compiler}"));
            let sources = sources("cpp", "cpp");
            support::build(compiler, standard, &sources, &[], &support::archive(), &program);
            support::run(&mut Command::new(&program));
        }
    }
}

const SANITIZE: [&str; 3] =
    ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];

fn sanitizers_work(compiler: &str) -> bool {
    let folder = support::scratch("behaviour");
    let probe = folder.join("probe.c");
    std::fs::write(&probe, "int main(void) { return 0; }\n").unwrap();
    let mut cc = Command::new(compiler);
    cc.args(SANITIZE).arg(&probe).arg("-o").arg(folder.join("probe"));
    cc.output().is_ok_and(|output| output.status.success())
}

#[test]
fn suites_under_sanitizers() {
    if !sanitizers_work("gcc") || !sanitizers_work("g++") {
        return support::not_checked("wild reads and writes", "gcc's AddressSanitizer");
    }
    let sanitized = |program: &Path| {
        let mut command = Command::new(program);
        // Leaks are valgrind's: LeakSanitizer needs ptrace, which containers often refuse.
        command.env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=1");
        command.env("UBSAN_OPTIONS", "print_stacktrace=1");
        command
    };
    let program = suite("suite-asan", "gcc", &SANITIZE, &support::archive());
    run_each(&program, sanitized);
    let program = support::scratch("behaviour").join("wrapper-asan");
    let sources = sources("cpp", "cpp");
    support::build("g++", "c++17", &sources, &SANITIZE, &support::archive(), &program);
    support::run(&mut sanitized(&program));
}

#[test]
fn suites_under_valgrind() {
    if !support::is_there("valgrind") {
        return support::not_checked("leaks", "valgrind");
    }
    let program = suite("suite-valgrind", "gcc", &[], &support::archive());
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
    command.args(["--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"]);
    // One process, since it starts slowly. Left out: what takes minutes or counts time there, and
    // forks, whose child leaves the parent's registry alone on purpose.
    let left_out = ["threads", "policies", "forks", "touches", "times_to_live"];
    let left_out = left_out.map(|name| format!("-{name}"));
    support::run(command.arg(program).args(left_out));
}

/// A program that was compiled for the committed header runs with a library whose structs have
/// grown since.
#[test]
fn c_suite_with_grown_structs() {
    let target = support::scratch("grown");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--quiet", "--package", "hypercache-ffi", "--lib"]);
    cargo.args(["--features", "grown", "--crate-type", "staticlib", "--target-dir"]);
    cargo.arg(&target).current_dir(env!("CARGO_MANIFEST_DIR"));
    support::run(&mut cargo);
    let archive = target.join("debug").join("libhypercache.a");
    let program = suite("suite-grown", "gcc", &[], &archive);
    run_each(&program, |program| Command::new(program));
}
