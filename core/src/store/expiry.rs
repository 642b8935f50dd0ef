//! Expiry that writes pay for: a sweep that looks at one segment at a time.
//!
//! Reads see by themselves that an entry's time is over. So that such entries also give their room
//! back, every write moves a cursor: it looks at when the next segment is due, and if that is past,
//! it passes a few entries of the segment and takes out those that are over. A segment whose
//! entries are all over ends up with nothing live and is retired whole.
//!
//! A segment is due first when the first of its entries is over. A pass that takes out one entry of
//! hundreds is not worth its reads, so afterwards it is due when the harmonic mean of the times that
//! its entries have left is over: that of equal times is that time, that of times spread evenly over
//! a span comes when a seventh of a thousand is over, and of a few short times among long ones it is
//! a small multiple of the short ones.
//!
//! Nothing happens in a shard whose entries never had a time to live.

use super::entry::NEVER;
use super::shard::Stage;
use super::writer::Writer;
use crate::pool::space::{SEG_NONE, SegId};
use std::sync::atomic::Ordering::Relaxed;

/// Entries a write passes in a segment that is due.
const ENTRIES_A_WRITE: u32 = 8;

/// What times are divided into for their harmonic mean: some 34 years in milliseconds.
const UNIT: u64 = 1 << 40;

/// Where the sweep is.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Queue that is swept.
    queue: usize,
    /// Segment, [`SEG_NONE`]: begin with the oldest of the next queue.
    seg: SegId,
    /// Its sequence when the sweep entered it.
    seq: u64,
    /// Bytes passed in it; 0: not entered yet.
    at: u32,
    /// Entries passed that stay and have a time to live.
    timed: u32,
    /// The sum over these of [`UNIT`] by the milliseconds that they have left.
    urgency: u64,
}

impl Sweep {
    /// At the beginning.
    pub const NONE: Self = Self { queue: 0, seg: SEG_NONE, seq: 0, at: 0, timed: 0, urgency: 0 };
}

impl Sweep {
    /// An entry stays that is over in so many milliseconds, not 0.
    fn keep(&mut self, left: u64) {
        self.timed += 1;
        self.urgency += UNIT / left;
    }

    /// When the segment that was passed is due again.
    fn due(&self, now: u64) -> u64 {
        match (self.timed, self.urgency) {
            (0, _) => u64::MAX,
            (_, 0) => now.saturating_add(UNIT),
            (timed, urgency) => now.saturating_add(u64::from(timed) * UNIT / urgency),
        }
    }
}

impl Writer<'_> {
    /// Moves the sweep on by one segment or a few entries.
    #[inline(always)]
    pub fn sweep_expired(&mut self) {
        if self.state.expires {
            self.sweep();
        }
    }

    #[inline(never)]
    fn sweep(&mut self) {
        let mut sweep = self.state.expiry;
        if sweep.seg == SEG_NONE || !self.is_where_it_was(&sweep) {
            sweep.queue = (sweep.queue + 1) % usize::from(self.store.queues);
            sweep.seg = self.state.queues[sweep.queue].oldest;
            sweep.at = 0;
            if sweep.seg == SEG_NONE {
                self.state.expiry = sweep;
                return;
            }
            sweep.seq = self.meta(sweep.seg).seq.load(Relaxed);
        }
        let meta = self.meta(sweep.seg);
        let now = self.store.clock.now_ms();
        self.state.view.now_ms = now;
        if sweep.at == 0 {
            if meta.earliest.load(Relaxed) > now {
                self.state.expiry = self.next_segment(sweep);
                return;
            }
            // From here on it says what came or was shortened behind the sweep.
            meta.earliest.store(u64::MAX, Relaxed);
            (sweep.timed, sweep.urgency) = (0, 0);
            sweep.at = self.store.first_offset(sweep.seg);
        }
        self.state.expiry = self.sweep_entries(sweep, now);
    }

    fn is_where_it_was(&self, sweep: &Sweep) -> bool {
        let meta = self.meta(sweep.seg);
        self.owns_log(sweep.seg)
            && meta.seq.load(Relaxed) == sweep.seq
            && self.stage(sweep.seg) != Stage::Job
            && usize::from(meta.queue.load(Relaxed) & 0x0F) == sweep.queue
    }

    fn next_segment(&self, sweep: Sweep) -> Sweep {
        let next = self.meta(sweep.seg).next.load(Relaxed);
        let seq = if next == SEG_NONE { 0 } else { self.meta(next).seq.load(Relaxed) };
        Sweep { seg: next, seq, at: 0, ..sweep }
    }

    fn sweep_entries(&mut self, mut sweep: Sweep, now: u64) -> Sweep {
        for _ in 0..ENTRIES_A_WRITE {
            let meta = self.meta(sweep.seg);
            if sweep.at >= meta.fill.load(Relaxed) {
                meta.earliest.fetch_min(sweep.due(now), Relaxed);
                return self.next_segment(sweep);
            }
            let location = self.places.location(sweep.seg, sweep.at);
            let entry = self.entry_at(location);
            sweep.at += self.log_bytes(&entry);
            let expires = entry.expires();
            if expires > now {
                if expires != NEVER {
                    sweep.keep(expires - now);
                }
                continue;
            }
            let hash = self.store.hash.of(entry.key());
            if let Some(live) = self.find_at(hash, location) {
                self.expire(hash, live);
                if !self.is_where_it_was(&sweep) {
                    // That was the last live entry, and the segment has gone.
                    return Sweep { queue: sweep.queue, ..Sweep::NONE };
                }
            }
        }
        sweep
    }
}
