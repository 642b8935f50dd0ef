//! Peers and HyperCache behind one trait: bytes in under a byte key, bytes copied out.
//!
//! The peers are built with the feature `peers`, since most of what there is to compile is theirs.

pub mod loopback;
mod null;
pub mod ours;
#[cfg(feature = "peers")]
mod peers;

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

pub use null::Null;

/// What all caches can do here.
pub trait Cache: Send + Sync {
    /// As printed in tables.
    fn name(&self) -> &'static str;

    /// Copies the value into the front of `buf` and returns its length; `None` on a miss.
    /// `buf` holds the longest value of the workload.
    fn get(&self, key: &[u8], buf: &mut [u8]) -> Option<usize>;

    /// Stores a copy.
    fn set(&self, key: &[u8], value: &[u8]);

    /// Stores a copy for so long; `false`: the cache has no times to live and stored it for good.
    fn set_for(&self, key: &[u8], value: &[u8], _ttl: Duration) -> bool {
        self.set(key, value);
        false
    }

    /// Removes.
    fn remove(&self, key: &[u8]);

    /// Whether the key is there, without the policy noticing; the value too, where the cache can
    /// show it so.
    fn peek(&self, key: &[u8], buf: &mut [u8]) -> Peek;

    /// Copies the values of all keys into `buf`, one after another, and returns how many hit.
    fn get_many(&self, keys: &[&[u8]], buf: &mut [u8]) -> usize {
        let mut hits = 0;
        let mut at = 0;
        for key in keys {
            if let Some(len) = self.get(key, &mut buf[at..]) {
                at += len;
                hits += 1;
            }
        }
        hits
    }

    /// Does now what the cache has put off.
    fn settle(&self) {}

    /// Changes the budget; `false`: it cannot.
    fn resize(&self, _budget: u64) -> bool {
        false
    }

    /// Processor time in nanoseconds that other processes have spent for it since they began.
    fn elsewhere_ns(&self) -> u64 {
        0
    }

    /// What went wrong where a cache can only answer with a miss.
    ///
    /// # Errors
    /// The first failure since it was built.
    fn health(&self) -> Result<()> {
        Ok(())
    }

    /// What it says of its own writing, if it does.
    fn written(&self) -> Option<Written> {
        None
    }
}

/// What a look that is no access found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Nothing.
    Absent,
    /// An entry, whose value the cache cannot show without counting an access.
    Present,
    /// An entry; its value, of this length, is in the buffer.
    Value(usize),
}

impl From<Option<usize>> for Peek {
    fn from(len: Option<usize>) -> Self {
        len.map_or(Self::Absent, Self::Value)
    }
}

/// Bytes that a log-structured cache has written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// By writes of the caller.
    pub by_writes: u64,
    /// By moving live entries out of the way.
    pub by_moves: u64,
    /// Keys and values of live entries now.
    pub live_payload: u64,
    /// Charged to the budget now.
    pub used: u64,
}

/// What a cache is built for.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Byte budget.
    pub budget: u64,
    /// Entries to expect, for those that want an estimate.
    pub entries: u64,
    /// Bytes of key and value of a typical entry.
    pub entry_bytes: u64,
    /// Commit all memory first, where the cache can.
    pub prefault: bool,
    /// Entries with a time to live will come: caches that must be told are.
    pub expires: bool,
}

impl Spec {
    /// A budget for entries of 16-byte keys and values of `value_len`.
    #[must_use]
    pub fn new(budget: u64, value_len: u64) -> Self {
        let entry_bytes = crate::workload::KEY_LEN as u64 + value_len;
        Self {
            budget,
            entries: (budget / entry_bytes).max(1),
            entry_bytes,
            prefault: false,
            expires: false,
        }
    }
}

/// Which cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Kind {
    /// moka 0.12 (sync).
    Moka,
    /// quick_cache 0.7.
    #[value(name = "quick_cache", alias = "quick")]
    Quick,
    /// foyer-memory 0.22, S3-FIFO.
    Foyer,
    /// lru 0.16, sharded under parking_lot's mutex.
    #[value(name = "lru-mtx", alias = "lru")]
    Lru,
    /// segcache 0.4, merge eviction.
    Segcache,
    /// HyperCache.
    #[value(name = "hypercache", alias = "ours")]
    Ours,
}

impl Kind {
    /// All that this program was built with, in the order of the tables.
    pub const BUILT: &[Self] = if cfg!(feature = "peers") {
        &[Self::Moka, Self::Foyer, Self::Quick, Self::Lru, Self::Segcache, Self::Ours]
    } else {
        &[Self::Ours]
    };

    /// Whether this is HyperCache.
    #[must_use]
    pub fn is_ours(self) -> bool {
        self == Self::Ours
    }

    /// Whether it is one of the four that acceptance ratios are taken against. Segcache is beside
    /// them: a cell must not lose to it.
    #[must_use]
    pub fn is_rival(self) -> bool {
        matches!(self, Self::Moka | Self::Foyer | Self::Quick | Self::Lru)
    }

    /// As printed in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Moka => "moka",
            Self::Quick => "quick_cache",
            Self::Foyer => "foyer",
            Self::Lru => "lru-mtx",
            Self::Segcache => "segcache",
            Self::Ours => "hypercache",
        }
    }

    /// Builds an empty one.
    pub fn build(self, spec: &Spec) -> Result<Box<dyn crate::drive::Subject>> {
        match self {
            Self::Ours => Ok(Box::new(ours::Ours::new(spec)?)),
            #[cfg(feature = "peers")]
            Self::Moka if spec.expires => Ok(Box::new(peers::Moka::expiring(spec))),
            #[cfg(feature = "peers")]
            Self::Moka => Ok(Box::new(peers::Moka::new(spec))),
            #[cfg(feature = "peers")]
            Self::Quick => Ok(Box::new(peers::Quick::new(spec)?)),
            #[cfg(feature = "peers")]
            Self::Foyer => Ok(Box::new(peers::Foyer::new(spec))),
            #[cfg(feature = "peers")]
            Self::Lru => Ok(Box::new(peers::Lru::new(spec))),
            #[cfg(feature = "peers")]
            Self::Segcache => Ok(Box::new(peers::Seg::new(spec)?)),
            #[cfg(not(feature = "peers"))]
            Self::Moka | Self::Quick | Self::Foyer | Self::Lru | Self::Segcache => anyhow::bail!(
                "{self} is not in this program, which was built without the feature `peers`; \
                 `cargo xtask bench` builds it with them"
            ),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::key_of;

    #[test]
    fn every_cache_keeps_the_contract() {
        for &kind in Kind::BUILT {
            let cache = kind.build(&Spec::new(4 << 20, 64)).unwrap();
            let mut buf = [0; 256];
            let (one, two) = (key_of(1), key_of(2));
            assert_eq!(cache.get(&one, &mut buf), None, "{kind}");
            cache.set(&one, b"first");
            cache.set(&two, &[7; 64]);
            cache.settle();
            assert_eq!(cache.get(&one, &mut buf), Some(5), "{kind}");
            assert_eq!(&buf[..5], b"first", "{kind}");
            cache.set(&one, b"second!");
            match cache.peek(&one, &mut buf) {
                Peek::Value(7) => assert_eq!(&buf[..7], b"second!", "{kind}"),
                seen => assert_eq!(seen, Peek::Present, "{kind}"),
            }
            assert_eq!(cache.peek(&key_of(3), &mut buf), Peek::Absent, "{kind}");
            assert_eq!(cache.get_many(&[&one, &key_of(3), &two], &mut buf), 2, "{kind}");
            assert_eq!(&buf[..8], b"second!\x07", "{kind}");
            cache.remove(&one);
            assert_eq!(cache.get(&one, &mut buf), None, "{kind}");
        }
    }

    #[test]
    fn a_time_to_live_ends_an_entry_or_is_refused() {
        for &kind in Kind::BUILT {
            let spec = Spec { expires: true, ..Spec::new(4 << 20, 64) };
            let cache = kind.build(&spec).unwrap();
            let mut buf = [0; 64];
            let [short, long, none] = [1, 2, 3].map(key_of);
            let expires = cache.set_for(&short, b"short", Duration::from_secs(1));
            cache.set_for(&long, b"long", Duration::from_secs(3_600));
            cache.set(&none, b"none");
            // Segcache counts whole seconds on a clock that it looks at once a second.
            std::thread::sleep(Duration::from_millis(if expires { 2_500 } else { 0 }));
            assert_eq!(cache.get(&short, &mut buf).is_none(), expires, "{kind}");
            assert_eq!(cache.get(&long, &mut buf), Some(4), "{kind}");
            assert_eq!(cache.get(&none, &mut buf), Some(4), "{kind}");
            assert_eq!(expires, matches!(kind, Kind::Moka | Kind::Segcache | Kind::Ours), "{kind}");
        }
    }
}
