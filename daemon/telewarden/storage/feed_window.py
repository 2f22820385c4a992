"""The newest events of the feed in memory: answers that no store is asked for, and what wakes those who wait.

Pure: no I/O, no clock. Somebody else extends it (workers/feed.py), in order and without a gap.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from telewarden.storage.signal import Signal
from telewarden_http.v1.feed_protocols import FeedEvent
from telewarden_http.v1.token import BEGINNING, Position

MOST_EVENTS = 10_000
MOST_BYTES = 32 * 1024 * 1024
_SLACK = 0.1

_place = attrgetter("position")


class Filter(NamedTuple):
    """Which events somebody waits for. channels: None for all."""

    channels: frozenset[int] | None
    kinds: frozenset[str]

    def wants(self, event: FeedEvent) -> bool:
        """Whether an event is one of them."""
        return event.kind in self.kinds and (self.channels is None or event.channel in self.channels)


@dataclass(slots=True)
class _Waiting:
    """Those who wait for the same: they share a signal."""

    signal: Signal
    count: int = 0


class Slice(NamedTuple):
    """Events after a position. next: up to where was looked. more: others follow that match."""

    events: Sequence[FeedEvent]
    next: Position
    more: bool


class FeedWindow:
    """The events in (start, head], all of them.

    head: the position up to which every event is known. start: None before `begin`. stored: the position up to which
    the database has every event. changed: fires when the head moves. served: events that were given out of it.
    """

    def __init__(self, *, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self._events: list[FeedEvent] = []
        self._bytes = 0
        self._waiting: dict[Filter, _Waiting] = {}
        self.start: Position | None = None
        self.head = BEGINNING
        self.stored = BEGINNING
        self.changed = Signal()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def size_bytes(self) -> int:
        """Of the events' bodies."""
        return self._bytes

    @property
    def waiting(self) -> int:
        """How many wait for an event."""
        return sum(group.count for group in self._waiting.values())

    def begin(self, position: Position) -> None:
        """Hold what comes after a position; what was held before is dropped. Raises ValueError if that goes back."""
        if position < self.head:
            raise ValueError(f"the window is at {self.head} already, and would go back to {position}")
        self._events, self._bytes = [], 0
        self.start = self.head = position
        self._fire_all()

    def extend(self, events: Sequence[FeedEvent], head: Position) -> None:
        """Add what follows on the head, in order; with these, everything up to the new head is there.

        Raises ValueError where that is not so.
        """
        reached = self.head
        for event in events:
            if event.position <= reached:
                raise ValueError(f"the event at {event.position} does not follow {reached}")
            reached = event.position
        if self.start is None or head < reached:
            raise ValueError(f"the window cannot go on from {self.head} to {head}")
        if head == self.head:
            return
        self.head = head
        self._events += events
        self._bytes += sum(len(event.body) for event in events)
        self._bound()
        self.changed.fire()
        for wanted, group in self._waiting.items():
            if any(map(wanted.wants, events)):
                group.signal.fire()

    def forget(self, up_to: Position) -> None:
        """Drop the events up to a position: they are not kept any more."""
        if self.start is not None and up_to > self.start:
            self._drop(bisect_right(self._events, up_to, key=_place))
            self.start = min(up_to, self.head)

    def covers(self, after: Position) -> bool:
        """Everything after this position is here."""
        return self.start is not None and after >= self.start

    def after(self, position: Position, wanted: Filter, limit: int) -> Slice:
        """What matches after a position that it covers. Raises LookupError for another one."""
        if not self.covers(position):
            raise LookupError(f"events after {position} are not in memory")
        found: list[FeedEvent] = []
        for event in self._after(position):
            if wanted.wants(event):
                if len(found) == limit:
                    return Slice(found, found[-1].position, more=True)
                found.append(event)
        return Slice(found, max(position, self.head), more=False)

    def matches_after(
        self, position: Position, channels: Collection[int] | None, kinds: Collection[str]
    ) -> bool:
        """Whether an event after a position is one of these channels (None: all) and kinds.

        True also where memory does not reach back so far: the database has to be asked. False before `begin`.
        """
        if self.start is None or position >= self.head:
            return False
        wanted = Filter(None if channels is None else frozenset(channels), frozenset(kinds))
        return position < self.start or any(map(wanted.wants, self._after(position)))

    @contextmanager
    def waiter(self, wanted: Filter) -> Iterator[Signal]:
        """A signal that fires when events come that match, and when the window begins anew; for as long as the context
        lasts. Hundreds who wait for the same cost one look an event."""
        group = self._waiting.setdefault(wanted, _Waiting(Signal()))
        group.count += 1
        try:
            yield group.signal
        finally:
            group.count -= 1
            if not group.count:
                del self._waiting[wanted]

    def _after(self, position: Position) -> Iterator[FeedEvent]:
        for index in range(bisect_right(self._events, position, key=_place), len(self._events)):
            yield self._events[index]

    def _fire_all(self) -> None:
        self.changed.fire()
        for group in self._waiting.values():
            group.signal.fire()

    def _bound(self) -> None:
        """In lumps: a list that loses its first element moves all the others."""
        surplus = len(self._events) - self._most_events
        if surplus <= self._most_events * _SLACK and self._bytes <= self._most_bytes:
            return
        count, left = 0, self._bytes
        while count < len(self._events) and (count < surplus or left > self._most_bytes * (1 - _SLACK)):
            left -= len(self._events[count].body)
            count += 1
        self.start = self._events[count - 1].position
        self._drop(count)

    def _drop(self, count: int) -> None:
        self._bytes -= sum(len(event.body) for event in self._events[:count])
        del self._events[:count]
