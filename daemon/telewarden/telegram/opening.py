"""Which channels can be read, and where each one's reading begins."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial

import anyio
import structlog

from telewarden.channels import ALL, NOW, date_of
from telewarden.storage.acceptance import Channel
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import Journal
from telewarden.telegram.feed import ChannelClosed, Connection, Flooded, Place, Unreadable
from telewarden.telegram.reading import Asking

log = structlog.get_logger(__name__)

_DATABASE_RETRY_S = 0.5


class ChannelOpener:
    """Gives channels their place in the journal, over one connection.

    start_of: where a new channel's reading begins, see `ChannelSet.start_of`. waits: told again and again why it waits,
    while it does.
    """

    def __init__(
        self,
        connection: Connection,
        asking: Asking,
        journal: Journal,
        database: Database,
        *,
        start_of: Callable[[int], str | int],
        waits: Callable[[str], object],
    ) -> None:
        self._connection, self._asking = connection, asking
        self._journal, self._database = journal, database
        self._start_of, self._waits = start_of, waits

    async def find(self, channel_ids: Sequence[int]) -> tuple[set[int], dict[int, Place]]:
        """The channels that can be read, and how far they are, as far as that is known.

        Where Telegram makes that wait, or answers with something unknown, those that the session knows are asked for.
        Raises Flooded, Unreadable if that is nothing.
        """
        try:
            places = await self._asking.ask("dialogs", None, lambda: self._connection.places(channel_ids))
        except (Flooded, Unreadable) as error:
            readable = self._connection.reachable(channel_ids)
            log.warning("dialogs_not_read", error=str(error))
            if not readable:
                raise
            new = [channel_id for channel_id in readable if channel_id not in self._journal.channels]
            return readable, await self._places(new)
        return set(places), places

    async def _places(self, channel_ids: Sequence[int]) -> dict[int, Place]:
        """How far channels are, asked for one by one; those that Telegram does not tell are left for later."""
        places = {}
        for channel_id in channel_ids:
            pts = partial(self._connection.pts, channel_id)
            newest = partial(self._connection.newest, channel_id, 1)
            with suppress(ChannelClosed, Flooded, Unreadable):
                # The count first: what comes in between is then read twice, not missed.
                reached = await self._asking.ask("full", channel_id, pts)
                shown = await self._asking.ask("history", channel_id, newest)
                places[channel_id] = Place(max((seen.message_id for seen in shown), default=0), reached)
        return places

    async def open(self, channel_ids: Collection[int], places: Mapping[int, Place]) -> set[int]:
        """Give channels that are new to this journal their place; what the database already has is not new.

        Where others can be read meanwhile, a database that is down is not waited for. Returns those that have a place.
        """
        new = [c for c in channel_ids if c not in self._journal.channels and c in places]
        opened = {channel_id for channel_id in channel_ids if channel_id in self._journal.channels}
        if not new:
            return opened
        stored = await self._stored(new, patiently=not opened)
        if stored is None:
            return opened
        for channel_id in new:
            top, known = places[channel_id].top, stored[channel_id]
            try:
                origin = 0 if known else await self._first_origin(channel_id, top)
            except (ChannelClosed, Flooded, Unreadable) as error:
                # It is tried again; the others go on.
                log.warning("channel_not_opened", channel_id=channel_id, error=str(error))
                continue
            # Where reading begins with what comes from now on, nothing before it has to be accounted for.
            pts = places[channel_id].pts if origin == top else 0
            await self._journal.open_channel(
                Channel(channel_id, max(known, origin), top=known, floor=known, origin=origin, pts=pts)
            )
            opened.add(channel_id)
        return opened

    async def _stored(self, channel_ids: Sequence[int], *, patiently: bool) -> Mapping[int, int] | None:
        told = None
        while True:
            try:
                return await self._database.channel_tops(channel_ids)
            except DatabaseUnavailable as error:
                problem = f"this journal is new and must learn from the database where it ended: {error}"
                if problem != told:
                    log.warning("intake_waits_for_the_database", problem=problem)
                if not patiently:
                    return None
                told = problem
                self._waits(problem)
                await anyio.sleep(_DATABASE_RETRY_S)

    async def _first_origin(self, channel_id: int, top: int) -> int:
        """The id up to which a channel that nobody knows is left out."""
        start = self._start_of(channel_id)
        if start == ALL:
            return 0
        if start == NOW or not top:
            return top
        if isinstance(start, str):
            moment_s = date_of(start)
            return await self._asking.ask(
                "history", channel_id, lambda: self._connection.last_before(channel_id, moment_s)
            )
        count = start
        newest = await self._asking.ask(
            "history", channel_id, lambda: self._connection.newest(channel_id, count)
        )
        return min((seen.message_id for seen in newest), default=top + 1) - 1
