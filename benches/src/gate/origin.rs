//! Where figures come from: the commit, and all else that instructions depend on.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::counted::valgrind_version;
use crate::measure::{Place, commit_of, said_by, unknown};

/// Which code was counted, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The commit, if the tree is one of git.
    pub commit: Option<String>,
    /// Whether files differ from that commit.
    pub changed: bool,
    /// When, in seconds since 1970.
    pub taken: u64,
    /// How it was asked for: the program's arguments, as typed.
    pub asked: String,
    /// The machine, for people: instructions do not depend on it.
    pub machine: String,
    /// What instructions depend on beside the code.
    pub tools: Tools,
}

/// What instructions depend on beside the code: two counts can be compared if these are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    /// Release and commit of the compiler.
    pub rustc: String,
    /// What it compiles for.
    pub target: String,
    /// Flags that the user gives it.
    pub rustflags: String,
    /// The C library, which copies and compares bytes.
    pub libc: String,
    /// Vector instructions, by which the C library picks its ways of doing so.
    pub vectors: String,
    /// What counts; `None`: nothing did.
    pub valgrind: Option<String>,
}

impl Origin {
    /// The tree at `root`, here and now.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let (commit, changed) = commit_of(root).unzip();
        let now = std::time::UNIX_EPOCH.elapsed();
        Self {
            commit,
            changed: changed.unwrap_or(false),
            taken: now.map_or(0, |since| since.as_secs()),
            asked: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            machine: machine(),
            tools: Tools::here(),
        }
    }

    /// Whether it was of a quick run, whose caches are smaller.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.asked.split(' ').any(|word| word == "--quick")
    }

    /// The commit as people write it: "3fa16cf, changed".
    #[must_use]
    pub fn shown(&self) -> String {
        let commit = self.commit.as_deref().unwrap_or("no commit");
        let short = commit.get(..9).unwrap_or(commit);
        if self.changed { format!("{short}, changed") } else { short.to_owned() }
    }
}

impl Tools {
    fn here() -> Self {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let verbose = said_by(Command::new(rustc).arg("-vV")).unwrap_or_default();
        let field = |name: &str| {
            let line = verbose.lines().find_map(|line| line.strip_prefix(name));
            line.map_or_else(unknown, |value| value.trim().to_owned())
        };
        let flags = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"].iter().find_map(std::env::var_os);
        Self {
            rustc: format!("{} ({})", field("release:"), field("commit-hash:")),
            target: field("host:"),
            rustflags: flags.map_or_else(String::new, |flags| {
                flags.to_string_lossy().replace('\u{1f}', " ").trim().to_owned()
            }),
            libc: libc_version(),
            vectors: vectors(),
            valgrind: valgrind_version(),
        }
    }

    /// What differs from `other`, in words; `None`: nothing does, and instructions can be compared.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let none = || "none".to_owned();
        let valgrind = |tools: &Self| tools.valgrind.clone().unwrap_or_else(none);
        let pairs = [
            ("rustc", self.rustc.clone(), other.rustc.clone()),
            ("target", self.target.clone(), other.target.clone()),
            ("RUSTFLAGS", self.rustflags.clone(), other.rustflags.clone()),
            ("C library", self.libc.clone(), other.libc.clone()),
            ("vector instructions", self.vectors.clone(), other.vectors.clone()),
            ("valgrind", valgrind(self), valgrind(other)),
        ];
        let differ: Vec<String> = pairs
            .into_iter()
            .filter(|(_, here, there)| here != there)
            .map(|(what, here, there)| format!("{what} is {here:?} here and {there:?} there"))
            .collect();
        (!differ.is_empty()).then(|| differ.join(", "))
    }
}

#[cfg(target_env = "gnu")]
fn libc_version() -> String {
    // SAFETY: returns a static text that ends with NUL.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", version.to_string_lossy())
}

#[cfg(not(target_env = "gnu"))]
fn libc_version() -> String {
    unknown()
}

/// The most that valgrind shows the program of what the processor has: it knows no AVX-512.
fn vectors() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let best = if is_x86_feature_detected!("avx2") {
            "avx2"
        } else if is_x86_feature_detected!("avx") {
            "avx"
        } else if is_x86_feature_detected!("sse4.2") {
            "sse4.2"
        } else {
            "sse2"
        };
        best.to_owned()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH.to_owned()
    }
}

fn machine() -> String {
    let Place { processor, processors, caches, kernel, .. } = Place::here();
    format!("{processors} x {processor}, {caches}, {kernel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_has_an_origin() {
        let origin = Origin::of(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
        assert!(origin.tools.rustc.starts_with("1."), "{origin:?}");
        assert!(origin.tools.target.contains('-'), "{origin:?}");
        assert_eq!(origin.tools.difference(&origin.tools), None);
    }

    #[test]
    fn a_folder_in_a_checkout_has_no_commit() {
        assert_eq!(Origin::of(Path::new(env!("CARGO_MANIFEST_DIR"))).commit, None);
    }

    #[test]
    fn differences_are_named() {
        let here = Tools::here();
        let there = Tools { rustc: "1.0.0 (old)".to_owned(), valgrind: None, ..here.clone() };
        let difference = here.difference(&there).unwrap();
        assert!(difference.contains("rustc is") && difference.contains("1.0.0"), "{difference}");
        assert!(!difference.contains("glibc"), "{difference}");
    }
}
