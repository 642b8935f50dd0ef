//! The programs the tasks need from the system, and what to say when one is missing.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// A program that a task may need.
pub struct Tool {
    /// Names it goes by, the preferred first.
    pub names: &'static [&'static str],
    /// The environment variable that overrides the names.
    pub variable: Option<&'static str>,
    /// What a person calls it.
    pub what: &'static str,
    /// Debian's package.
    pub package: &'static str,
}

pub const CC: Tool = Tool {
    names: &["cc", "gcc", "clang"],
    variable: Some("CC"),
    what: "a C compiler",
    package: "gcc",
};
pub const CXX: Tool = Tool {
    names: &["c++", "g++", "clang++"],
    variable: Some("CXX"),
    what: "a C++ compiler",
    package: "g++",
};
pub const GCC: Tool = Tool { names: &["gcc"], variable: None, what: "gcc", package: "gcc" };
pub const GXX: Tool = Tool { names: &["g++"], variable: None, what: "g++", package: "g++" };
pub const CLANG: Tool = Tool { names: &["clang"], variable: None, what: "clang", package: "clang" };
pub const CLANGXX: Tool =
    Tool { names: &["clang++"], variable: None, what: "clang++", package: "clang" };
pub const CMAKE: Tool = Tool { names: &["cmake"], variable: None, what: "CMake", package: "cmake" };
pub const PKG_CONFIG: Tool = Tool {
    names: &["pkg-config", "pkgconf"],
    variable: Some("PKG_CONFIG"),
    what: "pkg-config",
    package: "pkg-config",
};
pub const VALGRIND: Tool =
    Tool { names: &["valgrind"], variable: None, what: "valgrind", package: "valgrind" };
pub const BROWSER: Tool = Tool {
    names: &["chromium", "chromium-browser", "google-chrome"],
    variable: Some("CHROMIUM"),
    what: "Chromium",
    package: "chromium",
};
pub const READELF: Tool =
    Tool { names: &["readelf"], variable: None, what: "readelf", package: "binutils" };
pub const PYTHON: Tool = Tool {
    names: &["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python"],
    variable: Some("PYTHON"),
    what: "Python 3.11 or later",
    package: "python3 python3-venv",
};
pub const NODE: Tool =
    Tool { names: &["node"], variable: Some("NODE"), what: "Node 20 or later", package: "nodejs" };
pub const NPM: Tool = Tool { names: &["npm"], variable: None, what: "npm", package: "npm" };
pub const NEXTEST: Tool = Tool {
    names: &["cargo-nextest"],
    variable: None,
    what: "cargo-nextest",
    package: "cargo install cargo-nextest",
};

impl Tool {
    /// Where the program is, if it is installed.
    pub fn find(&self) -> Option<PathBuf> {
        let named = self.variable.and_then(env::var_os).filter(|name| !name.is_empty());
        if let Some(named) = named {
            return on_path(&PathBuf::from(named));
        }
        self.names.iter().find_map(|name| on_path(&PathBuf::from(name)))
    }

    /// Where the program is, or what to install.
    pub fn need(&self) -> Result<PathBuf> {
        match self.find() {
            Some(path) => Ok(path),
            None => bail!("{}", self.advice()),
        }
    }

    /// What to install, in one sentence.
    pub fn advice(&self) -> String {
        if let Some(named) = self.variable.and_then(env::var_os).filter(|name| !name.is_empty()) {
            return format!(
                "{} is set to `{}`, which is no program on this machine.",
                self.variable.unwrap_or_default(),
                named.to_string_lossy()
            );
        }
        if self.package.starts_with("cargo ") {
            return format!("{} is not installed. Install it: {}", self.what, self.package);
        }
        format!(
            "{} is not installed. Install it, on Debian or Ubuntu: apt-get install {}",
            self.what, self.package
        )
    }
}

fn on_path(name: &PathBuf) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return name.is_file().then(|| name.clone());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}
