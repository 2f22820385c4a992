"""Connecting: each phase ends in its own time, and the error says which one it was."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandbox_telegram.local import World
from telewarden.sandbox.ports import free_port
from telewarden.telegram.client import ClientSettings, PhasedClient, make_client
from telewarden.telegram.feed import TelegramUnavailable
from telewarden.telegram.phases import Phase, PhaseTimeouts
from telewarden.telegram.telethon_feed import TelethonConnection, TelethonFeed

pytestmark = pytest.mark.anyio
QUICK = PhaseTimeouts(resolve_s=0.5, tcp_s=0.5, key_s=0.5, handshake_s=0.5, login_s=0.5, dialogs_s=0.5)
BOUND_S = 5.0


def settings(world: World, **changes: Any) -> ClientSettings:
    return replace(world.telegram.client_settings(world.session), timeouts=QUICK, **changes)


@asynccontextmanager
async def connected(wanted: ClientSettings) -> AsyncIterator[TelethonConnection]:
    async with TelethonFeed(wanted, request_timeout_s=30.0).connect() as feed:
        yield feed


async def refusal(wanted: ClientSettings) -> str:
    """What connecting fails with, in bounded time."""
    with anyio.fail_after(BOUND_S), pytest.raises(TelegramUnavailable) as raised:
        async with connected(wanted):
            pass
    return str(raised.value)


async def test_a_host_name_that_nobody_knows(world: World) -> None:
    said = await refusal(settings(world, dc_address="no-such-host.invalid:443"))
    assert Phase.RESOLVE.value in said
    assert "no-such-host.invalid:443" in said


async def test_a_resolver_that_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object, **options: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never, raising=True)
    assert f"{Phase.RESOLVE.value} (not within 0.5 s)" in await refusal(settings(world))


async def test_a_port_where_nobody_listens(world: World) -> None:
    said = await refusal(settings(world, dc_address=f"127.0.0.1:{free_port()}"))
    assert Phase.TCP.value in said
    assert "refused" in said.lower()


async def test_a_port_that_takes_no_more_connections(world: World) -> None:
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # What finds the queue full is not answered: the system drops the first packet of each connection.
        for _ in range(3):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        said = await refusal(settings(world, dc_address=f"127.0.0.1:{full.getsockname()[1]}"))
    assert f"{Phase.TCP.value} (not within 0.5 s)" in said


@asynccontextmanager
async def new_client(world: World, folder: Path) -> AsyncIterator[PhasedClient]:
    """A client without a key."""
    client = make_client(settings(world, session_file=folder / "new.session"))
    try:
        yield client
    finally:
        await client.disconnect()


async def test_a_server_that_agrees_on_no_key(world: World, tmp_path: Path) -> None:
    await world.control.fault("black_hole")
    async with new_client(world, tmp_path) as client:
        with anyio.fail_after(BOUND_S), pytest.raises(TelegramUnavailable) as raised, client.phases.limited():
            await client.connect()
    assert f"{Phase.KEY.value} (not within 0.5 s)" in str(raised.value)


async def test_after_the_key_comes_the_handshake(world: World, tmp_path: Path) -> None:
    await world.control.fault("slow", method="help.getConfig", seconds=30)
    async with new_client(world, tmp_path) as client:
        with anyio.fail_after(BOUND_S), pytest.raises(TelegramUnavailable) as raised, client.phases.limited():
            await client.connect()
    assert f"{Phase.HANDSHAKE.value} (not within 0.5 s)" in str(raised.value)


async def test_a_connection_on_which_nothing_is_answered(world: World) -> None:
    await world.control.fault("black_hole")
    assert f"{Phase.HANDSHAKE.value} (not within 0.5 s)" in await refusal(settings(world))


@pytest.mark.parametrize("method", ["users.getUsers", "updates.getState"])
async def test_a_server_that_does_not_say_who_is_signed_in(world: World, method: str) -> None:
    await world.control.fault("slow", method=method, seconds=30)
    assert f"{Phase.LOGIN.value} (not within 0.5 s)" in await refusal(settings(world))


async def test_a_server_that_does_not_say_which_channels_there_are(world: World) -> None:
    async with connected(settings(world)) as feed:
        await world.control.fault("slow", method="messages.getDialogs", seconds=30)
        for ask in (lambda: feed.places([-1001]), feed.dialogs):
            with (
                anyio.fail_after(BOUND_S),
                pytest.raises(TelegramUnavailable, match=r"which channels.*0\.5 s"),
            ):
                await ask()
        # The connection itself is sound.
        await feed.probe()
