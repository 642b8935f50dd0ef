//! Recency, with frequency as a second chance: from the cold end, the first entry that was not used
//! often goes.
//!
//! The order is that of [`super::Lru`]: a hit on what is further behind the head than `share` per
//! cent of the queue appends it again. The access counter counts the uses, up to three. An entry at
//! the cold end that was used more than `spare` times gets a second chance: it is appended again and
//! its count is halved, so that what is not used any more goes the next time, or the time after. After
//! `window` such entries in a row the next one goes whatever its count: it is the coldest then. (A
//! second chance in the order of use is CLOCK's idea; Corbató, MIT MAC-M-376, 1968.)
//!
//! What has expired goes first: the store takes it out, ahead of the cursor where it finds it and at
//! the cursor at the latest ([`crate::store`], expiry).
//!
//! Options: `share`, 0 to 99 per cent of the queue (25); `spare`, 0 to 2 uses (2), or 3 for none that
//! is spared; `window`, 1 to 32 entries (16).

use super::{Context, EntryMeta, Policy, Verdict, options};
use crate::error::Result;

const OPTIONS: [options::Number; 3] = [
    options::Number { name: "share", least: 0, most: 99, default: 25 },
    options::Number { name: "spare", least: 0, most: 3, default: 2 },
    options::Number { name: "window", least: 1, most: 32, default: 16 },
];

/// One queue in the order of use, and a second chance for what is used often.
#[derive(Clone, Debug)]
pub struct Hybrid {
    promote_after: u8,
    spare: u8,
    window: u8,
    /// Entries that were spared since one went.
    spared: u8,
}

impl Hybrid {
    /// Options: `share`, 0 to 99 per cent; `spare`, 0 to 3 uses; `window`, 1 to 32 entries.
    pub fn new(text: Option<&str>) -> Result<Self> {
        options::parse("hybrid", &OPTIONS, text).map(|[share, spare, window]| Self {
            promote_after: (share * 256 / 100) as u8,
            spare: spare as u8,
            window: window as u8,
            spared: 0,
        })
    }
}

impl Policy for Hybrid {
    #[inline]
    fn replace(&mut self, _cx: &mut Context<'_>, old: &EntryMeta) -> u8 {
        // A write is a use in the order; the counter tells of reads.
        old.hits
    }

    #[inline]
    fn judge(&mut self, _cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict {
        if entry.hits <= self.spare || self.spared >= self.window {
            return Verdict::Evict;
        }
        self.spared += 1;
        Verdict::Keep { hits: entry.hits / 2 }
    }

    #[inline]
    fn evicted(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) {
        self.spared = 0;
    }

    #[inline]
    fn promote_after(&self) -> Option<u8> {
        Some(self.promote_after)
    }

    fn counts_hits(&self) -> bool {
        true
    }

    fn clear(&mut self) {
        self.spared = 0;
    }
}
