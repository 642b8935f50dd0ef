//! The Python package: its wheel, and the virtual environments it is built and tested in.
//!
//! maturin and the test tools are installed into environments below the target folder, so that
//! nothing is asked of the system but a Python of the right version.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::dist;
use crate::install::Installed;
use crate::process;
use crate::tools;
use crate::tree::{Tree, files_with, show, stem};

/// The least version that the wheel runs on.
const LEAST: (u32, u32) = (3, 11);

/// What builds the wheel.
const BUILD_TOOLS: [&str; 1] = ["maturin>=1.9,<2"];

/// What it is compared with.
const PEERS: [&str; 4] = ["cachebox>=6,<7", "lru-dict>=1.4,<2", "cachetools>=7", "theine>=2,<3"];

/// The package's folder.
pub fn folder(tree: &Tree) -> PathBuf {
    tree.root.join("bindings-python")
}

/// A Python that can run the wheel, or None with the reason.
pub fn interpreter() -> std::result::Result<PathBuf, String> {
    let python = tools::PYTHON.need().map_err(|error| error.to_string())?;
    let mut ask = Command::new(&python);
    ask.args(["-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"]);
    let said = process::stdout_of(&mut ask).map_err(|error| error.to_string())?;
    let mut numbers = said.split_whitespace().filter_map(|word| word.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < LEAST {
        return Err(format!(
            "{} is Python {}.{}; the package takes {}.{} or later (set PYTHON to one)",
            python.display(),
            version.0,
            version.1,
            LEAST.0,
            LEAST.1
        ));
    }
    Ok(python)
}

/// A virtual environment.
pub struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// Makes an environment, or takes the one that is there.
    pub fn at(folder: PathBuf, run: &dyn Fn(&mut Command) -> Result<String>) -> Result<Self> {
        if !folder.join("bin/python").exists() {
            let python = interpreter().map_err(anyhow::Error::msg)?;
            let mut make = process::program(python, Path::new("."));
            run(make.args(["-m", "venv"]).arg(&folder))?;
        }
        Ok(Self { folder })
    }

    /// The environment's Python, run in `place`.
    pub fn python(&self, place: &Path) -> Command {
        let mut python = process::program(self.folder.join("bin/python"), place);
        // Neither the user's own packages nor settings of the one who runs the tests.
        python.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env("PYTHONNOUSERSITE", "1");
        python
    }

    /// Installs packages from the registry, or files.
    pub fn install(
        &self,
        what: &[&str],
        run: &dyn Fn(&mut Command) -> Result<String>,
    ) -> Result<()> {
        let mut pip = self.python(&self.folder);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(what);
        run(&mut pip)?;
        Ok(())
    }

    /// A program of the environment, run in `place`.
    pub fn program(&self, name: &str, place: &Path) -> Command {
        process::program(self.folder.join("bin").join(name), place)
    }
}

/// Builds the wheel with the library and headers of an installed tree in it.
pub fn wheel(
    tree: &Tree,
    installed: &Installed,
    to: &Path,
    run: &dyn Fn(&mut Command) -> Result<String>,
) -> Result<PathBuf> {
    let environment = Environment::at(tree.target.join("python-build"), run)?;
    environment.install(&BUILD_TOOLS, run)?;
    carry(tree, installed)?;
    let old = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hypercache-"))
    };
    for wheel in files_with(to, &["whl"])?.iter().filter(|path| old(path)) {
        std::fs::remove_file(wheel)?;
    }
    let mut maturin = environment.program("maturin", &folder(tree));
    maturin.args(["build", "--release", "--locked", "--quiet", "--out"]).arg(to);
    maturin.env("CARGO_TARGET_DIR", &tree.target);
    run(maturin.arg("--interpreter").arg(environment.folder.join("bin/python")))?;
    let wheels: Vec<PathBuf> = files_with(to, &["whl"])?.into_iter().filter(old).collect();
    match wheels.as_slice() {
        [wheel] => Ok(wheel.clone()),
        _ => bail!("maturin left {} wheels in {}", wheels.len(), show(to)),
    }
}

/// Runs one of the programs in the package's `bench` folder, `compare` unless named, with the other
/// caches installed beside the wheel.
pub fn bench(tree: &Tree, args: &[String]) -> Result<ExitCode> {
    let run = &|command: &mut Command| process::stdout_of(command);
    let sources = folder(tree).join("bench");
    let known: Vec<String> = files_with(&sources, &["py"])?.iter().map(|file| stem(file)).collect();
    let (name, rest) = match args.split_first() {
        Some((name, rest)) if known.contains(name) => (name.as_str(), rest),
        _ => ("compare", args),
    };
    let wheel = dist::wheel(tree, run)?;
    let place = tree.fresh("python-bench")?;
    let environment = Environment::at(place.join("environment"), run)?;
    environment.install(&[&wheel.display().to_string()], run)?;
    environment.install(&PEERS, run)?;
    let mut program = environment.python(&place);
    let status =
        process::in_the_open(program.arg(sources.join(name).with_extension("py")).args(rest))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts library and headers where the package has them.
fn carry(tree: &Tree, installed: &Installed) -> Result<()> {
    let package = folder(tree).join("python/hypercache");
    let (lib, include) = (package.join("lib"), package.join("include"));
    for folder in [&lib, &include] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", show(folder)))?;
    }
    dist::copy(&installed.shared(), &lib.join(&installed.soname))?;
    // Wheels hold no links. For `-lhypercache` a linker script does the same.
    let script = format!("INPUT(-l:{})\n", installed.soname);
    std::fs::write(lib.join("libhypercache.so"), script)?;
    for header in files_with(&installed.include(), &["h", "hpp"])? {
        dist::copy(&header, &include.join(header.file_name().unwrap_or_default()))?;
    }
    Ok(())
}
