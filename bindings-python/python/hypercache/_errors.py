"""The exceptions of this package.

Each derives from `HyperCacheError` and, where Python has a class for the kind of failure, from that
too. Arguments outside their range are plain `ValueError`s, of the wrong type `TypeError`s.
"""


class HyperCacheError(Exception):
    """The base of this package's own exceptions."""


class ClosedError(HyperCacheError, ValueError):
    """The cache or pool was closed, or destroyed by another holder."""


class ForkedError(HyperCacheError, RuntimeError):
    """The object belongs to the parent process. Open it anew, or ask for after_fork="fresh"."""


class NoSpaceError(HyperCacheError, MemoryError):
    """The byte limit is held by views or raw memory, which cannot be evicted."""


class TooLargeError(HyperCacheError, ValueError):
    """The key or the value could never fit."""


class UnsupportedError(HyperCacheError, NotImplementedError):
    """This release of the library does not have it."""


class CodecError(HyperCacheError, TypeError):
    """The cache's codec cannot take the value, or did not write the entry; or there is no codec."""


class CorruptError(HyperCacheError, ValueError):
    """The file is not one that was saved, whole and unchanged."""


class PoisonedError(HyperCacheError, RuntimeError):
    """Part of the store is out of service after a caught fault, until `clear()`."""


class InternalError(HyperCacheError, RuntimeError):
    """A fault was caught inside the library. Please report it."""


class DeadlockError(HyperCacheError, RuntimeError):
    """The caller would wait for a value that it is itself loading."""


class LoadError(HyperCacheError, RuntimeError):
    """Another caller's load of the value failed just now."""
