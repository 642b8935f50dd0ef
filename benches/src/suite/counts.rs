//! Suite `counts`: what every run of one build repeats, and what the regression gate compares.

use anyhow::Result;

use super::{Findings, Plan};
use crate::gate::{Checkout, record};

/// Counts instructions, bytes an entry and allocations. Takes half a minute in any extent.
pub fn run(_plan: &Plan, findings: &mut Findings) -> Result<()> {
    let checkout = Checkout::own()?;
    checkout.build()?.count(&record::folder(&checkout), findings)
}
