"""A warm on a real PostgreSQL and a real Valkey: blips, lost answers, other histories, and a load that never pauses."""

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from uuid import UUID

import anyio
import asyncpg
import pytest
import redis.asyncio

from support.pipeline import CHANNELS, Pipeline, open_pipeline, post
from support.servers import Servers
from telewarden.messages import Key, State
from telewarden.storage import pace
from telewarden.storage.cache import CacheUnavailable, Operation, Turn, Write
from telewarden.storage.database import DatabaseUnavailable
from telewarden_http.protocols import Source

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

COUNT = 150
"""Messages that wait in the first channel: three pages."""
TEXTS = [str(number) for number in range(1, COUNT + 1)]


@pytest.fixture
async def pipeline(tmp_path: Path, servers: Servers) -> AsyncIterator[Pipeline]:
    """With messages in the database, and none in the cache."""
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url) as opened:
        async with opened.running("writer"):
            await opened.accept([post(number, text) for number, text in enumerate(TEXTS, 1)])
            await opened.flushed()
        yield opened


@pytest.fixture
async def valkey(servers: Servers) -> "AsyncIterator[redis.asyncio.Redis]":
    async with redis.asyncio.Redis.from_url(servers.cache_url) as client:
        yield client


class Pages:
    """Stands between the warmer and the stores. read: where each page began that was asked for; written: how many pages
    were written. on_write: called with the number of each page before it is written; may raise instead."""

    def __init__(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[int] = []
        self.written = 0
        self.lose_answer_of: set[int] = set()
        self.refuse_read: set[int] = set()
        self._apply, self._pending_page = pipeline.cache.apply, pipeline.database.pending_page
        monkeypatch.setattr(pace, "FIRST", COUNT // 3)
        monkeypatch.setattr(pace, "LARGEST", COUNT // 3)
        monkeypatch.setattr(pipeline.cache, "apply", self.apply)
        monkeypatch.setattr(pipeline.database, "pending_page", self.pending_page)
        self.at_page: dict[int, anyio.Event] = {}
        self.go_on: dict[int, anyio.Event] = {}

    def hold(self, number: int) -> None:
        """Hold the warm before it writes that page."""
        self.at_page[number], self.go_on[number] = anyio.Event(), anyio.Event()

    async def reached(self, number: int) -> None:
        """Until the warm is held there."""
        with anyio.fail_after(10):
            await self.at_page[number].wait()

    async def apply(self, history: str, writes: Sequence[Write], turn: Turn) -> None:
        if not all(write.operation is Operation.PEND and write.state.id is not None for write in writes):
            await self._apply(history, writes, turn)
            return
        self.written += 1
        number = self.written
        if number in self.at_page:
            self.at_page[number].set()
            await self.go_on[number].wait()
        await self._apply(history, writes, turn)
        if number in self.lose_answer_of:
            raise CacheUnavailable("the answer was lost, for the test")

    async def pending_page(self, channel_id: int, after: tuple[int, UUID], limit: int) -> list[State]:
        if channel_id == CHANNELS[0]:
            self.read.append(after[0])
            if len(self.read) in self.refuse_read:
                raise DatabaseUnavailable("down, for the test")
        return await self._pending_page(channel_id, after, limit)


@pytest.fixture
def pages(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pages:
    return Pages(pipeline, monkeypatch)


async def test_a_page_whose_answer_was_lost_is_written_again_and_paging_goes_on_from_there(
    pipeline: Pipeline, pages: Pages
) -> None:
    pages.lose_answer_of = {2}
    async with pipeline.running():
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, TEXTS)
    assert pipeline.sync.warms == 1
    assert pipeline.sync.progress is not None
    assert pipeline.sync.progress.blips == 1
    # The first page was read once; the second twice, from the same place.
    assert pages.read.count(0) == 1
    assert pages.read[1] == pages.read[2] > 0


async def test_connections_that_are_cut_again_and_again_do_not_start_a_warm_over(
    pipeline: Pipeline, pages: Pages, valkey: "redis.asyncio.Redis"
) -> None:
    for number in (1, 3):
        pages.hold(number)
    async with pipeline.running():
        for number in (1, 3):
            await pages.reached(number)
            await valkey.client_kill_filter(_type="normal", skipme=True)
            pages.go_on[number].set()
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, TEXTS)
    assert pipeline.sync.warms == 1


async def test_a_database_that_blips_is_waited_for(pipeline: Pipeline, pages: Pages) -> None:
    pages.refuse_read = {2, 3}
    async with pipeline.running():
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, TEXTS)
    assert pipeline.sync.warms == 1
    assert pages.read.count(0) == 1


async def test_another_history_means_a_new_warm(
    pipeline: Pipeline, pages: Pages, valkey: "redis.asyncio.Redis"
) -> None:
    pages.hold(2)
    async with pipeline.running():
        await pages.reached(2)
        # Demoted and promoted again: the same process, another history, and it may lack what it had.
        await valkey.replicaof("127.0.0.1", 1)
        await valkey.replicaof("NO", "ONE")
        await valkey.delete(f"telegram:pending:{CHANNELS[0]}")
        pages.go_on[2].set()
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, TEXTS)
    assert pipeline.sync.warms > 1


@pytest.mark.parametrize(
    "how", ["FLUSHALL", "a clear of an earlier warm that comes late", "somebody's key in place of a set"]
)
async def test_a_cache_that_was_emptied_during_a_warm_is_never_called_complete(
    pipeline: Pipeline, pages: Pages, valkey: "redis.asyncio.Redis", how: str
) -> None:
    pages.hold(3)
    async with pipeline.running():
        await pages.reached(3)
        if how == "FLUSHALL":
            await valkey.flushall()
        elif how.startswith("somebody"):
            await valkey.set(f"telegram:pending:{CHANNELS[0]}", "somebody's")
        else:
            await pipeline.cache.clear(f"{pipeline.sync.history}:{'0' * 32}:plain", CHANNELS)
        pages.go_on[3].set()
        # The history is the same, and every answer was good.
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, TEXTS)
    assert pipeline.sync.warms == 2


async def test_a_key_of_another_type_that_appears_during_a_warm_is_cleared_by_the_next(
    pipeline: Pipeline, pages: Pages, valkey: "redis.asyncio.Redis"
) -> None:
    pages.hold(2)
    async with pipeline.running():
        await pages.reached(2)
        await valkey.set(f"telegram:pending:{CHANNELS[0]}", "somebody else's")
        pages.go_on[2].set()
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, TEXTS)
    assert pipeline.sync.warms == 2


async def test_a_clear_of_which_nothing_is_known_is_not_built_on(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear, lost = pipeline.cache.clear, list[str]()

    async def loses_the_first(mark: str, channel_ids: Iterable[int]) -> None:
        if not lost:
            lost.append(mark)
            raise CacheUnavailable("lost, for the test")
        await clear(mark, channel_ids)

    monkeypatch.setattr(pipeline.cache, "clear", loses_the_first)
    async with pipeline.running():
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, TEXTS)
    assert pipeline.sync.warms == 2
    assert pipeline.sync.mark is not None
    assert pipeline.sync.mark.text not in lost


async def test_a_mark_whose_answer_was_lost_is_set_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_mark, marks = pipeline.cache.set_mark, list[str]()

    async def loses_the_first(mark: str, lease_ms: int) -> None:
        marks.append(mark)
        await set_mark(mark, lease_ms)
        if len(marks) == 1:
            raise CacheUnavailable("the answer was lost, for the test")

    monkeypatch.setattr(pipeline.cache, "set_mark", loses_the_first)
    async with pipeline.running():
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, TEXTS)
    assert pipeline.sync.warms == 1
    assert len(marks) == 2
    assert len(set(marks)) == 1


async def test_what_happens_while_a_page_waits_to_be_written_again_is_folded_onto_it(
    pipeline: Pipeline, pages: Pages, valkey: "redis.asyncio.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    pages.hold(1)
    async with pipeline.running("redis", "warmer"):
        await pages.reached(1)
        # Read, and not written yet: the applier waits for it. Its first writing is lost.
        pages.lose_answer_of = {1}
        pages.hold(2)
        pages.go_on[1].set()
        await pages.reached(2)
        pages.lose_answer_of = {2}
        await pipeline.acknowledge(1, channel=CHANNELS[0])
        await pipeline.accept([post(2, "2, edited", edit_date_s=5)])
        pages.go_on[2].set()
        await pipeline.wait_until(lambda: pipeline.sync.applied == pipeline.journal.head)
        # As if the tombstone were lost: the page alone has to know.
        await valkey.delete(f"telegram:done:{CHANNELS[0]}:1")
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, ["2, edited", *TEXTS[2:]])
    assert pipeline.sync.warms == 1


async def test_a_warm_that_falls_behind_the_journals_retention_starts_over(
    pipeline: Pipeline, pages: Pages
) -> None:
    pipeline.journal._retention_events = 5
    pages.hold(2)
    async with pipeline.running():
        await pages.reached(2)
        numbers = range(1001, 1021)
        await pipeline.accept([post(number, str(number)) for number in numbers])
        await pipeline.flushed()
        assert pipeline.journal.tail.first > pipeline.journal.head - 20
        pages.go_on[2].set()
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, [*TEXTS, *map(str, numbers)])
    assert pipeline.sync.warms > 1


async def test_a_warm_ends_under_a_load_that_never_pauses_although_the_database_is_slow(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, asked = pipeline.database.done, list[int]()

    async def slow(keys: Sequence[Key]) -> set[Key]:
        asked.append(len(keys))
        await anyio.sleep(0.05)
        return await done(keys)

    monkeypatch.setattr(pipeline.database, "done", slow)
    posted = COUNT

    async def load() -> None:
        nonlocal posted
        while True:
            posted += 1
            await pipeline.accept([post(posted, str(posted))])

    # Some for the warm to ask about.
    for number in range(COUNT + 1, COUNT + 4):
        posted = number
        await pipeline.accept([post(number, str(number))])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load)
        async with pipeline.running():
            await pipeline.wait_until(lambda: pipeline.sync.trusted is not None)
            assert asked
            sources = set()
            for _ in range(20):
                before = posted - 1
                source, texts = await pipeline.poll(limit=10_000)
                sources.add(source)
                assert texts == [str(number) for number in range(1, len(texts) + 1)]
                assert len(texts) >= before
            assert sources == {Source.CACHE}, pipeline.reasons
            tasks.cancel_scope.cancel()


async def test_what_was_acknowledged_in_the_database_alone_does_not_wait_after_a_warm(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis", servers: Servers
) -> None:
    """As another process acknowledges: committed before this warm began, and its post is still to be applied here."""
    await pipeline.accept([post(COUNT + 1, "acknowledged elsewhere"), post(COUNT + 2, "waits")])
    connection = await asyncpg.connect(servers.dsn)
    await connection.execute(
        "insert into telegram_gateway.acknowledgements (channel_id, message_id, consumer, acknowledged_at) "
        f"values ('{CHANNELS[0]}', {COUNT + 1}, 'tp-capital', now())"
    )
    await connection.close()
    async with pipeline.running("redis", "warmer"):
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, [*TEXTS, "waits"])
    assert await valkey.exists(f"telegram:done:{CHANNELS[0]}:{COUNT + 1}") == 1
