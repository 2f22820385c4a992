"""Lists of stored messages on a real PostgreSQL, compared with the same choice made in Python."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import msgspec
import pytest

from support.pipeline import Pipeline, open_pipeline
from support.servers import Servers
from telewarden_http.protocols import Listing, ListQuery, Unavailable

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
CHANNELS = ("-1001", "-1002", "-1003")
TEXTS = (
    "BUY PETR4 @ 30",
    "sell vale3",
    "100% sure_thing",
    "100 percent",
    "C:\\signal",
    "Ação comprada",
    None,
)
STATUSES = ("received", "queued", "failed", "published")
SOURCES = ("mtproto", "unknown")
Row = dict[str, Any]


@pytest.fixture
async def pipeline(tmp_path: Path, servers: Servers) -> AsyncIterator[Pipeline]:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url) as opened:
        yield opened


@pytest.fixture
async def sql(servers: Servers) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(servers.dsn)
    yield connection
    await connection.close()


async def fill(sql: "asyncpg.Connection[asyncpg.Record]", random_: random.Random) -> list[Row]:
    """A few hundred rows with all that a list chooses by; equal and missing dates among them."""
    await sql.execute(
        "select telegram_gateway.add_day((now() at time zone 'UTC')::date - n) from generate_series(0, 4) n"
    )
    rows = []
    for number in range(300):
        at = BEGIN + timedelta(minutes=10 * number)
        deleted = random_.random() < 0.1
        row = await sql.fetchrow(
            """
            insert into telegram_gateway.messages
                (channel_id, message_id, status, source, text, caption,
                 received_at, created_at, telegram_date, deleted_at)
            values ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9)
            returning id, channel_id, message_id, status, source, text, caption, received_at, telegram_date, deleted_at
            """,
            random_.choice(CHANNELS),
            number,
            "deleted" if deleted else random_.choice(STATUSES),
            random_.choice(SOURCES),
            random_.choice(TEXTS),
            random_.choice(TEXTS),
            at,
            random_.choice((None, BEGIN, at)),
            at if deleted else None,
        )
        assert row is not None
        rows.append(dict(row))
    return rows


def chosen(rows: Sequence[Row], query: ListQuery) -> list[str]:
    """The ids of all pages, in order."""
    found = [
        row
        for row in rows
        if (not query.channels or row["channel_id"] in query.channels)
        and (query.message_id is None or row["message_id"] == query.message_id)
        and (not query.statuses or row["status"] in query.statuses)
        and (not query.sources or row["source"] in query.sources)
        and (query.received_from is None or row["received_at"] >= query.received_from)
        and (query.received_to is None or row["received_at"] <= query.received_to)
        and (query.deleted or row["deleted_at"] is None)
        and (
            query.search is None
            or any(query.search.lower() in (row[name] or "").lower() for name in ("text", "caption"))
        )
    ]
    sign = -1 if query.newest_first else 1

    def place(row: Row) -> tuple[bool, float, float, int]:
        date = row["telegram_date"]
        return (
            date is None,
            0.0 if date is None else sign * date.timestamp(),
            sign * row["received_at"].timestamp(),
            sign * row["id"].int,
        )

    return [str(row["id"]) for row in sorted(found, key=place)]


def ids(listing: Listing) -> list[str]:
    return [msgspec.json.decode(body)["id"] for body in listing.bodies]


async def test_lists_are_what_was_asked_for(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    random_ = random.Random(7)
    rows = await fill(sql, random_)

    def some(values: Sequence[str]) -> tuple[str, ...]:
        return tuple(random_.sample(values, random_.choice((0, 0, 1, 2))))

    for _ in range(200):
        low = BEGIN + timedelta(minutes=10 * random_.randrange(300))
        query = ListQuery(
            channels=some(CHANNELS),
            message_id=random_.choice((None, None, None, random_.randrange(310))),
            statuses=some(STATUSES),
            sources=some(SOURCES),
            received_from=random_.choice((None, low)),
            received_to=random_.choice((None, low + timedelta(days=1))),
            search=random_.choice(
                (None, None, "petr4", "100%", "sure_", "SELL", "c:\\", "AÇÃO", "nothing has this")
            ),
            deleted=random_.random() < 0.5,
            newest_first=random_.random() < 0.5,
            limit=random_.choice((1, 10, 100, 1000)),
            offset=random_.choice((0, 0, 1, 50, 400)),
        )
        expected = chosen(rows, query)
        listing = await pipeline.reader.listed(query)
        assert ids(listing) == expected[query.offset : query.offset + query.limit], query
        assert listing.more == (query.offset + query.limit < len(expected)), query
        assert listing.total == len(expected), query


async def test_a_list_that_takes_too_long_says_what_to_do_and_no_poll_waits_for_it(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await fill(sql, random.Random(8))
    async with pipeline.running():
        await pipeline.trusted()
    async with sql.transaction():
        await sql.execute("lock table telegram_gateway.messages in access exclusive mode")
        with pytest.raises(Unavailable, match="narrow it"):
            await pipeline.reader.listed(ListQuery())
        # Nothing is said of the polls by that.
        assert not pipeline.database.breaker.failed
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(pipeline.reader.listed, ListQuery(search="PETR4"))
        assert (await pipeline.page()).count == 0


async def test_without_the_database_a_list_says_so(tmp_path: Path, servers: Servers) -> None:
    async with open_pipeline(tmp_path, "postgresql://nobody@127.0.0.1:1/none", servers.cache_url) as pipeline:
        with pytest.raises(Unavailable, match="database is down"):
            await pipeline.reader.listed(ListQuery())
