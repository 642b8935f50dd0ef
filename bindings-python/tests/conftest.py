"""What the tests share."""

from collections.abc import Iterator

import pytest

from hypercache import Cache


@pytest.fixture
def cache() -> Iterator[Cache]:
    """An empty cache, checked at the end."""
    with Cache("16MiB") as cache:
        yield cache
        cache.validate()
