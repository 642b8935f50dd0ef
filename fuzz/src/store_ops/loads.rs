//! Claims, and how what they grant ends.

use super::keys::{How, Mode, key};
use super::life::Life;
use super::read::marked;
use super::twin::{Entry, shown};
use super::world::World;
use crate::input::Input;
use hypercache_core::store::{Ended, View, Waits};
use hypercache_core::{
    Claim, ClaimOptions, DropReason, Error, ErrorKind, Lease, LoadError, LoadOptions, Loaded,
    PutOutcome, Read, Result,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Bytes of records that a shard has room for under any limit: 16 of 128.
const CERTAIN_BYTES: usize = 16 * 128;
/// Leases that an input keeps, ended or not.
const LEASES_MAX: usize = 24;

/// What the store knows of the load of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Held(Lease),
    /// Given up, for whoever comes first.
    Offered,
    Failed,
    Absent,
}

#[derive(Clone, Copy, Debug)]
struct Load {
    state: State,
    until: u64,
    /// Whether it is there for certain: no more is being loaded than there is room for.
    is_certain: bool,
}

/// What a wait may be told, and whether it is to be told now.
#[derive(Clone, Debug)]
enum Told {
    /// The lease has not ended, or nobody can tell.
    Perhaps,
    Again,
    Failed,
    Absent,
    /// This value, or that it was declined.
    Value(Arc<[u8]>),
}

#[derive(Debug)]
struct Waiting {
    key: Vec<u8>,
    told: Told,
}

/// The loads of a store.
#[derive(Default)]
pub struct Loads {
    by_key: HashMap<Vec<u8>, Load>,
    waits: Option<Waits>,
    waiting: HashMap<u64, Waiting>,
    granted: HashSet<(u64, u64)>,
    cookies: u64,
}

/// A lease, ended or not.
pub struct HeldLease {
    /// The store's id.
    pub store: u32,
    pub key: Vec<u8>,
    pub lease: Lease,
}

impl Loads {
    fn active(&self, key: &[u8], now: u64) -> Option<Load> {
        self.by_key.get(key).copied().filter(|load| now < load.until)
    }

    /// The load that a lease stands for, if it has not ended.
    fn of(&self, key: &[u8], lease: Lease, now: u64) -> Option<Load> {
        self.active(key, now).filter(|load| load.state == State::Held(lease))
    }

    fn begin(&mut self, key: &[u8], state: State, until: u64) {
        let bytes = |key: &[u8]| 128 + if key.len() > 56 { key.len() } else { 0 };
        self.by_key.insert(key.to_vec(), Load { state, until, is_certain: true });
        if self.by_key.keys().map(|key| bytes(key)).sum::<usize>() > CERTAIN_BYTES {
            self.by_key.values_mut().for_each(|load| load.is_certain = false);
        }
    }

    fn tell(&mut self, key: &[u8], told: &Told) {
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.key == key) {
            if matches!(waiting.told, Told::Perhaps) {
                waiting.told = told.clone();
            }
        }
    }

    /// The load of a key ended, or what was remembered of it, if there was one.
    pub fn end(&mut self, key: &[u8]) {
        if self.by_key.remove(key).is_some() {
            self.tell(key, &Told::Again);
        }
    }

    /// Those of these keys ended.
    pub fn end_all(&mut self, concerns: impl Fn(&[u8]) -> bool) {
        let keys: Vec<_> = self.by_key.keys().filter(|key| concerns(key)).cloned().collect();
        keys.iter().for_each(|key| self.end(key));
    }

    fn waiting_for(&self, key: &[u8]) -> usize {
        self.waiting.values().filter(|waiting| waiting.key == key).count()
    }

    /// Everything that waits have to tell.
    pub fn drain(&mut self) {
        let Some(waits) = &self.waits else { return };
        while let Some((cookie, ended)) = waits.next().unwrap() {
            let Some(waiting) = self.waiting.remove(&cookie) else {
                panic!("wait {cookie} was told twice, or never asked for: {ended:?}")
            };
            match (&waiting.told, &ended) {
                // An end that needs no reason: more is loaded than there is room for, or an offer.
                (_, Ended::Again)
                | (Told::Failed, Ended::LoadFailed)
                | (Told::Absent, Ended::Absent)
                | (Told::Value(_), Ended::Declined) => {}
                (Told::Value(value), Ended::Value(view)) => assert!(**view == **value),
                told => panic!("{}: {told:?}", shown(&waiting.key)),
            }
        }
        for waiting in self.waiting.values() {
            assert!(matches!(waiting.told, Told::Perhaps), "not told: {waiting:?}");
        }
    }

    /// Ends all, and forgets who waits.
    pub fn close(&mut self) {
        self.end_all(|_| true);
        self.drain();
        self.waits = None;
        assert!(self.waiting.is_empty());
    }
}

impl Entry {
    /// Whether a claim may find that it is to be loaded anew.
    fn may_be_due(&self, now: u64) -> bool {
        self.soft.earliest <= now
    }
}

impl World<'_> {
    fn read_claim(input: &mut Input<'_>) -> ClaimOptions {
        let byte = input.byte();
        // All leases are this thread's: with any patience it is told so at once.
        let timeout_ms = if byte & 6 == 6 { u64::MAX } else { 0 };
        ClaimOptions { timeout_ms, stale: byte & 1 != 0 }
    }

    pub fn claim(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        let options = Self::read_claim(input);
        self.begin("claim", &key, || format!("{options:?}"));
        let claim = self.twin().store.claim(&key, options);
        if let Some(view) = self.claimed(&key, options, claim) {
            let now = self.now();
            self.may_be_read(&key);
            self.twin_mut().has_value(&key, now, &view);
            self.has_info_or_old(&key, view.info());
        }
    }

    pub fn get_or_claim(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        let options = Self::read_claim(input);
        let now = self.now();
        let len = self.twin().maybe(&key, now).map_or(9, |entry| entry.value.len());
        let room = len.saturating_sub(usize::from(input.byte() & 1));
        self.begin("get or claim", &key, || format!("{options:?} into {room}"));
        let mut buf = marked(room);
        let claim = self.twin().store.get_or_claim(&key, &mut buf, options);
        match self.claimed(&key, options, claim) {
            None => assert!(super::read::filled(&buf).iter().all(|&byte| byte == 0xEE)),
            Some(Read::Miss) => panic!("a claim that came to nothing"),
            Some(Read::Hit(info)) => {
                self.may_be_read(&key);
                let value = super::read::filled(&buf[..info.len]);
                self.twin_mut().has_value(&key, now, &value);
                self.has_info_or_old(&key, &info);
            }
            Some(Read::SmallBuffer(info)) => {
                assert!(info.len > room);
                self.has_info_or_old(&key, &info);
            }
        }
    }

    /// A value that is certainly to be loaded anew is shown only while somebody does so, or could
    /// not.
    fn may_be_read(&self, key: &[u8]) {
        let (now, twin) = (self.now(), self.twin());
        if let Some(entry) = twin.maybe(key, now)
            && entry.soft.latest <= now
        {
            assert!(twin.loads.active(key, now).is_some(), "{}: old and nobody's", shown(key));
        }
    }

    fn has_info_or_old(&mut self, key: &[u8], info: &hypercache_core::Info) {
        let now = self.now();
        let old = self.twin().maybe(key, now).cloned();
        match old {
            Some(entry) if info.ttl_ms == Some(0) && entry.may_be_due(now) => {
                let found = (info.len, info.session, info.value_type, info.flags);
                let expected = (entry.value.len(), entry.session, entry.value_type, entry.flags);
                assert_eq!(found, expected, "{}: metadata", shown(key));
                self.twin_mut().found(key, now);
            }
            _ => self.twin_mut().has_info(key, now, info),
        }
    }

    /// What a claim came to: its value, if it is one.
    fn claimed<T>(
        &mut self,
        key: &[u8],
        options: ClaimOptions,
        claim: Result<Claim<T>>,
    ) -> Option<T> {
        let now = self.now();
        let load = self.twin().loads.active(key, now);
        let state = load.map(|load| load.state);
        match claim {
            Ok(Claim::Value(value)) => {
                self.log.result("claim hit", || "");
                return Some(value);
            }
            Ok(Claim::Claimed(lease)) => {
                self.log.result("claimed", || format!("{lease:?}"));
                let is_free = match load {
                    None => true,
                    Some(load) => load.state == State::Offered || !load.is_certain,
                };
                assert!(is_free, "{}: two have it: {load:?}", shown(key));
                self.granted(key, lease);
            }
            Ok(Claim::TimedOut) => {
                self.log.result("busy", || "");
                assert_eq!(options.timeout_ms, 0);
                assert!(matches!(state, Some(State::Held(_))), "{}: {load:?}", shown(key));
            }
            Ok(Claim::Absent) => {
                self.log.result("known to be absent", || "");
                assert_eq!(state, Some(State::Absent));
            }
            Ok(Claim::LoadFailed) => {
                self.log.result("known to fail", || "");
                assert_eq!(state, Some(State::Failed));
            }
            Ok(Claim::Declined) => panic!("nobody has waited"),
            Err(error) => {
                self.log.result("no claim", || &error);
                match error.kind() {
                    ErrorKind::Deadlock => {
                        assert_ne!(options.timeout_ms, 0);
                        assert!(matches!(state, Some(State::Held(_))), "{load:?}");
                    }
                    // A view under the pin limit, or a record: neither evicts what is pinned.
                    ErrorKind::NoSpace => return None,
                    other => panic!("{other:?}: {error}"),
                }
            }
        }
        if !self.twin().maybe(key, now).is_some_and(|entry| entry.may_be_due(now)) {
            self.missing(key, "claim");
        }
        None
    }

    fn granted(&mut self, key: &[u8], lease: Lease) {
        let (now, id) = (self.now(), self.twin().store.id());
        let twin = self.twin_mut();
        assert_ne!(lease.generation, 0);
        assert!(twin.loads.granted.insert((lease.id, lease.generation)), "granted twice");
        let until = now.saturating_add(twin.config.lease_ms);
        twin.loads.begin(key, State::Held(lease), until);
        if self.leases.len() == LEASES_MAX {
            self.leases.remove(0);
        }
        self.leases.push(HeldLease { store: id, key: key.to_vec(), lease });
    }

    /// One of the leases of the present store, or one that was made up.
    fn pick_lease(&mut self, input: &mut Input<'_>) -> Option<HeldLease> {
        let (byte, store) = (input.byte(), self.twin().store.id());
        let mine: Vec<_> =
            (0..self.leases.len()).filter(|&at| self.leases[at].store == store).collect();
        let at = *mine.get(usize::from(byte & 31) % mine.len().max(1))?;
        let mut held = HeldLease { key: self.leases[at].key.clone(), ..self.leases[at] };
        match byte >> 5 {
            // Another store's, or another record's.
            6 => held.lease = self.leases[usize::from(input.byte()) % self.leases.len()].lease,
            7 => held.lease.id ^= 1 << (input.byte() & 63),
            // Some stay, to be used again.
            0 => {}
            _ => drop(self.leases.remove(at)),
        }
        // The lease decides for which key it is.
        if byte >> 5 >= 6 {
            let loads = &self.twin().loads.by_key;
            let owner = loads.iter().find(|(_, load)| load.state == State::Held(held.lease));
            held.key = owner.map_or_else(|| b"nobody's".to_vec(), |(key, _)| key.clone());
        }
        Some(held)
    }

    pub fn lease_put(&mut self, input: &mut Input<'_>) {
        let Some(held) = self.pick_lease(input) else { return };
        let how = How::read(input);
        let how = match how.mode {
            Mode::Cas | Mode::StaleCas | Mode::Replace => How { mode: Mode::Set, ..how },
            Mode::Set | Mode::Add => how,
        };
        let soft_ttl_ms = [0, 0, 0, 1, 500, 1 << 40, u64::MAX, 0][usize::from(input.byte() & 7)];
        let len = self.len(input);
        let (key, lease) = (&held.key, held.lease);
        self.begin("lease put", key, || format!("{lease:?} {len} bytes {how:?} {soft_ttl_ms}"));
        let value: Arc<[u8]> = self.value(len).into();
        let mut wanted = self.wanted(key, &value, how);
        wanted.options.soft_ttl_ms = soft_ttl_ms;
        let load = self.twin().loads.of(key, lease, self.now());
        let result = self.twin().store.lease_put(lease, &value, &wanted.options);
        if how.mode != Mode::Set {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
            return self.cancelled(key, load);
        }
        match result {
            Ok(PutOutcome::Conflict) => {
                self.log.result("lease conflict", || "");
                assert!(load.is_none_or(|load| !load.is_certain), "{}: {load:?}", shown(key));
                let loads = &mut self.twin_mut().loads;
                if loads.by_key.get(key).is_some_and(|load| load.state == State::Held(lease)) {
                    loads.end(key);
                }
            }
            result => {
                assert!(load.is_some(), "{}: {result:?} under a lease that ended", shown(key));
                self.log.note("lease put went");
                let loads = &mut self.twin_mut().loads;
                if result.is_err() {
                    loads.tell(key, &Told::Value(Arc::clone(&value)));
                }
                loads.end(key);
                let is_stored = result.is_ok();
                self.wrote(&wanted, result);
                if is_stored && let Some(entry) = self.twin_mut().entries.get_mut(key) {
                    // It may be loaded anew early.
                    entry.soft.earliest = 0;
                }
            }
        }
        self.twin_mut().loads.drain();
    }

    /// A lease was given up: it is on offer if somebody waits.
    fn cancelled(&mut self, key: &[u8], load: Option<Load>) {
        let loads = &mut self.twin_mut().loads;
        if let Some(load) = load {
            let waiting = loads.waiting_for(key);
            if waiting == 0 {
                loads.by_key.remove(key);
            } else if let Some(kept) = loads.by_key.get_mut(key) {
                kept.state = State::Offered;
                loads.drain();
                let left = loads.waiting_for(key);
                assert!(left == waiting - 1 || !load.is_certain, "{left} of {waiting} wait");
            }
        }
        loads.drain();
    }

    pub fn lease_drop(&mut self, input: &mut Input<'_>) {
        let Some(held) = self.pick_lease(input) else { return };
        let byte = input.byte();
        let ms = [0, 1, 50, 10_000, u64::MAX][usize::from(byte >> 2) % 5];
        let reason = match byte & 3 {
            0 | 3 => DropReason::Cancelled,
            1 => DropReason::Failed { retry_ms: ms },
            _ => DropReason::Absent { ttl_ms: ms },
        };
        let (key, lease) = (&held.key, held.lease);
        self.begin("lease drop", key, || format!("{lease:?} {reason:?}"));
        let now = self.now();
        let load = self.twin().loads.of(key, lease, now);
        self.twin().store.lease_drop(lease, reason).unwrap();
        if load.is_none() {
            let loads = &mut self.twin_mut().loads;
            if loads.by_key.get(key).is_some_and(|load| load.state == State::Held(lease)) {
                loads.end(key);
            }
            return loads.drain();
        }
        let is_certain = load.is_some_and(|load| load.is_certain);
        self.log.note(match reason {
            DropReason::Cancelled => "load cancelled",
            DropReason::Failed { .. } => "load failed",
            DropReason::Absent { .. } => "absent",
        });
        let twin = self.twin_mut();
        let until = |ms: u64| now.saturating_add(ms);
        match reason {
            DropReason::Cancelled => return self.cancelled(key, load),
            DropReason::Failed { retry_ms } => {
                twin.loads.tell(key, &Told::Failed);
                twin.loads.by_key.remove(key);
                let keep_on = twin.config.stale_if_error_ms;
                if let Some(entry) = twin.entries.get_mut(key)
                    && keep_on != 0
                {
                    entry.life.latest = entry.life.latest.max(until(keep_on));
                }
                twin.loads.begin(key, State::Failed, until(retry_ms));
            }
            DropReason::Absent { ttl_ms } => {
                twin.loads.tell(key, &Told::Absent);
                let ms = if ttl_ms == 0 { twin.config.negative_ttl_ms } else { ttl_ms };
                if is_certain {
                    twin.removed(key);
                    self.disturb(key);
                } else if self.twin().store.contains(key) == Ok(false) {
                    self.twin_mut().vague += 1;
                    self.twin_mut().removed(key);
                    self.disturb(key);
                }
                self.twin_mut().loads.begin(key, State::Absent, until(ms));
            }
        }
        let loads = &mut self.twin_mut().loads;
        if !is_certain && let Some(load) = loads.by_key.get_mut(key) {
            load.is_certain = false;
        }
        loads.drain();
    }

    pub fn wait_add(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        self.begin("wait", &key, String::new);
        let now = self.now();
        let twin = self.twin_mut();
        if twin.loads.waits.is_none() {
            twin.loads.waits = Some(twin.store.waits().unwrap());
        }
        let Some(waits) = &twin.loads.waits else { return };
        let cookie = twin.loads.cookies;
        let added = waits.add(&key, cookie);
        let load = twin.loads.active(&key, now);
        let held = load.filter(|load| matches!(load.state, State::Held(_)));
        match added {
            Ok(Some(left)) => {
                assert_eq!(held.map(|load| load.until - now), Some(left), "{}", shown(&key));
                twin.loads.cookies += 1;
                twin.loads.waiting.insert(cookie, Waiting { key, told: Told::Perhaps });
                self.log.note("waits");
            }
            Ok(None) => assert!(held.is_none_or(|load| !load.is_certain), "{}", shown(&key)),
            Err(error) => {
                self.log.result("no wait", || &error);
                assert_eq!(error.kind(), ErrorKind::NoSpace);
            }
        }
    }

    /// The claim, the load and the put in one; the load may write its own key meanwhile.
    pub fn get_or_load(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        let (what, writes) = (input.byte(), input.flag());
        let claim = Self::read_claim(input);
        self.begin("get or load", &key, || format!("{what} writes {writes} {claim:?}"));
        let (now, evicted) = (self.now(), self.twin().store.stats().evicted);
        let load = self.twin().loads.active(&key, now);
        let own: Arc<[u8]> = self.value(usize::from(what)).into();
        let other: Arc<[u8]> = self.value(9).into();
        let store = self.twin().store.clone();
        let options = LoadOptions { claim, ..LoadOptions::default() };
        let (mut has_loaded, mut written) = (false, None);
        let loaded = store.get_or_load(&key, &options, || {
            has_loaded = true;
            if writes {
                written = Some(store.set(&key, &other));
            }
            match what {
                0..200 => Ok(Some(own.to_vec())),
                200..228 => Ok(None),
                _ => Err("no source"),
            }
        });
        let state = load.map(|load| load.state);
        match &loaded {
            Ok(Some(Loaded::Own(value))) => assert!(has_loaded && **value == *own),
            Ok(Some(Loaded::Cached(view))) => {
                assert!(!has_loaded);
                self.may_be_read(&key);
                self.twin_mut().has_value(&key, now, view);
                return;
            }
            Ok(None) => assert!(has_loaded || state == Some(State::Absent)),
            Err(LoadError::Load(_)) => assert!(has_loaded),
            Err(LoadError::Failed) => assert_eq!(state, Some(State::Failed)),
            Err(LoadError::Cache(error)) => {
                let kind = error.kind();
                let is_held = matches!(state, Some(State::Held(_)));
                assert!(kind == ErrorKind::Deadlock && is_held || kind == ErrorKind::NoSpace);
                return;
            }
        }
        if !has_loaded {
            return;
        }
        self.log.note("read through");
        if let Some(result) = written {
            let wanted = self.wanted(&key, &other, How::PLAIN);
            self.wrote(&wanted, result);
            return self.twin_mut().loads.drain();
        }
        if load.is_some_and(|load| matches!(load.state, State::Held(_))) {
            // It did not wait, or its lease ended early: then it had one of its own.
            let certain = load.is_some_and(|load| load.is_certain);
            if !certain {
                self.forget_what_is_known(&key);
            }
            return;
        }
        // Its own lease has come and gone; what it stored is there, or was declined.
        self.disturb(&key);
        let twin = self.twin_mut();
        twin.loads.end(&key);
        match loaded {
            Ok(Some(_)) if twin.store.contains(&key).unwrap() => {
                let life = twin.rules.life(now, hypercache_core::Ttl::Default, None);
                let soft = Life { earliest: 0, ..twin.rules.soft(now, 0) };
                let entry = Entry { life, soft, evicted, ..Entry::plain(own) };
                twin.entries.insert(key.clone(), entry);
            }
            Ok(Some(_)) => {
                twin.vague += 1;
                twin.removed(&key);
            }
            Ok(None) => {
                twin.removed(&key);
                let until = now.saturating_add(twin.config.negative_ttl_ms);
                twin.loads.begin(&key, State::Absent, until);
            }
            Err(_) => {
                let keep_on = twin.config.stale_if_error_ms;
                if let Some(entry) = twin.entries.get_mut(&key)
                    && keep_on != 0
                {
                    entry.life.latest = entry.life.latest.max(now.saturating_add(keep_on));
                }
            }
        }
        self.twin_mut().loads.drain();
    }

    /// The key may hold one of several values: it is removed.
    fn forget_what_is_known(&mut self, key: &[u8]) {
        self.twin().store.delete(key).unwrap();
        self.disturb(key);
        let twin = self.twin_mut();
        twin.vague += 1;
        twin.removed(key);
        twin.loads.drain();
    }

    /// Whatever a destroyed store is asked.
    pub fn claims_closed(store: &hypercache_core::Store, lease: Option<Lease>) {
        let closed = |error: Error| assert_eq!(error.kind(), ErrorKind::Closed);
        let at_once = ClaimOptions { timeout_ms: u64::MAX, stale: true };
        closed(store.claim(b"a", at_once).map(|_: Claim<View>| ()).unwrap_err());
        closed(store.get_or_claim(b"a", &mut [], at_once).map(|_| ()).unwrap_err());
        closed(store.waits().map(|_| ()).unwrap_err());
        if let Some(lease) = lease {
            let options = hypercache_core::PutOptions::default();
            closed(store.lease_put(lease, b"v", &options).unwrap_err());
            closed(store.lease_drop(lease, DropReason::Cancelled).unwrap_err());
        }
    }
}
