//! Limits, defaults and configurations: the one place where they are defined and checked.

use crate::error::{Error, ErrorKind, Result};
use crate::types::VALUE_LEN_MAX;

/// The smallest limit of a pool, in bytes: 1 MiB.
pub const POOL_LIMIT_MIN: u64 = 1 << 20;
/// The largest limit of a pool, in bytes: 4 TiB.
pub const POOL_LIMIT_MAX: u64 = 1 << 42;
/// The most shards a store may have.
pub const SHARDS_MAX: u32 = 256;
/// The highest rate of false positives that a filter may be asked for.
pub const FPR_MAX: f64 = 0.1;
/// The lowest.
pub const FPR_MIN: f64 = 1e-9;
/// The longest name of a pool or store, in bytes.
pub const NAME_LEN_MAX: usize = 255;

/// Shares of the limit, in per cent, at which a pool's pressure level rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// [`crate::Pressure::Elevated`]; default 85.
    pub elevated_pct: u32,
    /// [`crate::Pressure::High`]; default 90.
    pub high_pct: u32,
    /// [`crate::Pressure::Critical`]; default 95.
    pub critical_pct: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { elevated_pct: 85, high_pct: 90, critical_pct: 95 }
    }
}

impl Thresholds {
    /// Checks 0 < elevated <= high <= critical <= 100.
    pub fn check(self) -> Result<()> {
        let Self { elevated_pct, high_pct, critical_pct } = self;
        if elevated_pct == 0
            || elevated_pct > high_pct
            || high_pct > critical_pct
            || critical_pct > 100
        {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "thresholds are {elevated_pct}, {high_pct}, {critical_pct} %; \
                     0 < elevated <= high <= critical <= 100 is allowed"
                ),
            ));
        }
        Ok(())
    }
}

/// How a pool is made. Zero and `None` mean the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolConfig {
    /// Required: [`POOL_LIMIT_MIN`] to [`POOL_LIMIT_MAX`] bytes. All that the pool causes to be
    /// allocated is charged to it.
    pub limit_bytes: u64,
    /// The largest limit it may be given later; address space is reserved for it. 0: 8 times the
    /// limit, at most 32 GiB, at least the limit.
    pub limit_max_bytes: u64,
    /// Memory that views, drafts and waits may hold back from reuse. 0: a quarter of the limit.
    pub pin_limit_bytes: u64,
    /// Label in metrics.
    pub name: Option<String>,
    /// Pressure levels. `None`: 85, 90 and 95 %.
    pub thresholds: Option<Thresholds>,
    /// Commit all memory when the pool is created, or fail then.
    pub prefault: bool,
    /// Wipe memory before it is reused.
    pub zero_on_free: bool,
    /// Do not ask the system for huge pages.
    pub no_huge_pages: bool,
    /// Pressure levels go by used bytes, not by what eviction cannot give back.
    pub pressure_by_used: bool,
}

impl PoolConfig {
    /// A pool of `limit_bytes` with every default.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, ..Self::default() }
    }

    /// Checks every field and fills the defaults in.
    pub fn resolved(&self) -> Result<Self> {
        let mut out = self.clone();
        check_range("limit_bytes", self.limit_bytes, POOL_LIMIT_MIN, POOL_LIMIT_MAX)?;
        if out.limit_max_bytes == 0 {
            out.limit_max_bytes =
                self.limit_bytes.max(self.limit_bytes.saturating_mul(8).min(32 << 30));
        }
        check_range("limit_max_bytes", out.limit_max_bytes, self.limit_bytes, POOL_LIMIT_MAX)?;
        if out.pin_limit_bytes == 0 {
            out.pin_limit_bytes = self.limit_bytes / 4;
        }
        check_range("pin_limit_bytes", out.pin_limit_bytes, 1, out.limit_max_bytes)?;
        let thresholds = out.thresholds.unwrap_or_default();
        thresholds.check()?;
        out.thresholds = Some(thresholds);
        check_name("name", self.name.as_deref())?;
        Ok(out)
    }

    /// Whether the fields that are set here agree with `made`, a resolved configuration.
    pub fn check_agrees(&self, made: &Self) -> Result<()> {
        agree("limit_bytes", self.limit_bytes, made.limit_bytes, 0)?;
        agree("limit_max_bytes", self.limit_max_bytes, made.limit_max_bytes, 0)?;
        agree("pin_limit_bytes", self.pin_limit_bytes, made.pin_limit_bytes, 0)?;
        if let (Some(asked), Some(has)) = (self.thresholds, made.thresholds) {
            agree("elevated_pct", asked.elevated_pct, has.elevated_pct, 0)?;
            agree("high_pct", asked.high_pct, has.high_pct, 0)?;
            agree("critical_pct", asked.critical_pct, has.critical_pct, 0)?;
        }
        for (flag, asked, has) in [
            ("prefault", self.prefault, made.prefault),
            ("zero_on_free", self.zero_on_free, made.zero_on_free),
            ("no_huge_pages", self.no_huge_pages, made.no_huge_pages),
            ("pressure_by_used", self.pressure_by_used, made.pressure_by_used),
        ] {
            agree(flag, asked, has, false)?;
        }
        Ok(())
    }
}

/// Which eviction policy a store uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// The best we know; today [`PolicyKind::Adaptive`].
    #[default]
    Default,
    /// Small queue, main queue with reinsertion, ghost queue (SOSP'23).
    S3Fifo,
    /// First in, first out.
    Fifo,
    /// Least recently used.
    Lru,
    /// A hand over a queue that spares what was hit (NSDI'24).
    Sieve,
    /// Any entry.
    Random,
    /// By session: too old, idle, oldest.
    Session,
    /// A window and a segmented queue between which a frequency sketch decides (TOS'17).
    WTinyLfu,
    /// Least frequently used, with counts that decay.
    Lfu,
    /// Soonest to expire first, what never expires last.
    Ttl,
    /// Least recently used, with a second chance for what was used often.
    Hybrid,
    /// Two logs, an age contest for keys that come back, a boundary that moves by marginal hits.
    Adaptive,
}

impl PolicyKind {
    /// Every policy by its name, in the order of the documentation.
    pub const ALL: [(&'static str, Self); 11] = [
        ("adaptive", Self::Adaptive),
        ("s3fifo", Self::S3Fifo),
        ("sieve", Self::Sieve),
        ("wtinylfu", Self::WTinyLfu),
        ("lru", Self::Lru),
        ("lfu", Self::Lfu),
        ("fifo", Self::Fifo),
        ("random", Self::Random),
        ("ttl", Self::Ttl),
        ("hybrid", Self::Hybrid),
        ("session", Self::Session),
    ];

    /// What [`PolicyKind::Default`] stands for; every other kind is itself.
    #[must_use]
    pub fn resolved(self) -> Self {
        match self {
            Self::Default => Self::Adaptive,
            Self::S3Fifo
            | Self::Fifo
            | Self::Lru
            | Self::Sieve
            | Self::Random
            | Self::Lfu
            | Self::WTinyLfu
            | Self::Ttl
            | Self::Hybrid
            | Self::Session
            | Self::Adaptive => self,
        }
    }

    /// The policy's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.resolved() {
            Self::Adaptive | Self::Default => "adaptive",
            Self::S3Fifo => "s3fifo",
            Self::Fifo => "fifo",
            Self::Lru => "lru",
            Self::Sieve => "sieve",
            Self::Random => "random",
            Self::Session => "session",
            Self::WTinyLfu => "wtinylfu",
            Self::Lfu => "lfu",
            Self::Ttl => "ttl",
            Self::Hybrid => "hybrid",
        }
    }

    /// The policy of this name.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|&(_, kind)| kind).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            Error::new(
                ErrorKind::Unsupported,
                format!("policy is \"{name}\"; {} are built in", known.join(", ")),
            )
        })
    }
}

/// How a store is made. Zero and `None` mean the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreConfig {
    /// Unique in the pool; 1 to [`NAME_LEN_MAX`] bytes.
    pub name: Option<String>,
    /// At most so many bytes of the pool. 0: only the pool's limit.
    pub limit_bytes: u64,
    /// At most so many entries. 0: no bound.
    pub limit_entries: u64,
    /// The longest value taken. 0: a quarter of the store's limit.
    pub value_len_max: u64,
    /// Time to live of entries that name none, in milliseconds. 0: they do not expire.
    pub default_ttl_ms: u64,
    /// At most so many shards, a power of two up to [`SHARDS_MAX`]. 0: chosen.
    pub shards: u32,
    /// Eviction policy.
    pub policy: PolicyKind,
    /// Options of the policy, `"name=value,..."`.
    pub policy_options: Option<String>,
    /// Rate of false positives of a filter before the index, [`FPR_MIN`] to [`FPR_MAX`]. 0: no filter.
    pub filter_fpr: f64,
    /// Seed of the key hash. 0: random. Fixed seeds are for tests and replays.
    pub hash_seed: u64,
    /// Other stores of the pool cannot push it below this many bytes.
    pub floor_bytes: u64,
    /// Times to live are shortened by up to this share, in per cent, 0 to 100.
    pub jitter_pct: u32,
    /// Measure latencies ([`crate::Store::latency`]).
    pub latency: bool,
    /// Milliseconds after which claims have one caller load an entry anew, where the put names none.
    /// 0: never before its time is over.
    pub soft_ttl_ms: u64,
    /// Milliseconds that an entry lives without an access, where the put names none; up to
    /// [`IDLE_TTL_MAX_MS`]. 0: its time does not depend on accesses.
    pub idle_ttl_ms: u64,
    /// Milliseconds for which an old value is kept on when its load failed. 0: not at all.
    pub stale_if_error_ms: u64,
    /// Claims load no entry anew before its time is over.
    pub no_early_refresh: bool,
    /// Milliseconds that a lease lasts, up to [`LEASE_MAX_MS`]; then another caller may load. 0:
    /// 10,000.
    pub lease_ms: u64,
    /// Milliseconds for which it is remembered that the source has no such key, where the call names
    /// none. 0: 1,000.
    pub negative_ttl_ms: u64,
    /// The share of the limit, in per cent, that such memories may take. 0: 5.
    pub negative_pct: u32,
}

/// The longest time without an access that an entry may be given, in milliseconds: some 49 days.
pub const IDLE_TTL_MAX_MS: u64 = u32::MAX as u64;
/// The longest that a lease may last, in milliseconds: a day.
pub const LEASE_MAX_MS: u64 = 86_400_000;
/// What [`StoreConfig::lease_ms`] is where it is not set.
pub const LEASE_MS: u64 = 10_000;
/// What [`StoreConfig::negative_ttl_ms`] is where it is not set.
pub const NEGATIVE_TTL_MS: u64 = 1_000;
/// What [`StoreConfig::negative_pct`] is where it is not set.
pub const NEGATIVE_PCT: u32 = 5;

impl StoreConfig {
    /// Checks every field and fills in the defaults that do not depend on the machine.
    pub fn resolved(&self, pool_limit_max: u64) -> Result<Self> {
        let mut out = self.clone();
        check_name("name", self.name.as_deref())?;
        if self.limit_bytes != 0 {
            check_range("limit_bytes", self.limit_bytes, POOL_LIMIT_MIN / 4, POOL_LIMIT_MAX)?;
        }
        if self.shards != 0 && (!self.shards.is_power_of_two() || self.shards > SHARDS_MAX) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "shards is {}; a power of two from 1 to {SHARDS_MAX} is allowed",
                    self.shards
                ),
            ));
        }
        if self.value_len_max > VALUE_LEN_MAX {
            check_range("value_len_max", self.value_len_max, 1, VALUE_LEN_MAX)?;
        }
        if self.jitter_pct > 100 {
            check_range("jitter_pct", u64::from(self.jitter_pct), 0, 100)?;
        }
        if self.floor_bytes > pool_limit_max {
            check_range("floor_bytes", self.floor_bytes, 0, pool_limit_max)?;
        }
        if self.filter_fpr != 0.0 {
            check_fpr("filter_fpr", self.filter_fpr)?;
        }
        if self.idle_ttl_ms > IDLE_TTL_MAX_MS {
            check_range("idle_ttl_ms", self.idle_ttl_ms, 0, IDLE_TTL_MAX_MS)?;
        }
        if self.lease_ms > LEASE_MAX_MS {
            check_range("lease_ms", self.lease_ms, 1, LEASE_MAX_MS)?;
        }
        if self.negative_pct > 100 {
            check_range("negative_pct", u64::from(self.negative_pct), 0, 100)?;
        }
        out.policy = self.policy.resolved();
        or_default(&mut out.lease_ms, LEASE_MS);
        or_default(&mut out.negative_ttl_ms, NEGATIVE_TTL_MS);
        or_default(&mut out.negative_pct, NEGATIVE_PCT);
        Ok(out)
    }

    /// Whether the fields that are set here agree with `made`, a resolved configuration.
    pub fn check_agrees(&self, made: &Self) -> Result<()> {
        agree("limit_bytes", self.limit_bytes, made.limit_bytes, 0)?;
        agree("limit_entries", self.limit_entries, made.limit_entries, 0)?;
        agree("value_len_max", self.value_len_max, made.value_len_max, 0)?;
        agree("default_ttl_ms", self.default_ttl_ms, made.default_ttl_ms, 0)?;
        agree("shards", self.shards, made.shards, 0)?;
        if self.policy != PolicyKind::Default {
            agree("policy", self.policy.name(), made.policy.name(), "")?;
        }
        if let Some(options) = &self.policy_options {
            agree(
                "policy_options",
                options.as_str(),
                made.policy_options.as_deref().unwrap_or(""),
                "",
            )?;
        }
        agree("filter_fpr", self.filter_fpr, made.filter_fpr, 0.0)?;
        agree("hash_seed", self.hash_seed, made.hash_seed, 0)?;
        agree("floor_bytes", self.floor_bytes, made.floor_bytes, 0)?;
        agree("jitter_pct", self.jitter_pct, made.jitter_pct, 0)?;
        agree("soft_ttl_ms", self.soft_ttl_ms, made.soft_ttl_ms, 0)?;
        agree("idle_ttl_ms", self.idle_ttl_ms, made.idle_ttl_ms, 0)?;
        agree("stale_if_error_ms", self.stale_if_error_ms, made.stale_if_error_ms, 0)?;
        agree("no_early_refresh", self.no_early_refresh, made.no_early_refresh, false)?;
        agree("lease_ms", self.lease_ms, made.lease_ms, 0)?;
        agree("negative_ttl_ms", self.negative_ttl_ms, made.negative_ttl_ms, 0)?;
        agree("negative_pct", self.negative_pct, made.negative_pct, 0)?;
        agree("latency", self.latency, made.latency, false)
    }
}

fn or_default<T: Default + PartialEq>(field: &mut T, default: T) {
    if *field == T::default() {
        *field = default;
    }
}

fn agree<T: PartialEq + std::fmt::Display + Copy>(
    field: &str,
    asked: T,
    has: T,
    unset: T,
) -> Result<()> {
    if asked == unset || asked == has {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("{field} is {asked}; the one of this name was created with {has}"),
    ))
}

/// Checks `least <= value <= most` and names the argument, the value and the range otherwise.
pub fn check_range(argument: &str, value: u64, least: u64, most: u64) -> Result<()> {
    if value < least || value > most {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{argument} is {value}; {least} to {most} is allowed"),
        ));
    }
    Ok(())
}

/// Checks that a rate of false positives that was set is one that a filter can have.
pub fn check_fpr(argument: &str, fpr: f64) -> Result<()> {
    if !(FPR_MIN..=FPR_MAX).contains(&fpr) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{argument} is {fpr}; 0, or {FPR_MIN} to {FPR_MAX}, is allowed"),
        ));
    }
    Ok(())
}

/// Checks that a name is 1 to [`NAME_LEN_MAX`] bytes without a NUL.
pub fn check_name(argument: &str, name: Option<&str>) -> Result<()> {
    match name {
        Some(name) if name.is_empty() || name.len() > NAME_LEN_MAX || name.contains('\0') => {
            Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{argument} has {} bytes; 1 to {NAME_LEN_MAX} without a NUL are allowed",
                    name.len()
                ),
            ))
        }
        _ => Ok(()),
    }
}
