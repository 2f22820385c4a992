"""Every request that the client makes, as a value that also knows how its answer is read. No I/O here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from telewarden_http.client.answers import (
    Channel,
    ConsumerInfo,
    DeadLetters,
    Delivery,
    FeedPage,
    Kind,
    Marked,
    Message,
    Outcome,
)

T = TypeVar("T")
_S = TypeVar("_S")
RECEIPTS_MOST = 1000
"""Receipts in one request."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. read: makes the value of a 2xx body; raises msgspec.DecodeError. wait_s: how long the server may
    take before it has something to say; that comes on top of the time-out."""

    method: str
    path: str
    read: Callable[[bytes], T]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    wait_s: float = 0.0


class _Channels(msgspec.Struct):
    channels: list[Channel]


class _Deliveries(msgspec.Struct):
    messages: list[Delivery]


class _Outcomes(msgspec.Struct):
    results: list[Outcome]


class _Retried(msgspec.Struct):
    retried: int


class _Consumers(msgspec.Struct):
    consumers: list[ConsumerInfo]


class _Unprocessed(msgspec.Struct):
    data: list[Message]


class _Marked(msgspec.Struct):
    data: Marked


class _Seen(msgspec.Struct):
    seen: list[str]


def _member(kind: type[_S], take: Callable[[_S], T]) -> Callable[[bytes], T]:
    decoder = msgspec.json.Decoder(kind)
    return lambda body: take(decoder.decode(body))


_read_channels = _member(_Channels, lambda answer: answer.channels)
_read_page = msgspec.json.Decoder(FeedPage).decode
_read_deliveries = _member(_Deliveries, lambda answer: answer.messages)
_read_outcomes = _member(_Outcomes, lambda answer: answer.results)
_read_consumer = msgspec.json.Decoder(ConsumerInfo).decode
_read_consumers = _member(_Consumers, lambda answer: answer.consumers)
_read_dead = msgspec.json.Decoder(DeadLetters).decode
_read_retried = _member(_Retried, lambda answer: answer.retried)
_read_unprocessed = _member(_Unprocessed, lambda answer: answer.data)
_read_marked = _member(_Marked, lambda answer: answer.data)
_read_seen = _member(_Seen, lambda answer: frozenset(answer.seen))


def channels() -> Call[list[Channel]]:
    """The channels that the key may read."""
    return Call("GET", "/v1/channels", _read_channels)


def feed(
    after: str, *, channels: Sequence[str] | None, kinds: Sequence[Kind], limit: int, wait_s: int
) -> Call[FeedPage]:
    """A page of the feed behind a token, `now` or `beginning`."""
    query = {"after": after, "kinds": ",".join(kinds), "limit": str(limit), "wait": str(wait_s)}
    if channels is not None:
        query["channels"] = ",".join(channels)
    return Call("GET", "/v1/feed", _read_page, query, wait_s=wait_s)


def now() -> Call[FeedPage]:
    """Nothing of the feed but where it ends at present, as `next`."""
    return feed("now", channels=None, kinds=tuple(Kind), limit=1, wait_s=0)


def messages(*, limit: int, lease_s: int, wait_s: int) -> Call[list[Delivery]]:
    """What waits for this consumer, leased to it."""
    query = {"wait": str(wait_s), "limit": str(limit), "lease": str(lease_s)}
    return Call("GET", "/v1/messages", _read_deliveries, query, wait_s=wait_s)


def acks(receipts: Sequence[str]) -> Call[list[Outcome]]:
    """The work is done."""
    return _post("/v1/acks", {"receipts": receipts}, _read_outcomes)


def nacks(receipts: Sequence[str], delay_s: int) -> Call[list[Outcome]]:
    """To be served again, after a delay."""
    return _post("/v1/nacks", {"receipts": receipts, "delay": delay_s}, _read_outcomes)


def leases(receipts: Sequence[str], lease_s: int) -> Call[list[Outcome]]:
    """The leases last so many seconds from now."""
    return _post("/v1/leases", {"receipts": receipts, "lease": lease_s}, _read_outcomes)


def consumer() -> Call[ConsumerInfo]:
    """This key's consumer."""
    return Call("GET", "/v1/consumer", _read_consumer)


def configure_consumer(
    *,
    channels: Sequence[str] | msgspec.UnsetType | None,
    kinds: Iterable[Kind | str] | None,
    max_deliveries: int | None,
    start: str | datetime | None,
) -> Call[ConsumerInfo]:
    """Make this key's consumer, or change what is given of it. channels: UNSET leaves them, None means all."""
    body: dict[str, Any] = {}
    if channels is not msgspec.UNSET:
        body["channels"] = channels
    if kinds is not None:
        body["kinds"] = [Kind(kind) for kind in kinds]
    if max_deliveries is not None:
        body["maxDeliveries"] = max_deliveries
    if start is not None:
        body["start"] = start
    return Call("PUT", "/v1/consumer", _read_consumer, body=msgspec.json.encode(body))


def dead_letters(*, limit: int, after: str | None) -> Call[DeadLetters]:
    """What is served no more."""
    query = {"limit": str(limit)} | ({} if after is None else {"after": after})
    return Call("GET", "/v1/dead-letters", _read_dead, query)


def retry_dead_letters(receipts: Sequence[str] | None) -> Call[int]:
    """Serve them again; None for all. How many there were."""
    return _post("/v1/dead-letters/retry", {"receipts": receipts}, _read_retried)


def consumers() -> Call[list[ConsumerInfo]]:
    """All consumers; needs an admin key."""
    return Call("GET", "/v1/admin/consumers", _read_consumers)


def unprocessed(
    channel: str, *, statuses: Iterable[str], exclude_processed_by: str | None, limit: int
) -> Call[list[Message]]:
    """The old contract's poll."""
    query = {"channel": channel, "status": ",".join(statuses), "limit": str(limit)}
    if exclude_processed_by is not None:
        query["excludeProcessedBy"] = exclude_processed_by
    return Call("GET", "/api/messages/unprocessed", _read_unprocessed, query)


def mark_processed(
    message_ids: Iterable[str | int], *, processed_by: str, channel: str | None
) -> Call[Marked]:
    """The old contract's acknowledgement."""
    body = {"messageIds": [str(each) for each in message_ids], "processedBy": processed_by}
    if channel is not None:
        body["channel"] = channel
    return _post("/api/messages/mark-processed", body, _read_marked)


def seen(channel: str, message_ids: Iterable[str | int]) -> Call[frozenset[str]]:
    """Those of the ids that were taken in."""
    return _post(
        f"/v1/messages/{quote(channel, safe='')}/seen",
        {"messages": [str(each) for each in message_ids]},
        _read_seen,
    )


def _post(path: str, body: Mapping[str, Any], read: Callable[[bytes], T]) -> Call[T]:
    return Call("POST", path, read, body=msgspec.json.encode(body))
