//! A store beside its model.

use super::life::{Life, Rules};
use super::loads::Loads;
use hypercache_core::{Info, PolicyKind, Read, Store, StoreConfig, ValueType};
use std::collections::HashMap;
use std::sync::Arc;

/// What was written last under a key.
#[derive(Clone, Debug)]
pub struct Entry {
    pub value: Arc<[u8]>,
    pub life: Life,
    /// From when on claims find it old.
    pub soft: Life,
    pub session: u64,
    pub value_type: ValueType,
    pub flags: u32,
    /// Evictions that the store had counted before the write.
    pub evicted: u64,
}

impl Entry {
    /// One that a plain write without times would have made, before anything was evicted.
    pub fn plain(value: Arc<[u8]>) -> Self {
        Self {
            value,
            life: Life::until(super::life::NEVER),
            soft: Life::until(super::life::NEVER),
            session: 0,
            value_type: ValueType::BYTES,
            flags: 0,
            evicted: 0,
        }
    }
}

/// A store and what the model knows of it.
pub struct Twin {
    pub store: Store,
    pub config: StoreConfig,
    pub rules: Rules,
    pub entries: HashMap<Vec<u8>, Entry>,
    /// Of which write each version is.
    versions: HashMap<u64, (Vec<u8>, Arc<[u8]>)>,
    /// The last two versions of each key.
    former: HashMap<Vec<u8>, [u64; 2]>,
    /// Entries found missing that were not over.
    lost: u64,
    /// Entries that were over and may or may not be in the store still.
    pub vague: u64,
    pub loads: Loads,
}

impl Twin {
    pub fn new(store: Store) -> Self {
        let config = store.config();
        let rules = Rules {
            default_ttl_ms: config.default_ttl_ms,
            jitter_pct: config.jitter_pct,
            soft_ttl_ms: config.soft_ttl_ms,
        };
        Self {
            store,
            config,
            rules,
            entries: HashMap::new(),
            versions: HashMap::new(),
            former: HashMap::new(),
            lost: 0,
            vague: 0,
            loads: Loads::default(),
        }
    }

    /// The entry, if it may live.
    pub fn maybe(&self, key: &[u8], now: u64) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.life.may_live(now))
    }

    /// Whether the key's entry certainly lives, unless it was evicted.
    pub fn lives(&self, key: &[u8], now: u64) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.life.lives(now))
    }

    /// The key was found.
    pub fn found(&mut self, key: &[u8], now: u64) {
        let entry = self.entries.get_mut(key).filter(|entry| entry.life.may_live(now));
        let Some(entry) = entry else {
            panic!("a key that cannot be there was found: {}", shown(key))
        };
        entry.life.seen_at(now);
    }

    /// The key was found with this value.
    pub fn has_value(&mut self, key: &[u8], now: u64, value: &[u8]) {
        self.found(key, now);
        let expected = &self.entries[key].value;
        assert!(
            **expected == *value,
            "{}: another value was found, of {} bytes for {}",
            shown(key),
            value.len(),
            expected.len()
        );
    }

    /// The key was found with these metadata.
    pub fn has_info(&mut self, key: &[u8], now: u64, info: &Info) {
        self.found(key, now);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let found = (info.len, info.session, info.value_type, info.flags);
        let expected = (entry.value.len(), entry.session, entry.value_type, entry.flags);
        assert_eq!(found, expected, "{}: metadata", shown(key));
        let over = info.ttl_ms.map_or(super::life::NEVER, |left| now + left);
        assert!(entry.life.contains(over), "{}: over at {over}, not {:?}", shown(key), entry.life);
        entry.life = Life::until(over);
        let value = Arc::clone(&entry.value);
        self.saw_version(key, &value, info.version);
    }

    /// Rule 4.
    pub fn saw_version(&mut self, key: &[u8], value: &Arc<[u8]>, version: u64) {
        assert_ne!(version, 0, "{}: a version", shown(key));
        let before = self.versions.insert(version, (key.to_vec(), Arc::clone(value)));
        if let Some((old_key, old_value)) = before {
            assert!(
                old_key == key && old_value == *value,
                "version {version} names two writes: of {} and {}",
                shown(&old_key),
                shown(key)
            );
        }
        let seen = self.former.entry(key.to_vec()).or_insert([7, version]);
        if seen[1] != version {
            *seen = [seen[1], version];
        }
    }

    /// The key was not found. Rule 2.
    pub fn missing(&mut self, key: &[u8], now: u64, why: &str) {
        let ends_sessions = self.config.policy == PolicyKind::Session;
        let Some(entry) = self.entries.get_mut(key) else { return };
        // When a session is over its own tests say; here it takes what belongs to it.
        if entry.session != 0 && ends_sessions {
            entry.life = Life::until(now);
        }
        if !entry.life.lives(now) {
            entry.life.missed_at(now);
            return;
        }
        let evicted = self.store.stats().evicted;
        assert!(
            evicted > entry.evicted,
            "{why}: {} was lost, and nothing was evicted since it was written",
            shown(key)
        );
        self.lost += 1;
        assert!(self.lost <= evicted, "{} were lost and {evicted} evicted", self.lost);
        self.entries.remove(key);
    }

    /// The key was removed.
    pub fn removed(&mut self, key: &[u8]) {
        self.entries.remove(key);
        self.loads.end(key);
        assert_eq!(self.store.contains(key), Ok(false), "{}: after its removal", shown(key));
    }

    /// The metadata of the key's entry, without touching the policy.
    pub fn peek(&self, key: &[u8]) -> Option<Info> {
        match self.store.get_with(key, &mut [], true) {
            Ok(Read::Hit(info) | Read::SmallBuffer(info)) => Some(info),
            Ok(Read::Miss) => None,
            Err(error) => panic!("{}: {error}", shown(key)),
        }
    }

    /// A version that the key's entry does not have now.
    pub fn stale_version(&self, key: &[u8]) -> u64 {
        let now = self.peek(key).map(|info| info.version);
        let seen = self.former.get(key).copied().unwrap_or([7, 7]);
        if now == Some(seen[1]) { seen[0] } else { seen[1] }
    }

    /// Rules 2 and 8, for all keys at once.
    pub fn check(&self) {
        let stats = self.store.stats();
        let limits = self.store.config();
        assert!(limits.limit_entries == 0 || stats.entries <= limits.limit_entries, "{stats:?}");
        assert!(limits.limit_bytes == 0 || stats.used_bytes <= limits.limit_bytes, "{stats:?}");
        let known = self.entries.len() as u64;
        assert!(stats.entries <= known, "{} entries of {known} written", stats.entries);
        let gone = known + self.lost - stats.entries;
        let explained = stats.evicted + stats.expired + self.vague;
        assert!(gone <= explained, "{gone} entries are gone, {explained} evicted or expired");
        assert_eq!((stats.faults, stats.poisoned_shards), (0, 0));
    }
}

/// A key, short enough to be read.
pub fn shown(key: &[u8]) -> String {
    if key.len() > 40 {
        return format!("key of {} x {:#04x}", key.len(), key[0]);
    }
    format!("key \"{}\"", key.escape_ascii())
}
