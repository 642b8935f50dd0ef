"""Pools: byte budgets that several caches may share."""

import atexit
import enum
import os
import threading
from collections.abc import Callable
from typing import Self

from hypercache._closing import Closing
from hypercache._errors import HyperCacheError
from hypercache._native import CacheBase, PoolBase, Watch
from hypercache._stats import PoolStats


class Pressure(enum.IntEnum):
    """How much of a pool is held by what eviction cannot give back: views, raw memory, tables.

    `NONE`, then `ELEVATED`, `HIGH` and `CRITICAL` from the pool's thresholds on; they are ordered.
    """

    NONE = 0
    ELEVATED = 10
    HIGH = 20
    CRITICAL = 30


class Pool(PoolBase, Closing):
    """A byte budget. Everything that the caches in it take is charged to it.

    `limit` is in bytes, or text: "64MiB", "25%" of the container's or the machine's memory. A pool
    with a name is the same object for everybody in the process who opens it by that name, in any
    language; without a limit it must be open already.

    `elevated`, `high`, `critical` are the thresholds of pressure in percent (0: 85, 90, 95);
    `pin_limit` bounds views and waits (a quarter); `limit_max` is the largest limit that it
    may be given later (8 times the limit, but not beyond 32 GiB).
    """

    __slots__ = ()

    def __new__(
        cls,
        limit: int | str | None = None,
        *,
        name: str | None = None,
        elevated: int = 0,
        high: int = 0,
        critical: int = 0,
        pin_limit: int | str | None = None,
        limit_max: int | str | None = None,
        prefault: bool = False,
        zero_on_free: bool = False,
        huge_pages: bool = True,
        pressure_by_used: bool = False,
    ) -> Self:
        asked = (prefault, zero_on_free, not huge_pages, pressure_by_used)
        flags = sum(bool(flag) << at for at, flag in enumerate(asked))
        return super().__new__(
            cls, limit, name, elevated, high, critical, pin_limit, limit_max, flags
        )

    @classmethod
    def _of(cls, cache: CacheBase) -> Self:
        """The pool that a cache is in, as one more who has it open."""
        return super().__new__(cls, None, None, 0, 0, 0, None, None, 0, cache)

    @property
    def pressure(self) -> Pressure:
        """The level of pressure now."""
        return _level(self._pressure_level())

    def stats(self) -> PoolStats:
        """The pool's statistics."""
        return PoolStats(**self._stats_dict())

    def on_pressure(self, callback: Callable[[Pressure], object]) -> "PressureWatch":
        """Calls `callback(level)` on a thread of its own at each change of the level.

        Several changes before a call are seen as the latest. The watch ends with `cancel()`, at the
        end of its `with` block, or at interpreter exit, and with nothing else: it holds the pool,
        which may be closed here meanwhile, and need not be kept. What the callback raises goes to
        `threading.excepthook`, and the watch goes on.
        """
        return PressureWatch(self, callback)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def __repr__(self) -> str:
        if self.closed:
            return "<hypercache.Pool, closed>"
        try:
            name = f" {self.name!r}" if self.name else ""
        except HyperCacheError as error:
            return f"<hypercache.Pool: {error}>"
        return f"<hypercache.Pool{name}>"


def _level(level: int) -> Pressure:
    """The highest known level that is not above this one: new ones may appear in between."""
    return max(known for known in Pressure if known <= level)


# Those that were not cancelled.
_watches: "set[PressureWatch]" = set()

# How long the end of the interpreter waits for a callback that runs, in seconds.
_AT_EXIT = 1.0


@atexit.register
def _cancel_all() -> None:
    for watch in list(_watches):
        watch._end(_AT_EXIT)


class PressureWatch(Closing):
    """A callback that is told of a pool's pressure. Made by `Pool.on_pressure`."""

    __slots__ = ("__weakref__", "_lock", "_native", "_pipe", "_thread")

    def __init__(self, pool: PoolBase, callback: Callable[[Pressure], object]) -> None:
        if not callable(callback):
            raise TypeError(f"callback is {callback!r}; it takes a function")
        read, write = os.pipe()
        os.set_blocking(write, False)
        self._pipe = write
        self._lock = threading.Lock()
        try:
            self._native: Watch | None = pool._watch(write)
        except BaseException:
            os.close(read)
            os.close(write)
            raise
        self._thread = threading.Thread(
            target=_listen, args=(read, self._native, callback), name="hypercache-pressure", daemon=True
        )
        # Nobody else need hold it: a watch without a name goes on as well.
        _watches.add(self)
        self._thread.start()

    def cancel(self) -> None:
        """Ends the watch. Returns once no call is running, except from inside the callback."""
        self._end(None)

    def _end(self, patience: float | None) -> None:
        with self._lock:
            native, self._native = self._native, None
        if native is None:
            return
        native.cancel()
        os.close(self._pipe)
        _watches.discard(self)
        if self._thread is not threading.current_thread():
            self._thread.join(patience)

    def close(self) -> None:
        """The same as `cancel`."""
        self.cancel()


def _listen(read: int, native: Watch, callback: Callable[[Pressure], object]) -> None:
    """Waits for the pipe until its other end is closed."""
    try:
        while os.read(read, 4096):
            try:
                callback(_level(native.level()))
            except BaseException as error:
                about = (type(error), error, error.__traceback__, threading.current_thread())
                threading.excepthook(threading.ExceptHookArgs(about))
    finally:
        os.close(read)
