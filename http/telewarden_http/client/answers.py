"""What the API answers, as typed values. Times are aware datetimes in UTC; 64-bit ids are strings, as on the wire."""

import enum
from datetime import datetime
from typing import Any

import msgspec


class Kind(enum.StrEnum):
    """What happened to a message."""

    POSTED = "posted"
    EDITED = "edited"
    DELETED = "deleted"


class Message(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """A message as it is now. `received_at` is when it was taken in, `telegram_date` when it was posted."""

    id: str
    channel_id: str
    message_id: str
    thread_id: str | None = None
    source: str = "unknown"
    message_type: str = "channel_post"
    text: str | None = None
    caption: str | None = None
    media_type: str | None = None
    media_refs: list[Any] = msgspec.field(default_factory=list)
    status: str = "received"
    received_at: datetime
    telegram_date: datetime | None = None
    published_at: datetime | None = None
    failed_at: datetime | None = None
    queued_at: datetime | None = None
    reprocess_requested_at: datetime | None = None
    reprocessed_at: datetime | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class Event(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """One change of a message. `id` is at the same time the cursor "after this event"."""

    id: str
    kind: Kind
    channel: str
    message_id: str
    at: datetime
    message: Message


class Delivery(msgspec.Struct, kw_only=True, rename="camel"):
    """One event that is leased to this consumer.

    receipt: what it is acknowledged or given back by. leased_until: until then nobody else gets it; moved on by each
    renewal. deliveries: how often it was handed out, this time included. leased: False once the lease is known to have
    ended; others may have the event then, and the work is done twice.
    """

    id: str
    kind: Kind
    channel: str
    message_id: str
    at: datetime
    message: Message
    receipt: str
    leased_until: datetime
    deliveries: int
    leased: bool = True


class DeadLetter(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """An event that was handed out too often without being acknowledged, and is not served any more."""

    id: str
    kind: Kind
    channel: str
    message_id: str
    at: datetime
    message: Message
    receipt: str
    deliveries: int
    dead_at: datetime


class Channel(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """A channel that the key may read. active: its posts are being taken in."""

    channel: str
    label: str | None = None
    active: bool = True


class Lag(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """How many events a consumer has before it.

    waiting: to be served; leased: handed out; delayed: given back, to be served later; dead: dead letters.
    is_exact: False if counting all of them took too long, and there may be more waiting.
    """

    waiting: int
    leased: int
    delayed: int
    dead: int
    oldest_waiting_at: datetime | None = None
    is_exact: bool = True


class ConsumerInfo(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """A consumer: what it gets and how far it is. channels: None for all that its key may read."""

    name: str
    channels: list[str] | None
    kinds: list[Kind]
    max_deliveries: int
    created_at: datetime
    position: str
    lag: Lag


class FeedPage(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """One answer of the feed. next: the cursor to go on from. more: there is more already."""

    events: list[Event]
    next: str
    more: bool


class DeadLetters(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """One page of dead letters. next: to be given as `after`; None at the end."""

    messages: list[DeadLetter]
    next: str | None = None


class Outcome(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """What became of one receipt.

    result: "acknowledged", "already" or "unknown" of an acknowledgement; "returned", "expired" or "unknown" of one that
    is given back; "extended", "expired" or "unknown" of a lease.
    """

    receipt: str
    result: str
    leased_until: datetime | None = None


class Marked(msgspec.Struct, kw_only=True, rename="camel", frozen=True):
    """What `mark_processed` did: how many were asked for, and how many were not processed before."""

    requested: int
    updated: int
    processed_by: str
