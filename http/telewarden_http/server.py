"""Serving an app with Hypercorn's protocol: our socket, our limits, and an end that comes in time."""

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import SocketStream, UNIXSocketStream
from quart import Quart

from telewarden_http.app import settings_of
from telewarden_http.connections import Connections
from telewarden_http.stopping import stopping_of

_BACKLOG = 1024
_STALLED_MS = 15_000
_UNREAD_BYTES = 512 * 1024
_CONNECTIONS: Final = "telewarden_connections"


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
    own_port: int | None = None,
) -> None:
    """Serve `app` until `shutdown()` returns, then let running requests finish and come back.

    host: an address or a name. port: 0 takes a free one. on_bound: told the real port once connections are
    taken. graceful_timeout_s: how long running requests may still take; who waits (`Stopping`) is answered at once,
    connections that are idle for a moment close, and what is left then is cut off, so it is back at most a second
    later. Being cancelled is another way to stop.
    listener: of `listen`, shared with other processes, instead of host and port; it stays open. own_port: of 127.0.0.1,
    at which this process is reached besides, and no other.
    Limits and time-outs of connections come from the app's settings. Needs asyncio (or uvloop).

    Raises CannotListen if the address is taken or not to be had, and whatever `shutdown` raises.
    """
    own: list[socket.socket] = []
    if listener is None:
        own.append(await listen(host, port))
    if own_port is not None:
        own.append(await listen("127.0.0.1", own_port))
    listening = own[0] if listener is None else listener
    connections = app.extensions[_CONNECTIONS] = Connections(app, settings_of(app))
    stopping = stopping_of(app)
    stopping.take_back()
    failure: Exception | None = None
    try:
        await app.startup()
        async with anyio.create_task_group() as tasks:
            for queue in {listening, *own}:
                tasks.start_soon(connections.accept, queue)
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
            for queue in own:
                # Whoever is in the queue has been told that the connection stands, and may have sent a request.
                await connections.accept_all(queue)
                queue.close()
            await connections.end(graceful_timeout_s)
            await app.shutdown()


@asynccontextmanager
async def connected(app: Quart) -> AsyncIterator[SocketStream]:
    """A connection to an app that is being served in this very process, whoever else shares its port."""
    connections: Connections = app.extensions[_CONNECTIONS]
    ours, theirs = socket.socketpair()
    async with await UNIXSocketStream.from_socket(ours) as stream:
        await connections.adopt(theirs)
        yield stream


def open_connections(app: Quart) -> int:
    """How many connections an app that is being served has."""
    connections: Connections = app.extensions[_CONNECTIONS]
    return len(connections)


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
        # Else the kernel takes megabytes (tcp_wmem) for a client that reads slowly, where we do not see that it does.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
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
