"""What there is in the database at a glance: totals, the newest messages, what waits. Each is bounded in time."""

from collections.abc import Collection, Sequence

import asyncpg

from telewarden.storage.database import Database
from telewarden.storage.pool import Connection
from telewarden.storage.statements import statement

_COUNT_S = 0.5
"""How long counting may take, in seconds."""


async def totals(database: Database, channels: Collection[str] | None) -> tuple[dict[str, int], bool]:
    """How many messages there are by status, of some channels or all, and whether that was counted.

    Where it would take too long, they are estimated from a hundredth; what waits is counted all the same where that is
    quick. Raises DatabaseUnavailable.
    """
    async with database.listing() as connection:
        try:
            return await _by_status(connection, "totals", channels), True
        except TimeoutError:
            estimated = await _by_status(connection, "totals_sampled", channels)
        try:
            waiting = await _by_status(connection, "totals_waiting", channels)
        except TimeoutError:
            return estimated, False
    return estimated | {"received": 0, "queued": 0} | waiting, False


async def recent(database: Database, channels: Collection[str] | None, limit: int) -> list[asyncpg.Record]:
    """The newest messages of some channels or all, the newest first: rows, for `render_row`. Raises
    DatabaseUnavailable."""
    condition, arguments = _among(channels, 2)
    async with database.listing() as connection:
        rows: list[asyncpg.Record] = await connection.fetch(
            statement("recent").format(condition=condition), limit, *arguments, timeout=_COUNT_S * 2
        )
    return rows


async def waiting(
    database: Database, channels: Collection[str], limit: int
) -> tuple[Sequence[asyncpg.Record], int | None]:
    """What waits in some channels, the oldest first, one row more than asked for where there are more; and how many
    wait in all, None where counting takes too long. Raises DatabaseUnavailable."""
    wanted = list(channels)
    async with database.listing() as connection:
        rows: Sequence[asyncpg.Record] = await connection.fetch(
            statement("queue"), wanted, limit + 1, timeout=_COUNT_S * 2
        )
        if len(rows) <= limit:
            return rows, len(rows)
        try:
            return rows, int(await connection.fetchval(statement("queue_count"), wanted, timeout=_COUNT_S))
        except TimeoutError:
            return rows, None


async def _by_status(connection: Connection, name: str, channels: Collection[str] | None) -> dict[str, int]:
    condition, arguments = _among(channels, 1)
    rows = await connection.fetch(statement(name).format(condition=condition), *arguments, timeout=_COUNT_S)
    return {row["status"]: row["count"] for row in rows}


def _among(channels: Collection[str] | None, number: int) -> tuple[str, list[object]]:
    """A condition on messages m, and its argument."""
    if channels is None:
        return "true", []
    return f"m.channel_id = any(${number}::text[])", [list(channels)]
