"""A process of the role `api` beside the one that takes in: parts on real servers, and the whole process."""

import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import msgspec
import pytest
import redis.asyncio

from support.pipeline import CHANNELS, Pipeline, open_pipeline, post
from support.servers import Servers
from support.serving import serving_process
from telewarden.channel_handover import ChannelHandover
from telewarden.channels import ChannelSet
from telewarden.messages import message_uuid
from telewarden.sandbox.alone import AloneContext
from telewarden.sandbox.daemon import DaemonProcess
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import Stack, start_stack
from telewarden.storage.cache import Cache, open_cache
from telewarden.storage.changer import JournalChanger
from telewarden.storage.channel_table import ChannelTable
from telewarden.storage.database import open_database
from telewarden.storage.shared_acknowledger import SharedAcknowledger
from telewarden.storage.shared_cache import NOT_PROVEN, SharedCache
from telewarden.storage.shared_changer import SharedChanger
from telewarden.storage.shared_reader import SharedReader
from telewarden.storage.signal import Signal
from telewarden.workers.channels import ChannelWriter
from telewarden.workers.shared import SharedCacheWorker
from telewarden_http.protocols import (
    AmbiguousMessage,
    MarkProcessed,
    MessageIsDeleted,
    Source,
    Unavailable,
    UnknownChannel,
    UnprocessedQuery,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
CHANNEL, OTHER = CHANNELS


@dataclass
class Serving:
    """The parts of a process that only serves."""

    cache: Cache
    shared: SharedCache
    reader: SharedReader
    acknowledger: SharedAcknowledger
    changer: SharedChanger

    async def poll(self, **query: object) -> tuple[Source, list[str]]:
        page = await self.reader.unprocessed(UnprocessedQuery(str(CHANNEL), **query))  # type: ignore[arg-type]
        bodies = msgspec.json.decode(b"[" + b",".join(page.bodies) + b"]")
        return page.source, [body["text"] for body in bodies]

    async def acknowledge(self, *message_ids: int, channel: int | None = None) -> int:
        request = MarkProcessed(message_ids, "tp-capital", None if channel is None else str(channel))
        return (await self.acknowledger.mark_processed(request)).updated

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            await self.shared.changed.wait_until(condition)


@asynccontextmanager
async def serving(dsn: str, cache_url: str) -> AsyncIterator[Serving]:
    """Connected to the cache."""
    async with open_database(dsn) as database, open_cache(cache_url) as cache:
        shared = SharedCache(Signal(), remember_s=7200, clock_s=time.monotonic)
        parts = Serving(
            cache,
            shared,
            SharedReader(database, cache, shared, channel_ids=CHANNELS),
            SharedAcknowledger(database, cache, shared, channel_ids=CHANNELS, clock_s=time.monotonic),
            SharedChanger(database, cache, shared, clock_s=time.monotonic),
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(SharedCacheWorker(cache, shared, look_s=0.05).run, AloneContext())
            await parts.until(lambda: shared.history is not None)
            yield parts
            tasks.cancel_scope.cancel()


@pytest.fixture
async def pipeline(tmp_path: Path, servers: Servers) -> AsyncIterator[Pipeline]:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url) as parts:
        yield parts


@pytest.fixture
async def valkey(servers: Servers) -> AsyncIterator["redis.asyncio.Redis"]:
    async with redis.asyncio.Redis.from_url(servers.cache_url) as client:
        yield client


async def in_both(pipeline: Pipeline, posts: Sequence[tuple[int, str]]) -> None:
    await pipeline.accept([post(number, text) for number, text in posts])
    await pipeline.flushed()
    await pipeline.trusted()


async def test_it_believes_the_proof_of_the_process_that_takes_in(
    pipeline: Pipeline, servers: Servers, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await in_both(pipeline, [(1, "one"), (2, "two")])
        async with serving(servers.dsn, servers.cache_url) as other:
            assert await other.poll() == (Source.CACHE, ["one", "two"])
            assert await other.poll(statuses=("received", "queued"), limit=1) == (Source.CACHE, ["one"])
            assert (await other.poll(statuses=("published",)))[0] is Source.DATABASE
            await valkey.delete(f"telegram:msg:{CHANNEL}:1")
            assert await other.poll() == (Source.CACHE, ["one", "two"]), "a body that expired"
            await valkey.flushall()
            assert await other.poll() == (Source.DATABASE, ["one", "two"]), "no proof, no cache"
            await pipeline.trusted()
    with pytest.raises(UnknownChannel):
        await other.reader.unprocessed(UnprocessedQuery("-1"))


async def test_an_acknowledgement_counts_for_all(
    pipeline: Pipeline, servers: Servers, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await in_both(pipeline, [(1, "one"), (2, "two"), (3, "three")])
        async with serving(servers.dsn, servers.cache_url) as other:
            assert await other.acknowledge(1) == 1
            assert await other.poll() == (Source.CACHE, ["two", "three"])
            assert await pipeline.poll() == (Source.CACHE, ["two", "three"])
            assert await other.acknowledge(1) == 0
            assert await pipeline.acknowledge(2) == 1
            await pipeline.flushed()
            assert await other.poll() == (Source.CACHE, ["three"])
            await valkey.flushall()
            await pipeline.wait_until(lambda: pipeline.sync.mark is None)
            await pipeline.trusted()
            assert await pipeline.poll() == (Source.CACHE, ["three"])


async def test_the_process_that_takes_in_hears_of_acknowledgements_made_elsewhere(
    pipeline: Pipeline, servers: Servers
) -> None:
    async with pipeline.running():
        await in_both(pipeline, [(n, str(n)) for n in range(1, 4)])
        async with serving(servers.dsn, servers.cache_url) as other:
            assert await other.acknowledge(1, 3) == 2
        with anyio.fail_after(10):
            while len(pipeline.sync.mirror) > 1:
                await anyio.sleep(0.05)
        assert await pipeline.acknowledge(1, 2, 3) == 1


async def test_what_is_not_stored_yet_is_acknowledged_too(pipeline: Pipeline, servers: Servers) -> None:
    async with pipeline.running("redis", "warmer"):
        await pipeline.trusted()
        await pipeline.accept([post(7, "fresh"), post(8, "fresh too")])
        await pipeline.trusted()
        async with serving(servers.dsn, servers.cache_url) as other:
            assert await other.poll() == (Source.CACHE, ["fresh", "fresh too"])
            assert await other.acknowledge(7) == 1, "the cache knows its channel"
            assert await other.acknowledge(8, channel=CHANNEL) == 1
            assert await other.poll() == (Source.CACHE, [])
            assert await other.acknowledge(9) == 0
            async with pipeline.running("writer"):
                await pipeline.flushed()
            await pipeline.trusted()
            assert await pipeline.poll() == (Source.CACHE, [])
            assert await pipeline.poll(statuses=("published",)) == (Source.DATABASE, ["fresh", "fresh too"])


async def test_an_id_in_two_channels_is_ambiguous(pipeline: Pipeline, servers: Servers) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "here"), post(1, "there", OTHER)])
        await pipeline.flushed()
        async with serving(servers.dsn, servers.cache_url) as other:
            with pytest.raises(AmbiguousMessage):
                await other.acknowledge(1)
            assert await other.acknowledge(1, channel=OTHER) == 1
            assert await other.poll(), "the other one waits"


async def test_an_id_that_waits_in_one_channel_and_is_not_stored_yet_in_another_is_ambiguous(
    pipeline: Pipeline, servers: Servers
) -> None:
    async with pipeline.running("redis", "warmer"):
        async with pipeline.running("writer"):
            await pipeline.accept([post(1, "here")])
            await pipeline.flushed()
        await pipeline.accept([post(1, "there, not stored yet", OTHER)])
        await pipeline.trusted()
        async with serving(servers.dsn, servers.cache_url) as other:
            with pytest.raises(AmbiguousMessage):
                await other.acknowledge(1)
            assert await other.acknowledge(1, channel=OTHER) == 1
            assert await other.acknowledge(1, channel=OTHER) == 0, "it is done, though not stored yet"
            assert await other.acknowledge(1) == 1, "now it waits in one channel alone"


async def test_an_answer_that_was_lost_before_the_cache_heard_is_made_good(
    pipeline: Pipeline, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pipeline.running():
        await in_both(pipeline, [(1, "one")])
        async with serving(servers.dsn, servers.cache_url) as other:

            async def dies(_: object) -> None:
                raise ConnectionResetError("the process died here")

            monkeypatch.setattr(other.acknowledger._commits, "tell", dies)
            with pytest.raises(ConnectionResetError):
                await other.acknowledge(1)
            monkeypatch.undo()
            assert (await other.poll())[1] == ["one"]
            assert await other.acknowledge(1) == 0, "it is done"
            assert await other.poll() == (Source.CACHE, [])


async def test_a_cache_that_lost_an_acknowledgement_is_told_again_before_it_is_read(
    pipeline: Pipeline, servers: Servers, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await in_both(pipeline, [(1, "one"), (2, "two")])
        async with serving(servers.dsn, servers.cache_url) as other:
            assert await other.acknowledge(1) == 1
            history = other.shared.history
            assert history is not None
            # As if a warm had read message 1 before the acknowledgement, into another history.
            await valkey.delete(f"telegram:done:{CHANNEL}:1")
            member = f"{await _row_id(servers, 1)}:1"
            await valkey.zadd(f"telegram:pending:{CHANNEL}", {member: 1})
            await valkey.hincrby("telegram:counts", str(CHANNEL), 1)
            other.shared.connected("another")
            assert other.shared.trusted is None
            other.shared.disconnected("the history of the test is over")
            await other.until(lambda: other.shared.trusted == history)
            assert await other.poll() == (Source.CACHE, ["two"])


async def _row_id(servers: Servers, message_id: int) -> str:
    async with open_database(servers.dsn) as database, database.reading() as connection:
        return str(
            await connection.fetchval(
                "select id from telegram_gateway.message_keys where message_id = $1", message_id
            )
        )


async def test_forgotten_acknowledgements_cost_a_warm(pipeline: Pipeline, servers: Servers) -> None:
    async with pipeline.running():
        await in_both(pipeline, [(1, "one")])
        mark = pipeline.sync.mark
        async with serving(servers.dsn, servers.cache_url) as other:
            other.shared.needs_warm = True
            other.shared.owe([])
            assert (await other.poll())[0] is Source.DATABASE
            await other.until(lambda: other.shared.trusted is not None)
            await pipeline.wait_until(lambda: pipeline.sync.mark not in (None, mark))
            assert await other.poll() == (Source.CACHE, ["one"])


async def test_what_is_deleted_or_to_be_processed_once_more_waits_no_longer(
    pipeline: Pipeline, servers: Servers
) -> None:
    async with pipeline.running():
        await in_both(pipeline, [(n, str(n)) for n in range(1, 6)])
        ids = {n: message_uuid(CHANNEL, n) for n in range(1, 8)}
        here = JournalChanger(pipeline.journal, pipeline.reader)
        async with serving(servers.dsn, servers.cache_url) as other:
            deleted = msgspec.json.decode(await here.delete(ids[1], "spam") or b"")
            assert (deleted["status"], deleted["metadata"]["deletion"]["reason"]) == ("deleted", "spam")
            elsewhere = msgspec.json.decode(await other.changer.delete(ids[2], None) or b"")
            assert (elsewhere["status"], elsewhere["deletedAt"] is not None) == ("deleted", True)
            again = msgspec.json.decode(await here.reprocess(ids[3], "ana") or b"")
            assert (again["status"], again["metadata"]["reprocess"]["requestedBy"]) == (
                "reprocess_pending",
                "ana",
            )
            assert await other.changer.reprocess(ids[4], "bo")
            await pipeline.flushed()
            await pipeline.trusted()
            for poll in (pipeline.poll, other.poll):
                assert await poll() == (Source.CACHE, ["5"])
                assert (await poll(statuses=("reprocess_pending",)))[1] == ["3", "4"]
                assert (await poll(statuses=("deleted",)))[1] == []
            for changer in (here, other.changer):
                assert await changer.delete(ids[1], "again") is not None
                assert b"spam" in (await changer.delete(ids[1], "again") or b""), "the first deletion stays"
                with pytest.raises(MessageIsDeleted):
                    await changer.reprocess(ids[1], "ana")
                assert await changer.delete(ids[7], None) is None
                assert await changer.reprocess(ids[7], "ana") is None
            assert await other.acknowledge(3) == 1, "once more"
            assert (await other.poll(statuses=("published",)))[1] == ["3"]


async def test_without_the_cache_the_database_answers_and_keeps(pipeline: Pipeline, servers: Servers) -> None:
    async with pipeline.running("writer"):
        await pipeline.accept([post(1, "one"), post(2, "two")])
        await pipeline.flushed()
    async with open_database(servers.dsn) as database:
        shared = SharedCache(Signal(), remember_s=60, clock_s=time.monotonic)
        shared.reason = "no cache"
        reader = SharedReader(database, None, shared, channel_ids=CHANNELS)
        acknowledger = SharedAcknowledger(
            database, None, shared, channel_ids=CHANNELS, clock_s=time.monotonic
        )
        assert (await acknowledger.mark_processed(MarkProcessed((1,), "tp"))).updated == 1
        page = await reader.unprocessed(UnprocessedQuery(str(CHANNEL)))
        assert (page.source, page.count) == (Source.DATABASE, 1)
        assert await reader.seen(str(CHANNEL), [1, 2, 3]) == {1, 2}
        assert shared.owed == 0


async def test_without_a_database_nothing_is_acknowledged(pipeline: Pipeline, servers: Servers) -> None:
    async with pipeline.running():
        await in_both(pipeline, [(1, "one")])
        async with serving("postgresql://telegram@127.0.0.1:1/none", servers.cache_url) as other:
            with pytest.raises(Unavailable, match="keeps acknowledgements there"):
                await other.acknowledge(1)
            assert await other.poll() == (Source.CACHE, ["one"])


async def test_which_channels_are_served_is_written_down_also_of_those_removed_meanwhile(
    pipeline: Pipeline,
) -> None:
    table = ChannelTable(pipeline.database)

    async def served(*configured: int) -> None:
        channels = ChannelSet(pipeline.journal, configured)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ChannelWriter(ChannelHandover(channels, table)).run, AloneContext())
            with anyio.fail_after(10):
                while sorted(await table.served()) != sorted(configured):
                    await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()

    async with pipeline.running("writer"):
        await pipeline.accept([post(1, "one")])
        await pipeline.flushed()
    await served(CHANNEL, OTHER)
    await served(CHANNEL)
    await served(OTHER, CHANNEL)


async def test_a_process_is_not_ready_by_a_cache_that_nobody_proves(
    pipeline: Pipeline, servers: Servers, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await in_both(pipeline, [(1, "one")])
        async with serving(servers.dsn, servers.cache_url) as other:
            await other.until(lambda: other.shared.trusted is not None)
    async with serving(servers.dsn, servers.cache_url) as other:
        await valkey.delete("telegram:mark")
        await other.until(lambda: other.shared.reason == NOT_PROVEN)
        assert await other.poll() == (Source.DATABASE, ["one"])


class Client:
    """The consumer at one process."""

    def __init__(self, process: DaemonProcess) -> None:
        self._http = httpx.AsyncClient(
            base_url=process.url, headers={"X-API-Key": process.api_key}, trust_env=False, timeout=10
        )

    async def poll(self, channel: int) -> tuple[str, list[str]]:
        answer = await self._http.get("/api/messages/unprocessed", params={"channel": str(channel)})
        if answer.status_code != 200:
            return str(answer.status_code), []
        source = answer.headers["X-Telewarden-Source"]
        return source, [message["messageId"] for message in answer.json()["data"]]

    async def until(self, channel: int, expected: list[int], source: str | None = None) -> None:
        """Until a poll gives these messages, from that source."""
        wanted = [str(message_id) for message_id in expected]
        found = None
        with anyio.move_on_after(20):
            while True:
                found = await self.poll(channel)
                if found[1] == wanted and source in (None, found[0]):
                    return
                await anyio.sleep(0.02)
        pytest.fail(f"wanted {wanted} from {source or 'any source'}; the latest poll: {found}")

    async def acknowledge(self, message_id: int) -> httpx.Response:
        body = {"messageIds": [str(message_id)], "processedBy": "tp-capital"}
        return await self._http.post("/api/messages/mark-processed", json=body)

    async def sync(self) -> httpx.Response:
        return await self._http.post("/sync-messages", json={})

    async def close(self) -> None:
        await self._http.aclose()


@asynccontextmanager
async def client(process: DaemonProcess) -> AsyncIterator[Client]:
    found = Client(process)
    try:
        yield found
    finally:
        await found.close()


async def posted(stack: Stack, channel: int, *texts: str) -> list[int]:
    return [(await stack.control.post(channel, text)).message_id for text in texts]


async def test_a_process_that_serves_beside_one_that_takes_in(tmp_path: Path) -> None:
    async with (
        start_stack(tmp_path, channels=2) as stack,
        daemon_running(stack),
        serving_process(stack) as process,
        client(process) as here,
        client(stack.daemon) as there,
    ):
        channel = stack.channel_ids[0]
        one, two, three = await posted(stack, channel, "one", "two", "three")
        await here.until(channel, [one, two, three], "cache")
        assert (await here.acknowledge(one)).json()["data"]["updated"] == 1
        await here.until(channel, [two, three])
        await there.until(channel, [two, three])
        assert (await there.acknowledge(two)).status_code == 200
        await here.until(channel, [three])

        answer = await here.sync()
        assert answer.status_code == 503
        assert "only serves" in answer.json()["message"]

        await stack.valkey.kill()
        await here.until(channel, [three], "database")
        await stack.valkey.restart()
        await here.until(channel, [three], "cache")
        await stack.postgres.kill()
        await here.until(channel, [three], "cache")
        assert (await here.acknowledge(three)).status_code == 503
        await stack.postgres.restart()

        # The one that takes in dies: polls and acknowledgements go on here.
        stack.daemon.kill()
        await here.until(channel, [three], "database")
        with anyio.fail_after(20):
            while (await here.acknowledge(three)).status_code != 200:
                await anyio.sleep(0.05)
        await here.until(channel, [])
        stack.daemon.start()
        await stack.daemon.wait_ready(caught_up=True)
        await there.until(channel, [])

        process.send(signal.SIGTERM)
        with anyio.fail_after(10):
            assert await process.ended() == 0
