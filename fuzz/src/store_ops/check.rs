//! Rules 6 and 8.

use super::world::World;

/// What an empty pool may use.
const LEFT_MAX: u64 = 256 << 10;

impl World<'_> {
    /// Everything that holds at every moment.
    pub fn check(&mut self) {
        self.pool.validate().unwrap();
        let stats = self.pool.stats();
        assert!(stats.used_bytes <= stats.limit_bytes, "{stats:?}");
        assert!(stats.target_bytes <= stats.limit_bytes, "{stats:?}");
        for (view, value) in &self.views {
            assert!(view[..] == value[..], "a view changed");
        }
        self.blocks.check();
        for twin in &mut self.twins {
            twin.loads.drain();
            twin.store.validate().unwrap();
            twin.check();
        }
    }

    /// Reads everything once more, then takes everything away.
    pub fn end(mut self) {
        self.log.begin("end", || "");
        self.check();
        for at in 0..self.twins.len() {
            self.at = at;
            let now = self.now();
            let mut keys: Vec<_> = self.twin().entries.keys().cloned().collect();
            keys.sort();
            for key in keys {
                match self.twin().store.get_vec(&key).unwrap() {
                    Some(value) => self.twin_mut().has_value(&key, now, &value),
                    None => self.missing(&key, "the end"),
                }
            }
            self.clear();
        }
        self.check();
        self.views.clear();
        self.drafts.clear();
        self.scans.clear();
        self.leases.clear();
        self.twins.iter_mut().for_each(|twin| twin.loads.close());
        self.free_all();
        self.check();
        self.twins.clear();
        // Not to 0: a trim that cannot get there waits a while for readers.
        self.pool.trim(LEFT_MAX).unwrap();
        self.pool.validate().unwrap();
        let stats = self.pool.stats();
        assert_eq!((stats.stores, stats.pinned_bytes, stats.app_bytes), (0, 0, 0));
        let left = stats.used_bytes.max(stats.held_bytes);
        assert!(left <= LEFT_MAX, "{left} bytes are left: {stats:?}");
    }
}
