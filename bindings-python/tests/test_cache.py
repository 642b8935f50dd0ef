"""The mapping, the calls beside it, and what they refuse."""

import gc
import math
import pickle
import sqlite3
import time
from collections.abc import MutableMapping
from typing import Any

import pytest

import hypercache
from hypercache import Cache, ClosedError, Pool, RawKey

untyped: Any = Cache
package: Any = hypercache


def test_it_is_a_mutable_mapping(cache: Cache) -> None:
    assert isinstance(cache, MutableMapping)
    cache["a"] = 1
    cache.update({"b": 2}, c=3)
    cache.update([("d", 4)])
    assert (len(cache), cache["a"], cache["d"]) == (4, 1, 4)
    assert sorted(cache) == sorted(cache.keys()) == ["a", "b", "c", "d"]
    assert dict(cache.items()) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert sorted(cache.values()) == [1, 2, 3, 4]
    assert "a" in cache and "x" not in cache
    del cache["a"]
    with pytest.raises(KeyError, match="'a'"):
        del cache["a"]
    with pytest.raises(KeyError, match="'a'"):
        cache["a"]
    assert cache.pop("b") == 2
    assert cache.pop("b", None) is None
    with pytest.raises(KeyError):
        cache.pop("b")
    assert cache.setdefault("c", 9) == 3
    assert cache.setdefault("e", 5) == cache["e"] == 5
    key, value = cache.popitem()
    assert key not in cache and value in (3, 4, 5)
    cache.clear()
    assert not cache and len(cache) == 0
    with pytest.raises(KeyError):
        cache.popitem()
    assert cache == cache and cache != {} and hash(cache)


def test_get_and_writes_say_what_they_did(cache: Cache) -> None:
    assert cache.get("k") is None
    assert cache.get("k", 7) == cache.get("k", default=7) == cache.get(key="k", default=7) == 7
    assert cache.replace("k", 1) is False
    assert cache.add("k", 1) is True
    assert cache.add("k", 2) is False
    assert cache.replace("k", 3) is True
    assert cache.set("k", 4) is True
    assert cache.set(key="k", value=5, ttl=None, session=None) is True
    assert cache.get("k") == 5
    assert cache.delete("k") is True
    assert cache.delete("k") is False


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.get(), "missing required argument: 'key'"),
        (lambda c: c.get("a", 1, 2), "at most 2"),
        (lambda c: c.get("a", other=1), "unexpected keyword argument 'other'"),
        (lambda c: c.get("a", key="b"), "multiple values"),
        (lambda c: c.set("a"), "missing required argument: 'value'"),
        (lambda c: c.get(1.5), "keys are str, bytes, int"),
        (lambda c: c.get(["a"]), "not list"),
        (lambda c: c.get_many("abc"), "one key"),
        (lambda c: c.set("a", 1, ttl="soon"), "ttl is 'soon'"),
        (lambda c: c.invalidate(), "clear"),
        (lambda c: c.invalidate(prefix="a", glob="b"), "one of"),
        (lambda c: c._scan(0, None, 5), "glob takes"),
        (lambda c: c.memoize(staticmethod(len)), "staticmethod"),
        (lambda _: Cache(), "max_bytes"),
        (lambda _: untyped(1.5), "max_bytes is 1.5; it takes a number of bytes, at least 0, or text"),
        (lambda _: untyped(["x" * 1000]), r"max_bytes is \['x{98}\.\.\.; it takes a number of bytes"),
        (lambda _: package.Pool(None, name=None), "a limit, or the name"),
        (lambda c: c.resize([1]), r"max_bytes is \[1\]; it takes a number of bytes"),
        (lambda _: untyped("1MiB", name=5), "name is 5; it takes a str"),
        (lambda _: untyped("1MiB", pool="x"), "pool is 'x'; it takes a Pool"),
        (lambda _: untyped("1MiB", policy=5), "policy is 5; it takes a str"),
        (lambda _: untyped("1MiB", shards="x"), "shards is 'x'; it takes an int from 0"),
        (lambda _: untyped("1MiB", filter_fpr="x"), "filter_fpr is 'x'; it takes a number"),
        (lambda _: untyped("1MiB", lease="x"), "lease is 'x'; it takes seconds"),
        (lambda c: c.set("a", 1, session="x"), "session is 'x'; it takes an int from 0 to 2"),
        (lambda c: c.set_many({}, session=1.5), "session is 1.5; it takes an int"),
        (lambda c: c.invalidate(session="x"), "session is 'x'; it takes an int"),
        (lambda c: c.incr("a", 1.5), "delta is 1.5; it takes an int from -2"),
        (lambda c: c.get_or_load("k", 5), "fn is 5; it takes a function"),
        (lambda c: c.get_or_load("k", dict, ttl="x"), "ttl is 'x'; it takes seconds as a number"),
        (lambda c: c.memoize(key=5), "key is 5; it takes a function"),
        (lambda c: c.memoize(key=str, typed=True)(len), "typed tells arguments apart"),
        (lambda _: package.Pool("1MiB").on_pressure(5), "callback is 5; it takes a function"),
        (lambda _: package.CuckooFilter("x"), "capacity is 'x'; it takes an int"),
        (lambda _: package.CuckooFilter(10, "x"), "fpr is 'x'; it takes a number"),
        (lambda _: hypercache.CuckooFilter(10).update("abc"), "keys is one key"),
        (lambda _: package.RawKey("x"), "key is 'x'; it takes bytes"),
    ],
)
def test_wrong_calls_are_type_errors(cache: Cache, call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call(cache)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.set("a", 1, ttl=math.nan), "NaN"),
        (lambda c: c.set("a", 1, session=-1), "session is -1"),
        (lambda c: c.get("a\ud800"), r"key is 'a\\ud800'; .* without lone surrogates"),
        (lambda c: c.get_many(["a\ud800"]), r"key is 'a\\ud800'; it takes"),
        (lambda c: c.get(("t", "a\ud800")), r"key is 'a\\ud800'; it takes"),
        (lambda c: c.get_many([b"x" * 70_000]), "may take 65535"),
        (lambda c: c.set_many({b"x" * 70_000: 1}), "may take 65535"),
        (lambda c: c.set_many({"k": b"x" * 50_000_000}), "key takes 1 bytes and the value 50000000"),
        (lambda _: Cache("1MiB", name="a\0b"), r'name begins with "a\\0b"; it takes text without'),
        (lambda c: c.get(b"x" * 70_000), "may take 65535"),
        (lambda _: Cache(5), "max_bytes is 5; 1048576 to"),
        (lambda _: Cache("64M"), "MiB"),
        (lambda _: Cache(-1), "max_bytes is -1"),
        (lambda _: Cache("1MiB", policy="LRU"), "there is no policy"),
        (lambda _: Cache("1MiB", ttl=0), "above 0"),
        (lambda _: Cache("1MiB", lease=-1), "above 0"),
        (lambda _: Cache("1MiB", jitter=-1), "jitter is -1; it takes an int from 0 to 100"),
        (lambda _: Cache("1MiB", shards=-1), "shards is -1"),
        (lambda _: Cache("1MiB", max_entries=-1), "max_entries is -1"),
        (lambda _: Cache("1MiB", max_entries=2**64), "max_entries is 18446744073709551616"),
        (lambda c: c.set_many([("a", 1), ("b",)]), "item 1 has 1 parts"),
        (lambda _: untyped("1MiB", after_fork="what"), "after_fork"),
        (lambda _: untyped("1MiB", codec="yaml"), "codec is 'yaml'"),
        (lambda _: hypercache.parse_size("0%"), "more than 0%"),
        (lambda _: Cache("1MiB", jitter=101), "jitter is 101; 0 to 100"),
        (lambda _: Cache("1MiB", lease=math.inf), "lease is inf; it takes seconds"),
        (lambda c: c.resize(1), "max_bytes is 1; 1048576 to"),
        (lambda c: c.set("k", b"x" * 50_000_000), "key takes 1 bytes and the value 50000000"),
        (lambda c: c.incr("a", 2**63), "delta is 9223372036854775808; it takes an int"),
        (lambda c: c.incr("a", ttl=0), "ttl is 0; a counter's takes"),
        (lambda c: c.invalidate(session=-1), "session is -1; it takes an int from 0"),
        (lambda _: Pool(5), "limit is 5; 1048576 to"),
        (lambda _: Pool("8MiB", elevated=-1), "elevated is -1; it takes an int from 0 to 100"),
        (lambda _: Pool("8MiB").set_thresholds(1, 2, -3), "critical is -3; it takes an int from 0 to 100"),
        (lambda _: Pool("8MiB", limit_max="1MiB"), "limit_max is 1048576; 8388608 to"),
        (lambda _: Pool("8MiB").set_thresholds(5, 4, 3), "thresholds are 5, 4, 3 %; 0 < elevated"),
        (lambda _: hypercache.CuckooFilter(-1), "capacity is -1; it takes an int from 0"),
    ],
)
def test_values_out_of_range_are_value_errors(cache: Cache, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(cache)


def test_many(cache: Cache) -> None:
    entries: dict[Any, Any] = {f"k{i}": i for i in range(1000)} | {b"b": b"v", 7: "seven", (1, "x"): [1]}
    assert cache.set_many(entries) == 1003
    assert cache.get_many([*entries, "none"]) == entries
    assert cache.get_many(iter(entries)) == entries
    assert cache.get_many([]) == {}
    assert cache.set_many([("p", 1), ("q", 2)], ttl=100) == 2
    assert cache.ttl("p") == pytest.approx(100, abs=5)
    assert cache.set_many({"p": 1, "q": 2}, ttl=0) == 0
    assert "p" not in cache
    assert cache.delete_many(["k0", "k0", "none", 7]) == 2
    assert cache.set_many({"big": b"x" * 200_000, "small": b"y"}) == 2
    assert cache.get_many(["big", "small"]) == {"big": b"x" * 200_000, "small": b"y"}
    with pytest.raises(TypeError, match="keys are"):
        cache.get_many([1.5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="keys are"):
        cache.set_many({1.5: 1})


def test_pairs_are_what_has_two_parts(cache: Cache) -> None:
    pairs: Any = [["a", 1], ("b", 2), "cd"]
    assert cache.set_many(pairs) == 3
    assert dict(cache.items()) == {"a": 1, "b": 2, "c": "d"}
    cache.update(pairs)
    with pytest.raises(TypeError):
        cache.set_many([1])  # type: ignore[list-item]


def test_what_has_keys_and_items_of_them_is_a_mapping(cache: Cache) -> None:
    row: Any = sqlite3.connect(":memory:").cursor()
    row.row_factory = sqlite3.Row
    row = row.execute("select 'Ada' as name, 7 as number").fetchone()
    cache.update(row)
    assert dict(cache.items()) == {"name": "Ada", "number": 7}
    cache.clear()
    assert cache.set_many(row, ttl=100) == 2 and cache["number"] == 7


def test_values_are_searched_without_counting_accesses(cache: Cache) -> None:
    cache.update({f"k{i}": i for i in range(100)})
    nan = [float("nan")]
    before = cache.stats()
    assert 7 in cache.values() and 100 not in cache.values() and nan not in cache.values()
    after = cache.stats()
    assert (after.hits, after.misses) == (before.hits, before.misses)

    class Own(Cache):
        def __getitem__(self, key: Any, /) -> Any:
            raise KeyError(key)

    with Own("1MiB") as own:
        own["k"] = 1
        assert 1 in own.values() and 2 not in own.values()


def test_a_cache_says_what_pool_it_is_in(cache: Cache) -> None:
    assert type(cache.pool) is Pool and cache.pool.stats().limit_bytes == 16 << 20
    cache.pool.close()
    cache["k"] = 1
    with Pool("8MiB") as pool, Cache("1MiB", pool=pool) as other:
        assert other.pool.stats() == pool.stats() and other.pool.name is None
    with pytest.raises(ClosedError):
        other.pool


def test_times_to_live(cache: Cache) -> None:
    cache.set("k", 1)
    assert cache.ttl("k") == math.inf
    assert cache.ttl("none") is None
    assert cache.touch("k", 100) and cache.ttl("k") == pytest.approx(100, abs=5)
    assert cache.touch("k") and cache.ttl("k") == pytest.approx(100, abs=5)
    assert cache.expire("k", 50) and cache.ttl("k") == pytest.approx(50, abs=5)
    assert cache.expire("k", None) and cache.ttl("k") == math.inf
    assert cache.touch("k", math.inf) and cache.ttl("k") == math.inf
    assert not cache.touch("none", 1)
    assert cache.touch("k", 0) and "k" not in cache
    cache["k"] = 1
    assert cache.set("k", 2, ttl=0) is False and "k" not in cache
    cache["k"] = 1
    assert cache.add("k", 2, ttl=-1) is False and cache["k"] == 1
    cache.set("k", 1, ttl=0.001)
    time.sleep(0.05)
    assert "k" not in cache
    with Cache("1MiB", ttl=30) as other:
        other["k"] = 1
        assert other.ttl("k") == pytest.approx(30, abs=5)
        assert other.config().ttl == 30
        other.set("k", 1, ttl=100)
        assert other.expire("k", None) and other.ttl("k") == pytest.approx(30, abs=5)


def test_counters(cache: Cache) -> None:
    assert cache.incr("first") == 1 and cache.incr("second", 5) == 5
    assert cache.incr("n", initial=5) == 5
    assert cache.incr("n") == 6
    assert cache.incr("n", -10) == -4
    assert cache["n"] == -4
    assert cache.incr("t", initial=1, ttl=10) == 1 and cache.ttl("t") == pytest.approx(10, abs=5)
    cache["s"] = "text"
    with pytest.raises(TypeError, match="no int"):
        cache.incr("s")
    cache["m"] = 2**63 - 1
    with pytest.raises(OverflowError):
        cache.incr("m")


def test_invalidate_and_walks(cache: Cache) -> None:
    cache.update({"user:1": 1, "user:22": 2, "page:1": 3, b"user:": 4, ("t", 1, 2): 5, ("t", 2): 6})
    assert set(cache.keys(prefix="user:")) == {"user:1", "user:22"}
    assert set(cache.keys(glob="*:?")) == {"user:1", "page:1"}
    assert set(cache.keys(prefix=("t",))) == {("t", 1, 2), ("t", 2)}
    assert set(cache.keys(prefix=("t", 1))) == {("t", 1, 2)}
    assert set(cache.keys(prefix=b"use")) == {b"user:"}
    assert len(cache.keys(prefix="user:")) == 2 and "user:1" in cache.keys(prefix="user:")
    assert "page:1" not in cache.keys(prefix="user:")
    before = cache.stats()
    assert cache.invalidate(prefix="user:") == 2
    assert cache.invalidate(prefix=("t",)) == 2
    assert cache.invalidate(glob="page*") == 1
    assert cache.stats().invalidated - before.invalidated == 5
    assert list(cache) == [b"user:"]
    cache.set("a", 1, session=7)
    cache.set("b", 1, session=8)
    cache.set_many({"c": 1}, session=7)
    assert cache.invalidate(session=7) == 2 and "b" in cache
    entry = cache.entry("b")
    assert entry is not None
    assert (entry.length, entry.session, entry.type_code) == (8, 8, hypercache.TYPE_INT64)
    assert cache.entry("none") is None


def test_statistics(cache: Cache) -> None:
    cache["a"] = 1
    cache.get("a")
    cache.get("b")
    stats = cache.stats()
    assert (stats.entries, stats.hits, stats.misses, stats.inserts) == (1, 1, 1, 1)
    assert stats.hit_ratio == 0.5
    assert stats.used_bytes > 0
    cache["long"] = b"x" * 100_000
    hits = cache.stats().hits
    assert cache["long"] == b"x" * 100_000
    assert cache.stats().hits == hits + 1, "a long value is one hit"
    assert "hypercache" in hypercache.metrics_text()
    assert "entries" in repr(cache)


def test_the_limit_holds_and_moves() -> None:
    with Cache("4MiB") as cache:
        for i in range(20_000):
            cache[f"key:{i}"] = b"x" * 500
        stats = cache.stats()
        assert 0 < stats.evicted and stats.used_bytes <= 4 << 20
        cache.resize("2MiB")
        assert cache.stats().used_bytes <= 2 << 20
        cache.validate()
        with pytest.raises(hypercache.TooLargeError):
            cache["big"] = b"x" * (5 << 20)


def test_max_entries_and_policies() -> None:
    for policy in ("adaptive", "s3fifo", "sieve", "wtinylfu", "lru", "lfu", "fifo", "random", "hybrid"):
        with Cache("8MiB", policy=policy, max_entries=100) as cache:
            cache.update({f"k{i}": i for i in range(1000)})
            assert len(cache) <= 100
            assert cache.config().policy == policy
    with Cache("8MiB", policy="s3fifo:small=20") as cache:
        assert cache.config().policy_options == "small=20"
    with pytest.raises(hypercache.UnsupportedError, match="nonsense"):
        Cache("8MiB", policy="s3fifo:nonsense=1")


def test_names_are_shared() -> None:
    with Cache("8MiB", name="shared") as first:
        first["k"] = 1
        with Cache("8MiB", name="shared") as second, Cache(name="shared") as third:
            assert second["k"] == third["k"] == 1
            assert second.stats() == first.stats()
        assert first["k"] == 1, "the others only gave it back"
        with pytest.raises(ValueError, match="max_bytes is 16777216"):
            Cache("16MiB", name="shared")
        Cache(name="shared").destroy()
        with pytest.raises(ClosedError):
            first.get("k")
    with pytest.raises(KeyError, match="shared"):
        Cache(name="shared")


def test_closed_is_said() -> None:
    cache = Cache("1MiB", name="mine")
    view = cache.view("k")
    assert view is None
    cache["k"] = b"value"
    view = cache.view("k")
    cache.close()
    cache.close()
    assert cache.closed and "closed" in repr(cache)
    for call in (cache.get, cache.delete, cache.ttl, cache.view, cache.incr, lambda k: k in cache):
        with pytest.raises(ClosedError, match="closed"):
            call("k")
    assert view is not None and bytes(view) == b"value", "what was pinned stays"
    assert isinstance(ClosedError(), ValueError)


def test_pools_are_shared_by_caches() -> None:
    with Pool("8MiB") as pool, Cache(pool=pool) as a, Cache("2MiB", pool=pool) as b:
        a["k"], b["k"] = 1, 2
        assert (a["k"], b["k"]) == (1, 2)
        assert pool.stats().stores == 2
        assert b.config().limit_bytes == 2 << 20
        b.resize("1MiB")
        assert b.config().limit_bytes == 1 << 20
        assert a.pool.stats().limit_bytes == 8 << 20


def test_a_filter_before_the_index() -> None:
    with Cache("8MiB", filter_fpr=0.01) as cache:
        cache.update({f"k{i}": i for i in range(1000)})
        assert all(cache[f"k{i}"] == i for i in range(1000))
        assert not any(f"other{i}" in cache for i in range(1000))
        assert not any(cache.get(f"other{i}") for i in range(1000))
        assert cache.config().filter_fpr == 0.01


def test_pickling_is_refused(cache: Cache) -> None:
    for thing in (cache, Pool("1MiB"), hypercache.CuckooFilter(10)):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing)


def test_raw_keys(cache: Cache) -> None:
    key = RawKey(b"\xfe\x00")
    cache[key] = 1
    assert cache[RawKey(b"\xfe\x00")] == 1 and list(cache) == [key]
    assert key.key == bytes(key) == b"\xfe\x00"
    assert {key: 1}[RawKey(b"\xfe\x00")] == 1 and key != RawKey(b"")
    assert repr(key) == "RawKey(b'\\xfe\\x00')"
    cache[RawKey(b"text")] = 2
    assert cache["text"] == 2


def test_nothing_leaks(cache: Cache) -> None:
    import tracemalloc

    value, keys = b"x" * 64, [f"k{i}" for i in range(100)]

    def work() -> None:
        for key in keys:
            cache.set(key, value, ttl=100, session=3)
            cache.get(key)
            cache.get((1, key), 5)
            cache.pop(key, None)
            cache[7] = [key]
            cache[7]
            cache.delete(b"none")
            with pytest.raises(KeyError):
                cache["none"]
        cache.get_many(keys)
        cache.set_many(dict.fromkeys(keys, value))
        list(cache.items())

    work()
    gc.collect()
    tracemalloc.start()
    work()
    gc.collect()
    before = tracemalloc.take_snapshot()
    for _ in range(30):
        work()
    gc.collect()
    grown = sum(d.size_diff for d in tracemalloc.take_snapshot().compare_to(before, "filename"))
    tracemalloc.stop()
    assert grown < 20_000, f"{grown} bytes more after 30 rounds"


def test_the_collector_has_nothing_to_walk(cache: Cache) -> None:
    before = len(gc.get_objects())
    cache.update({f"k{i}": {"i": i} for i in range(20_000)})
    assert len(gc.get_objects()) < before + 1000
