"""The channels as the database has them: what operators see and change over HTTP, and how the process that takes in
lets others know of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import asyncpg
from msgspec import UNSET

from telewarden.storage.database import Database
from telewarden.storage.rows import us_of
from telewarden.storage.statements import statement
from telewarden_http.gateway_protocols import ChannelChange, ChannelConflict, ChannelEntry, NewChannel


class Wanted(Enum):
    """What may be wanted of a channel."""

    TAKEN_IN = "taken in"
    PAUSED = "paused"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asked for of a channel. number: a later wish of the same channel has a higher one. label: what
    the channel was called; may be empty."""

    channel_id: int
    wanted: Wanted
    number: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Intake:
    """How the process that takes in has a served channel. name: empty where not known."""

    name: str
    is_taken_in: bool
    is_configured: bool


class ChannelTable:
    """The tables `channels` and `channel_intake`. Its methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def channels(self) -> list[ChannelEntry]:
        """All of them, by row id."""
        async with self._database.reading() as connection:
            return [_entry(row) for row in await connection.fetch(statement("channel_rows"), None)]

    async def channel(self, row_id: int) -> ChannelEntry | None:
        """One of them."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(statement("channel_rows"), row_id)
        return None if row is None else _entry(row)

    async def create(self, wanted: NewChannel) -> ChannelEntry:
        """A new one, and the wish to take it in. Raises ChannelConflict."""
        async with self._database.writing() as connection, connection.transaction():
            await connection.execute(statement("channel_lock"))
            row = await connection.fetchrow(
                statement("channel_create"),
                wanted.channel_id,
                wanted.label,
                wanted.description,
                wanted.is_active,
            )
            if row is None:
                raise ChannelConflict(
                    f"The channel {wanted.channel_id} is there already; GET /api/channels shows it, PUT changes it"
                )
            if wanted.is_active:
                await connection.execute(statement("channel_wish"), wanted.channel_id, Wanted.TAKEN_IN.value)
        return _entry(row)

    async def change(self, row_id: int, change: ChannelChange) -> ChannelEntry | None:
        """Change one, and wish that it is taken in or not. Raises ChannelConflict."""
        async with self._database.writing() as connection, connection.transaction():
            await connection.execute(statement("channel_lock"))
            row = await connection.fetchrow(statement("channel_rows"), row_id)
            if row is None:
                return None
            was = _entry(row)
            if change.channel_id not in (UNSET, was.channel_id):
                raise ChannelConflict(
                    f"The channel id of {row_id} is {was.channel_id} and cannot be changed; create another channel"
                )
            is_active = was.is_active if change.is_active is UNSET else change.is_active
            changed = await connection.fetchrow(
                statement("channel_change"),
                row_id,
                was.label if change.label is UNSET else change.label,
                was.description if change.description is UNSET else change.description,
                is_active,
            )
            if change.is_active is not UNSET:
                wanted = Wanted.TAKEN_IN if is_active else Wanted.PAUSED
                await connection.execute(statement("channel_wish"), was.channel_id, wanted.value)
        assert changed is not None
        return _entry(changed)

    async def remove(self, row_id: int) -> ChannelEntry | None:
        """Remove one, and wish that it is neither taken in nor served. Raises ChannelConflict for the settings' own."""
        async with self._database.writing() as connection, connection.transaction():
            await connection.execute(statement("channel_lock"))
            row = await connection.fetchrow(statement("channel_rows"), row_id)
            if row is None:
                return None
            removed = _entry(row)
            if await connection.fetchval(statement("channel_is_configured"), removed.channel_id):
                raise ChannelConflict(
                    f"The channel {removed.channel_id} stands in the settings (telegram.channels): remove it there and "
                    "reload, or set isActive to false"
                )
            await connection.execute("select telegram_gateway.remove_channel($1)", row_id)
            await connection.execute(statement("channel_wish"), removed.channel_id, Wanted.REMOVED.value)
        return removed

    async def served(self) -> dict[int, str]:
        """Which channels may be polled, and how they are called; empty where that is not known."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(statement("served_channels"))
        return {row["channel_id"]: row["label"] for row in rows}

    async def wishes(self) -> list[Wish]:
        """What is still to be done by the process that takes in."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(statement("channel_wishes"))
        return [Wish(row["channel_id"], Wanted(row["wanted"]), row["wish"], row["label"]) for row in rows]

    async def added(self) -> dict[int, Intake]:
        """The channels that were added to those of the settings, as they were written down."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(statement("channels_added"))
        return {
            row["channel_id"]: Intake(row["label"], row["is_active"], is_configured=False) for row in rows
        }

    async def settle(self, done: Sequence[Wish], served: Mapping[int, Intake]) -> list[int]:
        """Write down that these wishes are done, and which channels are served now.

        Returns the channels that were active here and are not taken in.
        """
        ids, intakes = list(served), list(served.values())
        async with self._database.writing() as connection, connection.transaction():
            await connection.execute(statement("channel_lock"))
            await connection.execute(
                statement("channel_wishes_done"),
                [wish.channel_id for wish in done],
                [wish.number for wish in done],
            )
            await connection.execute(
                statement("channel_intake"), ids, [intake.is_configured for intake in intakes]
            )
            await connection.execute(
                statement("channels_active"),
                ids,
                [intake.name for intake in intakes],
                [intake.is_taken_in for intake in intakes],
            )
            rows = await connection.fetch(statement("channels_inactive"), ids)
        return [row["channel_id"] for row in rows]


def _entry(row: asyncpg.Record) -> ChannelEntry:
    return ChannelEntry(
        row["id"],
        row["channel_id"],
        row["label"],
        row["description"],
        row["is_active"],
        us_of(row["created_at"]),
        us_of(row["updated_at"]),
    )
