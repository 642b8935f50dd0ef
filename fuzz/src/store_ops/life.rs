//! How long an entry lives, as far as that is known.

use hypercache_core::Ttl;

/// Never.
pub const NEVER: u64 = u64::MAX;

/// An entry is over from some instant on, which lies within these bounds. They differ where a time
/// to live was shortened by jitter and nobody has looked since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub earliest: u64,
    pub latest: u64,
}

impl Life {
    pub const fn until(instant: u64) -> Self {
        Self { earliest: instant, latest: instant }
    }

    /// Whether it certainly lives.
    pub const fn lives(self, now: u64) -> bool {
        now < self.earliest
    }

    /// Whether it may live.
    pub const fn may_live(self, now: u64) -> bool {
        now < self.latest
    }

    pub const fn contains(self, instant: u64) -> bool {
        self.earliest <= instant && instant <= self.latest
    }

    /// It was there now.
    pub const fn seen_at(&mut self, now: u64) {
        if self.earliest <= now {
            self.earliest = now + 1;
        }
    }

    /// It was not there now.
    pub const fn missed_at(&mut self, now: u64) {
        if self.latest > now {
            self.latest = now;
        }
        if self.earliest > now {
            self.earliest = now;
        }
    }
}

/// What a store does with times to live.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub default_ttl_ms: u64,
    pub jitter_pct: u32,
    pub soft_ttl_ms: u64,
}

impl Rules {
    /// The life of an entry written now. `replaced`: of the entry that it replaces.
    pub fn life(self, now: u64, ttl: Ttl, replaced: Option<Life>) -> Life {
        match (ttl, replaced) {
            (Ttl::Never, _) => Life::until(NEVER),
            (Ttl::Millis(ms), _) => self.own(now, ms),
            (Ttl::Keep, Some(life)) => life,
            (Ttl::Keep | Ttl::Default, _) => match self.default_ttl_ms {
                0 => Life::until(NEVER),
                ms => self.own(now, ms),
            },
        }
    }

    /// From when on claims find an entry that is written now to be old. `own_ms`: as its writer
    /// says; 0: as the store does.
    pub fn soft(self, now: u64, own_ms: u64) -> Life {
        match if own_ms == 0 { self.soft_ttl_ms } else { own_ms } {
            0 => Life::until(NEVER),
            ms => self.own(now, ms),
        }
    }

    fn own(self, now: u64, ms: u64) -> Life {
        let most = u128::from(ms) * u128::from(self.jitter_pct) / 100;
        let at = |ms: u64| now.saturating_add(ms).min(NEVER - 1);
        Life { earliest: at(ms - most as u64), latest: at(ms) }
    }
}
