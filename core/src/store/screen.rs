//! A store's own filter: a *screen* before the index of each shard, if the store was opened with a
//! rate (`filter_fpr`).
//!
//! A shard's screen has one fingerprint for every filled slot of its index, whatever is overwritten
//! or moved. It is written under the shard's lock, by whoever changes the index: the fingerprint
//! comes *before* the slot and goes *after* it, so that what a reader may find in the index is never
//! missing here, and an answer "absent" was true at some moment of the look-up. What readers load is
//! in [`crate::filter::single`]; that they are inside keeps a screen's memory from being reused.
//!
//! **Size.** A screen is one table and never grows. When the entries have outgrown it, or have become
//! few, a larger or smaller one is built beside it from the hashes of the keys: each insert passes a
//! few buckets in the order of walks ([`super::walk`]), in which a position survives growing and
//! shrinking. A key behind the position is in the new screen, one before it is not yet, so every key
//! is added once. Until all are passed the old screen serves.
//!
//! **Memory.** Tables are runs, charged to store and pool. A shard asks for one by a mark; whoever
//! wrote last takes the run without a lock, where eviction can make room for it, and comes back. A
//! screen is given up when it overflows, and when the store has nothing else left to give: the store
//! does without until there is room.
//!
//! **Asking it.** The index decides a miss by one cache line and a screen by two, so asking pays only
//! where nearly all look-ups are misses, all screens fit a processor's own cache, and the lines of the
//! index do not. A bit of the shard's geometry word, which every look-up tests anyway, says whether it
//! is asked; where asking may pay at all, each reader judges by its own hits and misses, and sets or
//! clears the bit of the shard that it is in.

use super::index::line::Line;
use super::shard::Shard;
use super::writer::Writer;
use super::{Fill, StoreInner};
use crate::filter::single::{Head, Single};
use crate::memory::guard;
use crate::memory::sys::{Advice, HUGE_BYTES};
use crate::pool::space::RunId;
use crate::stats::counters::Share;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Buckets of the index that an insert passes for a screen that is being built. Some twenty entries:
/// what comes meanwhile is a twentieth of what there is, for which [`OUTGROWN`] leaves room.
const BUCKETS: u32 = 3;
/// Buckets that are passed at once when one is begun: all of a small index.
const BUCKETS_AT_FIRST: u32 = 32;
/// How full a screen is when a larger one is begun.
const OUTGROWN: (u64, u64) = (88, 100);
/// How empty when a smaller one is.
const SHRUNKEN: (u64, u64) = (1, 5);
/// Keys of the smallest screen: they fill a page. Tests have them outgrown soon.
const KEYS_MIN: u64 = if cfg!(any(test, feature = "testing")) { 8 } else { 2_000 };
/// How often room is made for a screen.
const ATTEMPTS: u32 = 4;
/// What stands for the bytes of the second-level cache where the system does not tell.
const NEAR_BYTES: u64 = 1 << 20;

/// Bytes that lie near a processor: its second-level cache.
fn near_bytes() -> u64 {
    static NEAR: OnceLock<u64> = OnceLock::new();
    *NEAR.get_or_init(|| {
        // SAFETY: only asks for a number.
        let bytes = unsafe { libc::sysconf(libc::_SC_LEVEL2_CACHE_SIZE) };
        u64::try_from(bytes).ok().filter(|&bytes| bytes != 0).unwrap_or(NEAR_BYTES)
    })
}

/// A table of fingerprints, and the run that it lies in.
struct Part {
    run: RunId,
    /// Leading bytes of the run that huge pages were asked for.
    huge: u64,
    filter: Single,
}

/// What the holder of a shard's lock knows of its screen.
#[derive(Default)]
pub struct Screen {
    /// What readers ask: it has every key of the index.
    serving: Option<Part>,
    /// What is being built: it has every key whose reversed hash is below the position.
    building: Option<(Part, u64)>,
    /// Another size is wanted with more entries than this, or with fewer than that.
    above: u64,
    below: u64,
}

/// What readers and those who hold no lock see of a shard's screen.
#[derive(Default)]
pub struct Asked {
    /// The head of the one that serves; null: none does.
    head: AtomicPtr<Head>,
    /// Bytes of its table.
    bytes: AtomicU64,
    /// Keys that a screen is wanted for; 0: none is.
    wanted: AtomicU64,
}

impl Asked {
    /// Whether the key of a hash certainly has no slot in the index.
    ///
    /// # Safety
    /// The caller is inside a look-up.
    #[inline(always)]
    unsafe fn excludes(&self, hash: u64) -> bool {
        let head = self.head.load(Ordering::Acquire);
        // SAFETY: a head that was published is complete, and its run goes back only when everybody
        // who was inside when it was taken down has left.
        !head.is_null() && unsafe { &*head }.excludes(hash)
    }

    /// Whether asking pays where all look-ups miss: the screens of all shards lie near and the lines of
    /// the index do not.
    fn may_pay(&self, shards: u64, lines: u64) -> bool {
        if self.head.load(Ordering::Relaxed).is_null() {
            return false;
        }
        // Tests ask whatever it costs.
        cfg!(any(test, feature = "testing"))
            || lines * size_of::<Line>() as u64 * shards >= 2 * near_bytes()
                && self.bytes.load(Ordering::Relaxed) * shards <= near_bytes()
    }
}

impl StoreInner {
    /// Whether the screen says that the key of a hash has no entry. The caller is inside a look-up.
    #[inline(always)]
    pub(super) fn is_screened_out(&self, shard: &Shard, hash: u64) -> bool {
        // SAFETY: the caller's guard.
        unsafe { shard.screen.excludes(hash) }
    }

    /// A miss on a shard, screened out or not, of a store with screens.
    #[inline(always)]
    pub(super) fn weigh_miss(&self, shard: &Shard, slot: u32) {
        if self.counters.ends_window(slot) {
            self.heed_window(shard, slot);
        }
    }

    /// [`StoreInner::weigh_miss`] on the shard of a key, which the thread looked up on the straight path.
    #[inline(always)]
    pub(super) fn weigh_miss_of(&self, key: &[u8]) {
        let slot = guard::own_slot(self.slot_tag) as u32;
        if self.counters.ends_window(slot) {
            self.heed_window_of(key, slot);
        }
    }

    #[cold]
    #[inline(never)]
    fn heed_window_of(&self, key: &[u8], slot: u32) {
        self.heed_window(self.shard_of(self.hash.of(key)), slot);
    }

    #[cold]
    #[inline(never)]
    fn heed_window(&self, shard: &Shard, slot: u32) {
        let share = self.counters.share_of_window(slot);
        if share == Share::Hits {
            return shard.table.set_screened(false);
        }
        let lines = u64::from(shard.table.geometry().lines());
        if share == Share::Misses && shard.screen.may_pay(self.shards.len() as u64, lines) {
            shard.table.set_screened(true);
        }
    }

    /// A look-up that the screen let pass.
    #[inline]
    pub(super) fn weigh_pass(&self, shard: &Shard, slot: u32) {
        if self.counters.has_hits(slot) {
            shard.table.set_screened(false);
        }
    }

    /// Gets the runs that shards want for their screens. No lock is held.
    #[cold]
    pub(super) fn fit_screens(&self) {
        for shard in &self.shards {
            let keys = shard.screen.wanted.swap(0, Ordering::Relaxed);
            if keys == 0 {
                continue;
            }
            let run = self.screen_run(Single::bytes(keys, self.config.filter_fpr));
            let mut writer = shard.lock_any(self);
            match run {
                Some(run) => writer.begin_screen(run, keys),
                None => writer.do_without_screen(),
            }
        }
    }

    fn screen_run(&self, bytes: u64) -> Option<RunId> {
        for _ in 0..ATTEMPTS {
            if let Some(run) = self.take_run(bytes, Fill::Fresh).ok()? {
                return Some(run);
            }
            let given = self.reclaim_anywhere(bytes);
            if given + self.space().harvest(true).bytes == 0 {
                return None;
            }
        }
        None
    }

    /// Gives every screen up for room; returns the bytes. Readers may still be looking.
    #[cold]
    pub(super) fn give_screens_up(&self) -> u64 {
        let mut given = 0;
        for shard in &self.shards {
            let mut writer = shard.lock_any(self);
            given += writer.take_screens_down();
            writer.do_without_screen();
        }
        given
    }
}

impl Writer<'_> {
    /// A key is about to get a slot.
    #[cold]
    #[inline(never)]
    pub(super) fn screen_in(&mut self, hash: u64) {
        // Before the key is in the index: a bucket that is passed now does not have it yet.
        self.build_screen(BUCKETS);
        let len = self.state.tail.len + 1;
        let screen = &mut self.state.screen;
        let is_kept = screen.serving.as_ref().is_none_or(|part| part.filter.add(hash));
        let is_built = screen
            .building
            .as_ref()
            .is_none_or(|(part, at)| hash.reverse_bits() >= *at || part.filter.add(hash));
        if !is_kept {
            self.end_serving();
        }
        if !is_built {
            self.end_building();
        }
        if len > self.state.screen.above {
            self.want_screen(len);
        }
    }

    /// A key has lost its slot.
    #[cold]
    #[inline(never)]
    pub(super) fn screen_out(&mut self, hash: u64) {
        let screen = &mut self.state.screen;
        if let Some(part) = &screen.serving {
            part.filter.remove(hash);
        }
        if let Some((part, at)) = &screen.building
            && hash.reverse_bits() < *at
        {
            part.filter.remove(hash);
        }
        let len = self.state.tail.len;
        if len < self.state.screen.below {
            self.want_screen(len);
        }
    }

    /// Asks whoever wrote last for a run.
    #[cold]
    fn want_screen(&mut self, len: u64) {
        self.state.screen.above = u64::MAX;
        self.state.screen.below = 0;
        let most = self.expected_entries().map_or(u64::MAX, |(expected, _)| expected);
        let keys = (2 * len).min(most.max(len + len / 4)).max(KEYS_MIN);
        self.shard.screen.wanted.store(keys, Ordering::Relaxed);
        self.store.screens_due.store(true, Ordering::Relaxed);
        self.store.chores_due.store(true, Ordering::Relaxed);
    }

    fn begin_screen(&mut self, run: RunId, keys: u64) {
        if !self.shard.table.geometry().in_service() || self.state.screen.building.is_some() {
            self.store.give_run(run);
            return;
        }
        self.store
            .space()
            .run_meta(run)
            .shard
            .store(self.store.number_of(self.shard), Ordering::Relaxed);
        // Two look-ups of a large table in small pages cost more than what they may save.
        let space = self.store.space();
        let whole = if space.asks_for_huge_pages() {
            space.run_charge(run) / HUGE_BYTES * HUGE_BYTES
        } else {
            0
        };
        let huge = if whole != 0 && space.advise_run(run, whole, Advice::Huge) { whole } else { 0 };
        let memory = space.run_addr(run);
        // SAFETY: the run was just taken for this, zeroed, with as many bytes; it goes back when the
        // filter is gone, through `retire_run_inside` if readers may know it.
        let filter = unsafe { Single::on(memory, keys, self.store.config.filter_fpr) };
        self.state.screen.building = Some((Part { run, huge, filter }, 0));
        self.build_screen(BUCKETS_AT_FIRST);
    }

    /// Has the shard ask again when it has a quarter more entries than now.
    fn do_without_screen(&mut self) {
        let len = self.state.tail.len;
        self.state.screen.above = len + len / 4 + KEYS_MIN;
    }

    /// Passes some buckets for the screen that is being built.
    #[inline]
    fn build_screen(&mut self, buckets: u32) {
        for _ in 0..buckets {
            let Some((part, at)) = self.state.screen.building.take() else { return };
            let mut has_room = true;
            let next =
                self.visit_bucket(at, |hash, _| has_room = has_room && part.filter.add(hash));
            self.state.screen.building = Some((part, next.unwrap_or(u64::MAX)));
            if !has_room {
                self.end_building();
            } else if next.is_none() {
                self.finish_screen();
            }
        }
    }

    /// Every key has been passed: the new screen takes the place of the old one.
    fn finish_screen(&mut self) {
        let Some((part, _)) = self.state.screen.building.take() else { return };
        let slots = part.filter.load().1;
        self.state.screen.above = slots * OUTGROWN.0 / OUTGROWN.1;
        let fewest = slots * SHRUNKEN.0 / SHRUNKEN.1;
        self.state.screen.below = if fewest > KEYS_MIN { fewest } else { 0 };
        let bytes = self.store.space().run_charge(part.run);
        self.shard.screen.bytes.store(bytes, Ordering::Relaxed);
        // Of another size it may pay no more; readers find out.
        self.shard.table.set_screened(false);
        self.shard.screen.head.store(part.filter.head().cast_mut(), Ordering::Release);
        // Whatever its size, a shard speaks for all: keys are spread evenly.
        let lines = u64::from(self.shard.table.geometry().lines());
        let may_pay = self.shard.screen.may_pay(self.store.shards.len() as u64, lines);
        self.store.weighs.store(may_pay, Ordering::Relaxed);
        if let Some(old) = self.state.screen.serving.replace(part) {
            self.retire_part(&old);
        }
    }

    /// Gives back what a screen lay in; readers may still be looking. Without the advice for huge pages,
    /// or the system could fill a partly freed one up again; where it does not take that back, the memory
    /// stays charged.
    fn retire_part(&mut self, part: &Part) {
        if part.huge == 0 || self.store.space().advise_run(part.run, part.huge, Advice::Small) {
            self.store.retire_run_inside(part.run);
            self.retired = true;
        }
    }

    /// Takes the screen down that overflowed.
    #[cold]
    fn end_serving(&mut self) -> u64 {
        let Some(part) = self.state.screen.serving.take() else { return 0 };
        self.shard.screen.head.store(std::ptr::null_mut(), Ordering::Release);
        self.shard.table.set_screened(false);
        let bytes = self.store.space().run_charge(part.run);
        self.retire_part(&part);
        // The next insert asks for another.
        if self.state.screen.building.is_none() {
            self.state.screen.above = 0;
        }
        bytes
    }

    /// Gives up the one that is being built, which no reader ever saw.
    #[cold]
    fn end_building(&mut self) -> u64 {
        let Some((part, _)) = self.state.screen.building.take() else { return 0 };
        let bytes = self.store.space().run_charge(part.run);
        // As one that readers know: its pages are to be let go of in the same way.
        self.retire_part(&part);
        // The next insert asks for a larger one.
        self.state.screen.above = 0;
        bytes
    }

    /// Gives back what the shard has of screens; returns the bytes. Asks for one again with the first
    /// entry.
    pub(super) fn take_screens_down(&mut self) -> u64 {
        let given = self.end_serving() + self.end_building();
        self.state.screen.above = 0;
        self.state.screen.below = 0;
        given
    }

    /// Bytes of screens.
    pub(super) fn screen_bytes(&self) -> u64 {
        let screen = &self.state.screen;
        let parts = screen.serving.iter().chain(screen.building.as_ref().map(|(part, _)| part));
        parts.map(|part| self.store.space().run_charge(part.run)).sum()
    }

    /// Says whether the screens are sound in themselves, and whether readers see the right one.
    pub(super) fn check_screens(&self) -> Result<(), String> {
        let screen = &self.state.screen;
        for part in screen.serving.iter().chain(screen.building.as_ref().map(|(part, _)| part)) {
            part.filter.validate().map_err(|what| format!("the filter: {what}"))?;
        }
        let head = screen.serving.as_ref().map_or(std::ptr::null(), |part| part.filter.head());
        if self.shard.screen.head.load(Ordering::Relaxed).cast_const() != head {
            return Err("readers ask another filter than the one that is kept".to_owned());
        }
        Ok(())
    }

    /// Whether the screens have the key of a hash that has a slot.
    pub(super) fn check_screened(&self, hash: u64) -> Result<(), String> {
        let screen = &self.state.screen;
        if screen.serving.as_ref().is_some_and(|part| !part.filter.has(hash)) {
            return Err("the filter lacks a key that has a slot".to_owned());
        }
        let is_lacking =
            |(part, at): &(Part, u64)| hash.reverse_bits() < *at && !part.filter.has(hash);
        if screen.building.as_ref().is_some_and(is_lacking) {
            return Err("the filter that is being built lacks a key that it has passed".to_owned());
        }
        Ok(())
    }
}
