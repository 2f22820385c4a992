"""What the feed's routes ask of a store."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from telewarden_http.v1.token import Position

POSTED, EDITED, DELETED = "posted", "edited", "deleted"
KINDS: Final = (POSTED, EDITED, DELETED)
"""What can happen to a message."""


class FeedEvent(NamedTuple):
    """One change of a message. channel: its marked id. body: the event as finished JSON."""

    position: Position
    channel: int
    kind: str
    body: bytes


class CursorExpired(Exception):
    """What came after a position is not kept any more (410). oldest: a position to go on from."""

    def __init__(self, oldest: Position) -> None:
        self.oldest = oldest
        super().__init__(
            'What followed this token is not kept any more. Go on from the token in "oldest"; what was dropped '
            "before it can no longer be read here"
        )


@dataclass(frozen=True, slots=True)
class FeedQuery:
    """Which events. channels: marked ids; None for all that are served. kinds: of KINDS."""

    limit: int = 100
    channels: frozenset[int] | None = None
    kinds: frozenset[str] = frozenset(KINDS)


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events after a position, oldest first.

    next: the position up to which was looked, to go on from; never before the one that was asked for, never beyond
    what is complete. more: there are others at once. source: "memory", "database", or "journal": some of them are not
    in the database yet.
    """

    events: Sequence[FeedEvent]
    next: Position
    more: bool
    source: str


@dataclass(frozen=True, slots=True)
class FeedChannel:
    """A channel. label: how it is called; empty where that is not known. active: it is taken in, not paused."""

    channel: int
    label: str
    active: bool


class Feed(Protocol):
    """Every change of every message, in one order."""

    def channels(self) -> Collection[FeedChannel]:
        """Those that are served."""
        ...

    def serves(self, channel: int) -> bool:
        """Whether a channel is."""
        ...

    async def now(self) -> Position:
        """The newest event's position. Raises Unavailable."""
        ...

    async def page(self, after: Position | None, query: FeedQuery) -> FeedPage:
        """What there is after a position; None: from the oldest that is kept. Does not wait for events.

        Raises CursorExpired, Unavailable.
        """
        ...

    async def grown(self, after: Position, query: FeedQuery) -> None:
        """Return when there may be something after a position that `page` gave as its `next`."""
        ...
