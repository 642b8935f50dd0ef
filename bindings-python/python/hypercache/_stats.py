"""Statistics, as the library counts them. Counters never fall and are never reset."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stats:
    """A cache's statistics: first gauges, then counters since it was opened.

    - `entries`: with those that have expired and are not removed yet;
    - `payload_bytes`: their keys and values;
    - `dead_bytes`: of what is gone, in segments that are not reclaimed yet;
    - `waiting_bytes`: emptied, and held back by a reader or a view;
    - `used_bytes`: all that counts against the limit;
    - `limit_bytes`: the limit in force;
    - `pinned_bytes`: what views hold;
    - `hits`, `misses`: of look-ups; `stale_hits`: of the hits, those of a value that was due;
    - `inserts`, `updates`: writes of keys that were not there, and of those that were;
    - `deletes`: by key; `invalidated`: by prefix, glob, session, and by `clear`;
    - `evicted`, `evicted_bytes`: for room; `expired`: at the end of their time;
    - `not_admitted`: writes that the policy declined;
    - `rejected`: writes that failed: too large, no space, no memory;
    - `written_bytes`, `moved_bytes`: to the log, by writes and by its reclaiming;
    - `filter_skips`: misses that a filter answered;
    - `leases`: loads begun; `lease_waits`: times that somebody waited for another's;
    - `sessions`: with the policy "session", those that live; `sessions_idle`: of these;
      `sessions_expired`, `sessions_ended`: ended for their age, and for room;
    - `faults`: caught bugs of the library: report any;
    - `poisoned_shards`: out of service after a fault, until `clear()`.
    """

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
    """A pool's statistics, in bytes where the name says so.

    - `limit_bytes`: the limit in force, above which `used_bytes` never is;
    - `target_bytes`: the limit asked for, which is less while the pool shrinks;
    - `used_bytes`, `peak_bytes`: now, and at most so far;
    - `pinned_bytes`: of these, held by views and drafts;
    - `held_bytes`: of these, what eviction cannot give back; pressure goes by it;
    - `app_bytes`: of these, raw memory that C took from the pool;
    - `overhead_bytes`: of these, indexes, ghosts and slack;
    - `resident_bytes`: what the system has given; `huge_bytes`: of these, in huge pages;
    - `stores`: caches that are open in it;
    - `level_changes`: of the pressure;
    - `alloc_failures`, `alloc_created`, `alloc_reused`, `alloc_returned`, `alloc_discarded`: of raw
      memory: refusals, fresh blocks, blocks used again, given back, and returned to segments;
    - `pressure`: the level, as in `Pressure`.
    """

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
    """A filter's statistics.

    - `keys`: adds that were not taken back;
    - `capacity`: how many it is made for, with what it has grown by;
    - `bytes`: of its tables;
    - `adds`, `add_failures`, `lookups`, `removes`: counters since it was made or loaded;
    - `remove_failures`: removes of keys without a trace, or from a saturated filter;
    - `kicks`: traces moved to make room; `longest_kick_chain`: at most so many for one key;
    - `resizes`: times that it grew;
    - `positives`: look-ups answered "maybe";
    - `load_factor`: the share of places that are taken;
    - `fpr_theoretical`, `fpr_sampled`: how often "maybe" is wrong, by the load and as measured just
      now on some thousand random keys;
    - `saturated`: whether it answers "maybe" to everything, until `clear()`.
    """

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
    """A cache's configuration in force, defaults filled in.

    - `name`: None without one;
    - `limit_bytes`, `limit_entries`: 0 is none of its own;
    - `value_len_max`: the longest value, in bytes;
    - `ttl`: the seconds that entries live unless they say otherwise, infinite if they do not expire;
    - `shards`: parts with a lock each;
    - `policy`, `policy_options`: what is evicted first, and the text after the colon, if any;
    - `filter_fpr`: of the filter before the index, 0.0 without one;
    - `floor_bytes`: other caches of the pool do not push it below this;
    - `jitter_pct`: by up to how many percent times to live are shortened.
    """

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
    """What a cache knows of an entry besides its value.

    - `length`: of the value as it is stored, in bytes;
    - `version`: another for each write;
    - `ttl`: seconds left, infinite if it does not expire;
    - `session`: its session's number, 0 for none;
    - `type_code`: the type it is stored under, one of the TYPE_ constants or the application's;
    - `flags`: 32 bits that C may have kept with it.
    """

    length: int
    version: int
    ttl: float
    session: int
    type_code: int
    flags: int
