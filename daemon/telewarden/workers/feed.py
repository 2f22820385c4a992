"""The feed's worker: brings every event into memory, in order, and wakes who waits for it.

In the process that takes in from the journal, as far as that is certain, else from the database; in one that only
serves from the database. Nothing but the feed depends on it.
"""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel
import structlog

from telewarden.messages import Key
from telewarden.storage.cache import Cache
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.feed_foresight import Foresight
from telewarden.storage.feed_store import FeedStore
from telewarden.storage.feed_window import FeedWindow
from telewarden.storage.journal import Journal
from telewarden.storage.journal_file import JournalError
from telewarden.storage.tail import Record
from telewarden.workers.feed_news import Announcer, News
from telewarden_http.v1.feed_protocols import FeedEvent
from telewarden_http.v1.token import BEGINNING, Position
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)

RECENT = 2_000
"""The events of how many positions a fresh process brings into memory, for those who come back after its restart."""
_PAGE = 500
_LOOK_S = 1.0
_RETRY_S = 1.0


class _Filling:
    """Fills a window from the database. behind: messages are known as they are at a later position than the head, so
    that nothing may be foreseen."""

    def __init__(self, window: FeedWindow, store: FeedStore, recent: int) -> None:
        self.window, self.store = window, store
        self._recent = recent
        self.foresight = Foresight()
        self.behind = False

    async def begin(self) -> None:
        """With the newest events, all at once: nobody is told of an old one as if it were news."""
        head, floor = await self.store.head(), await self.store.floor()
        # So many positions are at most so many events; to count them would be a look into every channel.
        since = reached = max(floor, Position(head.epoch, max(0, head.position - self._recent)))
        events: list[FeedEvent] = []
        full = True
        while full:
            page, reached, full = await self._page(reached)
            events += page
        self.window.begin(since)
        self.window.extend(events, reached)

    async def catch_up(self, complete: Position) -> None:
        """Bring in what the database holds after the head. complete: up to where it had everything before this."""
        full = True
        while full:
            events, reached, full = await self._page(self.window.head)
            self.window.extend(events, reached if full else max(reached, complete))

    async def _page(self, after: Position) -> tuple[list[FeedEvent], Position, bool]:
        """Events, the position of the last, and whether others may follow."""
        changes = await self.store.page(after, _PAGE)
        # A message is shown as it is now: until all is read, that may be ahead of what has been read.
        self.behind = full = len(changes) == _PAGE
        reached = changes[-1].position if changes else after
        return self.foresight.learn(changes), reached, full

    async def forget_dropped(self) -> None:
        """What is not kept any more is not served from memory either."""
        self.window.forget(await self.store.floor())


class StoredFeed:
    """Follows the database, in a process that only serves. look_s: seconds between two looks without being told."""

    def __init__(
        self,
        window: FeedWindow,
        store: FeedStore,
        cache: Cache | None,
        *,
        recent: int = RECENT,
        look_s: float = _LOOK_S,
    ) -> None:
        self._window, self._look_s = window, look_s
        self._filling = _Filling(window, store, recent)
        self._news = News(cache) if cache is not None else None

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        async with anyio.create_task_group() as tasks:
            if self._news is not None:
                tasks.start_soon(self._news.listen)
            forget_at_s = 0.0
            while True:
                ctx.beat()
                try:
                    await self._look()
                    if anyio.current_time() >= forget_at_s:
                        await self._filling.forget_dropped()
                        forget_at_s = anyio.current_time() + self._look_s
                    ctx.status(f"{len(self._window)} events in memory")
                except DatabaseUnavailable as error:
                    ctx.status(f"waiting for the database: {error}")
                    await anyio.sleep(self._look_s)
                else:
                    await self._until_told()

    async def _look(self) -> None:
        if self._window.start is None:
            await self._filling.begin()
        else:
            await self._filling.catch_up(BEGINNING)
        self._window.stored = self._window.head

    async def _until_told(self) -> None:
        if self._news is None:
            await anyio.sleep(self._look_s)
        else:
            with anyio.move_on_after(self._look_s):
                await self._news.wait()


class JournalFeed:
    """Follows the journal, in the process that takes in.

    take_over: accepts what other processes handed over. tend_s: seconds between two such looks, and at what is kept.
    """

    def __init__(
        self,
        window: FeedWindow,
        store: FeedStore,
        journal: Journal,
        cache: Cache | None,
        *,
        take_over: Callable[[], Awaitable[object]],
        recent: int = RECENT,
        tend_s: float = _LOOK_S,
    ) -> None:
        self._window, self._journal = window, journal
        self._take_over = take_over
        self._filling = _Filling(window, store, recent)
        self._announcer = Announcer(cache, journal) if cache is not None else None
        self._tend_s = tend_s
        self._base = BEGINNING
        self._told_of_epoch: int | None = None

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tend)
            if self._announcer is not None:
                tasks.start_soon(self._announcer.run)
            while True:
                ctx.beat()
                seen = self._place()
                try:
                    await self._follow()
                    ctx.status(f"{len(self._window)} events in memory")
                except DatabaseUnavailable as error:
                    ctx.status(f"waiting for the database: {error}")
                with anyio.move_on_after(_RETRY_S):
                    await self._journal.changed.wait_until(partial(self._has_moved, seen))

    def refused(self, key: Key) -> None:
        """The database refused something of a message, which was served already if it was certain."""
        self._filling.foresight.forget(key)

    def _has_moved(self, seen: tuple[int, int, int | None]) -> bool:
        return self._place() != seen

    def _place(self) -> tuple[int, int, int | None]:
        return self._journal.head, self._journal.flushed, self._journal.epoch

    def _stored(self) -> Position:
        """Up to where the database has everything."""
        epoch = self._journal.epoch
        return self._base if epoch is None else max(self._base, Position(epoch, self._journal.flushed))

    async def _follow(self) -> None:
        """Bring in all that is certain by now."""
        if self._window.start is None:
            await self._begin()
        while True:
            await self._foresee()
            self._window.stored = stored = self._stored()
            if self._window.head >= stored and not self._filling.behind:
                return
            await self._filling.catch_up(stored)

    async def _begin(self) -> None:
        stored = self._stored()
        try:
            await self._filling.begin()
            self._base = self._window.head
        except DatabaseUnavailable:
            if self._journal.epoch is None:
                raise
            # What comes from now on needs no database; what was before is read there when it is back.
            self._filling = _Filling(self._window, self._filling.store, 0)
            self._window.begin(stored)

    async def _foresee(self) -> None:
        """What the database has not got yet, as far as it is certain what it will make of it."""
        epoch = self._journal.epoch
        while epoch is not None and not self._filling.behind:
            head = self._window.head
            if head.epoch > epoch:
                self._tell_of_epoch(epoch, head.epoch)
                return
            events, reached = self._filling.foresight.foresee(
                epoch, self._records(head.position if head.epoch == epoch else 0)
            )
            if reached is None:
                return
            self._window.extend(events, Position(epoch, reached))
            await anyio.lowlevel.checkpoint()

    def _records(self, after: int) -> list[Record]:
        """What follows a position without a gap; nothing where that is forgotten."""
        tail, found = self._journal.tail, []
        for position in range(after + 1, min(tail.head, after + _PAGE) + 1):
            record = tail.of_position(position)
            if record is None:
                break
            found.append(record)
        return found

    def _tell_of_epoch(self, epoch: int, newest: int) -> None:
        if self._told_of_epoch != epoch:
            self._told_of_epoch = epoch
            log.critical(
                "feed_stands_still",
                problem=f"this journal has the number {epoch}, and the database holds events of number {newest}",
                effect="consumers of the feed get no new events; polls and intake go on",
                hint="an old journal.file was put back; stop, move it away, and start with a new one",
            )

    async def _tend(self) -> None:
        """What nobody waits for."""
        while True:
            try:
                await self._take_over()
                await self._filling.forget_dropped()
            except (DatabaseUnavailable, JournalError) as error:
                log.debug("feed_not_tended", why=str(error))
            await anyio.sleep(self._tend_s)
