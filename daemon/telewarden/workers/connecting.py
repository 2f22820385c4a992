"""Staying connected to the cache's master: it is found, followed in a fail-over, and left alone while it fails."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import structlog

from telewarden.storage.breaker import Breaker
from telewarden.storage.cache import Cache, CacheUnavailable, HistoryChanged
from telewarden.storage.cache_errors import Kind, Problem
from telewarden.storage.signal import Signal
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)
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
        self._told: set[Kind] = set()
        self.breaker = Breaker(_OPEN_S, longest_s=_OPEN_LONGEST_S)

    async def run(self, ctx: WorkerContext, follow: Callable[[WorkerContext], Awaitable[None]]) -> None:
        """Until cancelled. follow: returns when the standing has no history any more; raises CacheUnavailable,
        HistoryChanged."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cache.follow, self._move)
            while True:
                await self._serve(ctx, follow)

    def well(self) -> None:
        """The server does all that it is asked: what was wrong is over, and told again if it comes back."""
        self._told.clear()

    def _tell(self, problem: Problem) -> None:
        """Log each kind of problem once, until all is well: one that comes and goes, as a full memory that refuses
        writes but answers, would be told several times a second."""
        if problem.kind not in self._told:
            self._told.add(problem.kind)
            log.warning("cache_unavailable", kind=problem.kind.value, problem=problem.text)

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
                if self._cache.problem is not None:
                    self._tell(self._cache.problem)
        except CacheUnavailable as error:
            if error.problem.distrusts:
                self._standing.distrust(str(error))
            self._standing.disconnected(str(error))
            self._tell(error.problem)
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
