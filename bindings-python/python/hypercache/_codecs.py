"""How objects that have no type of their own in the cache become bytes."""

import importlib
import json
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from hypercache._errors import CodecError

TYPE_BYTES = 0
"""`bytes`, and what nobody here knows how to decode."""
TYPE_STRING = 1
"""`str`, as UTF-8."""
TYPE_INT64 = 2
"""`int` of 64 bits, little-endian."""
TYPE_FLOAT64 = 3
"""`float`, 8 bytes, little-endian."""
TYPE_BOOL = 4
"""`bool`, one byte, 0 or 1."""
TYPE_NULL = 5
"""`None`, no bytes."""
TYPE_JSON = 6
"""What the codec "json" made, here or in another language."""
TYPE_MSGPACK = 7
"""What the codec "msgpack" made, here or in another language."""
TYPE_PICKLE = 64
"""What the codec "pickle" made: for Python only."""
TYPE_APP = 128
"""The first of the application's own types, which go to 255."""


@runtime_checkable
class Codec(Protocol):
    """Turns objects into bytes and back.

    An int attribute `type_code` from 128 to 255 may say which of the application's types its
    entries carry; else they carry 128.
    """

    def dumps(self, value: Any, /) -> bytes:
        """The object as bytes."""
        ...

    def loads(self, data: bytes, /) -> Any:
        """The object that the bytes were made from."""
        ...


Functions = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]
Parts = tuple[int | None, Callable[[Any], bytes] | None, Callable[[bytes], Any] | None]


def _json_dumps(value: Any) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Lone surrogates: JSON has them only escaped.
        return json.dumps(value, separators=(",", ":")).encode()


def _msgpack() -> Functions:
    try:
        msgpack: Any = importlib.import_module("msgpack")
    except ImportError:
        raise CodecError(
            "msgpack is not installed; it comes with `pip install hypercache[msgpack]`"
        ) from None

    def dumps(value: Any) -> Any:
        try:
            return msgpack.packb(value)
        except UnicodeEncodeError as error:
            raise CodecError(
                f"the value holds {ascii(error.object[error.start])}, half of a character (a lone "
                "surrogate); MessagePack's text is UTF-8, which has none"
            ) from None

    # Keys of maps may be numbers, as those of a dict may.
    return dumps, partial(msgpack.unpackb, strict_map_key=False)


def resolve(codec: str | Codec | None) -> Parts:
    """The type that encoded entries carry, and the two functions."""
    if codec is None:
        return None, None, None
    if codec == "pickle":
        return TYPE_PICKLE, partial(pickle.dumps, protocol=5), pickle.loads
    if codec == "json":
        return TYPE_JSON, _json_dumps, json.loads
    if codec == "msgpack":
        return TYPE_MSGPACK, *_msgpack()
    if isinstance(codec, str):
        raise ValueError(f'codec is {codec!r}; it takes "pickle", "json", "msgpack" or an object')
    if not isinstance(codec, Codec):
        raise TypeError("a codec has dumps(value) -> bytes and loads(data)")
    code = getattr(codec, "type_code", TYPE_APP)
    if not isinstance(code, int) or not TYPE_APP <= code <= 255:
        raise ValueError(f"the codec's type_code is {code!r}; it takes an int from 128 to 255")
    return code, codec.dumps, codec.loads


def decode_foreign(type_code: int, data: bytes) -> Any:
    """An entry that another codec or another language wrote: decoded if that is safe, else bytes."""
    if type_code == TYPE_JSON:
        return json.loads(data)
    if type_code == TYPE_MSGPACK:
        return _msgpack()[1](data)
    return data
