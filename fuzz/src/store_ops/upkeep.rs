//! Limits, stores that come and go, statistics, arguments that break the contract.

use super::setup;
use super::twin::Twin;
use super::world::World;
use crate::input::Input;
use hypercache_core::pool::LimitOutcome;
use hypercache_core::stats::LatencyOp;
use hypercache_core::store::BatchRead;
use hypercache_core::{
    ClaimOptions, Error, ErrorKind, Match, Pressure, PutOptions, Result, Thresholds, Ttl,
};
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn is<T>(result: Result<T>, kind: ErrorKind) -> bool {
    result.map(|_| ()).map_err(|error| error.kind()) == Err(kind)
}

impl World<'_> {
    pub fn open(&mut self, input: &mut Input<'_>) {
        let config = setup::store_config(input);
        if self.twins.len() > 1 {
            return;
        }
        self.log.begin("open", || format!("{config:?}"));
        match self.pool.open_store_with(&config, self.clock.clone()) {
            Ok(store) => {
                if let Some(open) = self.twins.first().filter(|twin| twin.store.id() == store.id())
                {
                    self.log.result("the same store", || "");
                    assert_eq!(open.config.name, config.name);
                    return;
                }
                self.twins.push(Twin::new(store));
            }
            Err(error) => {
                self.log.result("not opened", || &error);
                match error.kind() {
                    // The fixed part of many shards, the floors, or a name that is taken.
                    ErrorKind::NoSpace => {}
                    ErrorKind::Invalid => {
                        let words = ["floor_bytes", "limit_bytes", "one of this name"];
                        let text = error.context();
                        assert!(words.iter().any(|word| text.contains(word)), "{error}");
                    }
                    other => panic!("{other:?}: {error}"),
                }
            }
        }
    }

    pub fn destroy(&mut self) {
        if self.twins.len() < 2 {
            return;
        }
        let mut twin = self.twins.remove(self.at);
        self.at = 0;
        self.log.begin("destroy", || format!("store {}", twin.store.id()));
        let other = twin.store.clone();
        twin.store.destroy();
        twin.store.destroy();
        assert!(is(other.get_vec(b"a"), ErrorKind::Closed));
        assert!(is(other.set(b"a", b"b"), ErrorKind::Closed));
        assert!(is(other.delete(b"a"), ErrorKind::Closed));
        assert!(is(other.contains(b"a"), ErrorKind::Closed));
        assert!(is(other.pin(b"a", false), ErrorKind::Closed));
        assert!(is(other.take(b"a", &mut []), ErrorKind::Closed));
        assert!(is(other.touch(b"a", Ttl::Never), ErrorKind::Closed));
        // A number is too long for some stores, open or not.
        let incr = other.incr(b"a", 1, 1, Ttl::Never).unwrap_err().kind();
        assert!([ErrorKind::Closed, ErrorKind::TooLarge].contains(&incr));
        assert!(is(other.delete_if(b"a", 1), ErrorKind::Closed));
        assert!(is(other.delete_many(&[b"a"]), ErrorKind::Closed));
        assert!(is(other.reserve(b"a", 1, &PutOptions::default()), ErrorKind::Closed));
        assert!(is(other.invalidate(Match::All), ErrorKind::Closed));
        assert!(is(other.scan(Match::All), ErrorKind::Closed));
        assert!(is(other.clear(), ErrorKind::Closed));
        let lease = self.leases.iter().find(|held| held.store == other.id());
        Self::claims_closed(&other, lease.map(|held| held.lease));
        twin.loads.close();
        other.validate().unwrap();
        assert_eq!(other.stats().entries, 0);
        if let Some(name) = &twin.config.name {
            assert!(self.pool.find_store(name).unwrap().is_none());
        }
    }

    /// The stores by name, and all of them.
    pub fn find(&mut self) {
        self.log.begin("find", || "");
        let mut ids: Vec<_> = self.pool.stores().iter().map(|store| store.id()).collect();
        ids.sort_unstable();
        let mut expected: Vec<_> = self.twins.iter().map(|twin| twin.store.id()).collect();
        expected.sort_unstable();
        assert_eq!(ids, expected);
        let named = self.pool.find_store("second").unwrap().map(|store| store.id());
        let expected = self.twins.iter().find(|twin| twin.config.name.is_some());
        assert_eq!(named, expected.map(|twin| twin.store.id()));
        assert!(self.pool.find_store("none").unwrap().is_none());
    }

    /// A store whose handles all go ends; its views and drafts stay good.
    pub fn forget_handles(&mut self) {
        if self.twins.len() < 2 {
            return;
        }
        let twin = self.twins.remove(self.at);
        self.at = 0;
        let id = twin.store.id();
        self.log.begin("forget handles", || format!("of store {id}"));
        self.scans.retain(|scan| !scan.is_of(id));
        self.drafts.retain(|held| held.store != id);
        self.leases.retain(|held| held.store != id);
        drop(twin);
        assert_eq!(self.pool.stores().len(), 1);
    }

    pub fn pool_limit(&mut self, input: &mut Input<'_>) {
        let bytes = match input.byte() {
            byte @ 0..128 => MIB * u64::from(byte % 12 + 1),
            byte @ 128..224 => MIB + u64::from(byte - 128) * 100_000,
            byte => [0, 1, MIB - 1, MIB, 1 << 41, u64::MAX, 12 * MIB, 12 * MIB + 1]
                [usize::from(byte & 7)],
        };
        self.log.begin("pool limit", || bytes);
        let most = self.pool.config().limit_max_bytes;
        let before = self.pool.stats();
        match self.pool.set_limit(bytes) {
            Ok(LimitOutcome::Reached) => {
                self.log.result("reached", || "");
                let stats = self.pool.stats();
                assert_eq!((stats.limit_bytes, stats.target_bytes), (bytes, bytes));
            }
            Ok(LimitOutcome::Partial) => {
                let stats = self.pool.stats();
                self.log.result("partial", || format!("{stats:?}"));
                assert_eq!(stats.target_bytes, bytes);
                assert!(stats.limit_bytes >= stats.used_bytes && stats.used_bytes > bytes);
                let waiting = self.pool.space().waiting_bytes();
                let held = stats.held_bytes + stats.pinned_bytes + waiting;
                assert!(held > bytes / 8, "nothing stands against it: {stats:?}");
            }
            Ok(LimitOutcome::Superseded) => panic!("nobody else sets a limit"),
            Err(error) => {
                self.log.result("limit refused", || &error);
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(bytes < MIB || bytes > most, "{error}");
                assert!(error.context().contains(&bytes.to_string()), "{error}");
                assert_eq!(self.pool.stats().target_bytes, before.target_bytes);
            }
        }
    }

    pub fn store_limit(&mut self, input: &mut Input<'_>) {
        let bytes = match input.byte() {
            byte @ 0..200 => u64::from(byte % 20) * (MIB / 4),
            byte @ 200..240 => MIB / 4 + u64::from(byte) * 3_000,
            byte => [1, MIB / 4 - 1, MIB / 4, u64::MAX][usize::from(byte & 3)],
        };
        self.log.begin("store limit", || bytes);
        let before = self.twin().store.config().limit_bytes;
        match self.twin().store.set_limit(bytes) {
            Ok(()) => {
                let used = self.twin().store.stats().used_bytes;
                assert!(bytes == 0 || used <= bytes, "{used} of {bytes}");
                assert_eq!(self.twin().store.config().limit_bytes, bytes);
            }
            Err(error) => {
                self.log.result("limit refused", || &error);
                assert_eq!(self.twin().store.config().limit_bytes, before);
                let most = self.pool.config().limit_max_bytes;
                match error.kind() {
                    ErrorKind::NoSpace => assert!(bytes < MIB || !self.views.is_empty(), "{error}"),
                    ErrorKind::Invalid => assert!(bytes < MIB / 4 || bytes > most, "{error}"),
                    other => panic!("{other:?}: {error}"),
                }
            }
        }
    }

    pub fn trim(&mut self, input: &mut Input<'_>) {
        let bytes = u64::from(input.byte()) * (MIB / 64);
        self.log.begin("trim", || format!("to {bytes}"));
        let before = self.pool.stats().used_bytes;
        let freed = self.pool.trim(bytes).unwrap();
        let stats = self.pool.stats();
        self.log.result("trimmed", || freed);
        assert_eq!(before - stats.used_bytes, freed);
    }

    pub fn thresholds(&mut self, input: &mut Input<'_>) {
        let (elevated_pct, high_pct, critical_pct) =
            (u32::from(input.byte()), u32::from(input.byte()), u32::from(input.byte()));
        let thresholds = Thresholds { elevated_pct, high_pct, critical_pct };
        self.log.begin("thresholds", || format!("{thresholds:?}"));
        let before = self.pool.config().thresholds;
        let sound = 0 < elevated_pct
            && elevated_pct <= high_pct
            && high_pct <= critical_pct
            && critical_pct <= 100;
        match self.pool.set_thresholds(thresholds) {
            Ok(()) => {
                assert!(sound);
                assert_eq!(self.pool.config().thresholds, Some(thresholds));
            }
            Err(error) => {
                self.log.result("thresholds refused", || &error);
                assert!(!sound && error.kind() == ErrorKind::Invalid);
                assert_eq!(self.pool.config().thresholds, before);
            }
        }
        let mut seq = 0;
        if let Some(level) = self.pool.wait_pressure(&mut seq, Duration::ZERO) {
            self.log.note("pressure");
            assert!(level >= Pressure::None);
        }
    }

    /// Statistics agree with each other.
    pub fn look(&mut self) {
        self.log.begin("look", || "");
        let pool = self.pool.stats();
        assert_eq!(pool.stores, self.twins.len() as u64);
        assert!(pool.used_bytes <= pool.peak_bytes);
        for part in [pool.pinned_bytes, pool.held_bytes, pool.app_bytes, pool.overhead_bytes] {
            assert!(part <= pool.used_bytes, "{pool:?}");
        }
        for twin in &self.twins {
            let stats = twin.store.stats();
            assert!(stats.used_bytes <= pool.used_bytes, "{stats:?} {pool:?}");
            assert!(stats.payload_bytes <= stats.used_bytes, "{stats:?}");
            let latency = twin.store.latency(LatencyOp::Get);
            assert_eq!(latency.is_some(), twin.config.latency);
            if let Some(latency) = latency {
                assert!(latency.min_ns <= latency.p50_ns && latency.p50_ns <= latency.p99_ns);
                assert!(latency.p99_ns <= latency.max_ns, "{latency:?}");
            }
        }
    }

    /// What breaks the contract is refused by name, and changes nothing.
    pub fn wrong_arguments(&mut self, input: &mut Input<'_>) {
        let long = vec![b'x'; 65_536 + usize::from(input.byte())];
        self.log.begin("wrong arguments", || long.len());
        let store = self.twin().store.clone();
        let before = store.stats();
        let named = |error: Error| {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.context().contains("key"), "{error}");
        };
        let options = PutOptions::default();
        named(store.set(&long, b"v").unwrap_err());
        named(store.get_vec(&long).unwrap_err());
        named(store.pin(&long, false).map(|_| ()).unwrap_err());
        named(store.contains(&long).unwrap_err());
        named(store.take(&long, &mut []).unwrap_err());
        named(store.touch(&long, Ttl::Keep).unwrap_err());
        named(store.incr(&long, 1, 1, Ttl::Keep).unwrap_err());
        named(store.delete(&long).unwrap_err());
        named(store.delete_if(&long, 1).unwrap_err());
        let at_once = ClaimOptions::default();
        named(store.claim(&long, at_once).map(|_| ()).unwrap_err());
        named(store.get_or_claim(&long, &mut [], at_once).map(|_| ()).unwrap_err());
        named(store.reserve(&long, 1, &options).map(|_| ()).unwrap_err());
        let mut out = [BatchRead::Miss];
        store.get_many(&[&long], true, &mut [], &mut out).unwrap();
        assert_eq!(out, [BatchRead::Failed(ErrorKind::Invalid)]);
        let error = store.get_many(&[b"a", b"b"], true, &mut [], &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(store.stats(), before, "something changed");
    }
}
