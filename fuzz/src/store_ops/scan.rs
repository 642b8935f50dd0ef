//! Walks, at once and in pieces with other operations between them. Rule 5.

use super::keys::Which;
use super::world::World;
use crate::input::Input;
use hypercache_core::ErrorKind;
use hypercache_core::store::Scan;
use std::collections::HashSet;

/// A scan that has begun.
pub struct HeldScan {
    /// The store's id.
    store: u32,
    scan: Scan,
    which: Which,
    /// Keys that it must show unless they are disturbed or lost.
    due: HashSet<Vec<u8>>,
    /// Keys written or removed since it began.
    disturbed: HashSet<Vec<u8>>,
    seen: HashSet<Vec<u8>>,
    /// Entries passed because they could not be pinned.
    passed: u32,
}

impl HeldScan {
    pub fn is_of(&self, store: u32) -> bool {
        self.store == store
    }

    pub fn disturb(&mut self, store: u32, key: &[u8]) {
        if store == self.store && !self.disturbed.contains(key) {
            self.disturbed.insert(key.to_vec());
        }
    }
}

impl World<'_> {
    fn begin_scan(&self, which: Which) -> HeldScan {
        let now = self.now();
        let twin = self.twin();
        let due = twin
            .entries
            .iter()
            .filter(|(key, entry)| entry.life.lives(now) && which.takes(key, entry))
            .map(|(key, _)| key.clone())
            .collect();
        HeldScan {
            store: twin.store.id(),
            scan: twin.store.scan(which.wanted()).unwrap(),
            which,
            due,
            disturbed: HashSet::new(),
            seen: HashSet::new(),
            passed: 0,
        }
    }

    pub fn scan(&mut self, input: &mut Input<'_>) {
        let which = Which::read(input);
        let views = input.flag();
        self.log.begin("scan", || format!("{which:?} views {views}"));
        let mut held = self.begin_scan(which);
        while self.advance_scan(&mut held, views) {}
    }

    pub fn open_scan(&mut self, input: &mut Input<'_>) {
        let which = Which::read(input);
        self.log.begin("open scan", || format!("{which:?}"));
        let held = self.begin_scan(which);
        if self.scans.len() == 3 {
            self.scans.remove(0);
        }
        self.scans.push(held);
    }

    pub fn step_scan(&mut self, input: &mut Input<'_>) {
        let (which, steps) = (input.byte(), input.byte());
        if self.scans.is_empty() {
            return;
        }
        let at = usize::from(which >> 1) % self.scans.len();
        self.log.begin("step scan", || format!("scan {at}, {steps} steps"));
        let mut held = self.scans.remove(at);
        let before = self.at;
        let Some(store) = self.twins.iter().position(|twin| twin.store.id() == held.store) else {
            let error = held.scan.next(which & 1 != 0).map(|_| ()).unwrap_err();
            self.log.result("closed", || &error);
            assert_eq!(error.kind(), ErrorKind::Closed);
            return;
        };
        self.at = store;
        let goes_on = (0..steps).all(|_| self.advance_scan(&mut held, which & 1 != 0));
        self.at = before;
        if goes_on {
            self.scans.insert(at, held);
        }
    }

    /// One step; false at the end.
    fn advance_scan(&mut self, held: &mut HeldScan, views: bool) -> bool {
        let now = self.now();
        let (key, view) = match held.scan.next(views) {
            Ok(Some(entry)) => (entry.key.to_vec(), entry.view),
            Ok(None) => {
                self.end_scan(held);
                return false;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                held.passed += 1;
                return true;
            }
        };
        self.log.note("scanned");
        let is_new = held.seen.insert(key.clone());
        assert!(is_new || held.disturbed.contains(&key), "{} was seen twice", key.escape_ascii());
        self.twin_mut().found(&key, now);
        assert!(held.which.takes(&key, &self.twin().entries[&key]), "it does not match");
        assert_eq!(view.is_some(), views);
        if let Some(view) = view {
            self.pinned(&key, Ok(Some(view)));
        }
        true
    }

    fn end_scan(&mut self, held: &mut HeldScan) {
        self.log.result("scan ended", || held.seen.len());
        let now = self.now();
        for key in held.due.difference(&held.seen) {
            if held.disturbed.contains(key) || !self.twin().lives(key, now) {
                continue;
            }
            if self.twin().store.contains(key) == Ok(false) {
                self.missing(key, "scan");
            } else if held.passed > 0 {
                held.passed -= 1;
            } else {
                panic!("{} was there and not seen", key.escape_ascii());
            }
        }
    }
}
