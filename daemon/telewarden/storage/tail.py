"""The journal's tail in memory: the accepted events that some store has not got yet."""

import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from telewarden.messages import Event, Key, Posted, State, key_of, merge, message_uuid

_Name = TypeVar("_Name")


@dataclass(frozen=True, slots=True)
class Record:
    """An accepted event and its position. size_bytes: of its encoded form. accepted_at_us: when it was accepted."""

    position: int
    event: Event
    accepted_at_us: int
    size_bytes: int


class Tail:
    """Records in order of position, without gaps, from `first` to `head`; also by channel and by message id.

    Not thread-safe: it lives on the event loop.
    """

    def __init__(self, head: int = 0) -> None:
        self.head = head
        """Position of the newest accepted event; 0 before the first."""
        self.size_bytes = 0
        self._records: deque[Record] = deque()
        self._by_channel: dict[int, deque[Record]] = {}
        self._by_message: dict[Key, deque[Record]] = {}
        self._keys: dict[uuid.UUID, Key] = {}

    def __len__(self) -> int:
        return len(self._records)

    @property
    def first(self) -> int:
        """Position of the oldest record that is still here; head + 1 when empty."""
        return self._records[0].position if self._records else self.head + 1

    def extend(self, records: Iterable[Record]) -> None:
        """Add records that follow on the head."""
        for record in records:
            if record.position != self.head + 1:
                raise ValueError(f"position {record.position} does not follow {self.head}")
            self._records.append(record)
            key = key_of(record.event)
            self._by_channel.setdefault(key.channel_id, deque()).append(record)
            self._by_message.setdefault(key, deque()).append(record)
            self.head = record.position
            self.size_bytes += record.size_bytes
            if isinstance(record.event, Posted):
                self._keys[message_uuid(*key)] = key

    def forget(self, up_to: int) -> None:
        """Drop the records up to a position, that position included."""
        while self._records and self._records[0].position <= up_to:
            record = self._records.popleft()
            self.size_bytes -= record.size_bytes
            key = key_of(record.event)
            _drop_first(self._by_channel, key.channel_id)
            _drop_first(self._by_message, key)
            if key not in self._by_message:
                self._keys.pop(message_uuid(*key), None)

    def after(self, position: int, limit: int | None = None) -> list[Record]:
        """The records after a position, oldest first. Raises LookupError if some of them are forgotten."""
        skip = position + 1 - self.first
        if skip < 0 and position < self.head:
            raise LookupError(f"records after {position} are forgotten up to {self.first - 1}")
        stop = None if limit is None else max(skip, 0) + limit
        return list(islice(self._records, max(skip, 0), stop))

    def of_position(self, position: int) -> Record | None:
        """The record at a position; None if it is forgotten or not there yet."""
        index = position - self.first
        return self._records[index] if 0 <= index < len(self._records) else None

    def of_channel(self, channel_id: int, after: int) -> list[Record]:
        """One channel's records after a position, oldest first."""
        newest_first = self._by_channel.get(channel_id, ())
        found = list(_while_after(reversed(newest_first), after)) if newest_first else []
        found.reverse()
        return found

    def of_message(self, key: Key) -> list[Record]:
        """One message's records, oldest first."""
        return list(self._by_message.get(key, ()))

    def has_post(self, key: Key) -> bool:
        """Whether a message was posted within the tail."""
        return any(isinstance(record.event, Posted) for record in self._by_message.get(key, ()))

    def key(self, message_id: uuid.UUID) -> Key | None:
        """The key of a message that was posted within the tail, if it is known."""
        return self._keys.get(message_id)


def _drop_first(index: dict[_Name, deque[Record]], name: _Name) -> None:
    index[name].popleft()
    if not index[name]:
        del index[name]


def _while_after(records: Iterator[Record], position: int) -> Iterator[Record]:
    for record in records:
        if record.position <= position:
            return
        yield record


def fold(records: Sequence[Record], states: dict[Key, State] | None = None) -> dict[Key, State]:
    """Merge the records' events, in order, onto copies of the given states."""
    folded = dict(states or {})
    for record in records:
        key = key_of(record.event)
        folded[key] = merge(folded.get(key), record.event)
    return folded
