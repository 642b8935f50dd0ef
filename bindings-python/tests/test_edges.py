"""What programs do to a cache that they should not, or seldom do."""

import asyncio
import copy
import gc
import os
import pickle
import threading
import weakref
from typing import Any

import pytest
from processes import in_a_child, run_alone

import hypercache
from hypercache import Cache, ClosedError, CuckooFilter, Pool, RawKey


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def leave_waiting(cache: Cache, begun: threading.Event) -> None:
    """Closes an event loop in which a task waits for a load."""
    loop = asyncio.new_event_loop()

    async def never() -> int:
        raise AssertionError("somebody else loads")

    async def main() -> None:
        waiting = [asyncio.ensure_future(cache.get_or_load_async("k", never)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in waiting:
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    begun.wait()
    loop.run_until_complete(main())
    loop.close()


def test_a_loop_that_is_closed_early_leaves_nothing_behind(cache: Cache) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def load() -> int:
        begun.set()
        go_on.wait()
        return 1

    thread = threading.Thread(target=lambda: cache.get_or_load("k", load))
    thread.start()
    try:
        gc.collect()
        before = descriptors()
        for _ in range(20):
            leave_waiting(cache, begun)
        assert descriptors() <= before + 3, "the next loop closes what closed ones left"
        gc.collect()
        assert descriptors() == before
        assert not hypercache._memoize._waiting
    finally:
        go_on.set()
        thread.join()


def test_what_is_closed_or_foreign_says_so() -> None:
    pool, named = Pool("2MiB"), Pool("2MiB", name="edges")
    assert (repr(pool), repr(named)) == ("<hypercache.Pool>", "<hypercache.Pool 'edges'>")
    assert not pool.closed
    for it in (pool, named):
        it.close()
        assert it.closed and repr(it) == "<hypercache.Pool, closed>"
    with pytest.raises(ClosedError, match="closed"):
        pool.stats()
    with Cache("2MiB", name="mine") as cache, Pool("2MiB") as pool:
        known = CuckooFilter(10)

        def work() -> None:
            assert "parent" in repr(cache) and "'mine'" in repr(cache)
            assert "parent" in repr(pool) and "parent" in repr(known)

        assert in_a_child(work) == 0
    assert repr(cache) == "<hypercache.Cache 'mine', closed>"


def test_a_pool_stays_the_parents() -> None:
    with Pool("4MiB") as pool, pytest.raises(ValueError, match='after_fork is "fresh" and pool is given'):
        Cache(pool=pool, after_fork="fresh")


def test_a_thread_may_fork() -> None:
    with Cache("4MiB", after_fork="fresh") as cache, Cache("4MiB") as plain:
        cache["k"] = plain["k"] = 1
        ends: list[int] = []

        def work() -> None:
            assert cache.get("k") is None and cache.set("k", 2) and cache["k"] == 2
            assert cache.get_or_load("l", lambda: 3) == 3
            with pytest.raises(hypercache.ForkedError):
                plain.get("k")

        def spin() -> None:
            while not ends:
                cache.set("other", b"x" * 1000)
                cache.get("other")

        spinning = threading.Thread(target=spin)
        forking = threading.Thread(target=lambda: ends.extend(in_a_child(work) for _ in range(5)))
        spinning.start()
        forking.start()
        forking.join()
        spinning.join()
        assert ends == [0] * 5 and cache["k"] == 1


def test_only_values_can_be_copied(cache: Cache) -> None:
    raw = RawKey(b"\xff k")
    assert copy.copy(raw) == copy.deepcopy(raw) == pickle.loads(pickle.dumps(raw)) == raw
    cache["k"] = b"v"
    things = (cache, Pool("1MiB"), CuckooFilter(10), cache.view("k"), iter(cache))
    for thing in things:
        for do in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="pickle"):
                do(thing)
    assert [weakref.ref(thing)() for thing in things[:4]] == list(things[:4])


def test_subclasses(cache: Cache) -> None:
    class Counted(Cache):
        def __init__(self, *_: Any, **__: Any) -> None:
            self.asked = 0

        def get(self, key: Any, default: Any = None) -> Any:
            self.asked += 1
            return super().get(key, default)

    with Counted("2MiB") as counted:
        counted["k"] = 1
        assert (counted.get("k"), counted.setdefault("k", 2), counted.asked) == (1, 1, 2)
        assert counted.memoize(len)("ab") == 2
        with pytest.raises(TypeError, match="a Counted cannot be pickled"):
            pickle.dumps(counted)


def test_long_values_in_batches_by_many_threads() -> None:
    with Cache("48MiB") as cache:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(6):
                    value = bytes([number, turn]) * 100_000
                    entries = {f"{number}:{i}": value for i in range(10)}
                    assert cache.set_many(entries) == 10
                    assert all(found == value for found in cache.get_many(entries).values())
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        cache.validate()


def test_long_values_in_batches_while_it_is_closed() -> None:
    for turn in range(10):
        cache = Cache("48MiB")
        entries = {f"{i}": bytes([i]) * 300_000 for i in range(60)}

        def work(cache: Cache = cache, entries: Any = entries) -> None:
            with pytest.raises(ClosedError):
                while True:
                    cache.set_many(entries)

        thread = threading.Thread(target=work)
        thread.start()
        if turn % 2:
            cache.get("1")
        cache.destroy() if turn % 3 == 0 else cache.close()
        thread.join()


def test_a_forked_child_begins_with_a_long_batch() -> None:
    with Cache("16MiB", after_fork="fresh") as cache:
        assert in_a_child(lambda: cache.set_many({"a": b"x" * 300_000, "b": b"y"}) == 2 or 1 / 0) == 0


SIGNALLED = """
import signal
from hypercache import Cache, CuckooFilter
cache, known = Cache("256MiB"), CuckooFilter(1000)
keys = [f"key:{i}" for i in range(1_500_000)]
entries = dict.fromkeys(keys, b"v")
class Told(Exception): pass
def tell(*_): raise Told
signal.signal(signal.SIGALRM, tell)
for work in (lambda: cache.set_many(entries), lambda: cache.get_many(keys),
             lambda: cache.delete_many(keys), lambda: known.update(keys)):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        work()
        print("not told")
    except Told:
        pass
cache.validate()
print("whole")
"""


def test_signals_end_a_long_batch() -> None:
    assert run_alone(SIGNALLED) == "whole\n"


COLLECTED = """import asyncio, gc
from hypercache import Cache, CuckooFilter, Pool
class Own(Cache): pass
class OwnPool(Pool): pass
def everything():
    with Own("2MiB") as cache:
        cache["k"] = {"a": 1}
        for turn in range(10):
            function = cache.memoize(lambda x: [x])
            assert function(1) == function(1) == [1]
            Cache("1MiB"), Own("1MiB"), Pool("1MiB"), OwnPool("1MiB"), CuckooFilter(10)
            with cache.view("k") as view:
                bytes(view)
            list(cache.items()), cache.get_many(["k"]), cache.stats(), cache.entry("k")
            cache.get_or_load(("loaded", turn), dict)
            async def later(x): return [x]
            waiting = cache.memoize(later)
            async def main(): await asyncio.gather(waiting(1), waiting(1), waiting(2))
            asyncio.run(main())
for often in range(1, 12):
    gc.set_threshold(often)
    everything()
print("whole")
"""


def test_a_collection_may_come_at_any_moment() -> None:
    assert run_alone(COLLECTED) == "whole\n"
