"""Which channels are served: the process that takes in writes it into the database, those that only serve look."""

from collections.abc import Sequence

import anyio
import structlog

from telewarden.channel_handover import ChannelHandover
from telewarden.channels import LiveIds
from telewarden.storage.channel_table import ChannelTable
from telewarden.storage.database import REFUSED, DatabaseUnavailable
from telewarden.storage.journal_file import JournalError
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""How often the database is looked at, in seconds."""


class ChannelWriter:
    """Carries out what was asked for over HTTP, and writes the served channels into the database whenever they change.

    Nothing of this process depends on it. look_s: how often wishes are looked for, in seconds.
    """

    def __init__(self, handover: ChannelHandover, *, look_s: float = LOOK_S) -> None:
        self._handover, self._look_s = handover, look_s

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        channels = self._handover.channels
        while True:
            ctx.beat()
            try:
                await self._handover.meet()
            except (DatabaseUnavailable, JournalError, *REFUSED) as error:
                ctx.status(f"not written yet: {error}")
                await anyio.sleep(self._look_s)
                continue
            ctx.status(f"{len(channels.served)} channels")
            with anyio.move_on_after(self._look_s):
                await channels.changed.wait_until(lambda: self._handover.is_behind)


class ChannelReader:
    """Looks which channels are served, for a process that takes none in.

    configured: those of its own settings, which are served whatever the database says. served: may be polled.
    """

    def __init__(self, table: ChannelTable, configured: Sequence[int]) -> None:
        self._table = table
        self._configured = tuple(configured)
        self._served = dict.fromkeys(self._configured)
        self.served = LiveIds(lambda: self._served)
        self._labels: dict[int, str] = {}

    def label(self, channel_id: int) -> str:
        """How a channel is called; empty where that is not known."""
        return self._labels.get(channel_id, "")

    def configure(self, configured: Sequence[int]) -> None:
        """The settings name other channels now."""
        gone = set(self._configured).difference(configured)
        self._configured = tuple(configured)
        self._served = dict.fromkeys((*configured, *(c for c in self._served if c not in gone)))

    async def look(self) -> None:
        """Look now. Raises DatabaseUnavailable; then those that were found stay."""
        self._labels = await self._table.served()
        self._served = dict.fromkeys((*self._configured, *self._labels))

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        while True:
            ctx.beat()
            try:
                await self.look()
            except DatabaseUnavailable as error:
                ctx.status(f"not looked: {error}")
            else:
                ctx.status(f"{len(self._served)} channels")
            await anyio.sleep(LOOK_S)
