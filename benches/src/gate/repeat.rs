//! The gate's own foundation: that a build counted again is counted the same.
//!
//! Everything that gates is said to repeat exactly. Here the same build is counted over and over, a
//! process each, and every count has to be that of the first, to the last digit. Instructions are
//! those of two cases only, since callgrind takes a second for each: a read, and a write that evicts,
//! which between them meet hash, index, log, reclaim and policy.

use std::path::Path;

use anyhow::{Result, bail};

use super::counted::Program;
use super::{Comparison, Origin, Record};
use crate::report::{Figure, Unit};
use crate::suite::Findings;

/// The cases whose instructions are counted again.
const CASES: [&str; 2] = ["get, hit", "set into full"];

/// Counts the program, and `times` more, and compares each time with the first. A case that is counted
/// alone is in a process that has done nothing else, so that its count may be another one than in a
/// run of all. Returns how many figures were counted each time.
///
/// # Errors
/// A figure is not what it was, or the gate would say a word about it.
pub fn repeat(program: &Program, origin: &Origin, times: u32, scratch: &Path) -> Result<usize> {
    let count = || -> Result<Vec<Figure>> {
        let mut findings = Findings::default();
        program.count_of(&CASES, scratch, &mut findings)?;
        Ok(findings.figures().to_vec())
    };
    let first = Record::new(origin.clone(), count()?);
    let each = first.figures.len();
    for nth in 1..=times {
        let now = count()?;
        let compared = Comparison::of(&now, &first, None);
        if let Some(verdict) = compared.verdicts.iter().find(|one| !is_same(&one.now, one.before)) {
            bail!("run {nth} of {times} of one build: {}", verdict.sentence());
        }
        let is_whole = compared.verdicts.len() == each && now.len() == each;
        if !is_whole || compared.is_closed() {
            bail!("run {nth} of {times} of one build counted other figures than the first");
        }
    }
    Ok(each)
}

/// Not within a tolerance: a count that moves a little moves.
fn is_same(now: &Figure, before: f64) -> bool {
    let is_counted = matches!(now.unit, Unit::Instructions | Unit::Bytes | Unit::Count);
    is_counted && now.value.to_bits() == before.to_bits()
}
