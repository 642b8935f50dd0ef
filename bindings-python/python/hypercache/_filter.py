"""The cuckoo filter, with its statistics as a dataclass."""

import os
from typing import Self

from hypercache._errors import HyperCacheError
from hypercache._native import FilterBase
from hypercache._pool import Pool
from hypercache._stats import FilterStats


class CuckooFilter(FilterBase):
    """A set of keys that answers "certainly not" or "maybe": a cuckoo filter.

    `capacity` is how many adds it is made for, `fpr` how often a key that was not added may be
    answered "maybe" (0.001: one in a thousand). Beyond its capacity it grows. Its memory is charged
    to the `pool`, if one is given. Keys are as for a cache.

    It never says "certainly not" of a key that was added. Adds are counted: a key that was added
    twice is gone after two removes.
    """

    __slots__ = ()

    def __new__(cls, capacity: int, fpr: float = 0.001, *, pool: Pool | None = None) -> Self:
        return super().__new__(cls, capacity, fpr, pool, None)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, pool: Pool | None = None) -> Self:
        """Loads a filter that was saved. OSError, or `CorruptError` if it is not one."""
        return super().__new__(cls, 0, 0.0, pool, path)

    def stats(self) -> FilterStats:
        """The filter's statistics; `fpr_sampled` is measured just now."""
        return FilterStats(**self._stats_dict())

    def __repr__(self) -> str:
        try:
            return f"<hypercache.CuckooFilter: {len(self):,} keys>"
        except HyperCacheError as error:
            return f"<hypercache.CuckooFilter: {error}>"
