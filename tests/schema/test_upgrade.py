"""Upgrading the database: whole or not at all, by several at once, and where something is in the way."""

from pathlib import Path

import anyio
import asyncpg
import pytest

from schema.conftest import Server
from support.operator import telewarden
from telewarden.sandbox.daemon import write_settings
from telewarden.storage import migrate
from telewarden.storage.database import SchemaMissing, open_database
from telewarden.storage.migrate import HEAD, MigrationError, migrations, upgrade

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_several_upgrades_at_once_apply_each_step_once(server: Server) -> None:
    applied: list[int] = []

    async def one() -> None:
        applied.extend(step.number for step in (await upgrade(server.dsn)).steps)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(one)
    assert sorted(applied) == [step.number for step in migrations()]
    assert not (await upgrade(server.dsn)).steps


@pytest.mark.parametrize(
    "lock",
    [
        f"select pg_advisory_xact_lock({0x7E1E_0A2D})",
        "lock table telegram_gateway.schema_version in access exclusive mode",
    ],
)
async def test_what_is_in_the_way_is_told_in_time(server: Server, lock: str) -> None:
    await upgrade(server.dsn)
    holder = await server.connect()
    try:
        await holder.execute("begin")
        await holder.execute(lock)
        with anyio.fail_after(10), pytest.raises(MigrationError, match="pg_stat_activity"):
            await upgrade(server.dsn, lock_timeout_s=0.2)
    finally:
        await holder.close()
    assert not (await upgrade(server.dsn)).steps


async def test_a_connection_that_is_lost_leaves_nothing_half_done(server: Server) -> None:
    holder = await server.connect()
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
                await upgrade(server.dsn)
        assert await migrate.current(server.dsn) is None
    finally:
        await holder.close()


async def test_a_step_that_fails_undoes_all_of_them(server: Server) -> None:
    connection = await server.connect()
    # 0002 will find its table there.
    await connection.execute("create schema telegram_gateway; create table telegram_gateway.epochs (n int)")
    with pytest.raises(MigrationError, match="epochs"):
        await upgrade(server.dsn)
    assert await connection.fetchval("select to_regclass('telegram_gateway.messages')::text") is None
    await connection.execute("drop table telegram_gateway.epochs")
    assert (await upgrade(server.dsn)).steps
    await connection.close()


async def test_down_and_up_again(server: Server) -> None:
    await upgrade(server.dsn)
    for number in range(HEAD - 1, -1, -1):
        await migrate.downgrade(server.dsn, number)
        assert await migrate.current(server.dsn) == (number or None)
    connection = await server.connect()
    left = await connection.fetch(
        "select relname from pg_class where relnamespace = 'telegram_gateway'::regnamespace "
        "and relkind in ('r', 'p', 'm', 'v')"
    )
    assert [row["relname"] for row in left] == ["schema_version"]
    await connection.close()
    await upgrade(server.dsn)
    assert await migrate.check(server.dsn) == []


async def test_an_upgraded_database_is_as_expected_and_what_is_not_is_named(server: Server) -> None:
    await upgrade(server.dsn)
    assert await migrate.check(server.dsn) == []
    connection = await server.connect()
    await connection.execute(
        """
        drop index telegram_gateway.messages_open;
        alter table telegram_gateway.channels add column mine text;
        alter table telegram_gateway.message_keys alter column epoch drop not null;
        create or replace function telegram_gateway.channel_lag() returns table (
            channel_id text, waiting bigint, oldest_waits_s float8, newest_message_id bigint, arrival_lag_s float8
        ) language sql as 'select null::text, null::bigint, null::float8, null::bigint, null::float8';
        grant delete on telegram_gateway.messages to telegram;
        """
    )
    await connection.close()
    differences = await migrate.check(server.dsn)
    assert [line.split(" is ")[0] for line in differences] == [
        "column channels.mine",
        "column message_keys.epoch",
        "function telegram_gateway.channel_lag()",
        "index messages_open",
        "right telegram on messages",
    ]


async def test_a_newer_schema_is_refused_by_everything_that_could_harm_it(server: Server) -> None:
    await upgrade(server.dsn)
    connection = await server.connect()
    await connection.execute("update telegram_gateway.schema_version set version_num = '0099'")
    await connection.close()
    with pytest.raises(MigrationError, match=f"schema 99, this version knows up to {HEAD}"):
        await upgrade(server.dsn)
    with pytest.raises(MigrationError, match="schema 99"):
        await migrate.downgrade(server.dsn, 0)
    async with open_database(server.dsn) as database:
        with pytest.raises(SchemaMissing, match="schema 99") as refused:
            await database.ping()
    assert refused.value.found == 99


async def test_an_older_schema_is_named_with_the_command(server: Server) -> None:
    await upgrade(server.dsn)
    await migrate.stamp(server.dsn, 2)
    async with open_database(server.dsn) as database:
        with pytest.raises(SchemaMissing, match=f"schema 2, this version needs {HEAD}; run: telewarden db"):
            await database.ping()


async def db(folder: Path, dsn: str, *arguments: str) -> tuple[int | None, str]:
    """`telewarden db …`: its exit status and what it says."""
    file = folder / "telewarden.toml"
    write_settings(file, {"telegram": {"api_id": 1, "api_hash": "none"}, "database": {"dsn": dsn}})
    done = await telewarden(folder, "db", *arguments, "--config", str(file))
    return done.returncode, (done.stdout + done.stderr).decode()


async def test_the_commands(server: Server, tmp_path: Path) -> None:
    async def db_(*arguments: str) -> tuple[int | None, str]:
        return await db(tmp_path, server.dsn, *arguments)

    assert await db_("current") == (1, f"the database has schema none, this version needs {HEAD}\n")
    status, text = await db_("upgrade")
    assert (status, "applied 0001 contract" in text) == (0, True)
    assert await db_("upgrade") == (0, "nothing to do: the schema is up to date\n")
    assert await db_("current") == (0, f"the database has schema {HEAD}, this version needs {HEAD}\n")
    assert await db_("check") == (0, "the schema is as expected\n")
    status, text = await db_("downgrade", "3")
    assert (status, "--lose-data" in text) == (2, True)
    assert await db_("downgrade", "3", "--lose-data") == (0, "the database has schema 3\n")
    status, text = await db_("check")
    assert (status, "run: telewarden db upgrade" in text) == (1, True)
    status, text = await db_("stamp", "77")
    assert (status, "there is no schema 77" in text) == (1, True)


async def test_logins_that_are_members_of_a_role_may_do_its_commands_and_no_more(
    server: Server, tmp_path: Path
) -> None:
    await upgrade(server.dsn)
    connection = await server.connect()
    dsns = {}
    for role in ("telegram", "telegram_owner"):
        await connection.execute(
            f"drop role if exists {role}_login; "
            f"create role {role}_login login password 'a-secret-word' in role {role}"
        )
        dsns[role] = f"postgresql://{role}_login:a-secret-word@{server.dsn.rpartition('@')[2]}"
    nothing = "nothing to do: the schema is up to date\n"
    assert await db(tmp_path, dsns["telegram"], "check") == (0, "the schema is as expected\n")
    assert await db(tmp_path, dsns["telegram"], "upgrade") == (0, nothing)
    status, text = await db(tmp_path, dsns["telegram"], "downgrade", str(HEAD - 1), "--lose-data")
    assert (status, "nothing was changed: " in text) == (1, True)
    assert (await db(tmp_path, dsns["telegram_owner"], "downgrade", str(HEAD - 1), "--lose-data"))[0] == 0
    status, text = await db(tmp_path, dsns["telegram_owner"], "upgrade")
    # The server had nothing to say.
    assert (status, [line for line in text.splitlines() if not line.startswith("applied")]) == (0, [])
    assert await db(tmp_path, dsns["telegram"], "check") == (0, "the schema is as expected\n")
    await connection.execute("drop schema telegram_gateway cascade")
    for role in dsns:
        await connection.execute(f"drop role {role}_login")
    await connection.close()


async def test_a_database_that_is_down_is_told_apart_from_a_difference(tmp_path: Path) -> None:
    status, text = await db(tmp_path, "postgresql://nobody:secret-word@127.0.0.1:1/none", "check")
    assert (status, "cannot be reached" in text, "secret-word" in text) == (3, True, False)


async def refused(connection: "asyncpg.Connection[asyncpg.Record]", *statements: str) -> None:
    """Each of them is beyond the role's rights."""
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_roles_may_do_what_they_need_and_nothing_else(server: Server) -> None:
    await upgrade(server.dsn)
    gateway = await server.connect("telegram")
    await gateway.execute(
        "insert into telegram_gateway.messages (channel_id, message_id) values ('-1001', 1);"
        "update telegram_gateway.messages set status = 'published';"
        "insert into telegram_gateway.epochs default values;"
        "insert into telegram_gateway.channels (channel_id) values (-1001);"
        "select telegram_gateway.upkeep(); select telegram_gateway.refresh_rollups()"
    )
    await refused(
        gateway,
        "delete from telegram_gateway.messages",
        "truncate telegram_gateway.messages",
        "drop table telegram_gateway.messages",
        "alter table telegram_gateway.messages add column mine text",
        "create table telegram_gateway.mine (n int)",
        "create index on telegram_gateway.messages (text)",
        "update telegram_gateway.schema_version set version_num = '0001'",
    )
    await gateway.close()
    reader = await server.connect("telegram_reader")
    assert await reader.fetchval("select count(*) from telegram_gateway.messages_hourly") == 1
    assert await reader.fetchval("select count(*) from telegram_gateway.channel_lag()") == 0
    await refused(
        reader,
        "insert into telegram_gateway.channels (channel_id) values (-1002)",
        "update telegram_gateway.messages set text = ''",
        "select telegram_gateway.upkeep()",
        "select telegram_gateway.drop_days(now())",
    )
    await reader.close()
    owner = await server.connect("telegram_owner")
    await owner.execute("alter table telegram_gateway.messages add column mine text")
    await owner.close()
