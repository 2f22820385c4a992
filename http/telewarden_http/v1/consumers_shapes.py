"""The shapes of the consumers' requests and answers, as msgspec structs."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from telewarden_http.v1.consumers_protocols import Kind, Outcome
from telewarden_http.wire import Message

_RECEIPTS = Meta(min_length=1, max_length=1000, description="As answers gave them.")


class MessagesQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What to hand out."""

    wait: Annotated[int, Meta(ge=0, le=60, description="How long to wait for something, in seconds.")] = 0
    limit: Annotated[int, Meta(ge=1, le=1000, description="At most so many messages.")] = 100
    lease: Annotated[int, Meta(ge=1, le=3600, description="How long they are yours alone, in seconds.")] = 30


class DeadLettersQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead letters."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="At most so many messages.")] = 100
    after: (
        Annotated[
            str,
            Meta(description='The "next" of an earlier answer.', extra_json_schema={"format": "feed-token"}),
        ]
        | None
    ) = None


class Receipts(msgspec.Struct, forbid_unknown_fields=True):
    """Receipts of deliveries."""

    receipts: Annotated[list[str], _RECEIPTS]


class Nacks(msgspec.Struct, forbid_unknown_fields=True):
    """Deliveries to be served again."""

    receipts: Annotated[list[str], _RECEIPTS]
    delay: Annotated[int, Meta(ge=0, le=86_400, description="After so many seconds.")] = 0


class Leases(msgspec.Struct, forbid_unknown_fields=True):
    """Leases to be extended."""

    receipts: Annotated[list[str], _RECEIPTS]
    lease: Annotated[int, Meta(ge=1, le=3600, description="How long from now on, in seconds.")]


class Retry(msgspec.Struct, forbid_unknown_fields=True):
    """Dead letters to be served again."""

    receipts: Annotated[list[str], Meta(min_length=1, max_length=1000)] | None
    """null for all."""


ChannelId = Annotated[str, Meta(pattern="^-?[1-9][0-9]{0,18}$", examples=["-1001649127710"])]


class ConsumerSettings(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What to set; members that are left out keep their value."""

    channels: Annotated[list[ChannelId], Meta(min_length=1, max_length=1000)] | UnsetType | None = UNSET
    """null for all that the key may read."""
    kinds: Annotated[list[Kind], Meta(min_length=1, max_length=3)] | UnsetType = UNSET
    max_deliveries: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    start: (
        Annotated[
            str,
            Meta(
                max_length=40,
                description='"now", "beginning", or a time (ISO 8601).',
                extra_json_schema={"anyOf": [{"enum": ["now", "beginning"]}, {"format": "date-time"}]},
            ),
        ]
        | UnsetType
    ) = UNSET


class _Event(msgspec.Struct, rename="camel", gc=False):
    id: str
    kind: Kind
    channel: str
    message_id: str
    at: str
    message: Message
    """Finished JSON in its place, when it is an answer."""
    receipt: str
    deliveries: int


class LeasedMessage(_Event, rename="camel", gc=False, kw_only=True):
    """An event of the feed, handed out. leasedUntil: nobody else gets it before."""

    leased_until: str


class DeadLetter(_Event, rename="camel", gc=False, kw_only=True):
    """An event that was delivered too often without an acknowledgement."""

    dead_at: str


class LeasedMessages(msgspec.Struct):
    """Oldest first."""

    messages: list[LeasedMessage]


class DeadLetters(msgspec.Struct):
    """Oldest first. next: to be given as "after"; null at the end."""

    messages: list[DeadLetter]
    next: str | None


class Result(msgspec.Struct, rename="camel", omit_defaults=True):
    """What became of a receipt. leasedUntil: of an extended lease."""

    receipt: str
    result: Outcome
    leased_until: str | None = None


class Results(msgspec.Struct):
    """One for each receipt, in the same order."""

    results: list[Result]


class Retried(msgspec.Struct):
    """How many will be served again."""

    retried: int
