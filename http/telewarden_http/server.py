"""Serving an app with Hypercorn's protocol: our socket, our limits, and an end that comes in time."""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import SocketStream, UNIXSocketStream
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import LifespanState
from quart import Quart

from telewarden_http.app import settings_of
from telewarden_http.settings import ApiSettings
from telewarden_http.stopping import stopping_of

_BACKLOG = 1024
_STALLED_MS = 15_000
_ACCEPT_AGAIN_S = 1.0
_IDLE_S = 0.2
_ABORT_S = 1.0
_LOOK_S = 1.0
_CONNECTIONS: Final = "telewarden_connections"
_log = logging.getLogger("telewarden_http.server")


class CannotListen(Exception):
    """The address cannot be listened on; the message says which one, why, and what to do."""


async def serve(
    app: Quart,
    *,
    host: str,
    port: int,
    shutdown: Callable[[], Awaitable[object]],
    on_bound: Callable[[int], object] | None = None,
    graceful_timeout_s: float = 3.0,
    listener: socket.socket | None = None,
) -> None:
    """Serve `app` until `shutdown()` returns, then let running requests finish and come back.

    host: an address or a name. port: 0 takes a free one. on_bound: told the real port once connections are
    taken. graceful_timeout_s: how long running requests may still take; who waits (`Stopping`) is answered at once,
    connections that are idle for a moment close, and what is left then is cut off, so it is back at most a second
    later. Being cancelled is another way to stop.
    listener: of `listen`, shared with other processes, instead of host and port; it stays open.
    Limits and time-outs of connections come from the app's settings. Needs asyncio (or uvloop).

    Raises CannotListen if the address is taken or not to be had, and whatever `shutdown` raises.
    """
    shared = listener is not None
    listening = listener if listener is not None else await listen(host, port)
    connections = app.extensions[_CONNECTIONS] = _Connections(app, settings_of(app))
    stopping = stopping_of(app)
    stopping.take_back()
    failure: Exception | None = None
    try:
        await app.startup()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connections.accept, listening)
            tasks.start_soon(connections.watch_readers)
            if on_bound is not None:
                on_bound(listening.getsockname()[1])
            try:
                await shutdown()
            except Exception as error:  # noqa: BLE001 (raised below, not as one of a group)
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        with anyio.CancelScope(shield=True):
            stopping.begin()
            if not shared:
                # Whoever is in the queue has been told that the connection stands, and may have sent a request.
                await connections.accept_all(listening)
                listening.close()
            await connections.end(graceful_timeout_s)
            await app.shutdown()


@asynccontextmanager
async def connected(app: Quart) -> AsyncIterator[SocketStream]:
    """A connection to an app that is being served in this very process, whoever else shares its port."""
    connections: _Connections = app.extensions[_CONNECTIONS]
    ours, theirs = socket.socketpair()
    async with await UNIXSocketStream.from_socket(ours) as stream:
        await connections.adopt(theirs)
        yield stream


class _Connections:
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
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(), self.serve)
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
            await TCPServer(self._app, loop, self._config, self._context, LifespanState({}), reader, writer)
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


async def listen(host: str, port: int) -> socket.socket:
    """A socket on which connections queue up from now on. port: 0 takes a free one.

    Several processes may serve one: it is the queue that they share. Raises CannotListen.
    """
    try:
        family, kind, protocol, _, address = (
            await anyio.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )[0]
    except OSError as error:
        raise CannotListen(f"{host} is no address of this machine: {error.strerror or error}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Inherited by every connection: a client that reads nothing is cut off by the kernel (RFC 5482).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MS)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(_explain(error, host, port)) from error
    return listener


def _explain(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{host}:{port} is in use: another process listens there; stop it or choose another port"
        case errno.EACCES:
            return f"{host}:{port} is not allowed: ports below 1024 need CAP_NET_BIND_SERVICE; choose another port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine; choose one that `ip address` shows"
        case _:
            return f"cannot listen on {host}:{port}: {error.strerror or error}"
