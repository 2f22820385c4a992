"""Clients that waste a server's time: they send, or read, a byte a second, and come again when they are cut off."""

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

_PAUSE_S = 1.0
_FILLER = b"X-Slow: " + b"a" * 4_000


@asynccontextmanager
async def slow_clients(port: int, *, readers: int, writers: int, request: bytes) -> AsyncIterator[None]:
    """So many of each, as long as the context. request: what the readers ask for; half of the writers are slow with its
    headers, the others with a body that they announce."""
    body = b"POST /api/messages/mark-processed HTTP/1.1\r\nContent-Length: 4000\r\n" + _headers(request)
    async with anyio.create_task_group() as tasks:
        for _ in range(readers):
            tasks.start_soon(_again_and_again, port, request, True)
        for number in range(writers):
            tasks.start_soon(_again_and_again, port, body if number % 2 else request[:-2] + _FILLER, False)
        yield
        tasks.cancel_scope.cancel()


def _headers(request: bytes) -> bytes:
    return request.partition(b"\r\n")[2]


async def _again_and_again(port: int, sent: bytes, reads: bool) -> None:
    while True:
        try:
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.setblocking(False)
                await _connect(connection, port)
                await _waste(connection, sent, reads)
        except OSError:
            await anyio.sleep(_PAUSE_S)


async def _connect(connection: socket.socket, port: int) -> None:
    try:
        connection.connect(("127.0.0.1", port))
    except BlockingIOError:
        await anyio.wait_writable(connection)


async def _waste(connection: socket.socket, sent: bytes, reads: bool) -> None:
    """Raises OSError when it is cut off."""
    await anyio.sleep(random.random() * _PAUSE_S)
    if reads:
        connection.send(sent)
    else:
        split = min(len(sent), sent.find(b"\r\n") + 2)
        connection.send(sent[:split])
        sent = sent[split:]
    while True:
        await anyio.sleep(_PAUSE_S)
        try:
            if reads and not connection.recv(1):
                raise ConnectionResetError
            if not reads:
                connection.send(sent[:1] or b" ")
                sent = sent[1:]
        except BlockingIOError:
            continue
