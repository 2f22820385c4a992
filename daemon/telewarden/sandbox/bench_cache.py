"""The group `cache`: polls, looks for what was seen, the applier and the warm, beside what bare redis-py takes."""

import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from telewarden.messages import Content, State, merge
from telewarden.sandbox.alone import AloneContext
from telewarden.sandbox.bench_storage import CHANNEL, CHANNELS, fill_table
from telewarden.sandbox.figures import Figure
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.timing import ms, p95
from telewarden.sandbox.valkey import EmbeddedValkey
from telewarden.storage.acceptance import Channel, Seen
from telewarden.storage.cache import Cache, member_of, open_cache
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database, open_database
from telewarden.storage.journal import Journal, open_journal
from telewarden.storage.migrate import upgrade
from telewarden.storage.reader import Reader
from telewarden.storage.render import render
from telewarden.workers.redis import BATCH, RedisWorker
from telewarden.workers.warmer import Warmer
from telewarden_http.protocols import Source, UnprocessedQuery

_CHANNEL_IDS = [CHANNEL - n for n in range(CHANNELS)]
_LEASE_S, _TIMEOUT_S = 3.0, 0.25


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. live_per_s: polls a second beside a warm, for live_s before it."""

    limits: Sequence[int] = (1, 100, 1000)
    polls: int = 1_000
    looks: int = 3_000
    applied: int = 20_000
    rounds: int = 3
    warmed: int = 100_000
    live_per_s: int = 100
    live_s: float = 3.0
    frozen_polls: int = 100


SIZES = Sizes()


@dataclass(frozen=True, slots=True)
class _Parts:
    """One process's stores and workers on empty servers, and bare connections beside them."""

    server: EmbeddedValkey
    bare: "redis.asyncio.Redis"
    sql: "asyncpg.Connection[asyncpg.Record]"
    journal: Journal
    database: Database
    cache: Cache
    sync: CacheSync
    reader: Reader
    worker: RedisWorker
    warmer: Warmer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The workers that keep the cache, meanwhile."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.worker.run, AloneContext())
            tasks.start_soon(self.warmer.run, AloneContext())
            yield
            tasks.cancel_scope.cancel()

    async def trusted(self) -> None:
        """Until the cache answers polls."""
        await self.sync.changed.wait_until(lambda: self.sync.trusted is not None)


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
    return figures


@asynccontextmanager
async def _parts(folder: Path, dsn: str, server: EmbeddedValkey) -> AsyncIterator[_Parts]:
    async with AsyncExitStack() as stack:
        sql = await asyncpg.connect(dsn)
        stack.push_async_callback(sql.close)
        await sql.execute(
            "truncate telegram_gateway.messages, telegram_gateway.message_keys, telegram_gateway.acknowledgements"
        )
        bare = await stack.enter_async_context(_bare(server.url))
        await bare.flushall()
        file = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder))) / "journal.sqlite"
        journal = await stack.enter_async_context(open_journal(file, max_bytes=2**30))
        database = await stack.enter_async_context(open_database(dsn))
        cache = await stack.enter_async_context(open_cache(server.url, timeout_s=_TIMEOUT_S))
        for channel_id in _CHANNEL_IDS:
            await journal.open_channel(Channel(channel_id))
        sync = CacheSync(journal.changed)
        yield _Parts(
            server,
            bare,
            sql,
            journal,
            database,
            cache,
            sync,
            Reader(journal, database, cache, sync, channel_ids=_CHANNEL_IDS),
            RedisWorker(cache, sync, journal, lease_s=_LEASE_S),
            Warmer(cache, sync, journal, database, channel_ids=_CHANNEL_IDS, lease_s=_LEASE_S),
        )


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
    async with _parts(folder, dsn, server) as parts:
        waiting = max(SIZES.limits)
        await fill_table(parts.sql, waiting * CHANNELS, waiting)
        await parts.database.upkeep(90)
        async with parts.running():
            await parts.trusted()
            for limit in SIZES.limits:
                polls, bare = await _polls(parts, limit)
                figures[f"cache_poll_{limit}"] = _beside(polls, bare, 1.0)
            looks, exists = await _looks(parts)
            figures["seen_check"] = _beside(looks, exists, 2.0)
            figures["seen_check_p95"] = Figure(p95(looks), "ms", p95(exists), "<=", 2.0)
            figures["frozen_cache_costs"] = await _frozen(parts)
    return figures


async def _polls(parts: _Parts, limit: int) -> tuple[list[float], list[float]]:
    query = UnprocessedQuery(str(CHANNEL), limit=limit, statuses=("received", "queued"))
    pending, body = f"telegram:pending:{CHANNEL}", f"telegram:msg:{CHANNEL}:".encode()

    async def raw() -> list[bytes]:
        members: Any = await parts.bare.zrange(pending, 0, limit - 1)
        found: Any = await parts.bare.mget([body + member[37:] for member in members])
        return list(found)

    page = await parts.reader.unprocessed(query)
    assert (page.source, page.count) == (Source.CACHE, limit)
    assert b",".join(page.bodies) == b",".join(await raw())
    return await _in_turn(SIZES.polls, lambda: parts.reader.unprocessed(query), raw)


async def _looks(parts: _Parts) -> tuple[list[float], list[float]]:
    """For one message at a time, which the cache knows."""
    oldest: Any = await parts.bare.zrange(f"telegram:pending:{CHANNEL}", 0, 0)
    message_id = int(oldest[0][37:])
    assert await parts.cache.seen(CHANNEL, [message_id]) == {message_id}
    key = f"telegram:dedup:{CHANNEL}:{message_id}"
    return await _in_turn(
        SIZES.looks,
        lambda: parts.reader.seen(str(CHANNEL), [message_id]),
        lambda: parts.bare.exists(key),
    )


async def _frozen(parts: _Parts) -> Figure:
    """What a cache that freezes costs the polls that follow, in all, beside its time-out."""
    query = UnprocessedQuery(str(CHANNEL), limit=100)
    assert (await parts.reader.unprocessed(query)).source is Source.CACHE
    parts.server.suspend()
    try:
        times = [await ms(lambda: parts.reader.unprocessed(query)) for _ in range(SIZES.frozen_polls)]
    finally:
        parts.server.resume()
    # All but the first are answered by the database at once.
    usual_ms = statistics.median(times)
    return Figure(sum(times) - usual_ms * len(times), "ms", _TIMEOUT_S * 1000, "<=", 1.5, of="ratio")


async def _applying(folder: Path, dsn: str, server: EmbeddedValkey) -> dict[str, Figure]:
    """Events a second: the applier from the journal, and the same keys written by bare pipelines."""
    applied, written = [], []
    count = SIZES.applied
    for _ in range(SIZES.rounds):
        async with _parts(folder, dsn, server) as parts:
            for first in range(1, count + 1, 500):
                await parts.journal.accept(_posts(first, min(500, count + 1 - first)))
            parts.sync.connected(await parts.cache.connect())
            parts.sync.begin_warm(0, uuid.uuid4(), plain=True, now_s=time.monotonic())
            began = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(parts.worker.run, AloneContext())
                await parts.sync.changed.wait_until(lambda: parts.sync.applied == parts.journal.head)
                tasks.cancel_scope.cancel()
            applied.append(count / (time.perf_counter() - began))
            keys = await parts.bare.dbsize()
            states = [merge(None, record.event) for record in parts.journal.tail.after(0)]
            rows = [(state, render(state)) for state in states]
            await parts.bare.flushall()
            began = time.perf_counter()
            for first in range(0, count, BATCH):
                await _write(parts.bare, rows[first : first + BATCH])
            written.append(count / (time.perf_counter() - began))
            # The set of channels is the applier's own.
            assert await parts.bare.dbsize() == keys - 1
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
    """A warm of everything that waits, and the polls beside it; before it the database answers them too."""
    async with _parts(folder, dsn, server) as parts:
        await fill_table(parts.sql, SIZES.warmed, SIZES.warmed // CHANNELS)
        await parts.database.upkeep(90)
        before = await _live(parts, lambda: anyio.sleep(SIZES.live_s))
        warm_s = 0.0

        async def warm() -> None:
            nonlocal warm_s
            began = time.perf_counter()
            async with parts.running():
                await parts.trusted()
                warm_s = time.perf_counter() - began

        during = await _live(parts, warm)
        assert await parts.bare.zcard(f"telegram:pending:{CHANNEL}") == SIZES.warmed // CHANNELS
        # As many rows read by the bare driver: no warm can do without.
        began = time.perf_counter()
        await parts.sql.fetch("select * from telegram_gateway.messages where status = 'received'")
        floor_s = time.perf_counter() - began
    return {
        f"warm_{SIZES.warmed}": Figure(warm_s, "s", floor_s, "<=", 10.0),
        "live_polls_p95_beside_a_warm": Figure(p95(during), "ms", p95(before), "<=", 2.0, of="ratio"),
    }


async def _live(parts: _Parts, meanwhile: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds of polls at a steady rate while something goes on, each counted from when it was due."""
    times: list[float] = []

    async def poll(number: int, due_s: float) -> None:
        query = UnprocessedQuery(str(_CHANNEL_IDS[number % CHANNELS]), limit=100)
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
