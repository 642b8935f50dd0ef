//! The examples, built in every way a user may build against the installed tree, and run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::demo::{Language, runner};
use crate::install::Installed;
use crate::process;
use crate::steps::{Outcome, Progress, passed, skipped};
use crate::tools;
use crate::tree::{Tree, files_with, show, stem};

const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Each example of both languages.
fn examples(tree: &Tree) -> Result<Vec<(Language, PathBuf)>> {
    let mut all = Vec::new();
    for language in [Language::C, Language::Cpp] {
        let sources = language.sources(tree)?;
        if sources.is_empty() {
            bail!("{} holds no examples", language.folder());
        }
        all.extend(sources.into_iter().map(|source| (language, source)));
    }
    Ok(all)
}

/// Compiles and links one example with `flags` and returns the program.
fn build(
    tree: &Tree,
    progress: &Progress,
    folder: &Path,
    (language, source): &(Language, PathBuf),
    flags: &[String],
) -> Result<PathBuf> {
    let program =
        folder.join(format!("{}-{}", stem(source), language.standard().replace("-std=", "")));
    let mut cc = process::program(language.compiler()?, &tree.root);
    cc.arg(language.standard()).args(STRICT).arg("-O2").arg("-g").arg(source);
    cc.arg("-o").arg(&program).args(flags).arg("-pthread");
    progress.run(&mut cc)?;
    Ok(program)
}

pub fn with_pkg_config(tree: &Tree, installed: &Installed, progress: &Progress) -> Result<Outcome> {
    if tools::PKG_CONFIG.find().is_none() {
        return skipped(format!("The pkg-config file: {}", tools::PKG_CONFIG.advice()));
    }
    let version = installed.pkg_config(&["--modversion"])?.concat();
    if version != tree.version {
        bail!("hypercache.pc says version {version}, the library is {}", tree.version);
    }
    let flags = installed.pkg_config(&["--cflags", "--libs"])?;
    let folder = tree.fresh("pkg-config")?;
    let all = examples(tree)?;
    for example in &all {
        let program = build(tree, progress, &folder, example, &flags)?;
        progress.run(&mut runner(&program, installed))?;
    }
    passed(format!("{} programs", all.len()))
}

pub fn linked_statically(
    tree: &Tree,
    installed: &Installed,
    progress: &Progress,
) -> Result<Outcome> {
    let mut flags = vec![format!("-I{}", installed.include().display()), "-DHC_STATIC".to_owned()];
    flags.push(installed.archive().display().to_string());
    if tools::PKG_CONFIG.find().is_some() {
        // What the archive needs beside itself is the tree's own business to know.
        let private = installed.pkg_config(&["--static", "--libs"])?;
        flags.extend(private.into_iter().filter(|flag| flag != "-lhypercache"));
    } else {
        flags.extend(["-lpthread", "-ldl", "-lm"].map(str::to_owned));
    }
    let folder = tree.fresh("static")?;
    let all = examples(tree)?;
    for example in &all {
        let program = build(tree, progress, &folder, example, &flags)?;
        let linked = progress.run(process::program("ldd", &folder).arg(&program))?;
        if linked.contains("libhypercache") {
            bail!("{} was to be linked statically but loads the shared library", show(&program));
        }
        progress.run(&mut process::program(&program, &folder))?;
    }
    passed(format!("{} programs", all.len()))
}

/// Builds the CMake project of a folder against a tree and returns its programs.
fn built_by_cmake(
    project: &Path,
    prefix: &Path,
    build: &Path,
    progress: &Progress,
) -> Result<Vec<PathBuf>> {
    let cmake = tools::CMAKE.need()?;
    let mut configure = process::program(&cmake, project);
    configure.arg("-S").arg(project).arg("-B").arg(build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
    configure.arg("-DCMAKE_BUILD_TYPE=Release");
    progress.run(&mut configure)?;
    progress.run(process::program(&cmake, project).arg("--build").arg(build))?;
    let programs = programs(build)?;
    if programs.is_empty() {
        bail!("CMake built no program in {}", show(build));
    }
    Ok(programs)
}

pub fn with_cmake(tree: &Tree, installed: &Installed, progress: &Progress) -> Result<Outcome> {
    if tools::CMAKE.find().is_none() {
        return skipped(format!("The CMake package: {}", tools::CMAKE.advice()));
    }
    let folder = tree.fresh("cmake")?;
    let mut ran = 0;
    for language in [Language::C, Language::Cpp] {
        let project = tree.root.join(language.folder());
        let build = folder.join(language.folder());
        for program in built_by_cmake(&project, &installed.prefix, &build, progress)? {
            // No LD_LIBRARY_PATH: CMake writes the library's place into what it builds.
            progress.run(&mut process::program(&program, &folder))?;
            ran += 1;
        }
    }
    passed(format!("{ran} programs"))
}

/// The programs that lie directly in a build folder.
fn programs(folder: &Path) -> Result<Vec<PathBuf>> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let executable = path.metadata()?.permissions().mode() & 0o111 != 0;
        if path.is_file() && executable && path.extension().is_none() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// An installed tree may be moved: nothing in it names the place it was made for.
pub fn moved(tree: &Tree, installed: &Installed, progress: &Progress) -> Result<Outcome> {
    let folder = tree.fresh("moved")?;
    let place = folder.join("elsewhere with a space");
    let mut copy = process::program("cp", &folder);
    progress.run(copy.arg("-a").arg(&installed.prefix).arg(&place))?;
    let here = installed.prefix.display().to_string();
    for file in ["lib/pkgconfig", "lib/cmake/hypercache"] {
        for file in files_with(&place.join(file), &["pc", "cmake"])? {
            let text = std::fs::read_to_string(&file)?;
            if text.contains(&here) {
                bail!("{} names {here}, the place it was installed to", show(&file));
            }
        }
    }
    if tools::CMAKE.find().is_none() {
        return skipped(format!("A moved tree in CMake: {}", tools::CMAKE.advice()));
    }
    let project = tree.root.join(Language::C.folder());
    let built = built_by_cmake(&project, &place, &folder.join("build"), progress)?;
    let program = built.first().context("CMake built no program")?;
    let linked = progress.run(process::program("ldd", &folder).arg(program))?;
    if !linked.contains("elsewhere with a space") {
        bail!("{} does not load the library from the moved tree:\n{linked}", show(program));
    }
    passed("CMake finds it where it was moved to")
}

pub fn with_sanitizers(tree: &Tree, installed: &Installed, progress: &Progress) -> Result<Outcome> {
    let folder = tree.fresh("sanitizers")?;
    let mut flags = installed.flags()?;
    flags.extend(
        ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
            .map(str::to_owned),
    );
    let probe = folder.join("probe.c");
    std::fs::write(&probe, "int main(void) { return 0; }\n")?;
    let mut cc = process::program(tools::CC.need()?, &folder);
    cc.arg("-fsanitize=address,undefined").arg(&probe).arg("-o").arg(folder.join("probe"));
    if progress.run(&mut cc).is_err() {
        return skipped(
            "AddressSanitizer: the compiler has no runtime for it. On Debian or Ubuntu it comes \
             with gcc (libasan) or clang (libclang-rt-dev).",
        );
    }
    let all = examples(tree)?;
    for example in &all {
        let program = build(tree, progress, &folder, example, &flags)?;
        let mut run = runner(&program, installed);
        // Leaks are valgrind's step: LeakSanitizer needs ptrace, which containers often refuse.
        run.env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=1");
        run.env("UBSAN_OPTIONS", "print_stacktrace=1");
        progress.run(&mut run)?;
    }
    passed(format!("{} programs, address and undefined behaviour", all.len()))
}

pub fn under_valgrind(tree: &Tree, installed: &Installed, progress: &Progress) -> Result<Outcome> {
    let Some(valgrind) = tools::VALGRIND.find() else {
        return skipped(format!("Leaks and wild reads: {}", tools::VALGRIND.advice()));
    };
    let folder = tree.fresh("valgrind")?;
    let flags = installed.flags()?;
    let all = examples(tree)?;
    for example in &all {
        let program = build(tree, progress, &folder, example, &flags)?;
        let mut run = process::program(&valgrind, &folder);
        run.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
        run.args(["--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"]);
        run.env("LD_LIBRARY_PATH", installed.lib()).arg(&program);
        progress.run(&mut run)?;
    }
    passed(format!("{} programs", all.len()))
}
