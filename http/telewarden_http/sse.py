"""Server-sent events (WHATWG HTML, section 9.2): frames, and the answer that carries them.

Who makes the frames waits with `Stopping.waiting(KEEP_ALIVE_S)`, sends COMMENT when nothing came meanwhile, and returns
once the server stops. The answer has no time-out as a whole; a client that does not read is cut off by the server, and
until then no more is made for it than fits into its connection's buffer.
"""

from collections.abc import AsyncGenerator
from typing import Any, Final, cast

from quart import Response, request

from telewarden_http.boundary import STREAMS

KEEP_ALIVE_S: Final = 15.0
"""A stream is silent no longer: proxies take silent connections for dead, and a client that is gone is found out."""
COMMENT: Final = b":\n\n"
"""A frame that says nothing."""
MEDIA_TYPE: Final = "text/event-stream"

_HEADERS: Final = {
    "Content-Type": f"{MEDIA_TYPE}; charset=utf-8",
    "Cache-Control": "no-store",
    # Or a proxy (nginx) collects events until its buffer is full.
    "X-Accel-Buffering": "no",
}


def frame(data: bytes, *, event: str = "", id_: str = "") -> bytes:
    """One event. data: one line of UTF-8, such as compact JSON. event: its kind. id_: what a client that connects again
    sends as `Last-Event-ID`. Raises ValueError for anything that holds a line break."""
    for part in (data, event.encode(), id_.encode()):
        if b"\n" in part or b"\r" in part:
            raise ValueError(f"a line break would end the field: {part[:60]!r}")
    head = (f"id: {id_}\n" if id_ else "") + (f"event: {event}\n" if event else "")
    return b"".join((head.encode(), b"data: ", data, b"\n\n"))


def retry(after_ms: int) -> bytes:
    """The frame that tells clients how long to wait before they connect again."""
    return b"retry: %d\n\n" % after_ms


def event_stream(frames: AsyncGenerator[bytes, None], headers: dict[str, str] | None = None) -> Response:
    """The answer. frames: closed when the client goes away; ends the answer when it ends. For HEAD they are not begun.

    What a frame's maker holds it must take hold of in its own body: it may never be begun.
    """
    if request.method == "HEAD":
        return Response(b"", headers=_HEADERS | (headers or {}))
    cast(dict[str, Any], request.scope)[STREAMS] = True
    response = Response(frames, headers=_HEADERS | (headers or {}))
    response.timeout = None
    return response
