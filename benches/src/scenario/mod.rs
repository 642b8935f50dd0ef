//! Scenarios: caches under a load that does not wait for them.
//!
//! A scenario is data, a TOML file: when requests arrive ([`load`]), for which keys, with what
//! lengths and in what mix ([`file`]). It is drawn from a seed before it is served ([`plan`]), sent
//! at its moments ([`serve`]), to all caches in turns ([`run`]), and becomes figures ([`show`]).

mod entrant;
pub mod file;
pub mod load;
pub mod plan;
pub mod run;
pub mod serve;
pub mod show;

use std::path::Path;

use anyhow::{Context, Result};

pub use entrant::Entrant;
pub use file::Scenario;

/// The standard scenarios: their names and their text.
pub const STANDARD: [(&str, &str); 5] = [
    ("web-cache", include_str!("../../scenarios/web-cache.toml")),
    ("session-store", include_str!("../../scenarios/session-store.toml")),
    ("flash-crowd", include_str!("../../scenarios/flash-crowd.toml")),
    ("morning-rush", include_str!("../../scenarios/morning-rush.toml")),
    ("batch-scan", include_str!("../../scenarios/batch-scan.toml")),
];

/// All standard scenarios.
///
/// # Errors
/// As [`Scenario::parse`].
pub fn standard() -> Result<Vec<Scenario>> {
    STANDARD.iter().map(|(name, _)| named(name)).collect()
}

/// The standard scenario of this name, or the one in the file of this path.
///
/// # Errors
/// There is neither, or as [`Scenario::read`].
pub fn named(name: &str) -> Result<Scenario> {
    if let Some((name, text)) = STANDARD.iter().find(|(standard, _)| *standard == name) {
        return Scenario::parse(name, text)
            .with_context(|| format!("benches/scenarios/{name}.toml"));
    }
    Scenario::read(Path::new(name)).with_context(|| {
        let names = STANDARD.map(|(name, _)| name).join(", ");
        format!("{name} is none of the standard scenarios ({names})")
    })
}
