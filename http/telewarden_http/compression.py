"""Answers made smaller for those who ask for it."""

import gzip
from collections.abc import Sequence
from typing import Final

Headers = Sequence[tuple[bytes, bytes]]

LEAST_BYTES: Final = 1024
"""Smaller bodies stay as they are: a packet is a packet."""
LARGE_BYTES: Final = 128 * 1024
"""From here on packing takes more than half a millisecond, of a poll of 10,000 more than forty: not in the event loop,
in which messages are taken in."""
_LEVEL: Final = 1
"""Of gzip. A poll of 100 (68 kB) takes 0.18 ms and 10.3 kB; with level 6 it takes 0.70 ms and 8.8 kB."""
_TYPES: Final = (b"application/json", b"application/problem+json", b"text/")


def asks_for_gzip(accept_encoding: bytes) -> bool:
    """Whether a client takes gzip, by its Accept-Encoding (RFC 9110, section 12.5.3)."""
    accepted: bool | None = None
    for part in accept_encoding.lower().split(b","):
        coding, *parameters = (piece.strip() for piece in part.split(b";"))
        is_wanted = not any(
            p.replace(b" ", b"") in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000") for p in parameters
        )
        if coding in (b"gzip", b"x-gzip"):
            return is_wanted
        if coding == b"*":
            accepted = is_wanted
    return bool(accepted)


def can_be_smaller(status: int, headers: Headers) -> bool:
    """Whether an answer is of a kind that gets smaller. A strong ETag names the very bytes, which then stay."""
    is_text = False
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"content-type":
            is_text = value.startswith(_TYPES) and not value.startswith(b"text/event-stream")
        elif lowered == b"content-encoding" or (lowered == b"etag" and not value.startswith(b"W/")):
            return False
    return is_text and status not in (204, 206, 304)


def smaller(headers: Headers, body: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The answer's headers and body, by gzip."""
    packed = gzip.compress(body, _LEVEL, mtime=0)
    kept = [(name, value) for name, value in headers if name.lower() not in (b"content-length", b"vary")]
    vary = [value for name, value in headers if name.lower() == b"vary"]
    kept += [
        (b"content-encoding", b"gzip"),
        (b"content-length", str(len(packed)).encode()),
        (b"vary", b", ".join([*vary, b"Accept-Encoding"])),
    ]
    return kept, packed
