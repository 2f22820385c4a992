"""The tests' own proxy does to a connection what it is told to, and to no other."""

import socket
import time
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from support.proxy import BLACK_HOLE, REFUSED, Flow, Line, Proxy, open_proxy
from telewarden.sandbox.ports import HOST

pytestmark = pytest.mark.anyio

OTHER = "127.0.0.2"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """One before a server that answers with what it is sent."""

    async def echo(stream: SocketStream) -> None:
        async with stream:
            try:
                async for piece in stream:
                    await stream.send(piece)
            except anyio.BrokenResourceError:
                return

    listener = await anyio.create_tcp_listener(local_host=HOST)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        async with open_proxy(listener.extra(SocketAttribute.local_port)) as found:
            yield found
        tasks.cancel_scope.cancel()


async def connect(proxy: Proxy, source: str = HOST) -> SocketStream:
    """From an address of one's own choice."""
    raw = socket.create_connection((HOST, proxy.port), source_address=(source, 0))
    return await SocketStream.from_socket(raw)


async def ask(stream: SocketStream, text: bytes = b"x", patience_s: float = 5.0) -> float:
    """How long an echo took, in seconds. Raises TimeoutError."""
    began_s = time.monotonic()
    await stream.send(text)
    got = b""
    with anyio.fail_after(patience_s):
        while len(got) < len(text):
            got += await stream.receive()
    assert got == text
    return time.monotonic() - began_s


async def test_it_passes_on_what_comes(proxy: Proxy) -> None:
    async with await connect(proxy) as stream:
        await ask(stream, b"much" * 500_000)


async def test_latency_is_that_of_a_round_trip_and_does_not_add_up(proxy: Proxy) -> None:
    proxy.set(Line.slow(0.3))
    async with await connect(proxy) as stream:
        began_s = time.monotonic()
        for _ in range(10):
            await stream.send(b"x")
            await anyio.sleep(0.01)
        got = b""
        while len(got) < 10:
            got += await stream.receive()
        took_s = time.monotonic() - began_s
    assert 0.3 <= took_s < 2.0


async def test_a_black_hole_gives_up_what_it_held_when_it_ends(proxy: Proxy) -> None:
    async with await connect(proxy) as stream:
        await ask(stream)
        proxy.set(BLACK_HOLE)
        with pytest.raises(TimeoutError):
            await ask(stream, b"late", patience_s=0.1)
        async with await connect(proxy) as second:
            with pytest.raises(TimeoutError):
                await ask(second, b"later", patience_s=0.1)
            proxy.heal()
            assert await stream.receive() == b"late"
            assert await second.receive() == b"later"


async def test_one_direction_alone_can_be_held(proxy: Proxy) -> None:
    proxy.set(Line(to_client=Flow(held=True)))
    async with await connect(proxy) as stream:
        with pytest.raises(TimeoutError):
            await ask(stream, patience_s=0.1)


async def test_a_cut_ends_what_there_is_and_nothing_new(proxy: Proxy) -> None:
    async with await connect(proxy) as stream:
        await ask(stream)
        await proxy.cut()
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await stream.receive()
    async with await connect(proxy) as stream:
        await ask(stream)


async def test_refusing_resets_what_is_new_and_leaves_what_there_is(proxy: Proxy) -> None:
    async with await connect(proxy) as stream:
        await ask(stream)
        proxy.set(REFUSED)
        async with await connect(proxy) as second:
            with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                await second.receive()
        await ask(stream)


async def test_each_source_has_a_line_of_its_own(proxy: Proxy) -> None:
    proxy.set(BLACK_HOLE, OTHER)
    async with await connect(proxy) as mine, await connect(proxy, OTHER) as others:
        await ask(mine)
        with pytest.raises(TimeoutError):
            await ask(others, patience_s=0.1)
        await proxy.cut(OTHER)
        await ask(mine)


async def test_the_end_of_the_server_is_seen_by_the_client() -> None:
    async with open_proxy(server_port=1) as proxy, await connect(proxy) as stream:
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await stream.receive()
