"""A message's state as a row of the database, and back."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import asyncpg
import msgspec

from telewarden.messages import Content, State, canonical_json, message_uuid
from telewarden_http.wire import iso_ms

OWN_METADATA = ("processed_by", "processed_at", "deletion", "reprocess")
"""The keys of `metadata` that this system sets itself; the rest is Telegram's."""

KEY_COLUMNS = (
    "channel_id",
    "message_id",
    "id",
    "created_at",
    "content_version",
    "status_at",
    "epoch",
    "position",
)
"""Of message_keys."""

MESSAGE_COLUMNS = (
    "id",
    "channel_id",
    "message_id",
    "thread_id",
    "source",
    "message_type",
    "text",
    "caption",
    "media_type",
    "media_refs",
    "status",
    "received_at",
    "telegram_date",
    "published_at",
    "failed_at",
    "queued_at",
    "reprocess_requested_at",
    "reprocessed_at",
    "metadata",
    "created_at",
    "updated_at",
    "deleted_at",
)
"""Of messages."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def at(us: int) -> datetime:
    """Microseconds since the epoch as an aware datetime."""
    return _EPOCH + timedelta(microseconds=us)


def us_of(moment: datetime) -> int:
    """An aware datetime as microseconds since the epoch; exact."""
    return (moment - _EPOCH) // _MICROSECOND


def _at(us: int | None) -> datetime | None:
    return None if us is None else at(us)


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else us_of(moment)


def full_metadata(state: State) -> bytes:
    """`metadata` as consumers see it: Telegram's keys and this system's own, as canonical JSON."""
    telegrams = state.content.metadata if state.content is not None else b"{}"
    own: dict[str, object] = {}
    if state.processed_by is not None:
        own["processed_by"] = state.processed_by
        own["processed_at"] = iso_ms(state.published_at_us or 0)
    if state.deleted_at_us is not None:
        own["deletion"] = {"reason": state.deletion_reason, "deletedAt": iso_ms(state.deleted_at_us)}
    if state.reprocess_requested_at_us is not None:
        own["reprocess"] = {
            "requestedAt": iso_ms(state.reprocess_requested_at_us),
            "requestedBy": state.reprocess_requested_by,
        }
    return canonical_json(msgspec.json.decode(telegrams) | own) if own else telegrams


def state_of(row: asyncpg.Record) -> State:
    """The state that a row of messages, joined with message_keys, describes."""
    metadata: dict[str, Any] = msgspec.json.decode(row["metadata"])
    own = {name: metadata.pop(name) for name in OWN_METADATA if name in metadata}
    deleted_at_us, published_at_us = _us(row["deleted_at"]), _us(row["published_at"])
    status = row["status"]
    if status == "deleted":
        # What it was before no longer matters: deletion is final.
        status = "published" if published_at_us is not None else "received"
    status_at = row["status_at"]
    return State(
        channel_id=int(row["channel_id"]),
        message_id=row["message_id"],
        id=row["id"],
        created_at_us=us_of(row["created_at"]),
        received_at_us=us_of(row["received_at"]),
        content=Content(
            text=row["text"],
            caption=row["caption"],
            media_type=row["media_type"],
            media_refs=canonical_json(msgspec.json.decode(row["media_refs"])),
            metadata=canonical_json(metadata),
            thread_id=row["thread_id"],
            message_type=row["message_type"],
            source=row["source"],
            telegram_date_us=_us(row["telegram_date"]),
        ),
        version=row["content_version"] or 0,
        status=status,
        status_at_us=0 if status_at is None else us_of(status_at),
        published_at_us=published_at_us,
        processed_by=own.get("processed_by"),
        reprocess_requested_at_us=_us(row["reprocess_requested_at"]),
        reprocess_requested_by=(own.get("reprocess") or {}).get("requestedBy"),
        deleted_at_us=deleted_at_us,
        deletion_reason=(own.get("deletion") or {}).get("reason"),
        queued_at_us=_us(row["queued_at"]),
        failed_at_us=_us(row["failed_at"]),
        reprocessed_at_us=_us(row["reprocessed_at"]),
        updated_at_us=us_of(row["updated_at"]),
    )


def message_columns(states: Iterable[State]) -> Sequence[Sequence[object]]:
    """The states as one array a column, in the order of MESSAGE_COLUMNS, which update_messages.sql names."""
    rows = [message_row(state) for state in states]
    return list(zip(*rows, strict=True))


def message_row(state: State) -> tuple[object, ...]:
    """The state as a row, in the order of MESSAGE_COLUMNS. Raises ValueError where its post has not arrived."""
    content = state.content
    if content is None or state.created_at_us is None or state.received_at_us is None:
        raise ValueError(f"message {state.key} has not arrived; it has no row")
    return (
        state.id or message_uuid(*state.key),
        str(state.channel_id),
        state.message_id,
        content.thread_id,
        content.source,
        content.message_type,
        content.text,
        content.caption,
        content.media_type,
        content.media_refs.decode(),
        state.effective_status,
        at(state.received_at_us),
        _at(content.telegram_date_us),
        _at(state.published_at_us),
        _at(state.failed_at_us),
        _at(state.queued_at_us),
        _at(state.reprocess_requested_at_us),
        _at(state.reprocessed_at_us),
        full_metadata(state).decode(),
        at(state.created_at_us),
        at(state.updated_at_us),
        _at(state.deleted_at_us),
    )
