"""The domain: a message's state, the events that change it, and `merge`, which is how they meet.

A state is a join semilattice: `join` is idempotent, commutative and associative, so the order in
which events arrive, their repetition and their replay do not matter anywhere (the idea is that of
state-based CRDTs: Shapiro et al., SSS 2011). Writer, applier, warmer and reader all use this one function.
Every value in an event is fixed when the event is accepted; nothing here asks for the time.

Nothing here can be part of a cycle, so the garbage collector does not look at it (gc=False): with 100,000 waiting
messages in memory it would stop everything for twice as long.
"""

import uuid
from functools import lru_cache
from hashlib import sha1
from typing import NamedTuple

import msgspec

ID_NAMESPACE = uuid.UUID("6d0c33a5-3f43-5c1e-9d5b-6f3f6a7b9a10")
"""Namespace of message ids: UUIDv5 (RFC 9562) of "channel_id:message_id"."""
_NAMESPACE = ID_NAMESPACE.bytes

STATUSES = (
    "received",
    "retrying",
    "queued",
    "failed",
    "published",
    "reprocess_pending",
    "reprocessed",
    "deleted",
)
"""Every status, ordered so that of two set at the same microsecond the later in this tuple wins."""

_RANK = {status: rank for rank, status in enumerate(STATUSES)}


class Key(NamedTuple):
    """What names a message: the channel's marked id (-100…) and the message's id within it."""

    channel_id: int
    message_id: int


class Content(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What Telegram says of a message, already in the words of the contract.

    media_refs, metadata: canonical JSON (see `canonical_json`). telegram_date_us: microseconds since the epoch.
    """

    text: str | None = None
    caption: str | None = None
    media_type: str | None = None
    media_refs: bytes = b"[]"
    metadata: bytes = b"{}"
    thread_id: int | None = None
    message_type: str = "channel_post"
    source: str = "mtproto"
    telegram_date_us: int | None = None


class Posted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="posted"):
    """A message was seen. new: certainly for the first time, so it may be served at once; otherwise the
    database has to say whether it was inserted. version: see `State.version`. vouched: it repeats an earlier one that
    the database has inserted, and is new by its word."""

    channel_id: int
    message_id: int
    content: Content
    version: int
    received_at_us: int
    new: bool
    vouched: bool = False


class Edited(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="edited"):
    """A message that was seen before has another content."""

    channel_id: int
    message_id: int
    content: Content
    version: int
    at_us: int


class Deleted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="deleted"):
    """A message is gone from Telegram, or was deleted through the API."""

    channel_id: int
    message_id: int
    at_us: int
    reason: str | None = None


class Acknowledged(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="acknowledged"):
    """A consumer has processed a message."""

    channel_id: int
    message_id: int
    consumer: str
    at_us: int


class ReprocessRequested(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="reprocess"):
    """Somebody wants a message processed once more."""

    channel_id: int
    message_id: int
    requested_by: str
    at_us: int


Event = Posted | Edited | Deleted | Acknowledged | ReprocessRequested


class State(msgspec.Struct, frozen=True, gc=False):
    """A message as the events so far describe it. All times in microseconds since the epoch.

    created_at_us: None until a post has arrived; fixes the row's chunk, so the first one stays.
    version: the edit version of `content`; -1 without content. Its upper part is Telegram's edit date in
    seconds, its lower 20 bits count contents seen with the same edit date.
    status_at_us: when the status was set; 0 for the status that a post begins with.
    queued, failed and reprocessed times are never set here; migrated rows have them.
    """

    channel_id: int
    message_id: int
    id: uuid.UUID | None = None
    created_at_us: int | None = None
    received_at_us: int | None = None
    content: Content | None = None
    version: int = -1
    status: str = "received"
    status_at_us: int = 0
    published_at_us: int | None = None
    processed_by: str | None = None
    reprocess_requested_at_us: int | None = None
    reprocess_requested_by: str | None = None
    deleted_at_us: int | None = None
    deletion_reason: str | None = None
    queued_at_us: int | None = None
    failed_at_us: int | None = None
    reprocessed_at_us: int | None = None
    updated_at_us: int = 0

    @property
    def key(self) -> Key:
        """What names the message."""
        return Key(self.channel_id, self.message_id)

    @property
    def exists(self) -> bool:
        """A post has arrived."""
        return self.created_at_us is not None and self.content is not None

    @property
    def effective_status(self) -> str:
        """The status that consumers see: deletion is final."""
        return "deleted" if self.deleted_at_us is not None else self.status

    @property
    def waits(self) -> bool:
        """An acknowledgement would change it: it exists and is neither published nor deleted."""
        return self.exists and self.effective_status not in ("published", "deleted")

    @property
    def pending(self) -> bool:
        """It belongs into the answer to a plain poll."""
        return self.exists and self.effective_status == "received"


def key_of(event: Event) -> Key:
    """The key of the message that an event is about."""
    return Key(event.channel_id, event.message_id)


@lru_cache(maxsize=8192)
def message_uuid(channel_id: int, message_id: int) -> uuid.UUID:
    """The message's id: the same from every process, replay and restart."""
    digest = bytearray(
        sha1(_NAMESPACE + b"%d:%d" % (channel_id, message_id), usedforsecurity=False).digest()[:16]
    )
    # uuid.uuid5 gives the same and takes three times as long, for every message.
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return uuid.UUID(int=int.from_bytes(digest, "big"))


def canonical_json(value: object) -> bytes:
    """Compact JSON with sorted keys: the same bytes whether a value comes from Telegram or from a jsonb column."""
    return msgspec.json.encode(value, order="sorted")


def lift(event: Event) -> State:
    """The smallest state that contains an event; `merge` is the join with it."""
    match event:
        case Posted():
            return State(
                event.channel_id,
                event.message_id,
                created_at_us=event.received_at_us,
                received_at_us=event.received_at_us,
                content=event.content,
                version=event.version,
                updated_at_us=event.received_at_us,
            )
        case Edited():
            return State(
                event.channel_id,
                event.message_id,
                content=event.content,
                version=event.version,
                updated_at_us=event.at_us,
            )
        case Deleted():
            return State(
                event.channel_id,
                event.message_id,
                deleted_at_us=event.at_us,
                deletion_reason=event.reason,
                updated_at_us=event.at_us,
            )
        case Acknowledged():
            return State(
                event.channel_id,
                event.message_id,
                status="published",
                status_at_us=event.at_us,
                published_at_us=event.at_us,
                processed_by=event.consumer,
                updated_at_us=event.at_us,
            )
        case ReprocessRequested():
            return State(
                event.channel_id,
                event.message_id,
                status="reprocess_pending",
                status_at_us=event.at_us,
                reprocess_requested_at_us=event.at_us,
                reprocess_requested_by=event.requested_by,
                updated_at_us=event.at_us,
            )


def merge(state: State | None, event: Event) -> State:
    """A message's state after one more event; None: nothing is known of the message yet."""
    lifted = lift(event)
    return lifted if state is None else join(state, lifted)


def join(a: State, b: State) -> State:
    """The least state that contains both; idempotent, commutative, associative.

    The newest text by version, the status by the time it was set, the first deletion, the first arrival.
    """
    if a == b:
        return a
    content, version = max((a.content, a.version), (b.content, b.version), key=_content_order)
    status, status_at_us = max((a.status, a.status_at_us), (b.status, b.status_at_us), key=_status_order)
    published_at_us, processed_by = max(
        (a.published_at_us, a.processed_by), (b.published_at_us, b.processed_by), key=_register_order
    )
    reprocess_at_us, reprocess_by = max(
        (a.reprocess_requested_at_us, a.reprocess_requested_by),
        (b.reprocess_requested_at_us, b.reprocess_requested_by),
        key=_register_order,
    )
    deletions = [
        (s.deleted_at_us, s.deletion_reason or "", s.deletion_reason)
        for s in (a, b)
        if s.deleted_at_us is not None
    ]
    deleted_at_us, _, deletion_reason = min(deletions, key=lambda d: d[:2]) if deletions else (None, "", None)
    return State(
        a.channel_id,
        a.message_id,
        id=max(a.id, b.id, key=lambda i: (i is not None, i.int if i is not None else 0)),
        # Each by itself: a row keeps the creation time of its first insertion, which need not be its first arrival.
        created_at_us=_earlier(a.created_at_us, b.created_at_us),
        received_at_us=_earlier(a.received_at_us, b.received_at_us),
        content=content,
        version=version,
        status=status,
        status_at_us=status_at_us,
        published_at_us=published_at_us,
        processed_by=processed_by,
        reprocess_requested_at_us=reprocess_at_us,
        reprocess_requested_by=reprocess_by,
        deleted_at_us=deleted_at_us,
        deletion_reason=deletion_reason,
        queued_at_us=_later(a.queued_at_us, b.queued_at_us),
        failed_at_us=_later(a.failed_at_us, b.failed_at_us),
        reprocessed_at_us=_later(a.reprocessed_at_us, b.reprocessed_at_us),
        updated_at_us=max(a.updated_at_us, b.updated_at_us),
    )


def _content_order(versioned: tuple[Content | None, int]) -> tuple[int, bytes]:
    content, version = versioned
    # The bytes only decide between two contents of one version, which one ingest process never makes.
    return version, msgspec.msgpack.encode(content)


def _status_order(status: tuple[str, int]) -> tuple[int, int]:
    return status[1], _RANK[status[0]]


def _register_order(register: tuple[int | None, str | None]) -> tuple[int, str]:
    at_us, value = register
    return (-1 if at_us is None else at_us), value or ""


def _earlier(a: int | None, b: int | None) -> int | None:
    return min(a, b) if a is not None and b is not None else a if b is None else b


def _later(a: int | None, b: int | None) -> int | None:
    return max(a or 0, b or 0) if a is not None or b is not None else None
