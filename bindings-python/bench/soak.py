"""Random calls on a cache and on a dict that is told what expires: no difference, no leak.

    python bench/soak.py --seconds 60

Several threads each have keys of their own and a model of them; the cache is small, so that it evicts
all the time. What is read must be what was written last, or gone; what was removed or has expired must
be gone. At the end the invariants are checked, and neither Python's heap nor the process may have grown.
"""

import argparse
import gc
import math
import os
import random
import threading
import time
import tracemalloc
from typing import Any

from hypercache import Cache

LIMIT = 8 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Worker(threading.Thread):
    """Calls on its own part of the keys, checked against a dict."""

    def __init__(self, cache: Cache, seed: int, until: float) -> None:
        super().__init__()
        self.cache, self.dice, self.until, self.seed = cache, random.Random(seed), until, seed
        # The value, and when it expires at the earliest and at the latest.
        self.model: dict[Any, tuple[Any, float, float]] = {}
        self.calls = self.hits = self.gone = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while time.monotonic() < self.until:
                self.step()
        except BaseException as error:
            self.error = error

    def key(self) -> Any:
        number = self.dice.randrange(2000)
        forms: list[Any] = [f"{self.seed}:{number}", (self.seed, number), b"%d:%d" % (self.seed, number)]
        return forms[number % 3]

    def value(self) -> Any:
        dice = self.dice
        size = int(2 ** dice.uniform(0, 16))
        kinds = [dice.randbytes(size), "ü" * size, dice.getrandbits(63), dice.random(), None,
                 {"n": dice.random()}, [True] * (size % 50)]  # fmt: skip
        return dice.choice(kinds)

    def found(self, key: Any, value: Any, before: float) -> None:
        """What a read returned: the model's value that had not certainly expired, or nothing."""
        if value is self:
            self.model.pop(key, None)
            self.gone += 1
            return
        wanted, _, latest = self.model[key]
        assert value == wanted and type(value) is type(wanted), (key, value, wanted)
        assert before <= latest, f"{key!r} was read {before - latest} s after it expired"
        self.hits += 1

    def step(self) -> None:
        cache, dice, key = self.cache, self.dice, self.key()
        self.calls += 1
        before = time.monotonic()
        match dice.randrange(12):
            case 0 | 1 | 2:
                ttl = dice.choice([None, 0.005, 0.1, 5.0])
                value = self.value()
                cache.set(key, value, ttl=ttl)
                after = time.monotonic()
                life = math.inf if ttl is None else ttl
                self.model[key] = (value, before + life, after + life + 0.002)
            case 3 | 4 | 5 | 6:
                self.found(key, cache.get(key, self), before)
            case 7:
                keys = [self.key() for _ in range(20)]
                answers = cache.get_many(keys)
                for other in set(keys):
                    self.found(other, answers.get(other, self), before)
                self.calls += 19
            case 8:
                removed = cache.delete(key)
                assert not removed or key in self.model
                self.model.pop(key, None)
            case 9:
                self.found(key, cache.pop(key, self), before)
                self.model.pop(key, None)
            case 10:
                value = self.value()
                if cache.add(key, value):
                    self.model[key] = (value, math.inf, math.inf)
            case 11:
                if cache.touch(key, 5.0) and key in self.model:
                    after = time.monotonic()
                    self.model[key] = (self.model[key][0], before + 5, after + 5.002)


def main() -> None:
    """Runs, and says what was checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=4)
    args = parser.parse_args()
    with Cache(LIMIT) as cache:

        def shift(seconds: float, seed: int) -> tuple[int, int, int]:
            until = time.monotonic() + seconds
            workers = [Worker(cache, seed * 100 + i, until) for i in range(args.threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
                if worker.error is not None:
                    raise worker.error
            cache.validate()
            cache.clear()
            calls, hits = sum(w.calls for w in workers), sum(w.hits for w in workers)
            return calls, hits, sum(w.gone for w in workers)

        first = shift(args.seconds / 4, 1)
        gc.collect()
        before, traced = resident(), 0
        tracemalloc.start()
        second = shift(args.seconds / 4, 2)
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0]
        third = shift(args.seconds / 4, 3)
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0] - traced
        tracemalloc.stop()
        fourth = shift(args.seconds / 4, 4)
        gc.collect()
        grown = resident() - before
        calls, hits, gone = (sum(x) for x in zip(first, second, third, fourth, strict=True))
        stats = cache.stats()
        print(f"{calls:,} calls, {hits:,} hits compared, {gone:,} not there")
        print(f"{stats.evicted:,} evicted, {stats.expired:,} expired, no difference")
        print(f"Python's heap grew by {traced:,} bytes, the process by {grown / 1e6:.1f} MB")
        assert stats.evicted > 0 and stats.expired > 0
        assert traced < 100_000, "Python's heap grew"
        assert grown < 32 << 20, "the process grew"


if __name__ == "__main__":
    main()
