"""A web handler that many call at once: one of them asks the database, the others wait for it."""

import asyncio
import time

from hypercache import Cache

cache = Cache("64MiB", name="web")
asked = 0


@cache.memoize(ttl=30, jitter=0.1, stale=60, key=lambda number: f"user:{number}")
async def load_user(number: int) -> dict[str, object]:
    """What the database knows of a user; slow."""
    global asked
    asked += 1
    await asyncio.sleep(0.05)
    return {"number": number, "name": f"user {number}"}


async def handler(path: str) -> str:
    """Answers a request such as /user/7."""
    user = await load_user(int(path.rpartition("/")[2]))
    return f"<h1>{user['name']}</h1>"


async def main() -> None:
    """A stampede: a thousand requests for the same page of a cold cache."""
    start = time.perf_counter()
    pages = await asyncio.gather(*(handler("/user/7") for _ in range(1000)))
    took = time.perf_counter() - start
    assert set(pages) == {"<h1>user 7</h1>"}
    assert asked == 1, "one caller asked the database"
    print(f"{len(pages)} requests, {asked} query, {'less' if took < 5 else 'more'} than 5 s")
    print(f"user:7 is {cache['user:7']}, for other languages too under that key")

    # The user has changed: the next request asks anew.
    load_user.cache_delete(7)
    await handler("/user/7")
    print(f"after the change: {asked} queries; {load_user.cache_info()}")


asyncio.run(main())
