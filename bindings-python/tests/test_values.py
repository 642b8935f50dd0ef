"""What goes in comes out, of the same type; keys are told apart as Python tells them apart."""

import enum
import math
import pickle
import random
import sys
import threading
from typing import Any

import numpy
import pytest
from capi import Store

import hypercache
from hypercache import Cache, CodecError, Pool

NATIVE = [
    (b"", hypercache.TYPE_BYTES),
    (b"\0\xff" * 40, hypercache.TYPE_BYTES),
    ("", hypercache.TYPE_STRING),
    ("größe 🙂", hypercache.TYPE_STRING),
    ("x" * 100_000, hypercache.TYPE_STRING),
    (b"y" * 300_000, hypercache.TYPE_BYTES),
    (0, hypercache.TYPE_INT64),
    (-(2**63), hypercache.TYPE_INT64),
    (2**63 - 1, hypercache.TYPE_INT64),
    (1.5, hypercache.TYPE_FLOAT64),
    (-0.0, hypercache.TYPE_FLOAT64),
    (math.inf, hypercache.TYPE_FLOAT64),
    (True, hypercache.TYPE_BOOL),
    (False, hypercache.TYPE_BOOL),
    (None, hypercache.TYPE_NULL),
]


class Colour(enum.IntEnum):
    """An int that is more than an int."""

    RED = 1


class Text(str):
    """A str that is more than a str."""


OTHER = [2**63, -(2**70), "\ud800", [1, [2]], {"a": (1, 2)}, Colour.RED, Text("t"), {1, 2},
         numpy.int64(5), bytearray(b"x"), object]  # fmt: skip


@pytest.mark.parametrize(("value", "code"), NATIVE)
def test_native_values(cache: Cache, value: Any, code: int) -> None:
    assert cache.set("k", value)
    for found in (cache["k"], cache.get("k"), cache.get_many(["k"])["k"], *cache.values()):
        assert found == value and type(found) is type(value)
        assert not isinstance(value, float) or math.copysign(1, found) == math.copysign(1, value)
    entry = cache.entry("k")
    assert entry is not None and entry.type_code == code
    assert cache.pop("k") == value


@pytest.mark.parametrize("value", OTHER, ids=repr)
def test_other_values_go_through_the_codec(cache: Cache, value: Any) -> None:
    cache["k"] = value
    found = cache["k"]
    assert found == value and type(found) is type(value)
    entry = cache.entry("k")
    assert entry is not None and entry.type_code == hypercache.TYPE_PICKLE
    cache.set_many({"many": value})
    assert cache.get_many(["many"]) == {"many": value}


def test_no_codec_refuses() -> None:
    with Cache("1MiB", codec=None) as cache:
        with pytest.raises(CodecError, match="has no codec"):
            cache["k"] = [1]
        with pytest.raises(TypeError, match="not .*Colour"):
            cache["k"] = Colour.RED
        cache["k"] = 1


def test_json_and_msgpack() -> None:
    value = {"a": [1, "ü", None, 2.5]}
    with Pool("8MiB") as pool:
        json = Cache(pool=pool, name="s", codec="json")
        msgpack = Cache(pool=pool, name="s", codec="msgpack")
        pickled = Cache(pool=pool, name="s")
        none = Cache(pool=pool, name="s", codec=None)
        json["j"], msgpack["m"], pickled["p"] = value, value, value
        for cache in (json, msgpack, pickled, none):
            assert cache["j"] == cache["m"] == value
            cache.close() if cache is msgpack else None
        assert json.entry("j").type_code == hypercache.TYPE_JSON  # type: ignore[union-attr]
        assert json.entry("m").type_code == hypercache.TYPE_MSGPACK  # type: ignore[union-attr]
        assert pickled["p"] == value
        with pytest.raises(CodecError, match="not pickle"):
            json["p"]


def test_msgpack_reads_back_what_it_wrote() -> None:
    with Cache("1MiB", codec="msgpack") as cache:
        for value in ({1: "a"}, {b"k": [{2.5: None}]}, {True: 1}):
            cache["k"] = value
            assert cache["k"] == value
        with pytest.raises(CodecError, match=r"'\\ud800'.*lone surrogate"):
            cache["k"] = ["\ud800"]
        with pytest.raises(CodecError, match="surrogate"):
            cache["k"] = "a\ud800"


def test_json_has_lone_surrogates_escaped() -> None:
    with Cache("1MiB", codec="json") as cache:
        for value in ("\ud800", ["\udfff", "ü"], {"a\ud800": 1}):
            cache["k"] = value
            assert cache["k"] == value
        cache["k"] = ["ü"]
        assert bytes(cache.view("k")) == '["ü"]'.encode()  # type: ignore[arg-type]


def test_what_the_codec_cannot_read_is_not_taken_out() -> None:
    with Pool("8MiB") as pool:
        pickled = Cache(pool=pool, name="s")
        json = Cache(pool=pool, name="s", codec="json")
        pickled["p"] = pickled["long"] = [1] * 3000
        for call in (lambda: json.pop("p"), lambda: json.pop("long"), json.popitem):
            with pytest.raises(CodecError, match="not pickle"):
                call()
        assert pickled.pop("p") == pickled.pop("long") == [1] * 3000
        assert not pickled


def test_of_several_who_take_a_value_one_gets_it(cache: Cache) -> None:
    taken: list[Any] = []

    def take() -> None:
        for i in range(500):
            taken.extend([found] if (found := cache.pop(f"k{i}", None)) else [])

    cache.update({f"k{i}": [i] for i in range(500)})
    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [[i] for i in range(500)] and not cache


def test_ints_of_more_digits_than_python_reads(cache: Cache) -> None:
    key = 7**6000
    with pytest.raises(ValueError, match="key is an int of 16845 bits; it takes up to 4300 decimal"):
        cache[key] = 1
    with pytest.raises(ValueError, match="key is an int of 16845 bits"):
        cache[("a", key)] = 1
    most = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(0)
        cache[key] = cache[("a", key)] = 1
    finally:
        sys.set_int_max_str_digits(most)
    cache["other"] = 1
    keys = list(cache)
    assert len(keys) == 3 and "other" in keys
    raw = [key for key in keys if isinstance(key, hypercache.RawKey)]
    assert len(raw) == 2 and cache.get_many(raw) == dict.fromkeys(raw, 1)


def test_a_codec_of_ones_own() -> None:
    class Reversed:
        type_code = 200

        def dumps(self, value: Any) -> bytes:
            return pickle.dumps(value)[::-1]

        def loads(self, data: bytes) -> Any:
            return pickle.loads(data[::-1])

    with Cache("1MiB", codec=Reversed()) as cache:
        cache["k"] = [1, 2]
        assert cache["k"] == [1, 2]
        assert cache.entry("k").type_code == 200  # type: ignore[union-attr]

    class Wrong:
        def dumps(self, value: Any) -> Any:
            return "text"

        loads = dumps

    with Cache("1MiB", codec=Wrong()) as cache, pytest.raises(TypeError, match="dumps returned 'text'; it returns bytes"):
        cache["k"] = [1]
    with pytest.raises(TypeError, match="dumps"):
        Cache("1MiB", codec=object())  # type: ignore[arg-type]


def test_what_other_languages_wrote() -> None:
    c = Store("foreign", "s", 8 << 20)
    with Cache(pool=Pool(name="foreign"), name="s") as cache:
        c.put(b"v8", b"\xff\x0f", type=65)
        c.put(b"app", b"own", type=130)
        c.put(b"text", b"\xff", type=hypercache.TYPE_STRING)
        c.put(b"short", b"12", type=hypercache.TYPE_INT64)
        assert cache["v8"] == b"\xff\x0f" and cache["app"] == b"own"
        for key in ("text", "short"):
            with pytest.raises(ValueError):
                cache[key]
    c.close()


KEYS: list[Any] = ["", "a", "ä", b"", b"a", 0, 1, -1, 2**63 - 1, -(2**63), 2**63, -(2**70), (), (1,), ("1",),
        (b"1",), ((1,),), (1, (2, ("x",))), "1", b"1", "\0", "ÿb"]  # fmt: skip


def test_keys_are_distinct_and_come_back(cache: Cache) -> None:
    for i, key in enumerate(KEYS):
        cache[key] = i
    assert len(cache) == len(KEYS)
    assert {k: v for k, v in cache.items()} == {k: i for i, k in enumerate(KEYS)}
    assert {type(k) for k in cache} == {str, bytes, int, tuple}
    assert cache.get_many(KEYS) == {k: i for i, k in enumerate(KEYS)}
    assert cache[True] == cache[1] and cache[(True,)] == cache[(1,)], "as in a dict"
    assert cache.delete_many(KEYS) == len(KEYS)


def test_only_exact_types_are_keys(cache: Cache) -> None:
    key: Any
    for key in (Colour.RED, Text("t"), numpy.int64(1), 1.0, None, frozenset(), bytearray(b"x")):
        with pytest.raises(TypeError, match="exactly these types"):
            cache[key] = 1
    deep: Any = ()
    for _ in range(40):
        deep = (deep,)
    with pytest.raises(ValueError, match="nests"):
        cache[deep] = 1


def test_a_key_is_the_same_in_c(cache: Cache) -> None:
    c = Store("keys", "s", 8 << 20)
    with Cache(pool=Pool(name="keys"), name="s") as ours:
        ours["user:7"] = "Ada"
        ours[7] = 1
        assert c.get(b"user:7")[2] == b"Ada"
        assert c.get(b"\xffi\x80\0\0\0\0\0\0\x07")[0] == "HC_OK"
        c.put(b"user:8", b"Bob", type=hypercache.TYPE_STRING)
        assert ours["user:8"] == "Bob"
    c.close()


def test_against_a_dict() -> None:
    """Random calls, the same on a dict: what is there is equal, what is gone was evicted."""
    dice = random.Random(7)
    with Cache("2MiB", shards=1) as cache:
        model: dict[Any, Any] = {}
        keys = [*KEYS, *(f"key:{i}" for i in range(300))]
        for _ in range(30_000):
            key = dice.choice(keys)
            match dice.randrange(9):
                case 0 | 1 | 2:
                    value = dice.choice([dice.randbytes(dice.randrange(60_000)), dice.random(), [key]])
                    assert cache.set(key, value)
                    model[key] = value
                case 3 | 4 | 5:
                    found = cache.get(key, model)
                    assert found is model or found == model[key]
                    if found is model:
                        model.pop(key, None)
                case 6:
                    gone = cache.delete(key)
                    assert not gone or key in model
                    model.pop(key, None)
                case 7:
                    done = cache.add(key, 1)
                    if done:
                        model[key] = 1
                    else:
                        assert key in model
                case 8:
                    found = cache.pop(key, model)
                    assert found is model or found == model[key]
                    model.pop(key, None)
        for key, value in cache.items():
            assert model[key] == value
        assert cache.stats().evicted > 0, "the model is to be tried under eviction"
        cache.validate()
