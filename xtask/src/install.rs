//! `cargo xtask install`: the library as an installed tree.
//!
//! Cargo builds the static library alone, because only then does it optimise across the two
//! crates (a crate that is a Rust library as well is left out of link-time optimisation). The
//! shared library is linked from it by the C compiler, with the version script: rustc passes the
//! linker an anonymous version script of its own, beside which a named one is refused.
//!
//! Files are written beside their place and renamed over it, so that a program that runs with the
//! older library keeps the file it has mapped.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::steps::{Manner, Steps, passed};
use crate::tools;
use crate::tree::{Tree, files_with, show};

/// What a Rust static library needs from the system, where rustc does not say.
const SYSTEM_LIBRARIES: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc";

/// An installed tree.
pub struct Installed {
    pub prefix: PathBuf,
    /// "libhypercache.so.0"
    pub soname: String,
}

impl Installed {
    pub fn include(&self) -> PathBuf {
        self.prefix.join("include")
    }

    pub fn lib(&self) -> PathBuf {
        self.prefix.join("lib")
    }

    pub fn pkgconfig(&self) -> PathBuf {
        self.lib().join("pkgconfig")
    }

    pub fn shared(&self) -> PathBuf {
        self.lib().join("libhypercache.so")
    }

    pub fn archive(&self) -> PathBuf {
        self.lib().join("libhypercache.a")
    }

    /// What pkg-config says about this tree.
    pub fn pkg_config(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let mut command = process::program(tools::PKG_CONFIG.need()?, &self.prefix);
        command.env("PKG_CONFIG_PATH", self.pkgconfig()).args(arguments).arg("hypercache");
        let text = process::stdout_of(&mut command)?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// The compiler's flags for the shared library: pkg-config's where there is one.
    pub fn flags(&self) -> Result<Vec<String>> {
        if tools::PKG_CONFIG.find().is_some() {
            return self.pkg_config(&["--cflags", "--libs"]);
        }
        Ok(vec![
            format!("-I{}", self.include().display()),
            format!("-L{}", self.lib().display()),
            "-lhypercache".to_owned(),
        ])
    }
}

pub fn run(tree: &Tree, prefix: &Path) -> Result<ExitCode> {
    let prefix = std::path::absolute(prefix)?;
    let mut steps = Steps::new(Manner::for_task(tree, "install"));
    let mut installed = None;
    steps.step("install", "read the message above; nothing was left half done", |progress| {
        installed = Some(install(tree, &prefix, &|command| progress.run(command))?);
        passed(show(&prefix))
    });
    let Some(installed) = installed else { return Ok(steps.finish()) };
    let code = steps.finish();
    println!(
        "\nTo build against it:\n  export PKG_CONFIG_PATH={}\n  cc program.c $(pkg-config \
         --cflags --libs hypercache) -Wl,-rpath,{}\nor, with CMake:\n  cmake \
         -DCMAKE_PREFIX_PATH={} ...",
        installed.pkgconfig().display(),
        installed.lib().display(),
        installed.prefix.display()
    );
    Ok(code)
}

/// Builds the library and lays it out below `prefix`. `run` runs a program and returns its output.
pub fn install(
    tree: &Tree,
    prefix: &Path,
    run: &dyn Fn(&mut Command) -> Result<String>,
) -> Result<Installed> {
    let (archive, libraries) = archive(tree, run)?;

    let lib = prefix.join("lib");
    for folder in ["lib/pkgconfig", "lib/cmake/hypercache", "include", "share/doc/hypercache"] {
        let folder = prefix.join(folder);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", show(&folder)))?;
    }
    let soname = format!("libhypercache.so.{}", abi_of(&tree.version)?);
    let file = format!("libhypercache.so.{}", tree.version);
    let fresh = lib.join(format!(".{file}.new"));
    link(tree, &archive, &libraries, &soname, &fresh, run)?;
    rename(&fresh, &lib.join(&file))?;
    symlink(&file, &lib.join(&soname))?;
    symlink(&soname, &lib.join("libhypercache.so"))?;
    place(&std::fs::read(&archive)?, &lib.join("libhypercache.a"))?;

    for header in files_with(&tree.root.join("include"), &["h", "hpp"])? {
        place(&std::fs::read(&header)?, &in_folder(prefix, "include", &header))?;
    }
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let licence = tree.root.join(licence);
        place(&std::fs::read(&licence)?, &in_folder(prefix, "share/doc/hypercache", &licence))?;
    }
    let values = [
        ("VERSION", tree.version.as_str()),
        ("SONAME", soname.as_str()),
        ("LIBRARY_FILE", file.as_str()),
        ("LIBS_PRIVATE", libraries.as_str()),
    ];
    let templates = files_with(&packaging(tree), &["in"])?;
    if templates.is_empty() {
        bail!("{} holds no templates", show(&packaging(tree)));
    }
    for template in templates {
        let text = std::fs::read_to_string(&template)
            .with_context(|| format!("cannot read {}", show(&template)))?;
        let text = filled(&text, &values).with_context(|| show(&template))?;
        let name = template.with_extension("");
        let folder = match name.extension().and_then(|extension| extension.to_str()) {
            Some("pc") => "lib/pkgconfig",
            Some("cmake") => "lib/cmake/hypercache",
            _ => bail!("{}: neither .pc.in nor .cmake.in", show(&template)),
        };
        place(text.as_bytes(), &in_folder(prefix, folder, &name))?;
    }
    Ok(Installed { prefix: prefix.to_path_buf(), soname })
}

/// Builds the static library and returns it with the system libraries it needs.
fn archive(tree: &Tree, run: &dyn Fn(&mut Command) -> Result<String>) -> Result<(PathBuf, String)> {
    let mut cargo = process::cargo(&tree.root);
    cargo.args(["rustc", "--release", "--package", "hypercache-ffi", "--lib"]);
    cargo.args(["--crate-type", "staticlib", "--", "--print", "native-static-libs"]);
    let said = run(&mut cargo)?;
    let libraries = said
        .lines()
        .find_map(|line| line.split_once("native-static-libs: "))
        .map_or(SYSTEM_LIBRARIES, |(_, libraries)| libraries.trim());
    Ok((tree.target.join("release").join("libhypercache.a"), libraries.to_owned()))
}

/// Links the shared library from the static one.
fn link(
    tree: &Tree,
    archive: &Path,
    libraries: &str,
    soname: &str,
    to: &Path,
    run: &dyn Fn(&mut Command) -> Result<String>,
) -> Result<()> {
    let mut link = process::program(tools::CC.need()?, &tree.root);
    link.arg("-shared").arg("-o").arg(to).arg(format!("-Wl,-soname,{soname}"));
    link.arg(format!("-Wl,--version-script={}", version_script(tree)?.display()));
    link.arg("-Wl,--whole-archive").arg(archive).arg("-Wl,--no-whole-archive");
    // The archive holds all of Rust's standard library; what no hc_ function reaches goes.
    link.args(["-Wl,--gc-sections", "-Wl,-z,nodelete", "-Wl,-z,relro,-z,now", "-Wl,-z,defs"]);
    link.args(["-Wl,--strip-debug", "-Wl,--as-needed"]).args(libraries.split_whitespace());
    run(&mut link)?;
    Ok(())
}

fn packaging(tree: &Tree) -> PathBuf {
    tree.root.join("ffi").join("packaging")
}

/// Before 1.0 the second number would break the ABI too; the symbols' versions say which calls
/// there are, so the file name carries the first number only.
fn abi_of(version: &str) -> Result<&str> {
    version.split('.').next().context("a version has parts")
}

fn version_script(tree: &Tree) -> Result<PathBuf> {
    let scripts = files_with(&packaging(tree), &["map", "ver"])?;
    match scripts.as_slice() {
        [script] => Ok(script.clone()),
        _ => bail!("{} must hold exactly one version script", show(&packaging(tree))),
    }
}

/// The template with each `@NAME@` replaced. CMake's own `@PACKAGE_INIT@` is not ours to fill, so
/// a name without a value is an error.
fn filled(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    for word in text.split('@').skip(1).step_by(2) {
        let named = word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        if named && !word.is_empty() {
            bail!("nothing is known to fill @{word}@ with");
        }
    }
    Ok(text)
}

fn in_folder(prefix: &Path, folder: &str, file: &Path) -> PathBuf {
    prefix.join(folder).join(file.file_name().unwrap_or_default())
}

fn place(bytes: &[u8], to: &Path) -> Result<()> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let fresh = to.with_file_name(format!(".{name}.new"));
    std::fs::write(&fresh, bytes).with_context(|| format!("cannot write {}", show(&fresh)))?;
    rename(&fresh, to)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).with_context(|| format!("cannot write {}", show(to)))
}

fn symlink(target: &str, link: &Path) -> Result<()> {
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let fresh = link.with_file_name(format!(".{name}.new"));
    if fresh.symlink_metadata().is_ok() {
        std::fs::remove_file(&fresh)?;
    }
    std::os::unix::fs::symlink(target, &fresh)
        .with_context(|| format!("cannot create {}", show(&fresh)))?;
    rename(&fresh, link)
}

#[cfg(test)]
mod tests {
    use super::{abi_of, filled};

    #[test]
    fn templates_are_filled_whole() {
        let values = [("VERSION", "1.2.3"), ("SONAME", "lib.so.1")];
        assert_eq!(filled("a @VERSION@ b @SONAME@", &values).unwrap(), "a 1.2.3 b lib.so.1");
        let error = filled("a @VERSION@ b @PLACE@", &values).unwrap_err().to_string();
        assert!(error.contains("@PLACE@"), "{error}");
        assert_eq!(filled("write to a@b.c or d@e.f", &values).unwrap(), "write to a@b.c or d@e.f");
    }

    #[test]
    fn the_first_number_is_the_abi() {
        assert_eq!(abi_of("0.1.0").unwrap(), "0");
    }
}
