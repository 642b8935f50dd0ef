//! page
use std::collections::BTreeMap;

use super::summary::Cells;

/// x
#[must_use]
pub fn page(_: &Cells, _: &BTreeMap<String, String>) -> String {
    String::new()
}
