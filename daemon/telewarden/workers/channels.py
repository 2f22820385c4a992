"""Which channels are served: the process that takes in writes it into the database, those that only serve look."""

from collections.abc import Sequence

import anyio
import structlog

from telewarden.channels import ChannelSet, LiveIds
from telewarden.storage.database import REFUSED, Database, DatabaseUnavailable
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)

_RETRY_S = 2.0
_LOOK_S = 2.0
_BEAT_S = 1.0


class ChannelWriter:
    """Writes the served channels into the database whenever they change. Nothing of this process depends on it."""

    def __init__(self, channels: ChannelSet, database: Database) -> None:
        self._channels, self._database = channels, database
        self._written: tuple[int, ...] | None = None

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        while True:
            ctx.beat()
            served = tuple(self._channels.served)
            if served == self._written:
                with anyio.move_on_after(_BEAT_S):
                    await self._channels.changed.wait()
                continue
            # Also those that were removed while nobody ran.
            known = {*self._channels.known, *(self._written or ())}
            gone = sorted(known.difference(served))
            try:
                await self._database.serve_channels(
                    {channel: self._channels.name_of(channel) for channel in served}, gone
                )
            except (DatabaseUnavailable, *REFUSED) as error:
                ctx.status(f"not written yet: {error}")
                await anyio.sleep(_RETRY_S)
            else:
                self._written = served
                ctx.status(f"{len(served)} channels")


class ChannelReader:
    """Looks which channels are served, for a process that takes none in.

    configured: those of its own settings, which are served whatever the database says. served: may be polled.
    """

    def __init__(self, database: Database, configured: Sequence[int]) -> None:
        self._database = database
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

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        while True:
            ctx.beat()
            try:
                found = await self._database.served_channels()
            except DatabaseUnavailable as error:
                # Those that were found stay.
                ctx.status(f"not looked: {error}")
            else:
                self._served = dict.fromkeys((*self._configured, *found))
                self._labels = found
                ctx.status(f"{len(self._served)} channels")
            await anyio.sleep(_LOOK_S)
