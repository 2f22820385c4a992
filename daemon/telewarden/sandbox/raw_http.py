"""HTTP/1.1 as plain bytes: a client that costs next to nothing, so that what is measured is the server.

Needs asyncio (or uvloop).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast


class Gone(Exception):
    """The server closed the connection, or reset it, before its answer was complete."""


@dataclass(frozen=True, slots=True)
class Answer:
    """head: status line and headers, as sent. last: the server ends the connection after it."""

    status: int
    head: bytes
    body: bytes

    @property
    def last(self) -> bool:
        """The server ends the connection after it."""
        return b"connection: close" in self.head.lower()


class RawConnection(asyncio.Protocol):
    """One connection; one request at a time. Answers must have a Content-Length."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._gone = False
        self._transport: asyncio.Transport | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request, give its answer. Raises Gone."""
        if self._gone or self._transport is None:
            raise Gone("the connection is closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        received = self._received
        received += data
        head_end = received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(received[:head_end])
        end = head_end + 4 + _content_length(head)
        if len(received) < end:
            return
        answer = Answer(int(head[9:12]), head, bytes(received[head_end + 4 : end]))
        del received[:end]
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._gone = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Gone(f"the connection ended: {exc or 'closed'}"))


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


@asynccontextmanager
async def raw_connection(port: int) -> AsyncIterator[RawConnection]:
    """A connection to a port of this machine."""
    _, connection = await asyncio.get_running_loop().create_connection(RawConnection, "127.0.0.1", port)
    try:
        yield connection
    finally:
        connection.close()


class RawClient:
    """Asks over one connection, and makes another when the server has ended it in order (as after 1,000 requests)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: RawConnection | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request, give its answer. Raises Gone, OSError."""
        if self._connection is None:
            loop = asyncio.get_running_loop()
            _, self._connection = await loop.create_connection(RawConnection, "127.0.0.1", self._port)
        answer = await self._connection.ask(request)
        if answer.last:
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def get(path: str, api_key: str = "") -> bytes:
    """A GET request, as bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {api_key}\r\n\r\n".encode()


def post(path: str, body: bytes, api_key: str = "") -> bytes:
    """A POST request with a JSON body, as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {api_key}\r\n"
    return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
