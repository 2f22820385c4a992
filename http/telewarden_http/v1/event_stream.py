"""The feed's events as server-sent events; see `telewarden_http.sse`."""

from collections.abc import Iterable

from telewarden_http.sse import KEEP_ALIVE_S, MEDIA_TYPE, frame, retry
from telewarden_http.v1.feed_protocols import FeedEvent
from telewarden_http.v1.token import Position, encode

HEARTBEAT_S = KEEP_ALIVE_S
RETRY = retry(2000)
"""How long a client waits before it comes back, in milliseconds."""


def frames(events: Iterable[FeedEvent]) -> bytes:
    """Events as a client's EventSource takes them: their ids come back as Last-Event-ID."""
    return b"".join(frame(event.body, event=event.kind, id_=encode(event.position)) for event in events)


def heartbeat(reached: Position) -> bytes:
    """A comment that keeps the connection open; its id moves the client's place on, without an event."""
    return b": \nid: %s\n\n" % encode(reached).encode()


def gone(problem: bytes) -> bytes:
    """The last thing that a client is told whose place is not kept any more."""
    return frame(problem, event="gone")


def accepts(accept: str) -> bool:
    """Whether a request asks for a stream, by its Accept header."""
    return any(part.partition(";")[0].strip().lower() == MEDIA_TYPE for part in accept.split(","))
