"""The cache compared with the database while both are written to, as fast as they go."""

import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import redis.asyncio

from support.pipeline import CHANNELS, Pipeline, open_pipeline, post
from support.servers import Servers
from telewarden.sandbox.alone import AloneContext
from telewarden.storage.acceptance import Channel, Gone
from telewarden.storage.cache import open_cache
from telewarden.storage.cache_keys import CacheKeys
from telewarden.storage.cache_verify import CacheDifference, CacheVerifier, CannotCompare, Differs
from telewarden.storage.shared_acknowledger import SharedAcknowledger
from telewarden.storage.shared_cache import SharedCache
from telewarden.storage.signal import Signal
from telewarden.workers.shared import SharedCacheWorker
from telewarden_http.protocols import MarkProcessed

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
LATE = -1005
"""A channel whose posts are not certainly new: the database has the word on each."""


@pytest.fixture
async def pipeline(tmp_path: Path, servers: Servers) -> AsyncIterator[Pipeline]:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url, batch_size=20) as opened:
        await opened.journal.open_channel(Channel(LATE, floor=1_000_000))
        opened.reader._channel_ids = frozenset({*CHANNELS, LATE})
        opened.acknowledger._channel_ids = (*CHANNELS, LATE)
        opened.warmer._channel_ids = (*CHANNELS, LATE)
        yield opened


@pytest.fixture
async def valkey(servers: Servers) -> "AsyncIterator[redis.asyncio.Redis]":
    async with redis.asyncio.Redis.from_url(servers.cache_url) as client:
        yield client


def verifier(pipeline: Pipeline, again_s: float = 0.05) -> CacheVerifier:
    return CacheVerifier(
        CacheKeys(pipeline.cache),
        pipeline.sync,
        pipeline.journal,
        pipeline.database,
        lambda: [*CHANNELS, LATE],
        again_s=again_s,
    )


async def found(compare: CacheVerifier) -> tuple[int, int, list[Differs]]:
    differences: list[Differs] = []
    compared = changing = 0
    async for report in compare.verify():
        differences += report.differences
        compared, changing = report.compared, report.changing
    return compared, changing, differences


class Load:
    """Posts, edits, deletes and acknowledges without a pause, here and as another process does."""

    def __init__(self, pipeline: Pipeline, elsewhere: SharedAcknowledger, seed: int) -> None:
        self._pipeline, self._elsewhere = pipeline, elsewhere
        self._dice = random.Random(seed)
        self._waiting: list[tuple[int, int]] = []
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            channel_id = self._dice.choice((*CHANNELS, LATE))
            await self._pipeline.accept([post(self.count, f"#{self.count}", channel=channel_id)])
            self._waiting.append((channel_id, self.count))
            channel_id, number = self._dice.choice(self._waiting[-50:])
            match self._dice.randrange(6):
                case 0 | 1:
                    edited = post(number, f"edited {self.count}", channel=channel_id, edit_date_s=self.count)
                    await self._pipeline.accept([edited])
                case 2:
                    await self._pipeline.accept([Gone(channel_id, number)])
                case 3:
                    await self._pipeline.acknowledge(number, channel=channel_id)
                case 4:
                    request = MarkProcessed((number,), "elsewhere", str(channel_id))
                    await self._elsewhere.mark_processed(request)


async def test_under_a_load_that_never_pauses_no_difference_is_told(
    pipeline: Pipeline, servers: Servers
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    async with pipeline.running(), open_cache(servers.cache_url) as cache, anyio.create_task_group() as tasks:
        await pipeline.trusted()
        shared = SharedCache(Signal(), remember_s=7200, clock_s=time.monotonic)
        tasks.start_soon(SharedCacheWorker(cache, shared).run, AloneContext())
        with anyio.fail_after(10):
            await shared.changed.wait_until(lambda: shared.history is not None)
        elsewhere = SharedAcknowledger(
            pipeline.database, cache, shared, channel_ids=(*CHANNELS, LATE), clock_s=time.monotonic
        )
        load = Load(pipeline, elsewhere, seed)
        tasks.start_soon(load.run)
        await pipeline.wait_until(lambda: load.count >= 100)
        before = load.count
        for _ in range(8):
            compared, _, differences = await found(verifier(pipeline, again_s=0.5))
            assert not differences, differences
            assert compared > 0
        # It went on meanwhile.
        assert load.count > before
        tasks.cancel_scope.cancel()


async def test_what_differs_is_told_once_although_there_is_much_of_it(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(number, str(number)) for number in range(1, 501)])
        await pipeline.flushed()
        await pipeline.trusted()
        await valkey.zremrangebyrank(f"telegram:pending:{CHANNELS[0]}", 0, 299)
        compared, changing, differences = await found(verifier(pipeline))
    assert (compared, changing) == (500, 0)
    assert sorted(differences, key=lambda d: d.message_id) == [
        Differs(CHANNELS[0], number, CacheDifference.MISSING) for number in range(1, 301)
    ]


async def test_members_of_one_time_are_all_looked_at(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    strangers = {f"{number:036}:{number}": 5 for number in range(1, 451)}
    async with pipeline.running():
        await pipeline.trusted()
        await valkey.zadd(f"telegram:pending:{CHANNELS[0]}", strangers)
        _, _, differences = await found(verifier(pipeline))
    assert {d.message_id for d in differences} == set(range(1, 451))
    assert {d.kind for d in differences} == {CacheDifference.UNKNOWN}


async def test_a_cache_that_is_not_complete_is_not_compared(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    with pytest.raises(CannotCompare, match="not complete"):
        await found(verifier(pipeline))
    async with pipeline.running():
        await pipeline.accept([post(number, str(number)) for number in range(1, 301)])
        await pipeline.flushed()
        await pipeline.trusted()
        reports = verifier(pipeline).verify()
        await anext(reports)
        await valkey.flushall()
        await pipeline.wait_until(lambda: pipeline.sync.trusted is None)
        with pytest.raises(CannotCompare, match="lost meanwhile"):
            async for _ in reports:
                pass
