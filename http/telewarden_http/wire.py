"""What consumers see: the message object as JSON bytes, byte for byte in the contract's field order.

The daemon makes its cached values with `encode`, so that a poll joins finished bytes and decodes nothing.
"""

from datetime import date
from functools import lru_cache
from typing import Any

import msgspec


class Message(msgspec.Struct, kw_only=True, rename="camel", gc=False):
    """A message, with exactly these members; what is absent is null. id: a UUID. Ids of channels, messages and threads:
    64-bit numbers as decimal strings. Times: ISO 8601, UTC, milliseconds."""

    # CONTRACT.md §1; the order of fields here is the order in JSON. Times are as `iso_ms` gives them. media_refs (a
    # list) and metadata (an object): JSON-able values, or JSON that is already encoded, as `msgspec.Raw`. Raw bytes go
    # out as they are: whoever passes them answers for them being JSON.

    id: str
    channel_id: str
    message_id: str
    thread_id: str | None = None
    source: str = "unknown"
    message_type: str = "channel_post"
    text: str | None = None
    caption: str | None = None
    media_type: str | None = None
    media_refs: list[Any] | msgspec.Raw = msgspec.field(default_factory=list)
    status: str = "received"
    received_at: str
    telegram_date: str | None = None
    published_at: str | None = None
    failed_at: str | None = None
    queued_at: str | None = None
    reprocess_requested_at: str | None = None
    reprocessed_at: str | None = None
    metadata: dict[str, Any] | msgspec.Raw = msgspec.field(default_factory=dict)
    created_at: str
    updated_at: str
    deleted_at: str | None = None


_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_encoder = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """The message as compact UTF-8 JSON: every field of the contract, absent ones as null.

    Raises UnicodeEncodeError for a lone surrogate in a text, TypeError for a value that is not JSON-able.
    """
    return _encoder.encode(message)


@lru_cache(maxsize=1024)
def _to_the_minute(minutes: int) -> str:
    days, minute = divmod(minutes, 1440)
    hour, minute = divmod(minute, 60)
    try:
        day = date.fromordinal(_EPOCH_ORDINAL + days).isoformat()
    except (ValueError, OverflowError):
        raise ValueError(f"{minutes} minutes from 1970-01-01 is outside the years 1 to 9999") from None
    return f"{day}T{hour:02}:{minute:02}:"


@lru_cache(maxsize=256)
def iso_ms(us: int) -> str:
    """A time as consumers read it: "2025-03-01T12:00:00.123Z" (ISO 8601, UTC, milliseconds).

    us: microseconds since the epoch, rounded down to the millisecond; negative before 1970.
    Raises ValueError outside the years 1 to 9999.
    """
    # The minute is cached: the times of one message, and of neighbours, mostly share it. Percent formatting,
    # since an f-string with format specifiers takes a third longer.
    minutes, rest = divmod(us, 60_000_000)
    return "%s%02d.%03dZ" % (_to_the_minute(minutes), rest // 1_000_000, rest // 1000 % 1000)  # noqa: UP031
