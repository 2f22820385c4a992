"""A message's state as the wire JSON that consumers get; the cached value is exactly this."""

import msgspec

from telewarden.messages import State, message_uuid
from telewarden.storage.rows import full_metadata
from telewarden_http.wire import Message, encode, iso_ms


def _iso(us: int | None) -> str | None:
    return None if us is None else iso_ms(us)


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
