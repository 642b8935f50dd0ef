//! `cargo xtask demo`: the shortest way from a checkout to seeing the library work.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::DemoArgs;
use crate::bench;
use crate::install::{self, Installed};
use crate::node;
use crate::process;
use crate::python;
use crate::showcase;
use crate::steps::{Manner, Steps, passed, skipped};
use crate::tools;
use crate::tree::{Tree, files_with, show, stem};

pub fn run(tree: &Tree, args: &DemoArgs) -> Result<ExitCode> {
    if let Some(trace) = &args.trace
        && !trace.is_file()
    {
        bail!("--trace {}: there is no such file", trace.display());
    }
    if args.threads == Some(0) {
        bail!("--threads 0: at least one thread must replay");
    }
    println!("HyperCache {}: an in-process cache that holds its byte limit.\n", tree.version);

    println!("1. Build the library and install it into a scratch folder.");
    let prefix = tree.target.join("demo-prefix");
    let mut steps = Steps::new(Manner::for_task(tree, "demo"));
    let mut installed = None;
    let mut outputs = Vec::new();
    steps.step("build and install", "read the message above", |progress| {
        installed = Some(install::install(tree, &prefix, &|command| progress.run(command))?);
        passed(show(&prefix))
    });
    if let Some(installed) = &installed {
        if tools::PKG_CONFIG.find().is_none() {
            eprintln!(
                "  {} Until then the demo passes the compiler -I, -L and -l itself.",
                tools::PKG_CONFIG.advice()
            );
        }
        println!(
            "\n2. Build the examples against it, as your program would be, and the packages, and run them."
        );
        for language in [Language::C, Language::Cpp] {
            steps.step(language.step(), "read the message above", |progress| {
                let sources = language.sources(tree)?;
                if sources.is_empty() {
                    return skipped(format!("{} holds no examples", language.folder()));
                }
                for source in &sources {
                    let run = &|command: &mut Command| progress.run(command);
                    let program = language.build(tree, installed, source, run)?;
                    let said = progress.run(&mut runner(&program, installed))?;
                    outputs.push((source.clone(), said));
                }
                passed(format!("{} programs", sources.len()))
            });
        }
        let mut keep = |shown: Vec<showcase::Shown>| {
            let count = shown.len();
            outputs.extend(shown);
            passed(if count == 1 { "1 program".to_owned() } else { format!("{count} programs") })
        };
        steps.step("example in Rust", "read the message above", |progress| {
            keep(showcase::rust(tree, &|command| progress.run(command))?)
        });
        steps.step("examples in Python", "read the message above", |progress| {
            match python::interpreter() {
                Ok(_) => keep(showcase::python(tree, installed, &|it| progress.run(it))?),
                Err(reason) => skipped(reason),
            }
        });
        steps.step("example in Node", "read the message above", |progress| match node::usable() {
            Ok(()) => keep(showcase::node(tree, installed, &|it| progress.run(it))?),
            Err(reason) => skipped(reason),
        });
    }
    if steps.failed() {
        return Ok(steps.finish());
    }
    for (source, said) in &outputs {
        println!("\n  {}: {}", show(source), first_words(source)?);
        for line in said.lines() {
            println!("  | {line}");
        }
    }

    let what = match &args.trace {
        Some(trace) => trace.display().to_string(),
        None => "a synthetic workload".to_owned(),
    };
    println!("\n3. Replay {what} through the C interface.");
    steps.step("build the replay program", "read the message above", |progress| {
        progress.run(&mut bench::building(tree, bench::Peers::Without))?;
        passed("")
    });
    if steps.failed() {
        return Ok(steps.finish());
    }
    let mut replay = bench::program(tree);
    replay.arg("replay").args(options(args));
    let status = process::in_the_open(&mut replay)
        .context("the replay program was built but does not start")?;
    if !status.success() {
        bail!("the replay {}; its message is above", process::ended(status));
    }
    println!("{AFTERWARDS}\n  {}\n", process::line_of(&short(&replay)));
    Ok(ExitCode::SUCCESS)
}

const AFTERWARDS: &str = "\
What you are looking at: each request was a get; a miss was followed by a set. The hit ratio is
what the policy earns with the memory it has. The pool limit is all the memory that the cache may
take, its index and its bookkeeping included; used bytes never pass it, and the growth of the
process's resident memory (RSS) says so from outside.

Try next:
  cargo xtask demo --limit 16MiB --policy lru     less memory, another policy
  cargo xtask demo --trace FILE                   your own trace
  cargo xtask test                                everything that is promised, checked
  cargo xtask install --prefix ~/.local           use it in your own program

The replay alone, to repeat it:";

/// What an example says of itself: the first sentence of the comment it begins with.
fn first_words(source: &Path) -> Result<String> {
    let text =
        std::fs::read_to_string(source).with_context(|| format!("cannot read {}", show(source)))?;
    let lines = text.lines().map(|line| line.trim_matches(['/', '*', '!', '"', ' ']));
    let comment = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    Ok(comment.split_inclusive('.').next().unwrap_or_default().to_owned())
}

fn options(args: &DemoArgs) -> Vec<String> {
    let mut options = Vec::new();
    let mut push = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            options.extend([name.to_owned(), value]);
        }
    };
    push("--trace", args.trace.as_ref().map(|trace| trace.display().to_string()));
    push("--limit", args.limit.clone());
    push("--policy", args.policy.clone());
    push("--threads", args.threads.map(|threads| threads.to_string()));
    options.extend(args.more.iter().cloned());
    options
}

/// The command as `cargo xtask bench` would be asked for it.
fn short(replay: &Command) -> Command {
    let mut command = Command::new("cargo");
    command.args(["xtask", "bench"]).args(replay.get_args());
    command
}

/// The languages whose examples are built against the installed tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Language {
    C,
    Cpp,
}

impl Language {
    fn step(self) -> &'static str {
        match self {
            Self::C => "examples in C",
            Self::Cpp => "examples in C++",
        }
    }

    pub fn folder(self) -> &'static str {
        match self {
            Self::C => "examples/c",
            Self::Cpp => "examples/cpp",
        }
    }

    /// The standard that the examples keep to.
    pub fn standard(self) -> &'static str {
        match self {
            Self::C => "-std=c99",
            Self::Cpp => "-std=c++17",
        }
    }

    pub fn compiler(self) -> Result<PathBuf> {
        match self {
            Self::C => tools::CC.need(),
            Self::Cpp => tools::CXX.need(),
        }
    }

    pub fn sources(self, tree: &Tree) -> Result<Vec<PathBuf>> {
        files_with(&tree.root.join(self.folder()), &["c", "cpp", "cc"])
    }

    /// Builds one source file against the installed shared library.
    pub fn build(
        self,
        tree: &Tree,
        installed: &Installed,
        source: &Path,
        run: &dyn Fn(&mut Command) -> Result<String>,
    ) -> Result<PathBuf> {
        let program = tree.scratch(self.folder())?.join(stem(source));
        let mut cc = process::program(self.compiler()?, &tree.root);
        cc.args([self.standard(), "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
        cc.arg(source).arg("-o").arg(&program).args(installed.flags()?).arg("-pthread");
        run(&mut cc)?;
        Ok(program)
    }
}

/// The program with the installed library in its path.
pub fn runner(program: &Path, installed: &Installed) -> Command {
    let folder = program.parent().unwrap_or(Path::new("."));
    let mut command = process::program(program, folder);
    command.env("LD_LIBRARY_PATH", installed.lib());
    command
}
