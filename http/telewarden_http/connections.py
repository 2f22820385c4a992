"""The open connections of a server, each served by Hypercorn's protocol code, within our limits."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.lowlevel
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import LifespanState
from quart import Quart

from telewarden_http.settings import ApiSettings

CLIENT: Final = "telewarden.client"
"""Key of the ASGI scope's `state` under which the connection's Client is."""

_ACCEPT_AGAIN_S = 1.0
_IDLE_S = 0.2
_ABORT_S = 1.0
_LOOK_S = 1.0
_log = logging.getLogger("telewarden_http.server")


class Client(asyncio.StreamReaderProtocol):
    """The other end of a connection. Who works for it can be told when it goes away, without a task that listens."""

    def __init__(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        super().__init__(asyncio.StreamReader(), serve)
        self._working: set[anyio.CancelScope] = set()
        self._gone = False

    def begin(self, work: anyio.CancelScope) -> None:
        """Cancel this when the client goes away, or at once if it has."""
        self._working.add(work)
        if self._gone:
            work.cancel()

    def end(self, work: anyio.CancelScope) -> None:
        """It is done."""
        self._working.discard(work)

    def eof_received(self) -> bool:
        """See asyncio.Protocol."""
        self._leave()
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        self._gone = True
        for work in self._working:
            work.cancel()


class _Server(TCPServer):
    """Hypercorn's, except that a client's going away ends the connection, and not the time for idle ones."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class Connections:
    """The open connections, each served by Hypercorn's TCPServer.

    Not `hypercorn.asyncio.serve`, which does this too: at its time-out it cancels what is left, and neither a
    client that reads nothing nor a Quart handler ends by that. Cutting the transport does end both: the one
    by an error, the other because its client is gone.
    """

    def __init__(self, app: Quart, settings: ApiSettings) -> None:
        self._app = ASGIWrapper(app)
        self._config = _configuration(settings)
        self._context = WorkerContext(None)
        self._most = settings.max_connections
        self._send_timeout_s = settings.send_timeout_s
        self._open: set[asyncio.StreamWriter] = set()
        self._unread_since_s: dict[asyncio.StreamWriter, float] = {}
        self._one_ended = anyio.Event()
        self._ended = False

    def __len__(self) -> int:
        return len(self._open)

    async def accept(self, listener: socket.socket) -> None:
        """Take connections from the queue, until cancelled.

        One each time: of several processes that share the queue, one that is busy with it leaves the next to another.
        Not asyncio's own server, which drops what it has accepted in the turn of the loop in which it is closed.
        """
        while True:
            await anyio.wait_readable(listener)
            with anyio.CancelScope(shield=True):
                await self._accept_one(listener)

    async def accept_all(self, listener: socket.socket) -> None:
        """Take what is in the queue at present."""
        while await self._accept_one(listener):
            pass

    async def _accept_one(self, listener: socket.socket) -> bool:
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False  # another process was quicker, or the client went away
        except OSError as error:
            _log.error("no connection can be accepted (%s); tried again in %g s", error, _ACCEPT_AGAIN_S)
            await anyio.sleep(_ACCEPT_AGAIN_S)
            return False
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self.adopt(accepted)
        return True

    async def adopt(self, accepted: socket.socket) -> None:
        """Begin to serve a connection."""
        accepted.setblocking(False)
        protocol = Client(self.serve)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, accepted)
        except OSError:
            accepted.close()  # it is gone already

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        if self._ended or len(self._open) >= self._most:
            writer.transport.abort()
            return
        self._open.add(writer)
        loop = asyncio.get_running_loop()
        try:
            state = LifespanState({CLIENT: writer.transport.get_protocol()})
            await _Server(self._app, loop, self._config, self._context, state, reader, writer)
        except Exception:  # noqa: BLE001 (what a client did to its connection is no failure of the server)
            _log.debug("a connection ended badly", exc_info=True)
        finally:
            self._open.discard(writer)
            self._one_ended.set()

    async def watch_readers(self) -> None:
        """Cut off who reads its answer too slowly; until cancelled.

        Neither the app's send time-out nor the kernel does: what fits into the buffers is sent for the one, and for the
        other one byte a second is progress.
        """
        while True:
            await anyio.sleep(min(_LOOK_S, self._send_timeout_s))
            now_s = anyio.current_time()
            unread = [writer for writer in self._open if writer.transport.get_write_buffer_size()]
            self._unread_since_s = {writer: self._unread_since_s.get(writer, now_s) for writer in unread}
            for writer, since_s in self._unread_since_s.items():
                if now_s - since_s >= self._send_timeout_s:
                    writer.transport.abort()

    async def end(self, graceful_timeout_s: float) -> None:
        """Give every connection its time, idle ones a moment, then cut them off."""
        with anyio.move_on_after(graceful_timeout_s):
            # One that was just accepted has its task, but is not counted yet.
            await anyio.lowlevel.checkpoint()
            # A request may be on its way on a connection that seems idle. Each answer from now on ends its connection.
            with anyio.move_on_after(_IDLE_S):
                await self._none_left()
            await self._refuse()
            await self._none_left()
            return
        await self._refuse()
        _log.warning("%d connections did not end within %g s: cut off", len(self._open), graceful_timeout_s)
        for writer in self._open:
            writer.transport.abort()
        with anyio.move_on_after(_ABORT_S):
            await self._none_left()

    async def _refuse(self) -> None:
        self._ended = True
        await self._context.terminated.set()

    async def _none_left(self) -> None:
        while self._open:
            self._one_ended = anyio.Event()
            await self._one_ended.wait()


def _configuration(settings: ApiSettings) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = _log
    config.include_server_header = False
    config.h11_max_incomplete_size = settings.header_limit_bytes
    config.h2_max_header_list_size = settings.header_limit_bytes
    config.keep_alive_timeout = settings.keep_alive_s
    # No read time-out: it would also hit a client that waits for a long answer. Slow headers are bounded by
    # keep_alive_timeout, slow bodies by the app's body time-out, slow readers by its send time-out.
    config.read_timeout = None
    return config
