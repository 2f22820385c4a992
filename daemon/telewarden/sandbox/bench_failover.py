"""Part of the group `cache`: its master is killed under polls, beside a bare client that asks the same Sentinels."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path
from typing import Any

import anyio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from telewarden.sandbox.bench_storage import fill_table
from telewarden.sandbox.cache_parts import CacheParts, open_cache_parts
from telewarden.sandbox.figures import Figure
from telewarden.sandbox.topology import MASTER_NAME, Topology
from telewarden.settings import CacheSettings
from telewarden.stores import configured_cache
from telewarden_http.protocols import Source, Unavailable, UnprocessedQuery

_EVERY_S = 0.02
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. waiting: messages of each channel."""

    kills: int = 3
    waiting: int = 50


SIZES = Sizes()


@dataclass(slots=True)
class _Seen:
    """What was answered, and when it was asked, in seconds of the monotonic clock. polls: also by which source; failed:
    those that failed or left something out; writes: of the bare client."""

    polls: list[tuple[float, Source]] = field(default_factory=list)
    failed: int = 0
    writes: list[float] = field(default_factory=list)


async def measure(folder: Path, dsn: str, channel_ids: Sequence[int]) -> dict[str, Figure]:
    """From the death of the master to the first poll that the cache answers again, and what happens to the others."""
    again, first_writes, failed = [], [], 0
    async with Topology.start(folder / "topology") as topology:
        settings = CacheSettings.model_validate(topology.cache_settings)
        async with open_cache_parts(folder, dsn, configured_cache(settings), channel_ids) as parts:
            await fill_table(parts.sql, SIZES.waiting * len(channel_ids), SIZES.waiting)
            await parts.database.upkeep(90)
            async with parts.running():
                for _ in range(SIZES.kills):
                    await topology.whole()
                    await parts.trusted()
                    cache_s, write_s, failures = await _killed(topology, parts, settings, channel_ids)
                    again.append(cache_s)
                    first_writes.append(write_s)
                    failed += failures
    return {
        "kill_to_cache": Figure(statistics.median(again), "s", statistics.median(first_writes), "<=", 5.0),
        "polls_failed_meanwhile": Figure(float(failed), "polls", 0.0, "<=", 0.0),
    }


async def _killed(
    topology: Topology, parts: CacheParts, settings: CacheSettings, channel_ids: Sequence[int]
) -> tuple[float, float, int]:
    """Seconds until the cache answers again, seconds until a bare client has written, polls that failed."""
    seen = _Seen()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_poll, parts, channel_ids, seen)
        tasks.start_soon(_write, settings, seen)
        with anyio.fail_after(_PATIENCE_S):
            while not (seen.writes and seen.polls and seen.polls[-1][1] is Source.CACHE):
                await anyio.sleep(_EVERY_S)
            master = await topology.master()
            began_s = time.monotonic()
            await master.kill()
            while not (_again(seen.polls, began_s) and _after(seen.writes, began_s)):
                await anyio.sleep(_EVERY_S)
        cache_s, write_s = _again(seen.polls, began_s)[0], _after(seen.writes, began_s)[0]
        tasks.cancel_scope.cancel()
    await master.restart()
    await topology.follow(master)
    return cache_s - began_s, write_s - began_s, seen.failed


def _again(polls: Sequence[tuple[float, Source]], began_s: float) -> list[float]:
    """When the cache answered, after another source had to."""
    since = [poll for poll in polls if poll[0] >= began_s]
    return [
        at_s
        for at_s, source in dropwhile(lambda poll: poll[1] is Source.CACHE, since)
        if source is Source.CACHE
    ]


def _after(writes: Sequence[float], began_s: float) -> list[float]:
    return [at_s for at_s in writes if at_s >= began_s]


async def _poll(parts: CacheParts, channel_ids: Sequence[int], seen: _Seen) -> None:
    number = 0
    while True:
        number += 1
        query = UnprocessedQuery(str(channel_ids[number % len(channel_ids)]), limit=100)
        asked_s = time.monotonic()
        try:
            page = await parts.reader.unprocessed(query)
        except Unavailable:
            seen.failed += 1
        else:
            seen.failed += page.count < SIZES.waiting
            seen.polls.append((asked_s, page.source))
        await anyio.sleep(_EVERY_S)


async def _write(settings: CacheSettings, seen: _Seen) -> None:
    """What redis-py's own Sentinel client needs: no proof, no history, one key."""
    assert settings.url is not None
    assert settings.sentinel_password is not None
    password = dict(parse_url(settings.url.get_secret_value()))["password"]
    bounds: dict[str, Any] = {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        settings.sentinel_addresses,
        sentinel_kwargs={**bounds, "password": settings.sentinel_password.get_secret_value()},
    )
    client = sentinel.master_for(MASTER_NAME, password=password, **bounds)
    try:
        while True:
            asked_s = time.monotonic()
            try:
                await client.set("bare", "1")
            except (RedisError, OSError, TimeoutError):
                # It is down: asked again.
                await anyio.sleep(_EVERY_S)
                continue
            seen.writes.append(asked_s)
            await anyio.sleep(_EVERY_S)
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
            await sentinel.aclose()
