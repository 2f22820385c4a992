"""Reads the newest messages again because somebody asks for it over HTTP."""

from collections.abc import Callable, Sequence

import anyio
import structlog

from telewarden.telegram.feed import ChannelClosed, Flooded, SessionUnusable, TelegramUnavailable
from telewarden.telegram.reading import ChannelReader
from telewarden_http.protocols import SyncedChannel, SyncRequest, Unavailable, UnknownChannel

log = structlog.get_logger(__name__)


class ListenerSynchroniser:
    """Implements Synchroniser. reader: reads over the listener's connection; None while there is none.

    channel_ids: those that are taken in. title: a channel's name, as far as it is known.
    """

    def __init__(
        self,
        reader: Callable[[], ChannelReader | None],
        channel_ids: Callable[[], Sequence[int]],
        title: Callable[[int], str],
    ) -> None:
        self._reader, self._channel_ids, self._title = reader, channel_ids, title

    async def sync(self, request: SyncRequest) -> Sequence[SyncedChannel]:
        """See the protocol. A channel that Telegram makes wait, or does not show, counts as nothing read."""
        known = self._channel_ids()
        wanted = known if request.channels is None else [int(channel) for channel in request.channels]
        for channel_id in wanted:
            if channel_id not in known:
                raise UnknownChannel(f"channel {channel_id} is none that this gateway takes in")
        reader = self._reader()
        if reader is None:
            raise Unavailable("Telegram is not connected; try again later")
        synced: dict[int, SyncedChannel] = {}
        limit = anyio.CapacityLimiter(request.concurrency)

        async def read(channel_id: int) -> None:
            async with limit:
                try:
                    shown, saved = await reader.sync(channel_id, request.limit)
                except (Flooded, ChannelClosed, LookupError) as error:
                    log.warning("channel_not_synchronised", channel_id=channel_id, reason=str(error))
                    shown = saved = 0
                synced[channel_id] = SyncedChannel(str(channel_id), self._title(channel_id), shown, saved)

        lost = False
        try:
            async with anyio.create_task_group() as tasks:
                for channel_id in wanted:
                    tasks.start_soon(read, channel_id)
        except* (TelegramUnavailable, SessionUnusable):
            lost = True
        if lost:
            raise Unavailable("the connection to Telegram was lost; try again later")
        return [synced[channel_id] for channel_id in wanted]
