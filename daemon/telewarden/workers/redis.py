"""The Redis worker: owns the connection to the cache and applies the journal's events to it.

An outage is part of its work, not a failure: it goes on asking, and polls are answered by the database meanwhile.
"""

from collections.abc import Callable

import anyio

from telewarden.storage.breaker import Breaker
from telewarden.storage.cache import Cache, HistoryChanged
from telewarden.storage.cache_sync import CacheSync, writes_for
from telewarden.storage.journal import Journal, wall_clock_us
from telewarden.storage.tail import Record
from telewarden.workers.connecting import Connector
from telewarden_supervisors import WorkerContext

BATCH = 200
TURNED_OVER = 1_000
"""Messages in memory that are asked about at each renewal, whether another process has acknowledged them."""


class RedisWorker:
    """Finds the master, connects, applies, renews the completeness mark's lease, follows a fail-over.

    lease_s: how long a mark lasts unrenewed. clock_us: the journal's clock.
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
        self._connector = Connector(cache, sync)

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        await self._connector.run(ctx, self._follow)

    @property
    def breaker(self) -> Breaker:
        """Whether the server is worth asking."""
        return self._connector.breaker

    async def _follow(self, ctx: WorkerContext) -> None:
        """Apply events as they come; in quiet times make sure every third of a lease that the server still answers.

        Ends when a poll found the server not answering, or when another one is the master.
        """
        # The lease ran on while nobody could renew it.
        self._renew_at_s = 0.0
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
            if not self._sync.follows or self._sync.history is None:
                return 0
            records = self._waiting(BATCH)
            if not records:
                return 0
            writes = writes_for(records, self._sync.mirror)
            await self._cache.apply(self._sync.history, writes, self._sync.next_turn())
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
            self._connector.well()
            # A warm that has ended holds nothing any more.
            self._journal.release(self._sync.holds(self._journal.flushed))
            await self._forget_done()
        elif await self._cache.history() != history:
            raise HistoryChanged("the cache's replication history changed")

    async def _forget_done(self) -> None:
        """What another process has acknowledged waits no more, which only the cache and the database have heard."""
        for key in await self._cache.done(self._sync.mirror.turn_over(TURNED_OVER)):
            self._sync.mirror.drop(key)

    def _lease_ms(self) -> int:
        waiting = self._waiting(1)
        age_s = (self._clock_us() - waiting[0].accepted_at_us) / 1_000_000 if waiting else 0.0
        return int((self._lease_s - max(age_s, 0.0)) * 1000)
