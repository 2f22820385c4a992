"""Clients that send or read a byte at a time are cut off, and keep nobody else waiting."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import pytest
from h2.connection import H2Connection
from h2.events import ResponseReceived

from telewarden_http import boundary
from telewarden_http.protocols import Page, Source

if TYPE_CHECKING:
    from http.conftest import Api, Served

pytestmark = pytest.mark.anyio

POLL = b"GET /api/messages/unprocessed?channel=-1 HTTP/1.1\r\nHost: a\r\nX-API-Key: consumer-key-7f2a\r\n\r\n"
MARK = b"POST /api/messages/mark-processed HTTP/1.1\r\nHost: a\r\nX-API-Key: consumer-key-7f2a\r\n"
LARGE = 4_000_000
GONE = (anyio.BrokenResourceError, anyio.EndOfStream)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The loop of production, and the one that everybody has."""
    return "asyncio", {"use_uvloop": request.param}


@asynccontextmanager
async def slow_reader(server: Served, sent: bytes) -> AsyncIterator[socket.socket]:
    """A connection that takes little before it is read from, and on which something has been sent."""
    with socket.socket() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours.setblocking(False)
        with suppress(BlockingIOError):
            ours.connect(("127.0.0.1", server.port))
        await anyio.wait_writable(ours)
        ours.send(sent)
        yield ours


async def trickle(stream: anyio.abc.SocketStream, data: bytes) -> None:
    """A byte at a time, until it is sent or the server has closed the connection."""
    with suppress(anyio.BrokenResourceError):
        for byte in data:
            await stream.send(bytes([byte]))
            await anyio.sleep(0.01)


async def everything(stream: anyio.abc.SocketStream) -> bytes:
    received = bytearray()
    with suppress(*GONE):
        while True:
            received += await stream.receive()
    return bytes(received)


async def test_a_client_that_sends_its_headers_byte_by_byte_is_cut_off(make_api: Callable[..., Api]) -> None:
    api = make_api(keep_alive_s=0.2)
    async with api.served() as server, server.connect() as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(trickle, stream, POLL * 100)
        with anyio.fail_after(10):
            assert await everything(stream) == b""
    assert api.reader.queries == []


async def test_a_client_that_sends_its_body_byte_by_byte_is_told_so_and_cut_off(
    make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "_LINGER_S", 0.2)
    api = make_api(body_timeout_s=0.2)
    async with api.served() as server, server.connect() as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(trickle, stream, MARK + b"Content-Length: 100000\r\n\r\n" + b" " * 100_000)
        with anyio.fail_after(10):
            assert (await everything(stream)).startswith(b"HTTP/1.1 408 ")
        tasks.cancel_scope.cancel()


async def test_a_request_of_http_2_whose_end_does_not_come_is_answered(api: Api) -> None:
    client = H2Connection()
    client.initiate_connection()
    target = [(":method", "GET"), (":path", "/api/messages/unprocessed"), (":scheme", "http")]
    client.send_headers(1, [*target, (":authority", "a")])
    async with api.served() as server, server.connect() as stream:
        await stream.send(client.data_to_send())
        with anyio.fail_after(10):
            headers: list[tuple[bytes, bytes]] = []
            while not headers:
                for event in client.receive_data(await stream.receive()):
                    if isinstance(event, ResponseReceived):
                        headers = list(event.headers)
    assert (b":status", b"401") in headers


@pytest.mark.parametrize("reads", [False, True], ids=["nothing", "a byte at a time"])
async def test_a_client_that_reads_too_slowly_is_cut_off(make_api: Callable[..., Api], reads: bool) -> None:
    api = make_api(send_timeout_s=0.3)
    api.reader.page = Page([b"x" * LARGE], Source.CACHE, 1)
    async with (
        api.served() as server,
        slow_reader(server, POLL) as client,
        anyio.create_task_group() as tasks,
    ):
        if reads:
            tasks.start_soon(read_slowly, client)
        await api.reader.asked.wait()
        await server.until_connections(0)
        tasks.cancel_scope.cancel()


async def read_slowly(client: socket.socket) -> None:
    with suppress(ConnectionResetError):
        while True:
            await anyio.wait_readable(client)
            client.recv(1)
            await anyio.sleep(0.01)


async def test_a_client_that_reads_in_time_gets_all_of_it(make_api: Callable[..., Api]) -> None:
    api = make_api(send_timeout_s=20.0)
    api.reader.page = Page([b"x" * LARGE], Source.CACHE, 1)
    last = POLL.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    received = 0
    async with api.served() as server, slow_reader(server, last) as client:
        with anyio.fail_after(10):
            await anyio.wait_readable(client)
            while piece := client.recv(65_536):
                received += piece.count(b"x")
                await anyio.wait_readable(client)
    assert received >= LARGE


async def test_slow_ones_keep_nobody_else_waiting(make_api: Callable[..., Api]) -> None:
    api = make_api()
    api.reader.page = Page([b"x" * LARGE], Source.CACHE, 1)
    async with api.served(graceful_timeout_s=0.1) as server, anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(hold, server, POLL)
            tasks.start_soon(hold, server, POLL[:-2])
        await server.until_connections(20)
        api.reader.page = Page([b'{"id":"a"}'], Source.CACHE, 1)
        async with server.client() as client:
            with anyio.fail_after(5):
                answer = await client.get("/api/messages/unprocessed", params={"channel": "-1"})
        assert answer.json()["count"] == 1
        tasks.cancel_scope.cancel()


async def hold(server: Served, sent: bytes) -> None:
    async with slow_reader(server, sent):
        await anyio.sleep_forever()
