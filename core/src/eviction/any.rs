//! Every policy that is built in, dispatched without a pointer.
//!
//! What is asked of a policy at every write is inlined for the policies that most stores have. The
//! others are behind one more variant, and called, so that they do not lengthen every write. Each
//! arm takes copies of what it passes on: what only a called policy needs in memory is then not put
//! there for the others.

use super::{
    Adaptive, Bout, Context, Duel, EntryMeta, Fifo, Heard, Hybrid, Lfu, Lru, Placement, Policy,
    Random, S3Fifo, Session, SessionLimits, Sieve, Ttl, Verdict, WTinyLfu,
};
use crate::config::PolicyKind;
use crate::error::Result;

/// Any policy.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "one a shard, and no policy may have a heap")]
pub enum AnyPolicy {
    /// [`Adaptive`].
    Adaptive(Adaptive),
    /// [`Fifo`].
    Fifo(Fifo),
    /// [`S3Fifo`].
    S3Fifo(S3Fifo),
    /// [`Lru`].
    Lru(Lru),
    /// One that is called.
    Called(Called),
}

/// A policy that is called, not inlined.
#[derive(Clone, Debug)]
pub enum Called {
    /// [`Sieve`].
    Sieve(Sieve),
    /// [`Lfu`].
    Lfu(Lfu),
    /// [`Random`].
    Random(Random),
    /// [`Session`].
    Session(Session),
    /// [`WTinyLfu`].
    WTinyLfu(WTinyLfu),
    /// [`Ttl`].
    Ttl(Ttl),
    /// [`Hybrid`].
    Hybrid(Hybrid),
}

impl AnyPolicy {
    /// The policy of this kind, with options `"name=value,..."`. Options it does not know are
    /// refused by name, with those it knows.
    pub fn new(kind: PolicyKind, options: Option<&str>) -> Result<Self> {
        let called = match kind.resolved() {
            PolicyKind::Adaptive | PolicyKind::Default => {
                return Adaptive::new(options).map(Self::Adaptive);
            }
            PolicyKind::Fifo => return Fifo::new(options).map(Self::Fifo),
            PolicyKind::S3Fifo => return S3Fifo::new(options).map(Self::S3Fifo),
            PolicyKind::Lru => return Lru::new(options).map(Self::Lru),
            PolicyKind::Sieve => Called::Sieve(Sieve::new(options)?),
            PolicyKind::Lfu => Called::Lfu(Lfu::new(options)?),
            PolicyKind::Random => Called::Random(Random::new(options)?),
            PolicyKind::Session => Called::Session(Session::new(options)?),
            PolicyKind::WTinyLfu => Called::WTinyLfu(WTinyLfu::new(options)?),
            PolicyKind::Ttl => Called::Ttl(Ttl::new(options)?),
            PolicyKind::Hybrid => Called::Hybrid(Hybrid::new(options)?),
        };
        Ok(Self::Called(called))
    }
}

macro_rules! dispatch {
    ($any:ident, $inline:meta, $($variant:ident),*) => {
        impl Policy for $any {
            #[$inline]
            fn queues(&self) -> u8 {
                match self { $(Self::$variant(policy) => policy.queues()),* }
            }

            fn memory_words(&self, entries: u64) -> usize {
                match self { $(Self::$variant(policy) => policy.memory_words(entries)),* }
            }

            fn memory_changed(&mut self) {
                match self { $(Self::$variant(policy) => policy.memory_changed()),* }
            }

            #[$inline]
            fn prefetch(&self, memory: &[u32], fingerprint: u32) {
                match self { $(Self::$variant(policy) => policy.prefetch(memory, fingerprint)),* }
            }

            #[$inline]
            fn place(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Placement {
                match self { $(Self::$variant(policy) => policy.place(&mut cx.apart(), &{ *entry })),* }
            }

            #[$inline]
            fn weigh(&mut self, cx: &mut Context<'_>, newcomer: &EntryMeta, tail: &EntryMeta) -> Bout {
                match self { $(Self::$variant(policy) => policy.weigh(&mut cx.apart(), &{ *newcomer }, &{ *tail })),* }
            }

            #[$inline]
            fn replace(&mut self, cx: &mut Context<'_>, old: &EntryMeta) -> u8 {
                match self { $(Self::$variant(policy) => policy.replace(&mut cx.apart(), &{ *old })),* }
            }

            #[$inline]
            fn victim_queue(&mut self, cx: &mut Context<'_>) -> u8 {
                match self { $(Self::$variant(policy) => policy.victim_queue(&mut cx.apart())),* }
            }

            #[$inline]
            fn judge(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict {
                match self { $(Self::$variant(policy) => policy.judge(&mut cx.apart(), &{ *entry })),* }
            }

            #[$inline]
            fn duel(&mut self, cx: &mut Context<'_>, entry: &EntryMeta, rival: &EntryMeta) -> Duel {
                match self { $(Self::$variant(policy) => policy.duel(cx, entry, rival)),* }
            }

            #[$inline]
            fn evicted(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) {
                match self { $(Self::$variant(policy) => policy.evicted(&mut cx.apart(), &{ *entry })),* }
            }

            #[$inline]
            fn removed(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) {
                match self { $(Self::$variant(policy) => policy.removed(&mut cx.apart(), &{ *entry })),* }
            }

            #[$inline]
            fn promote_after(&self) -> Option<u8> {
                match self { $(Self::$variant(policy) => policy.promote_after()),* }
            }

            fn counts_hits(&self) -> bool {
                match self { $(Self::$variant(policy) => policy.counts_hits()),* }
            }

            #[$inline]
            fn uncounted_share(&self) -> Option<u8> {
                match self { $(Self::$variant(policy) => policy.uncounted_share()),* }
            }

            #[$inline]
            fn newcomer_queues(&self) -> u8 {
                match self { $(Self::$variant(policy) => policy.newcomer_queues()),* }
            }

            fn hears_at(&self) -> Option<u8> {
                match self { $(Self::$variant(policy) => policy.hears_at()),* }
            }

            fn hears_all(&self) -> bool {
                match self { $(Self::$variant(policy) => policy.hears_all()),* }
            }

            #[$inline]
            fn heard(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Heard {
                match self { $(Self::$variant(policy) => policy.heard(&mut cx.apart(), &{ *entry })),* }
            }

            fn roams(&self) -> bool {
                match self { $(Self::$variant(policy) => policy.roams()),* }
            }

            fn memory_words_within(&self, entries: u64, bytes: u64) -> usize {
                match self { $(Self::$variant(policy) => policy.memory_words_within(entries, bytes)),* }
            }

            fn kept_max(&self) -> u32 {
                match self { $(Self::$variant(policy) => policy.kept_max()),* }
            }

            fn sessions(&self) -> Option<SessionLimits> {
                match self { $(Self::$variant(policy) => policy.sessions()),* }
            }

            fn clear(&mut self) {
                match self { $(Self::$variant(policy) => policy.clear()),* }
            }
        }
    };
}

dispatch!(AnyPolicy, inline(always), Adaptive, S3Fifo, Fifo, Lru, Called);
dispatch!(Called, cold, Sieve, Lfu, Random, WTinyLfu, Session, Ttl, Hybrid);
