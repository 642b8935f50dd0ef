//! Filters of other crates. `ahash` for all that take a hasher; each is made so that the keys fill it
//! to 90 %, as near as its sizes allow.

use ahash::{AHasher, RandomState};
use anyhow::{Result, anyhow};

use super::sets::{Key, Loops, Set};

/// All of them.
pub fn all(keys: u64, fpr: f64) -> Result<Vec<Box<dyn Loops>>> {
    let capacity = (keys * 10 / 9) as usize;
    let quotient = qfilter::Filter::new_with_hasher(capacity as u64, fpr, RandomState::new())
        .map_err(|error| anyhow!("qfilter: {error:?}"))?;
    let scalable = scalable_cuckoo_filter::ScalableCuckooFilterBuilder::new()
        .initial_capacity(capacity)
        .false_positive_probability(fpr)
        .hasher(AHasher::default())
        .finish();
    let bloom = fastbloom::BloomFilter::with_false_pos(fpr)
        .hasher(RandomState::new())
        .expected_items(keys as usize);
    Ok(vec![
        Box::new(Cuckoo(cuckoofilter::CuckooFilter::with_capacity(capacity))),
        Box::new(Scalable(scalable)),
        Box::new(Quotient(quotient)),
        Box::new(Bloom(bloom)),
    ])
}

/// Fingerprints of 8 bits: some 3 % false positives, whatever is asked for.
struct Cuckoo(cuckoofilter::CuckooFilter<AHasher>);

impl Set for Cuckoo {
    const NAME: &'static str = "cuckoofilter";

    fn add(&mut self, key: &Key) {
        std::hint::black_box(self.0.add(key).is_ok());
    }

    fn has(&self, key: &Key) -> bool {
        self.0.contains(key)
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.0.delete(key)
    }

    fn bits(&self) -> u64 {
        self.0.memory_usage() as u64 * 8
    }
}

struct Scalable(scalable_cuckoo_filter::ScalableCuckooFilter<Key, AHasher>);

impl Set for Scalable {
    const NAME: &'static str = "scalable_cuckoo_filter";

    fn add(&mut self, key: &Key) {
        self.0.insert(key);
    }

    fn has(&self, key: &Key) -> bool {
        self.0.contains(key)
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.0.remove(key)
    }

    fn bits(&self) -> u64 {
        self.0.bits()
    }
}

struct Quotient(qfilter::Filter<Box<[u8]>, RandomState>);

impl Set for Quotient {
    const NAME: &'static str = "qfilter";

    fn add(&mut self, key: &Key) {
        std::hint::black_box(self.0.insert_duplicated(key).is_ok());
    }

    fn has(&self, key: &Key) -> bool {
        self.0.contains(key)
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.0.remove(key)
    }

    fn bits(&self) -> u64 {
        self.0.memory_usage() as u64 * 8
    }
}

struct Bloom(fastbloom::BloomFilter<RandomState>);

impl Set for Bloom {
    const NAME: &'static str = "fastbloom";
    const DELETES: bool = false;

    fn add(&mut self, key: &Key) {
        self.0.insert(key);
    }

    fn has(&self, key: &Key) -> bool {
        self.0.contains(key)
    }

    fn bits(&self) -> u64 {
        self.0.num_bits() as u64
    }
}
