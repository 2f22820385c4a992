"""Which channels can be read, and where each one's reading begins."""

from collections.abc import Callable, Collection, Mapping, Sequence

import anyio
import structlog

from telewarden.storage.acceptance import Channel
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import Journal
from telewarden.telegram.feed import Connection, Flooded, Place, Unreadable
from telewarden.telegram.reading import Asking

log = structlog.get_logger(__name__)

_DATABASE_RETRY_S = 0.5


class ChannelOpener:
    """Gives channels their place in the journal, over one connection. first_read: see `IntakeSettings`.

    waits: told again and again why it waits, while it does.
    """

    def __init__(
        self,
        connection: Connection,
        asking: Asking,
        journal: Journal,
        database: Database,
        *,
        first_read: str | int,
        waits: Callable[[str], object],
    ) -> None:
        self._connection, self._asking = connection, asking
        self._journal, self._database = journal, database
        self._first_read, self._waits = first_read, waits

    async def find(self, channel_ids: Sequence[int]) -> tuple[set[int], dict[int, Place]]:
        """The channels that can be read, and how far they are, as far as that is known.

        Where Telegram makes that wait, or answers with something unknown, what the session and the journal know serves.
        Raises Flooded, Unreadable if that is nothing.
        """
        try:
            places = await self._asking.ask("dialogs", None, lambda: self._connection.places(channel_ids))
        except (Flooded, Unreadable) as error:
            known = [channel_id for channel_id in channel_ids if channel_id in self._journal.channels]
            readable = self._connection.reachable(known)
            log.warning("dialogs_not_read", error=str(error))
            if not readable:
                raise
            return readable, {}
        return set(places), places

    async def open(self, channel_ids: Collection[int], places: Mapping[int, Place]) -> None:
        """Give channels that are new to this journal their place; what the database already has is not new."""
        new = [channel_id for channel_id in channel_ids if channel_id not in self._journal.channels]
        if not new:
            return
        stored = await self._stored(new)
        for channel_id in new:
            top, known = places[channel_id].top, stored[channel_id]
            origin = 0 if known else await self._first_origin(channel_id, top)
            # Where reading begins with what comes from now on, nothing before it has to be accounted for.
            pts = places[channel_id].pts if origin == top else 0
            await self._journal.open_channel(
                Channel(channel_id, max(known, origin), top=known, floor=known, origin=origin, pts=pts)
            )

    async def _stored(self, channel_ids: Sequence[int]) -> Mapping[int, int]:
        told = None
        while True:
            try:
                return await self._database.channel_tops(channel_ids)
            except DatabaseUnavailable as error:
                problem = f"this journal is new and must learn from the database where it ended: {error}"
                if problem != told:
                    log.warning("intake_waits_for_the_database", problem=problem)
                told = problem
                self._waits(problem)
                await anyio.sleep(_DATABASE_RETRY_S)

    async def _first_origin(self, channel_id: int, top: int) -> int:
        """The id up to which a channel that nobody knows is left out."""
        if self._first_read == "all":
            return 0
        if self._first_read == "now" or not top:
            return top
        count = int(self._first_read)
        newest = await self._asking.ask(
            "history", channel_id, lambda: self._connection.newest(channel_id, count)
        )
        return min((seen.message_id for seen in newest), default=top + 1) - 1
