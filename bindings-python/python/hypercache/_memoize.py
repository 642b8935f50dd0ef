"""Memoization on the library's leases: of all callers that miss a key, one loads it.

The lease is the library's, so it is one for all threads, tasks and languages that have the cache
open. A thread waits in the library. A task waits for a descriptor that its event loop watches
(`_LoopWaits`), so that no thread is needed for it.
"""

import asyncio
import hashlib
import inspect
import itertools
import pickle
import random
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import cached_property, partial, partialmethod, update_wrapper
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, Protocol, Self, SupportsFloat, TypeVar, cast, overload

from hypercache._errors import DeadlockError, LoadError
from hypercache._native import Lease, Memo, Waits, key_bytes

if TYPE_CHECKING:
    from hypercache._cache import Cache, Key

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _Mark:
    """What a claim returns besides values and leases."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name}>"


BUSY = _Mark("busy")
ABSENT = _Mark("absent")

# A store, which several caches may be open on, and the bytes of a key.
Load = tuple[int, bytes]


class _Loading:
    """A load of a task. The tasks that it starts inherit it, and may outlive it."""

    __slots__ = ("what", "ended")

    def __init__(self, what: Load) -> None:
        self.what, self.ended = what, False


# What this task, and those that started it, are loading: waiting for one of these that has not ended
# would never end.
_loading: ContextVar[tuple[_Loading, ...]] = ContextVar("hypercache_loading", default=())

# Tells apart functions that have no name of their own: local ones and lambdas.
_nameless = itertools.count(1)


class CacheInfo(NamedTuple):
    """What a memoized function's calls came to in this process.

    - `hits`: answered from the cache, or by another's load;
    - `misses`: those that called the function.
    """

    hits: int
    misses: int


class Memoized(Protocol[P, R_co]):
    """A memoized function."""

    @property
    def __wrapped__(self) -> Callable[P, R_co]:
        """The function itself."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The cached result, or the function's."""
        ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self, instance: object, owner: type | None = None, /
    ) -> "Memoized[..., R_co]": ...
    def __get__(self, instance: object, owner: type | None = None, /) -> Any:
        """The method of an object, as of any function in a class."""
        ...

    def cache_info(self) -> CacheInfo:
        """How many calls were answered from the cache, and how many were not."""
        ...

    def cache_clear(self) -> int:
        """Removes all of the function's results; how many there were."""
        ...

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> "Key":
        """The key under which the result of a call is kept."""
        ...

    def cache_delete(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Removes the result of one call; whether it was there."""
        ...


# Of the terms below.
_MAY_BE_NONE = ("ttl", "negative_ttl")


def called(function: Any, what: str) -> None:
    """A TypeError unless it is a function."""
    if not callable(function):
        raise TypeError(f"{what} is {function!r}; it takes a function")


class Terms(NamedTuple):
    """For how long what is kept."""

    ttl: float | None = None
    jitter: float = 0.0
    negative_ttl: float | None = None
    error_ttl: float = 0.0
    stale: float = 0.0

    def checked(self) -> "Terms":
        """The same in floats, or a TypeError or ValueError."""
        if self == _PLAIN:
            return _PLAIN
        try:
            self._in_range()
            floats: Any = (None if value is None else float(value) for value in self)
            return Terms(*floats)
        except TypeError:
            for name, value in zip(self._fields, self, strict=True):
                if not (isinstance(value, SupportsFloat) or value is None and name in _MAY_BE_NONE):
                    kind = "a share" if name == "jitter" else "seconds"
                    raise TypeError(f"{name} is {value!r}; it takes {kind} as a number") from None
            raise

    def _in_range(self) -> None:
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter is {self.jitter}; it takes a share from 0 to below 1")
        if self.jitter and self.ttl is None:
            raise ValueError("jitter shortens a ttl; give one")
        if self.ttl is not None and not self.ttl > 0:
            raise ValueError(f"ttl is {self.ttl}; it takes seconds above 0, or None")
        if self.negative_ttl is not None and not 0 < self.negative_ttl <= 1e9:
            raise ValueError(
                f"negative_ttl is {self.negative_ttl}; it takes seconds above 0, to 1e9, or None"
            )
        if self.stale and self.ttl is None:
            raise ValueError("stale begins where a ttl ends; give one")
        if self.stale and self.ttl is not None and not self.ttl <= 1e9:
            raise ValueError(f"ttl is {self.ttl}; with stale it takes seconds above 0, to 1e9")
        for name in ("error_ttl", "stale"):
            value = getattr(self, name)
            if not 0 <= value <= 1e9:
                raise ValueError(f"{name} is {value}; it takes seconds from 0 to 1e9")

    def finish(self, lease: Lease, value: Any) -> None:
        """Ends a lease with what was loaded."""
        try:
            if value is None and self.negative_ttl is not None:
                lease.absent(self.negative_ttl)
                return
            ttl, soft = self.ttl, None
            if ttl is not None and self.jitter:
                ttl *= 1 - self.jitter * random.random()
            if ttl is not None and self.stale:
                ttl, soft = ttl + self.stale, ttl
            lease.put(value, ttl, soft)
        except BaseException:
            lease.fail()
            raise

    def failed(self, lease: Lease, error: BaseException) -> None:
        """Ends a lease without a value. What is no error of the load passes the task on."""
        if isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
            lease.fail(self.error_ttl)
        else:
            lease.cancel()


_PLAIN = Terms()


def load(lease: Lease, function: Callable[[], R], terms: Terms) -> R:
    """Loads what the lease is for."""
    try:
        value = function()
    except BaseException as error:
        terms.failed(lease, error)
        raise
    terms.finish(lease, value)
    return value


async def load_async(
    lease: Lease, function: Callable[[], Awaitable[R]], terms: Terms, what: Load
) -> R:
    """The same for a coroutine."""
    loading = _Loading(what)
    token = _loading.set((*(other for other in _loading.get() if not other.ended), loading))
    try:
        value = await function()
    except BaseException as error:
        terms.failed(lease, error)
        raise
    finally:
        loading.ended = True
        _loading.reset(token)
    terms.finish(lease, value)
    return value


class _LoopWaits:
    """The waits of one event loop for the leases of one cache. It is there while anything waits.

    Only the loop and the tasks that wait hold it: if a loop is closed with tasks that wait still, all
    of these go together, and the descriptor with them.
    """

    def __init__(self, cache: "Cache", loop: asyncio.AbstractEventLoop) -> None:
        self._waits = Waits(cache)
        self._loop = loop
        self._place = id(loop), id(cache)
        self._next = 0
        self._futures: dict[int, asyncio.Future[Any]] = {}
        # References, and not values: walking those while one goes is an error.
        for reference in _waiting.valuerefs():
            other = reference()
            if other is not None and other._loop.is_closed():
                other._close()
        loop.add_reader(self._waits.fileno(), self._told)
        _waiting[self._place] = self

    def _close(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._waits.fileno())
        self._waits.close()
        if _waiting.get(self._place) is self:
            _waiting.pop(self._place, None)

    async def wait(self, key: "Key") -> Any:
        """Waits for somebody else's load: a value, `ABSENT`, or `BUSY` for "claim again"."""
        cookie, self._next = self._next, self._next + 1
        future = self._futures[cookie] = self._loop.create_future()
        try:
            left = self._waits.add(key, cookie)
            if left is None:
                return BUSY
            # Nobody watches the time that a lease may last: this timer does.
            timer = self._loop.call_later(left / 1000 + 0.001, _resolve, future, BUSY)
            try:
                return await future
            finally:
                timer.cancel()
        finally:
            del self._futures[cookie]
            if not self._futures:
                self._close()

    def _told(self) -> None:
        for cookie, outcome, value in self._waits.ended():
            future = self._futures.get(cookie)
            if future is None or future.done():
                continue
            if outcome == "failed":
                future.set_exception(_load_failed())
            else:
                marks = {"value": value, "absent": ABSENT, "again": BUSY}
                future.set_result(marks[outcome])


def _resolve(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _load_failed() -> LoadError:
    return LoadError("the value could not be loaded: another caller's load failed just now")


# By loop and cache; both live as long as something waits.
_waiting: "weakref.WeakValueDictionary[tuple[int, int], _LoopWaits]" = weakref.WeakValueDictionary()


def _waits_of(cache: "Cache") -> _LoopWaits:
    loop = asyncio.get_running_loop()
    return _waiting.get((id(loop), id(cache))) or _LoopWaits(cache, loop)


async def claim_async(
    cache: "Cache", key: "Key", claim: Callable[[], Any], waited: Callable[[], None] | None = None
) -> Any:
    """A value, `ABSENT` or a lease; waits for somebody else's load, and tells `waited` of its value."""
    while True:
        found = claim()
        if found is not BUSY:
            return found
        what = load_of(cache, key)
        if any(loading.what == what and not loading.ended for loading in _loading.get()):
            raise DeadlockError("this task is loading the key and would wait for itself")
        found = await _waits_of(cache).wait(key)
        if found is not BUSY:
            if waited is not None:
                waited()
            return found


def load_of(cache: "Cache", key: "Key") -> Load:
    """What is being loaded, as the tasks remember it."""
    return cache._store_number, key_bytes(key)


def _other_argument(value: Any) -> bytes:
    """The bytes of an argument that is no key: equal bytes, equal arguments."""
    kind = type(value)
    own = getattr(kind, "__cache_key__", None)
    if own is not None:
        value = own(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind is object:
        raise TypeError(
            "an argument is a bare object(): all of these have the same pickle, so it cannot be told "
            "from others; pass a value, or memoize with key="
        )
    try:
        return name.encode() + b"\0" + pickle.dumps(value, protocol=5)
    except Exception as error:
        raise TypeError(
            f"an argument of type {name} can neither be a key nor be pickled: give its class a "
            "method __cache_key__, or memoize with key="
        ) from error


def _digest(data: bytes) -> bytes:
    """Stands for bytes that are too long for a key."""
    return hashlib.blake2b(data, digest_size=32).digest()


def _name_of(function: Callable[..., Any]) -> str:
    """What the keys of a function begin with."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if isinstance(owner, type):
        # A class that inherits a classmethod has one of its own.
        name, module = f"{owner.__qualname__}.{function.__name__}", owner.__module__
    elif name is None:
        name, module = type(function).__qualname__, type(function).__module__
    elif module is None:
        module = getattr(getattr(function, "__objclass__", type(owner)), "__module__", None)
    # Else many go by this name: a local function or a lambda with what it closes over, a method
    # with its object, a partial with its arguments, an object that can be called with its state.
    alone = (
        hasattr(function, "__qualname__")
        and not isinstance(function, partial)
        and (owner is None or isinstance(owner, type | ModuleType))
        and "<" not in name
    )
    return f"{module}.{name}" if alone else f"{module}.{name}#{next(_nameless)}"


def _runs(function: Callable[..., Any]) -> Any:
    """The function that runs when this is called: behind partials, and of an object's class."""
    while isinstance(function, partial):
        function = function.func
    call = getattr(type(function), "__call__", None)
    return call if inspect.isfunction(call) else function


class _Function(Memo):
    """A memoized function, which has attributes as functions do, and is copied as they are."""

    def __reduce__(self) -> str:
        name = getattr(self, "__qualname__", None)
        if name is None:
            raise TypeError(f"{self!r} cannot be pickled: what is memoized has no name to find it by")
        return str(name)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any], /) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<memoized {getattr(self, '__wrapped__', None)!r}>"


class _Memoizer(Generic[P, R]):
    """What is done beside a hit for one function."""

    def __init__(
        self,
        cache: "Cache",
        function: Callable[P, R],
        terms: Terms,
        key: Callable[P, "Key"] | None,
        typed: bool,
    ) -> None:
        self.cache, self.function, self.terms, self.own_key = cache, function, terms, key
        self.memo = _Function(
            cache,
            _name_of(function),
            typed,
            terms.stale > 0,
            _other_argument,
            _digest,
            function,
            terms.finish,
            terms.failed,
            key,
            BUSY,
            ABSENT,
        )

    def info(self) -> CacheInfo:
        return CacheInfo(*self.memo.counts)

    def clear(self) -> int:
        if self.own_key is not None:
            raise TypeError(
                "the keys of this function are its own (key=): remove them by "
                "cache.invalidate(prefix=...) or cache_delete"
            )
        return self.cache.invalidate(prefix=self.memo.prefix)

    def key_of(self, *args: P.args, **kwargs: P.kwargs) -> "Key":
        key: Key = self.memo.key_of(args, kwargs)
        return key

    def delete(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        return self.cache.delete(self.key_of(*args, **kwargs))

    def coroutine(self) -> Callable[P, Awaitable[Any]]:
        claim, waited = self.memo.claim, self.memo.waited
        cache, terms = self.cache, self.terms
        function = cast(Callable[P, Awaitable[Any]], self.function)

        async def memoized(*args: P.args, **kwargs: P.kwargs) -> Any:
            found = claim(args, kwargs)
            if found is BUSY or found.__class__ is Lease:
                key = self.key_of(*args, **kwargs)
                if found is BUSY:
                    found = await claim_async(cache, key, lambda: claim(args, kwargs), waited)
                if found.__class__ is Lease:
                    return await load_async(
                        found, lambda: function(*args, **kwargs), terms, load_of(cache, key)
                    )
            return None if found is ABSENT else found

        return memoized


def memoize(
    cache: "Cache",
    function: Callable[P, R],
    terms: Terms,
    key: Callable[P, "Key"] | None,
    typed: bool,
) -> Memoized[P, R]:
    """The wrapper of a function."""
    if isinstance(function, staticmethod | classmethod | property | cached_property | partialmethod):
        kind = type(function).__name__
        raise TypeError(f"put memoize below {kind}, next to the function")
    if not callable(function):
        raise TypeError(f"memoize takes a function, and {function!r} cannot be called")
    if key is not None and typed:
        raise TypeError("typed tells arguments apart in keys that are made here; with key= it has none")
    inner = getattr(function, "_hypercache", None)
    if inner is not None and inner.cache is cache and inner.own_key is key is None:
        raise TypeError(f"{function!r} is memoized in this cache already")
    runs = _runs(function)
    if inspect.isgeneratorfunction(runs) or inspect.isasyncgenfunction(runs):
        raise TypeError("a generator's items cannot be cached; memoize a function that returns them")
    made = _Memoizer(cache, function, terms.checked(), key, typed)
    is_coroutine = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(runs)
    # A function that is called and not awaited needs no Python code around a hit.
    wrapper: Any = made.coroutine() if is_coroutine else made.memo
    update_wrapper(wrapper, function)
    wrapper._hypercache = made
    wrapper.cache_info = made.info
    wrapper.cache_clear = made.clear
    wrapper.cache_key = made.key_of
    wrapper.cache_delete = made.delete
    return cast(Memoized[P, R], wrapper)
