//! First in, first out: the baseline that every other policy has to beat.

use super::{Context, EntryMeta, Policy, Verdict, options};
use crate::error::Result;

/// One queue; the oldest entry goes.
#[derive(Clone, Debug)]
pub struct Fifo(());

impl Fifo {
    /// It has no options.
    pub fn new(text: Option<&str>) -> Result<Self> {
        options::parse("fifo", &[], text).map(|[]| Self(()))
    }
}

impl Policy for Fifo {
    #[inline]
    fn judge(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) -> Verdict {
        Verdict::Evict
    }
}
