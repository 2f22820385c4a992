"""A TCP proxy for the tests: it delays, holds back, cuts and refuses, each direction and each client by itself."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketAttribute, SocketStream

from telewarden.sandbox.ports import HOST

_CHUNK_BYTES = 65536
_CHUNKS = 1024
_CONNECT_S = 5.0
_LINGER_NONE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction. latency_s: how long each byte takes. held: nothing passes; it arrives when that is over, as what
    TCP sends again does."""

    latency_s: float = 0.0
    held: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A way through the proxy. refuses: new connections are reset."""

    to_server: Flow = Flow()
    to_client: Flow = Flow()
    refuses: bool = False

    @classmethod
    def slow(cls, round_trip_s: float) -> "Line":
        """Half of the time each way."""
        return cls(Flow(round_trip_s / 2), Flow(round_trip_s / 2))


OPEN = Line()
BLACK_HOLE = Line(Flow(held=True), Flow(held=True))
"""Connections stay, new ones too seem to succeed, and nothing passes."""
REFUSED = Line(refuses=True)


@dataclass(eq=False)
class _Connection:
    client: SocketStream
    source: str
    server: SocketStream | None = None

    async def abort(self) -> None:
        """Reset both ends: what was under way is lost."""
        for stream in (self.client, self.server):
            if stream is None:
                continue
            raw = stream.extra(SocketAttribute.raw_socket)
            if raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            await anyio.aclose_forcefully(stream)


@dataclass
class Proxy:
    """One listening port before one server. Made by `open_proxy`.

    A source is the address that a client connects from: 127.0.0.1, or another of 127.0.0.0/8 that it chose.
    """

    port: int
    server_port: int
    line: Line = OPEN
    by_source: dict[str, Line] = field(default_factory=dict)
    _connections: set[_Connection] = field(default_factory=set)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def set(self, line: Line, *sources: str) -> None:
        """From now on, for what is under way too. sources: for these clients only; none: for all others."""
        if sources:
            self.by_source.update(dict.fromkeys(sources, line))
        else:
            self.line = line
        self._wake()

    async def cut(self, *sources: str) -> None:
        """Reset connections. sources: of these clients only; none: all."""
        for connection in list(self._connections):
            if not sources or connection.source in sources:
                await connection.abort()

    def heal(self) -> None:
        """All is well for everybody."""
        self.line = OPEN
        self.by_source.clear()
        self._wake()

    def clients(self, source: str) -> int:
        """How many connections there are from an address."""
        return sum(connection.source == source for connection in self._connections)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _line(self, source: str) -> Line:
        return self.by_source.get(source, self.line)

    async def _serve(self, client: SocketStream) -> None:
        connection = _Connection(client, str(client.extra(SocketAttribute.remote_address)[0]))
        if self._line(connection.source).refuses:
            await connection.abort()
            return
        self._connections.add(connection)
        try:
            async with client:
                # A held client does not even reach the server.
                while self._line(connection.source).to_server.held:
                    await self._changed.wait()
                try:
                    with anyio.fail_after(_CONNECT_S):
                        connection.server = await anyio.connect_tcp(HOST, self.server_port)
                except (OSError, TimeoutError):
                    # The server is down. So it is for the client.
                    await connection.abort()
                    return
                async with connection.server:
                    await self._forward(connection, connection.server)
        finally:
            self._connections.discard(connection)

    async def _forward(self, connection: _Connection, server: SocketStream) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pump, connection, connection.client, server, "to_server")
            tasks.start_soon(self._pump, connection, server, connection.client, "to_client")

    async def _pump(
        self, connection: _Connection, origin: SocketStream, target: SocketStream, way: str
    ) -> None:
        """Pass on what comes, each piece when its time has come; then end the other side."""
        send, receive = anyio.create_memory_object_stream[tuple[float, bytes]](_CHUNKS)

        async def take() -> None:
            async with send:
                try:
                    while True:
                        piece = await origin.receive(_CHUNK_BYTES)
                        await send.send((anyio.current_time(), piece))
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return

        async with anyio.create_task_group() as tasks, receive:
            tasks.start_soon(take)
            async for arrived_s, piece in receive:
                await self._due(connection.source, way, arrived_s)
                try:
                    await target.send(piece)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    break
            tasks.cancel_scope.cancel()
        # Either side's end is the other's: these protocols know no half-closed connection.
        await anyio.aclose_forcefully(origin)
        await anyio.aclose_forcefully(target)

    async def _due(self, source: str, way: str, arrived_s: float) -> None:
        while True:
            line, changed = self._line(source), self._changed
            flow = line.to_server if way == "to_server" else line.to_client
            left_s = float("inf") if flow.held else arrived_s + flow.latency_s - anyio.current_time()
            if left_s <= 0:
                return
            with anyio.move_on_after(left_s):
                await changed.wait()


@asynccontextmanager
async def open_proxy(server_port: int, port: int = 0) -> AsyncIterator[Proxy]:
    """Listen on a port of 127.0.0.1 (0: a free one) for connections to another; all end with the context."""
    listener = await anyio.create_tcp_listener(local_host=HOST, local_port=port, reuse_port=False)
    async with listener, anyio.create_task_group() as tasks:
        proxy = Proxy(listener.extra(SocketAttribute.local_port), server_port)
        tasks.start_soon(listener.serve, proxy._serve)
        yield proxy
        tasks.cancel_scope.cancel()
