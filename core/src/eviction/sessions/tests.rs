//! The table against a twin that keeps its sessions in a list and looks at all of them.

use super::{Ends, SessionLimits, Sessions};

const LIMITS: SessionLimits =
    SessionLimits { ttl_ms: 1_800_000, idle_s: 600, grace_ms: 120_000, rows: 30 };

fn table(limits: SessionLimits) -> Sessions {
    let words = Sessions::bytes(limits.rows).div_ceil(8) as usize;
    let memory = vec![0_u64; words].leak();
    // SAFETY: as many zeroed bytes, aligned to 8, that are never freed.
    unsafe { Sessions::new(memory.as_mut_ptr().cast(), limits) }
}

struct Group {
    id: u64,
    ticket: u64,
    began_ms: u64,
    last_s: u64,
    bytes: Vec<u64>,
}

/// Sessions in the order in which they began.
struct Twin {
    live: Vec<Group>,
    dead: Vec<(u64, u64)>,
    unowned: Vec<u64>,
    now_ms: u64,
}

impl Twin {
    fn is_over(&self, group: &Group) -> bool {
        self.now_ms - group.began_ms >= LIMITS.ttl_ms
    }

    fn end(&mut self, at: usize) {
        let group = self.live.remove(at);
        self.dead.extend(group.bytes.into_iter().map(|bytes| (group.ticket, bytes)));
    }

    fn expire(&mut self) {
        while self.live.first().is_some_and(|group| self.is_over(group)) {
            self.end(0);
        }
    }

    /// The rule as it is written.
    fn victim(&self) -> Option<usize> {
        let free = self.dead.iter().map(|(_, bytes)| bytes).chain(&self.unowned).sum::<u64>();
        let owned: u64 = self.live.iter().flat_map(|group| &group.bytes).sum();
        if self.live.is_empty() || free * 4 >= free + owned {
            return None;
        }
        let idle_s = |group: &Group| self.now_ms / 1000 - group.last_s;
        let most_idle = self.live.iter().map(idle_s).max().unwrap();
        if most_idle > u64::from(LIMITS.idle_s) {
            return self.live.iter().position(|group| idle_s(group) == most_idle);
        }
        let in_grace = self.now_ms - self.live[0].began_ms < LIMITS.grace_ms;
        (!in_grace || free * 16 < free + owned).then_some(0)
    }
}

#[test]
fn ends_what_the_twin_ends() {
    for seed in 1..=20_u64 {
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut roll = |below: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            (dice >> 20) % below
        };
        let sessions = table(LIMITS);
        let (live, dead, unowned) = (Vec::new(), Vec::new(), Vec::new());
        let mut twin = Twin { live, dead, unowned, now_ms: 5_000_000 };
        let mut ends = Ends::default();
        for step in 0..20_000 {
            let now = twin.now_ms;
            match roll(100) {
                0..45 => {
                    let id = roll(80) + 1;
                    let ticket = sessions.enter(id, now, &mut ends);
                    match twin.live.iter().position(|group| group.id == id) {
                        Some(at) if !twin.is_over(&twin.live[at]) => {}
                        found => {
                            if let Some(at) = found {
                                twin.end(at);
                            }
                            if twin.live.len() == LIMITS.rows as usize {
                                twin.end(0);
                            }
                            let (began_ms, bytes) = (now, Vec::new());
                            twin.live.push(Group { id, ticket, began_ms, last_s: 0, bytes });
                        }
                    }
                    let group = twin.live.iter_mut().find(|group| group.id == id).unwrap();
                    assert_eq!(group.ticket, ticket, "step {step}");
                    group.last_s = now / 1000;
                    let bytes = 40 + roll(400);
                    assert!(sessions.joined(ticket, bytes));
                    group.bytes.push(bytes);
                }
                45..55 => {
                    let bytes = 40 + roll(100);
                    assert!(sessions.joined(0, bytes));
                    twin.unowned.push(bytes);
                }
                55..65 if !twin.live.is_empty() => {
                    let at = roll(twin.live.len() as u64) as usize;
                    if !twin.is_over(&twin.live[at]) {
                        twin.live[at].last_s = now / 1000;
                        sessions.access(twin.live[at].ticket, now);
                    }
                }
                65..75 => {
                    // Reclaim comes by: some of what is dead or of no session goes.
                    for _ in 0..roll(30) {
                        if let Some(bytes) = twin.unowned.pop() {
                            sessions.left(0, bytes);
                        }
                        if !twin.dead.is_empty() {
                            let (ticket, bytes) = twin.dead.swap_remove(0);
                            sessions.left(ticket, bytes);
                        }
                    }
                }
                75..78 => {
                    let id = roll(80) + 1;
                    let at = twin.live.iter().position(|group| group.id == id);
                    let had = at.filter(|&at| !twin.is_over(&twin.live[at]));
                    let entries = had.map(|at| twin.live[at].bytes.len() as u64);
                    assert_eq!(sessions.end(id, now).map(|ended| ended.entries), entries);
                    if let Some(at) = at {
                        twin.end(at);
                    }
                }
                78..90 => twin.now_ms += roll(20_000),
                _ => {
                    let made = sessions.make_room(now);
                    twin.expire();
                    let mut ended = 0;
                    while ended < 64
                        && let Some(at) = twin.victim()
                    {
                        // Of sessions that are as idle, either may go.
                        let group = &twin.live[at];
                        let last = group.last_s;
                        let gone = (0..twin.live.len())
                            .filter(|&other| twin.live[other].last_s == last || other == at)
                            .find(|&other| !sessions.is_live(twin.live[other].ticket, now));
                        twin.end(gone.unwrap_or_else(|| panic!("step {step}: one stood")));
                        ended += 1;
                    }
                    assert_eq!(made.evicted.sessions, ended, "seed {seed}, step {step}");
                }
            }
            let idle = |group: &&Group| {
                !twin.is_over(group) && twin.now_ms / 1000 - group.last_s > u64::from(LIMITS.idle_s)
            };
            let live = twin.live.iter().filter(|group| !twin.is_over(group)).count() as u64;
            let counted = sessions.count(twin.now_ms);
            assert_eq!(counted, (live, twin.live.iter().filter(idle).count() as u64));
            assert_eq!(sessions.dead_entries(), twin.dead.len() as u64, "step {step}");
            for group in &twin.live {
                let is_live = sessions.is_live(group.ticket, twin.now_ms);
                assert_eq!(is_live, !twin.is_over(group), "step {step}");
                assert_eq!(sessions.id_of(group.ticket), group.id);
                let found = sessions.find(group.id, twin.now_ms);
                assert!(found.is_none_or(|ticket| ticket == group.ticket));
            }
            for (ticket, _) in &twin.dead {
                assert!(!sessions.is_live(*ticket, twin.now_ms), "step {step}: resurrected");
            }
        }
        assert!(ends.evicted.sessions > 0);
        sessions.end_all();
        let had = twin.live.iter().map(|group| group.bytes.len() as u64).sum::<u64>();
        assert_eq!(sessions.dead_entries(), twin.dead.len() as u64 + had);
        sessions.reset(0, 0);
        assert_eq!((sessions.count(twin.now_ms), sessions.bytes_held()), ((0, 0), 0));
    }
}

#[test]
fn one_row_is_enough() {
    let sessions = table(SessionLimits { rows: 1, ..LIMITS });
    let mut ends = Ends::default();
    let first = sessions.enter(7, 0, &mut ends);
    assert!(sessions.joined(first, 100));
    assert_eq!(sessions.enter(7, 1, &mut ends), first);
    let second = sessions.enter(8, 2, &mut ends);
    assert_ne!(first, second);
    assert!(!sessions.is_live(first, 2) && sessions.is_live(second, 2));
    assert_eq!((ends.evicted.sessions, ends.evicted.entries, ends.evicted.bytes), (1, 1, 100));
    let again = sessions.enter(7, 3, &mut ends);
    assert!(!sessions.is_live(first, 3) && sessions.is_live(again, 3));
    sessions.left(first, 100);
    assert_eq!(sessions.bytes_held(), 0);
}
