"""The C interface through ctypes: what a C program in the same process would see and do.

The tests use it for what Python has no word for (versions, flags, small buffers, drafts), on stores
that Python has open as well.
"""

import ctypes as c
import functools
from pathlib import Path
from typing import Any

import hypercache

LIBRARY = c.CDLL(str(Path(hypercache.get_library_dir()) / "libhypercache.so.0"))
NEVER, KEEP, DEFAULT = 2**64 - 1, 2**64 - 2, 0
MODES = {"set": 0, "add": 1, "replace": 2, "cas": 3}
MATCHES = {"all": 0, "prefix": 1, "glob": 2, "session": 3, "type": 4}
POLICIES = ["default", "s3fifo", "sieve", "wtinylfu", "lru", "lfu", "fifo", "random", "ttl", "hybrid",
            "session", "adaptive"]  # fmt: skip


def struct(name: str, fields: str) -> type[c.Structure]:
    """A struct from its fields as "type name" lines of C."""
    kinds = {"size_t": c.c_size_t, "u64": c.c_uint64, "u32": c.c_uint32, "i32": c.c_int32,
             "text": c.c_char_p, "ptr": c.c_void_p, "double": c.c_double}  # fmt: skip
    pairs = [field.split() for field in fields.split(",")]
    return type(name, (c.Structure,), {"_fields_": [(n, kinds[k]) for k, n in pairs]})


PoolConfig = struct(
    "PoolConfig",
    "size_t size,u64 limit_bytes,text name,u32 elevated_pct,u32 high_pct,u32 critical_pct,u32 flags,"
    "u64 pin_limit_bytes,u64 limit_max_bytes",
)
StoreConfig = struct(
    "StoreConfig",
    "size_t size,text name,u64 limit_bytes,u64 limit_entries,u64 value_len_max,u64 default_ttl_ms,"
    "u32 shards,i32 policy,text policy_options,double filter_fpr,u64 hash_seed,u64 floor_bytes,"
    "u32 flags,u32 jitter_pct,u64 soft_ttl_ms,u64 idle_ttl_ms,u64 stale_if_error_ms,"
    "u64 negative_ttl_ms,u64 lease_ms,u32 negative_pct,u32 reserved",
)
PutOptions = struct(
    "PutOptions",
    "size_t size,u64 ttl_ms,u64 expected_version,u64 session,u64 soft_ttl_ms,u64 idle_ttl_ms,"
    "i32 mode,u32 type,u32 flags,u32 reserved",
)
Info = struct(
    "Info", "size_t len,u64 version,u64 ttl_ms,u64 session,u32 type,u32 flags,u64 r0,u64 r1"
)
View = struct(
    "View",
    "ptr data,size_t len,u64 version,u64 ttl_ms,u64 session,u32 type,u32 flags,ptr pin,u64 reserved",
)
Slice = struct("Slice", "ptr data,size_t len")
Draft = struct("Draft", "ptr data,size_t len,u64 s0,u64 s1")
Lease = struct("Lease", "u64 id,u64 generation")


class Match(c.Structure):
    """hc_match."""

    _fields_ = [("size", c.c_size_t), ("pattern", Slice), ("session", c.c_uint64),
                ("type", c.c_uint32), ("kind", c.c_int32)]  # fmt: skip


def made(kind: type[c.Structure], /, **fields: Any) -> Any:
    """A struct with its size and these fields, the rest zero."""
    value = kind(**fields)
    value.size = c.sizeof(kind)
    return value


@functools.cache
def function(name: str) -> Any:
    """A call of the library. Statuses are what they all return."""
    found = getattr(LIBRARY, name)
    found.restype = None if name.endswith(("release", "destroy", "abandon", "unpin", "lease_drop")) else c.c_int32
    return found


def status_name(status: int) -> str:
    """HC_OK and so on."""
    call = LIBRARY.hc_status_name
    call.restype = c.c_char_p
    return str(call(c.c_int32(status)).decode())


def u64(value: int) -> c.c_uint64:
    """An argument of 64 bits."""
    return c.c_uint64(value)


class Store:
    """A store by its names, as C opens it."""

    def __init__(self, pool: str, name: str, limit: int = 0, **config: Any) -> None:
        self.pool, self.store = c.c_void_p(), c.c_void_p()
        self.views: dict[str, Any] = {}
        size = made(PoolConfig, limit_bytes=limit)
        given = c.byref(size) if limit else None
        self.ok(function("hc_pool_open")(pool.encode(), given, c.byref(self.pool), None))
        wanted = made(StoreConfig, name=name.encode(), **config)
        out = c.byref(self.store)
        self.ok(function("hc_store_open")(self.pool, c.byref(wanted), out, None))

    @staticmethod
    def ok(status: int) -> None:
        """Fails unless it is HC_OK."""
        assert status == 0, status_name(status)

    def close(self) -> None:
        """Gives both back."""
        function("hc_store_release")(self.store)
        function("hc_pool_release")(self.pool)

    def call(self, name: str, key: bytes, *more: Any) -> str:
        """A call on a key; its status."""
        call = function(name)
        return status_name(call(self.store, key, c.c_size_t(len(key)), *more))

    def put(self, key: bytes, value: bytes, **options: Any) -> tuple[str, int]:
        """hc_put: its status and the version."""
        version = c.c_uint64()
        wanted = made(PutOptions, **options)
        length = c.c_size_t(len(value))
        status = self.call("hc_put", key, value, length, c.byref(wanted), c.byref(version))
        return status, version.value

    def get(self, key: bytes, cap: int = 1 << 21, peek: bool = False) -> tuple[str, Any, bytes]:
        """hc_get_info: status, metadata, bytes."""
        buffer, info = c.create_string_buffer(cap or 1), Info()
        flags = c.c_uint32(peek)
        status = self.call("hc_get_info", key, flags, buffer, c.c_size_t(cap), c.byref(info))
        return status, info, buffer.raw[: min(info.len, cap)]

    def take(self, key: bytes, cap: int) -> tuple[str, Any, bytes]:
        """hc_take, in the same way."""
        buffer, info = c.create_string_buffer(cap or 1), Info()
        status = self.call("hc_take", key, buffer, c.c_size_t(cap), c.byref(info))
        return status, info, buffer.raw[: min(info.len, cap)]

    def matching(self, kind: str, type: int) -> Any:
        """hc_match without a pattern."""
        return made(Match, kind=MATCHES[kind], type=type)
