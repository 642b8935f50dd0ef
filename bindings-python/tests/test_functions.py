"""What may be memoized, under which name, and how deep it may call itself."""

import asyncio
import copy
import functools
import itertools
import pickle
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import pytest
from processes import run_alone

from hypercache import Cache, DeadlockError, Pool


def add(a: int, b: int = 0) -> tuple[int, int]:
    """Has a name of its own."""
    return a, b


async def add_later(a: int, b: int = 0) -> tuple[int, int]:
    """The same as a coroutine."""
    return a, b


class Times:
    """Is called, has methods, and holds what they depend on."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int) -> int:
        return self.by * x

    def times(self, x: int) -> int:
        """Depends on the object."""
        return self.by * x

    async def later(self, x: int) -> int:
        """The same as a coroutine."""
        return self.by * x

    @classmethod
    def named(cls, x: int) -> str:
        """Depends on the class."""
        return f"{cls.__name__} {x}"


class Later(Times):
    """Is called and awaited."""

    async def __call__(self, x: int) -> int:  # type: ignore[override]
        return self.by * x


def test_what_shares_a_name_has_keys_of_its_own(cache: Cache) -> None:
    partial = functools.partial
    cases: list[tuple[Any, Any, Any]] = [
        (partial(add, 1), partial(add, 2), 7),
        (partial(add, b=1), partial(add, b=2), 7),
        (functools.wraps(add)(partial(add, b=1)), functools.wraps(add)(partial(add, b=2)), 7),
        (Times(2), Times(3), 7),
        (Times(2).times, Times(3).times, 7),
        (Times.named, Later.named, 7),
        ("abc".count, "aaa".count, "a"),
        ({7: 1}.get, {7: 2}.get, 7),
    ]
    for one, other, argument in cases:
        first, second = cache.memoize(one), cache.memoize(other)
        for _ in range(2):
            assert first(argument) == one(argument) and second(argument) == other(argument)
        assert first.cache_info() == second.cache_info() == (1, 1)
        assert first.cache_clear() == 1 and second.cache_info() == (1, 1)


def test_what_has_a_name_keeps_it(cache: Cache) -> None:
    cases: list[tuple[Any, str]] = [
        (add, f"{__name__}.add"),
        (len, "builtins.len"),
        (str.upper, "builtins.str.upper"),
        (complex, "builtins.complex"),
        (Times.named, f"{__name__}.Times.named"),
        (Later.named, f"{__name__}.Later.named"),
    ]
    for function, name in cases:
        assert cache.memoize(function).cache_key("1") == (name, ("1",))
        assert cache.memoize(function)("1") == function("1")


local = Cache("2MiB")


class Base:
    """Has memoized methods without objects."""

    @classmethod
    @local.memoize
    def named(cls, x: int) -> str:
        """Depends on the class."""
        return f"{cls.__name__} {x}"

    @staticmethod
    @local.memoize
    def plain(x: int) -> int:
        """Depends on nothing."""
        return x


class Derived(Base):
    """Inherits them."""


def test_classmethods_and_staticmethods() -> None:
    # mypy does not see through a classmethod of what is not a plain function.
    base, derived = cast(Any, Base), cast(Any, Derived)
    for _ in range(2):
        assert (base.named(1), derived.named(1), derived().named(1)) == ("Base 1", "Derived 1", "Derived 1")
        assert (base.plain(2), derived().plain(2)) == (2, 2)


def test_what_is_awaited(cache: Cache) -> None:
    async def main() -> None:
        cases: list[tuple[Any, Any]] = [
            (functools.partial(add_later, 1), (1, 7)),
            (Later(2), 14),
            (Later(3), 21),
            (Later(4).later, 28),
            (functools.partial(Later(5)), 35),
        ]
        for function, product in cases:
            memoized = cache.memoize(function)
            assert await memoized(7) == await memoized(7) == product
            assert memoized.cache_info() == (1, 1)

    asyncio.run(main())


def test_what_cannot_be_memoized(cache: Cache) -> None:
    def items() -> Any:
        yield 1

    method: Any = add
    cases: list[tuple[Any, str]] = [
        (5, "5 cannot be called"),
        (staticmethod(add), "below staticmethod"),
        (classmethod(method), "below classmethod"),
        (property(add), "below property"),
        (functools.cached_property(add), "below cached_property"),
        (functools.partialmethod(add), "below partialmethod"),
        (items, "generator"),
        (functools.partial(items), "generator"),
        (cache.memoize(add), "in this cache already"),
        (functools.wraps(cache.memoize(add_later))(lambda: 1), "in this cache already"),
    ]
    for function, message in cases:
        with pytest.raises(TypeError, match=message):
            cache.memoize(function)
    with Cache("2MiB") as outer:
        assert outer.memoize(cache.memoize(add))(1) == (1, 0), "one cache before another"
    assert cache.memoize(cache.memoize(add), key=lambda a: f"own {a}")(1) == (1, 0)  # type: ignore[call-overload]


def test_recursion_is_as_deep_as_without(cache: Cache) -> None:
    @functools.lru_cache
    def standard(n: int) -> int:
        return n and standard(n - 1) + 1

    @cache.memoize
    def ours(n: int) -> int:
        return n and ours(n - 1) + 1

    deep = sys.getrecursionlimit() // 3
    assert ours(deep) == standard(deep) == deep
    for function in (ours, standard):
        with pytest.raises(RecursionError):
            function(200_000)
    assert ours(2 * deep) == 2 * deep, "nothing is left of the failed call"


DEEP = """
import sys, threading
from hypercache import Cache, DeadlockError, Pool
cache = Cache("64MiB")
sys.setrecursionlimit(10**9)
@cache.memoize
def depth(n): return n and depth(n - 1) + 1
@cache.memoize(key=lambda n: (depth(n // 2), n))
def keyed(n): return n and keyed(n - 1) + 1
class Argument:
    def __cache_key__(self): return depth(Argument())
def run():
    for function in (depth, keyed):
        try:
            function(300_000)
        except RecursionError:
            pass
        assert function(50) == 50
    if sys.version_info < (3, 12):
        try:
            depth(Argument())
        except RecursionError:
            pass
run()
threading.stack_size(512 << 10)
thread = threading.Thread(target=run)
thread.start()
thread.join()
print("whole")
"""


def test_recursion_beyond_the_stack_is_an_error() -> None:
    assert run_alone(DEEP) == "whole\n"


calls_of_a_module = Cache("1MiB")


@calls_of_a_module.memoize
def squared(x: int) -> int:
    """Can be found by its name."""
    return x * x


def test_memoized_functions_are_copied_as_functions_are() -> None:
    for copied in (pickle.loads(pickle.dumps(squared)), copy.copy(squared), copy.deepcopy([squared])[0]):
        assert copied is squared
    with Cache("1MiB") as cache:
        plain = cache.memoize(lambda x: x)
        assert copy.copy(plain) is copy.deepcopy(plain) is plain
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(plain)
        with pytest.raises(TypeError, match="no name"):
            pickle.dumps(cache.memoize(functools.partial(add, 1)))


def test_tasks_that_wait_are_counted(cache: Cache) -> None:
    @cache.memoize(ttl=60, negative_ttl=60)
    async def find(x: int) -> int | None:
        await asyncio.sleep(0.01)
        return x or None

    async def main() -> None:
        for x in (0, 1):
            assert await asyncio.gather(*(find(x) for _ in range(10))) == [x or None] * 10

    asyncio.run(main())
    assert find.cache_info() == (18, 2)


def test_times_of_any_kind_of_number(cache: Cache) -> None:
    calls = itertools.count(7)
    times: dict[str, Any] = {"ttl": Decimal("60"), "jitter": Fraction(1, 2), "stale": Decimal(1)}
    function = cache.memoize(**times)(lambda: next(calls))
    assert function() == function() == 7
    lives = cache.ttl(function.cache_key())
    assert lives is not None and 30 <= lives <= 61
    assert cache.get_or_load("k", lambda: None, negative_ttl=Decimal(60)) is None  # type: ignore[arg-type]


def test_a_task_does_not_wait_for_itself_in_another_cache_on_the_store() -> None:
    with Pool("8MiB") as pool:
        one, two = (Cache(pool=pool, name="s", lease=600) for _ in range(2))

        async def inner() -> Any:
            return await two.get_or_load_async("k", inner)

        async def main() -> None:
            with pytest.raises(DeadlockError):
                await asyncio.wait_for(one.get_or_load_async("k", inner), 30)

        asyncio.run(main())
