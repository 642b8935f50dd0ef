"""Several caches on one budget, and a word when it gets short."""

import threading

from hypercache import Cache, Pool, Pressure

told: list[Pressure] = []
short, relieved = threading.Event(), threading.Event()


def on_pressure(level: Pressure) -> None:
    """Runs on a thread of its own at each change of the level."""
    told.append(level)
    (relieved if level is Pressure.NONE else short).set()


with Pool("16MiB", name="budget", elevated=10, high=20, critical=80) as pool:
    pages = Cache(pool=pool, name="pages", policy="s3fifo")
    users = Cache("4MiB", pool=pool, name="users", ttl=60)
    with pool.on_pressure(on_pressure):
        for i in range(20_000):
            pages[f"/page/{i}"] = b"x" * 1000
            users[i] = {"number": i}
        assert pool.stats().used_bytes <= 16 << 20
        print(f"{pool.stats().stores} caches in {pool.stats().limit_bytes >> 20} MiB, never more")
        assert users.stats().used_bytes <= 4 << 20

        # A full cache is no pressure: it can evict. What is held by views is.
        views = [pages.view(key) for key in list(pages)[:2500]]
        assert short.wait(60)
        views.clear()
        assert relieved.wait(60)
    print(f"levels told: from {max(told).name} to {told[-1].name}")

    # Any part of the process, in any language, finds both by name.
    same = Cache(pool=Pool(name="budget"), name="pages", policy="s3fifo")
    assert same.stats().entries == pages.stats().entries
    print("found by name")
