"""Staying connected to the cache's master: it is found, followed in a fail-over, and left alone while it fails."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from telewarden.storage.breaker import Breaker
from telewarden.storage.cache import Cache, CacheUnavailable, CacheUnfit, HistoryChanged
from telewarden.storage.signal import Signal
from telewarden_supervisors import WorkerContext

_OPEN_S, _OPEN_LONGEST_S = 0.2, 1.0


class Standing(Protocol):
    """What a process knows of the cache; polls go by it."""

    history: str | None
    reason: str | None
    changed: Signal

    def connected(self, history: str) -> None:
        """The master answered."""

    def disconnected(self, reason: str, history: str | None = None) -> None:
        """It does not answer."""

    def distrust(self, reason: str) -> None:
        """What was known of its data is not true any more."""


class Connector:
    """Connects, and has somebody follow the server for as long as it answers.

    An outage is part of that work, not a failure: no restart would help. breaker: a server that has failed is asked
    here alone; polls ask it again once it has answered here.
    """

    def __init__(self, cache: Cache, standing: Standing) -> None:
        self._cache, self._standing = cache, standing
        self._moved = False
        self.breaker = Breaker(_OPEN_S, longest_s=_OPEN_LONGEST_S)

    async def run(self, ctx: WorkerContext, follow: Callable[[WorkerContext], Awaitable[None]]) -> None:
        """Until cancelled. follow: returns when the standing has no history any more; raises CacheUnavailable,
        HistoryChanged."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cache.follow, self._move)
            while True:
                await self._serve(ctx, follow)

    def _move(self) -> None:
        """Another server is the master now."""
        self._moved = True
        self._standing.disconnected("Sentinel names another master")

    async def _serve(self, ctx: WorkerContext, follow: Callable[[WorkerContext], Awaitable[None]]) -> None:
        await self._until_allowed(ctx)
        try:
            self._moved = False
            history = await self._cache.connect()
            self.breaker.succeeded()
            self._standing.connected(history)
            ctx.status(f"connected to {self._cache.address}")
            await follow(ctx)
            if not self._moved:
                # A poll found out.
                self.breaker.broke(anyio.current_time(), self._standing.reason or "no answer")
        except CacheUnavailable as error:
            if isinstance(error, CacheUnfit):
                # What was proven may have been thrown away since.
                self._standing.distrust(str(error))
            self._standing.disconnected(str(error))
            self.breaker.broke(anyio.current_time(), str(error))
            ctx.status(f"down: {error}")
        except HistoryChanged as error:
            self._standing.distrust(str(error))

    async def _until_allowed(self, ctx: WorkerContext) -> None:
        """Until the breaker lets a try through; at once if another server is named."""
        while not self.breaker.allows(anyio.current_time()):
            ctx.beat()
            with anyio.move_on_after(self.breaker.retry_in_s(anyio.current_time())):
                await self._standing.changed.wait_until(lambda: self._moved)
                self.breaker.try_now(anyio.current_time())
