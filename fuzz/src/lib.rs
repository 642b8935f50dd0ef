//! Fuzz targets: functions from bytes to nothing that panic when the product is wrong.
//!
//! A target reads its input as a program ([`input`]): an operation a byte, arguments behind it,
//! nothing at the end. It runs that program against the product and against a model that is simple
//! enough to be believed, and compares. Anything may be an input, so whatever a fuzzer finds is an
//! error of the product or of the model, and a file of some bytes tells which.
//!
//! Every target has two doors:
//! - a fuzzer's: `fuzz_targets/` are libFuzzer programs under `--cfg fuzzing` (`./explore`,
//!   `cargo fuzz`), and otherwise ordinary programs that run the files they are given or their
//!   standard input ([`door`]), which is what AFL wants;
//! - the tests': `tests/replay.rs` runs every file of `corpus/<target>/`, and a fixed number of
//!   inputs that are made from a seed ([`generate`]), on the stable toolchain.
//!
//! What an input did is noted by name ([`Log`]). A target lists the names that its corpus must
//! reach; so a corpus that a change of the decoder has turned into noise fails, instead of passing
//! for ever after.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a fuzz target fails by panicking")]

pub mod c_calls;
pub mod door;
pub mod filter_ops;
pub mod generate;
pub mod input;
mod log;
pub mod options;
pub mod store_ops;
/// The module itself: the package that it belongs to brings all that the benchmarks compare with.
#[allow(dead_code, unused_imports, reason = "the benchmarks use more of it")]
#[path = "../../benches/src/trace/mod.rs"]
mod trace;
pub mod trace_reader;

pub use log::Log;

use std::path::{Path, PathBuf};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the program, of the corpus's folder.
    pub name: &'static str,
    /// Runs one input; panics when the product is wrong.
    pub run: fn(&[u8], &mut Log),
    /// What the corpus must reach, by the names that the target notes.
    pub reaches: &'static [&'static str],
    /// Inputs that the tests make from a seed.
    pub generated: u32,
    /// Their longest.
    pub len_max: usize,
}

/// All of them.
pub const TARGETS: [Target; 5] =
    [c_calls::TARGET, filter_ops::TARGET, options::TARGET, store_ops::TARGET, trace_reader::TARGET];

impl Target {
    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Where its corpus lies.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }

    /// Its corpus, by file name.
    ///
    /// # Errors
    /// The folder is missing, empty, or cannot be read: a sentence.
    pub fn corpus(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let folder = self.folder();
        let failed = |error: std::io::Error| {
            format!("{}: {error}; the corpus of {} is expected", folder.display(), self.name)
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_file() && !name.starts_with('.') {
                files.push((name, std::fs::read(&path).map_err(failed)?));
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(format!(
                "{}: no file; the corpus of {} is expected",
                folder.display(),
                self.name
            ));
        }
        Ok(files)
    }
}
