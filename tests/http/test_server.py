"""Over real HTTP on 127.0.0.1: big and slow requests, clients that go away, an end in time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import pytest

from telewarden_http.protocols import Page, Source
from telewarden_http.server import CannotListen, serve

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio

POLL = b"GET /api/messages/unprocessed?channel=-1 HTTP/1.1\r\nHost: a\r\nX-API-Key: consumer-key-7f2a\r\n\r\n"
MARK = b"POST /api/messages/mark-processed HTTP/1.1\r\nHost: a\r\nX-API-Key: consumer-key-7f2a\r\n"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The loop of production, and the one that everybody has."""
    return "asyncio", {"use_uvloop": request.param}


async def everything(stream: anyio.abc.SocketStream) -> bytes:
    """What the server sends until it closes the connection."""
    received = bytearray()
    with anyio.fail_after(10):
        try:
            async for piece in stream:
                received += piece
        except anyio.BrokenResourceError:  # closed with a reset
            pass
    return bytes(received)


async def test_a_poll_and_an_acknowledgement_over_one_connection(api: Api) -> None:
    api.reader.page = Page([b'{"id":"a"}'] * 100, Source.CACHE, 100)

    async with api.served() as server, server.client() as client:
        polled = await client.get("/api/messages/unprocessed", params={"channel": "-1001"})
        marked = await client.post(
            "/api/messages/mark-processed", json={"messageIds": ["1"], "processedBy": "parser"}
        )

    assert (polled.status_code, polled.json()["count"]) == (200, 100)
    assert marked.json()["data"]["requested"] == 1
    assert "server" not in polled.headers


async def test_a_body_of_ten_megabytes_is_refused_and_the_client_can_read_why(api: Api) -> None:
    async with api.served() as server, server.client() as client:
        answer = await client.post("/api/messages/mark-processed", content=b"x" * 10_000_000)

    assert answer.status_code == 413
    assert answer.json()["success"] is False


async def test_a_body_of_unknown_length_is_refused_once_it_is_over_the_limit(api: Api) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    async with api.served() as server, server.client() as client:
        answer = await client.post("/api/messages/mark-processed", content=pieces())

    assert answer.status_code == 413
    assert "1048576" in answer.json()["message"]


async def test_a_stranger_with_a_big_body_is_told_that_a_key_is_required(api: Api) -> None:
    async with api.served() as server, server.client() as client:
        del client.headers["X-API-Key"]
        answer = await client.post("/api/messages/mark-processed", content=b"x" * 10_000_000)

    assert answer.status_code == 401


async def test_a_body_that_does_not_arrive_is_given_up(make_api: Callable[..., Api]) -> None:
    api = make_api(body_timeout_s=0.05)

    async with api.served() as server, server.connect() as stream:
        await stream.send(MARK + b'Content-Length: 100\r\n\r\n{"messageIds":')
        answer = await stream.receive()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert api.acknowledger.requests == []


async def test_headers_that_do_not_arrive_are_given_up(make_api: Callable[..., Api]) -> None:
    api = make_api(keep_alive_s=0.05)

    async with api.served() as server, server.connect() as stream:
        await stream.send(POLL[:40])

        assert await everything(stream) == b""


async def test_headers_beyond_the_limit_are_refused(make_api: Callable[..., Api]) -> None:
    api = make_api(header_limit_bytes=2000)

    async with api.served() as server, server.connect() as stream:
        await stream.send(b"GET /health HTTP/1.1\r\nHost: a\r\nX-Big: " + b"x" * 3000)

        assert (await everything(stream)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("target", [b"*", b"?x", b"//", b"http://a", b"/%00", b"/%ff", b"/health%0a", b"x"])
async def test_a_strange_target_is_not_found(api: Api, target: bytes) -> None:
    async with api.served() as server, server.connect() as stream:
        await stream.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

        assert (await everything(stream)).startswith(b"HTTP/1.1 404 ")


async def test_a_host_beyond_the_rules_is_refused(api: Api) -> None:
    async with api.served() as server, server.connect() as stream:
        await stream.send(b"GET /health HTTP/1.1\r\nHost: " + b"x" * 300 + b"\r\nConnection: close\r\n\r\n")

        assert (await everything(stream)).startswith(b"HTTP/1.1 400 ")


async def test_what_is_not_http_is_refused(api: Api) -> None:
    async with api.served() as server, server.connect() as stream:
        await stream.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")

        assert (await everything(stream)).startswith(b"HTTP/1.1 400 ")


async def test_a_websocket_is_refused(api: Api) -> None:
    async with api.served() as server, server.connect() as stream:
        await stream.send(
            b"GET /api/messages/unprocessed HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )

        assert (await stream.receive()).startswith(b"HTTP/1.1 403 ")


async def test_a_poll_whose_client_went_away_is_ended_and_counted(api: Api) -> None:
    api.reader.hangs = True

    async with api.served() as server:
        async with server.connect() as stream:
            await stream.send(POLL)
            await api.reader.asked.wait()
        with anyio.fail_after(5):
            await api.reader.cancelled.wait()

    labels = {"method": "GET", "route": "/api/messages/unprocessed", "status": "499"}
    assert api.sample("telegram_gateway_api_http_requests_total", **labels) == 1


async def test_connections_beyond_the_limit_are_turned_away(make_api: Callable[..., Api]) -> None:
    api = make_api(max_connections=1)

    async with api.served() as server, server.client() as client:
        assert (await client.get("/health")).status_code == 200
        async with server.connect() as stream:
            assert await everything(stream) == b""
        assert (await client.get("/health")).status_code == 200


async def test_a_connection_that_its_client_closed_is_gone_at_once(api: Api) -> None:
    async with api.served() as server:
        async with server.connect() as stream:
            await stream.send(POLL)
            await stream.receive()
        await server.until_connections(0)
        async with server.connect():
            await server.until_connections(1)
        await server.until_connections(0)


async def test_the_end_does_not_wait_for_idle_connections(api: Api) -> None:
    async with (
        api.served(graceful_timeout_s=60) as server,
        server.client() as client,
        server.connect() as silent,
    ):
        await client.get("/health")

        server.stop.set()

        with anyio.fail_after(5):
            await server.ended.wait()
        assert await everything(silent) == b""


async def test_the_end_lets_a_running_request_finish(api: Api) -> None:
    release, started = anyio.Event(), anyio.Event()

    async def waits() -> str:
        started.set()
        await release.wait()
        return "finished"

    api.app.add_url_rule("/waits", view_func=waits)

    async with api.served(graceful_timeout_s=60) as server, server.connect() as stream:
        await stream.send(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
        await started.wait()

        server.stop.set()
        await no_longer_listening(server.port)
        release.set()

        assert (await everything(stream)).endswith(b"finished")
        with anyio.fail_after(5):
            await server.ended.wait()


async def no_longer_listening(port: int) -> None:
    while True:
        try:
            async with await anyio.connect_tcp("127.0.0.1", port):
                pass
        except OSError:
            return


async def test_the_end_cuts_off_a_request_that_takes_too_long(api: Api) -> None:
    api.reader.hangs = True
    before = asyncio.all_tasks()

    async with api.served(graceful_timeout_s=0.1) as server, server.connect() as stream:
        await stream.send(POLL)
        await api.reader.asked.wait()

        server.stop.set()

        with anyio.fail_after(5):
            await server.ended.wait()
    assert api.reader.cancelled.is_set()
    assert asyncio.all_tasks() <= before


async def test_the_end_cuts_off_a_client_that_does_not_read(api: Api) -> None:
    api.reader.page = Page([b"x" * 20_000_000], Source.CACHE, 1)
    before = asyncio.all_tasks()

    async with api.served(graceful_timeout_s=0.1) as server, server.connect() as stream:
        await stream.send(POLL)
        await api.reader.asked.wait()

        server.stop.set()

        with anyio.fail_after(5):
            await server.ended.wait()
    assert asyncio.all_tasks() <= before


async def test_being_cancelled_is_another_way_to_stop(api: Api) -> None:
    ports: list[int] = []
    with anyio.CancelScope() as scope:

        def bound(port: int) -> None:
            ports.append(port)
            scope.cancel()

        await serve(api.app, host="127.0.0.1", port=0, shutdown=anyio.sleep_forever, on_bound=bound)

    with pytest.raises(OSError, match="connect"):
        await anyio.connect_tcp("127.0.0.1", ports[0])


async def test_an_error_of_the_caller_stops_the_server_and_comes_out(api: Api) -> None:
    async def fails() -> None:
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        await serve(api.app, host="127.0.0.1", port=0, shutdown=fails)


async def test_a_port_in_use_is_a_clear_error(api: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(CannotListen, match=rf"127\.0\.0\.1:{port} is in use"):
            await serve(api.app, host="127.0.0.1", port=port, shutdown=anyio.sleep_forever)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
async def test_a_foreign_address_is_a_clear_error(api: Api, host: str) -> None:
    with pytest.raises(CannotListen, match="no address of this machine"):
        await serve(api.app, host=host, port=0, shutdown=anyio.sleep_forever)


async def test_the_same_port_can_be_served_again_at_once(api: Api) -> None:
    async with api.served() as server, server.client() as client:
        await client.get("/health")
    again = anyio.Event()

    with anyio.fail_after(5):
        await serve(
            api.app,
            host="127.0.0.1",
            port=server.port,
            shutdown=again.wait,
            on_bound=lambda _: again.set(),
        )
