//! A filter of one table, in memory that its owner takes, and written under its owner's lock.
//!
//! For an owner that knows its keys and so can make a larger one when this is full: it never grows,
//! holds no key twice, and is lost, not saturated, when an add finds no room. The memory begins with
//! what readers need, and holds no pointer:
//!
//! ```text
//! 0                        64                          128
//! | lanes                  | how many pairs, version   | pairs of buckets, as in `table`
//! ```
//!
//! Readers take no lock: [`Head::excludes`] goes by the version, as `settled` tells. An add into an empty slot changes
//! no version: whoever fills the slot before anybody can find the key elsewhere, and empties it after
//! nobody can, has every answer "absent" true at some moment of the look-up.

use super::inner::stays;
use super::path::make_room;
use super::settled::Version;
use super::shape::{Base, MOVING, Shape};
use super::table::{Lanes, Lens, Table};

/// What readers go by; see the essay.
#[repr(C, align(64))]
pub struct Head {
    lanes: Lanes,
    pairs: u64,
    version: Version,
}

/// The owner may have cut its keys in parts by the high bits of their hashes, which choose the bucket:
/// a product's high bits depend on all of its factor's, and its low bits are as good as they were.
#[inline(always)]
fn spread(hash: u64) -> u64 {
    hash.wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

const HEAD: usize = size_of::<Head>();
const _: () = assert!(HEAD == 128);

impl Head {
    #[inline(always)]
    fn lens(&self) -> Lens {
        let table = std::ptr::from_ref(self).cast::<u8>().wrapping_add(HEAD);
        Lens::on(table, self.pairs, self.lanes)
    }

    /// Whether the key of a hash is certainly not among those that were added; false where something
    /// moved meanwhile.
    #[inline(always)]
    pub fn excludes(&self, hash: u64) -> bool {
        let seen = self.version.before();
        let lens = self.lens();
        let place = lens.place(spread(hash));
        let has = if self.lanes.are_wide() {
            lens.has(place)
        } else {
            // SAFETY: the place is one of the table behind the head, which has these lanes.
            unsafe { self.lanes.hits(&lens.aim(place)) }
        };
        !has && self.version.is_still(seen, 0)
    }
}

/// The filter, as the one who writes has it.
pub struct Single {
    table: Table,
    head: *const Head,
}

// SAFETY: `head` and the table point to the owner's memory, which any thread may read; who writes is
// for the owner's lock to say.
unsafe impl Send for Single {}

impl Single {
    /// Bytes of memory for so many keys at this rate.
    #[must_use]
    pub fn bytes(capacity: u64, fpr: f64) -> u64 {
        HEAD as u64 + Shape::nth(Base::holding(capacity, fpr), 0).bytes()
    }

    /// An empty filter.
    ///
    /// # Safety
    /// `memory` is zeroed, aligned to a page, as long as [`Single::bytes`] says, and this one's alone
    /// but for readers of [`Single::head`]; it stays until the filter and they are gone.
    #[must_use]
    pub unsafe fn on(memory: *mut u8, capacity: u64, fpr: f64) -> Self {
        let base = Base::holding(capacity, fpr);
        let head = memory.cast::<Head>();
        let lanes = Lanes::of(base.width);
        let version = Version::new(0);
        // SAFETY: the caller's promise: room for the head, and nobody reads it yet.
        unsafe { head.write(Head { lanes, pairs: base.pairs, version }) };
        // SAFETY: the caller's promise: zeroed room for the table behind it.
        let table = unsafe { Table::on(memory.add(HEAD), Shape::nth(base, 0)) };
        Self { table, head }
    }

    /// Where readers find it.
    #[must_use]
    pub fn head(&self) -> *const Head {
        self.head
    }

    fn version(&self) -> &Version {
        // SAFETY: `on` wrote the head, and was promised that the memory stays.
        unsafe { &(*self.head).version }
    }

    /// Fingerprints in it, and slots for them.
    #[must_use]
    pub fn load(&self) -> (u64, u64) {
        (self.table.used(), self.table.shape().slots())
    }

    /// Adds a key that is not in it; false: there is no room, and the filter is of no use any more.
    #[must_use]
    pub fn add(&self, hash: u64) -> bool {
        let place = self.table.shape().place(spread(hash));
        let look = self.table.lens().look(place);
        if stays(look.copies) {
            return true;
        }
        if let Some(spot) = look.free {
            self.table.fill(spot.bucket, spot.slot, place.fingerprint);
            return true;
        }
        self.table.used() * MOVING.1 < self.table.shape().slots() * MOVING.0
            && make_room(&self.table, place, || self.version().unsettle()).is_some()
    }

    /// Removes a key that was added.
    pub fn remove(&self, hash: u64) {
        let look = self.table.lens().look(self.table.shape().place(spread(hash)));
        if let Some(spot) = look.copy.filter(|_| !stays(look.copies)) {
            let _unsettled = self.version().unsettle();
            self.table.empty(spot.bucket, spot.slot);
        }
    }

    /// Whether the key of a hash may be in it.
    #[must_use]
    pub fn has(&self, hash: u64) -> bool {
        self.table.lens().has(self.table.shape().place(spread(hash)))
    }

    /// Asks for the memory of a hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table.lens().prefetch_both(self.table.shape().place(spread(hash)));
    }

    /// Says what is wrong with it. The owner's lock is held.
    pub fn validate(&self) -> Result<(), String> {
        let counted = self.table.count()?;
        if counted != self.table.used() {
            return Err(format!("{counted} slots are in use, {} are counted", self.table.used()));
        }
        if !self.version().is_settled() {
            return Err("it is unsettled at rest".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{HEAD, Single};
    use crate::filter::testing::Random;
    use crate::pool::Charged;

    fn made(capacity: u64, fpr: f64) -> (Single, Charged) {
        let memory = Charged::zeroed(None, Single::bytes(capacity, fpr)).unwrap();
        // SAFETY: the memory is fresh, long enough, and outlives the filter in every test.
        (unsafe { Single::on(memory.base(), capacity, fpr) }, memory)
    }

    fn head(filter: &Single) -> &super::Head {
        // SAFETY: the memory of every filter here lives as long as it.
        unsafe { &*filter.head() }
    }

    #[test]
    fn holds_what_it_is_made_for() {
        for (capacity, fpr) in [(100, 0.01), (5_000, 0.001), (40_000, 0.0001)] {
            let (filter, _memory) = made(capacity, fpr);
            let mut random = Random::new(capacity);
            let keys: Vec<_> = (0..capacity).map(|_| random.next()).collect();
            assert!(keys.iter().all(|&key| filter.add(key)));
            assert!(keys.iter().all(|&key| filter.has(key) && !head(&filter).excludes(key)));
            filter.validate().unwrap();
            assert_eq!(filter.load().0, capacity);
            let absent = 400_000;
            let errs = (0..absent).filter(|_| !head(&filter).excludes(random.next())).count();
            let noise = 4.0 * (fpr / f64::from(absent)).sqrt();
            assert!(errs as f64 / f64::from(absent) <= fpr + noise, "{errs} of {absent}");
            keys.iter().for_each(|&key| filter.remove(key));
            assert_eq!(filter.load().0, 0);
            assert!(keys.iter().all(|&key| head(&filter).excludes(key)));
            filter.validate().unwrap();
        }
    }

    /// Keys whose hashes begin alike, as those of a shard do.
    #[test]
    fn fills_evenly_from_one_part_of_all_hashes() {
        for part in [0, 77 << 56, 255 << 56] {
            let (filter, _memory) = made(20_000, 0.001);
            let mut random = Random::new(part | 1);
            let keys: Vec<_> = (0..20_000).map(|_| part | random.next() >> 8).collect();
            assert!(keys.iter().all(|&key| filter.add(key)));
            let mut errs = 0;
            for _ in 0..200_000 {
                errs += u32::from(!head(&filter).excludes(part | random.next() >> 8));
            }
            assert!(errs <= 260, "{errs} of 200000 for part {part:x}");
        }
    }

    #[test]
    fn says_when_it_is_full() {
        let (filter, memory) = made(500, 0.01);
        let mut random = Random::new(9);
        let mut keys = Vec::new();
        let refused = loop {
            let key = random.next();
            if !filter.add(key) {
                break key;
            }
            keys.push(key);
        };
        assert!(keys.len() > 500 && keys.len() < 600, "{} keys", keys.len());
        // What was refused changed nothing.
        assert!(keys.iter().all(|&key| filter.has(key)));
        filter.validate().unwrap();
        keys.iter().for_each(|&key| filter.remove(key));
        assert!(filter.add(refused));
        assert!(memory.bytes() >= HEAD as u64);
    }

    /// Keys that the filter takes for one another: eight fill their class for good.
    #[test]
    fn a_full_class_stays() {
        let (filter, _memory) = made(100, 0.01);
        for _ in 0..12 {
            assert!(filter.add(77));
        }
        assert_eq!(filter.load().0, 8);
        (0..12).for_each(|_| filter.remove(77));
        assert!(filter.has(77));
        let (filter, _memory) = made(100, 0.01);
        (0..7).for_each(|_| assert!(filter.add(77)));
        (0..7).for_each(|_| filter.remove(77));
        assert!(head(&filter).excludes(77));
    }

    /// Every key that is in it throughout is found by readers, whatever moves and goes meanwhile.
    #[test]
    fn beside_a_writer() {
        let (filter, _memory) = made(4_000, 0.001);
        let mut random = Random::new(5);
        let kept: Vec<_> = (0..2_000).map(|_| random.next()).collect();
        assert!(kept.iter().all(|&key| filter.add(key)));
        let head = head(&filter);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut looks = 0_u64;
                        while !done.load(std::sync::atomic::Ordering::Relaxed) {
                            assert!(kept.iter().all(|&key| !head.excludes(key)));
                            looks += 1;
                        }
                        looks
                    })
                })
                .collect();
            let mut coming = std::collections::VecDeque::new();
            for _ in 0..200_000 {
                let key = random.next();
                if filter.add(key) {
                    coming.push_back(key);
                }
                if coming.len() > 1_990 {
                    coming.drain(..2).for_each(|key| filter.remove(key));
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(readers.into_iter().all(|reader| reader.join().unwrap() != 0));
        });
        filter.validate().unwrap();
    }
}
