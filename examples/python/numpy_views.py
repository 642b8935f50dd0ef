"""Arrays in a cache, read in place: numpy computes on the cache's own memory, without a copy."""

import numpy as np

from hypercache import Cache

with Cache("256MiB") as cache:
    numbers = np.random.default_rng(7).normal(size=1_000_000)
    cache["normal"] = numbers.tobytes()

    view = cache.view("normal")
    assert view is not None
    with view:
        shown = np.frombuffer(memoryview(view), dtype=np.float64)
        assert shown.mean() == numbers.mean() and not shown.flags.owndata
        print(f"{len(view):,} bytes in place, mean {shown.mean():.4f}")

        # What is shown does not change, whatever happens to the key.
        cache["normal"] = b"something else"
        assert shown[0] == numbers[0]
        held = cache.stats().pinned_bytes
        print(f"while shown, {held >= len(view)}: its memory is held")
        del shown
    print(f"afterwards {cache.stats().pinned_bytes} bytes are held")
