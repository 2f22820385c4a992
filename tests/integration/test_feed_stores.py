"""The feed's parts on real stores: what arrives late, what others delete, what is dropped, a journal that is new."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import asyncpg
import msgspec
import pytest

from support.pipeline import CHANNELS, Pipeline, open_pipeline, post
from support.servers import Servers
from telewarden.messages import Content, Deleted, Edited, Posted, message_uuid
from telewarden.sandbox.alone import AloneContext
from telewarden.storage.acceptance import Gone
from telewarden.storage.batch import write_batch
from telewarden.storage.database import Database, open_database
from telewarden.storage.feed import WindowedFeed
from telewarden.storage.feed_store import FeedStore
from telewarden.storage.feed_window import FeedWindow
from telewarden.storage.handed_over import take_over
from telewarden.storage.migrate import upgrade
from telewarden.storage.shared_cache import SharedCache
from telewarden.storage.shared_changer import SharedChanger
from telewarden.storage.signal import Signal
from telewarden.storage.tail import Record
from telewarden.workers.feed import JournalFeed, StoredFeed
from telewarden_http.protocols import Unavailable
from telewarden_http.v1.feed_protocols import CursorExpired, FeedEvent, FeedQuery
from telewarden_http.v1.token import BEGINNING, Position

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
CHANNEL, OTHER = CHANNELS
DAY_US = 86_400 * 1_000_000


@dataclass
class Reader:
    """A consumer of one process's feed, which keeps its place."""

    feed: WindowedFeed
    window: FeedWindow
    cursor: Position | None = None
    events: list[FeedEvent] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)

    async def until(self, count: int, limit: int = 100) -> list[str]:
        """Until so many events have come in all; each as kind and message id."""
        with anyio.fail_after(10):
            while len(self.events) < count:
                page = await self.feed.page(self.cursor, FeedQuery(limit))
                self.events += page.events
                self.cursor = page.next
                self.sources.add(page.source)
                if not page.events and not page.more:
                    with anyio.move_on_after(0.5):
                        await self.feed.grown(page.next, FeedQuery())
        return [f"{event.kind} {_message_of(event)}" for event in self.events]

    async def in_memory(self) -> None:
        """Until this process has in memory what follows on this place."""
        assert self.cursor is not None
        with anyio.fail_after(10):
            while not self.window.covers(self.cursor):
                await anyio.sleep(0.005)


def _message_of(event: FeedEvent) -> str:
    return str(msgspec.json.decode(event.body)["messageId"])


async def _expired(reader: Reader, after: Position) -> Position:
    """Where to go on from, once a place is not kept any more."""
    with anyio.fail_after(10):
        while True:
            try:
                await reader.feed.page(after, FeedQuery())
            except CursorExpired as error:
                return error.oldest
            await anyio.sleep(0.02)


@asynccontextmanager
async def followed(pipeline: Pipeline, *, recent: int = 100) -> AsyncIterator[Reader]:
    """The feed of the process that takes in."""
    window, store = FeedWindow(), FeedStore(pipeline.database)
    follower = JournalFeed(
        window,
        store,
        pipeline.journal,
        pipeline.cache,
        take_over=partial(take_over, pipeline.database, pipeline.journal),
        recent=recent,
        tend_s=0.05,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run, AloneContext())
        yield Reader(WindowedFeed(window, store, served=CHANNELS, described=list), window)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def served(pipeline: Pipeline, *, look_s: float = 0.05, told: bool = False) -> AsyncIterator[Reader]:
    """The feed of a process that only serves."""
    window, store = FeedWindow(), FeedStore(pipeline.database)
    follower = StoredFeed(window, store, pipeline.cache if told else None, look_s=look_s)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run, AloneContext())
        yield Reader(WindowedFeed(window, store, served=CHANNELS, described=list), window)
        tasks.cancel_scope.cancel()


@pytest.fixture
async def pipeline(tmp_path: Path, servers: Servers) -> AsyncIterator[Pipeline]:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url) as parts:
        yield parts


async def test_what_arrives_late_comes_when_it_was_accepted(pipeline: Pipeline) -> None:
    async with pipeline.running("writer"), followed(pipeline) as there, served(pipeline) as here:
        await pipeline.accept([post(10, "ten")])
        await there.until(1)
        # Backfilled: only the database can say that it is new, and does so by repeating it.
        content = Content(text="late")
        await pipeline.journal.append(
            lambda at_us: [
                Posted(CHANNEL, 3, content, 0, at_us, False),
                Posted(CHANNEL, 10, content, 0, at_us, False),
                Edited(CHANNEL, 3, Content(text="Late"), 5, at_us),
            ]
        )
        await pipeline.accept([post(11, "eleven"), post(10, "Ten", edit_date_s=9), Gone(CHANNEL, 3)])
        expected = ["posted 10", "posted 3", "edited 3", "posted 11", "edited 10", "deleted 3"]
        assert await there.until(6) == expected
        assert await here.until(6) == expected
        await pipeline.flushed()
        assert await Reader(here.feed, here.window).until(6, limit=2) == expected
        assert [e.position for e in there.events] == [e.position for e in here.events]
        nothing = await there.feed.page(there.cursor, FeedQuery())
        assert (nothing.events, nothing.next.position) == ([], pipeline.journal.head)


async def test_a_deletion_without_a_journal_is_an_event_once(pipeline: Pipeline, servers: Servers) -> None:
    async with pipeline.running("writer"), followed(pipeline) as there, served(pipeline) as here:
        await pipeline.accept([post(1, "one"), post(2, "two"), post(1, "elsewhere", OTHER)])
        await there.until(3)
        await pipeline.flushed()
        async with open_database(servers.dsn) as database:
            shared = SharedCache(Signal(), remember_s=60, clock_s=time.monotonic)
            changer = SharedChanger(database, None, shared, clock_s=time.monotonic)
            for _ in range(2):
                assert await changer.delete(message_uuid(CHANNEL, 2), "spam")
            # It is said once more by Telegram, and handed over again, as after a crash before that was noted.
            assert (await there.until(4))[3:] == ["deleted 2"]
            await pipeline.accept([Gone(CHANNEL, 2)])
            async with database.writing() as connection:
                await connection.execute("update telegram_gateway.handed_over set taken_at = null")
            await pipeline.accept([post(3, "three")])
            assert (await there.until(5))[4:] == ["posted 3"]
            with anyio.fail_after(10):
                while await _open(database):
                    await anyio.sleep(0.02)
        await pipeline.flushed()
        assert await here.until(5) == await there.until(5)
        await pipeline.accept([post(4, "four")])
        assert (await here.until(6))[5:] == (await there.until(6))[5:] == ["posted 4"]


async def _open(database: Database) -> int:
    async with database.reading() as connection:
        return int(
            await connection.fetchval(
                "select count(*) from telegram_gateway.handed_over where taken_at is null"
            )
        )


async def test_news_are_told_over_the_cache(pipeline: Pipeline) -> None:
    """It looks once an hour: what comes earlier, it was told."""
    async with pipeline.running("writer", "redis"), followed(pipeline) as there:
        await pipeline.wait_until(lambda: pipeline.cache.address is not None)
        async with served(pipeline, look_s=3600, told=True) as here:
            heard = anyio.Event()

            async def first_words() -> None:
                async for _ in pipeline.cache.announcements("feed"):
                    heard.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(first_words)
                number = 0
                with anyio.fail_after(10):
                    while not heard.is_set() or len(here.events) < number:
                        # The first ones may come before the other process listens.
                        number += 1
                        await pipeline.accept([post(number, str(number))])
                        with anyio.move_on_after(0.5):
                            await here.until(number)
                tasks.cancel_scope.cancel()
            assert [e.position for e in here.events] == [e.position for e in (await _read(there, number))]


async def _read(reader: Reader, count: int) -> list[FeedEvent]:
    await reader.until(count)
    return reader.events


@pytest.mark.parametrize("made", [(200, 100), ()], ids=["days", "strays, whose days nobody made"])
async def test_what_is_dropped_is_told_and_there_is_a_place_to_go_on_from(
    pipeline: Pipeline, made: tuple[int, ...]
) -> None:
    async with pipeline.running("writer"), followed(pipeline) as there, served(pipeline) as here:

        def old(number: int, days: int, at_us: int) -> Posted:
            return Posted(CHANNEL, number, Content(text=str(number)), 0, at_us - days * DAY_US, False)

        async with pipeline.database.writing() as connection:
            for days in made:
                await connection.execute(
                    "select telegram_gateway.add_day((now() at time zone 'UTC')::date - $1::integer)", days
                )
        await pipeline.journal.append(
            lambda at_us: [old(1, 200, at_us), old(2, 100, at_us), old(3, 5, at_us)]
        )
        await pipeline.accept([post(4, "four"), post(2, "Two", edit_date_s=7)])
        await there.until(5)
        await here.until(5)
        await pipeline.flushed()
        await pipeline.database.upkeep(90)
        first = there.events[0].position
        for reader in (there, here):
            onward = await reader.feed.page(await _expired(reader, first), FeedQuery())
            assert [e.position for e in onward.events][:2] == [e.position for e in there.events[2:4]]
            beginning = await reader.feed.page(None, FeedQuery())
            assert [e.position for e in beginning.events][:2] == [e.position for e in onward.events][:2]
        # A fresh process never saw the messages that are gone, and shows none.
        async with served(pipeline) as fresh:
            assert await fresh.until(2) == ["posted 3", "posted 4"]


def _folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


async def test_a_new_journal_skips_nothing_and_repeats_nothing(tmp_path: Path, servers: Servers) -> None:
    async with (
        open_pipeline(_folder(tmp_path, "one"), servers.dsn, servers.cache_url) as first,
        first.running("writer"),
        followed(first) as reader,
    ):
        await first.accept([post(1, "one"), post(2, "two"), post(3, "three")])
        await reader.until(3)
        await first.flushed()
    async with (
        open_pipeline(_folder(tmp_path, "two"), servers.dsn, servers.cache_url) as second,
        second.running("writer"),
        followed(second, recent=1) as other,
    ):
        other.cursor, other.events = reader.events[0].position, reader.events[:1]
        # Read again from Telegram, as a fresh journal does.
        await second.journal.append(
            lambda at_us: [Posted(CHANNEL, 3, Content(text="three"), 0, at_us, False)]
        )
        await second.accept([post(4, "four")])
        assert await other.until(4) == ["posted 1", "posted 2", "posted 3", "posted 4"]
        assert other.events[-1].position > other.events[-2].position
        assert "database" in other.sources
        assert other.events[-1].position.epoch == other.events[0].position.epoch + 1


async def test_what_only_the_database_has_waits_for_it(pipeline: Pipeline) -> None:
    async with pipeline.running("writer"), followed(pipeline, recent=1) as reader:
        await pipeline.accept([post(n, str(n)) for n in range(1, 4)])
        await reader.until(3)
        await pipeline.flushed()
    async with followed(pipeline, recent=1) as reader:
        await reader.until(3)
        await reader.in_memory()
        pipeline.database.breaker.broke(time.monotonic(), "for the test")
        with pytest.raises(Unavailable, match="not in memory"):
            await reader.feed.page(BEGINNING, FeedQuery())
        await pipeline.accept([post(4, "four")])
        assert (await reader.until(4))[3:] == ["posted 4"]
        assert "journal" in reader.sources


async def test_a_batch_that_is_repeated_records_nothing_before_its_message(servers: Servers) -> None:
    """A deletion came before its message; the process died between the commit and its note of it."""
    await upgrade(servers.dsn)
    records = [
        Record(1, Deleted(CHANNEL, 7, 1), 1, 1),
        Record(2, Posted(CHANNEL, 7, Content(text="seven"), 0, 2, False), 2, 1),
        Record(3, Deleted(CHANNEL, 7, 3), 3, 1),
    ]
    connection = await asyncpg.connect(servers.dsn)
    try:
        await write_batch(connection, records[:2], 1)
        await write_batch(connection, records, 1)
        rows = await connection.fetch("select kind, position from telegram_gateway.message_changes")
    finally:
        await connection.close()
    assert [tuple(row) for row in rows] == [("deleted", 3)]
