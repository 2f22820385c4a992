"""A running local Telegram, and how the tests of this folder reach it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from telethon import TelegramClient, connection

from telewarden.sandbox.telegram.control import Control
from telewarden.sandbox.telegram.process import LocalTelegram
from telewarden.storage.acceptance import Gone, Observation
from telewarden.telegram.client import make_client
from telewarden.telegram.telethon_feed import TelethonConnection, TelethonFeed

PASSWORD, CODE, PHONE = "correct horse", "22222", "+5511900000000"
"""What signs in where the account has a password (`guarded`), and what signs in everywhere."""


class World:
    """A running local Telegram with a signed-in session, and a fresh channel for each test."""

    def __init__(self, telegram: LocalTelegram, control: Control, session: Path) -> None:
        self.telegram, self.control, self.session = telegram, control, session

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path) -> AsyncIterator["World"]:
        """A server of its own, with a signed-in session."""
        async with (
            LocalTelegram.start(folder / "telegram") as telegram,
            Control.connect(telegram.control_path) as control,
        ):
            session = folder / "session" / "account.session"
            await telegram.sign_in(session)
            yield cls(telegram, control, session)

    async def channel(self, title: str = "A channel") -> int:
        """A new channel's id."""
        return (await self.control.create_channel(title)).channel_id

    @asynccontextmanager
    async def client(self, transport: Any = connection.ConnectionTcpFull) -> AsyncIterator[TelegramClient]:
        """A Telethon of the daemon's settings, connected."""
        client = make_client(self.telegram.client_settings(self.session))
        client._connection = transport
        await client.connect()
        try:
            yield client
        finally:
            await client.disconnect()

    @asynccontextmanager
    async def feed(self, timeout_s: float = 5.0) -> AsyncIterator[TelethonConnection]:
        """The daemon's connection."""
        opened = TelethonFeed(self.telegram.client_settings(self.session), request_timeout_s=timeout_s)
        async with opened.connect() as feed:
            yield feed


async def gather(feed: TelethonConnection, count: int) -> list[Observation]:
    """So many pushed observations, in their order."""
    got: list[Observation] = []
    with anyio.fail_after(10):
        while len(got) < count:
            got += [seen for push in await feed.pushes() for seen in push.observations]
    return got


def texts(observations: list[Observation]) -> list[str | None]:
    """Their texts; None for deletions."""
    return [None if isinstance(o, Gone) else o.content.text for o in observations]


async def until(
    condition: Callable[[], bool] | Callable[[], Coroutine[Any, Any, bool]], timeout_s: float = 10
) -> None:
    """Wait for something that sends no event."""
    with anyio.fail_after(timeout_s):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await anyio.sleep(0.01)


def tasks_left_beside(before: set["asyncio.Task[Any]"]) -> set["asyncio.Task[Any]"]:
    """Tasks that are there now and were not before."""
    return asyncio.all_tasks() - before


def at_once(telegram: LocalTelegram, op: str, **values: object) -> None:
    """A control request from code that cannot await."""
    with socket.socket(socket.AF_UNIX) as control, control.makefile("r") as answers:
        control.connect(str(telegram.control_path))
        control.sendall(json.dumps({"op": op, **values}).encode() + b"\n")
        reply = json.loads(answers.readline())
        assert reply["ok"], reply


def never() -> str:
    """A question that must not be asked."""
    raise AssertionError("it was asked for")
