"""What is TimescaleDB's own business, on the server that TELEWARDEN_TEST_POSTGRES_BIN names."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from schema.conftest import NAMED, Server
from telewarden.storage.database import open_database
from telewarden.storage.migrate import check, upgrade

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.timescale,
    pytest.mark.parametrize("postgres", ["named"], indirect=True),
    pytest.mark.skipif(NAMED not in os.environ, reason=f"{NAMED} names no PostgreSQL with TimescaleDB"),
]

CHANNEL = -1001649127710


@pytest.fixture
async def sql(server: Server) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    await upgrade(server.dsn)
    connection = await server.connect()
    if await connection.fetchval("select telegram_gateway.storage_kind()") == "plain":
        await connection.close()
        pytest.skip("this server has no TimescaleDB")
    yield connection
    await connection.close()


async def put(sql: "asyncpg.Connection[asyncpg.Record]", *ages_days: float) -> None:
    for message_id, age_days in enumerate(ages_days, 1):
        at = datetime.now(UTC) - timedelta(days=age_days)
        await sql.execute(
            "insert into telegram_gateway.messages (channel_id, message_id, created_at, received_at) "
            "values ($1, $2, $3, $3)",
            str(CHANNEL),
            message_id,
            at,
        )


async def ids(sql: "asyncpg.Connection[asyncpg.Record]") -> list[int]:
    rows = await sql.fetch("select message_id from telegram_gateway.messages order by 1")
    return [row["message_id"] for row in rows]


@pytest.mark.parametrize("compressed", [False, True])
async def test_days_are_kept_as_long_as_the_setting_says_whether_shorter_or_longer_than_usual(
    server: Server, sql: "asyncpg.Connection[asyncpg.Record]", compressed: bool
) -> None:
    await put(sql, 200, 100, 12, 5, 0)
    if compressed:
        if await sql.fetchval("select telegram_gateway.storage_kind()") != "timescale":
            pytest.skip("the Apache edition does not compress")
        await sql.execute(
            "select compress_chunk(c) from show_chunks('telegram_gateway.messages', older_than => interval '11 days') c"
        )
    async with open_database(server.dsn) as database:
        assert (await database.upkeep(365))[1] == 0
        assert await ids(sql) == [1, 2, 3, 4, 5]
        assert (await database.upkeep(150))[1] == 1
        assert await ids(sql) == [2, 3, 4, 5]
        assert (await database.upkeep(9))[1] == 2
        assert await ids(sql) == [4, 5]


async def test_the_daemons_role_keeps_the_days_and_no_policy_has_another_number(
    server: Server, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await put(sql, 12, 0)
    gateway = await server.connect("telegram")
    await gateway.execute("select telegram_gateway.upkeep(interval '9 days')")
    await gateway.close()
    assert await ids(sql) == [2]
    jobs = await sql.fetch(
        "select proc_name from timescaledb_information.jobs where hypertable_schema = 'telegram_gateway' order by 1"
    )
    assert "policy_retention" not in {row["proc_name"] for row in jobs}


async def test_the_owner_of_what_policies_work_on_may_log_in(
    sql: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """Otherwise TimescaleDB's workers cannot run them."""
    if await sql.fetchval("select telegram_gateway.storage_kind()") != "timescale":
        pytest.skip("the Apache edition has no policies")
    owners = await sql.fetch(
        "select c.relname, r.rolname, r.rolcanlogin from pg_class c join pg_roles r on r.oid = c.relowner "
        "where c.relnamespace = 'telegram_gateway'::regnamespace "
        "and c.relname in ('messages', 'messages_hourly', 'messages_daily')"
    )
    assert {row["rolname"] for row in owners} == {"telegram_owner"}
    assert [row["rolcanlogin"] for row in owners] == [True, True, True]


async def test_the_schema_is_as_expected(server: Server, sql: object) -> None:
    assert await check(server.dsn) == []
