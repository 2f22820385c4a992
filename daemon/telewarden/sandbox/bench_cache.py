"""The group `cache`: polls, looks for what was seen, the applier and the warm, beside what bare redis-py takes."""

import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from telewarden.messages import Content, State, merge
from telewarden.sandbox import bench_failover
from telewarden.sandbox.alone import AloneContext
from telewarden.sandbox.bench_storage import CHANNEL, CHANNELS, fill_table
from telewarden.sandbox.cache_parts import CacheParts, open_cache_parts
from telewarden.sandbox.figures import Figure
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.timing import ms, p95
from telewarden.sandbox.valkey import EmbeddedValkey
from telewarden.storage.acceptance import Seen
from telewarden.storage.cache import member_of, open_cache
from telewarden.storage.migrate import upgrade
from telewarden.storage.render import render
from telewarden.workers.redis import BATCH
from telewarden_http.protocols import Source, UnprocessedQuery

CHANNEL_IDS = [CHANNEL - n for n in range(CHANNELS)]
_TIMEOUT_S = 0.25


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. live_per_s: polls a second beside a warm, for live_s before it."""

    limits: Sequence[int] = (1, 100, 1000)
    polls: int = 1_000
    looks: int = 3_000
    applied: int = 20_000
    rounds: int = 3
    warmed: int = 100_000
    live_per_s: int = 20
    live_s: float = 5.0
    frozen_polls: int = 100


SIZES = Sizes()


async def measure() -> dict[str, Figure]:
    """All figures of the group."""
    with tempfile.TemporaryDirectory(prefix="telewarden-bench-") as name:
        folder = Path(name)
        # The servers may be another user's processes.
        folder.chmod(0o711)
        async with (
            EmbeddedPostgres.start(folder / "postgres") as postgres,
            EmbeddedValkey.start(folder / "valkey") as valkey,
        ):
            await upgrade(postgres.dsn)
            figures = await _polling(folder, postgres.dsn, valkey)
            figures |= await _applying(folder, postgres.dsn, valkey)
            figures |= await _warming(folder, postgres.dsn, valkey)
            figures |= await bench_failover.measure(folder, postgres.dsn, CHANNEL_IDS)
    return figures


@asynccontextmanager
async def _opened(
    folder: Path, dsn: str, server: EmbeddedValkey
) -> "AsyncIterator[tuple[CacheParts, redis.asyncio.Redis]]":
    """The parts on empty servers, and a bare client of the cache beside them."""
    async with _bare(server.url) as bare:
        await bare.flushall()
        async with open_cache_parts(
            folder, dsn, open_cache(server.url, timeout_s=_TIMEOUT_S), CHANNEL_IDS
        ) as parts:
            yield parts, bare


def _bare(url: str) -> "redis.asyncio.Redis":
    """redis-py with the kind of pool that the cache has."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url, socket_timeout=10.0, retry=Retry(NoBackoff(), 0), max_connections=32
    )
    return redis.asyncio.Redis.from_pool(pool)


async def _polling(folder: Path, dsn: str, server: EmbeddedValkey) -> dict[str, Figure]:
    """Polls by the cache beside ZRANGE and MGET of the same; looks for what was seen beside EXISTS; then the cache
    freezes."""
    figures = {}
    async with _opened(folder, dsn, server) as (parts, bare):
        waiting = max(SIZES.limits)
        await fill_table(parts.sql, waiting * CHANNELS, waiting)
        await parts.database.upkeep(90)
        async with parts.running():
            await parts.trusted()
            for limit in SIZES.limits:
                polls, raw = await _polls(parts, bare, limit)
                figures[f"cache_poll_{limit}"] = _beside(polls, raw, 1.0)
            looks, exists = await _looks(parts, bare)
            figures["seen_check"] = _beside(looks, exists, 2.0)
            figures["seen_check_p95"] = Figure(p95(looks), "ms", p95(exists), "<=", 2.0)
            figures["frozen_cache_costs"] = await _frozen(parts, server)
    return figures


async def _polls(
    parts: CacheParts, bare: "redis.asyncio.Redis", limit: int
) -> tuple[list[float], list[float]]:
    query = UnprocessedQuery(str(CHANNEL), limit=limit, statuses=("received", "queued"))
    pending, body = f"telegram:pending:{CHANNEL}", f"telegram:msg:{CHANNEL}:".encode()

    async def raw() -> list[bytes]:
        members: Any = await bare.zrange(pending, 0, limit - 1)
        found: Any = await bare.mget([body + member[37:] for member in members])
        return list(found)

    page = await parts.reader.unprocessed(query)
    assert (page.source, page.count) == (Source.CACHE, limit)
    assert b",".join(page.bodies) == b",".join(await raw())
    return await _in_turn(SIZES.polls, lambda: parts.reader.unprocessed(query), raw)


async def _looks(parts: CacheParts, bare: "redis.asyncio.Redis") -> tuple[list[float], list[float]]:
    """For one message at a time, which the cache knows."""
    oldest: Any = await bare.zrange(f"telegram:pending:{CHANNEL}", 0, 0)
    message_id = int(oldest[0][37:])
    assert await parts.cache.seen(CHANNEL, [message_id]) == {message_id}
    key = f"telegram:dedup:{CHANNEL}:{message_id}"
    return await _in_turn(
        SIZES.looks,
        lambda: parts.reader.seen(str(CHANNEL), [message_id]),
        lambda: bare.exists(key),
    )


async def _frozen(parts: CacheParts, server: EmbeddedValkey) -> Figure:
    """How long the polls that follow wait for a cache that freezes, in all, beside its time-out."""
    query = UnprocessedQuery(str(CHANNEL), limit=100)
    assert (await parts.reader.unprocessed(query)).source is Source.CACHE
    server.suspend()
    try:
        times = [await ms(lambda: parts.reader.unprocessed(query)) for _ in range(SIZES.frozen_polls)]
    finally:
        server.resume()
    # The others are answered by the database at once.
    waited_ms = sum(taken_ms for taken_ms in times if taken_ms > _TIMEOUT_S * 1000 / 2)
    return Figure(waited_ms, "ms", _TIMEOUT_S * 1000, "<=", 1.5, of="ratio")


async def _applying(folder: Path, dsn: str, server: EmbeddedValkey) -> dict[str, Figure]:
    """Events a second: the applier from the journal, and the same keys written by bare pipelines."""
    applied, written = [], []
    count = SIZES.applied
    for _ in range(SIZES.rounds):
        async with _opened(folder, dsn, server) as (parts, bare):
            for first in range(1, count + 1, 500):
                await parts.journal.accept(_posts(first, min(500, count + 1 - first)))
            parts.sync.connected(await parts.cache.connect())
            warm = parts.sync.begin_warm(0, uuid.uuid4(), plain=True, now_s=time.monotonic())
            await parts.cache.clear(warm.mark.text)
            began = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(parts.worker.run, AloneContext())
                await parts.sync.changed.wait_until(lambda: parts.sync.applied == parts.journal.head)
                tasks.cancel_scope.cancel()
            applied.append(count / (time.perf_counter() - began))
            states = [merge(None, record.event) for record in parts.journal.tail.after(0)]
            rows = [(state, render(state)) for state in states]
            await bare.flushall()
            began = time.perf_counter()
            for first in range(0, count, BATCH):
                await _write(bare, rows[first : first + BATCH])
            written.append(count / (time.perf_counter() - began))
    return {
        "applier_events": Figure(
            statistics.median(applied), "events/s", statistics.median(written), ">=", 0.5, of="ratio"
        )
    }


def _posts(first: int, count: int) -> list[Seen]:
    date_us = time.time_ns() // 1_000_000_000 * 1_000_000
    return [
        Seen(CHANNEL - n % CHANNELS, n, Content(text=f"BUY PETR4 @ {n} stop 30", telegram_date_us=date_us))
        for n in range(first, first + count)
    ]


async def _write(bare: "redis.asyncio.Redis", rows: Sequence[tuple[State, bytes]]) -> None:
    pipeline = bare.pipeline(transaction=False)
    for state, body in rows:
        assert state.content is not None
        channel, message = state.channel_id, state.message_id
        pipeline.zadd(f"telegram:pending:{channel}", {member_of(state): state.received_at_us or 0})
        pipeline.set(f"telegram:msg:{channel}:{message}", body, ex=3600)
        pipeline.set(f"telegram:dedup:{channel}:{message}", "1", ex=7200)
        date_ms = (state.content.telegram_date_us or 0) // 1000
        pipeline.zadd(f"telegram:channel:{channel}:recent", {str(message): date_ms})
    await pipeline.execute()


async def _warming(folder: Path, dsn: str, server: EmbeddedValkey) -> dict[str, Figure]:
    """A warm of everything that waits; then another one beside polls, which the database answers before it too."""
    async with _opened(folder, dsn, server) as (parts, bare):
        await fill_table(parts.sql, SIZES.warmed, SIZES.warmed // CHANNELS)
        await parts.database.upkeep(90)

        async def warm() -> None:
            async with parts.running():
                await parts.trusted()

        alone_ms = await ms(warm)
        assert await bare.zcard(f"telegram:pending:{CHANNEL}") == SIZES.warmed // CHANNELS
        # As many rows read by the bare driver: no warm can do without.
        read_ms = await ms(
            lambda: parts.sql.fetch("select * from telegram_gateway.messages where status = 'received'")
        )
        parts.sync.distrust("to be warmed once more")
        before = await _live(parts, lambda: anyio.sleep(SIZES.live_s))
        during = await _live(parts, warm)
    return {
        f"warm_{SIZES.warmed}": Figure(alone_ms / 1000, "s", read_ms / 1000, "<=", 10.0),
        "live_polls_p95_beside_a_warm": Figure(p95(during), "ms", p95(before), "<=", 2.0, of="ratio"),
    }


async def _live(parts: CacheParts, meanwhile: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds of polls at a steady rate while something goes on, each counted from when it was due."""
    times: list[float] = []

    async def poll(number: int, due_s: float) -> None:
        query = UnprocessedQuery(str(CHANNEL_IDS[number % CHANNELS]), limit=100)
        await parts.reader.unprocessed(query)
        times.append((time.perf_counter() - due_s) * 1000)

    async def polls() -> None:
        began, number = time.perf_counter(), 0
        async with anyio.create_task_group() as at_once:
            while True:
                due_s = began + number / SIZES.live_per_s
                await anyio.sleep(max(0.0, due_s - time.perf_counter()))
                at_once.start_soon(poll, number, due_s)
                number += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(polls)
        await meanwhile()
        tasks.cancel_scope.cancel()
    return times or [0.0]


def _beside(ours: Sequence[float], bare: Sequence[float], goal: float) -> Figure:
    return Figure(statistics.median(ours), "ms", statistics.median(bare), "<=", goal, of="ratio")


async def _in_turn(
    count: int, ours: Callable[[], Awaitable[object]], bare: Callable[[], Awaitable[object]]
) -> tuple[list[float], list[float]]:
    """Milliseconds of each: in turn, so that what else the machine does hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        times[0].append(await ms(ours))
        times[1].append(await ms(bare))
    return times
