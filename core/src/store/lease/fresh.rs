//! Freshness: when an entry is loaded anew although it is still there, and how long it is kept.
//!
//! Three optional fields of an entry:
//! - *soft*: from when on claims have one caller load it anew. Every other read goes by the hard
//!   expiry alone;
//! - *load*: what the last load took, for the early refresh; until when somebody has the task to
//!   load it anew; whether the last attempt failed;
//! - *idle*: how long it lives without an access, and its hard expiry. The expiry that everybody
//!   goes by is the earlier of that and of the last access plus the idle time; a hit moves it on,
//!   in steps, so that most hits write nothing.
//!
//! **Early refresh** (XFetch: Vattani, Chierichetti, Lowenstein, VLDB'15). Near its expiry, every
//! claim of an entry throws dice, and who throws high enough loads it anew while the others go on
//! reading: an entry that is claimed often is loaded before its time is over, and nobody waits. A
//! claim at time t loads if `t + d * (3 - b * ln(u))` is past the expiry, with `d` what the last load
//! took, `u` uniform and `b` = [`EAGERNESS`]. The three loads of head start, which XFetch does not
//! have, let the load end in time.
//!
//! The load field changes under the shard's lock only. The expiry of an idle entry is moved by
//! readers, by compare-exchange, so that a later write of it is not undone.

use crate::clock::monotonic_ns;
use crate::store::StoreInner;
use crate::store::entry::{Entry, NEVER};
use crate::store::writer::{Live, Writer};
use crate::types::{PutOptions, Ttl};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// The factor b of the early refresh.
const EAGERNESS: f64 = 3.0;
/// Loads of head start.
const HEAD_START: f64 = 3.0;
/// No claim is early by more than so many times what a load takes: at b = 3, one of 10^8 would be.
const EARLIEST: u64 = 64;
/// The expiry of an idle entry moves when that is by more than one part in so many of the idle
/// time, ...
const IDLE_STEPS: u64 = 16;
/// ... or by so many milliseconds.
const IDLE_STEP_MS: u64 = 1_000;
/// Seconds of a hard expiry that there is none.
const NO_HARD: u64 = u32::MAX as u64;

/// What a load word holds: from bit 48 the load's time, coded; bit 47: the last attempt failed; bit
/// 46: the value was kept on after a failure; below: until when somebody has the task.
const FAILED: u64 = 1 << 47;
const KEPT_ON: u64 = 1 << 46;
const UNTIL: u64 = KEPT_ON - 1;

/// Microseconds in 16 bits: 11 bits, and how far they are shifted. Never 0.
fn coded(us: u64) -> u64 {
    let us = us.max(1);
    let shift = u64::from(us.ilog2()).saturating_sub(10).min(31);
    shift << 11 | (us >> shift).min(0x7FF)
}

fn decoded(code: u64) -> u64 {
    (code & 0x7FF) << (code >> 11 & 31)
}

/// The times of an entry that is written.
pub struct Times {
    /// When it expires.
    pub expires: u64,
    /// When it is to be loaded anew.
    pub soft: u64,
    /// The load word.
    pub load: u64,
    /// The idle word.
    pub idle: u64,
}

/// Whether a claim that finds an entry is to load it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// No.
    Fresh,
    /// It is old, but to be had: somebody loads it anew, or could not.
    Old,
    /// It is old.
    Load,
    /// It is not, but soon will be.
    Early,
}

impl StoreInner {
    /// Whether a claim that finds this entry, whose time is not over, is to load it. `stale`: the
    /// caller takes an old value while somebody else loads; `dice`: it may be the one to load early.
    #[inline(always)]
    pub(in crate::store) fn due(&self, entry: &Entry, stale: bool, dice: bool) -> Due {
        match entry.load() {
            None => Due::Fresh,
            Some(load) => self.due_by(entry, load.load(Relaxed), stale, dice),
        }
    }

    #[inline(never)]
    fn due_by(&self, entry: &Entry, load: u64, stale: bool, dice: bool) -> Due {
        let (now, soft) = (self.clock.now_ms(), entry.soft());
        let is_asked = load & UNTIL > now;
        if now >= soft {
            let is_served = is_asked && (stale || load & FAILED != 0);
            return if is_served { Due::Old } else { Due::Load };
        }
        let end = soft.min(entry.expires());
        if !dice || is_asked || end == NEVER || self.config.no_early_refresh {
            return Due::Fresh;
        }
        let took = decoded(load >> 48);
        let left_us = end.saturating_sub(now).saturating_mul(1_000);
        if left_us > took.saturating_mul(EARLIEST) {
            return Due::Fresh;
        }
        let gap = took as f64 * (HEAD_START - EAGERNESS * uniform().ln());
        if left_us as f64 <= gap { Due::Early } else { Due::Fresh }
    }

    /// A hit on an entry that lives by its accesses.
    #[inline(always)]
    pub(in crate::store) fn refresh_idle(&self, entry: &Entry) {
        if let Some(idle) = entry.idle() {
            self.move_expiry(entry, idle);
        }
    }

    #[inline(never)]
    fn move_expiry(&self, entry: &Entry, idle: &AtomicU64) {
        let Some(expiry) = entry.expiry() else { return };
        // In this order: who sees the expiry that a touch stored sees its hard one, too.
        let before = expiry.load(Acquire);
        let idle = idle.load(Relaxed);
        let idle_ms = idle & NO_HARD;
        let after = hard_of(idle).min(self.clock.now_ms().saturating_add(idle_ms));
        if after >= before.saturating_add((idle_ms / IDLE_STEPS).clamp(1, IDLE_STEP_MS)) {
            // Who lost the race has written a time that is as good.
            let _ = expiry.compare_exchange(before, after, Relaxed, Relaxed);
        }
    }
}

/// The hard expiry of an idle entry, as far as its word tells: to the second.
fn hard_of(idle: u64) -> u64 {
    match idle >> 32 {
        NO_HARD => NEVER - 1,
        seconds => seconds * 1_000,
    }
}

fn idle_word(hard: u64, idle_ms: u64) -> u64 {
    let seconds = if hard == NEVER { NO_HARD } else { (hard / 1_000).min(NO_HARD - 1) };
    seconds << 32 | idle_ms.clamp(1, NO_HARD)
}

/// A number above 0 and below 1, as good as the lower bits of the time are.
fn uniform() -> f64 {
    // splitmix64 (Steele, Lea, Flood, OOPSLA'14).
    let mut x = monotonic_ns().wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ x >> 31) >> 12) as f64 / (1_u64 << 52) as f64 + f64::EPSILON
}

impl Writer<'_> {
    /// The times of an entry that is written now.
    #[inline(always)]
    pub fn times(&mut self, options: &PutOptions, found: Option<&Live>, load_us: u64) -> Times {
        let expires = self.expiry(options.ttl, found);
        let config = &self.store.config;
        if (load_us == 0 || expires == NEVER)
            && options.soft_ttl_ms | options.idle_ttl_ms | config.soft_ttl_ms | config.idle_ttl_ms
                == 0
            && options.ttl != Ttl::Keep
        {
            return Times { expires, soft: NEVER, load: 0, idle: 0 };
        }
        self.all_times(expires, options, found, load_us)
    }

    #[inline(never)]
    fn all_times(
        &mut self,
        hard: u64,
        options: &PutOptions,
        found: Option<&Live>,
        load_us: u64,
    ) -> Times {
        let config = &self.store.config;
        let now = self.store.clock.now_ms();
        let or_own = |asked: u64, own: u64| if asked == 0 { own } else { asked };
        let kept = found.filter(|_| options.ttl == Ttl::Keep).map(|live| live.entry.shape());
        let idle_ms = or_own(options.idle_ttl_ms, config.idle_ttl_ms);
        let soft_ms = or_own(options.soft_ttl_ms, config.soft_ttl_ms);
        let (expires, idle) = match kept {
            Some(kept) if options.idle_ttl_ms == 0 => (hard, kept.idle),
            _ if idle_ms == 0 => (hard, 0),
            _ => {
                self.state.expires = true;
                (hard.min(now.saturating_add(idle_ms)), idle_word(hard, idle_ms))
            }
        };
        let soft = match kept {
            Some(kept) if options.soft_ttl_ms == 0 => kept.soft,
            _ if soft_ms == 0 => NEVER,
            _ => now.saturating_add(soft_ms - self.jitter(soft_ms)).min(NEVER - 1),
        };
        let is_loaded_anew = soft != NEVER || load_us != 0 && hard != NEVER;
        let load = if is_loaded_anew { coded(load_us) << 48 } else { 0 };
        Times { expires, soft, load, idle }
    }

    /// Notes a new hard expiry in an entry that lives by its accesses; returns when it expires.
    pub fn touch_idle(&self, entry: &Entry, hard: u64) -> u64 {
        let Some(word) = entry.idle() else { return hard };
        let idle_ms = word.load(Relaxed) & NO_HARD;
        word.store(idle_word(hard, idle_ms), Relaxed);
        hard.min(self.store.clock.now_ms().saturating_add(idle_ms))
    }

    /// Notes in an entry that somebody loads it anew, up to this time; 0: nobody does.
    pub fn ask_load(&self, entry: &Entry, until_ms: u64) {
        if let Some(load) = entry.load() {
            let kept = load.load(Relaxed) & !(UNTIL | FAILED);
            load.store(kept | until_ms.min(UNTIL), Relaxed);
        }
    }

    /// Notes in an entry that loading it anew failed, and is not to be tried up to this time; keeps
    /// it on for a while, once.
    pub fn fail_load(&self, entry: &Entry, until_ms: u64) {
        let Some(load) = entry.load() else { return };
        let word = load.load(Relaxed);
        load.store(word & !UNTIL | FAILED | KEPT_ON | until_ms.min(UNTIL), Relaxed);
        let keep_on = self.store.config.stale_if_error_ms;
        if keep_on == 0 || word & KEPT_ON != 0 {
            return;
        }
        if let Some(expiry) = entry.expiry() {
            let later = self.store.clock.now_ms().saturating_add(keep_on).min(NEVER - 1);
            expiry.fetch_max(later, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_loads_keep_three_digits() {
        for us in [1, 2, 999, 2_047, 2_048, 123_456, 10_000_000, 3_000_000_000] {
            let back = decoded(coded(us));
            assert!(back <= us && us - back <= us / 1_000, "{us}: {back}");
            assert!(coded(us) < 1 << 16 && coded(us) != 0);
        }
        assert_eq!(decoded(coded(0)), 1);
        assert!(coded(u64::MAX) < 1 << 16);
    }

    #[test]
    fn idle_words_keep_the_hard_expiry_to_the_second() {
        assert_eq!(hard_of(idle_word(NEVER, 5)), NEVER - 1);
        assert_eq!(hard_of(idle_word(12_345, 5)), 12_000);
        assert_eq!(idle_word(12_345, 5) & NO_HARD, 5);
        assert_eq!(idle_word(NEVER, u64::MAX) & NO_HARD, NO_HARD);
    }

    #[test]
    fn dice_are_spread() {
        let mut below = 0;
        for _ in 0..10_000 {
            let u = uniform();
            assert!(u > 0.0 && u <= 1.0);
            below += u32::from(u < 0.5);
        }
        assert!((4_000..6_000).contains(&below), "{below}");
    }
}
