"""Upgrading the database: by several at once, and where something is in the way."""

import anyio
import asyncpg
import pytest

from support.servers import Servers
from telewarden.storage.migrate import MigrationError, migrations, upgrade

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def anew(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.dsn)
    await connection.execute("drop schema if exists telegram_gateway cascade")
    await connection.close()


async def test_several_upgrades_at_once_apply_each_step_once(servers: Servers) -> None:
    await anew(servers)
    applied: list[int] = []

    async def one() -> None:
        applied.extend(step.number for step in await upgrade(servers.dsn))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(one)
    assert sorted(applied) == [step.number for step in migrations()]
    assert await upgrade(servers.dsn) == []


@pytest.mark.parametrize(
    "lock",
    [
        f"select pg_advisory_lock({0x7E1E_0A2D})",
        "lock table telegram_gateway.schema_migrations in access exclusive mode",
    ],
)
async def test_what_is_in_the_way_is_told_in_time(servers: Servers, lock: str) -> None:
    await upgrade(servers.dsn)
    holder = await asyncpg.connect(servers.dsn)
    try:
        await holder.execute("begin")
        await holder.execute(lock)
        with anyio.fail_after(10), pytest.raises(MigrationError, match="pg_stat_activity"):
            await upgrade(servers.dsn, lock_timeout_s=0.2)
    finally:
        await holder.close()
    assert await upgrade(servers.dsn) == []


async def test_a_connection_that_is_lost_is_an_error_of_the_upgrade(servers: Servers) -> None:
    await upgrade(servers.dsn)
    holder = await asyncpg.connect(servers.dsn)
    try:
        await holder.execute(f"select pg_advisory_lock({0x7E1E_0A2D})")
        async with anyio.create_task_group() as tasks:

            async def end_the_upgrade() -> None:
                ended = 0
                while not ended:
                    ended = await holder.fetchval(
                        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                        "where wait_event_type = 'Lock' and pid <> pg_backend_pid()"
                    )

            tasks.start_soon(end_the_upgrade)
            with anyio.fail_after(10), pytest.raises(MigrationError, match="failed"):
                await upgrade(servers.dsn)
    finally:
        await holder.close()
