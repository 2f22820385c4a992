"""A message's state as the wire JSON that consumers get; the cached value is exactly this."""

from datetime import date, datetime
from functools import lru_cache

import asyncpg
import msgspec

from telewarden.messages import State, canonical_json, message_uuid
from telewarden.storage.rows import OWN_METADATA, full_metadata, state_of
from telewarden_http.wire import Message, encode, iso_ms

_NOTHING = msgspec.Raw(b"[]")


def _iso(us: int | None) -> str | None:
    return None if us is None else iso_ms(us)


_SECONDS = tuple(f"{second:02}." for second in range(60))
_MILLISECONDS = tuple(f"{millisecond:03}Z" for millisecond in range(1000))


@lru_cache(maxsize=1024)
def _minute(ordinal: int, hour: int, minute: int) -> str:
    return f"{date.fromordinal(ordinal)}T{hour:02}:{minute:02}:"


def _iso_of(moment: datetime | None) -> str | None:
    """As `iso_ms`, of what the driver gives; by parts, since isoformat takes four times as long."""
    if moment is None:
        return None
    return (
        _minute(moment.toordinal(), moment.hour, moment.minute)
        + _SECONDS[moment.second]
        + _MILLISECONDS[moment.microsecond // 1000]
    )


@lru_cache(maxsize=2048)
def render_row(row: asyncpg.Record) -> bytes:
    """A row of messages as `render` gives its state, in half the time. Times are in UTC, as the driver gives them.

    A whole row that was just rendered is not rendered again: while the cache is down, consumers ask for the same
    waiting rows every few seconds.
    """
    metadata: dict[str, object] = msgspec.json.decode(row["metadata"])
    if row["deleted_at"] is not None or not metadata.keys().isdisjoint(OWN_METADATA):
        # What this system wrote there is written anew, from the columns.
        return render(state_of(row))
    thread_id = row["thread_id"]
    return encode(
        Message(
            id=str(row["id"]),
            channel_id=row["channel_id"],
            message_id=str(row["message_id"]),
            thread_id=None if thread_id is None else str(thread_id),
            source=row["source"],
            message_type=row["message_type"],
            text=row["text"],
            caption=row["caption"],
            media_type=row["media_type"],
            media_refs=_canonical(row["media_refs"]),
            status=row["status"],
            received_at=_iso_of(row["received_at"]) or "",
            telegram_date=_iso_of(row["telegram_date"]),
            published_at=_iso_of(row["published_at"]),
            failed_at=_iso_of(row["failed_at"]),
            queued_at=_iso_of(row["queued_at"]),
            reprocess_requested_at=_iso_of(row["reprocess_requested_at"]),
            reprocessed_at=_iso_of(row["reprocessed_at"]),
            metadata=msgspec.Raw(canonical_json(metadata) if metadata else b"{}"),
            created_at=_iso_of(row["created_at"]) or "",
            updated_at=_iso_of(row["updated_at"]) or "",
        )
    )


def _canonical(text: str) -> msgspec.Raw:
    """JSON as the database writes it, as this system does."""
    return _NOTHING if text == "[]" else msgspec.Raw(canonical_json(msgspec.json.decode(text)))


def render(state: State) -> bytes:
    """The message object of the contract. Raises ValueError for a message whose post has not arrived."""
    content = state.content
    if content is None or state.created_at_us is None or state.received_at_us is None:
        raise ValueError(f"message {state.key} has not arrived; there is nothing to serve")
    return encode(
        Message(
            id=str(state.id or message_uuid(*state.key)),
            channel_id=str(state.channel_id),
            message_id=str(state.message_id),
            thread_id=None if content.thread_id is None else str(content.thread_id),
            source=content.source,
            message_type=content.message_type,
            text=content.text,
            caption=content.caption,
            media_type=content.media_type,
            media_refs=msgspec.Raw(content.media_refs),
            status=state.effective_status,
            received_at=iso_ms(state.received_at_us),
            telegram_date=_iso(content.telegram_date_us),
            published_at=_iso(state.published_at_us),
            failed_at=_iso(state.failed_at_us),
            queued_at=_iso(state.queued_at_us),
            reprocess_requested_at=_iso(state.reprocess_requested_at_us),
            reprocessed_at=_iso(state.reprocessed_at_us),
            metadata=msgspec.Raw(full_metadata(state)),
            created_at=iso_ms(state.created_at_us),
            updated_at=iso_ms(state.updated_at_us),
            deleted_at=_iso(state.deleted_at_us),
        )
    )
