"""Channels as the administrator's routes have them, in the process that takes in."""

from collections.abc import Callable, Mapping

import msgspec

from telewarden.channel_admin import ChannelAdmin, ChannelRow, NotConnected
from telewarden.channel_labels import ChannelLabels
from telewarden.channels import ChannelRefused, ChannelSet, Intake, check_start
from telewarden.metrics import NewestPost
from telewarden.serving_channels import unknown
from telewarden.storage.journal_file import JournalError
from telewarden.telegram.feed import Flooded, SessionUnusable, TelegramUnavailable, Unreadable
from telewarden.telegram.references import BadReference, parse_reference
from telewarden_http.errors import BadRequest
from telewarden_http.protocols import Unavailable
from telewarden_http.v1.administration_protocols import ChannelPatch, Conflict, NewChannel, NotThere
from telewarden_http.v1.overview_protocols import ChannelView
from telewarden_http.wire import iso_ms

_NOT_NOW = (NotConnected, Flooded, TelegramUnavailable, SessionUnusable, Unreadable, JournalError)


class IngestChannels:
    """Implements ChannelSwitch. newest: each channel's newest post, as far as one came. waiting: how many messages of a
    channel wait; None where that is not known."""

    def __init__(
        self,
        admin: ChannelAdmin,
        channels: ChannelSet,
        labels: ChannelLabels,
        newest: Mapping[int, NewestPost],
        waiting: Callable[[int], int | None],
    ) -> None:
        self._admin, self._channels, self._labels = admin, channels, labels
        self._newest, self._waiting = newest, waiting

    async def channels(self) -> list[ChannelView]:
        """See the protocol."""
        return self.views(await self._labels.found())

    def views(self, labels: Mapping[int, str]) -> list[ChannelView]:
        """Every channel. labels: what operators call some of them."""
        return [self._view(row, labels.get(row.channel_id)) for row in self._admin.rows()]

    async def add(self, wanted: NewChannel) -> tuple[ChannelView, bool]:
        """See the protocol."""
        try:
            parse_reference(wanted.channel)
            check_start(wanted.start)
        except (BadReference, ChannelRefused, ValueError) as error:
            raise BadRequest(str(error)) from error
        before = set(self._channels.served)
        try:
            row = await self._admin.add(wanted.channel, start=wanted.start, join=wanted.join)
        except _NOT_NOW as error:
            raise Unavailable(str(error)) from error
        except ChannelRefused as error:
            raise Conflict(str(error)) from error
        if wanted.label is not msgspec.UNSET:
            await self._labels.set(row.channel_id, wanted.label)
        return await self._shown(row), row.channel_id not in before

    async def change(self, channel: str, patch: ChannelPatch) -> ChannelView:
        """See the protocol."""
        if patch.active is msgspec.UNSET and patch.label is msgspec.UNSET:
            raise BadRequest('There is nothing to change: send "active", "label", or both')
        channel_id = self._served(channel)
        # First what may fail for want of the database.
        if patch.label is not msgspec.UNSET:
            await self._labels.set(channel_id, patch.label)
        try:
            if patch.active is not msgspec.UNSET:
                await self._admin.pause(str(channel_id), paused=not patch.active)
            row = self._admin.row(channel_id)
        except ChannelRefused as error:
            raise NotThere(str(error)) from error
        except JournalError as error:
            raise Unavailable(str(error)) from error
        return await self._shown(row)

    async def remove(self, channel: str) -> None:
        """See the protocol."""
        try:
            await self._admin.remove(str(self._served(channel)))
        except ChannelRefused as error:
            raise Conflict(str(error)) from error
        except JournalError as error:
            raise Unavailable(str(error)) from error

    def _served(self, channel: str) -> int:
        for channel_id in self._channels.served:
            if str(channel_id) == channel:
                return channel_id
        raise unknown(channel)

    async def _shown(self, row: ChannelRow) -> ChannelView:
        return self._view(row, (await self._labels.found()).get(row.channel_id))

    def _view(self, row: ChannelRow, label: str | None) -> ChannelView:
        channel_id = row.channel_id
        newest = self._newest.get(channel_id)
        is_known = row.top > 0 or row.reached > 0
        is_active = (
            channel_id in self._channels.served and self._channels.intake_of(channel_id) is Intake.TAKEN_IN
        )
        # Of a channel that is followed ids may be missing for good, which no checkpoint waits for.
        is_read = is_active and row.is_settled
        return ChannelView(
            channel=str(channel_id),
            label=label or row.title,
            title=row.title,
            name=row.name,
            active=is_active,
            state=row.state,
            source=row.source,
            origin=str(row.origin),
            checkpoint=str(row.reached) if is_known else None,
            top=str(row.top) if is_known else None,
            behind=0 if is_read else max(0, row.top - row.reached) if is_known else None,
            waiting=self._waiting(channel_id),
            last_message_at=None if newest is None else iso_ms(newest.at_us),
            lag_ms=None if newest is None else round(newest.lag_s * 1000),
        )
