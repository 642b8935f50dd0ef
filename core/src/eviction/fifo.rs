//! First in, first out: the baseline that every other policy has to beat.

use super::{Context, EntryMeta, Placement, Policy, Verdict, options};
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
    fn queues(&self) -> u8 {
        1
    }

    #[inline]
    fn place(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) -> Placement {
        Placement::Queue { queue: 0, hits: 0 }
    }

    #[inline]
    fn replace(&mut self, _cx: &mut Context<'_>, _old: &EntryMeta) -> u8 {
        0
    }

    #[inline]
    fn victim_queue(&mut self, _cx: &mut Context<'_>) -> u8 {
        0
    }

    #[inline]
    fn judge(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) -> Verdict {
        Verdict::Evict
    }

    #[inline]
    fn evicted(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) {}

    fn clear(&mut self) {}
}
