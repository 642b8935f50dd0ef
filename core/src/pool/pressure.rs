//! The pressure level of a pool: which share of its limit eviction could not give back.
//!
//! Everybody who asks gets the level with one relaxed load, also in a signal handler. Everybody
//! who changes what is held pays two more loads: the gauge keeps the *band* of bytes in which the
//! present level holds, `low <= bytes < high`, so that a change inside it is seen to be none
//! without any arithmetic. Only a value outside the band takes the lock.
//!
//! A level is entered at its threshold and left two points of per cent below it, so that a level
//! at the edge does not flap. Where a threshold is so low that two points are more than half of
//! it, half of it is what the level is left at: every level can be left.
//!
//! Two threads that change the held bytes race to tell the gauge. It must not be left with the
//! older of the two values, so whoever moves the level reads the bytes again after the new band is
//! published, and whoever changed the bytes reads the band after its change; a fence on either
//! side makes sure that one of the two sees the other (Dekker).

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crate::config::Thresholds;
use crate::memory::lock::FutexMutex;
use crate::memory::wait::Condition;
use crate::types::Pressure;

/// How far below its threshold a level is left, in points of per cent.
const HYSTERESIS_PCT: u64 = 2;

/// The bytes of a pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes that eviction could not give back.
    pub held: u64,
    /// Bytes charged.
    pub used: u64,
    /// The limit that the thresholds are shares of.
    pub limit: u64,
}

/// Level, band and waiters of one pool.
#[derive(Debug)]
pub struct PressureGauge {
    by_used: bool,
    level: AtomicU8,
    watched: AtomicBool,
    waiters: AtomicU32,
    low: AtomicU64,
    high: AtomicU64,
    limit: AtomicU64,
    changes: AtomicU64,
    thresholds: FutexMutex<Thresholds>,
    changed: Condition,
}

impl PressureGauge {
    /// A gauge at [`Pressure::None`] that goes by held bytes, or by used ones if `by_used`.
    ///
    /// It knows no limit yet: the first update brings it.
    #[must_use]
    pub fn new(thresholds: Thresholds, by_used: bool) -> Self {
        Self {
            by_used,
            level: AtomicU8::new(encode(Pressure::None)),
            watched: AtomicBool::new(false),
            waiters: AtomicU32::new(0),
            low: AtomicU64::new(0),
            high: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            thresholds: FutexMutex::new(thresholds),
            changed: Condition::new(),
        }
    }

    /// The present level: one relaxed load.
    #[inline]
    #[must_use]
    pub fn level(&self) -> Pressure {
        decode(self.level.load(Ordering::Relaxed))
    }

    /// How often the level has changed; also the sequence that [`PressureGauge::wait`] goes by.
    #[must_use]
    pub fn level_changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The thresholds in force.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        *self.thresholds.lock()
    }

    /// Brings the level in line with these bytes.
    ///
    /// Where several threads change them, [`PressureGauge::update_with`] is the one that cannot
    /// be left with an older value.
    #[inline]
    pub fn update(&self, held: u64, used: u64, limit: u64) {
        self.update_with(|| Reading { held, used, limit });
    }

    /// Brings the level in line with the bytes that `now` reads; call it after every change.
    ///
    /// `now` is called again whenever the level moves, and must not call the gauge.
    #[inline]
    pub fn update_with(&self, now: impl Fn() -> Reading) {
        // After the caller's change and before the band: see the essay above.
        fence(Ordering::SeqCst);
        if !self.holds(now()) {
            self.settle(&now, None);
        }
    }

    /// Puts other thresholds in force. They must have passed [`Thresholds::check`].
    pub fn set_thresholds(&self, thresholds: Thresholds, now: impl Fn() -> Reading) {
        self.settle(&now, Some(thresholds));
    }

    /// Waits until the level has changed since `seq` (0 at first), and moves `seq` on. `None`: the
    /// time is over.
    pub fn wait(&self, seq: &mut u64, timeout: Duration) -> Option<Pressure> {
        let deadline = Instant::now().checked_add(timeout);
        let mut lock = self.thresholds.lock();
        // Counted before the sequence is read, and in one total order with both: a change that
        // sees no waiter comes before this look at the sequence.
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let seen = loop {
            let now = self.changes.load(Ordering::SeqCst);
            if now != *seq {
                break Some(now);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                break None;
            }
            self.changed.wait(&mut lock, deadline);
        };
        self.waiters.fetch_sub(1, Ordering::Relaxed);
        // The level and the sequence move together under the lock that is held here.
        let level = self.level();
        drop(lock);
        seen.map(|now| {
            *seq = now;
            level
        })
    }

    /// Whether the notifier is to be woken at a change of level. Set once, by the first watch.
    pub(crate) fn set_watched(&self) {
        self.watched.store(true, Ordering::SeqCst);
    }

    /// Whether `reading` belongs to the present level.
    #[inline]
    fn holds(&self, reading: Reading) -> bool {
        let bytes = self.bytes(reading);
        self.low.load(Ordering::Relaxed) <= bytes
            && bytes < self.high.load(Ordering::Relaxed)
            && self.limit.load(Ordering::Relaxed) == reading.limit
    }

    #[inline]
    fn bytes(&self, reading: Reading) -> u64 {
        if self.by_used { reading.used } else { reading.held }
    }

    #[cold]
    fn settle(&self, now: &dyn Fn() -> Reading, thresholds: Option<Thresholds>) {
        let mut lock = self.thresholds.lock();
        if let Some(thresholds) = thresholds {
            *lock = thresholds;
        }
        let before = self.level();
        loop {
            let reading = now();
            let (level, low, high) =
                settle_at(self.level(), self.bytes(reading), reading.limit, *lock);
            self.level.store(encode(level), Ordering::Relaxed);
            self.low.store(low, Ordering::Relaxed);
            self.high.store(high, Ordering::Relaxed);
            self.limit.store(reading.limit, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            // Bounded in practice: it runs again only when another thread crossed a threshold in
            // these few instructions.
            if self.holds(now()) {
                break;
            }
        }
        let changed = before != self.level();
        if changed {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        drop(lock);
        if changed {
            if self.waiters.load(Ordering::SeqCst) != 0 {
                self.changed.notify_all();
            }
            if self.watched.load(Ordering::SeqCst) {
                super::watch::poke();
            }
        }
    }
}

/// The level at `bytes` of `limit`, coming from `from`, and the band in which it holds.
fn settle_at(
    from: Pressure,
    bytes: u64,
    limit: u64,
    thresholds: Thresholds,
) -> (Pressure, u64, u64) {
    let steps = [
        (Pressure::Elevated, thresholds.elevated_pct),
        (Pressure::High, thresholds.high_pct),
        (Pressure::Critical, thresholds.critical_pct),
    ];
    let mut level = Pressure::None;
    let mut low = 0;
    let mut high = u64::MAX;
    for (step, pct) in steps {
        let enter = share(limit, u64::from(pct));
        let leave = enter - share(limit, HYSTERESIS_PCT).min(enter / 2);
        let bound = if step <= from { leave } else { enter };
        if bytes >= bound {
            (level, low) = (step, leave);
        } else {
            high = high.min(bound.max(enter));
        }
    }
    (level, low, high)
}

/// `pct` per cent of `limit`, rounded up, at least 1: a level is never entered by nothing.
fn share(limit: u64, pct: u64) -> u64 {
    let bytes = (u128::from(limit) * u128::from(pct)).div_ceil(100);
    u64::try_from(bytes).unwrap_or(u64::MAX).max(1)
}

const fn encode(level: Pressure) -> u8 {
    match level {
        Pressure::None => 0,
        Pressure::Elevated => 1,
        Pressure::High => 2,
        Pressure::Critical => 3,
    }
}

const fn decode(code: u8) -> Pressure {
    match code {
        0 => Pressure::None,
        1 => Pressure::Elevated,
        2 => Pressure::High,
        _ => Pressure::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    const LIMIT: u64 = 1_000;

    fn gauge() -> PressureGauge {
        PressureGauge::new(Thresholds::default(), false)
    }

    #[test]
    fn enters_at_the_threshold_and_leaves_two_points_below() {
        let gauge = gauge();
        for (held, level) in [
            (0, Pressure::None),
            (849, Pressure::None),
            (850, Pressure::Elevated),
            (830, Pressure::Elevated),
            (829, Pressure::None),
            (849, Pressure::None),
            (1_000, Pressure::Critical),
            (930, Pressure::Critical),
            (929, Pressure::High),
            (949, Pressure::High),
            (880, Pressure::High),
            (879, Pressure::Elevated),
            (899, Pressure::Elevated),
            (900, Pressure::High),
            (0, Pressure::None),
        ] {
            gauge.update(held, 1_000_000, LIMIT);
            assert_eq!(gauge.level(), level, "at {held}");
        }
        assert_eq!(gauge.level_changes(), 7);
    }

    #[test]
    fn goes_by_used_bytes_where_asked() {
        let gauge = PressureGauge::new(Thresholds::default(), true);
        gauge.update(0, 960, LIMIT);
        assert_eq!(gauge.level(), Pressure::Critical);
    }

    #[test]
    fn every_level_can_be_left() {
        let low = Thresholds { elevated_pct: 1, high_pct: 1, critical_pct: 2 };
        let gauge = PressureGauge::new(low, false);
        for limit in [1 << 20, 1 << 42] {
            gauge.update(limit / 50 + 1, 0, limit);
            assert_eq!(gauge.level(), Pressure::Critical);
            gauge.update(0, 0, limit);
            assert_eq!(gauge.level(), Pressure::None);
        }
        let full = Thresholds { elevated_pct: 100, high_pct: 100, critical_pct: 100 };
        let gauge = PressureGauge::new(full, false);
        gauge.update(LIMIT - 1, 0, LIMIT);
        assert_eq!(gauge.level(), Pressure::None);
        gauge.update(LIMIT, 0, LIMIT);
        assert_eq!(gauge.level(), Pressure::Critical);
    }

    #[test]
    fn limit_and_thresholds_move_the_level() {
        let gauge = gauge();
        gauge.update(500, 0, LIMIT);
        gauge.update(500, 0, 550);
        assert_eq!(gauge.level(), Pressure::High);
        let other = Thresholds { elevated_pct: 95, high_pct: 96, critical_pct: 97 };
        gauge.set_thresholds(other, || Reading { held: 500, used: 0, limit: 550 });
        assert_eq!(gauge.level(), Pressure::None);
        assert_eq!(gauge.thresholds(), other);
    }

    #[test]
    fn waiting_sees_changes_and_the_end_of_its_time() {
        let gauge = Arc::new(gauge());
        let mut seq = 0;
        assert_eq!(gauge.wait(&mut seq, Duration::from_millis(5)), None);
        assert_eq!(seq, 0);
        let waiter = std::thread::spawn({
            let gauge = gauge.clone();
            move || {
                let mut seq = 0;
                let level = gauge.wait(&mut seq, Duration::MAX);
                (level, seq)
            }
        });
        std::thread::sleep(Duration::from_millis(20));
        gauge.update(960, 0, LIMIT);
        assert_eq!(waiter.join().unwrap(), (Some(Pressure::Critical), 1));
        // A change that has been is seen at once.
        assert_eq!(gauge.wait(&mut seq, Duration::ZERO), Some(Pressure::Critical));
        assert_eq!(seq, 1);
        assert_eq!(gauge.wait(&mut seq, Duration::ZERO), None);
    }

    #[test]
    fn is_never_left_with_an_older_value() {
        let gauge = gauge();
        let held = AtomicU64::new(0);
        let now = || Reading { held: held.load(Ordering::Relaxed), used: 0, limit: LIMIT };
        for round in 0..200_u64 {
            std::thread::scope(|scope| {
                for thread in 0..4_u64 {
                    let (gauge, held, now) = (&gauge, &held, &now);
                    scope.spawn(move || {
                        for step in 0..100 {
                            let delta = (step * 37 + thread * 11 + round) % 300;
                            held.fetch_add(delta, Ordering::Relaxed);
                            gauge.update_with(now);
                            held.fetch_sub(delta, Ordering::Relaxed);
                            gauge.update_with(now);
                        }
                    });
                }
            });
            assert_eq!(gauge.level(), Pressure::None);
            held.store(if round % 2 == 0 { 700 } else { 0 }, Ordering::Relaxed);
            gauge.update_with(now);
        }
    }

    proptest! {
        /// Against the definition: a level holds from its threshold up, and once it holds down to
        /// two points below.
        #[test]
        fn walks_as_defined(
            limit in 100_u64..1_000_000,
            mut pcts in [3_u32..=100, 3..=100, 3..=100],
            walk in proptest::collection::vec(0_u64..=110, 1..100),
        ) {
            pcts.sort_unstable();
            let [elevated_pct, high_pct, critical_pct] = pcts;
            let thresholds = Thresholds { elevated_pct, high_pct, critical_pct };
            let gauge = PressureGauge::new(thresholds, false);
            let mut expected = Pressure::None;
            for pct in walk {
                let held = limit * pct / 100;
                let mut level = Pressure::None;
                for (step, at) in
                    [Pressure::Elevated, Pressure::High, Pressure::Critical].into_iter().zip(pcts)
                {
                    let enter = (limit * u64::from(at)).div_ceil(100);
                    let slack = (limit * 2).div_ceil(100).min(enter / 2);
                    let bound = if step <= expected { enter - slack } else { enter };
                    if held >= bound {
                        level = step;
                    }
                }
                expected = level;
                gauge.update(held, 0, limit);
                prop_assert_eq!(gauge.level(), expected);
                // Again, now out of the band it remembers.
                gauge.update(held, 0, limit);
                prop_assert_eq!(gauge.level(), expected);
            }
        }
    }
}
