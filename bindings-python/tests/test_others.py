"""Views, pools, filters, forks, the end of the interpreter, the package itself."""

import ast
import dataclasses
import gc
import inspect
import itertools
import multiprocessing
import pathlib
import re
import subprocess
import sys
import threading
import time
import tomllib
from typing import Any

import numpy
import pytest
from processes import in_a_child, lets_others_run, run_alone

import hypercache
from hypercache import Cache, CuckooFilter, ForkedError, Pool, Pressure, View


def test_views_show_without_copying(cache: Cache) -> None:
    numbers = numpy.arange(100_000, dtype=numpy.float64)
    cache["array"] = numbers.tobytes()
    with cache.view("array") as view:  # type: ignore[union-attr]
        assert isinstance(view, View) and len(view) == numbers.nbytes
        shown = numpy.frombuffer(memoryview(view), dtype=numpy.float64)
        assert not shown.flags.writeable and not shown.flags.owndata
        assert (shown == numbers).all()
        cache["array"] = b"changed"
        assert shown.sum() == numbers.sum(), "what is pinned does not change"
        with pytest.raises(BufferError, match="in use"):
            view.release()
        assert view.ttl == float("inf") and view.type_code == 0 and view.version > 0
        del shown
        gc.collect()
    assert view.released
    for call in (lambda: len(view), lambda: bytes(view), lambda: memoryview(view)):
        with pytest.raises(ValueError, match="released"):
            call()
    assert cache.view("none") is None
    assert cache.stats().pinned_bytes == 0
    kept = memoryview(cache.view("array"))  # type: ignore[arg-type]
    gc.collect()
    assert bytes(kept) == b"changed", "a memoryview keeps its view"
    with pytest.raises(TypeError, match="read-only"):
        kept[0] = 1


def test_views_are_bounded() -> None:
    with Cache("4MiB") as cache:
        views = []
        with pytest.raises(hypercache.NoSpaceError):
            for i in range(1000):
                cache[i] = b"x" * 50_000
                views.append(cache.view(i))
        assert issubclass(hypercache.NoSpaceError, MemoryError)
        del views
        assert cache.view(0) is not None or cache.view(1) is None


def test_pools() -> None:
    with Pool("4MiB", name="p", elevated=50, high=60, critical=70) as pool:
        assert pool.name == "p" and "'p'" in repr(pool)
        assert pool.stats().limit_bytes == 4 << 20 and pool.pressure is Pressure.NONE
        assert Pressure.ELEVATED < Pressure.HIGH < Pressure.CRITICAL
        with Pool(name="p") as same:
            assert same.stats() == pool.stats()
        pool.resize("8MiB")
        assert pool.stats().limit_bytes == 8 << 20
        pool.set_thresholds(10, 20, 30)
        with Cache(pool=pool) as cache:
            cache.update({i: b"x" * 1000 for i in range(1000)})
            assert pool.trim(1 << 20) > 0 and pool.stats().used_bytes <= 1 << 20
        pool.validate()
        with pytest.raises(ValueError):
            pool.set_thresholds(90, 80, 70)
    with pytest.raises(hypercache.ClosedError):
        pool.stats()
    with pytest.raises(KeyError):
        Pool(name="p")
    with pytest.raises(TypeError):
        Pool()


def test_pressure_is_told() -> None:
    with Pool("4MiB", elevated=20, high=60, critical=90) as pool, Cache(pool=pool) as cache:
        told: list[Pressure] = []
        more = threading.Event()

        def callback(level: Pressure) -> None:
            told.append(level)
            more.set()

        with pool.on_pressure(callback) as watch:
            cache.update({i: b"x" * 50_000 for i in range(18)})
            views = [cache.view(i) for i in range(18)]
            assert more.wait(20) and told[0] >= Pressure.ELEVATED
            more.clear()
            del views
            assert more.wait(20) and told[-1] == Pressure.NONE
        watch.cancel()
        threads = [t.name for t in threading.enumerate()]
        assert "hypercache-pressure" not in threads


def test_pressure_callbacks_may_fail_and_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with Pool("4MiB", elevated=20, high=60, critical=90) as pool, Cache(pool=pool) as cache:
        cancelled = threading.Event()

        def callback(level: Pressure) -> None:
            watch.cancel()
            cancelled.set()
            raise RuntimeError("in the callback")

        watch = pool.on_pressure(callback)
        cache.update({i: b"x" * 50_000 for i in range(18)})
        views = [cache.view(i) for i in range(18)]
        assert cancelled.wait(20)
        watch._thread.join(20)
        assert len(failures) == 1
        del views


def test_a_watch_without_a_name_goes_on() -> None:
    told = threading.Event()
    lock = threading.Lock()

    def callback(level: Pressure) -> None:
        with lock:
            if level >= Pressure.ELEVATED:
                told.set()

    with Pool("4MiB", elevated=20, high=60, critical=90) as pool, Cache(pool=pool) as cache:
        with lock:
            pool.on_pressure(callback)
            gc.collect()
        cache.update({i: b"x" * 50_000 for i in range(18)})
        views = [cache.view(i) for i in range(18)]
        assert told.wait(20)
        del views
    for watch in list(hypercache._pool._watches):
        watch.cancel()
    assert not hypercache._pool._watches


def test_a_watch_outlives_the_pools_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    told: list[Pressure] = []
    more = threading.Event()

    def callback(level: Pressure) -> None:
        told.append(level)
        more.set()
        if len(told) == 1:
            raise SystemExit

    pool = Pool("4MiB", elevated=20, high=60, critical=90)
    with Cache(pool=pool) as cache, pool.on_pressure(callback):
        pool.close()
        cache.update({i: b"x" * 50_000 for i in range(18)})
        views = [cache.view(i) for i in range(18)]
        assert more.wait(20)
        more.clear()
        del views
        while Pressure.NONE not in told:
            assert more.wait(20), "also after a callback that would end its thread"
            more.clear()
    assert [failure.exc_type for failure in failures] == [SystemExit]


def test_long_work_lets_other_threads_run(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "keys.filter"
    CuckooFilter(500_000).save(path)
    assert lets_others_run(lambda: CuckooFilter(500_000))
    assert lets_others_run(lambda: CuckooFilter.load(path))
    assert lets_others_run(lambda: Pool("8MiB", prefault=True))
    with Cache("64MiB") as cache:
        cache.update({f"k{i}": b"" for i in range(50_000)})
        assert lets_others_run(lambda: list(cache.keys(glob="z*")))
        assert not lets_others_run(lambda: cache.get("k1"), 0.2), "a short call does not"
        read = cache.memoize(lambda: b"x" * 1_000_000)
        read()
        assert lets_others_run(read)


def test_taking_a_long_value_lets_other_threads_run() -> None:
    class Unread:
        def dumps(self, value: Any) -> bytes:
            return b"x" * 1_000_000

        def loads(self, data: bytes) -> Any:
            raise LookupError

    def take() -> None:
        with pytest.raises(LookupError):
            cache.pop("k")

    with Cache("8MiB", codec=Unread()) as cache:
        cache["k"] = []
        assert lets_others_run(take)


def test_walks_of_what_matches_give_each_once(cache: Cache) -> None:
    keys = {f"{name}:{i}" for name in "ab" for i in range(1000)}
    cache.update(dict.fromkeys(keys, 1))
    for glob, count in (("a:*", 1000), ("*:7", 2), ("z*", 0), ("*", 2000)):
        found = list(cache.keys(glob=glob))
        assert len(found) == len(set(found)) == count and set(found) <= keys
    walk = iter(cache.keys(prefix="a:"))
    assert next(walk) in keys
    assert len(list(walk)) == 999 and next(walk, None) is None
    walk = iter(cache.keys(prefix="a:"))
    next(walk)
    del walk


def test_destroying_is_the_parents() -> None:
    with Cache("1MiB") as cache, Cache("1MiB", after_fork="fresh") as fresh:
        cache["k"] = fresh["k"] = 1

        def work() -> None:
            with pytest.raises(ForkedError):
                cache.destroy()
            assert not cache.closed
            fresh.destroy()
            assert fresh.closed

        assert in_a_child(work) == 0
        assert cache["k"] == fresh["k"] == 1


def test_filters(tmp_path: pathlib.Path) -> None:
    keys = [f"key:{i}" for i in range(5000)]
    with Pool("8MiB") as pool:
        known = CuckooFilter(5000, 0.01, pool=pool)
        known.update(keys)
        known.add((1, "x"))
        assert all(key in known for key in keys) and (1, "x") in known
        assert all(known.contains_many(keys))
        wrong = sum(known.contains_many(f"other:{i}" for i in range(10_000)))
        assert wrong < 400
        assert len(known) == 5001 and "5,001" in repr(known)
        stats = known.stats()
        assert stats.keys == 5001 and not stats.saturated and stats.fpr_sampled < 0.05
        assert known.remove("key:0") and not known.remove("nothing like it")
        path = tmp_path / "keys.filter"
        known.save(path)
        loaded = CuckooFilter.load(path)
        assert type(loaded) is CuckooFilter and len(loaded) == 5000 and "key:1" in loaded
        path.write_bytes(b"broken")
        with pytest.raises(hypercache.CorruptError):
            CuckooFilter.load(path)
        with pytest.raises(OSError):
            CuckooFilter.load(tmp_path / "none")
        known.clear()
        assert len(known) == 0
    with pytest.raises(ValueError):
        CuckooFilter(0)


def test_threads_share_a_cache(cache: Cache) -> None:
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(3000):
                key = f"k{(i * seed) % 97}"
                cache[key] = key.encode() * 20
                found = cache.get(key)
                assert found is None or found == key.encode() * 20
                if i % 100 == 0:
                    cache.get_many([f"k{j}" for j in range(97)])
                    cache["long"] = b"x" * 200_000
                    cache.get("long")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_closing_while_others_call() -> None:
    for _ in range(20):
        cache = Cache("8MiB")
        cache["long"] = b"x" * 500_000

        def work(cache: Cache = cache) -> None:
            try:
                while True:
                    cache.get("long")
                    cache["long"] = b"y" * 500_000
            except hypercache.ClosedError:
                pass

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.005)
        cache.close()
        for thread in threads:
            thread.join()


def test_closing_while_short_calls_run() -> None:
    run_alone('''
import threading
from hypercache import Cache, ClosedError
for round in range(600):
    cache = Cache("4MiB")
    keys = [str(i) for i in range(100)]
    for key in keys:
        cache[key] = b"v" * 64
    def work():
        try:
            while True:
                for key in keys:
                    assert cache.get(key, b"v" * 64) == b"v" * 64
        except ClosedError:
            pass
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    cache.destroy() if round % 3 == 0 else cache.close()
    for thread in threads:
        thread.join()
''')


def test_sub_interpreters_are_refused() -> None:
    said = run_alone('''
import importlib, sys
interpreters = importlib.import_module(
    "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
)
import hypercache
inner = interpreters.create()
interpreters.run_string(inner, """
try:
    import hypercache
except ImportError as error:
    print("refused:", error, flush=True)
""")
interpreters.destroy(inner)
hypercache.Cache("1MiB").close()
''')
    assert said.startswith("refused:") and "interpreter" in said


def test_a_walk_may_go_on_in_a_collection() -> None:
    run_alone('''
import faulthandler, gc
from hypercache import Cache
faulthandler.dump_traceback_later(60, exit=True)
cache = Cache("4MiB")
for i in range(300):
    cache[("a",) * 30 + (i,)] = i
walk = iter(cache)
class Walker:
    def __del__(self):
        next(walk, None)
gc.disable()
walker = Walker()
walker.me = walker
del walker
gc.set_threshold(1)
gc.enable()
seen = 0
for key in walk:
    seen += 1
assert seen in (299, 300), seen
''')


def test_a_forked_child_is_told(cache: Cache) -> None:
    cache["k"] = 1
    view = cache.view("k")

    def work() -> None:
        for call in (lambda: cache["k"], lambda: cache.set("k", 2), lambda: cache.get_many(["k"])):
            with pytest.raises(ForkedError, match="fork"):
                call()
        cache.close()
        with Cache("1MiB") as own:
            own["k"] = 1
            assert own["k"] == 1

    assert in_a_child(work) == 0
    assert cache["k"] == 1 and view is not None and len(view) == 8


def test_a_forked_child_gets_a_fresh_cache_where_asked() -> None:
    with Cache("8MiB", name="forked", after_fork="fresh") as cache:
        cache["k"] = 1

        def work() -> None:
            assert cache.get("k") is None
            cache["k"] = 2
            assert cache["k"] == 2 and len(cache) == 1
            cache.validate()
            assert cache.get_or_load("l", lambda: 3) == 3
            assert cache.get_many(["k", "l"]) == {"k": 2, "l": 3}

        def long_first() -> None:
            cache["long"] = b"x" * 500_000
            assert cache.get("long") == b"x" * 500_000

        assert in_a_child(work) == 0
        assert in_a_child(long_first) == 0
        assert in_a_child(cache.validate) == 0
        assert in_a_child(lambda: cache.resize("4MiB")) == 0
        assert dict(cache.items()) == {"k": 1}


def test_multiprocessing_gets_no_cache(cache: Cache) -> None:
    context = multiprocessing.get_context("spawn")
    with pytest.raises(TypeError, match="cannot be pickled"):
        context.Process(target=print, args=(cache,)).start()


END = """
import threading, hypercache
pool = hypercache.Pool("4MiB", name="at exit")
cache = hypercache.Cache(pool=pool, name="s")
cache["k"] = b"v" * 5000
view = cache.view("k"); kept = memoryview(view)
watch = pool.on_pressure(print)
walk = iter(cache.items()); next(walk)
known = hypercache.CuckooFilter(10, pool=pool)
@cache.memoize
def f(x): return x
f(1)
class Late:
    def __del__(self):
        cache.get("k")
late = Late(); late.self = late
def spin():
    while True: cache.get("k"); cache["l"] = b"x" * 200_000
threading.Thread(target=spin, daemon=True).start()
threading.Thread(target=lambda: cache.get_or_load("slow", lambda: __import__("time").sleep(60)),
                 daemon=True).start()
threading.Thread(target=lambda: cache.get_or_load("slow", lambda: 1), daemon=True).start()
import time; time.sleep(0.05)
print("end")
"""


def test_the_interpreter_ends_in_any_order() -> None:
    for _ in range(5):
        ended = subprocess.run(
            [sys.executable, "-c", END], capture_output=True, text=True, timeout=60, check=False
        )
        assert (ended.returncode, ended.stdout) == (0, "end\n"), ended.stderr


def test_signals_end_a_wait() -> None:
    code = """
import signal, threading, hypercache, time
cache = hypercache.Cache("4MiB")
begun = threading.Event()
def slow(): begun.set(); time.sleep(30)
threading.Thread(target=lambda: cache.get_or_load("k", slow), daemon=True).start()
begun.wait()
signal.setitimer(signal.ITIMER_REAL, 0.2)
signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("alarm")))
try:
    cache.get_or_load("k", lambda: 1)
except TimeoutError:
    print("told")
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=25, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "told\n"), ended.stderr


def test_it_says_what_it_is() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "hypercache"], capture_output=True, text=True, check=True
    )
    assert hypercache.version() == hypercache.__version__ == "0.1.0"
    assert hypercache.version() in said.stdout and hypercache.build_info() in said.stdout
    assert pathlib.Path(hypercache.get_include(), "hypercache.h").is_file()
    assert pathlib.Path(hypercache.get_include(), "hypercache.hpp").is_file()
    assert pathlib.Path(hypercache.get_library_dir(), "libhypercache.so").is_file()
    assert hypercache.parse_size("64MiB") == hypercache.parse_size(64 << 20) == 64 << 20
    assert hypercache.parse_size("50%") > 1 << 20


def test_one_library_in_the_process() -> None:
    maps = pathlib.Path("/proc/self/maps").read_text()
    loaded = {line.split()[-1] for line in maps.splitlines() if "libhypercache" in line}
    assert loaded == {str(pathlib.Path(hypercache.get_library_dir(), "libhypercache.so.0"))}


def public() -> list[tuple[str, Any]]:
    """Every public name, and every public name of the classes."""
    found = []
    for name in hypercache.__all__:
        thing = getattr(hypercache, name)
        found.append((name, thing))
        if inspect.isclass(thing) and not issubclass(thing, BaseException):
            own = [base for base in thing.__mro__ if base.__module__.startswith("hypercache")]
            names = {n for base in own for n in vars(base) if not n.startswith("_")}
            found += [(f"{name}.{n}", inspect.getattr_static(thing, n)) for n in sorted(names)]
    return found


def test_results_are_of_their_types(cache: Cache) -> None:
    cache["k"] = 1
    assert type(cache.stats()) is hypercache.Stats
    assert type(cache.config()) is hypercache.CacheConfig
    assert type(cache.entry("k")) is hypercache.Entry
    assert type(Pool("1MiB").stats()) is hypercache.PoolStats
    assert type(CuckooFilter(10).stats()) is hypercache.FilterStats
    assert type(Pool("1MiB").on_pressure(print)) is hypercache.PressureWatch
    assert hypercache.Memoized.__doc__ and hypercache.Key is not None
    assert not isinstance(object(), hypercache.Codec)
    assert hypercache.TYPE_APP == 128
    for error in (hypercache.InternalError, hypercache.PoisonedError, hypercache.LoadError):
        assert issubclass(error, hypercache.HyperCacheError) and issubclass(error, RuntimeError)


def fields_of(thing: Any) -> tuple[str, ...]:
    """The fields of a dataclass, a named tuple or an enumeration."""
    if dataclasses.is_dataclass(thing):
        return tuple(field.name for field in dataclasses.fields(thing))
    return tuple(getattr(thing, "_fields", getattr(thing, "__members__", ())))


def test_everything_public_is_documented() -> None:
    """Where it is defined, and not only where it is inherited from; fields in their class."""
    bare = []
    for name, thing in public():
        inner = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
        if (callable(thing) or isinstance(thing, property)) and not inner.__doc__:
            bare.append(name)
        bare += [f"{name}.{field}" for field in fields_of(thing) if f"`{field}`" not in thing.__doc__]
    folder = pathlib.Path(hypercache.__file__).parent
    body = ast.parse((folder / "_codecs.py").read_text()).body
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name in hypercache.__all__ and not (
                isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            ):
                bare.append(name)
    assert not bare


def test_statistics_have_fields_of_their_types(cache: Cache) -> None:
    cache["k"] = 1
    parts = (cache.stats(), cache.config(), cache.entry("k"), cache.pool.stats(), CuckooFilter(10).stats())
    for part in parts:
        assert part is not None
        for field in dataclasses.fields(part):
            allowed: Any = field.type
            assert isinstance(getattr(part, field.name), allowed), field.name
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(part, field.name, 0)


def test_everything_public_is_tested() -> None:
    """What a class has is used of an object in a test's code; what the package has, by its name."""
    names: set[str] = set()
    attributes: set[str] = set()
    for file in pathlib.Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute):
                attributes.add(node.attr)
            elif isinstance(node, ast.alias):
                names.add(node.name)
    fields = {f"{name}.{field}" for name, thing in public() for field in fields_of(thing)}
    missing = [
        name
        for name, _ in public()
        if name not in fields
        and name.rsplit(".", 1)[-1] not in (attributes if "." in name else attributes | names)
    ]
    assert not missing


def test_the_readmes_programs_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = pathlib.Path(__file__).parents[1].joinpath("README.md").read_text()
    programs = re.findall(r"```python\n(.*?)```(?:\s+```text\n(.*?)```)?", text, re.S)
    assert programs
    for program, output in programs:
        exec(compile(program, "README.md", "exec"), {"__name__": "readme"})
        said = capsys.readouterr().out
        if output:
            assert said.strip() == output.strip()


def test_the_metadata_names_this_python() -> None:
    project = tomllib.loads(pathlib.Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
    assert project["project"]["requires-python"] == ">=3.11" and sys.version_info >= (3, 11)
