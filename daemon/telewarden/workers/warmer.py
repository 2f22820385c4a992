"""The warmer: fills the cache from the database whenever nothing proves it complete, then sets the mark.

A cache or a database that blips is waited for; the warm goes on from its last page if the cache comes back in the same
replication history.
"""

import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

import anyio
import anyio.lowlevel

from telewarden.messages import Key, Posted, State, key_of, lift
from telewarden.storage.cache import Cache, CacheUnavailable, HistoryChanged, Operation, Write
from telewarden.storage.cache_sync import CacheSync, Progress, Warm, page_writes
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import Journal, wall_clock_us
from telewarden.storage.pace import WarmPace
from telewarden.storage.tail import Record
from telewarden_supervisors import WorkerContext

ASKED_AT_ONCE = 500
_RETRY_S = 0.5
_LOOK_S = 1.0

Place = tuple[int, uuid.UUID]
"""Where a page ends: received at in microseconds, id."""
_START: Place = (0, uuid.UUID(int=0))
T = TypeVar("T")


class Superseded(Exception):
    """The cache was lost while it was being warmed; the next warm starts over."""


class Warmer:
    """Warms the cache by the protocol: clear, follow from the database's position, page, ask, catch up, mark.

    lease_s: how long a mark lasts unrenewed. traffic: a counter of the polls answered; while some of them, or events,
    come in, a warm leaves them room. clock_us: the journal's clock.
    """

    def __init__(
        self,
        cache: Cache,
        sync: CacheSync,
        journal: Journal,
        database: Database,
        *,
        channel_ids: Collection[int],
        lease_s: float,
        traffic: Callable[[], int] = lambda: 0,
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._cache, self._sync, self._journal, self._database = cache, sync, journal, database
        self._channel_ids = channel_ids
        self._lease_s = lease_s
        self._traffic, self._clock_us = traffic, clock_us

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
                await self._warm(ctx)
            except (CacheUnavailable, HistoryChanged, DatabaseUnavailable, Superseded, LookupError) as error:
                ctx.status(f"warm interrupted: {error}")
                await anyio.sleep(_RETRY_S)

    async def _warm(self, ctx: WorkerContext) -> None:
        # The mark tells it to other processes too, and is what the clear leaves behind.
        plain = await self._database.only_plain()
        begun = await self._begin(plain)
        if begun is None:
            return
        warm, progress, channel_ids = begun
        run = _Run(
            self._cache,
            self._sync,
            self._journal,
            self._database,
            lease_s=self._lease_s,
            traffic=self._traffic,
            clock_us=self._clock_us,
            ctx=ctx,
            warm=warm,
            progress=progress,
        )
        try:
            await run.to_its_end(channel_ids)
        except (HistoryChanged, LookupError) as error:
            # What was written so far proves nothing any more, or events are forgotten that belong onto it.
            if self._sync.warm is warm:
                self._sync.distrust(f"warm interrupted: {error}")
            raise

    async def _begin(self, plain: bool) -> tuple[Warm, Progress, Sequence[int]] | None:
        """Clear what is there. Only a clear that is known to have happened is built on."""
        async with self._sync.lock:
            if not self._sync.wants_warm:
                return None
            warm = self._sync.begin_warm(
                self._journal.flushed, uuid.uuid4(), plain=plain, now_s=time.monotonic()
            )
            # Which channels there are may change: then this warm is superseded.
            channel_ids = sorted(self._channel_ids)
            try:
                await self._cache.clear(warm.mark.text, channel_ids)
            except (CacheUnavailable, HistoryChanged) as error:
                self._sync.distrust(f"warm interrupted: {error}")
                raise
            progress = self._sync.progress
            if self._sync.warm is not warm or progress is None:
                return None
            return warm, progress, channel_ids


class _Run:
    """One warm, from its clear to its mark."""

    def __init__(
        self,
        cache: Cache,
        sync: CacheSync,
        journal: Journal,
        database: Database,
        *,
        lease_s: float,
        traffic: Callable[[], int],
        clock_us: Callable[[], int],
        ctx: WorkerContext,
        warm: Warm,
        progress: Progress,
    ) -> None:
        self._cache, self._sync, self._journal, self._database = cache, sync, journal, database
        self._lease_s, self._traffic, self._clock_us = lease_s, traffic, clock_us
        self._ctx, self._progress = ctx, progress
        self._pace = WarmPace()
        self.warm = warm

    async def to_its_end(self, channel_ids: Sequence[int]) -> None:
        """Raises Superseded, HistoryChanged, LookupError where the next warm has to start over."""
        self._progress.total = await self._surely(partial(self._database.pending_count, channel_ids))
        self._tell("reading what waits")
        for channel_id in channel_ids:
            after: Place | None = _START
            while after is not None:
                after = await self._surely(partial(self._page, channel_id, after))
                self._ctx.beat()
        # What was accepted up to now may have been acknowledged in the database before this warm began. Whoever
        # acknowledges there later tells the cache, which has been cleared already.
        head = self._journal.head
        self._tell("asking what is done")
        await self._ask(head)
        self._tell("catching up")
        while not await self._surely(partial(self._mark, head)):
            head = self._journal.head
            await self._wait_until(lambda reached=head: self._sync.applied >= reached)  # type: ignore[misc]

    async def _page(self, channel_id: int, after: Place) -> Place | None:
        """Read a page and write it, maybe once more. Returns where it ends, None if it was the channel's last."""
        began_s = time.monotonic()
        size = self._pace.size
        page = await self._database.pending_page(channel_id, after, size)
        read_s = time.monotonic()
        if page:
            async with self._sync.lock:
                self._still()
                events = self._applied_to(page)
                writes = page_writes(page, events, self._sync.mirror)
                # Others get their turn between the two halves of the work.
                await anyio.lowlevel.checkpoint()
                await self._cache.apply(self.warm.history, writes, self._sync.next_turn())
            self._progress.written += len(page)
        now_s = time.monotonic()
        traffic = self._traffic() + self._journal.head
        rest_s = self._pace.wrote(now_s - began_s, now_s - read_s, traffic=traffic, now_s=now_s)
        if rest_s:
            await anyio.sleep(rest_s)
            self._pace.rested(rest_s, time.monotonic() - now_s)
        if len(page) < size:
            return None
        return page[-1].received_at_us or 0, page[-1].id or uuid.UUID(int=0)

    def _applied_to(self, page: Sequence[State]) -> list[Record]:
        """The events that were applied since the warm began, of a page's messages: they belong onto it, whenever it was
        read."""
        since, applied, tail = self.warm.since, self._sync.applied, self._journal.tail
        if tail.first > since + 1:
            raise LookupError("the warm fell behind the journal's retention")
        return [r for row in page for r in tail.of_message(row.key) if since < r.position <= applied]

    async def _ask(self, head: int) -> None:
        """Ask the database about the posts that the applier replays; tombstones where they are done."""
        since = self.warm.since
        records = self._journal.tail.after(since, head - since)
        posts = {key_of(r.event): r.event for r in records if isinstance(r.event, Posted)}
        keys = list(posts)
        for first in range(0, len(keys), ASKED_AT_ONCE):
            some = {key: posts[key] for key in keys[first : first + ASKED_AT_ONCE]}
            await self._surely(partial(self._ask_about, some))
            self._ctx.beat()

    async def _ask_about(self, posts: Mapping[Key, Posted]) -> None:
        done = await self._database.done(list(posts))
        if done:
            async with self._sync.lock:
                self._still()
                for key in done:
                    self._sync.mirror.drop(key)
                writes = [Write(Operation.DONE, lift(posts[key])) for key in done]
                await self._cache.apply(self.warm.history, writes, self._sync.next_turn())

    async def _mark(self, head: int) -> bool:
        """Set the mark if everything up to a position is applied. What came later shortens the lease, as at every
        renewal: so a warm ends also under a load that never pauses. Returns whether it is set."""
        async with self._sync.lock:
            self._still()
            waiting = self._journal.tail.after(self._sync.applied, 1)
            age_s = (self._clock_us() - waiting[0].accepted_at_us) / 1_000_000 if waiting else 0.0
            lease_s = self._lease_s - max(age_s, 0.0)
            if self._sync.applied < head or lease_s < self._lease_s / 2:
                return False
            await self._cache.set_mark(self.warm.mark.text, int(lease_s * 1000))
            self._still()
            self._sync.finish_warm(time.monotonic())
        return True

    async def _surely(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step, again and again while a store is down: each may be repeated."""
        while True:
            self._still()
            try:
                return await step()
            except DatabaseUnavailable as error:
                trouble = f"waiting for the database: {error}"
            except CacheUnavailable as error:
                if error.problem.distrusts:
                    # Waiting mends nothing: only another clear does.
                    self._sync.distrust(f"warm interrupted: {error}")
                    raise
                self._pace.failed()
                self._sync.disconnected(str(error), self.warm.history)
                trouble = f"waiting for the cache: {error}"
            self._progress.blips += 1
            self._ctx.status(f"{trouble}; then it goes on {self._progress.step}")
            self._ctx.beat()
            await anyio.sleep(_RETRY_S)
            await self._wait_until(lambda: self._sync.history is not None)
            self._tell(self._progress.step)

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._still()
            with anyio.move_on_after(_LOOK_S):
                await self._sync.changed.wait_until(lambda: condition() or self._sync.warm is not self.warm)
            self._ctx.beat()

    def _tell(self, step: str) -> None:
        self._progress.step = step
        self._ctx.status(f"warming: {step}")

    def _still(self) -> None:
        if self._sync.warm is not self.warm:
            raise Superseded(self._sync.reason or "the cache was lost")
