//! equal
use crate::trace::TraceFile;
use anyhow::Result;
use std::path::PathBuf;

/// x
pub struct Plan {
    /// x
    pub files: Vec<TraceFile>,
    /// x
    pub policies: Option<String>,
    /// x
    pub with_peers: bool,
    /// x
    pub csv: Option<PathBuf>,
}

/// x
pub fn run(_: &Plan) -> Result<()> {
    Ok(())
}
