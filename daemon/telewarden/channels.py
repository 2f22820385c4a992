"""Which channels are taken in: those of the settings, and those that were added while the daemon ran.

What operators say is kept in the journal, so that it is known before any store is up.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum

import msgspec

from telewarden.storage.journal import Journal
from telewarden.storage.journal_file import Registered
from telewarden.storage.signal import Signal

NOW, ALL = "now", "all"


class ChannelRefused(Exception):
    """It cannot be done with this channel; the message says why and what to do."""


class Intake(Enum):
    """How a channel is taken in."""

    TAKEN_IN = "taken in"
    PAUSED = "paused"


class LiveIds(Collection[int]):
    """Channel ids that may change at any time; looked at afresh whenever they are used."""

    def __init__(self, ids: Callable[[], Mapping[int, None]]) -> None:
        self._ids = ids

    def __contains__(self, channel_id: object) -> bool:
        return channel_id in self._ids()

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids())

    def __len__(self) -> int:
        return len(self._ids())


class ChannelSet:
    """The channels of one daemon.

    configured: those of the settings. first_read: where the reading of those begins; may be replaced. changed: fires
    when any of it changes. served: channels that may be polled; taken_in: those of them that are not paused.
    """

    def __init__(self, journal: Journal, configured: Sequence[int], first_read: str | int = NOW) -> None:
        self._journal = journal
        self._configured = tuple(configured)
        self.first_read = first_read
        # Ordered, and each poll asks whether one is among them.
        self._served: dict[int, None] = {}
        self._taken_in: dict[int, None] = {}
        self.changed = Signal()
        self.version = 0
        """How often it has changed."""
        self.served: Collection[int] = LiveIds(lambda: self._served)
        self.taken_in: Collection[int] = LiveIds(lambda: self._taken_in)
        self._look()

    @property
    def known(self) -> Collection[int]:
        """The channels that this daemon takes in, or has taken in at some time."""
        return {*self._served, *self._journal.channels}

    @property
    def may_have_forgotten(self) -> bool:
        """The journal is a new one: channels may have been added that it does not know. Until `remembered`."""
        return not self._journal.knows_added

    async def remembered(self) -> None:
        """All those were added again. Raises JournalError."""
        await self._journal.set_knows_added()

    def is_configured(self, channel_id: int) -> bool:
        """It is one of the settings' own."""
        return channel_id in self._configured

    def start_of(self, channel_id: int) -> str | int:
        """Where a channel's reading begins if nobody has read it before: "now", "all", a number of newest posts, or
        an ISO date."""
        entry = self._journal.registered.get(channel_id)
        if entry is None or not entry.added:
            return self.first_read
        return int(entry.start) if entry.start.isdecimal() else entry.start

    def name_of(self, channel_id: int) -> str:
        """How it was called when it was added; empty where that is not known."""
        entry = self._journal.registered.get(channel_id)
        return entry.name if entry is not None else ""

    def intake_of(self, channel_id: int) -> Intake:
        """Whether it is taken in. Raises ChannelRefused for one that is not served."""
        self._known(channel_id)
        return Intake.TAKEN_IN if channel_id in self._taken_in else Intake.PAUSED

    async def add(self, channel_id: int, name: str, start: str, *, paused: bool = False) -> bool:
        """Take a channel in from now on; one that is paused is served only. Returns whether it is new.

        Raises ChannelRefused, JournalError.
        """
        if channel_id in self._served:
            return False
        await self._journal.register(Registered(channel_id, name, check_start(start), paused=paused))
        self._look()
        return True

    async def remove(self, channel_id: int) -> None:
        """Take it in no more, and serve it no more. Raises ChannelRefused, JournalError."""
        self._known(channel_id)
        if self.is_configured(channel_id):
            raise ChannelRefused(
                f"{channel_id} stands in the settings (telegram.channels): remove it there and reload, or pause it"
            )
        await self._journal.unregister(channel_id)
        self._look()

    async def pause(self, channel_id: int, *, paused: bool) -> None:
        """Stop or go on taking it in; it is served all the while. Raises ChannelRefused, JournalError."""
        self._known(channel_id)
        entry = self._journal.registered.get(channel_id) or Registered(channel_id, added=False)
        if entry.paused == paused:
            return
        if paused or entry.added:
            await self._journal.register(msgspec.structs.replace(entry, paused=paused))
        else:
            await self._journal.unregister(channel_id)
        self._look()

    def configure(self, configured: Sequence[int]) -> None:
        """The settings name other channels now."""
        self._configured = tuple(configured)
        self._look()

    def _known(self, channel_id: int) -> None:
        if channel_id not in self._served:
            raise ChannelRefused(
                f"{channel_id} is none of the channels; `telewarden channels list` shows them"
            )

    def _look(self) -> None:
        entries = self._journal.registered
        added = sorted(c for c, entry in entries.items() if entry.added and c not in self._configured)
        served = (*self._configured, *added)
        taken_in = tuple(c for c in served if c not in entries or not entries[c].paused)
        if (served, taken_in) != (tuple(self._served), tuple(self._taken_in)):
            self._served, self._taken_in = dict.fromkeys(served), dict.fromkeys(taken_in)
            self.version += 1
            self.changed.fire()


def check_start(text: str) -> str:
    """A start as it is kept. Raises ChannelRefused for what is none."""
    text = text.strip().lower()
    if text in (NOW, ALL) or (text.isdecimal() and 0 < int(text) <= 1_000_000):
        return text
    try:
        date_of(text)
    except ValueError:
        raise ChannelRefused(
            f'{text!r} is no start: "now", "all", how many of the newest posts, or a date such as 2026-01-31'
        ) from None
    return text


def date_of(text: str) -> float:
    """The moment that an ISO date or time names, in UTC where it says nothing else; seconds since the epoch.

    Raises ValueError.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
