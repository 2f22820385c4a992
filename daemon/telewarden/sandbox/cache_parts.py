"""One process's stores and workers around a cache, without the rest of the daemon: for benchmarks."""

import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import asyncpg

from telewarden.sandbox.alone import AloneContext
from telewarden.storage.acceptance import Channel
from telewarden.storage.cache import Cache
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database, open_database
from telewarden.storage.journal import Journal, open_journal
from telewarden.storage.reader import Reader
from telewarden.workers.redis import RedisWorker
from telewarden.workers.warmer import Warmer
from telewarden_http.protocols import Source

LEASE_S = 3.0


@dataclass(frozen=True, slots=True)
class CacheParts:
    """The parts, and a bare connection to the database beside them. answers: of polls, by source."""

    sql: "asyncpg.Connection[asyncpg.Record]"
    journal: Journal
    database: Database
    cache: Cache
    sync: CacheSync
    answers: Counter[Source]
    reader: Reader
    worker: RedisWorker
    warmer: Warmer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The workers that keep the cache, meanwhile."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.worker.run, AloneContext())
            tasks.start_soon(self.warmer.run, AloneContext())
            yield
            tasks.cancel_scope.cancel()

    async def trusted(self) -> None:
        """Until the cache answers polls."""
        await self.sync.changed.wait_until(lambda: self.sync.trusted is not None)


@asynccontextmanager
async def open_cache_parts(
    folder: Path, dsn: str, cache: AbstractAsyncContextManager[Cache], channel_ids: Sequence[int]
) -> AsyncIterator[CacheParts]:
    """With a new journal in the folder and an empty database; the cache is as it is."""
    async with AsyncExitStack() as stack:
        sql = await asyncpg.connect(dsn)
        stack.push_async_callback(sql.close)
        await sql.execute(
            "truncate telegram_gateway.messages, telegram_gateway.message_keys, telegram_gateway.acknowledgements"
        )
        file = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder))) / "journal.sqlite"
        journal = await stack.enter_async_context(open_journal(file, max_bytes=2**30))
        database = await stack.enter_async_context(open_database(dsn))
        opened = await stack.enter_async_context(cache)
        for channel_id in channel_ids:
            await journal.open_channel(Channel(channel_id))
        sync = CacheSync(journal.changed)
        answers: Counter[Source] = Counter()
        yield CacheParts(
            sql,
            journal,
            database,
            opened,
            sync,
            answers,
            Reader(
                journal,
                database,
                opened,
                sync,
                channel_ids=channel_ids,
                on_answer=lambda source, reason: answers.update((source,)),
            ),
            RedisWorker(opened, sync, journal, lease_s=LEASE_S),
            Warmer(
                opened,
                sync,
                journal,
                database,
                channel_ids=channel_ids,
                lease_s=LEASE_S,
                traffic=answers.total,
            ),
        )
