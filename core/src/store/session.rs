//! Sessions of a store whose policy goes by them: see [`crate::eviction::sessions`].
//!
//! Such a store keeps tickets where others keep the ids of sessions: what an entry holds is turned
//! into an id where it leaves the store, and an id into a ticket where it comes in. Everything else
//! asks whether an entry's ticket is good where it asks whether its time is over.
//!
//! Lock order: a shard's lock, then the table's.

use super::entry::Entry;
use super::writer::{Live, Writer};
use super::{Fill, StoreInner};
use crate::config::StoreConfig;
use crate::error::Result;
use crate::eviction::sessions::{Ended, Ends, SessionLimits, Sessions};
use crate::pool::space::RunId;
use crate::stats::Tally;
use crate::types::Match;

/// Bytes of a store for each row of its table.
const BYTES_A_ROW: u64 = 16 << 10;
/// The fewest rows, and the most that nobody asked for.
const ROWS: (u64, u64) = (64, 1 << 16);

/// The table, and the run that holds it.
pub struct SessionTable {
    run: RunId,
    sessions: Sessions,
}

impl StoreInner {
    /// Makes the table of a policy that has sessions.
    pub(super) fn open_sessions(
        &self,
        limits: SessionLimits,
        config: &StoreConfig,
    ) -> Result<SessionTable> {
        let own = if config.limit_bytes == 0 { u64::MAX } else { config.limit_bytes };
        let by_limit = own.min(self.space().target_bytes()) / BYTES_A_ROW;
        let rows = match limits.rows {
            0 => by_limit.clamp(ROWS.0, ROWS.1) as u32,
            asked => asked,
        };
        let limits = SessionLimits { rows, ..limits };
        let run = self.obtain_run(Sessions::bytes(rows), Fill::Zero)?;
        // SAFETY: the run was just taken for this, zeroed, with room for as many bytes; it is given
        // back with the last reference to the store.
        let sessions = unsafe { Sessions::new(self.space().run_addr(run), limits) };
        Ok(SessionTable { run, sessions })
    }

    /// Gives the table back. The store has no references left, so nobody is looking at it.
    pub(super) fn close_sessions(&mut self) {
        if let Some(table) = self.sessions.take() {
            self.give_run(table.run);
        }
    }

    /// Ends all sessions where a shard was taken down with what it held.
    #[cold]
    pub(super) fn reset_sessions(&self) {
        let Some(sessions) = self.sessions() else { return };
        let (mut bytes, mut entries) = (0, 0);
        for shard in &self.shards {
            for queue in &shard.lock_any(self).state.view.queues {
                bytes += queue.bytes;
                entries += queue.entries;
            }
        }
        sessions.reset(bytes, entries);
    }

    #[inline(always)]
    pub(super) fn sessions(&self) -> Option<&Sessions> {
        self.sessions.as_ref().map(|table| &table.sessions)
    }

    /// What an entry written to a session keeps of it.
    pub(super) fn session_in(&self, id: u64) -> u64 {
        match self.sessions() {
            Some(sessions) if id != 0 => {
                let mut ends = Ends::default();
                let ticket = sessions.enter(id, self.clock.now_ms(), &mut ends);
                self.count_ends(&ends);
                ticket
            }
            Some(_) | None => id,
        }
    }

    /// The id of the session that an entry keeps.
    pub(super) fn session_out(&self, kept: u64) -> u64 {
        match self.sessions() {
            Some(sessions) if kept != 0 => sessions.id_of(kept),
            Some(_) | None => kept,
        }
    }

    /// Whether what an entry keeps is the ticket of a session that ended.
    #[inline(always)]
    pub(super) fn has_ended(&self, entry: &Entry) -> bool {
        let kept = entry.session();
        kept != 0 && self.sessions.is_some() && self.is_ticket_bad(kept)
    }

    #[inline(never)]
    fn is_ticket_bad(&self, kept: u64) -> bool {
        self.sessions().is_some_and(|sessions| !sessions.is_live(kept, self.clock.now_ms()))
    }

    /// Whether the entry was counted as gone when its session ended.
    #[inline(always)]
    pub(super) fn was_counted(&self, entry: &Entry) -> bool {
        let kept = entry.session();
        kept != 0 && self.sessions().is_some_and(|sessions| sessions.has_ended(kept))
    }

    /// A hit on an entry: an access to its session.
    #[inline(always)]
    pub(super) fn refresh_session(&self, entry: &Entry) {
        let kept = entry.session();
        if kept != 0
            && let Some(sessions) = self.sessions()
        {
            sessions.access(kept, self.clock.now_ms());
        }
    }

    /// A match of entries as they are kept: a session's id becomes its ticket. A session that does
    /// not live matches what no entry keeps.
    pub(super) fn match_kept<'a>(&self, wanted: Match<'a>) -> Match<'a> {
        match (wanted, self.sessions()) {
            (Match::Session(id), Some(sessions)) => {
                Match::Session(sessions.find(id, self.clock.now_ms()).unwrap_or(0))
            }
            (other, _) => other,
        }
    }

    /// Ends a session at once, if this store can; returns the entries that it had.
    pub(super) fn end_session(&self, wanted: &Match<'_>) -> Option<u64> {
        let (Match::Session(id), Some(sessions)) = (wanted, self.sessions()) else { return None };
        let ended = sessions.end(*id, self.clock.now_ms()).unwrap_or_default();
        self.counters.add_unlocked(Tally::Invalidated, ended.entries);
        Some(ended.entries)
    }

    /// Ends sessions until there is enough to reclaim.
    #[cold]
    pub(super) fn make_session_room(&self) {
        if let Some(sessions) = self.sessions() {
            self.count_ends(&sessions.make_room(self.clock.now_ms()));
        }
    }

    /// Notices sessions whose time is over.
    pub(super) fn expire_sessions(&self) {
        if let Some(sessions) = self.sessions() {
            let expired = sessions.expire(self.clock.now_ms());
            self.count_ends(&Ends { expired, ..Ends::default() });
        }
    }

    fn count_ends(&self, ends: &Ends) {
        let Ends { expired, evicted } = *ends;
        let add = |tally, n| {
            if n != 0 {
                self.counters.add_unlocked(tally, n);
            }
        };
        add(Tally::SessionsExpired, expired.sessions);
        add(Tally::Expired, expired.entries);
        let Ended { sessions, entries, bytes } = evicted;
        add(Tally::SessionsEnded, sessions);
        add(Tally::Evicted, entries);
        add(Tally::EvictedBytes, bytes);
    }
}

impl Writer<'_> {
    /// A key is about to get a slot, for an entry of so many bytes that keeps this session.
    #[inline(always)]
    pub(super) fn attend(&mut self, hash: u64, kept: u64, full_bytes: u64) {
        if self.store.attends {
            self.attend_to(hash, kept, full_bytes);
        }
    }

    #[inline(never)]
    fn attend_to(&mut self, hash: u64, kept: u64, full_bytes: u64) {
        self.join_session(kept, full_bytes);
        if self.store.has_screens {
            self.screen_in(hash);
        }
    }

    /// Takes [`Writer::attend`] back: the key has no slot.
    #[cold]
    pub(super) fn dismiss(&mut self, hash: u64, kept: u64, full_bytes: u64) {
        if let Some(sessions) = self.store.sessions() {
            sessions.left(kept, full_bytes);
        }
        if self.store.has_screens {
            self.screen_out(hash);
        }
    }

    /// A key has lost its slot.
    #[inline(always)]
    pub(super) fn let_go(&mut self, live: &Live, full_bytes: u64) {
        if self.store.attends {
            self.let_go_of(live, full_bytes);
        }
    }

    #[inline(never)]
    fn let_go_of(&mut self, live: &Live, full_bytes: u64) {
        let hash = self.store.hash.of(live.entry.key());
        self.dismiss(hash, live.entry.session(), full_bytes);
    }

    /// An entry that keeps this session, of so many bytes, is there from now on.
    #[inline(always)]
    pub(super) fn join_session(&self, kept: u64, full_bytes: u64) {
        if let Some(sessions) = self.store.sessions()
            && !sessions.joined(kept, full_bytes)
        {
            self.shard.counters().count(Tally::Evicted);
        }
    }

    /// An entry that keeps this session, of so many bytes, is gone.
    #[inline(always)]
    pub(super) fn leave_session(&self, entry: &Entry, full_bytes: u64) {
        if let Some(sessions) = self.store.sessions() {
            sessions.left(entry.session(), full_bytes);
        }
    }
}
