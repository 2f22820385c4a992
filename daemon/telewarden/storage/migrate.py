"""Brings a database to the schema that this version needs: numbered SQL files, each in a transaction, under a lock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

_LOCK = 0x7E1E_0A2D
"""Advisory lock of everybody who upgrades: two processes at once are harmless."""
_NAME = re.compile(r"(\d{4})_(\w+)\.up\.sql")


class MigrationError(Exception):
    """The database could not be upgraded, or has a schema that this version does not know."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step. text: its SQL."""

    number: int
    name: str
    text: str


def migrations() -> list[Migration]:
    """Every step, in order."""
    found = []
    for file in files("telewarden.storage").joinpath("migrations").iterdir():
        match = _NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def upgrade(dsn: str, *, timeout_s: float = 10.0, lock_timeout_s: float = 30.0) -> list[Migration]:
    """Apply the steps that are missing; returns them. Raises MigrationError.

    timeout_s: for connecting. lock_timeout_s: for another process that upgrades, or holds a lock on a table.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=timeout_s, statement_cache_size=0)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MigrationError(
            f"the database cannot be reached to upgrade it ({error}); check database.dsn and that it is up"
        ) from error
    try:
        await connection.execute(f"set lock_timeout = {int(lock_timeout_s * 1000)}")
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
        return await _upgrade(connection)
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(
            f"something has held a lock on the database's tables for more than {lock_timeout_s:g} s, maybe another "
            "upgrade: look at pg_stat_activity, end it, and upgrade again; nothing further was changed"
        ) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise MigrationError(f"the upgrade failed and changed nothing further: {error}") from error
    finally:
        connection.terminate()


async def _upgrade(connection: asyncpg.Connection[asyncpg.Record]) -> list[Migration]:
    await connection.execute("create schema if not exists telegram_gateway")
    await connection.execute(
        "create table if not exists telegram_gateway.schema_migrations "
        "(number integer primary key, name text not null, applied_at timestamptz not null default now())"
    )
    rows = await connection.fetch("select number from telegram_gateway.schema_migrations")
    done = {row["number"] for row in rows}
    steps = migrations()
    unknown = done - {step.number for step in steps}
    if unknown:
        raise MigrationError(
            f"the database has schema {max(unknown)}, this version knows up to {steps[-1].number}; "
            "use the version that upgraded it"
        )
    missing = [step for step in steps if step.number not in done]
    for step in missing:
        async with connection.transaction():
            await connection.execute(step.text)
            await connection.execute(
                "insert into telegram_gateway.schema_migrations (number, name) values ($1, $2)",
                step.number,
                step.name,
            )
    return missing
