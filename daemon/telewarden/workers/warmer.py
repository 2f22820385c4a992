"""The warmer: fills the cache from the database whenever nothing proves it complete, then sets the mark."""

import uuid
from collections.abc import Collection

import anyio

from telewarden.messages import Posted, key_of, lift
from telewarden.storage.cache import Cache, CacheUnavailable, HistoryChanged, Operation, Write
from telewarden.storage.cache_sync import CacheSync, Mark, Warm, page_writes
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import Journal
from telewarden_supervisors import WorkerContext

PAGE = 500
_RETRY_S = 0.5
_LOOK_S = 1.0


class Superseded(Exception):
    """The cache was lost while it was being warmed; the next warm starts over."""


class Warmer:
    """Warms the cache by the protocol: clear, follow from the database's position, page, ask, catch up, mark."""

    def __init__(
        self,
        cache: Cache,
        sync: CacheSync,
        journal: Journal,
        database: Database,
        *,
        channel_ids: Collection[int],
        lease_s: float,
    ) -> None:
        self._cache, self._sync, self._journal, self._database = cache, sync, journal, database
        self._channel_ids = channel_ids
        self._lease_s = lease_s

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        if self._sync.warm is not None:
            self._sync.distrust("the warmer was restarted")
        while True:
            ctx.beat()
            if not self._sync.wants_warm:
                ctx.status(self._sync.reason or "the cache is complete")
                with anyio.move_on_after(_LOOK_S):
                    await self._sync.changed.wait_until(lambda: self._sync.wants_warm)
                continue
            try:
                ctx.status("warming")
                await self._warm(ctx)
            except (CacheUnavailable, HistoryChanged, DatabaseUnavailable, Superseded, LookupError) as error:
                self._sync.distrust(f"warm interrupted: {error}")
                ctx.status(f"warm interrupted: {error}")
                await anyio.sleep(_RETRY_S)

    async def _warm(self, ctx: WorkerContext) -> None:
        await self._database.ping()
        async with self._sync.lock:
            if not self._sync.wants_warm:
                return
            warm = self._sync.begin_warm(self._journal.flushed, uuid.uuid4())
            await self._cache.clear(warm.history, warm.generation)
        plain = await self._database.only_plain()
        # Which channels there are may change: then this warm is superseded.
        channel_ids = list(self._channel_ids)
        after = (0, uuid.UUID(int=0))
        while page := await self._database.pending_page(channel_ids, after, PAGE):
            after = (page[-1].received_at_us or 0, page[-1].id or uuid.UUID(int=0))
            async with self._sync.lock:
                self._still(warm)
                applied = self._journal.tail.after(warm.since, self._sync.applied - warm.since)
                writes = page_writes(page, applied, self._sync.mirror)
                await self._cache.apply(warm.history, writes, self._sync.next_turn())
            ctx.beat()
        asked = await self._ask(warm, warm.since)
        while True:
            await self._sync.changed.wait_until(
                lambda: self._sync.warm is not warm or self._sync.applied >= self._journal.head
            )
            asked = await self._ask(warm, asked)
            ctx.beat()
            async with self._sync.lock:
                self._still(warm)
                if self._sync.applied == self._journal.head == asked:
                    mark = Mark.of(warm, plain=plain)
                    await self._cache.set_mark(mark.text, int(self._lease_s * 1000))
                    self._still(warm)
                    self._sync.finish_warm(mark)
                    return

    async def _ask(self, warm: Warm, after: int) -> int:
        """Ask the database about the posts after a position that the applier replays; tombstones where they are done.

        Returns the position up to which it has now been asked.
        """
        self._still(warm)
        head = self._journal.head
        records = self._journal.tail.after(after, head - after)
        posts = {key_of(r.event): r.event for r in records if isinstance(r.event, Posted)}
        keys = list(posts)
        for first in range(0, len(keys), PAGE):
            done = await self._database.done(keys[first : first + PAGE])
            async with self._sync.lock:
                self._still(warm)
                for key in done:
                    self._sync.mirror.drop(key)
                if done:
                    writes = [Write(Operation.DONE, lift(posts[key])) for key in done]
                    await self._cache.apply(warm.history, writes, self._sync.next_turn())
        return head

    def _still(self, warm: Warm) -> None:
        if self._sync.warm is not warm:
            raise Superseded(self._sync.reason or "the cache was lost")
