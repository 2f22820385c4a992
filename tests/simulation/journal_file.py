"""The stand-in for the journal's file: what is committed stays, also when the process is gone."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

from telewarden.messages import Event
from telewarden.storage.acceptance import Channel, Known
from telewarden.storage.journal_file import Registered, decode


@dataclass
class _Content:
    meta: dict[str, int] = field(default_factory=dict)
    events: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    known: dict[tuple[int, int], Known] = field(default_factory=dict)

    def copy(self) -> "_Content":
        return _Content(*(copy(value) for value in vars(self).values()))


class MemoryFile:
    """As JournalFile, as far as the journal asks it. ever: all events that were ever committed, in order.

    full: the disk takes nothing.
    """

    def __init__(self) -> None:
        self._now = _Content()
        self._before: _Content | None = None
        self._new: list[Event] = []
        self.ever: list[Event] = []
        self.full = False

    def begin(self) -> None:
        """As JournalFile.begin."""
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        self._before, self._new = self._now.copy(), []

    def commit(self) -> None:
        """As JournalFile.commit."""
        self._before = None
        self.ever += self._new

    def rollback(self) -> None:
        """As JournalFile.rollback."""
        if self._before is not None:
            self._now, self._before, self._new = self._before, None, []

    def meta(self, name: str) -> int | None:
        """As JournalFile.meta."""
        return self._now.meta.get(name)

    def set_meta(self, name: str, value: int) -> None:
        """As JournalFile.set_meta."""
        self._now.meta[name] = value

    def append(self, rows: Sequence[tuple[int, int, bytes]]) -> None:
        """As JournalFile.append."""
        for position, at_us, body in rows:
            self._now.events[position] = (at_us, body)
            self._new.append(decode(body))

    def take_held(self, channel_id: int) -> list[Event]:
        """Nothing is held: this journal is never damaged."""
        return []

    def origin(self, channel_id: int) -> int | None:
        """Nothing is kept of a damaged journal."""
        return None

    def events(self, after: int) -> Iterable[tuple[int, int, Event, int]]:
        """As JournalFile.events."""
        for position, (at_us, body) in self._now.events.items():
            if position > after:
                yield position, at_us, decode(body), len(body)

    def forget(self, up_to: int) -> None:
        """As JournalFile.forget."""
        for position in [position for position in self._now.events if position <= up_to]:
            del self._now.events[position]

    def channels(self) -> list[Channel]:
        """As JournalFile.channels."""
        return list(self._now.channels.values())

    def put_channel(self, channel: Channel) -> None:
        """As JournalFile.put_channel."""
        self._now.channels[channel.channel_id] = channel

    def registered(self) -> list[Registered]:
        """Nobody registers anything here."""
        return []

    def known(self, channel_id: int, message_id: int) -> Known | None:
        """As JournalFile.known."""
        return self._now.known.get((channel_id, message_id))

    def put_known(self, known: Mapping[tuple[int, int], Known]) -> None:
        """As JournalFile.put_known."""
        self._now.known.update(known)

    def forget_known(self, channel_id: int, up_to: int) -> None:
        """As JournalFile.forget_known."""
        for key in [key for key in self._now.known if key[0] == channel_id and key[1] <= up_to]:
            del self._now.known[key]
