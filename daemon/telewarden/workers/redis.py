"""The Redis worker: owns the connection to the cache and applies the journal's events to it.

An outage is part of its work, not a failure: it goes on asking, and polls are answered by the database meanwhile.
"""

from collections.abc import Callable

import anyio

from telewarden.storage.breaker import Breaker
from telewarden.storage.cache import Cache, CacheUnavailable, CacheUnfit, HistoryChanged
from telewarden.storage.cache_sync import CacheSync, writes_for
from telewarden.storage.journal import Journal, wall_clock_us
from telewarden.storage.tail import Record
from telewarden_supervisors import WorkerContext

BATCH = 200
_OPEN_S, _OPEN_LONGEST_S = 0.2, 1.0


class RedisWorker:
    """Finds the master, connects, applies, renews the completeness mark's lease, follows a fail-over.

    lease_s: how long a mark lasts unrenewed. clock_us: the journal's clock. breaker: a server that has failed is asked
    by this worker alone; polls ask it again once it has answered here.
    """

    def __init__(
        self,
        cache: Cache,
        sync: CacheSync,
        journal: Journal,
        *,
        lease_s: float,
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._cache, self._sync, self._journal = cache, sync, journal
        self._lease_s = lease_s
        self._clock_us = clock_us
        self._renew_at_s = 0.0
        self._moved = False
        self.breaker = Breaker(_OPEN_S, longest_s=_OPEN_LONGEST_S)

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cache.follow, self._move)
            while True:
                await self._serve(ctx)

    def _move(self) -> None:
        """Another server is the master now."""
        self._moved = True
        self._sync.disconnected("Sentinel names another master")

    async def _serve(self, ctx: WorkerContext) -> None:
        """Connect, and follow the journal for as long as the server answers."""
        await self._until_allowed(ctx)
        try:
            self._moved = False
            history = await self._cache.connect()
            self.breaker.succeeded()
            self._sync.connected(history)
            ctx.status(f"connected to {self._cache.address}")
            await self._follow(ctx)
            if not self._moved:
                self.breaker.broke(anyio.current_time(), self._sync.reason or "it did not answer a poll")
        except CacheUnavailable as error:
            if isinstance(error, CacheUnfit):
                # What was proven may have been thrown away since.
                self._sync.distrust(str(error))
            self._sync.disconnected(str(error))
            self.breaker.broke(anyio.current_time(), str(error))
            # It is known to be down: that is waited for, and no restart would help.
            ctx.status(f"down: {error}")
        except HistoryChanged as error:
            self._sync.distrust(str(error))

    async def _until_allowed(self, ctx: WorkerContext) -> None:
        """Until the breaker lets a try through; at once if another server is named."""
        while not self.breaker.allows(anyio.current_time()):
            ctx.beat()
            with anyio.move_on_after(self.breaker.retry_in_s(anyio.current_time())):
                await self._sync.changed.wait_until(lambda: self._moved)
                self.breaker.try_now(anyio.current_time())

    async def _follow(self, ctx: WorkerContext) -> None:
        """Apply events as they come; in quiet times make sure every third of a lease that the server still answers.

        Ends when a poll found the server not answering, or when another one is the master.
        """
        while self._sync.history is not None:
            applied = await self._apply_some() if self._sync.follows else 0
            await self._prove()
            if applied or not self._has_work():
                ctx.beat()
            if not applied:
                with anyio.move_on_after(self._lease_s / 3):
                    await self._sync.changed.wait_until(self._has_work)

    def _has_work(self) -> bool:
        lost = self._sync.history is None
        return lost or (self._sync.follows and self._sync.applied < self._journal.head)

    async def _apply_some(self) -> int:
        async with self._sync.lock:
            mark = self._sync.writes_under
            if not self._sync.follows or mark is None:
                return 0
            records = self._waiting(BATCH)
            if not records:
                return 0
            writes = writes_for(records, self._sync.mirror)
            await self._cache.apply(mark, self._sync.next_step(), writes)
            self._sync.moved(records[-1].position)
            self._journal.release(self._sync.holds(self._journal.flushed))
        return len(records)

    def _waiting(self, limit: int) -> list[Record]:
        """The oldest events that are not applied."""
        try:
            return self._journal.tail.after(self._sync.applied, limit)
        except LookupError as error:
            raise HistoryChanged(f"the cache fell behind the journal's retention: {error}") from error

    async def _prove(self) -> None:
        """Renew the mark, as far as the oldest event that is not applied allows; without one, ask who is there."""
        now_s = anyio.current_time()
        if now_s < self._renew_at_s:
            return
        self._renew_at_s = now_s + self._lease_s / 3
        mark, history = self._sync.mark, self._sync.history
        if mark is not None:
            await self._cache.keeps()
            await self._cache.renew(mark.text, self._lease_ms())
        elif await self._cache.history() != history:
            raise HistoryChanged("the cache's replication history changed")

    def _lease_ms(self) -> int:
        waiting = self._waiting(1)
        age_s = (self._clock_us() - waiting[0].accepted_at_us) / 1_000_000 if waiting else 0.0
        return int((self._lease_s - max(age_s, 0.0)) * 1000)
