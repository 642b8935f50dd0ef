"""The behaviour list in `conformance/`, run through the Python package.

What Python has a word for is done in Python; what it has none for (versions, flags, types, buffers,
drafts) is done through the C interface on the same store, which is so shown to be the same.
"""

import ctypes
import itertools
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from capi import (
    DEFAULT,
    KEEP,
    MODES,
    NEVER,
    POLICIES,
    Draft,
    Info,
    Lease,
    PutOptions,
    Slice,
    Store,
    View,
    function,
    made,
    status_name,
    u64,
)

import hypercache
from hypercache import Cache, ClosedError, CuckooFilter, Pool, RawKey

LIST = Path(__file__).resolve().parents[2] / "conformance"
NAMES = itertools.count()


def behaviours() -> list[Any]:
    """Every behaviour of every file."""
    found = []
    for file in sorted(LIST.glob("*.json")):
        data = json.loads(file.read_text())
        found += [pytest.param(b, id=f"{data['group']}/{b['name']}") for b in data["behaviours"]]
    assert len(found) >= 30, "the list is shorter than it was"
    return found


def octets(value: Any) -> bytes:
    """Bytes as the list writes them."""
    if isinstance(value, str):
        return value.encode()
    if "hex" in value:
        return bytes.fromhex(value["hex"])
    return str(value["repeat"] * value["times"]).encode()


def millis(value: Any) -> int:
    """A time to live as C takes it."""
    named = {"never": NEVER, "keep": KEEP, "default": DEFAULT, None: DEFAULT}
    return named[value] if value in named else int(value)


def seconds(value: Any) -> float | None:
    """A time to live as Python takes it."""
    if value in (None, "default"):
        return None
    return math.inf if value == "never" else value / 1000


class Run:
    """One behaviour on a store of its own, that C and Python have open."""

    def __init__(self, behaviour: Any) -> None:
        name = f"conformance-{next(NAMES)}"
        limit = behaviour.get("pool", {}).get("limit_bytes", 8 << 20)
        config = dict(behaviour.get("store", {}))
        if "policy" in config:
            config["policy"] = POLICIES.index(config["policy"])
        self.c = Store(name, "store", limit, **config)
        self.pool = Pool(name=name)
        self.python = Cache(pool=self.pool, name="store", codec=None)
        self.saved: dict[str, Any] = {}
        given = behaviour.get("filter")
        if given is not None:
            assert given.keys() <= {"capacity", "fpr"}
            self.filter = CuckooFilter(given["capacity"], given.get("fpr", 0.001), pool=self.pool)
        self.steps = behaviour["steps"]

    def run(self) -> None:
        """Every step, each compared."""
        for at, step in enumerate(self.steps):
            try:
                status = getattr(self, step["op"])(step)
            except ClosedError:
                status = "HC_ERR_CLOSED"
            except hypercache.TooLargeError:
                status = "HC_ERR_TOO_LARGE"
            except OverflowError:
                status = "HC_OVERFLOW"
            except hypercache.DeadlockError:
                status = "HC_ERR_DEADLOCK"
            wanted = step.get("status", "HC_OK")
            assert status == wanted, f"step {at + 1} ({step}): {status} instead of {wanted}"
        if not any(step["op"] == "destroy" for step in self.steps):
            self.python.validate()
        self.pool.validate()
        self.python.close()
        self.c.close()

    def key(self, step: Any) -> RawKey:
        """The key, byte for byte."""
        return RawKey(octets(step["key"]))

    # Written in Python.

    def set(self, step: Any) -> str:
        key, value, ttl = self.key(step), octets(step["value"]), step.get("ttl_ms")
        if ttl == "keep":
            status, _ = self.c.put(octets(step["key"]), value, ttl_ms=KEEP)
            return status
        return "HC_OK" if self.python.set(key, value, ttl=seconds(ttl)) else "HC_NOT_ADMITTED"

    def put(self, step: Any) -> str:
        other = {"version", "save_version", "type", "flags", "soft_ttl_ms", "idle_ttl_ms"}
        plain = not other & step.keys()
        mode, session = step.get("mode", "set"), step.get("session", 0)
        if plain and step.get("ttl_ms") != "keep":
            call = {"set": self.python.set, "add": self.python.add, "replace": self.python.replace}
            ttl = seconds(step.get("ttl_ms"))
            done = call[mode](self.key(step), octets(step["value"]), ttl=ttl, session=session)
            return "HC_OK" if done else {"add": "HC_EXISTS", "replace": "HC_NOT_FOUND"}[mode]
        status, version = self.c.put(
            octets(step["key"]),
            octets(step["value"]),
            expected_version=self.saved[step["version"]] if "version" in step else 0,
            **self.options(step),
        )
        if "save_version" in step:
            self.saved[step["save_version"]] = version
        return status

    def options(self, step: Any) -> dict[str, int]:
        """Fields of hc_put_options."""
        named = ("type", "flags", "session", "soft_ttl_ms", "idle_ttl_ms")
        found = {name: step[name] for name in named if name in step}
        mode = MODES[step.get("mode", "set")]
        return found | {"ttl_ms": millis(step.get("ttl_ms")), "mode": mode}

    def get(self, step: Any) -> str:
        if step.keys() <= {"op", "key", "value", "status"}:
            entry = self.python.entry(self.key(step))
            if entry is None or entry.type_code == 0:
                found = self.python.get(self.key(step))
                if "value" in step:
                    assert found == octets(step["value"])
                return "HC_NOT_FOUND" if found is None else "HC_OK"
        return self.read(step, self.c.get(octets(step["key"]), step.get("cap", 1 << 21)))

    def peek(self, step: Any) -> str:
        return self.read(step, self.c.get(octets(step["key"]), peek=True))

    def take(self, step: Any) -> str:
        if step.keys() <= {"op", "key", "value", "status"}:
            found = self.python.pop(self.key(step), None)
            if "value" in step:
                assert found == octets(step["value"])
            return "HC_NOT_FOUND" if found is None else "HC_OK"
        return self.read(step, self.c.take(octets(step["key"]), step.get("cap", 1 << 21)))

    def read(self, step: Any, answer: tuple[str, Any, bytes]) -> str:
        status, info, data = answer
        if status in ("HC_OK", "HC_SMALL_BUFFER"):
            seen = data if status == "HC_OK" else octets(step.get("value", ""))
            self.compare(step, info, seen)
        if status == "HC_OK":
            entry = self.python.entry(self.key(step)) if step["op"] != "take" else None
            if entry is not None:
                assert (entry.length, entry.type_code) == (info.len, info.type)
                assert (entry.flags, entry.session) == (info.flags, info.session)
                assert entry.version == info.version
                never = info.ttl_ms == NEVER
                left = math.inf if never else pytest.approx(info.ttl_ms / 1000, abs=60)
                assert entry.ttl == left
        return status

    def contains(self, step: Any) -> str:
        return "HC_OK" if self.key(step) in self.python else "HC_NOT_FOUND"

    def delete(self, step: Any) -> str:
        return "HC_OK" if self.python.delete(self.key(step)) else "HC_NOT_FOUND"

    def touch(self, step: Any) -> str:
        ttl = step.get("ttl_ms")
        if ttl in (None, "default"):
            return self.c.call("hc_touch", octets(step["key"]), u64(DEFAULT))
        done = self.python.touch(self.key(step), None if ttl == "keep" else seconds(ttl))
        return "HC_OK" if done else "HC_NOT_FOUND"

    def delete_if(self, step: Any) -> str:
        return self.c.call("hc_delete_if", octets(step["key"]), u64(self.saved[step["version"]]))

    def incr(self, step: Any) -> str:
        ttl = seconds(step.get("ttl_ms"))
        try:
            total = self.python.incr(self.key(step), step["delta"], step["initial"], ttl=ttl)
        except TypeError:
            return "HC_WRONG_TYPE"
        if "sum" in step:
            assert total == step["sum"]
        return "HC_OK"

    def get_many(self, step: Any) -> str:
        keys = [RawKey(octets(key)) for key in step["keys"]]
        if "cap" in step:
            # A buffer of the caller's: Python's own is never too small.
            return self.get_many_in_c(step)
        found = self.python.get_many(keys)
        values = [found.get(key) for key in keys]
        statuses = ["HC_NOT_FOUND" if value is None else "HC_OK" for value in values]
        if "values" in step:
            assert values == [None if v is None else octets(v) for v in step["values"]]
        if "statuses" in step:
            assert statuses == step["statuses"]
        return "HC_OK" if set(statuses) <= {"HC_OK"} else "HC_PARTIAL"

    def get_many_in_c(self, step: Any) -> str:
        keys = [octets(key) for key in step["keys"]]
        kept = [ctypes.create_string_buffer(key, max(len(key), 1)) for key in keys]
        count = len(keys)
        slices = (Slice * count)(
            *(Slice(ctypes.addressof(k), len(key)) for k, key in zip(kept, keys, strict=True))
        )
        values, statuses = (Slice * count)(), (ctypes.c_int32 * count)()
        buffer = ctypes.create_string_buffer(step["cap"])
        cap, flags = ctypes.c_size_t(step["cap"]), ctypes.c_uint32(0)
        status = function("hc_get_many")(
            self.c.store, slices, ctypes.c_size_t(count), flags, buffer, cap, values, None, statuses
        )
        found = [
            ctypes.string_at(values[i].data, values[i].len) if statuses[i] == 0 else None
            for i in range(count)
        ]
        if "values" in step:
            assert found == [None if v is None else octets(v) for v in step["values"]]
        if "statuses" in step:
            assert [status_name(s) for s in statuses] == step["statuses"]
        return status_name(status)

    def put_many(self, step: Any) -> str:
        entries = {RawKey(octets(e["key"])): octets(e["value"]) for e in step["entries"]}
        if step.get("mode", "set") == "set" and len(entries) == len(step["entries"]):
            stored = self.python.set_many(entries)
            return "HC_OK" if stored == len(entries) else "HC_PARTIAL"
        call = {"set": self.python.set, "add": self.python.add, "replace": self.python.replace}
        done = [
            call[step.get("mode", "set")](RawKey(octets(e["key"])), octets(e["value"]))
            for e in step["entries"]
        ]
        if "statuses" in step:
            assert done == [status == "HC_OK" for status in step["statuses"]]
        return "HC_OK" if all(done) else "HC_PARTIAL"

    def delete_many(self, step: Any) -> str:
        deleted = self.python.delete_many([RawKey(octets(key)) for key in step["keys"]])
        assert deleted == step.get("deleted", deleted)
        return "HC_OK"

    def pin(self, step: Any) -> str:
        view = self.python.view(self.key(step))
        if view is None:
            return "HC_NOT_FOUND"
        self.saved[step["as"]] = view
        if "value" in step:
            assert bytes(view) == octets(step["value"])
        return "HC_OK"

    def unpin(self, step: Any) -> str:
        with self.saved.pop(step["view"]) as view:
            if "value" in step:
                with memoryview(view) as data:
                    assert data == octets(step["value"])
        assert view.released
        return "HC_OK"

    def reserve(self, step: Any) -> str:
        draft = Draft()
        options = made(PutOptions, mode=MODES[step.get("mode", "set")], type=step.get("type", 0))
        length = ctypes.c_size_t(step["len"])
        more = (length, ctypes.byref(options), ctypes.byref(draft))
        status = self.c.call("hc_reserve", octets(step["key"]), *more)
        self.saved[step["as"]] = draft
        return status

    def commit(self, step: Any) -> str:
        draft = self.saved[step["draft"]]
        ctypes.memmove(draft.data, octets(step["value"]), draft.len)
        return status_name(function("hc_commit")(ctypes.byref(draft), None))

    def abandon(self, step: Any) -> str:
        function("hc_abandon")(ctypes.byref(self.saved[step["draft"]]))
        return "HC_OK"

    def chosen(self, step: Any) -> dict[str, Any]:
        """What a walk is for, in Python's words."""
        kind = step.get("match", "all")
        if kind == "session":
            return {"session": step["session"]}
        if kind in ("prefix", "glob"):
            pattern = octets(step["pattern"])
            return {kind: RawKey(pattern) if kind == "prefix" else pattern.decode()}
        return {}

    def invalidate(self, step: Any) -> str:
        chosen = self.chosen(step)
        if chosen:
            removed = self.python.invalidate(**chosen)
        else:
            match = self.c.matching(step["match"], step.get("type", 0))
            count = ctypes.c_uint64()
            status = function("hc_invalidate")(
                self.c.store, ctypes.byref(match), ctypes.byref(count)
            )
            Store.ok(status)
            removed = count.value
        assert removed == step.get("removed", removed)
        return "HC_OK"

    def scan(self, step: Any) -> str:
        chosen = self.chosen(step)
        assert chosen or step.get("match", "all") == "all"
        seen = sorted(map(as_bytes, self.python._scan(0, **chosen)))
        assert seen == sorted(octets(key) for key in step["keys"])
        return "HC_OK"

    # Filters and known keys.

    def filter_add(self, step: Any) -> str:
        for _ in range(step.get("times", 1)):
            self.filter.add(self.key(step))
        return "HC_OK"

    def filter_remove(self, step: Any) -> str:
        done = [self.filter.remove(self.key(step)) for _ in range(step.get("times", 1))]
        return "HC_OK" if all(done) else "HC_NOT_FOUND"

    def filter_contains(self, step: Any) -> str:
        return "HC_OK" if self.key(step) in self.filter else "HC_NOT_FOUND"

    def filter_contains_many(self, step: Any) -> str:
        there = self.filter.contains_many([RawKey(octets(key)) for key in step["keys"]])
        assert ["HC_OK" if it else "HC_NOT_FOUND" for it in there] == step["statuses"]
        return "HC_OK" if all(there) else "HC_PARTIAL"

    def filter_clear(self, _step: Any) -> str:
        self.filter.clear()
        return "HC_OK"

    def filter_reload(self, _step: Any) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "filter")
            self.filter.save(path)
            self.filter = CuckooFilter.load(path, pool=self.pool)
        return "HC_OK"

    def filter_stats(self, step: Any) -> str:
        stats = self.filter.stats()
        for field, wanted in step.items():
            if field not in ("op", "status"):
                assert getattr(stats, field) == wanted, field
        return "HC_OK"

    def known_keys(self, _step: Any) -> str:
        self.python.set_known_keys(self.filter)
        return "HC_OK"

    def no_known_keys(self, _step: Any) -> str:
        self.python.set_known_keys(None)
        return "HC_OK"

    def may_exist(self, step: Any) -> str:
        return self.c.call("hc_may_exist", octets(step["key"]))

    # Leases: Python shows them as functions to be called, so that C ends and begins them here.

    def claim(self, step: Any) -> str:
        lease = Lease()
        flags = ctypes.c_uint32(2 if step.get("stale") else 0)
        timeout = u64(step.get("timeout_ms", 0))
        key = octets(step["key"])
        if "cap" in step:
            info, cap = Info(), step["cap"]
            buffer = ctypes.create_string_buffer(cap or 1)
            place = (buffer, ctypes.c_size_t(cap), ctypes.byref(info), ctypes.byref(lease))
            status = self.c.call("hc_get_or_claim", key, flags, timeout, *place)
            data = buffer.raw[: min(info.len, cap)]
        else:
            info = View()
            more = (ctypes.byref(info), ctypes.byref(lease))
            status = self.c.call("hc_claim", key, flags, timeout, *more)
            data = ctypes.string_at(info.data, info.len) if status == "HC_OK" else b""
        if "as" in step:
            self.saved[step["as"]] = lease
        if status == "HC_OK":
            self.compare(step, info, data)
        if "cap" not in step:
            function("hc_unpin")(ctypes.byref(info))
        return status

    def compare(self, step: Any, info: Any, data: bytes) -> None:
        if "value" in step:
            assert data == octets(step["value"])
        for field in ("len", "type", "flags", "session"):
            if field in step:
                assert getattr(info, field) == step[field], field
        if "ttl_ms" in step:
            wanted = step["ttl_ms"]
            if wanted == "never":
                assert info.ttl_ms == NEVER
            else:
                assert wanted[0] <= info.ttl_ms <= wanted[1]
        if "save_version" in step:
            self.saved[step["save_version"]] = info.version
        if "version" in step:
            assert info.version == self.saved[step["version"]]

    def lease_put(self, step: Any) -> str:
        lease, version = self.saved[step["lease"]], ctypes.c_uint64()
        value = octets(step["value"])
        options = made(PutOptions, **self.options(step))
        length = ctypes.c_size_t(len(value))
        more = (value, length, ctypes.byref(options), ctypes.byref(version))
        status = function("hc_lease_put")(self.c.store, ctypes.byref(lease), *more)
        if "save_version" in step:
            self.saved[step["save_version"]] = version.value
        return status_name(status)

    def lease_drop(self, step: Any) -> str:
        reason = ctypes.c_int32(["cancelled", "failed", "absent"].index(step["reason"]))
        retry = u64(step.get("retry_ms", 0))
        lease = self.saved[step["lease"]]
        function("hc_lease_drop")(self.c.store, ctypes.byref(lease), reason, retry)
        return "HC_OK"

    def clear(self, _step: Any) -> str:
        self.python.clear()
        return "HC_OK"

    def destroy(self, _step: Any) -> str:
        # Through C, so that Python's own handle stays and is told.
        function("hc_store_destroy")(self.c.store)
        return "HC_OK"

    def stats(self, step: Any) -> str:
        stats = self.python.stats()
        for field, wanted in step.items():
            if field not in ("op", "status"):
                assert getattr(stats, field) == wanted, field
        return "HC_OK"

    def sleep(self, step: Any) -> str:
        time.sleep(step["ms"] / 1000)
        return "HC_OK"


def as_bytes(key: Any) -> bytes:
    """A key as the list writes it."""
    return key.encode() if isinstance(key, str) else bytes(key)


@pytest.mark.parametrize("behaviour", behaviours())
def test_behaviour(behaviour: Any) -> None:
    """Each behaves as it says."""
    Run(behaviour).run()
