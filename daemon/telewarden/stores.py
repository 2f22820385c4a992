"""The stores of one process, opened as the settings say."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from telewarden.settings import CacheSettings, Settings
from telewarden.storage.cache import Cache, open_cache
from telewarden.storage.database import Database, open_database
from telewarden.storage.journal import Journal, open_journal
from telewarden.storage.migrate import HEAD, MigrationError, current, unfit
from telewarden.storage.salvage import Salvaged

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores. cache: None where none is configured."""

    journal: Journal
    database: Database
    cache: Cache | None


@dataclass(frozen=True, slots=True)
class SharedStores:
    """What several processes share. cache: None where none is configured."""

    database: Database
    cache: Cache | None


async def refused_schema(settings: Settings) -> str | None:
    """Why this version must not touch that database: another, newer one has upgraded it.

    A database that is down, or not upgraded yet, is waited for while intake and the cache work; each connection looks.
    """
    database = settings.database
    try:
        found = await current(database.dsn.get_secret_value(), timeout_s=database.connect_timeout_s)
    except MigrationError as error:
        log.info("schema_not_looked_at", why=str(error))
        return None
    return unfit(found) if found is not None and found > HEAD else None


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Journal, database and cache as the settings name them. A damaged journal is told. Raises JournalError."""
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(
            open_journal(
                settings.journal_file,
                max_bytes=settings.journal.max_bytes,
                retention_events=settings.journal.retention_events,
                min_free_bytes=settings.journal.min_free_bytes,
            )
        )
        if journal.salvaged is not None:
            _tell_salvaged(journal.salvaged)
        shared = await stack.enter_async_context(open_shared_stores(settings))
        yield Stores(journal=journal, database=shared.database, cache=shared.cache)


@asynccontextmanager
async def open_shared_stores(settings: Settings) -> AsyncIterator[SharedStores]:
    """Database and cache as the settings name them."""
    database = settings.database
    async with AsyncExitStack() as stack:
        yield SharedStores(
            database=await stack.enter_async_context(
                open_database(
                    database.dsn.get_secret_value(),
                    reader_pool=database.reader_pool,
                    writer_pool=database.writer_pool,
                    statement_timeout_s=database.statement_timeout_s,
                    connect_timeout_s=database.connect_timeout_s,
                    tcp_user_timeout_s=database.tcp_user_timeout_s,
                    statement_cache_size=database.statement_cache_size,
                    auto_migrate=database.auto_migrate,
                )
            ),
            cache=await stack.enter_async_context(configured_cache(settings.cache))
            if settings.cache.url is not None
            else None,
        )


def _tell_salvaged(salvaged: Salvaged) -> None:
    log.critical(
        "journal_damaged",
        problem=salvaged.reason,
        put_aside=str(salvaged.aside),
        events_kept=len(salvaged.events),
        events_bad=len(salvaged.bad),
        not_read_to_the_end=salvaged.unread,
        effect="what was lost is read from Telegram again; acknowledgements among it have to come again",
        hint="check the disk; `telewarden journal dump` shows what the old file holds",
    )


def configured_cache(cache: CacheSettings) -> AbstractAsyncContextManager[Cache]:
    """The cache that the settings name; they must name one."""
    assert cache.url is not None
    return open_cache(
        cache.url.get_secret_value(),
        sentinels=cache.sentinel_addresses,
        sentinel_username=cache.sentinel_username,
        sentinel_password=cache.sentinel_password.get_secret_value() if cache.sentinel_password else None,
        prefix=cache.prefix,
        timeout_s=cache.timeout_s,
        body_ttl_s=cache.body_ttl_s,
        dedup_ttl_s=cache.dedup_ttl_s,
        tombstone_ttl_s=cache.tombstone_ttl_s,
        pending_bound=cache.pending_bound,
    )
