"""Events that the database refused: looked at, tried again through the ordinary path, or dropped."""

from collections.abc import Sequence

import msgspec

from telewarden.messages import Event, Posted
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal
from telewarden.storage.pool import Connection
from telewarden.storage.statements import statement

ROWS = 100
"""How many are shown at a time."""
_ERROR_CHARS = 300


class PoisonRow(msgspec.Struct, frozen=True):
    """One of them. id: "EPOCH:POSITION". kind: of the event. since: when it was set aside, ISO 8601."""

    id: str
    channel_id: int
    message_id: int
    kind: str
    since: str
    error: str


class NoSuchPoison(Exception):
    """No event with that id waits; the message says which."""


class PoisonShelf:
    """What was set aside and not decided on. Its methods raise DatabaseUnavailable."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database, self._journal = database, journal

    async def count(self) -> int:
        """How many there are."""
        async with self._database.reading() as connection:
            return int(await connection.fetchval(statement("poison_count")))

    async def rows(self) -> tuple[Sequence[PoisonRow], int]:
        """The oldest ones, at most ROWS, and how many there are."""
        async with self._database.writing() as connection:
            total = await connection.fetchval(statement("poison_count"))
            rows = await connection.fetch(statement("poison_list"), ROWS)
        return [
            PoisonRow(
                f"{row['epoch']}:{row['position']}",
                int(row["channel_id"]),
                row["message_id"],
                type(_decode(row["event"])).__name__.lower(),
                row["set_aside_at"].isoformat(timespec="seconds"),
                row["error"][:_ERROR_CHARS],
            )
            for row in rows
        ], total

    async def retry(self, ids: Sequence[str]) -> int:
        """Accept them once more; returns how many. Raises NoSuchPoison (nothing is done), JournalError."""
        async with self._database.writing() as connection, connection.transaction():
            events = [_decode(row["event"]) for row in await self._take(connection, ids, "retried")]
            # Durable before the outcome is: a crash between the two repeats them, which changes nothing.
            if events:
                await self._journal.append(lambda _: [_uncertain(event) for event in events])
        return len(events)

    async def drop(self, ids: Sequence[str]) -> int:
        """They are not tried again; their rows stay. Returns how many. Raises NoSuchPoison (nothing is done)."""
        async with self._database.writing() as connection, connection.transaction():
            return len(await self._take(connection, ids, "dropped"))

    async def _take(
        self, connection: Connection, ids: Sequence[str], outcome: str
    ) -> Sequence[dict[str, bytes]]:
        numbers = [_numbers(name) for name in dict.fromkeys(ids)]
        epochs, positions = [n[0] for n in numbers], [n[1] for n in numbers]
        rows: Sequence[dict[str, bytes]] = await connection.fetch(
            statement("poison_take"), epochs, positions, outcome
        )
        if len(rows) < len(numbers):
            raise NoSuchPoison(
                f"{len(numbers) - len(rows)} of these wait no longer, or never did; see `telewarden poison list`"
            )
        return rows


_decode = msgspec.msgpack.Decoder(Event).decode


def _uncertain(event: Event) -> Event:
    """Whether a post is new is the database's word now."""
    return msgspec.structs.replace(event, new=False) if isinstance(event, Posted) else event


def _numbers(name: str) -> tuple[int, int]:
    epoch, colon, position = name.partition(":")
    if not (colon and epoch.isdecimal() and position.isdecimal()):
        raise NoSuchPoison(f"{name!r} is no id; it is EPOCH:POSITION, as `telewarden poison list` shows it")
    return int(epoch), int(position)
