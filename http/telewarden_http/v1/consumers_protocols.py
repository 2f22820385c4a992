"""What the consumers' routes ask of the rest of the system. The daemon implements it.

A consumer is a durable place in the feed, with a lease for each event that it was handed. All of its state is the
database's, and the database's clock decides what has expired; so it is the same for every process that serves.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from telewarden_http.v1.receipts import Receipt
from telewarden_http.v1.token import Position

Channels = Collection[str] | None
"""Ids of channels as consumers write them; None for all."""


class Kind(StrEnum):
    """What can happen to a message."""

    POSTED = "posted"
    EDITED = "edited"
    DELETED = "deleted"


class Lag(msgspec.Struct, frozen=True, rename="camel"):
    """How far a consumer is behind, in events.

    waiting: would be served now. leased: are being worked on. delayed: were given back and wait for their delay.
    dead: dead letters. oldest_waiting_at: when the oldest of the first was accepted. is_exact: false where a number is
    a lower bound, since more was not counted.
    """

    waiting: int
    leased: int
    delayed: int
    dead: int
    oldest_waiting_at: str | None
    is_exact: bool


class ConsumerState(msgspec.Struct, frozen=True, rename="camel"):
    """A consumer as `GET /v1/consumer` shows it.

    channels: its filter; None for all. position: a token of the feed; what comes before it was looked through.
    skipped_by_retention: it was so far behind that messages which it had not seen were gone; until its start is set.
    """

    name: str
    channels: list[str] | None
    kinds: list[Kind]
    max_deliveries: int
    created_at: str
    position: str
    skipped_by_retention: bool
    lag: Lag


class Start(StrEnum):
    """Where a consumer starts, if not at a time."""

    NOW = "now"
    BEGINNING = "beginning"


@dataclass(frozen=True, slots=True)
class ConsumerChange:
    """What is to be set of a consumer; what is not named keeps its value (of a new one: the default).

    channels: a filter, if `sets_channels`. start: a time is aware.
    """

    sets_channels: bool = False
    channels: Sequence[str] | None = None
    kinds: Sequence[Kind] | None = None
    max_deliveries: int | None = None
    start: Start | datetime | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that is handed to a consumer. at, until: ISO 8601. until: when its lease ends, or when it became a dead
    letter. body: the message as it is now, wire JSON."""

    receipt: Receipt
    kind: Kind
    channel: str
    message_id: int
    at: str
    body: bytes
    until: str


@dataclass(frozen=True, slots=True)
class Leased:
    """What a consumer is handed. Where that is nothing, the rest says what to wait for.

    position, channels, kinds: it was looked for in the feed up to here, in these. again_in_s: something that was handed
    out before is due then; None for nothing. more: it is worth asking again at once.
    """

    deliveries: Sequence[Delivery]
    position: Position
    channels: Channels
    kinds: Collection[str]
    again_in_s: float | None
    more: bool


class Outcome(StrEnum):
    """What became of a receipt, in a word."""

    ACKNOWLEDGED = "acknowledged"
    ALREADY = "already"
    RETURNED = "returned"
    EXTENDED = "extended"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a receipt. until: when the lease ends that was extended, ISO 8601."""

    outcome: Outcome
    until: str | None = None


class ConsumerStore(Protocol):
    """Keeps consumers. channels, everywhere: those that the key may read. Its methods raise Unavailable."""

    async def lease(self, consumer: str, channels: Channels, *, limit: int, lease_s: float) -> Leased:
        """Hand out what is due again, then what is new, oldest first. Makes the consumer, at the feed's end."""
        ...

    async def give_back(self, consumer: str, receipts: Sequence[Receipt]) -> None:
        """Undo a hand-over that never arrived: it is served again at once, and does not count."""
        ...

    async def acknowledge(self, consumer: str, receipts: Sequence[Receipt]) -> Sequence[Settled]:
        """Settle deliveries, whatever their age; an outcome for each receipt."""
        ...

    async def return_(self, consumer: str, receipts: Sequence[Receipt], delay_s: float) -> Sequence[Settled]:
        """Have events served again after a delay; only by who holds the lease."""
        ...

    async def extend(self, consumer: str, receipts: Sequence[Receipt], lease_s: float) -> Sequence[Settled]:
        """Let leases last so long from now on; only by who holds them."""
        ...

    async def state(self, consumer: str, channels: Channels) -> ConsumerState | None:
        """How a consumer is; None before there is one."""
        ...

    async def configure(self, consumer: str, channels: Channels, change: ConsumerChange) -> bool:
        """Set a consumer; whether it is new. Raises UnknownChannel for one that the key may not read."""
        ...

    async def dead_letters(
        self, consumer: str, channels: Channels, *, after: Position, limit: int
    ) -> tuple[Sequence[Delivery], Position | None]:
        """Dead letters after a position, oldest first, and where to go on; None at the end."""
        ...

    async def revive(self, consumer: str, channels: Channels, receipts: Sequence[Receipt] | None) -> int:
        """Serve dead letters again, these or all; how many."""
        ...


class ConsumerAdmin(Protocol):
    """Consumers as an administrator sees them. Its methods raise Unavailable."""

    async def all(self) -> Sequence[ConsumerState]:
        """Every consumer, by name."""
        ...

    async def drop(self, name: str) -> bool:
        """Forget a consumer and what it was handed; whether there was one."""
        ...


class Wakes(Protocol):
    """Wakes who waits for events."""

    async def wait(self, after: Position, channels: Channels, kinds: Collection[str]) -> Position:
        """Until there may be events after a position; may be too often. Gives the position up to which whoever looks
        now has seen everything, so that it need not be woken for that again."""
        ...
