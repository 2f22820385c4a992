"""Looks at the process for all who look: one look serves everybody, and nobody looking costs nothing."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
import msgspec

from telewarden.history import History
from telewarden.storage.signal import Signal
from telewarden_http.v1.overview_protocols import Overview

EACH_S = 1.0
"""How old a look may grow."""
_AT_LEAST_S = 0.1
"""Two looks are no closer together, however fast workers fail."""
_NEWS_S = 0.4
"""Nor two of which the second is for new messages, however many come in."""


class Overviews:
    """Implements OverviewSource. make: looks. history: what calls for a look at once. news: fires when there may be new
    messages, which call for a look soon; None where nothing tells that.

    Whoever wants a look that nobody has taken yet takes it, the others wait for that one.
    """

    def __init__(
        self,
        make: Callable[[], Awaitable[Overview]],
        history: History,
        *,
        news: Signal | None = None,
        each_s: float = EACH_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._history, self._news = make, history, news
        self._each_s, self._clock_s = each_s, clock_s
        self._lock = anyio.Lock()
        self._number = 0
        self._body = b""
        self._made_s = float("-inf")
        self._transitions = 0

    async def overview(self) -> bytes:
        """See the protocol."""
        return (await self.present())[1]

    @contextmanager
    def looking(self) -> Iterator["Looks"]:
        """See the protocol."""
        yield Looks(self)

    async def present(self) -> tuple[int, bytes]:
        """The number of a look that is not old, and the look."""
        is_old = not self._number or self._clock_s() - self._made_s >= self._each_s
        return await self._newer_than(self._number if is_old else self._number - 1)

    async def next_after(self, number: int) -> tuple[int, bytes]:
        """The same of a later one, when it is due."""
        with anyio.move_on_after(self._made_s + self._each_s - self._clock_s()):
            async with anyio.create_task_group() as tasks:
                if self._news is not None:
                    tasks.start_soon(self._after_news, self._news, tasks.cancel_scope)
                await self._history.changed.wait_until(lambda: self._history.count != self._transitions)
                await anyio.sleep(max(0.0, self._made_s + _AT_LEAST_S - self._clock_s()))
                tasks.cancel_scope.cancel()
        return await self._newer_than(number)

    async def _after_news(self, news: Signal, waiting: anyio.CancelScope) -> None:
        await news.wait()
        await anyio.sleep(max(0.0, self._made_s + _NEWS_S - self._clock_s()))
        waiting.cancel()

    async def _newer_than(self, number: int) -> tuple[int, bytes]:
        async with self._lock:
            if self._number <= number:
                self._transitions = self._history.count
                self._body = msgspec.json.encode(await self._make())
                self._made_s = self._clock_s()
                self._number += 1
            return self._number, self._body


class Looks:
    """Implements the protocol of that name."""

    def __init__(self, overviews: Overviews) -> None:
        self._overviews = overviews
        self._number: int | None = None

    async def next(self) -> bytes:
        """See the protocol."""
        if self._number is None:
            self._number, body = await self._overviews.present()
        else:
            self._number, body = await self._overviews.next_after(self._number)
        return body
