"""Serving an app with Hypercorn's protocol: our socket, our limits, and an end that comes in time."""

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable

import anyio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import LifespanState
from quart import Quart

from telewarden_http.app import settings_of
from telewarden_http.settings import ApiSettings

_BACKLOG = 1024
_STALLED_MS = 15_000
_ABORT_S = 1.0
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
) -> None:
    """Serve `app` until `shutdown()` returns, then let running requests finish and come back.

    host: an address or a name. port: 0 takes a free one. on_bound: told the real port once connections are
    taken. graceful_timeout_s: how long running requests may still take; idle connections close at once, and
    what is left then is cut off, so it is back at most a second later. Being cancelled is another way to stop.
    Limits and time-outs of connections come from the app's settings. Needs asyncio (or uvloop).

    Raises CannotListen if the address is taken or not to be had, and whatever `shutdown` raises.
    """
    listener = await _listen(host, port)
    real_port: int = listener.getsockname()[1]
    settings = settings_of(app)
    connections = _Connections(app, _configuration(settings), settings.max_connections)
    server = await asyncio.start_server(connections.serve, sock=listener, backlog=_BACKLOG)
    try:
        await app.startup()
        if on_bound is not None:
            on_bound(real_port)
        await shutdown()
    finally:
        with anyio.CancelScope(shield=True):
            server.close()
            await connections.end(graceful_timeout_s)
            await app.shutdown()


class _Connections:
    """The open connections, each served by Hypercorn's TCPServer.

    Not `hypercorn.asyncio.serve`, which does this too: at its time-out it cancels what is left, and neither a
    client that reads nothing nor a Quart handler ends by that. Cutting the transport does end both: the one
    by an error, the other because its client is gone.
    """

    def __init__(self, app: Quart, config: Config, most: int) -> None:
        self._app = ASGIWrapper(app)
        self._config = config
        self._context = WorkerContext(None)
        self._most = most
        self._open: set[asyncio.StreamWriter] = set()
        self._none_left = anyio.Event()
        self._ending = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        if self._full():
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
            if self._ending and not self._open:
                self._none_left.set()

    def _full(self) -> bool:
        return self._ending or len(self._open) >= self._most

    async def end(self, graceful_timeout_s: float) -> None:
        """Close idle connections, give the others their time, then cut them off."""
        self._ending = True
        await self._context.terminated.set()
        if not self._open:
            return
        with anyio.move_on_after(graceful_timeout_s):
            await self._none_left.wait()
            return
        _log.warning("%d connections did not end within %g s: cut off", len(self._open), graceful_timeout_s)
        for writer in self._open:
            writer.transport.abort()
        with anyio.move_on_after(_ABORT_S):
            await self._none_left.wait()


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


async def _listen(host: str, port: int) -> socket.socket:
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
