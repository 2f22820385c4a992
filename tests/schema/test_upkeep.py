"""Days made ahead and dropped in time, roll-ups, and the time that polls begin from."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import anyio
import asyncpg
import pytest

from schema.conftest import Server
from telewarden.storage.database import Database, open_database
from telewarden.storage.migrate import upgrade

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CHANNEL = -1001649127710
NOW = datetime.now(UTC)


@pytest.fixture
async def sql(server: Server) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    await upgrade(server.dsn)
    connection = await server.connect()
    if await connection.fetchval("select telegram_gateway.storage_kind()") != "plain":
        await connection.close()
        pytest.skip("TimescaleDB does this by itself")
    yield connection
    await connection.close()


@pytest.fixture
async def database(server: Server, sql: object) -> AsyncIterator[Database]:
    async with open_database(server.dsn) as opened:
        yield opened


async def put(
    sql: "asyncpg.Connection[asyncpg.Record]", message_id: int, age_days: float, status: str = "received"
) -> None:
    await sql.execute(
        "insert into telegram_gateway.messages (channel_id, message_id, status, created_at, received_at) "
        "values ($1, $2, $3, $4, $4)",
        str(CHANNEL),
        message_id,
        status,
        at(message_id, age_days),
    )


def at(message_id: int, age_days: float) -> datetime:
    """When it came in; no two at once."""
    return NOW - timedelta(days=age_days) + timedelta(microseconds=message_id)


async def days(sql: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    rows = await sql.fetch(
        "select tableoid::regclass::text as day, count(*) as count from telegram_gateway.messages "
        "group by 1 order by 1"
    )
    return {row["day"].removeprefix("telegram_gateway."): row["count"] for row in rows}


def day(age_days: float) -> str:
    return f"messages_{NOW - timedelta(days=age_days):%Y%m%d}"


async def waiting(database: Database) -> list[int]:
    rows = await database.waiting(CHANNEL, ["received", "queued"], None, 1000)
    return [row["message_id"] for row in rows]


async def test_rows_of_days_that_nobody_made_get_their_days(
    sql: "asyncpg.Connection[asyncpg.Record]", database: Database
) -> None:
    for message_id, age_days in enumerate((40, 40, 3, 0, 200), 1):
        await put(sql, message_id, age_days)
    assert await days(sql) == {"messages_default": 4, day(0): 1}
    assert await waiting(database) == [5, 1, 2, 3, 4]
    made, _, floor = await database.upkeep(90)
    # What is older than what is kept is gone; all else is where it belongs, and still waits.
    assert made == 2
    assert await days(sql) == {day(40): 2, day(3): 1, day(0): 1}
    assert floor == at(1, 40)
    assert await waiting(database) == [1, 2, 3, 4]
    assert (await database.upkeep(90))[:2] == (0, 0)


async def test_old_days_go_and_nothing_else_does(
    sql: "asyncpg.Connection[asyncpg.Record]", database: Database
) -> None:
    for message_id, age_days in enumerate((12, 10.5, 2, 0), 1):
        await put(sql, message_id, age_days)
    await database.upkeep(90)
    before = await sql.fetch("select * from telegram_gateway.messages where message_id > 2 order by id")
    dropped = (await database.upkeep(9))[1]
    assert dropped == len({day(12), day(10.5)})
    assert await sql.fetch("select * from telegram_gateway.messages order by id") == before
    # A key outlives its row: what Telegram shows again is not taken for new.
    made = await sql.fetchval("select to_regclass($1)::text", f"telegram_gateway.{day(12)}")
    assert made is None


async def test_a_message_that_begins_to_wait_again_is_found_whatever_its_age(
    sql: "asyncpg.Connection[asyncpg.Record]", database: Database
) -> None:
    for message_id, age_days in enumerate((30, 20, 1), 1):
        await put(sql, message_id, age_days, "published")
    assert (await database.upkeep(90))[2] > NOW - timedelta(days=4)
    await sql.execute("update telegram_gateway.messages set status = 'received' where message_id = 2")
    assert await waiting(database) == [2]
    await put(sql, 4, 25, "queued")
    assert await waiting(database) == [4, 2]
    assert (await database.upkeep(90))[2] == at(4, 25)
    assert await waiting(database) == [4, 2]
    await sql.execute("update telegram_gateway.messages set status = 'published'")
    assert (await database.upkeep(90))[2] > NOW - timedelta(days=4)


async def test_an_old_message_stored_while_upkeep_moves_on_is_not_passed_over(
    server: Server, sql: "asyncpg.Connection[asyncpg.Record]", database: Database
) -> None:
    await put(sql, 1, 30, "published")
    await sql.execute("update telegram_gateway.poll_floor set floor = '-infinity'")
    mover, writer = await server.connect(), await server.connect()
    try:
        moving = mover.transaction()
        await moving.start()
        await mover.execute("select telegram_gateway.move_poll_floor()")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(put, writer, 2, 30)
            with anyio.fail_after(10):
                while not await sql.fetchval("select count(*) from pg_locks where not granted"):
                    await anyio.sleep(0.01)
            # The writer waits for it, and then lowers what it set.
            await moving.commit()
        assert await waiting(database) == [2]
    finally:
        await mover.close()
        await writer.close()


async def test_polls_and_writers_go_on_while_days_are_made(
    server: Server, sql: "asyncpg.Connection[asyncpg.Record]", database: Database
) -> None:
    await put(sql, 1, 5)
    writer = await server.connect()
    writing = writer.transaction()
    await writing.start()
    try:
        await put(writer, 2, 0)
        # The writer's transaction is open; a day of the past is made all the same.
        with anyio.fail_after(10):
            assert (await database.upkeep(90))[0] == 1
        assert await waiting(database) == [1]
        await writing.commit()
    finally:
        await writer.close()
    assert await waiting(database) == [1, 2]


async def test_roll_ups_count_what_there_is(
    sql: "asyncpg.Connection[asyncpg.Record]", database: Database
) -> None:
    for message_id in range(1, 5):
        await put(sql, message_id, 1)
    await sql.execute(
        "update telegram_gateway.messages set status = 'published', published_at = received_at + interval '3 s' "
        "where message_id <= 2"
    )
    assert await database.refresh_rollups()
    (total,) = await sql.fetch("select * from telegram_gateway.messages_daily")
    assert (total["messages"], total["published"], total["success_rate"]) == (4, 2, 0.5)
    assert (total["latency_avg_s"], total["latency_min_s"], total["latency_max_s"]) == (3.0, 3.0, 3.0)
    hours = await sql.fetch("select status, messages from telegram_gateway.messages_hourly order by status")
    assert [tuple(row) for row in hours] == [("published", 2), ("received", 2)]


async def test_the_helper_functions(sql: "asyncpg.Connection[asyncpg.Record]") -> None:
    for message_id in range(1, 4):
        await put(sql, message_id, 0.01 * message_id)
    await sql.execute(
        "update telegram_gateway.messages set status = 'published', published_at = received_at + interval '2 s' "
        "where message_id = 3"
    )
    await sql.execute(
        "insert into telegram_gateway.message_keys "
        "select channel_id, message_id, id, created_at, 0, created_at, 1, message_id from telegram_gateway.messages"
    )
    rows = await sql.fetch("select message_id from telegram_gateway.unprocessed($1, 10)", str(CHANNEL))
    assert [row["message_id"] for row in rows] == [2, 1]
    statistics = await sql.fetch(
        "select * from telegram_gateway.channel_statistics($1) order by status", str(CHANNEL)
    )
    assert [(row["status"], row["messages"], row["latency_p95_s"]) for row in statistics] == [
        ("published", 1, 2.0),
        ("received", 2, None),
    ]
    (lag,) = await sql.fetch("select * from telegram_gateway.channel_lag()")
    assert (lag["channel_id"], lag["waiting"], lag["newest_message_id"]) == (str(CHANNEL), 2, 3)
    assert lag["oldest_waits_s"] > 0.019 * 86400
