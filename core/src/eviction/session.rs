//! Sessions: the log is one queue, and what goes is decided by session.
//!
//! The rules are the table's ([`super::sessions`]): it ends sessions, over the whole store, and an
//! entry of a session that ended is dead before this policy is asked. What is left to decide is
//! simple. An entry of a session that lives is appended again when the cursor comes to it; an entry
//! without a session goes.
//!
//! Options: `session_ttl`, seconds after which a session is over; `idle_timeout`, seconds without
//! an access after which it is idle; `grace`, seconds from its beginning in which it ends only if
//! nothing else is left; `sessions`, how many there may be at once (0: one for each 16 KiB of the
//! store's limit, 64 to 65,536).

use super::sessions::SessionLimits;
use super::{Context, EntryMeta, Policy, Verdict, options};
use crate::error::Result;

/// Entries kept in a row until one goes for lack of a better one: a session's entries lie together.
const KEPT_MAX: u32 = 4096;

const OPTIONS: [options::Number; 4] = [
    options::Number { name: "session_ttl", least: 1, most: 1_000_000_000, default: 30 * 60 },
    options::Number { name: "idle_timeout", least: 1, most: 1_000_000_000, default: 10 * 60 },
    options::Number { name: "grace", least: 0, most: 1_000_000_000, default: 2 * 60 },
    options::Number { name: "sessions", least: 0, most: 1 << 20, default: 0 },
];

/// One queue, of sessions.
#[derive(Clone, Debug)]
pub struct Session(SessionLimits);

impl Session {
    /// Options: `session_ttl`, `idle_timeout` and `grace` in seconds, up to 10^9; `sessions` up to
    /// 1,048,576.
    pub fn new(text: Option<&str>) -> Result<Self> {
        options::parse("session", &OPTIONS, text).map(|[ttl, idle, grace, rows]| {
            Self(SessionLimits {
                ttl_ms: ttl * 1000,
                idle_s: idle as u32,
                grace_ms: grace * 1000,
                rows: rows as u32,
            })
        })
    }
}

impl Policy for Session {
    #[inline]
    fn judge(&mut self, _cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict {
        if entry.session == 0 { Verdict::Evict } else { Verdict::Keep { hits: 0 } }
    }

    fn kept_max(&self) -> u32 {
        KEPT_MAX
    }

    fn sessions(&self) -> Option<SessionLimits> {
        Some(self.0)
    }
}
