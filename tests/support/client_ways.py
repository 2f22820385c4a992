"""The same scenarios by threads, by asyncio and by trio."""

import time
from collections.abc import Callable
from contextlib import aclosing, closing
from typing import Any, Protocol

import anyio

from support.fake_api import KEY, FakeApi, FakeTransport
from telewarden_http.client import AsyncClient, Client, Delivery, Event, Retry

QUICK = Retry(first_s=0.002, most_s=0.02, obey_most_s=0.05)
URL = "http://fake"
Work = Callable[[Delivery], Callable[[], bool] | None]
"""What is done with a delivery; it may give a condition, which is waited for before the loop goes on."""


class Leave(Exception):
    """The loop is left by a break."""


class Use(Protocol):
    """One way of using a client."""

    def feed(self, api: FakeApi, count: int | None = None, **options: Any) -> list[Event]:
        """The first so many events, and then the loop is left; or all, if it ends by itself."""
        ...

    def consume(self, api: FakeApi, work: Work, key: str = KEY, **options: Any) -> None:
        """Do the work until it raises something."""
        ...


class Threads:
    """The blocking client."""

    def feed(self, api: FakeApi, count: int | None = None, **options: Any) -> list[Event]:
        events: list[Event] = []
        with (
            Client(URL, KEY, retry=QUICK, http_transport=FakeTransport(api)) as client,
            closing(client.feed(**options)) as feed,
        ):
            for event in feed:
                events.append(event)
                if len(events) == count:
                    break
        return events

    def consume(self, api: FakeApi, work: Work, key: str = KEY, **options: Any) -> None:
        with (
            Client(URL, key, retry=QUICK, http_transport=FakeTransport(api)) as client,
            client.consume(**options) as deliveries,
        ):
            for delivery in deliveries:
                try:
                    condition = work(delivery)
                except Leave:
                    break
                while condition is not None and not condition():
                    time.sleep(0.005)


class Tasks:
    """The asynchronous client on one of its event loops."""

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def feed(self, api: FakeApi, count: int | None = None, **options: Any) -> list[Event]:
        events: list[Event] = []

        async def use() -> None:
            async with (
                AsyncClient(URL, KEY, retry=QUICK, http_transport=FakeTransport(api)) as client,
                aclosing(client.feed(**options)) as feed,
            ):
                async for event in feed:
                    events.append(event)
                    if len(events) == count:
                        break

        anyio.run(use, backend=self._backend)
        return events

    def consume(self, api: FakeApi, work: Work, key: str = KEY, **options: Any) -> None:
        async def use() -> None:
            async with (
                AsyncClient(URL, key, retry=QUICK, http_transport=FakeTransport(api)) as client,
                client.consume(**options) as deliveries,
            ):
                async for delivery in deliveries:
                    try:
                        condition = work(delivery)
                    except Leave:
                        break
                    while condition is not None and not condition():
                        await anyio.sleep(0.005)

        anyio.run(use, backend=self._backend)
