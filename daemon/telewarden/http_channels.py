"""The channels for the HTTP API: kept in the database, and brought to where they are taken in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from telewarden.storage.channel_table import ChannelTable
from telewarden.storage.database import REFUSED, DatabaseUnavailable
from telewarden.storage.journal_file import JournalError
from telewarden_http.gateway_protocols import ChannelChange, ChannelEntry, NewChannel
from telewarden_http.protocols import Unavailable

log = structlog.get_logger(__name__)


class HttpChannels:
    """Implements ChannelKeeper. after: has a change take effect in this process; if that fails, the worker `channels`
    goes on with it. May raise DatabaseUnavailable, JournalError."""

    def __init__(self, table: ChannelTable, after: Callable[[], Awaitable[None]]) -> None:
        self._table, self._after = table, after

    async def channels(self) -> list[ChannelEntry]:
        """All of them. Raises Unavailable."""
        async with _told():
            return await self._table.channels()

    async def channel(self, row_id: int) -> ChannelEntry | None:
        """One of them. Raises Unavailable."""
        async with _told():
            return await self._table.channel(row_id)

    async def create(self, wanted: NewChannel) -> ChannelEntry:
        """A new one. Raises ChannelConflict, Unavailable."""
        async with _told():
            created = await self._table.create(wanted)
        await self._take_effect()
        return created

    async def change(self, row_id: int, change: ChannelChange) -> ChannelEntry | None:
        """Change one. Raises ChannelConflict, Unavailable."""
        async with _told():
            changed = await self._table.change(row_id, change)
        await self._take_effect()
        return changed

    async def remove(self, row_id: int) -> ChannelEntry | None:
        """Remove one. Raises ChannelConflict, Unavailable."""
        async with _told():
            removed = await self._table.remove(row_id)
        await self._take_effect()
        return removed

    async def _take_effect(self) -> None:
        try:
            await self._after()
        except (DatabaseUnavailable, JournalError, *REFUSED) as error:
            log.warning("channels_not_told_yet", reason=str(error), effect="it is tried again")


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    try:
        yield
    except DatabaseUnavailable as error:
        raise Unavailable(f"channels are kept in the database, and {error}; try again") from error
