"""The newest messages, as an operator sees them at a glance."""

from collections.abc import Mapping

from telewarden.messages import State
from telewarden.storage import glance
from telewarden.storage.database import Database
from telewarden.storage.rows import state_of
from telewarden_http.v1.overview_protocols import MessageView
from telewarden_http.wire import iso_ms

SHOWN = 20
TEXT_CHARS = 300


async def newest_messages(database: Database) -> list[State]:
    """The newest that the database has, the newest first. Raises DatabaseUnavailable."""
    return [state_of(row) for row in await glance.recent(database, None, SHOWN)]


def message_view(state: State, labels: Mapping[int, str]) -> MessageView:
    """One of them. labels: what channels are called."""
    content = state.content
    text = "" if content is None else content.text or content.caption or ""
    telegram_date_us = None if content is None else content.telegram_date_us
    return MessageView(
        channel=str(state.channel_id),
        label=labels.get(state.channel_id, str(state.channel_id)),
        message_id=str(state.message_id),
        text=text[:TEXT_CHARS],
        is_cut=len(text) > TEXT_CHARS,
        media_type=None if content is None else content.media_type,
        received_at=iso_ms(state.received_at_us or 0),
        telegram_date=None if telegram_date_us is None else iso_ms(telegram_date_us),
        edited=state.version > 0,
        deleted=state.deleted_at_us is not None,
    )
