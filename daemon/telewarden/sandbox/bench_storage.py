"""The group `storage`: the writer beside a bare COPY, polls by the database beside the bare query, acknowledgements
beside one fsync."""

import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import asyncpg

from telewarden.failpoints import FailPoint
from telewarden.messages import Acknowledged, Content, merge
from telewarden.sandbox.alone import AloneContext
from telewarden.sandbox.figures import Figure
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.timing import ms, p95
from telewarden.storage.acceptance import Channel, Seen
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database, open_database
from telewarden.storage.journal import Journal, open_journal
from telewarden.storage.migrate import upgrade
from telewarden.storage.reader import Reader
from telewarden.storage.rows import MESSAGE_COLUMNS, message_row
from telewarden.storage.statements import statement
from telewarden.workers.writer import Writer
from telewarden_http.protocols import UnprocessedQuery

CHANNEL = -1001649127710
CHANNELS = 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. tables: rows of the tables that are polled, in rising order."""

    written: int = 20_000
    rounds: int = 3
    drained: int = 100_000
    live_per_s: int = 200
    tables: Sequence[int] = (10_000, 100_000, 1_000_000)
    polls: int = 300
    acknowledgements: int = 2_000
    at_once: Sequence[int] = (1, 16, 256)


SIZES = Sizes()


@dataclass(frozen=True, slots=True)
class _Parts:
    """One process's stores, and a bare connection beside them."""

    folder: Path
    bare: "asyncpg.Connection[asyncpg.Record]"
    journal: Journal
    database: Database
    writer: Writer
    reader: Reader


async def measure() -> dict[str, Figure]:
    """All figures of the group."""
    with tempfile.TemporaryDirectory(prefix="telewarden-bench-") as folder:
        # The server may be another user's process.
        Path(folder).chmod(0o711)
        async with EmbeddedPostgres.start(Path(folder) / "postgres") as postgres:
            await upgrade(postgres.dsn)
            figures = await _writing(Path(folder), postgres.dsn)
            figures |= await _acknowledging(Path(folder), postgres.dsn)
            figures |= await _draining(Path(folder), postgres.dsn)
            figures |= await _polling(Path(folder), postgres.dsn)
    return figures


@asynccontextmanager
async def _parts(folder: Path, dsn: str) -> AsyncIterator[_Parts]:
    """With an empty database and a new journal."""
    async with AsyncExitStack() as stack:
        bare = await asyncpg.connect(dsn)
        stack.push_async_callback(bare.close)
        await bare.execute(
            "truncate telegram_gateway.messages, telegram_gateway.message_keys, telegram_gateway.acknowledgements"
        )
        file = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder))) / "journal.sqlite"
        journal = await stack.enter_async_context(open_journal(file, max_bytes=2**30))
        database = await stack.enter_async_context(open_database(dsn))
        for number in range(CHANNELS):
            await journal.open_channel(Channel(CHANNEL - number))
        sync = CacheSync(journal.changed)
        sync.reason = "no cache"
        reader = Reader(
            journal,
            database,
            None,
            sync,
            channel_ids=[CHANNEL - n for n in range(CHANNELS)],
        )
        writer = Writer(journal, database, sync, batch_size=500, batch_age_s=0.05, fail_point=FailPoint(None))
        yield _Parts(folder, bare, journal, database, writer, reader)


def _posts(first: int, count: int) -> list[Seen]:
    date_us = time.time_ns() // 1_000_000_000 * 1_000_000
    return [
        Seen(CHANNEL - n % CHANNELS, n, Content(text=f"BUY PETR4 @ {n} stop 30", telegram_date_us=date_us))
        for n in range(first, first + count)
    ]


async def _fill_journal(journal: Journal, count: int) -> None:
    for first in range(1, count + 1, 500):
        await journal.accept(_posts(first, min(500, count + 1 - first)))


async def _drain(parts: _Parts) -> float:
    """Seconds until the writer has stored everything."""
    began = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(parts.writer.run, AloneContext())
        await parts.journal.changed.wait_until(lambda: not parts.journal.backlog)
        tasks.cancel_scope.cancel()
    return time.perf_counter() - began


async def _writing(folder: Path, dsn: str) -> dict[str, Figure]:
    """Rows a second: the writer from the journal, and a bare COPY of the same rows into the same table."""
    written, copied = [], []
    count = SIZES.written
    for _ in range(SIZES.rounds):
        async with _parts(folder, dsn) as parts:
            await _fill_journal(parts.journal, count)
            states = [merge(None, record.event) for record in parts.journal.tail.after(0)]
            written.append(count / await _drain(parts))
            rows = await parts.bare.fetch("select * from telegram_gateway.messages")
            assert len(rows) == len(states) == count
            await parts.bare.execute("truncate telegram_gateway.messages")
            records = [message_row(state) for state in states]
            began = time.perf_counter()
            await parts.bare.copy_records_to_table(
                "messages", schema_name="telegram_gateway", columns=MESSAGE_COLUMNS, records=records
            )
            copied.append(count / (time.perf_counter() - began))
    return {
        "writer_rows": Figure(
            statistics.median(written), "rows/s", statistics.median(copied), ">=", 0.35, of="ratio"
        )
    }


async def _draining(folder: Path, dsn: str) -> dict[str, Figure]:
    """What an outage left is stored while new posts come in."""
    count = SIZES.drained
    async with _parts(folder, dsn) as parts:
        await _fill_journal(parts.journal, count)
        accepted_ms: list[float] = []

        async def live() -> None:
            packet = max(1, SIZES.live_per_s // 20)
            number = count + 1
            while True:
                began = time.perf_counter()
                await parts.journal.accept(_posts(number, packet))
                accepted_ms.append((time.perf_counter() - began) * 1000)
                number += packet
                await anyio.sleep(max(0.0, packet / SIZES.live_per_s - (time.perf_counter() - began)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live)
            drained_s = await _drain(parts)
            tasks.cancel_scope.cancel()
    return {
        "drain_beside_live": Figure(count / drained_s, "events/s", float(SIZES.live_per_s), ">=", 1000.0),
        "live_accept_p95": Figure(p95(accepted_ms or [0.0]), "ms", await _fsync_p95_ms(folder), "<=", 50.0),
    }


async def _polling(folder: Path, dsn: str) -> dict[str, Figure]:
    """A poll of 100 by the database path, and the bare query, over tables of some sizes."""
    figures = {}
    medians = []
    for count in SIZES.tables:
        async with _parts(folder, dsn) as parts:
            await fill_table(parts.bare, count)
            await parts.database.upkeep(90)
            query = UnprocessedQuery(str(CHANNEL - 3), limit=100, statuses=("received", "queued"))
            page = await parts.reader.unprocessed(query)
            assert page.count == min(100, count // CHANNELS)
            floor = await parts.bare.fetchval(statement("poll_floor"))
            asked = (str(CHANNEL - 3), ["received", "queued"], None, 100, floor)
            polls, bare = await _poll_and_ask(parts, query, asked)
        medians.append(statistics.median(polls))
        figures[f"poll_{count}_rows"] = Figure(
            medians[-1], "ms", statistics.median(bare), "<=", 1.5, of="ratio"
        )
    figures["poll_flat"] = Figure(medians[-1], "ms", medians[0], "<=", 1.5, of="ratio")
    return figures


async def _poll_and_ask(
    parts: _Parts, query: UnprocessedQuery, asked: Sequence[object]
) -> tuple[list[float], list[float]]:
    """Milliseconds of polls, and of the bare query: in turn, so that what else the machine does hits both."""
    polls, bare = [], []
    for _ in range(SIZES.polls):
        polls.append(await ms(lambda: parts.reader.unprocessed(query)))
        bare.append(await ms(lambda: parts.bare.fetch(statement("waiting_open"), *asked)))
    return polls, bare


async def fill_table(bare: "asyncpg.Connection[asyncpg.Record]", count: int, waiting: int = 200) -> None:
    """Rows over the last 30 days, in CHANNELS channels; the newest of each wait, so many."""
    await bare.execute(
        "select telegram_gateway.add_day((now() at time zone 'UTC')::date - n) from generate_series(0, 30) n"
    )
    await bare.execute(
        """
        insert into telegram_gateway.messages
            (channel_id, message_id, status, received_at, created_at, telegram_date, text, published_at)
        select ($1 - g % $3)::text, g,
            case when g > $2 - $4 * $3 then 'received' else 'published' end, at, at, at,
            'BUY PETR4 @ ' || g || ' stop 30', case when g > $2 - $4 * $3 then null else at end
        from (select g, now() - interval '30 days' * ($2 - g) / $2 as at from generate_series(1, $2::bigint) g) s
        """,
        CHANNEL,
        count,
        CHANNELS,
        waiting,
        timeout=600,
    )
    await bare.execute(
        "insert into telegram_gateway.message_keys "
        "select channel_id, message_id, id, created_at, 0, created_at, 0, 0 from telegram_gateway.messages",
        timeout=600,
    )
    await bare.execute("vacuum analyze telegram_gateway.messages, telegram_gateway.message_keys", timeout=600)


async def _acknowledging(folder: Path, dsn: str) -> dict[str, Figure]:
    """One acknowledgement until it is on disk, with some at once, beside one fsync of the same disk."""
    figures = {}
    async with _parts(folder, dsn) as parts:
        for at_once in SIZES.at_once:
            times: list[float] = []

            async def client(number: int, turns: int, times: list[float] = times) -> None:
                for turn in range(turns):
                    event = Acknowledged(CHANNEL, number * 100_000 + turn, "bench", 0)
                    times.append(await ms(lambda event=event: parts.journal.append(lambda _: [event])))  # type: ignore[misc]

            floor = await _fsync_p95_ms(folder)
            async with anyio.create_task_group() as tasks:
                for number in range(at_once):
                    tasks.start_soon(client, number, max(1, SIZES.acknowledgements // at_once))
            floor = max(floor, await _fsync_p95_ms(folder))
            figures[f"acknowledge_p95_{at_once}"] = Figure(p95(times), "ms", floor, "<=", 2.0, of="ratio")
    return figures


async def _fsync_p95_ms(folder: Path) -> float:
    """A 4 KiB page appended and synced, as a commit does."""

    def sync() -> list[float]:
        times = []
        with (folder / "fsync").open("wb", buffering=0) as file:
            for _ in range(200):
                began = time.perf_counter()
                file.write(bytes(4096))
                os.fdatasync(file.fileno())
                times.append((time.perf_counter() - began) * 1000)
        return times

    return p95(await anyio.to_thread.run_sync(sync))
