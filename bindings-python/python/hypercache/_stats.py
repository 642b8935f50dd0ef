"""Statistics, as the library counts them. Counters never fall and are never reset."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stats:
    """A cache's statistics. Gauges first, then counters since it was opened."""

    entries: int
    payload_bytes: int
    dead_bytes: int
    waiting_bytes: int
    used_bytes: int
    limit_bytes: int
    pinned_bytes: int
    hits: int
    misses: int
    stale_hits: int
    inserts: int
    updates: int
    deletes: int
    invalidated: int
    evicted: int
    evicted_bytes: int
    expired: int
    not_admitted: int
    rejected: int
    written_bytes: int
    moved_bytes: int
    filter_skips: int
    leases: int
    lease_waits: int
    sessions: int
    sessions_idle: int
    sessions_expired: int
    sessions_ended: int
    faults: int
    poisoned_shards: int

    @property
    def hit_ratio(self) -> float:
        """Hits as a share of all look-ups; 0.0 before the first."""
        looked_up = self.hits + self.misses
        return self.hits / looked_up if looked_up else 0.0


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool's statistics, in bytes where the name says so."""

    limit_bytes: int
    target_bytes: int
    used_bytes: int
    peak_bytes: int
    pinned_bytes: int
    held_bytes: int
    app_bytes: int
    overhead_bytes: int
    resident_bytes: int
    huge_bytes: int
    stores: int
    level_changes: int
    alloc_failures: int
    alloc_created: int
    alloc_reused: int
    alloc_returned: int
    alloc_discarded: int
    pressure: int


@dataclass(frozen=True, slots=True)
class FilterStats:
    """A filter's statistics."""

    keys: int
    capacity: int
    bytes: int
    adds: int
    add_failures: int
    lookups: int
    removes: int
    remove_failures: int
    kicks: int
    longest_kick_chain: int
    resizes: int
    positives: int
    load_factor: float
    fpr_theoretical: float
    fpr_sampled: float
    saturated: bool


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """A cache's configuration in force, defaults filled in."""

    name: str | None
    limit_bytes: int
    limit_entries: int
    value_len_max: int
    ttl: float
    shards: int
    policy: str
    policy_options: str | None
    filter_fpr: float
    floor_bytes: int
    jitter_pct: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What a cache knows of an entry besides its value."""

    length: int
    version: int
    ttl: float
    session: int
    type_code: int
    flags: int
