"""HyperCache beside cachebox, lru-dict, cachetools and theine, in one process and interleaved.

    python bench/compare.py                 # speed: hot, one million keys, sets, batches, memoize
    python bench/compare.py memory          # resident memory, a process each

Each figure is the median over rounds of the thread's own processor time; in a round every cache is
measured once, in turn, so that what else the machine does hits all of them alike. Ratios carry over to
other machines, times do not.
Needs: pip install hypercache cachebox lru-dict cachetools theine
"""

import argparse
import gc
import importlib.util
import os
import pathlib
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import types
from collections.abc import Callable
from typing import Any

import cachebox
import cachetools
import hypercache
from lru import LRU
from theine import Cache as Theine

VALUE = b"x" * 64
MILLION = 1_000_000


def peers(entries: int, limit: str) -> dict[str, Any]:
    """A cache of each kind for so many entries."""
    return {
        "hypercache": hypercache.Cache(limit),
        "cachebox": cachebox.LRUCache(entries),
        "lru-dict": LRU(entries),
        "cachetools": cachetools.LRUCache(entries),
        "theine": Theine(entries),
    }


def setter(name: str, cache: Any) -> Callable[[Any, Any], Any]:
    """How a value is stored."""
    return cache.set if name in ("hypercache", "theine") else cache.__setitem__


def getter(name: str, cache: Any) -> Callable[[Any], Any]:
    """How a value is read."""
    if name == "theine":
        return lambda key: cache.get(key)[0]
    return cache.get


def timed(work: Callable[[Any], Any], items: list[Any]) -> float:
    """Nanoseconds an item."""
    # The interpreter adapts a loop to what it calls: each callable has a loop of its own.
    loop = LOOPS.get(work)
    if loop is None:
        loop = LOOPS[work] = types.FunctionType(_loop.__code__.replace(), {})
    start = time.thread_time_ns()
    loop(work, items)
    return (time.thread_time_ns() - start) / len(items)


def _loop(work: Callable[[Any], Any], items: list[Any]) -> None:
    for item in items:
        work(item)


LOOPS: dict[Any, Any] = {}
PUTS: dict[Any, Any] = {}


def rounds(count: int, measures: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median of each, measured in turn."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    gc.disable()
    for _ in range(count):
        for name, measure in measures.items():
            found[name].append(measure())
    gc.enable()
    return {name: statistics.median(all) for name, all in found.items()}


def show(title: str, found: dict[str, float], unit: str = "ns") -> None:
    """A row a cache, with how many times HyperCache's figure it is."""
    print(f"\n{title}")
    ours = found["hypercache"]
    for name, value in found.items():
        print(f"  {name:<26} {value:9.1f} {unit}  {value / ours:6.2f}")


def raw_calls() -> Any:
    """The functions of floor.c, compiled."""
    source = pathlib.Path(__file__).with_name("floor.c")
    library = hypercache.get_library_dir()
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder, "floor.so")
        command = ["cc", "-O2", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}",
                   f"-I{hypercache.get_include()}", str(source), "-o", str(target),
                   f"-L{library}", "-lhypercache", f"-Wl,-rpath,{library}"]  # fmt: skip
        subprocess.run(command, check=True)
        spec = importlib.util.spec_from_file_location("floor", target)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def hot(count: int) -> None:
    """One key, always there."""
    key, many = "abcdefghijklmnop", 20_000
    caches = peers(1000, "64MiB")
    caches["hypercache"] = hypercache.Cache("64MiB", name="hot")
    floor = raw_calls()
    floor.open_store("hot")
    measures: dict[str, Callable[[], float]] = {}
    asked = [key] * many
    for name, cache in caches.items():
        setter(name, cache)(key, VALUE)
        measures[name] = lambda get=getter(name, cache): timed(get, asked)
    table = {key: VALUE}
    measures["dict"] = lambda: timed(table.get, asked)
    measures["raw call, look-up and copy"] = lambda: timed(floor.look_up, asked)
    measures["raw call, copy alone"] = lambda: timed(floor.copy, asked)
    found = rounds(count, measures)
    show("hot hit, 64 B", found)
    ratio = found["hypercache"] / found["raw call, look-up and copy"]
    print(f"  hypercache over the raw call: {ratio:.2f}")


def large(count: int) -> None:
    """A million keys, hit at random; then set into a full cache."""
    keys = [f"key:{i:012d}" for i in range(MILLION)]
    caches = peers(MILLION, "256MiB")
    for name, cache in caches.items():
        store = setter(name, cache)
        for key in keys:
            # A value of its own for each, as a program would have.
            store(key, bytes(64))
    dice = random.Random(7)
    measures: dict[str, Callable[[], float]] = {}

    def anew() -> list[str]:
        return [f"key:{dice.randrange(MILLION):012d}" for _ in range(50_000)]

    for name, cache in caches.items():
        measures[name] = lambda get=getter(name, cache): timed(get, anew())
    show("hit, 64 B, one million keys, each asked for with a str made anew", rounds(count, measures))
    picks = [dice.choice(keys) for _ in range(50_000)]
    for name, cache in caches.items():
        measures[name] = lambda get=getter(name, cache): timed(get, picks)
    ours = caches["hypercache"]

    def many(size: int) -> float:
        start = time.thread_time_ns()
        for at in range(0, len(picks), size):
            ours.get_many(picks[at : at + size])
        return (time.thread_time_ns() - start) / len(picks)

    measures["hypercache get_many(100)"] = lambda: many(100)
    found = rounds(count, measures)
    show("the same, asked for with the very objects that were stored", found)
    ratio = found["hypercache get_many(100)"] / found["hypercache"]
    print(f"  get_many over get: {ratio:.2f}")


def full(count: int) -> None:
    """Sets of new keys into a full cache of 100,000 entries of 64 bytes."""
    entries = 100_000
    caches = peers(entries, "11MiB")
    serial = iter(range(10**12))
    for name, cache in caches.items():
        store = setter(name, cache)
        for _ in range(2 * entries):
            store(f"key:{next(serial):012d}", VALUE)

    def measure(store: Callable[[Any, Any], Any]) -> float:
        fresh = [f"key:{next(serial):012d}" for _ in range(20_000)]
        put = PUTS.setdefault(store, lambda key: store(key, VALUE))
        return timed(put, fresh)

    measures: dict[str, Callable[[], float]] = {
        name: lambda store=setter(name, cache): measure(store) for name, cache in caches.items()
    }
    ours = caches["hypercache"]

    def many() -> float:
        fresh = [f"key:{next(serial):012d}" for _ in range(20_000)]
        parts = [dict.fromkeys(fresh[at : at + 100], VALUE) for at in range(0, len(fresh), 100)]
        start = time.thread_time_ns()
        for part in parts:
            ours.set_many(part)
        return (time.thread_time_ns() - start) / len(fresh)

    measures["hypercache set_many(100)"] = many
    show("set into a full cache, 64 B", rounds(count, measures))
    print(f"  hypercache holds {len(ours):,} entries, {ours.stats().evicted:,} evicted")


def memo(count: int) -> None:
    """Hits of a memoized function of one argument."""
    ours = hypercache.Cache("64MiB")

    def function(number: int) -> bytes:
        return VALUE

    wrapped: dict[str, Any] = {
        "hypercache": ours.memoize(function),
        "cachetools.cached": cachetools.cached(cachetools.LRUCache(1000))(function),
        "cachebox.cached": cachebox.cached(cachebox.LRUCache(1000))(function),
    }
    items = [7] * 20_000
    measures = {name: (lambda call=call: timed(call, items)) for name, call in wrapped.items()}
    show("memoize hit, one int argument", rounds(count, measures))


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def grow(kind: str, entries: int, size: int, limit: str) -> None:
    """Prints the growth of a process that fills a cache, and what a full collection takes."""
    cache: Any = {} if kind == "dict" else peers(entries, limit)[kind]
    empty = collected()
    before = resident()
    store = cache.__setitem__ if kind == "dict" else setter(kind, cache)
    for i in range(entries):
        store(f"key:{i:012d}", bytes(size))
    grown = resident() - before
    print(grown, empty, collected(), len(cache))


def collected() -> int:
    """Nanoseconds that a full collection takes: the least of several."""
    times = []
    for _ in range(9):
        start = time.thread_time_ns()
        gc.collect()
        times.append(time.thread_time_ns() - start)
    return min(times)


def memory() -> None:
    """A process a cache."""

    def child(kind: str, entries: int, size: int, limit: str) -> list[int]:
        command = [sys.executable, __file__, "grow", kind, str(entries), str(size), limit]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [int(word) for word in said.split()]

    print("one million entries of 64 B under keys of 16 characters")
    for kind in ("hypercache", "cachebox", "lru-dict", "cachetools", "dict"):
        grown, empty, full, held = child(kind, MILLION, 64, "256MiB")
        print(f"  {kind:<12} {grown / held:7.1f} B an entry ({held:,} held), "
              f"gc.collect {empty / 1e6:.1f} -> {full / 1e6:.1f} ms")  # fmt: skip
    print("asked for 64 MiB")
    for size in (64, 1024):
        grown, _, _, held = child("hypercache", 2_000_000 if size == 64 else 300_000, size, "64MiB")
        print(f"  values of {size:>4} B: RSS grew by {grown / (1 << 20):.1f} MiB, {held:,} entries")


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="speed")
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--only", default="", help="hot, large, full or memo")
    args = parser.parse_args()
    if args.what == "grow":
        kind, entries, size, limit = args.rest
        grow(kind, int(entries), int(size), limit)
    elif args.what == "memory":
        memory()
    else:
        for part in (hot, large, full, memo):
            if args.only in part.__name__:
                part(args.rounds)


if __name__ == "__main__":
    main()
