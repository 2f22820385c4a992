"""What operators call channels: kept in the database, whoever takes them in."""

from telewarden_http.gateway_protocols import ChannelChange, ChannelConflict, ChannelKeeper, NewChannel
from telewarden_http.protocols import Unavailable


class ChannelLabels:
    """Reads and sets labels."""

    def __init__(self, keeper: ChannelKeeper) -> None:
        self._keeper = keeper

    async def found(self) -> dict[int, str]:
        """By channel; nothing while the database does not answer."""
        try:
            return await self.all()
        except Unavailable:
            return {}

    async def all(self) -> dict[int, str]:
        """By channel. Raises Unavailable."""
        return {entry.channel_id: entry.label for entry in await self._keeper.channels() if entry.label}

    async def set(self, channel_id: int, label: str | None) -> None:
        """Call a channel so from now on; None for its title. Raises Unavailable."""
        if await self._change(channel_id, label):
            return
        try:
            # It was added a moment ago, and is not written down yet.
            await self._keeper.create(NewChannel(channel_id, label))
        except ChannelConflict:
            await self._change(channel_id, label)

    async def _change(self, channel_id: int, label: str | None) -> bool:
        for entry in await self._keeper.channels():
            if entry.channel_id == channel_id:
                return await self._keeper.change(entry.id, ChannelChange(label=label)) is not None
        return False
