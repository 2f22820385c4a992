"""What a database really does to a writer, not injected: each is waited for, and nothing is lost or doubled."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest

from support.pipeline import CHANNELS, Pipeline, open_pipeline, post
from support.servers import Servers
from support.told import Told
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden_http.protocols import Source

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
OTHERS = "datname = current_database() and pid <> pg_backend_pid()"


@pytest.fixture
async def sql(servers: Servers) -> AsyncIterator[Sql]:
    connection = await asyncpg.connect(servers.dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def pipeline(tmp_path: Path, servers: Servers) -> AsyncIterator[Pipeline]:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url, statement_timeout_s=1.0) as opened:
        yield opened


async def rows(sql: Sql) -> list[tuple[int, str]]:
    found = await sql.fetch("select message_id, status from telegram_gateway.messages order by message_id")
    return [(row["message_id"], row["status"]) for row in found]


async def until(sql: Sql, condition: str) -> None:
    """Until a query gives something true."""
    with anyio.fail_after(30):
        while not await sql.fetchval(condition):
            await anyio.sleep(0.01)


async def test_a_deadlock(tmp_path: Path, servers: Servers, sql: Sql) -> None:
    told = Told()
    async with (
        open_pipeline(tmp_path, servers.dsn, servers.cache_url) as pipeline,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(pipeline.writer.run, told)
        await pipeline.accept([post(1, "one"), post(2, "two")])
        await pipeline.flushed()
        lock = "select from telegram_gateway.message_keys where message_id = $1 for update"
        # Not this session finds it, but the writer's.
        await sql.execute("set deadlock_timeout = '1h'")
        async with sql.transaction():
            await sql.execute(lock, 2)
            await pipeline.acknowledge(1, 2, channel=CHANNELS[0])
            watcher = await asyncpg.connect(servers.dsn)
            await until(watcher, "select count(*) > 0 from pg_locks where not granted")
            await watcher.close()
            # The writer has locked 1 and waits for 2.
            await sql.execute(lock, 1, timeout=60)
            await told.says("DeadlockDetectedError", times=1)
        await pipeline.flushed()
        tasks.cancel_scope.cancel()
    assert await rows(sql) == [(1, "published"), (2, "published")]
    assert pipeline.writer.poisoned == 0


async def test_a_statement_that_takes_too_long(pipeline: Pipeline, sql: Sql) -> None:
    told = Told()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.writer.run, told)
        async with sql.transaction():
            await sql.execute("lock table telegram_gateway.message_keys in access exclusive mode")
            await pipeline.accept([post(1, "one")])
            await told.says("TimeoutError")
            # The server does not go on with what nobody waits for.
            assert await sql.fetchval("select count(*) from pg_locks where not granted") <= 1
            await pipeline.accept([post(2, "two")])
            assert pipeline.journal.backlog == 2
        await pipeline.flushed()
        tasks.cancel_scope.cancel()
    assert await rows(sql) == [(1, "received"), (2, "received")]


async def test_too_many_connections(tmp_path: Path, servers: Servers, pipeline: Pipeline, sql: Sql) -> None:
    parts = urlsplit(servers.dsn)
    await sql.execute(
        "drop role if exists crowded; create role crowded login password 'a-secret-word' in role telegram"
    )
    dsn = f"postgresql://crowded:a-secret-word@{parts.hostname}:{parts.port}{parts.path}"
    (tmp_path / "crowded").mkdir()
    told = Told()
    async with (
        open_pipeline(tmp_path / "crowded", dsn, servers.cache_url) as crowded,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(crowded.writer.run, told)
        await crowded.accept([post(1, "one")])
        await crowded.flushed()
        await sql.execute("alter role crowded connection limit 0")
        await sql.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {OTHERS}")
        await crowded.accept([post(2, "two")])
        await told.says("TooManyConnectionsError")
        assert await crowded.poll() == (Source.JOURNAL, ["two"])
        await sql.execute("alter role crowded connection limit -1")
        await crowded.flushed()
        tasks.cancel_scope.cancel()
    assert await rows(sql) == [(1, "received"), (2, "received")]
    await sql.execute("drop role crowded")


@pytest.mark.parametrize("how", ["in order", "crash"])
async def test_a_server_that_starts_anew_under_load(
    pipeline: Pipeline, sql: Sql, servers: Servers, postgres: EmbeddedPostgres, how: str
) -> None:
    pipeline.writer.batch_size = 20
    async with pipeline.running("writer"):
        for first in range(1, 1001, 50):
            await pipeline.accept([post(number, f"signal {number}") for number in range(first, first + 50)])
            if first in (301, 601):
                await (postgres.kill() if how == "crash" else postgres.stop())
                await postgres.restart()
        await pipeline.wait_until(lambda: pipeline.journal.backlog == 0, timeout_s=60)
    again = await asyncpg.connect(servers.dsn)
    assert [row[0] for row in await rows(again)] == list(range(1, 1001))
    await again.close()
    assert pipeline.writer.poisoned == 0
