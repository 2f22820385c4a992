"""Clients that waste a server's time: they send, or read, a byte a second, and come again when they are cut off.

`python -m telewarden.sandbox.slow_clients PORT READERS WRITERS`, with the readers' request as its standard input,
prints a line when all are connected, and goes on until it is killed.
"""

import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

_PAUSE_S = 1.0
_FILLER = b"X-Slow: " + b"a" * 4_000


@asynccontextmanager
async def slow_clients(port: int, *, readers: int, writers: int, request: bytes) -> AsyncIterator[None]:
    """So many of each in a process of their own, connected, as long as the context. request: what the readers ask for;
    half of the writers are slow with its headers, the others with a body that they announce."""
    command = [sys.executable, "-m", "telewarden.sandbox.slow_clients", str(port), str(readers), str(writers)]
    async with await anyio.open_process(command, stdin=subprocess.PIPE, stderr=None) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            await process.stdin.send(request)
            await process.stdin.aclose()
            await process.stdout.receive()
            yield
        finally:
            process.kill()


async def _run(port: int, readers: int, writers: int, request: bytes) -> None:
    body = b"POST /api/messages/mark-processed HTTP/1.1\r\nContent-Length: 4000\r\n" + _headers(request)
    connected = anyio.Semaphore(0)
    async with anyio.create_task_group() as tasks:
        for _ in range(readers):
            tasks.start_soon(_again_and_again, port, request, True, connected)
        for number in range(writers):
            sent = body if number % 2 else request[:-2] + _FILLER
            tasks.start_soon(_again_and_again, port, sent, False, connected)
        for _ in range(readers + writers):
            await connected.acquire()
        sys.stdout.write("connected\n")
        sys.stdout.flush()


def _headers(request: bytes) -> bytes:
    return request.partition(b"\r\n")[2]


async def _again_and_again(port: int, sent: bytes, reads: bool, connected: anyio.Semaphore) -> None:
    while True:
        try:
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.setblocking(False)
                await _connect(connection, port)
                connected.release()
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


if __name__ == "__main__":
    port, readers, writers = map(int, sys.argv[1:])
    request = sys.stdin.buffer.read()
    anyio.run(_run, port, readers, writers, request, backend_options={"use_uvloop": True})
