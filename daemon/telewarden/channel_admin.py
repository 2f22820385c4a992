"""What an operator does with channels while the daemon runs: list, add, remove, pause, and look what there is."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress

import anyio
import msgspec
import structlog

from telewarden.channels import ChannelRefused, ChannelSet, Intake, check_start
from telewarden.storage.journal import Journal
from telewarden.telegram.feed import ChannelClosed, ChannelNotFound, Connection, Found
from telewarden.telegram.intake import TelegramState
from telewarden.telegram.reading import Asking
from telewarden.telegram.references import BadReference, ById, parse_reference
from telewarden.workers.listener import Listener

log = structlog.get_logger(__name__)

_LOOK_S = 0.5


class NotConnected(ChannelRefused):
    """Telegram has to be asked, and is not connected; the message says why."""


class ChannelRow(msgspec.Struct, frozen=True):
    """A channel as an operator sees it.

    state: how it is, in words. source: "settings" or "added". reached, top: message ids, up to which it is read and the
    newest known; origin: ids up to it are not taken in. is_settled: nothing is going to change by itself soon.
    """

    channel_id: int
    title: str
    name: str
    state: str
    source: str
    origin: int
    reached: int
    top: int
    is_settled: bool


class ChannelAdmin:
    """Acts on the channels of one daemon. lost_cache: told that the cache may lack what a channel has stored."""

    def __init__(
        self,
        channels: ChannelSet,
        listener: Listener,
        journal: Journal,
        state: TelegramState,
        lost_cache: Callable[[str], object],
    ) -> None:
        self._channels, self._listener, self._journal = channels, listener, journal
        self._state, self._lost_cache = state, lost_cache

    def rows(self) -> list[ChannelRow]:
        """Every channel."""
        return [self.row(channel_id) for channel_id in self._channels.served]

    async def dialogs(self) -> list[Found]:
        """Every channel and group that the account is in. Raises ChannelRefused, and what a Connection raises."""
        connection, asking = self._connection()
        return await asking.ask("dialogs", None, connection.dialogs)

    async def add(self, reference: str, *, start: str, join: bool) -> ChannelRow:
        """Take a channel in. Raises ChannelRefused, JournalError, and what a Connection raises."""
        start = check_start(start)
        try:
            wanted = parse_reference(reference)
        except BadReference as error:
            raise ChannelRefused(str(error)) from error
        if isinstance(wanted, ById) and wanted.channel_id in self._channels.served:
            return self.row(wanted.channel_id)
        connection, asking = self._connection()
        try:
            found = await asking.ask("resolve", None, lambda: connection.resolve(wanted, join=join))
        except (ChannelNotFound, ChannelClosed) as error:
            raise ChannelRefused(f"{reference}: {error}") from error
        if await self._channels.add(found.channel_id, found.title, start):
            log.info("channel_added", channel_id=found.channel_id, title=found.title, start=start)
            # The database may hold messages of it that wait; the cache was filled without them.
            self._lost_cache(f"channel {found.channel_id} was added")
        return self.row(found.channel_id)

    async def remove(self, reference: str) -> int:
        """Take a channel in no more. Returns its id. Raises ChannelRefused, JournalError."""
        channel_id = self.served(reference)
        await self._channels.remove(channel_id)
        log.info("channel_removed", channel_id=channel_id)
        return channel_id

    async def pause(self, reference: str, *, paused: bool) -> ChannelRow:
        """Stop or go on taking a channel in. Raises ChannelRefused, JournalError."""
        channel_id = self.served(reference)
        await self._channels.pause(channel_id, paused=paused)
        log.info("channel_paused" if paused else "channel_resumed", channel_id=channel_id)
        return self.row(channel_id)

    async def watch(self, channel_id: int) -> AsyncGenerator[ChannelRow, None]:
        """How a channel is, again and again, until it is settled or removed."""
        while channel_id in self._channels.served:
            row = self.row(channel_id)
            yield row
            if row.is_settled:
                return
            with anyio.move_on_after(_LOOK_S):
                await self._journal.changed.wait()

    def _connection(self) -> tuple[Connection, Asking]:
        if self._listener.asking is None:
            raise NotConnected(
                f"Telegram is not connected ({self._state.problem or 'being connected'}); try again when it is"
            )
        return self._listener.asking

    def served(self, reference: str) -> int:
        """The id of one of the channels, by what an operator calls it. Raises ChannelRefused."""
        text = reference.strip()
        with suppress(BadReference):
            wanted = parse_reference(text)
            if isinstance(wanted, ById):
                if wanted.channel_id in self._channels.served:
                    return wanted.channel_id
                raise ChannelRefused(f"{text} is none of the channels; `telewarden channels list` shows them")
        return _called(self.rows(), text).channel_id

    def row(self, channel_id: int) -> ChannelRow:
        """One of them. Raises ChannelRefused for one that is not served."""
        place = self._journal.channels.get(channel_id)
        state, is_settled = self._state_of(channel_id)
        told = self._listener.place(channel_id)
        top = max(place.top, told.top) if place else told.top
        return ChannelRow(
            channel_id,
            told.title or self._channels.name_of(channel_id) or str(channel_id),
            told.name,
            state,
            "settings" if self._channels.is_configured(channel_id) else "added",
            place.origin if place else 0,
            place.checkpoint if place else 0,
            top,
            is_settled,
        )

    def _state_of(self, channel_id: int) -> tuple[str, bool]:
        """In words, and whether nothing is going to change by itself soon."""
        if self._channels.intake_of(channel_id) is Intake.PAUSED:
            return "paused", True
        if channel_id in self._state.closed_channels:
            return f"closed: {self._state.closed_channels[channel_id]}", True
        if not self._state.connected:
            return f"waits for Telegram: {self._state.problem}", False
        if channel_id not in self._journal.channels:
            return (
                "waits for the database, or for Telegram" if self._listener.has_unopened else "being opened",
                False,
            )
        if self._listener.is_catching_up(channel_id):
            return "being read", False
        return "taken in", True


def _called(rows: Sequence[ChannelRow], text: str) -> ChannelRow:
    """The one that is called so. Raises ChannelRefused for none or several."""
    name = text.removeprefix("@").rpartition("/")[2].casefold()
    found = [row for row in rows if name in (row.name.casefold(), row.title.casefold())]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(str(row.channel_id) for row in found)
        raise ChannelRefused(f"{len(found)} channels are called {text!r}: use the id: {ids}")
    raise ChannelRefused(f"no channel is called {text!r}; `telewarden channels list` shows them")
