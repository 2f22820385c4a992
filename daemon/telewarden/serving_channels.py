"""Channels as the administrator's routes have them, in a process that only serves: by way of the database, where the
process that takes in finds what is wanted."""

from collections.abc import Collection, Sequence

import msgspec

from telewarden_http.errors import BadRequest
from telewarden_http.gateway_protocols import ChannelChange, ChannelEntry, ChannelKeeper
from telewarden_http.gateway_protocols import NewChannel as NewEntry
from telewarden_http.v1.administration_protocols import ChannelPatch, NewChannel, NotThere, OnlyServes
from telewarden_http.v1.overview_protocols import ChannelView


class ServingChannels:
    """Implements ChannelSwitch. served: ids of those that may be polled here."""

    def __init__(self, keeper: ChannelKeeper, served: Collection[int]) -> None:
        self._keeper, self._served = keeper, served

    async def channels(self) -> Sequence[ChannelView]:
        """See the protocol."""
        return [self._view(entry) for entry in await self._keeper.channels() if self._is_shown(entry)]

    async def add(self, wanted: NewChannel) -> tuple[ChannelView, bool]:
        """See the protocol. Raises OnlyServes for what only Telegram or the journal can answer."""
        text = wanted.channel.strip()
        number = text.removeprefix("-")
        if not (number.isascii() and number.isdecimal() and len(number) < 19):
            raise OnlyServes(f"Telegram has to be asked what {text[:60]!r} is")
        if wanted.start != "now" or wanted.join:
            raise OnlyServes('"start" and "join" are for the process that holds the session')
        label = None if wanted.label is msgspec.UNSET else wanted.label
        for entry in await self._keeper.channels():
            if entry.channel_id == int(text):
                return await self._change(entry, ChannelChange(is_active=True)), False
        return self._view(await self._keeper.create(NewEntry(int(text), label))), True

    async def change(self, channel: str, patch: ChannelPatch) -> ChannelView:
        """See the protocol."""
        if patch.active is msgspec.UNSET and patch.label is msgspec.UNSET:
            raise BadRequest('There is nothing to change: send "active", "label", or both')
        return await self._change(
            await self._entry(channel), ChannelChange(label=patch.label, is_active=patch.active)
        )

    async def remove(self, channel: str) -> None:
        """See the protocol."""
        await self._keeper.remove((await self._entry(channel)).id)

    async def _change(self, entry: ChannelEntry, change: ChannelChange) -> ChannelView:
        changed = await self._keeper.change(entry.id, change)
        if changed is None:
            raise unknown(str(entry.channel_id))
        return self._view(changed)

    async def _entry(self, channel: str) -> ChannelEntry:
        for entry in await self._keeper.channels():
            if str(entry.channel_id) == channel and self._is_shown(entry):
                return entry
        raise unknown(channel)

    def _is_shown(self, entry: ChannelEntry) -> bool:
        return entry.is_active or entry.channel_id in self._served

    def _view(self, entry: ChannelEntry) -> ChannelView:
        channel = str(entry.channel_id)
        if not entry.is_active:
            state = "paused"
        elif entry.channel_id in self._served:
            state = "served here"
        else:
            state = "waits for the process that takes in"
        return ChannelView(
            channel=channel,
            label=entry.label or channel,
            title=entry.label or channel,
            name="",
            active=entry.is_active,
            state=state,
            source=None,
            origin=None,
            checkpoint=None,
            top=None,
            behind=None,
            waiting=None,
            last_message_at=None,
            lag_ms=None,
        )


def unknown(channel: str) -> NotThere:
    """A path names no channel that is served."""
    return NotThere(
        f"{channel[:40]!r} is none of the channels; GET /v1/admin/channels lists them by their ids"
    )
