//! Folders of traces.

use super::{Format, Result, TraceError};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A trace in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceFile {
    /// The file's name without what tells the format.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// Its bytes on disk.
    pub bytes: u64,
}

/// The tables that describe a folder of traces and are none.
const TABLES: [&str; 2] = ["manifest.csv", "reference.csv"];

/// The folder that `HYPERCACHE_TRACES` names, else `../shared/traces` beside the workspace.
#[must_use]
pub fn default_folder() -> PathBuf {
    std::env::var_os("HYPERCACHE_TRACES").filter(|path: &OsString| !path.is_empty()).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces"),
        PathBuf::from,
    )
}

/// The traces of a folder, by name.
pub fn list(folder: impl AsRef<Path>) -> Result<Vec<TraceFile>> {
    let folder = folder.as_ref();
    let failed = |error: std::io::Error| {
        TraceError::file(folder, &format!("{error}; a folder of traces is expected"))
    };
    let mut traces = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some((format, _)) = Format::of(&path) else { continue };
        let Ok(meta) = fs::metadata(&path) else { continue };
        if !meta.is_file() || TABLES.contains(&file_name) {
            continue;
        }
        let lower = file_name.to_ascii_lowercase();
        let tells = [".oraclegeneral", ".csv"].iter().filter_map(|tell| lower.rfind(tell)).max();
        let name = file_name[..tells.unwrap_or(file_name.len())].to_owned();
        traces.push(TraceFile { name, format, bytes: meta.len(), path });
    }
    traces.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.path.cmp(&b.path)));
    Ok(traces)
}
