"""A C++ extension module and Python, on one store: same bytes, same counters, one library."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sysconfig
from typing import Any

import pytest

import hypercache
from hypercache import Cache, Pool

SOURCE = pathlib.Path(__file__).parent / "extension" / "extension.cpp"


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module, built as an author of extensions would build it."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ["c++", "g++", "clang++"]), None)
    assert compiler, "no C++ compiler is installed"
    target = tmp_path_factory.mktemp("extension") / "extension.so"
    headers, library = hypercache.get_include(), hypercache.get_library_dir()
    python = sysconfig.get_path("include")
    subprocess.run(
        [compiler, "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
         f"-I{headers}", f"-I{python}", str(SOURCE), "-o", str(target),
         f"-L{library}", "-lhypercache", f"-Wl,-rpath,{library}"],
        check=True,
    )  # fmt: skip
    spec = importlib.util.spec_from_file_location("extension", target)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_see_the_same(extension: Any) -> None:
    with Pool("8MiB", name="from python") as pool, Cache(pool=pool, name="store") as cache:
        cache["from python"] = b"hello"
        assert extension.work("from python", "store") == b"hello"
        assert cache["from c++:7"] == b"c" * 64
        assert len(cache.get_many(f"from c++:{i}" for i in range(1000))) == 1000
        cache.get("none")
        stats = cache.stats()
        assert (stats.entries, stats.misses) == (1001, 1)
        seen = extension.counters("from python", "store")
        assert seen == (stats.entries, stats.hits, stats.misses, pool.stats().used_bytes)
        maps = pathlib.Path("/proc/self/maps").read_text()
        loaded = {line.split()[-1] for line in maps.splitlines() if "libhypercache" in line}
        assert len(loaded) == 1, "one library in the process"
    with pytest.raises(RuntimeError):
        extension.work("from python", "store")


def test_a_cache_of_ones_own_has_a_pool_of_its_name(extension: Any) -> None:
    with Cache("8MiB", name="mine") as cache:
        cache["from python"] = b"hello"
        assert extension.work("mine", "mine") == b"hello"
        assert cache["from c++:0"] == b"c" * 64
