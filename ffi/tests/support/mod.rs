//! What the tests share: the repository, the compilers, the library that cargo built.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder of this test's own, below cargo's target directory.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Whether a program can be run.
pub fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Says plainly that something was not checked.
pub fn not_checked(what: &str, missing: &str) {
    eprintln!("NOT CHECKED: {what}: {missing} is not installed");
}

/// The compilers of a language that are there; at least one must be.
pub fn compilers(names: &[&'static str]) -> Vec<&'static str> {
    let found: Vec<_> = names.iter().copied().filter(|name| is_there(name)).collect();
    for missing in names.iter().filter(|name| !found.contains(name)) {
        not_checked("compilation", missing);
    }
    assert!(!found.is_empty(), "none of {names:?} is installed");
    found
}

/// Runs a command and fails with what it said unless it succeeds.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// The static library that cargo built with this test.
pub fn archive() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let path = exe.with_file_name("libhypercache.a");
    assert!(path.is_file(), "cargo left no {}", path.display());
    path
}

/// What a Rust static library needs from the system.
pub const SYSTEM_LIBRARIES: [&str; 5] = ["-lgcc_s", "-lpthread", "-lm", "-ldl", "-lc"];

/// Compiles sources against the static library.
pub fn build(
    compiler: &str,
    standard: &str,
    sources: &[PathBuf],
    extra: &[&str],
    archive: &Path,
    program: &Path,
) {
    let mut cc = Command::new(compiler);
    cc.arg(format!("-std={standard}"));
    cc.args(["-g", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-DHC_STATIC"]).args(extra);
    cc.arg("-I").arg(root().join("include")).args(sources);
    cc.arg("-o").arg(program).arg(archive).args(SYSTEM_LIBRARIES);
    run(&mut cc);
}
