"""The feed as the database has it: posts, edits and deletions in the order in which they were accepted.

The writer stores the journal in its order, so what is read here after a position is never followed by something that
belongs before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from telewarden.messages import Key
from telewarden.storage.database import Database
from telewarden.storage.pool import Connection
from telewarden.storage.rows import us_of
from telewarden.storage.statements import statement
from telewarden_http.v1.feed_protocols import KINDS
from telewarden_http.v1.token import BEGINNING, Position


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the feed. at_us: when it was accepted. row: the message as it is now, for `render_row`, `state_of`;
    None where it is gone with its day."""

    position: Position
    kind: str
    key: Key
    at_us: int
    row: asyncpg.Record | None


class FeedStore:
    """Reads the feed. Its methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        after: Position,
        limit: int,
        channels: Sequence[int] | None = None,
        kinds: Sequence[str] = KINDS,
    ) -> list[Change]:
        """The events after a position, oldest first. channels: of which; None for all that there ever were."""
        async with self._database.reading() as connection:
            return await feed_page(connection, after, limit, channels, kinds)

    async def kept_page(
        self,
        after: Position,
        limit: int,
        channels: Sequence[int] | None = None,
        kinds: Sequence[str] = KINDS,
    ) -> tuple[list[Change], Position]:
        """As `page`, and the floor as it was afterwards: nothing is missing after a position that is not below it."""
        async with self._database.reading() as connection:
            changes = await feed_page(connection, after, limit, channels, kinds)
            return changes, await _floor(connection)

    async def head(self) -> Position:
        """The newest event's position; BEGINNING where there is none."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(statement("feed_head"))
        return Position(row["epoch"], row["position"]) if row is not None else BEGINNING

    async def floor(self) -> Position:
        """The position up to which messages may be gone with their day."""
        async with self._database.reading() as connection:
            return await _floor(connection)


async def _floor(connection: Connection) -> Position:
    row = await connection.fetchrow("select epoch, position from telegram_gateway.feed_floor")
    return Position(row["epoch"], row["position"])


async def feed_page(
    connection: Connection,
    after: Position,
    limit: int,
    channels: Sequence[int] | None = None,
    kinds: Sequence[str] = KINDS,
) -> list[Change]:
    """As FeedStore.page, on a connection that the caller has, in its transaction. Raises what asyncpg raises."""
    arguments: list[object] = [*after, limit, list(kinds)]
    if channels is not None:
        arguments.append([str(channel) for channel in channels])
    rows = await connection.fetch(_ALL if channels is None else _SOME, *arguments)
    return [
        Change(
            Position(row["epoch"], row["position"]),
            row["kind"],
            Key(int(row["of_channel"]), row["of_message"]),
            us_of(row["changed_at"]),
            row if row["id"] is not None else None,
        )
        for row in rows
    ]


_SOME = statement("feed_page").replace("{channels}", "unnest($5::text[]) as wanted (channel_id)")
_ALL = statement("feed_page").replace(
    "{channels}", "(select channel_id from known where channel_id is not null) wanted"
)
