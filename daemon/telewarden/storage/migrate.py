"""Brings a database to the schema that this version needs: alembic over numbered SQL files, in one transaction.

One transaction, so that an upgrade happens whole or not at all, also behind PgBouncer; under an advisory lock, so that
two at once are harmless.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import asyncpg

from telewarden.storage.addresses import Addresses
from telewarden.storage.migrations import text_of

_LOCK = 0x7E1E_0A2D
"""Advisory lock of everybody who upgrades."""
_NAME = re.compile(r"(\d{4})_(\w+)\.up\.sql")


class MigrationError(Exception):
    """The database could not be upgraded, or has a schema that this version does not know."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did. notices: what the server had to say. replaced: rows of an old gateway's table that could not
    be taken as they were, by reason; they are in telegram_gateway.messages_replaced. adopted: how many rows were taken.
    """

    steps: Sequence[Migration]
    notices: Sequence[str] = ()
    replaced: dict[str, int] = field(default_factory=dict)
    adopted: int = 0


def migrations() -> list[Migration]:
    """Every step, in order."""
    found = []
    for file in files("telewarden.storage.migrations").iterdir():
        match = _NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2]))
    return sorted(found, key=lambda migration: migration.number)


HEAD = migrations()[-1].number
"""The schema that this version needs."""


def unfit(found: int | None) -> str | None:
    """Why a database with that schema cannot be used, and what to do; None if it can."""
    if found == HEAD:
        return None
    if found is None:
        return (
            f"the database lacks Telewarden's schema, this version needs {HEAD}; run: telewarden db upgrade"
        )
    if found < HEAD:
        return f"the database has schema {found}, this version needs {HEAD}; run: telewarden db upgrade"
    return (
        f"the database has schema {found}, this version knows up to {HEAD}; use the version that upgraded it, or a "
        "newer one"
    )


async def found_version(connection: Any) -> int | None:
    """The schema's number as the database has it; None for none. Takes any asyncpg connection."""
    if await connection.fetchval("select to_regclass('telegram_gateway.schema_version')::text") is None:
        return None
    found = await connection.fetchval("select version_num from telegram_gateway.schema_version")
    return None if found is None else int(found)


async def current(dsn: str, *, timeout_s: float = 10.0) -> int | None:
    """The number of the schema that the database has; None for none. Raises MigrationError."""
    async with _connected(dsn, timeout_s) as connection:
        return await found_version(connection)


async def check(dsn: str, *, timeout_s: float = 10.0) -> list[str]:
    """How the live schema differs from the one that this version expects, object by object. Raises MigrationError."""
    async with _connected(dsn, timeout_s) as connection:
        reason = unfit(await found_version(connection))
        if reason is not None:
            return [reason]
        kind = await connection.fetchval("select telegram_gateway.storage_kind()")
        live = await catalog(connection)
    expected = _expected()
    if kind != "plain":
        # Their partitions and aggregates are the extension's own objects.
        live, expected = (
            {name: text for name, text in objects.items() if "messages_default" not in name[1]}
            for objects in (live, expected)
        )
        expected = {name: text for name, text in expected.items() if not name[1].endswith("ly_key")}
    found = []
    for name in sorted(live.keys() | expected.keys()):
        has, wants = live.get(name), expected.get(name)
        if has is None:
            found.append(f"{' '.join(name)} is missing; expected: {wants}")
        elif wants is None:
            found.append(f"{' '.join(name)} is not expected: {has}")
        elif has != wants:
            found.append(f"{' '.join(name)} is {has}; expected: {wants}")
    return found


async def catalog(connection: Any) -> dict[tuple[str, str], str]:
    """The schema's objects: (kind, name) to definition."""
    rows = await connection.fetch(text_of("catalog.sql"))
    return {(row["kind"], row["name"]): " ".join(row["definition"].split()) for row in rows}


def catalog_text(objects: dict[tuple[str, str], str]) -> str:
    """What `expected_schema.txt` holds."""
    return "".join(f"{kind}\t{name}\t{text}\n" for (kind, name), text in sorted(objects.items()))


def _expected() -> dict[tuple[str, str], str]:
    rows = (line.split("\t") for line in text_of("expected_schema.txt").splitlines())
    return {(kind, name): text for kind, name, text in rows}


async def upgrade(dsn: str, *, timeout_s: float = 10.0, lock_timeout_s: float = 30.0) -> Upgraded:
    """Apply the steps that are missing. Raises MigrationError.

    timeout_s: for connecting. lock_timeout_s: for another process that upgrades, or holds a lock on a table.
    """

    notices: list[str] = []
    async with _transaction(dsn, timeout_s, lock_timeout_s, notices) as (raw, run):
        before = await _checked_version(raw)
        missing = [step for step in migrations() if step.number > (before or 0)]
        if not missing:
            return Upgraded([])
        await run(lambda command, config: command.upgrade(config, "head"))
        await raw.execute(text_of("roles.sql"))
        replaced: dict[str, int] = {}
        adopted = 0
        if before is None and await raw.fetchval(
            "select to_regclass('telegram_gateway.messages_before')::text"
        ):
            adopted = await raw.fetchval("select count(*) from telegram_gateway.messages")
            rows = await raw.fetch(
                "select reason, count(*) as count from telegram_gateway.messages_replaced group by 1 order by 1"
            )
            replaced = {row["reason"]: row["count"] for row in rows}
    return Upgraded(missing, notices, replaced, adopted)


async def downgrade(dsn: str, number: int, *, timeout_s: float = 10.0, lock_timeout_s: float = 30.0) -> None:
    """Take back the steps after a number; 0 takes back all. What their tables hold is lost. Raises MigrationError."""
    _known(number, least=0)

    async with _transaction(dsn, timeout_s, lock_timeout_s, []) as (raw, run):
        await _checked_version(raw)
        target = f"{number:04}" if number else "base"
        await run(lambda command, config: command.downgrade(config, target))


async def stamp(dsn: str, number: int, *, timeout_s: float = 10.0, lock_timeout_s: float = 30.0) -> None:
    """Say that the database has a schema, changing nothing else. Raises MigrationError."""
    _known(number, least=1)

    async with _transaction(dsn, timeout_s, lock_timeout_s, []) as (_, run):
        await run(lambda command, config: command.stamp(config, f"{number:04}", purge=True))


def _known(number: int, *, least: int) -> None:
    if not least <= number <= HEAD:
        raise MigrationError(f"there is no schema {number}; this version knows {least} to {HEAD}")


async def _checked_version(connection: Any) -> int | None:
    found = await found_version(connection)
    if found is not None and found > HEAD:
        raise MigrationError(str(unfit(found)))
    return found


def _unreachable(error: Exception) -> MigrationError:
    return MigrationError(
        f"the database cannot be reached ({type(error).__name__}: {error}); check database.dsn and that it is up"
    )


@asynccontextmanager
async def _connected(dsn: str, timeout_s: float) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    try:
        connection = await Addresses(dsn).connect(
            timeout_s=timeout_s, command_timeout=timeout_s, statement_cache_size=0
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _unreachable(error) from error
    try:
        yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise MigrationError(f"looking at the schema failed: {error}") from error
    finally:
        connection.terminate()


def _sqlstate(error: Exception) -> str | None:
    """Of an error of the driver, as it is or as SQLAlchemy passes it on."""
    return getattr(getattr(error, "orig", None) or error, "sqlstate", None)


Run = Callable[[Callable[[Any, Any], None]], Awaitable[None]]
"""Runs something with alembic's commands and its configuration, inside the transaction."""


@asynccontextmanager
async def _transaction(
    dsn: str, timeout_s: float, lock_timeout_s: float, notices: list[str]
) -> AsyncIterator[tuple[Any, Run]]:
    """The driver's connection in a transaction that holds the lock, and how alembic gets at it."""
    # Heavy, and of no use to a daemon that does not upgrade.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def connect() -> Any:
        connection = await Addresses(dsn).connect(timeout_s=timeout_s, statement_cache_size=0)
        connection.add_log_listener(lambda _, message: notices.append(str(message.message)))
        return connection

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        try:
            opened = await engine.connect()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError) as error:
            raise _unreachable(error) from error
        try:
            async with opened.begin():
                # The first statement begins the transaction, which what goes to the driver then belongs to.
                await opened.exec_driver_sql(f"set local lock_timeout = {int(lock_timeout_s * 1000)}")
                await opened.exec_driver_sql(f"select pg_advisory_xact_lock({_LOCK})")
                raw = (await opened.get_raw_connection()).driver_connection
                assert raw is not None
                # Asked for first: IF NOT EXISTS needs the right to create it also where it is there.
                if await raw.fetchval("select to_regnamespace('telegram_gateway')::text") is None:
                    await raw.execute("create schema telegram_gateway")

                async def run(apply: Callable[[Any, Any], None]) -> None:
                    def with_config(connection: Any) -> None:
                        config = Config(attributes={"connection": connection})
                        config.set_main_option("script_location", str(files("telewarden.storage.migrations")))
                        config.set_main_option("path_separator", "os")
                        apply(command, config)

                    await opened.run_sync(with_config)

                yield raw, run
        except (asyncpg.LockNotAvailableError, DBAPIError) as error:
            if _sqlstate(error) != asyncpg.LockNotAvailableError.sqlstate:
                raise
            raise MigrationError(
                f"something has held a lock on the database's tables for more than {lock_timeout_s:g} s, maybe "
                "another upgrade: look at pg_stat_activity, end it, and upgrade again; nothing was changed"
            ) from error
        finally:
            await opened.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, DBAPIError) as error:
        # SQLAlchemy's own text would tell its statement, and where to read about it.
        cause = getattr(error, "orig", None) or error
        raise MigrationError(f"changing the schema failed, and nothing was changed: {cause}") from error
    finally:
        await engine.dispose()
