//! A run that is kept: as a baseline, or as a line of the history.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Checkout, Origin};
use crate::report::{Figure, run};

/// The form of the files; readers refuse another one.
const FORM: u32 = 1;
/// The baseline that is kept in the repository.
pub const REPOSITORY: &str = "repository";
/// Its file, as git names it.
pub const REPOSITORY_FILE: &str = "benches/baseline.json";

/// A run that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    form: u32,
    /// Which code, and with what.
    pub origin: Origin,
    /// What was measured.
    pub figures: Vec<Figure>,
}

impl Record {
    /// These figures of this tree.
    #[must_use]
    pub fn new(origin: Origin, figures: Vec<Figure>) -> Self {
        Self { form: FORM, origin, figures }
    }

    /// Reads what [`Record::save`] wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("there is no baseline {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no baseline", path.display()))
    }

    /// Reads one from JSON.
    pub fn parse(text: &str) -> Result<Self> {
        let record: Self = serde_json::from_str(text)?;
        if record.form != FORM {
            bail!("its form is {}; {FORM} is known", record.form);
        }
        Ok(record)
    }

    /// Writes it, a figure a line so that changes of one read well, in one step.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text = format!("{{\n\"form\": {},\n\"origin\": ", self.form);
        text.push_str(&serde_json::to_string_pretty(&self.origin)?);
        text.push_str(",\n\"figures\": [\n");
        let lines: Result<Vec<String>, _> =
            self.figures.iter().map(serde_json::to_string).collect();
        text.push_str(&lines?.join(",\n"));
        text.push_str("\n]\n}\n");
        replace(path, &text)
    }
}

/// Puts a file in its place in one step; folders on the way are made.
pub(super) fn replace(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    run::replace(path, text)
}

/// Where things are kept that no commit holds.
#[must_use]
pub fn folder(checkout: &Checkout) -> PathBuf {
    checkout.target.join("bench")
}

/// The file of a baseline: of the repository's own by that name, of others in the target folder.
pub fn file_of(name: &str, checkout: &Checkout) -> Result<PathBuf> {
    if name == REPOSITORY {
        return Ok(checkout.root.join(REPOSITORY_FILE));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        bail!(
            "NAME of a baseline is {name:?}; letters, digits, `-`, `_` and `.` (not as the first) \
             are allowed"
        );
    }
    Ok(folder(checkout).join("baselines").join(name).with_extension("json"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::gate::origin::Tools;
    use crate::report::Unit;

    pub fn origin() -> Origin {
        Origin {
            commit: Some("0123456789abcdef".to_owned()),
            changed: false,
            taken: 1,
            asked: "gate".to_owned(),
            machine: "2 x test".to_owned(),
            tools: Tools {
                rustc: "1.95.0 (abc)".to_owned(),
                target: "x86_64-unknown-linux-gnu".to_owned(),
                rustflags: String::new(),
                libc: "glibc 2.36".to_owned(),
                vectors: "avx2".to_owned(),
                valgrind: Some("valgrind-3.19.0".to_owned()),
            },
        }
    }

    pub fn instructions(case: &str, value: f64) -> Figure {
        Figure::new("counts", case, "hypercache", "instructions", Unit::Instructions, value).exact()
    }

    #[test]
    fn records_are_read_back() {
        let folder = std::env::temp_dir().join(format!("hc-record-{}", std::process::id()));
        let path = folder.join("deep").join("a.json");
        let record = Record::new(origin(), vec![instructions("get, hit", 311.25)]);
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path).unwrap(), record);
        let other = fs::read_to_string(&path).unwrap().replace("\"form\": 1", "\"form\": 9");
        assert!(Record::parse(&other).unwrap_err().to_string().contains("form is 9"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn names_stay_in_their_folder() {
        let checkout = Checkout { root: "/r".into(), target: "/t".into() };
        let of = |name| file_of(name, &checkout);
        assert_eq!(of("repository").unwrap(), Path::new("/r/benches/baseline.json"));
        assert_eq!(of("main").unwrap(), Path::new("/t/bench/baselines/main.json"));
        for name in ["", "../up", ".hidden", "a/b", "a b"] {
            assert!(of(name).is_err(), "{name:?}");
        }
    }
}
