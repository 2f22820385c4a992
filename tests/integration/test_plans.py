"""How the database answers on a million rows over thirty days: by index, and of the days that matter alone."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from telewarden.sandbox.bench_storage import CHANNEL, CHANNELS, fill_table
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.storage import glance
from telewarden.storage.database import open_database
from telewarden.storage.listing import listing
from telewarden.storage.migrate import upgrade
from telewarden.storage.statements import statement
from telewarden_http.protocols import ListQuery

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(300)]

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
ROWS = 1_000_000
WAITING = 200
"""How many wait in each channel."""
NAME = str(CHANNEL - 3)
PAIRS = ([NAME] * 100, list(range(ROWS - 2000, ROWS, 20)))


@pytest.fixture(scope="module")
async def sql(postgres: EmbeddedPostgres) -> AsyncIterator[Sql]:
    """A connection to the filled database; what waits is in the last day or two."""
    await upgrade(postgres.dsn)
    async with open_database(postgres.dsn) as database:
        connection = await asyncpg.connect(postgres.dsn)
        await fill_table(connection, ROWS)
        await database.upkeep(90)
        yield connection
        await connection.close()


async def plan(sql: Sql, name: str, *arguments: object, generic: bool) -> list[dict[str, Any]]:
    """The nodes of a statement's plan, executed; generic: as it is planned once for all arguments."""
    mode = "force_generic_plan" if generic else "force_custom_plan"
    text = statement(name).format(condition="true")
    async with sql.transaction():
        await sql.execute(f"set local plan_cache_mode = {mode}")
        explained = await sql.fetchval("explain (analyze, format json) " + text, *arguments)
    return list(nodes(json.loads(explained)[0]["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def days_touched(found: list[dict[str, Any]]) -> set[str]:
    """The partitions that were looked into, but for those of the days to come."""
    today = f"messages_{datetime.now(UTC):%Y%m%d}"
    return {
        node["Relation Name"]
        for node in found
        if str(node.get("Relation Name", "")).startswith("messages_2")
        and node["Actual Loops"]
        and node["Relation Name"] <= today
    }


def scanned(found: list[dict[str, Any]]) -> set[str]:
    """Tables of messages that were read whole."""
    return {
        node["Relation Name"]
        for node in found
        if node["Node Type"] == "Seq Scan"
        and node["Actual Loops"]
        and "message" in node["Relation Name"]
        # Reading all of an empty partition is reading nothing.
        and node["Actual Rows"] + node.get("Rows Removed by Filter", 0) > 0
    }


async def floor(sql: Sql) -> datetime:
    found: datetime = await sql.fetchval(statement("poll_floor"))
    return found


@pytest.mark.parametrize("limit", [1, 100, 1_000, 10_000])
@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
async def test_a_poll_looks_only_at_what_waits(sql: Sql, limit: int, generic: bool) -> None:
    arguments = (NAME, ["received", "queued"], None, limit, await floor(sql))
    found = await plan(sql, "waiting_open", *arguments, generic=generic)
    assert scanned(found) == set()
    # Of thirty days: those since the floor.
    days = days_touched(found)
    assert 1 <= len(days) <= 4
    rows = await sql.fetch(statement("waiting_open"), *arguments)
    assert {row["poll_floor"] for row in rows} == {arguments[-1]}
    assert len(rows) == min(limit, WAITING)
    # No row is read but those of this channel that wait.
    read = sum(
        node["Actual Rows"] * node["Actual Loops"] for node in found if node.get("Relation Name") in days
    )
    assert read <= WAITING


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
async def test_other_statements_use_indexes(sql: Sql, generic: bool) -> None:
    known = await sql.fetchrow(
        "select id, created_at from telegram_gateway.message_keys where message_id = 5000"
    )
    assert known is not None
    since = await floor(sql)
    for name, arguments in {
        "by_id": (known["id"],),
        "by_keys": PAIRS,
        "states": PAIRS,
        "lock_keys": PAIRS,
        "done": PAIRS,
        "pending_page": (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0), 500, NAME, since),
        "pending_count": ([NAME], since),
        "only_plain": (since,),
        "rows_between": (NAME, ROWS - 2000, ROWS),
        "channel_tops": ([NAME],),
        "channel_bottom": (NAME,),
        "queue": ([NAME, str(CHANNEL)], 50),
        "queue_count": ([NAME, str(CHANNEL)],),
        "totals_waiting": (),
    }.items():
        found = await plan(sql, name, *arguments, generic=generic)
        assert scanned(found) == set(), name
        assert len(days_touched(found)) <= 4, name


SINCE = datetime.now(UTC) - timedelta(hours=6)
TWELVE, ELEVEN = (datetime.now(UTC) - timedelta(days=days) for days in (12, 11))


@pytest.mark.parametrize(
    ("query", "most", "most_counted"),
    [
        (ListQuery(), 500, None),
        (ListQuery(deleted=True, offset=1_000), 2_000, None),
        (ListQuery(channels=(NAME,)), 5_000, 60_000),
        (ListQuery(channels=(NAME,), statuses=("published",)), 15_000, 60_000),
        (ListQuery(statuses=("published",), limit=1_000), 8_000, None),
        (ListQuery(sources=("unknown",)), 500, None),
        (ListQuery(search="PETR4"), 500, None),
        (ListQuery(channels=(NAME,), search="nothing has this"), 60_000, 60_000),
        (ListQuery(message_id=ROWS - 17), 40, 40),
        (ListQuery(channels=(NAME,), message_id=ROWS - 17), 40, 40),
        (ListQuery(channels=(NAME,), statuses=("failed", "reprocess_pending")), 40, 40),
        (ListQuery(sources=("mtproto",)), 40, 40),
        (ListQuery(received_from=SINCE), 20_000, 20_000),
        (ListQuery(received_from=SINCE, search="PETR4 @ 9999"), 20_000, 20_000),
        (ListQuery(channels=(NAME,), received_from=SINCE), 20_000, 20_000),
        (ListQuery(received_from=TWELVE, received_to=ELEVEN), 80_000, 80_000),
    ],
    ids=[
        "all",
        "a later page",
        "channel",
        "channel and status",
        "status",
        "source",
        "search",
        "search in a channel",
        "message",
        "message of a channel",
        "rare statuses",
        "rare source",
        "hours",
        "search in hours",
        "channel's hours",
        "a day",
    ],
)
async def test_a_list_reads_little_more_than_its_page_or_what_its_conditions_leave(
    sql: Sql, query: ListQuery, most: int, most_counted: int | None
) -> None:
    """most_counted: None where counting reads everything, which it may as long as its time allows."""
    asked = listing(query)
    for text, arguments, bound in (
        (asked.page, (*asked.arguments, query.limit + 1, query.offset), most),
        (asked.count, asked.arguments, most_counted),
    ):
        if bound is None:
            continue
        explained = await sql.fetchval("explain (analyze, format json) " + text, *arguments)
        found = list(nodes(json.loads(explained)[0]["Plan"]))
        read = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in found
            if str(node.get("Relation Name", "")).startswith("messages_2")
        )
        assert read <= bound


async def test_a_list_without_conditions_is_answered_in_time_on_a_million_rows(
    sql: Sql, postgres: EmbeddedPostgres
) -> None:
    async with open_database(postgres.dsn) as database:
        rows, total = await database.listed(ListQuery(limit=100))
    assert len(rows) == 101
    assert total in (ROWS, None)
    assert [row["message_id"] for row in rows] == list(range(ROWS, ROWS - 101, -1))


async def test_a_summary_is_known_in_time_on_a_million_rows(sql: Sql, postgres: EmbeddedPostgres) -> None:
    """Counted, or estimated where counting takes too long; what waits is counted either way."""
    async with open_database(postgres.dsn) as database:
        by_status, is_exact = await glance.totals(database, None)
        rows, waiting = await glance.waiting(database, [NAME], 50)
        newest = await glance.recent(database, [NAME], 10)
    published = ROWS - WAITING * CHANNELS
    off = 0 if is_exact else published // 5
    assert abs(by_status["published"] - published) <= off
    assert by_status["received"] == WAITING * CHANNELS
    assert (len(rows), waiting) == (51, WAITING)
    assert [row["message_id"] for row in newest] == sorted(
        (row["message_id"] for row in newest), reverse=True
    )
    assert {row["channel_id"] for row in newest} == {NAME}


async def test_the_newest_are_the_first_of_each_days_index(sql: Sql) -> None:
    found = await plan(sql, "recent", 10, generic=False)
    assert scanned(found) == set()
    read = sum(node["Actual Rows"] * node["Actual Loops"] for node in found if days_touched([node]))
    assert read <= 10 + len(days_touched(found))


async def test_other_statuses_are_found_by_index_whatever_their_age(sql: Sql) -> None:
    found = await plan(sql, "waiting", NAME, ["failed", "reprocess_pending"], None, 100, generic=False)
    assert scanned(found) == set()
