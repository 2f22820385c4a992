"""The cache's worker in a process of the role `api`: owns the connection, tells the cache what it has not heard of."""

import anyio

from telewarden.storage.breaker import Breaker
from telewarden.storage.cache import Cache, HistoryChanged
from telewarden.storage.shared_cache import SharedCache
from telewarden.workers.connecting import Connector
from telewarden_supervisors import WorkerContext

BATCH = 200


class SharedCacheWorker:
    """look_s: seconds between two looks whether the server still answers, and in the same history."""

    def __init__(self, cache: Cache, shared: SharedCache, *, look_s: float = 1.0) -> None:
        self._cache, self._shared = cache, shared
        self._look_s = look_s
        self._connector = Connector(cache, shared)

    @property
    def breaker(self) -> Breaker:
        """Whether the server is worth asking."""
        return self._connector.breaker

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        await self._connector.run(ctx, self._follow)

    async def _follow(self, ctx: WorkerContext) -> None:
        while (history := self._shared.history) is not None:
            await self._pay(history)
            if await self._cache.history() != history:
                raise HistoryChanged("the cache's replication history changed")
            if self._shared.needs_warm and await self._cache.drop_mark(history):
                self._shared.warms_anew()
            self._shared.proven(await self._cache.has_mark(history))
            self._connector.well()
            ctx.beat()
            with anyio.move_on_after(self._look_s):
                await self._shared.changed.wait_until(
                    lambda: self._shared.history is None or self._shared.owed > 0
                )

    async def _pay(self, history: str) -> None:
        while told := self._shared.next_owed(BATCH):
            await self._cache.apply(history, [each.write for each in told])
            self._shared.paid(told, history)
