"""What the API asks of the rest of the system, as protocols and plain values.

The daemon implements them; this package imports nothing of it. Message bodies cross this seam as
finished wire JSON (bytes), so that an answer is joined and never decoded.
"""

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID


class Source(enum.StrEnum):
    """Which store answered; sent to consumers in the header `X-Telewarden-Source`."""

    CACHE = "cache"
    DATABASE = "database"
    JOURNAL = "journal"
    """The journal's tail alone: both stores are down, so older messages may be missing."""


@dataclass(frozen=True, slots=True)
class UnprocessedQuery:
    """One poll: which messages of a channel still wait.

    channel: the channel's id as consumers write it, e.g. "-1001649127710".
    statuses: the statuses to serve, in the order asked for; never empty.
    exclude_processed_by: leave out what this consumer has processed.
    limit: at most this many messages, 1 to 10,000, oldest first.
    """

    channel: str
    statuses: tuple[str, ...] = ("received",)
    exclude_processed_by: str | None = None
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which stored messages to list; an empty tuple or None leaves that out of account.

    channels: ids as consumers write them. received_from, received_to: aware, both included. search: a piece of text or
    caption, whatever its case. deleted: deleted ones too. newest_first: by Telegram's date, else oldest first.
    limit: 1 to 10,000. offset: how many to skip.
    """

    channels: tuple[str, ...] = ()
    message_id: int | None = None
    statuses: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    received_from: datetime | None = None
    received_to: datetime | None = None
    search: str | None = None
    deleted: bool = False
    newest_first: bool = True
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a list: bodies in wire JSON. more: others follow. total: on all pages; None where counting took too
    long."""

    bodies: Sequence[bytes]
    more: bool
    total: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a poll: message bodies in wire JSON, oldest first, and where they came from.

    bodies: each is one message, or several already joined by commas; count: how many messages they are.
    """

    bodies: Sequence[bytes]
    source: Source
    count: int


@dataclass(frozen=True, slots=True)
class MarkProcessed:
    """One acknowledgement request.

    message_ids: Telegram message ids, each within a signed 64-bit integer.
    processed_by: the consumer's name.
    channel: the channel that the ids belong to, or None to find it by what waits.
    readable: the channels that the caller may read, in which alone it is looked for; None for all.
    """

    message_ids: tuple[int, ...]
    processed_by: str
    channel: str | None = None
    readable: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    """The outcome: how many ids were asked for and how many messages changed."""

    requested: int
    updated: int


@dataclass(frozen=True, slots=True)
class SeenQuery:
    """Whether these messages of a channel were taken in. channel, message_ids: as in MarkProcessed."""

    channel: str
    message_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """A request to read Telegram's newest messages again.

    channels: ids as consumers write them, None for all. limit: newest messages of each. concurrency: channels at once.
    """

    channels: tuple[str, ...] | None = None
    limit: int = 500
    concurrency: int = 4


@dataclass(frozen=True, slots=True)
class SyncedChannel:
    """What that brought. read: messages that Telegram showed; saved: how many of them were news here."""

    channel: str
    label: str
    read: int
    saved: int


class RequestRefused(Exception):
    """Base of the errors that a store may answer a request with; the text is for the client."""


class UnknownChannel(RequestRefused):
    """The channel is not one that this gateway takes in, or not for this caller, which looks the same (404)."""

    @classmethod
    def named(cls, channel: object) -> "UnknownChannel":
        """With the text for the client."""
        return cls(f"channel {channel} is none that this gateway takes in; see `telewarden channels`")


class AmbiguousMessage(RequestRefused):
    """A bare message id waits in more than one channel (409); nothing was changed.

    channels: the ids of the channels in which it waits.
    """

    def __init__(self, message_id: int, channels: Sequence[str]) -> None:
        self.message_id = message_id
        self.channels = tuple(channels)
        super().__init__(
            f"message {message_id} waits in more than one channel ({', '.join(self.channels)}); "
            'send "channel" with the request'
        )


class MessageIsDeleted(RequestRefused):
    """It is deleted, which is final (409); nothing was changed."""


class Unavailable(RequestRefused):
    """No store can answer this right now (503); the client should try again."""


class MessageReader(Protocol):
    """Reads messages, from whichever store can answer right."""

    async def unprocessed(self, query: UnprocessedQuery) -> Page:
        """The waiting messages of one channel. Raises UnknownChannel."""
        ...

    async def listed(self, query: ListQuery) -> Listing:
        """Stored messages of any status, by the database alone. Raises Unavailable."""
        ...

    async def seen(self, channel: str, message_ids: Sequence[int]) -> Collection[int]:
        """Which of some Telegram message ids of a channel were taken in, ever. Raises UnknownChannel, Unavailable."""
        ...

    async def message(self, message_id: UUID) -> bytes | None:
        """One message's wire JSON by its id, or None if there is none. Raises Unavailable."""
        ...


class Acknowledger(Protocol):
    """Takes acknowledgements. When `mark_processed` returns, they are on disk."""

    async def mark_processed(self, request: MarkProcessed) -> Marked:
        """Mark messages as processed. Raises UnknownChannel, AmbiguousMessage, Unavailable."""
        ...


class MessageChanger(Protocol):
    """Changes single messages. When its methods return, the change is on disk; they give the message's wire JSON, or
    None if there is none with that id."""

    async def delete(self, message_id: UUID, reason: str | None) -> bytes | None:
        """Delete it softly: it is kept, and served no more. Harmless to repeat. Raises Unavailable."""
        ...

    async def reprocess(self, message_id: UUID, requested_by: str) -> bytes | None:
        """Note that somebody wants it processed once more. Raises MessageIsDeleted, Unavailable."""
        ...


class Synchroniser(Protocol):
    """Reads Telegram's history."""

    async def sync(self, request: SyncRequest) -> Sequence[SyncedChannel]:
        """Read it, and accept what is new. Raises UnknownChannel, and Unavailable while Telegram is not connected."""
        ...


@dataclass(frozen=True, slots=True)
class Degradation:
    """Something that is down but covered: what, since when (ISO 8601), and what that means for consumers."""

    what: str
    since: str
    effect: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The three questions of health, never mixed.

    live: the loop turns and no supervisor has given up. ready: polls can be answered right.
    degraded: what is down but covered. details: facts shown as they are (names in camelCase).
    """

    live: bool
    ready: bool
    degraded: Sequence[Degradation] = ()
    details: dict[str, object] = field(default_factory=dict)


class HealthReporter(Protocol):
    """Knows how the daemon is."""

    def report(self) -> HealthReport:
        """The present state; cheap, never blocks."""
        ...
