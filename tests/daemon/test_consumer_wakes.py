"""What wakes a consumer's long poll, and what does not."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import anyio
import pytest

from telewarden.consumer_wakes import WindowWakes
from telewarden.storage.feed_window import FeedWindow
from telewarden.storage.signal import Signal
from telewarden_http.v1.consumers_protocols import Channels
from telewarden_http.v1.feed_protocols import FeedEvent
from telewarden_http.v1.token import Position

pytestmark = pytest.mark.anyio


def event(number: int, channel: int = -1001, kind: str = "posted") -> FeedEvent:
    return FeedEvent(Position(1, number), channel, kind, b"{}")


class Waiting:
    """One that waits after position 5."""

    def __init__(self) -> None:
        self.window, self.returned, self.stored = FeedWindow(), Signal(), anyio.Event()
        self.window.begin(Position(1, 5))
        self.asked: list[Position] = []
        self.woken: Position | None = None

    async def _stored(self, position: Position) -> None:
        self.asked.append(position)
        await self.stored.wait()

    @asynccontextmanager
    async def waits(
        self, channels: Channels = None, kinds: Collection[str] = ("posted",)
    ) -> AsyncIterator[None]:
        wakes = WindowWakes(self.window, self.returned, stored=self._stored)

        async def wait() -> None:
            self.woken = await wakes.wait(Position(1, 5), channels, kinds)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                yield
                tasks.cancel_scope.cancel()

    async def woken_with(self) -> Position | None:
        await anyio.wait_all_tasks_blocked()
        return self.woken


async def test_an_event_wakes_once_the_database_has_it() -> None:
    one = Waiting()
    async with one.waits():
        one.window.extend([event(7)], Position(1, 8))
        assert await one.woken_with() is None
        one.stored.set()
        assert await one.woken_with() == Position(1, 8)
        assert one.asked == [Position(1, 8)]


async def test_what_is_returned_wakes() -> None:
    one = Waiting()
    async with one.waits():
        one.returned.fire()
        assert await one.woken_with() == Position(1, 5)


async def test_what_the_filter_does_not_take_wakes_nobody() -> None:
    one = Waiting()
    one.stored.set()
    async with one.waits({"-1002"}, ("edited", "deleted")):
        one.window.extend([event(6), event(7, -1002), event(8, kind="edited")], Position(1, 8))
        assert await one.woken_with() is None
        one.window.extend([event(9, -1002, "deleted")], Position(1, 9))
        assert await one.woken_with() == Position(1, 9)
