"""Memoization and read-through."""

import asyncio
import gc
import os
import threading
import time
import weakref
from typing import Any

import pytest

import hypercache
from hypercache import Cache, CacheInfo, CuckooFilter, DeadlockError, LoadError, Pool


class Calls:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()

    def __call__(self) -> int:
        with self.lock:
            self.count += 1
            return self.count


def in_threads(count: int, work: Any) -> list[Any]:
    """What `work` returns or raises in so many threads."""
    results: list[Any] = [None] * count
    ready = threading.Barrier(count)

    def run(at: int) -> None:
        ready.wait()
        try:
            results[at] = work()
        except Exception as error:
            results[at] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_function(cache: Cache) -> None:
    calls = Calls()

    @cache.memoize
    def area(width: int, height: int = 1) -> list[int]:
        """An area."""
        calls()
        return [width * height]

    assert area(2, 3) == area(2, 3) == [6]
    assert area(2, height=3) == [6] and calls.count == 2, "named arguments are another call"
    assert area.cache_info() == CacheInfo(1, 2)
    assert area.__name__ == "area" and area.__doc__ == "An area." and area.__wrapped__(1, 1) == [1]  # type: ignore[attr-defined]
    key = area.cache_key(2, 3)
    assert isinstance(key, tuple) and key[1] == (2, 3) and cache[key] == [6]
    assert area.cache_delete(2, 3) and not area.cache_delete(2, 3)
    area(2, 3)
    cache["other"] = 1
    assert area.cache_clear() == 2 and list(cache) == ["other"]


@pytest.mark.parametrize(
    "argument", [1, "x", b"x", None, 1.5, True, (1, 2), [1, {}], {"a": 1}, "y" * 10_000, {1, 2}]
)
def test_arguments_of_every_kind(cache: Cache, argument: Any) -> None:
    calls = Calls()

    @cache.memoize
    def call(*args: Any, **named: Any) -> int:
        return calls()

    assert [call(argument), call(argument), call(argument, argument)] == [1, 1, 2]
    assert [call(a=argument), call(a=argument), call(b=argument)] == [3, 3, 4]
    assert call((argument,)) == 5 or isinstance(argument, list | dict | set)


def test_keys_are_apart(cache: Cache) -> None:
    calls = Calls()

    @cache.memoize
    def call(*args: Any, **named: Any) -> int:
        return calls()

    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}), ((1,), {}), ((1.0,), {}), (("1",), {}), ((b"1",), {}), (((1,),), {}),
        ((None,), {}), ((("a", 1),), {}), ((), {"a": 1}), ((-0.0,), {}), ((0.0,), {}),
        (("a",), {}), (("a", 1), {}), (("x" * 5000,), {}), (("x" * 5001,), {}),
    ]  # fmt: skip
    first = [call(*args, **named) for args, named in asked]
    assert first == [call(*args, **named) for args, named in asked]
    assert len(set(first)) == len(asked)
    assert call(True) == call(1), "as in a dict"

    @cache.memoize(typed=True)
    def typed(*args: Any) -> int:
        return calls()

    assert typed(True) != typed(1) and typed(1) == typed(1)


def test_local_functions_and_lambdas_have_their_own_keys(cache: Cache) -> None:
    def made(n: int) -> Any:
        @cache.memoize
        def plus(x: int) -> int:
            return x + n

        return plus

    one, ten = made(1), made(10)
    assert (one(5), ten(5), one(5), ten(5)) == (6, 15, 6, 15)
    assert one.cache_info() == ten.cache_info() == CacheInfo(1, 1)
    assert one.cache_clear() == 1 and ten(5) == 15 and ten.cache_info() == CacheInfo(2, 1)
    plain, negated = cache.memoize(lambda x: x), cache.memoize(lambda x: -x)
    assert (plain(3), negated(3)) == (3, -3)


def module_level(x: int) -> int:
    """Has a name of its own."""
    return x


def test_functions_of_a_module_share_their_results(cache: Cache) -> None:
    first, second = cache.memoize(module_level), cache.memoize(module_level)
    assert first.cache_key(1) == second.cache_key(1) == (f"{__name__}.module_level", (1,))
    assert first(1) == second(1) == 1 and second.cache_info() == CacheInfo(1, 0)


def test_bare_objects_are_no_arguments(cache: Cache) -> None:
    @cache.memoize
    def same(x: object) -> int:
        return id(x)

    with pytest.raises(TypeError, match="bare object"):
        same(object())
    with pytest.raises(TypeError, match="bare object"):
        same((object(),))


class Numbered:
    """Says what stands for it."""

    def __init__(self, number: int) -> None:
        self.number, self.noise = number, os.urandom(8)

    def __cache_key__(self) -> int:
        return self.number


def test_length_does_not_change_which_arguments_are_equal(cache: Cache) -> None:
    @cache.memoize
    def call(*args: Any, **named: Any) -> int:
        return 0

    def text(size: int) -> str:
        return "".join(["x"] * size)

    for size in (10, 1000, 5000, 70_000):
        key = call.cache_key(Numbered(1), text(size), a=text(size))
        assert key == call.cache_key(Numbered(1), text(size), a=text(size))
        assert key != call.cache_key(Numbered(2), text(size), a=text(size))
        assert key != call.cache_key(Numbered(1), text(size) + "y", a=text(size))
        assert key != call.cache_key(Numbered(1), text(size), b=text(size))
        # One object twice, and two that are equal.
        one = text(size)
        assert call.cache_key((one, one)) == call.cache_key((one, text(size)))
        assert call.cache_key((Numbered(1), one)) == call.cache_key((Numbered(1), text(size)))
        assert call.cache_key((Numbered(1), one)) != call.cache_key((Numbered(2), one))
    many = [f"{i:0900}" for i in range(100)]
    assert call.cache_key(*many) == call.cache_key(*(text(0) + item for item in many))
    assert call.cache_key(*many) != call.cache_key(*many[:-1], "other")
    assert call.cache_key(("a", "bc", 1.5)) != call.cache_key(("ab", "c", 1.5))
    assert call(*many) == call(*many) == 0 and call.cache_info() == CacheInfo(1, 1)


def test_methods_and_what_stands_for_self(cache: Cache) -> None:
    calls = Calls()

    class User:
        def __init__(self, number: int) -> None:
            self.number = number
            self.lock = threading.Lock()  # cannot be pickled

        def __cache_key__(self) -> int:
            return self.number

        @cache.memoize
        def name(self, suffix: str = "") -> str:
            calls()
            return f"user {self.number}{suffix}"

        @staticmethod
        @cache.memoize
        def twice(x: int) -> int:
            return 2 * x

    assert User(1).name() == User(1).name() == "user 1" and User(2).name("!") == "user 2!"
    assert calls.count == 2 and User.twice(4) == 8

    class Opaque:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        @cache.memoize
        def name(self) -> str:
            return ""

    with pytest.raises(TypeError, match="__cache_key__"):
        Opaque().name()


def test_ones_own_keys(cache: Cache) -> None:
    @cache.memoize(key=lambda number: f"user:{number}")
    def user(number: int) -> str:
        return f"name {number}"

    assert user(7) == cache["user:7"] == "name 7"
    assert user.cache_key(7) == "user:7"
    cache["user:8"] = "written elsewhere"
    assert user(8) == "written elsewhere"
    with pytest.raises(TypeError, match="key="):
        user.cache_clear()


def test_64_threads_one_call(cache: Cache) -> None:
    calls = Calls()

    @cache.memoize(ttl=60)
    def slow(x: int) -> int:
        calls()
        time.sleep(0.2)
        return x

    assert in_threads(64, lambda: slow(5)) == [5] * 64
    assert calls.count == 1


def test_threads_and_tasks_wait_for_each_other(cache: Cache) -> None:
    calls = Calls()
    begun = threading.Event()

    def load() -> int:
        begun.set()
        calls()
        time.sleep(0.2)
        return 7

    async def load_async() -> int:
        return load()

    def in_a_task() -> Any:
        begun.wait()
        return asyncio.run(ask())

    async def ask() -> list[int]:
        return await asyncio.gather(*(cache.get_or_load_async("k", load_async) for _ in range(20)))

    thread = threading.Thread(target=lambda: cache.get_or_load("k", load))
    thread.start()
    assert in_a_task() == [7] * 20
    thread.join()
    assert calls.count == 1


def test_coroutines(cache: Cache) -> None:
    calls = Calls()

    @cache.memoize
    async def slow(x: int) -> int:
        calls()
        await asyncio.sleep(0.05)
        return 2 * x

    async def main() -> None:
        assert await asyncio.gather(*(slow(3) for _ in range(50))) == [6] * 50
        assert await slow(3) == 6
        assert calls.count == 1

    assert asyncio.iscoroutinefunction(slow)
    asyncio.run(main())
    asyncio.run(main())


def test_waiting_leaves_nothing_behind() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def once() -> None:
        with Cache("2MiB") as cache:

            async def slow() -> int:
                await asyncio.sleep(0.005)
                return 1

            async def main() -> None:
                assert await asyncio.gather(
                    *(cache.get_or_load_async("k", slow) for _ in range(5))
                ) == [1] * 5

            asyncio.run(main())

    once()
    before = descriptors()
    for _ in range(20):
        once()
    gc.collect()
    assert descriptors() <= before
    assert not hypercache._memoize._waiting


def test_cycles_through_a_cache_are_collected() -> None:
    class Own:
        type_code = 128

        def dumps(self, value: Any) -> bytes:
            return b""

        def loads(self, data: bytes) -> Any:
            return None

    own: Any = Own()
    cache = own.cache = Cache("1MiB", codec=own)

    @cache.memoize
    def function() -> None:
        pass

    gone = [weakref.ref(own), weakref.ref(function)]
    own.function = function
    del own, function, cache
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_a_cancelled_load_goes_to_another(cache: Cache) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def never() -> str:
            begun.set()
            await asyncio.sleep(60)
            return "never"

        async def soon() -> str:
            return "soon"

        first = asyncio.create_task(cache.get_or_load_async("k", never))
        await begun.wait()
        second = asyncio.create_task(cache.get_or_load_async("k", soon))
        await asyncio.sleep(0.02)
        assert not second.done()
        first.cancel()
        assert await asyncio.wait_for(second, 10) == "soon"

    asyncio.run(main())


def test_failures_are_not_kept(cache: Cache) -> None:
    calls = Calls()

    @cache.memoize
    def fails() -> None:
        calls()
        time.sleep(0.1)
        raise KeyError("no such thing")

    results = in_threads(8, fails)
    kinds = {type(error) for error in results}
    assert KeyError in kinds and kinds <= {KeyError, LoadError}
    before = calls.count
    with pytest.raises(KeyError):
        fails()
    assert calls.count == before + 1


def test_failures_are_kept_where_asked(cache: Cache) -> None:
    calls = Calls()

    @cache.memoize(error_ttl=60)
    def fails() -> None:
        calls()
        raise KeyError("no such thing")

    with pytest.raises(KeyError):
        fails()
    with pytest.raises(LoadError):
        fails()
    assert calls.count == 1


def test_absent_is_kept_apart(cache: Cache) -> None:
    calls = Calls()

    @cache.memoize(ttl=60, negative_ttl=60)
    def find(x: int) -> int | None:
        calls()
        return None

    assert find(1) is None and find(1) is None and calls.count == 1
    assert len(cache) == 0, "an absent key is no entry"

    @cache.memoize
    def nothing() -> Any:
        calls()

    nothing()
    nothing()
    assert calls.count == 2 and len(cache) == 1, "without negative_ttl None is a value"

    async def absent() -> None:
        calls()

    async def main() -> None:
        for _ in range(3):
            await cache.get_or_load_async("a", absent, negative_ttl=60)

    asyncio.run(main())
    assert calls.count == 3


def test_known_keys_spare_the_source(cache: Cache) -> None:
    known = CuckooFilter(100)
    known.add("user:1")
    cache.set_known_keys(known)
    calls = Calls()
    assert cache.get_or_load("user:1", calls) == 1
    loaded: list[Any] = [cache.get_or_load(f"other:{i}", calls) for i in range(50)]
    assert loaded.count(None) > 40
    cache.set_known_keys(None)
    before = calls.count
    assert cache.get_or_load("other:x", calls) == before + 1


def test_waiting_for_oneself_is_refused(cache: Cache) -> None:
    @cache.memoize
    def endless(x: int) -> int:
        return endless(x)

    with pytest.raises(DeadlockError):
        endless(1)

    @cache.memoize
    async def endless_async(x: int) -> int:
        return await endless_async(x)

    with pytest.raises(DeadlockError):
        asyncio.run(endless_async(1))

    @cache.memoize
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(70) == 190392490709135


def test_a_load_that_has_ended_is_waited_for_by_nobody(cache: Cache) -> None:
    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        children: list[asyncio.Task[str]] = []

        async def unused() -> str:
            return "unused"

        async def child() -> str:
            await begun.wait()
            return await cache.get_or_load_async("k", unused)

        async def first() -> str:
            children.append(asyncio.create_task(child()))
            return "first"

        async def second() -> str:
            begun.set()
            await go_on.wait()
            return "second"

        assert await cache.get_or_load_async("k", first) == "first"
        del cache["k"]
        other = asyncio.create_task(cache.get_or_load_async("k", second))
        await begun.wait()
        await asyncio.sleep(0.02)
        assert not children[0].done(), "it waits for the load of another task"
        go_on.set()
        assert await children[0] == await other == "second"

        async def itself() -> Any:
            return await cache.get_or_load_async(True, itself)

        with pytest.raises(DeadlockError):
            await cache.get_or_load_async(1, itself)

    asyncio.run(main())


def test_a_write_beats_a_load(cache: Cache) -> None:
    def load() -> str:
        cache["k"] = "newer"
        return "older"

    assert cache.get_or_load("k", load) == "older"
    assert cache["k"] == "newer"


def test_times_of_results(cache: Cache) -> None:
    @cache.memoize(ttl=100, jitter=0.5)
    def value(x: int) -> int:
        return x

    lives = []
    for x in range(50):
        value(x)
        lives.append(cache.ttl(value.cache_key(x)))
    assert all(49 <= life <= 100 for life in lives if life is not None) and len(set(lives)) > 10
    for wrong in ({"ttl": 0}, {"jitter": 0.5}, {"ttl": 1, "jitter": 1}, {"error_ttl": -1}, {"stale": 1}):
        with pytest.raises(ValueError):
            cache.memoize(**wrong)
    infinite = float("inf")
    outside: list[tuple[str, dict[str, Any]]] = [
        ("negative_ttl", {"negative_ttl": infinite}),
        ("negative_ttl", {"negative_ttl": 1e18}),
        ("ttl", {"ttl": infinite, "stale": 1}),
        ("stale", {"ttl": 1, "stale": infinite}),
        ("error_ttl", {"error_ttl": infinite}),
    ]
    for name, terms in outside:
        with pytest.raises(ValueError, match=f"^{name} is .*1e9"):
            cache.memoize(**terms)
    assert cache.get_or_load("forever", lambda: 1, ttl=infinite) == 1
    assert cache.ttl("forever") == infinite


def test_what_cannot_be_stored_is_returned() -> None:
    with Cache("1MiB") as cache:
        calls = Calls()

        @cache.memoize
        def big() -> bytes:
            calls()
            return b"x" * (2 << 20)

        assert big() == big() == b"x" * (2 << 20) and calls.count == 2
    with Cache("1MiB", codec=None) as cache:
        with pytest.raises(TypeError, match="no codec"):
            cache.get_or_load("k", lambda: [1])
        assert cache.get_or_load("k", lambda: 1) == 1


def test_stale_results_while_one_loads(cache: Cache) -> None:
    calls = Calls()
    begun, go_on = threading.Event(), threading.Event()

    @cache.memoize(ttl=0.1, stale=600)
    def load() -> int:
        count = calls()
        if count > 1:
            begun.set()
            assert go_on.wait(60)
        return count

    assert load() == load() == 1
    time.sleep(0.2)
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(load()))
    thread.start()
    assert begun.wait(60)
    assert load() == load() == 1, "the old result, while another caller loads"
    go_on.set()
    thread.join()
    assert results == [2] and calls.count == 2
    assert cache[load.cache_key()] == 2
    assert [key for key in cache] == [load.cache_key()], "a renewal leaves no entry"

    def written_meanwhile() -> int:
        cache["k"] = 9
        return 8

    assert cache.get_or_load("k", lambda: 7, ttl=0.001, stale=600) == 7
    time.sleep(0.05)
    assert cache.get_or_load("k", written_meanwhile, ttl=0.001, stale=600) == 8
    assert cache["k"] == 9, "a write beats a renewal"


def test_leases_are_the_stores(cache: Cache) -> None:
    with Pool("8MiB") as pool:
        a, b = Cache(pool=pool, name="s"), Cache(pool=pool, name="s")
        calls = Calls()

        def load() -> int:
            time.sleep(0.1)
            return calls()

        both = [a, b] * 8
        results = in_threads(16, lambda: both.pop().get_or_load("k", load))
        assert results == [1] * 16
        assert a.stats().leases == 1
    assert hypercache.Memoized is not None


@pytest.mark.parametrize(
    "value", [b"x" * (2 << 20), "y" * (2 << 20), ["z" * (2 << 20)]], ids=["bytes", "str", "list"]
)
def test_what_fits_nowhere_is_loaded_once_for_all_who_wait(value: Any) -> None:
    calls = Calls()

    def load() -> Any:
        calls()
        time.sleep(0.2)
        return value

    async def load_later() -> Any:
        calls()
        await asyncio.sleep(0.2)
        return value

    async def ask(cache: Cache) -> list[Any]:
        return await asyncio.gather(*(cache.get_or_load_async("t", load_later) for _ in range(8)))

    with Cache("1MiB") as cache:
        found = in_threads(8, lambda: cache.get_or_load("k", load))
        assert calls.count == 1
        found += asyncio.run(ask(cache))
        assert calls.count == 2 and "k" not in cache and "t" not in cache
        assert all(one == value for one in found)
        if isinstance(value, list):
            assert len({id(one) for one in found}) == 15, "who waits has its own"
        assert cache.get_or_load("k", load) == value and calls.count == 3, "and nothing is kept"


def test_a_loop_may_begin_to_wait_while_another_looks(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shared(weakref.WeakValueDictionary[Any, Any]):
        """What other threads have their waits in as well."""

        def values(self) -> Any:
            for at, value in enumerate(super().values()):
                self["another thread's", at] = value
                yield value

    async def main() -> None:
        async def slow() -> int:
            await asyncio.sleep(0.05)
            return 1

        waiting = [cache.get_or_load_async("k", slow) for _ in range(3)]
        assert await asyncio.gather(*waiting) == [1, 1, 1]

    class Loop:
        def is_closed(self) -> bool:
            return False

    class Waiting:
        _loop = Loop()

    shared, other = Shared(), Waiting()
    shared["other"] = other
    monkeypatch.setattr(hypercache._memoize, "_waiting", shared)
    asyncio.run(main())


def test_times_are_the_packages() -> None:
    """One rule for all times: what is given in seconds goes to the library as it is."""
    told: list[Any] = []

    class Told:
        def __getattr__(self, name: str) -> Any:
            return lambda *given: told.append((name, *given))

    lease: Any = Told()
    terms = hypercache._memoize.Terms(0.0014, 0.0, 0.0014, 0.0004, 1.0)
    terms.finish(lease, None)
    terms.finish(lease, 7)
    terms.failed(lease, KeyError())
    assert told == [("absent", 0.0014), ("put", 7, 1.0014, 0.0014), ("fail", 0.0004)]


def test_a_long_value_that_is_only_passed_on_is_not_lost() -> None:
    """More than a quarter of the limit is not stored, and is passed on by the library."""
    calls = Calls()
    value = b"x" * 2_000_000

    def load() -> bytes:
        calls()
        time.sleep(0.25)
        return value

    with Cache("6MiB") as cache:
        assert in_threads(8, lambda: cache.get_or_load("k", load)) == [value] * 8
        assert calls.count == 1 and "k" not in cache
