"""How the gateway is, for the HTTP API: in a process that takes in, and in one that only serves."""

from collections.abc import Collection, Sequence
from pathlib import Path

import anyio.to_thread

from telewarden.storage import glance
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.render import render_row
from telewarden.storage.rows import us_of
from telewarden.telegram.intake import TelegramState
from telewarden.telegram.session_status import look_at
from telewarden_http.gateway_protocols import Connection, SessionFacts, Totals
from telewarden_http.protocols import Listing, Unavailable

ONLY_SERVES = "this process only serves; ask the one that takes in (role all), which holds the session"


class ServingGateway:
    """Implements Gateway where nothing is taken in. channel_ids: of which channels messages wait; may change."""

    def __init__(self, database: Database, channel_ids: Collection[int]) -> None:
        self._database, self._channel_ids = database, channel_ids

    def connection(self) -> Connection:
        """Raises Unavailable."""
        raise Unavailable(ONLY_SERVES)

    async def session(self) -> SessionFacts:
        """Raises Unavailable."""
        raise Unavailable(ONLY_SERVES)

    async def queue(self, limit: int, channels: frozenset[str] | None) -> Listing:
        """What waits, as the database has it. Raises Unavailable."""
        served = [str(channel_id) for channel_id in self._channel_ids]
        wanted = [channel for channel in served if channels is None or channel in channels]
        try:
            rows, total = await glance.waiting(self._database, wanted, limit)
        except DatabaseUnavailable as error:
            raise _unavailable(error) from error
        return Listing([render_row(row) for row in rows[:limit]], len(rows) > limit, total)

    async def totals(self, channels: frozenset[str] | None) -> Totals:
        """How many messages the database has. Raises Unavailable."""
        try:
            by_status, is_exact = await glance.totals(self._database, channels)
        except DatabaseUnavailable as error:
            raise _unavailable(error) from error
        return Totals(by_status, is_exact)

    async def recent(self, limit: int, channels: frozenset[str] | None) -> Sequence[bytes]:
        """The newest messages that the database has. Raises Unavailable."""
        try:
            rows = await glance.recent(self._database, channels, limit)
        except DatabaseUnavailable as error:
            raise _unavailable(error) from error
        return [render_row(row) for row in rows]


class IngestGateway(ServingGateway):
    """The same, and what the process that takes in knows."""

    def __init__(
        self,
        database: Database,
        channel_ids: Collection[int],
        telegram: TelegramState,
        session_file: Path,
    ) -> None:
        super().__init__(database, channel_ids)
        self._telegram, self._session_file = telegram, session_file

    def connection(self) -> Connection:
        """To Telegram."""
        telegram = self._telegram
        return Connection(
            telegram.connected,
            telegram.session_loaded,
            us_of(telegram.connected_changed_at),
            telegram.problem,
        )

    async def session(self) -> SessionFacts:
        """What the session's file looks like from outside."""
        status = await anyio.to_thread.run_sync(look_at, self._session_file)
        return SessionFacts(
            exists=status.mode is not None,
            size_bytes=status.size_bytes,
            updated_at_us=None if status.updated_at is None else us_of(status.updated_at),
            hash=status.digest,
            problem=status.problem,
        )


def _unavailable(error: DatabaseUnavailable) -> Unavailable:
    if isinstance(error.__cause__, TimeoutError):
        return Unavailable("the database took too long to look; try again")
    return Unavailable("the database is down, and only it knows; try again")
