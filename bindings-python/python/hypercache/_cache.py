"""`Cache`: a mapping whose bytes have a limit."""

from collections.abc import (
    Awaitable,
    Callable,
    ItemsView,
    Iterator,
    KeysView,
    MutableMapping,
    ValuesView,
)
from typing import Any, Literal, ParamSpec, Self, TypeVar, cast, overload

from hypercache._closing import Closing
from hypercache._codecs import Codec, resolve
from hypercache._errors import HyperCacheError
from hypercache._memoize import (
    ABSENT,
    BUSY,
    Memoized,
    Terms,
    called,
    claim_async,
    load,
    load_async,
    load_of,
    memoize,
)
from hypercache._native import CacheBase, Lease, RawKey
from hypercache._pool import Pool
from hypercache._stats import CacheConfig, Entry, Stats

Key = str | bytes | int | tuple[Any, ...] | RawKey
"""What may be a key: str, bytes, int, tuples of these, or a `RawKey`."""

D = TypeVar("D")
P = ParamSpec("P")
R = TypeVar("R")

_MISSING: Any = object()


class Cache(CacheBase, Closing, MutableMapping[Any, Any]):
    """A cache that holds its byte limit: the process grows by that and a small constant.

    `max_bytes` is in bytes, or text: "64MiB", "25%" of the container's or the machine's memory. A
    cache with a `name` is the same for everybody in the process who opens it by that name, in any
    language; `Cache(name=...)` alone opens one that is there (KeyError if it is not). In a `pool`
    it shares that pool's budget, and `max_bytes`, if given, is its own part of it; without a pool it
    has one of its own, of the same name if it has one.

    `policy` names what is evicted first ("adaptive" unless given), with options after a colon
    ("s3fifo:small=20"). `ttl` is how many seconds entries live unless they say otherwise, `jitter`
    by up to how many percent that is shortened, so that they do not expire together. `max_entries`
    bounds the entries besides the bytes. `lease` is for how many seconds one caller may load a key
    that others wait for (10).

    Keys are str, bytes, int and tuples of these. bytes, str, int of 64 bits, float, bool and None
    are stored as what they are; other objects, and instances of subclasses, go through the `codec`:
    "pickle", "json", "msgpack", an object with dumps and loads, or None to refuse them.

    After a fork, the child's calls raise `ForkedError`, or with `after_fork="fresh"` the child gets
    an empty cache of its own at its first call. That opens a pool as well, so it is refused where
    the cache is to be in a given one.

    A cache may drop any entry at any time; what it returns is never older than what was written
    last. All methods may be called from many threads at once.
    """

    __slots__ = ()

    def __new__(
        cls,
        max_bytes: int | str | None = None,
        *,
        name: str | None = None,
        pool: Pool | None = None,
        policy: str | None = None,
        ttl: float | None = None,
        max_entries: int | None = None,
        shards: int | None = None,
        codec: Literal["pickle", "json", "msgpack"] | Codec | None = "pickle",
        filter_fpr: float | None = None,
        jitter: int | None = None,
        lease: float | None = None,
        after_fork: Literal["error", "fresh"] = "error",
    ) -> Self:
        if after_fork not in ("error", "fresh"):
            raise ValueError(f'after_fork is {after_fork!r}; it takes "error" or "fresh"')
        if after_fork == "fresh" and pool is not None:
            raise ValueError(
                'after_fork is "fresh" and pool is given; that pool stays the parent\'s, so it takes '
                "max_bytes for a pool of the cache's own"
            )
        options = None
        if policy is not None:
            if not isinstance(policy, str):
                raise TypeError(f"policy is {policy!r}; it takes a str, or None")
            policy, colon, text = policy.partition(":")
            options = text if colon else None
        return super().__new__(
            cls,
            max_bytes,
            name,
            pool,
            policy,
            options,
            ttl,
            max_entries,
            shards,
            filter_fpr,
            jitter,
            lease,
            resolve(codec),
            after_fork == "fresh",
        )

    # The mapping's methods that are not native, or that one step does better than several.

    def __iter__(self) -> Iterator[Any]:
        return self._walk(0)

    def __eq__(self, other: object) -> bool:
        """Whether it is the same object: comparing contents would read the whole cache."""
        return self is other

    __hash__ = object.__hash__

    def keys(self, *, prefix: Key | None = None, glob: str | bytes | None = None) -> KeysView[Any]:
        """The keys: all, those that begin with `prefix`, or those that match `glob`.

        In a glob `*` is any run, `?` one byte, a backslash quotes. A tuple as a prefix stands for
        all tuples that begin with its parts.
        """
        return _Keys(self, prefix, glob)

    def values(self) -> ValuesView[Any]:
        """The values. Walking them counts no access."""
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        """The entries as pairs. Walking them counts no access."""
        return _Items(self)

    @overload
    def pop(self, key: Key, /) -> Any: ...
    @overload
    def pop(self, key: Key, /, default: D) -> Any | D: ...
    def pop(self, key: Key, /, default: Any = _MISSING) -> Any:
        """Reads and removes an entry: of several callers one gets it. What the codec cannot read stays."""
        value = self._take(key, default)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Removes an entry and returns it; which one is unspecified. KeyError if there is none."""
        for key in self:
            value = self._take(key, _MISSING)
            if value is not _MISSING:
                return key, value
        raise KeyError("the cache is empty")

    def setdefault(self, key: Key, default: Any = None) -> Any:
        """The value under a key, which becomes the default if there is none."""
        while True:
            value = self.get(key, _MISSING)
            if value is not _MISSING:
                return value
            if self.add(key, default):
                return default
            if key not in self:
                # Declined by the policy, or evicted at once: there is nobody else's value.
                return default

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Stores the entries of a mapping, or pairs, and those given by name."""
        self.set_many(other)
        if more:
            self.set_many(more)

    # What a cache has beside a mapping.

    def entry(self, key: Key) -> Entry | None:
        """What is known of an entry besides its value; None if it is not there."""
        parts = self._entry_tuple(key)
        return None if parts is None else Entry(*parts)

    # Read-through.

    def get_or_load(
        self,
        key: Key,
        fn: Callable[[], R],
        *,
        ttl: float | None = None,
        jitter: float = 0.0,
        negative_ttl: float | None = None,
        error_ttl: float = 0.0,
        stale: float = 0.0,
    ) -> R:
        """The value under a key; if there is none, what `fn()` returns, which is then stored.

        Of all threads and tasks, in all languages, that ask for the key meanwhile, one calls its
        function; the others wait for what it returns. The parameters are those of `memoize`.
        """
        terms = Terms(ttl, jitter, negative_ttl, error_ttl, stale).checked()
        called(fn, "fn")
        found = self._claim(key, True, terms.stale > 0, BUSY, ABSENT)
        if isinstance(found, Lease):
            return load(found, fn, terms)
        return cast(R, None if found is ABSENT else found)

    async def get_or_load_async(
        self,
        key: Key,
        fn: Callable[[], Awaitable[R]],
        *,
        ttl: float | None = None,
        jitter: float = 0.0,
        negative_ttl: float | None = None,
        error_ttl: float = 0.0,
        stale: float = 0.0,
    ) -> R:
        """`get_or_load` for a coroutine function; waits without a thread."""
        terms = Terms(ttl, jitter, negative_ttl, error_ttl, stale).checked()
        called(fn, "fn")
        found = await claim_async(self, key, lambda: self._claim(key, False, terms.stale > 0, BUSY, ABSENT))
        if isinstance(found, Lease):
            return await load_async(found, fn, terms, load_of(self, key))
        return cast(R, None if found is ABSENT else found)

    @overload
    def memoize(self, function: Callable[P, R], /) -> Memoized[P, R]: ...
    @overload
    def memoize(
        self,
        function: None = None,
        /,
        *,
        ttl: float | None = None,
        key: Callable[..., Key] | None = None,
        typed: bool = False,
        jitter: float = 0.0,
        negative_ttl: float | None = None,
        error_ttl: float = 0.0,
        stale: float = 0.0,
    ) -> Callable[[Callable[P, R]], Memoized[P, R]]: ...
    def memoize(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        ttl: float | None = None,
        key: Callable[..., Key] | None = None,
        typed: bool = False,
        jitter: float = 0.0,
        negative_ttl: float | None = None,
        error_ttl: float = 0.0,
        stale: float = 0.0,
    ) -> Any:
        """A decorator that keeps what a function, method or coroutine returns.

        Results live `ttl` seconds (None: as the cache says), shortened by a random share of up to
        `jitter` (0 to below 1). Of all callers that miss a result, one calls the function and the
        others wait, over threads, tasks and languages. For `stale` seconds after its ttl a result is
        still returned while one caller loads it anew. A result of None is kept for `negative_ttl`
        seconds, if that is given. An exception is raised in the caller whose call it was; who waits
        for that call gets a `LoadError`, and so does, for `error_ttl` seconds, who calls then.

        The key of a call is made of the function's name and the arguments; `key` is a function of
        the arguments that returns the whole key instead, as other languages shall read it. With
        `typed`, which does not go with `key`, arguments of different types are different (1 and
        True). Arguments that are no keys are pickled, and equal pickles are equal arguments; a class with a method `__cache_key__` says
        itself what stands for its objects, which is what methods want for `self`.

        The name is that of the module and the function, so a function that is defined anew under its
        name, as a reload does, finds the results of the old one: clear them if it has changed. A
        local function or a lambda is one of many of its name: each that is memoized has keys of its
        own, and the results of one that is gone stay until they expire or are evicted.
        """
        terms = Terms(ttl, jitter, negative_ttl, error_ttl, stale).checked()
        if key is not None:
            called(key, "key")
        if function is not None:
            return memoize(self, function, terms, key, typed)
        return lambda function: memoize(self, function, terms, key, typed)

    def stats(self) -> Stats:
        """The cache's statistics, shared by all who have it open."""
        return Stats(**self._stats_dict())

    def config(self) -> CacheConfig:
        """The configuration in force, defaults filled in."""
        return CacheConfig(**self._config_dict())

    @property
    def pool(self) -> Pool:
        """The pool that the cache's memory is in: the one it was given, or its own."""
        return Pool._of(self)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        if self.closed:
            return f"<hypercache.Cache{name}, closed>"
        try:
            stats = self.stats()
        except HyperCacheError as error:
            return f"<hypercache.Cache{name}: {error}>"
        used = f"{stats.used_bytes:,} bytes"
        return f"<hypercache.Cache{name}: {stats.entries:,} entries in {used}>"

    def _walk(
        self,
        shown: int,
        prefix: Key | None = None,
        glob: str | bytes | None = None,
    ) -> Iterator[Any]:
        return self._scan(shown, prefix, glob)


class _Keys(KeysView[Any]):
    def __init__(self, cache: Cache, prefix: Key | None, glob: str | bytes | None) -> None:
        super().__init__(cache)
        self._cache, self._prefix, self._glob = cache, prefix, glob

    def __iter__(self) -> Iterator[Any]:
        return self._cache._walk(0, self._prefix, self._glob)

    def __len__(self) -> int:
        if self._prefix is None and self._glob is None:
            return len(self._cache)
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        if self._prefix is None and self._glob is None:
            return key in self._cache
        return any(key == other for other in self)


class _Values(ValuesView[Any]):
    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self._cache = cache

    def __iter__(self) -> Iterator[Any]:
        return self._cache._walk(1)

    def __contains__(self, value: object) -> bool:
        return any(other is value or other == value for other in self)


class _Items(ItemsView[Any, Any]):
    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self._cache = cache

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._cache._walk(2)
