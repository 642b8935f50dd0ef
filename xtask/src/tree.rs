//! Where things are: the checkout, the target folder, the version.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout as the tasks see it.
pub struct Tree {
    pub root: PathBuf,
    /// Cargo's target folder, wherever the user's configuration puts it.
    pub target: PathBuf,
    /// The version of the library.
    pub version: String,
}

impl Tree {
    /// This program lies in the target folder, wherever the user's configuration puts that, and
    /// in the checkout's own version: the packages of the workspace share one.
    pub fn find() -> Result<Self> {
        let here = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = here.parent().context("xtask has no parent folder")?.to_path_buf();
        let program = env::current_exe().context("cannot tell where this program is")?;
        let target = program
            .parent()
            .and_then(Path::parent)
            .context("this program is not in a target folder: run it as `cargo xtask`")?
            .to_path_buf();
        Ok(Self { root, target, version: env!("CARGO_PKG_VERSION").to_owned() })
    }

    /// A folder for what the tasks build with other tools than cargo.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.target.join("xtask").join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", show(&path)))?;
        Ok(path)
    }

    /// `scratch`, emptied first.
    pub fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.target.join("xtask").join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)
                .with_context(|| format!("cannot empty {}", show(&path)))?;
        }
        self.scratch(name)
    }
}

/// The path as a person would type it: relative to the present folder where it lies below.
pub fn show(path: &Path) -> String {
    env::current_dir()
        .ok()
        .and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf))
        .unwrap_or_else(|| path.to_path_buf())
        .display()
        .to_string()
}

/// The files below `folder` (not deeper) with one of these extensions, in order of name.
pub fn files_with(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", show(folder)))?
    {
        let path = entry?.path();
        let matches = path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| extensions.contains(&extension));
        if matches && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The file's name without its folder and extension.
pub fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
