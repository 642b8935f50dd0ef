//! Bytes an entry, over all lengths of values modulo the log's unit of 8.
//!
//! Two figures a length. *Log* is what a write puts in the log: header, key, value and padding,
//! to the byte. *Limit* is the byte limit by the entries that live under it once the cache is
//! full, which has the index and all other bookkeeping in it.

use hypercache_core::{PolicyKind, Result};

use crate::inputs::VALUE_LEN;
use crate::subject::Subject;

const LIMIT: u64 = 8 << 20;
/// Sets that are averaged over.
const SETS: u64 = 20_000;

pub fn print() -> Result<()> {
    for len in VALUE_LEN..VALUE_LEN + 8 {
        let subject = Subject::new(LIMIT, PolicyKind::Default)?;
        subject.fill(0..SETS, len)?;
        let log = subject.store.stats().written_bytes as f64 / SETS as f64;
        subject.fill(SETS..3 * LIMIT / len as u64, len)?;
        let limit = LIMIT as f64 / subject.store.stats().entries as f64;
        println!("{len}\t{log}\t{limit}");
    }
    Ok(())
}
