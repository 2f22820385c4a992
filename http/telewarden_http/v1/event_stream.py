"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from collections.abc import Iterable

from telewarden_http.v1.feed_protocols import FeedEvent
from telewarden_http.v1.token import Position, encode

MEDIA_TYPE = "text/event-stream"
HEARTBEAT_S = 15.0
RETRY = b"retry: 2000\n\n"
"""How long a client waits before it comes back, in milliseconds."""


def frames(events: Iterable[FeedEvent]) -> bytes:
    """Events as a client's EventSource takes them: their ids come back as Last-Event-ID."""
    return b"".join(
        b"id: %s\nevent: %s\ndata: %s\n\n"
        % (encode(event.position).encode(), event.kind.encode(), event.body)
        for event in events
    )


def heartbeat(reached: Position) -> bytes:
    """A comment that keeps the connection open; its id moves the client's place on, without an event."""
    return b": \nid: %s\n\n" % encode(reached).encode()


def gone(problem: bytes) -> bytes:
    """The last thing that a client is told whose place is not kept any more."""
    return b"event: gone\ndata: %s\n\n" % problem


def accepts(accept: str) -> bool:
    """Whether a request asks for a stream, by its Accept header."""
    return any(part.partition(";")[0].strip().lower() == MEDIA_TYPE for part in accept.split(","))
