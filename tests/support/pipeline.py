"""The stores and workers of one process, wired as the daemon wires them, for tests that step through them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import msgspec

from telewarden.failpoints import FailPoint
from telewarden.messages import Content
from telewarden.sandbox.alone import AloneContext
from telewarden.storage.acceptance import Channel, Observation, Seen
from telewarden.storage.acknowledger import JournalAcknowledger
from telewarden.storage.answers import Answers
from telewarden.storage.cache import Cache, open_cache
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database, open_database
from telewarden.storage.journal import Journal, open_journal
from telewarden.storage.poison import PoisonShelf
from telewarden.storage.reader import Reader
from telewarden.workers.redis import RedisWorker
from telewarden.workers.warmer import Warmer
from telewarden.workers.writer import Writer
from telewarden_http.protocols import MarkProcessed, Page, Source, UnprocessedQuery

CHANNELS = (-1001649127710, -1001649127711)


@dataclass
class Pipeline:
    """One process's parts. Workers run while their context lasts; see `running`."""

    journal: Journal
    database: Database
    cache: Cache
    sync: CacheSync
    reader: Reader
    acknowledger: JournalAcknowledger
    writer: Writer
    redis: RedisWorker
    warmer: Warmer
    shelf: PoisonShelf
    reasons: list[str]
    answers: Answers

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator[None]:
        """Some of the workers: "writer", "redis", "warmer"; all of them if none is named."""
        async with anyio.create_task_group() as tasks:
            for name in names or ("writer", "redis", "warmer"):
                tasks.start_soon(getattr(self, name).run, AloneContext())
            yield
            tasks.cancel_scope.cancel()

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Until something about the journal or the cache is true."""
        with anyio.fail_after(timeout_s):
            await self.journal.changed.wait_until(condition)

    async def flushed(self) -> None:
        """Until the database has everything."""
        await self.wait_until(lambda: self.journal.backlog == 0)

    async def trusted(self) -> None:
        """Until the cache answers polls and has everything."""
        await self.wait_until(
            lambda: self.sync.trusted is not None and self.sync.applied == self.journal.head
        )

    async def accept(self, observations: Sequence[Observation]) -> None:
        """Accept what a listener would have seen."""
        await self.journal.accept(observations)

    async def poll(
        self, channel: int = CHANNELS[0], limit: int = 1000, **query: object
    ) -> tuple[Source, list[str]]:
        """A plain poll: which source answered, and the texts."""
        page = await self.page(channel, limit, **query)
        bodies = msgspec.json.decode(b"[" + b",".join(page.bodies) + b"]")
        assert len(bodies) == page.count
        return page.source, [body["text"] for body in bodies]

    async def page(self, channel: int = CHANNELS[0], limit: int = 1000, **query: object) -> Page:
        """A plain poll as the API gets it."""
        return await self.reader.unprocessed(UnprocessedQuery(str(channel), limit=limit, **query))  # type: ignore[arg-type]

    async def acknowledge(self, *message_ids: int, channel: int | None = None, by: str = "tp-capital") -> int:
        """How many messages an acknowledgement changed."""
        request = MarkProcessed(message_ids, by, None if channel is None else str(channel))
        return (await self.acknowledger.mark_processed(request)).updated


def post(message_id: int, text: str, channel: int = CHANNELS[0], edit_date_s: int = 0) -> Seen:
    """What a listener sees of a text post."""
    return Seen(channel, message_id, Content(text=text, telegram_date_us=1_730_649_600_000_000), edit_date_s)


@asynccontextmanager
async def open_pipeline(
    folder: Path,
    dsn: str,
    cache_url: str,
    *,
    prefix: str = "telegram:",
    lease_s: float = 3.0,
    batch_size: int = 500,
    pending_bound: int = 10_000,
    statement_timeout_s: float = 10.0,
) -> AsyncIterator[Pipeline]:
    """The parts of one process, on a journal in a folder; its channels have their places."""
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(open_journal(folder / "journal.sqlite"))
        database = await stack.enter_async_context(
            open_database(dsn, auto_migrate=True, statement_timeout_s=statement_timeout_s)
        )
        cache = await stack.enter_async_context(
            open_cache(cache_url, prefix=prefix, pending_bound=pending_bound)
        )
        for channel_id in CHANNELS:
            await journal.open_channel(Channel(channel_id))
        sync = CacheSync(journal.changed)
        reasons: list[str] = []
        answers = Answers()

        def answered(source: Source, reason: str | None) -> None:
            answers.answered(source, reason)
            if reason is not None:
                reasons.append(reason)

        yield Pipeline(
            journal,
            database,
            cache,
            sync,
            Reader(
                journal,
                database,
                cache,
                sync,
                channel_ids=CHANNELS,
                on_answer=answered,
                on_seen=answers.settled,
            ),
            JournalAcknowledger(journal, database, sync, channel_ids=CHANNELS),
            Writer(
                journal, database, sync, batch_size=batch_size, batch_age_s=0.005, fail_point=FailPoint(None)
            ),
            RedisWorker(cache, sync, journal, lease_s=lease_s),
            Warmer(cache, sync, journal, database, channel_ids=list(CHANNELS), lease_s=lease_s),
            PoisonShelf(database, journal),
            reasons,
            answers,
        )
