"""HyperCache: an in-process cache that holds its byte limit.

    >>> from hypercache import Cache
    >>> cache = Cache("64MiB")
    >>> cache["user:7"] = {"name": "Ada"}
    >>> cache.get("user:7")
    {'name': 'Ada'}

The bytes of keys and values lie outside Python's heap: the garbage collector does not see them, and
the process grows by the limit and a small constant, not by several times that.
"""

from pathlib import Path as _Path

from hypercache._cache import Cache, Key
from hypercache._codecs import (
    TYPE_APP,
    TYPE_BOOL,
    TYPE_BYTES,
    TYPE_FLOAT64,
    TYPE_INT64,
    TYPE_JSON,
    TYPE_MSGPACK,
    TYPE_NULL,
    TYPE_PICKLE,
    TYPE_STRING,
    Codec,
)
from hypercache._errors import (
    ClosedError,
    CodecError,
    CorruptError,
    DeadlockError,
    ForkedError,
    HyperCacheError,
    InternalError,
    LoadError,
    NoSpaceError,
    PoisonedError,
    TooLargeError,
    UnsupportedError,
)
from hypercache._filter import CuckooFilter
from hypercache._memoize import CacheInfo, Memoized
from hypercache._native import RawKey, View, build_info, metrics_text, parse_size, version
from hypercache._pool import Pool, Pressure, PressureWatch
from hypercache._stats import CacheConfig, Entry, FilterStats, PoolStats, Stats

__version__ = version()

__all__ = [
    "TYPE_APP",
    "TYPE_BOOL",
    "TYPE_BYTES",
    "TYPE_FLOAT64",
    "TYPE_INT64",
    "TYPE_JSON",
    "TYPE_MSGPACK",
    "TYPE_NULL",
    "TYPE_PICKLE",
    "TYPE_STRING",
    "Cache",
    "CacheConfig",
    "CacheInfo",
    "ClosedError",
    "Codec",
    "CodecError",
    "CorruptError",
    "CuckooFilter",
    "DeadlockError",
    "Entry",
    "FilterStats",
    "ForkedError",
    "HyperCacheError",
    "InternalError",
    "Key",
    "LoadError",
    "Memoized",
    "NoSpaceError",
    "PoisonedError",
    "Pool",
    "PoolStats",
    "Pressure",
    "PressureWatch",
    "RawKey",
    "Stats",
    "TooLargeError",
    "UnsupportedError",
    "View",
    "__version__",
    "build_info",
    "get_include",
    "get_library_dir",
    "metrics_text",
    "parse_size",
    "version",
]


def get_include() -> str:
    """The folder of hypercache.h and hypercache.hpp, for a compiler's -I."""
    return str(_Path(__file__).parent / "include")


def get_library_dir() -> str:
    """The folder of libhypercache.so, for a linker's -L: the library that this process uses."""
    return str(_Path(__file__).parent / "lib")
