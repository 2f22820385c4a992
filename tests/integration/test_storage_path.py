"""Journal, writer, cache and reader on a real PostgreSQL and a real Valkey."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import asyncpg
import msgspec
import pytest
import redis.asyncio

from support.pipeline import CHANNELS, Pipeline, open_pipeline, post
from support.servers import Servers
from telewarden.messages import Acknowledged, Content, Edited, Key, Posted, merge, message_uuid
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.valkey import EmbeddedValkey
from telewarden.storage.acceptance import Channel, Gone
from telewarden.storage.batch import write_batch
from telewarden.storage.cache import CacheUnavailable, HistoryChanged, Operation, Turn, Write
from telewarden.storage.render import render
from telewarden_http.protocols import AmbiguousMessage, Source, Unavailable, UnknownChannel

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
OTHER = CHANNELS[1]


@pytest.fixture
async def pipeline(tmp_path: Path, servers: Servers) -> AsyncIterator[Pipeline]:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url) as opened:
        yield opened


@pytest.fixture
async def sql(servers: Servers) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(servers.dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def valkey(servers: Servers) -> "AsyncIterator[redis.asyncio.Redis]":
    async with redis.asyncio.Redis.from_url(servers.cache_url) as client:
        yield client


async def test_a_message_is_served_by_each_source_with_the_same_bytes(pipeline: Pipeline) -> None:
    await pipeline.accept([post(1, "BUY PETR4"), post(2, "SELL"), post(2, "SELL VALE3", edit_date_s=9)])
    pipeline.database.breaker.broke(float("inf"), "for the test")
    journal = await pipeline.page()
    pipeline.database.breaker.succeeded()
    async with pipeline.running():
        await pipeline.flushed()
        await pipeline.trusted()
        cache = await pipeline.page()
        pipeline.sync.distrust("for the test")
        database = await pipeline.page()
    assert (journal.source, cache.source, database.source) == (Source.JOURNAL, Source.CACHE, Source.DATABASE)
    assert b",".join(journal.bodies) == b",".join(cache.bodies) == b",".join(database.bodies)
    first = msgspec.json.decode(database.bodies[0])
    assert first["id"] == str(message_uuid(CHANNELS[0], 1))
    assert first["text"] == "BUY PETR4"


async def test_a_poll_sees_what_was_accepted_before_any_store_has_it(pipeline: Pipeline) -> None:
    await pipeline.accept([post(1, "first")])
    async with pipeline.running():
        await pipeline.flushed()
        await pipeline.trusted()
    # No worker runs any more: the stores stay as they are.
    await pipeline.accept([post(2, "second"), post(1, "first, edited", edit_date_s=5), post(3, "third")])
    await pipeline.acknowledge(3)
    assert await pipeline.poll() == (Source.CACHE, ["first, edited", "second"])
    pipeline.sync.distrust("for the test")
    assert await pipeline.poll() == (Source.DATABASE, ["first, edited", "second"])


async def test_what_the_cache_has_not_got_yet_is_served_in_the_order_in_which_it_came(
    pipeline: Pipeline,
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "1")])
        await pipeline.flushed()
        await pipeline.trusted()
    texts = [str(number) for number in range(1, 101)]
    await pipeline.accept([post(int(text), text) for text in texts[1:]])
    assert await pipeline.poll() == (Source.CACHE, texts)
    pipeline.sync.distrust("for the test")
    assert await pipeline.poll() == (Source.DATABASE, texts)


async def test_each_poll_counts_once_by_its_source_and_once_by_the_reason_if_the_cache_did_not_answer(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    answers = pipeline.answers
    await pipeline.accept([post(1, "one")])
    await pipeline.poll()
    async with pipeline.running():
        await pipeline.flushed()
        await pipeline.trusted()
        await pipeline.poll()
        await pipeline.poll(statuses=("published",))
        await pipeline.reader.seen(str(CHANNELS[0]), [1, 2])
    await valkey.delete("telegram:mark")
    await pipeline.poll()
    await valkey.set("telegram:mark", "somebody else's")
    await pipeline.poll()
    pipeline.sync.distrust("for the test")
    await pipeline.poll()
    pipeline.sync.disconnected("for the test")
    pipeline.database.breaker.broke(float("inf"), "for the test")
    await pipeline.poll()
    with pytest.raises(UnknownChannel):
        await pipeline.poll(-77)
    assert answers.polls == {Source.CACHE: 1, Source.DATABASE: 5, Source.JOURNAL: 1}
    assert answers.reasons == {
        "not connected yet": 1,
        "other statuses": 1,
        "no mark": 1,
        "other mark": 1,
        "not warmed yet": 1,
        "down": 1,
    }
    assert answers.hit_rate == 1 / 7
    # Of a message that nobody knows only the database can say so.
    assert answers.seen[Source.DATABASE] == 1
    assert answers.seen[Source.JOURNAL] + answers.seen[Source.CACHE] == 1


async def test_an_acknowledged_message_is_not_served_again_by_any_source(pipeline: Pipeline) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "one"), post(2, "two")])
        await pipeline.trusted()
        assert await pipeline.acknowledge(1) == 1
        assert await pipeline.acknowledge(1) == 0
        assert await pipeline.poll() == (Source.CACHE, ["two"])
        await pipeline.flushed()
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, ["two"])
        pipeline.sync.distrust("for the test")
        assert await pipeline.poll() == (Source.DATABASE, ["two"])


async def test_a_limit_is_filled_although_the_oldest_messages_were_just_acknowledged(
    pipeline: Pipeline,
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(n, str(n)) for n in range(1, 21)])
        await pipeline.flushed()
        await pipeline.trusted()
    await pipeline.acknowledge(*range(1, 11))
    expected = [str(n) for n in range(11, 16)]
    assert await pipeline.poll(limit=5) == (Source.CACHE, expected)
    pipeline.sync.distrust("for the test")
    assert await pipeline.poll(limit=5) == (Source.DATABASE, expected)


async def test_the_cache_is_not_trusted_after_it_was_emptied(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "one")])
        await pipeline.flushed()
        await pipeline.trusted()
        await valkey.flushall()
        assert await pipeline.poll() == (Source.DATABASE, ["one"])
        await pipeline.wait_until(lambda: pipeline.sync.trusted is None)
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, ["one"])


async def test_another_processes_mark_proves_nothing(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "one")])
        await pipeline.flushed()
        await pipeline.trusted()
    history = pipeline.sync.history
    await valkey.set("telegram:mark", f"{history}:somebody-elses", px=60_000)
    assert await pipeline.poll() == (Source.DATABASE, ["one"])
    await valkey.set("telegram:mark", "0123456789abcdef0123456789abcdef01234567:x", px=60_000)
    assert await pipeline.poll() == (Source.DATABASE, ["one"])
    assert pipeline.reasons[-2:] == ["other mark", "other mark"]


async def test_a_mark_expires_unless_it_is_renewed(tmp_path: Path, servers: Servers) -> None:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url, lease_s=0.2) as pipeline:
        async with pipeline.running():
            await pipeline.accept([post(1, "one")])
            await pipeline.flushed()
            await pipeline.trusted()
        with anyio.fail_after(5):
            while (await pipeline.poll()) != (Source.DATABASE, ["one"]):
                pass
        assert pipeline.reasons[-1] == "no mark"


async def test_an_expired_body_is_read_from_memory_or_the_database(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "one"), post(2, "two")])
        await pipeline.flushed()
        await pipeline.trusted()
        await valkey.delete(f"telegram:msg:{CHANNELS[0]}:1")
        assert await pipeline.poll() == (Source.CACHE, ["one", "two"])
        pipeline.sync.mirror.clear()
        assert await pipeline.poll() == (Source.CACHE, ["one", "two"])


async def test_the_keys_of_the_contract_are_written_with_their_ttls(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "one")])
        await pipeline.trusted()
    channel = CHANNELS[0]
    stored = await valkey.get(f"telegram:msg:{channel}:1")
    assert stored is not None
    assert msgspec.json.decode(stored)["text"] == "one"
    assert 3500 < await valkey.ttl(f"telegram:msg:{channel}:1") <= 3600
    assert await valkey.get(f"telegram:dedup:{channel}:1") == b"1"
    assert 7100 < await valkey.ttl(f"telegram:dedup:{channel}:1") <= 7200
    assert await valkey.zrange(f"telegram:channel:{channel}:recent", 0, -1, withscores=True) == [
        (b"1", 1_730_649_600_000.0)
    ]


async def test_a_channel_with_too_many_waiting_messages_is_answered_by_the_database(
    tmp_path: Path, servers: Servers
) -> None:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url) as pipeline:
        pipeline.cache._settings = (3600, 7200, 7200, 3, 1000)
        async with pipeline.running():
            await pipeline.accept([post(n, str(n)) for n in range(1, 6)])
            await pipeline.flushed()
            await pipeline.trusted()
            assert await pipeline.poll() == (Source.DATABASE, ["1", "2", "3", "4", "5"])
            assert pipeline.reasons[-1] == "overflow"
            await pipeline.acknowledge(1, 2)
            await pipeline.trusted()
            # All that wait are in the set, also while they are too many to be served from it.
            assert await pipeline.poll() == (Source.CACHE, ["3", "4", "5"])


async def test_a_poll_of_more_bytes_than_come_in_time_is_answered_by_the_database(pipeline: Pipeline) -> None:
    texts = [f"{number} " + "x" * 100_000 for number in range(1, 101)]
    async with pipeline.running():
        await pipeline.accept([post(number, text) for number, text in enumerate(texts, 1)])
        await pipeline.flushed()
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.DATABASE, texts)
        assert pipeline.reasons == ["too large"]
        assert await pipeline.poll(limit=50) == (Source.CACHE, texts[:50])


async def test_a_cache_that_may_throw_keys_away_proves_nothing(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "one")])
        await pipeline.flushed()
        await pipeline.trusted()
        before = pipeline.sync.mark
        try:
            await valkey.config_set("maxmemory", "100mb")
            await valkey.config_set("maxmemory-policy", "volatile-lru")
            await pipeline.wait_until(lambda: pipeline.sync.trusted is None)
            await pipeline.wait_until(lambda: "maxmemory-policy noeviction" in (pipeline.sync.reason or ""))
            assert await pipeline.poll() == (Source.DATABASE, ["one"])
            await valkey.config_set("maxmemory-policy", "noeviction")
            await pipeline.trusted()
            # What was proven before counts no more: it was warmed anew.
            assert pipeline.sync.mark != before
            assert await pipeline.poll() == (Source.CACHE, ["one"])
        finally:
            await valkey.config_set("maxmemory-policy", "noeviction")
            await valkey.config_set("maxmemory", "0")


@pytest.mark.parametrize("mirrored", [True, False], ids=["known", "beyond the mirror's bound"])
async def test_an_old_gateways_row_leaves_the_cache_although_the_first_word_of_it_was_lost(
    pipeline: Pipeline,
    sql: "asyncpg.Connection[asyncpg.Record]",
    valkey: "redis.asyncio.Redis",
    monkeypatch: pytest.MonkeyPatch,
    mirrored: bool,
) -> None:
    async with pipeline.running("writer"):
        await pipeline.accept([post(1, "one"), post(2, "two")])
        await pipeline.flushed()
    # The old gateway gave its rows ids of another kind.
    for table in ("messages", "message_keys"):
        await sql.execute(
            f"update telegram_gateway.{table} set id = '00000000-0000-4000-8000-000000000001' where message_id = 1"
        )
    if not mirrored:
        pipeline.sync.mirror._bound = 0
    lost: list[Sequence[Write]] = []
    apply = pipeline.cache.apply

    async def loses_the_first(history: str, writes: Sequence[Write], turn: Turn) -> None:
        if not lost and any(write.operation is Operation.DONE for write in writes):
            lost.append(writes)
            raise CacheUnavailable("lost, for the test")
        await apply(history, writes, turn)

    monkeypatch.setattr(pipeline.cache, "apply", loses_the_first)
    async with pipeline.running():
        await pipeline.trusted()
        assert sorted((await pipeline.poll())[1]) == ["one", "two"]
        await pipeline.acknowledge(1, channel=CHANNELS[0])
        await pipeline.wait_until(lambda: bool(lost))
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, ["two"])
    assert await valkey.zcard(f"telegram:pending:{CHANNELS[0]}") == 1


async def test_an_acknowledgement_before_its_message_outlives_the_caches_data(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    async with pipeline.running():
        await pipeline.trusted()
        # As it is accepted while the database is down, when nobody can say whether there is such a message.
        await pipeline.journal.append(lambda at_us: [Acknowledged(CHANNELS[0], 1, "tp-capital", at_us)])
        await pipeline.flushed()
        await pipeline.trusted()
        await valkey.flushall()
        await pipeline.wait_until(lambda: pipeline.sync.trusted is None)
        await pipeline.trusted()
    await pipeline.accept([post(1, "one"), post(2, "two")])
    assert await pipeline.poll() == (Source.CACHE, ["two"])
    async with pipeline.running("redis"):
        await pipeline.trusted()
    assert await pipeline.poll() == (Source.CACHE, ["two"])


async def test_what_is_done_gets_no_older_body(pipeline: Pipeline, valkey: "redis.asyncio.Redis") -> None:
    history = await pipeline.cache.connect()
    posted = Posted(CHANNELS[0], 1, Content(text="one", telegram_date_us=1), 0, 1, True)
    waiting = merge(None, posted)
    done = merge(waiting, Acknowledged(CHANNELS[0], 1, "tp-capital", 2))
    pend = Write(Operation.PEND, waiting, render(waiting))
    await pipeline.cache.apply(history, [pend, Write(Operation.DONE, done, render(done)), pend])
    assert await valkey.get(f"telegram:msg:{CHANNELS[0]}:1") == render(done)
    assert await valkey.zcard(f"telegram:pending:{CHANNELS[0]}") == 0


async def test_what_was_given_up_on_and_comes_late_changes_nothing(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis"
) -> None:
    cache, history = pipeline.cache, await pipeline.cache.connect()
    states = [merge(None, Posted(CHANNELS[0], 1, Content(text=text), 0, 1, True)) for text in ("old", "new")]
    old, new = (Write(Operation.PEND, state, render(state)) for state in states)
    first, second = f"{history}:1:plain", f"{history}:2:plain"
    await cache.clear(second)
    await cache.apply(history, [new], Turn(second, 2))
    for late in (
        cache.apply(history, [old], Turn(second, 1)),
        cache.apply(history, [old], Turn(first, 3)),
        cache.set_mark(first, 1000),
    ):
        with pytest.raises(HistoryChanged):
            await late
    assert await valkey.get(f"telegram:msg:{CHANNELS[0]}:1") == new.body
    await valkey.flushall()
    for lost in (
        cache.apply(history, [new], Turn(second, 3)),
        cache.set_mark(second, 1000),
    ):
        with pytest.raises(HistoryChanged):
            await lost
    assert await valkey.keys("*") == []


async def test_everything_is_stored_as_the_contract_names_it(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with pipeline.running("writer"):
        await pipeline.accept(
            [post(1, "one"), post(1, "one, edited", edit_date_s=5), post(2, "two"), post(3, "three")]
        )
        await pipeline.acknowledge(2, channel=CHANNELS[0], by="tp-capital")
        await pipeline.accept([Gone(CHANNELS[0], 3)])
        await pipeline.flushed()
    rows = await sql.fetch("select * from telegram_gateway.messages order by message_id")
    assert [row["message_id"] for row in rows] == [1, 2, 3]
    assert [row["status"] for row in rows] == ["received", "published", "deleted"]
    assert [row["text"] for row in rows] == ["one, edited", "two", "three"]
    assert all(row["source"] == "mtproto" and row["channel_id"] == str(CHANNELS[0]) for row in rows)
    assert msgspec.json.decode(rows[1]["metadata"])["processed_by"] == "tp-capital"
    assert rows[1]["published_at"] is not None
    assert rows[2]["deleted_at"] is not None
    assert msgspec.json.decode(rows[2]["metadata"])["deletion"]["reason"] == "deleted on Telegram"
    revisions = await sql.fetch("select text from telegram_gateway.message_revisions")
    assert [row["text"] for row in revisions] == ["one"]
    acknowledged = await sql.fetch("select message_id, consumer from telegram_gateway.acknowledgements")
    assert [tuple(row) for row in acknowledged] == [(2, "tp-capital")]


async def test_a_batch_written_twice_stores_everything_once(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await pipeline.journal.open_channel(Channel(-5, floor=10))
    await pipeline.accept([post(1, "one"), post(7, "found later", channel=-5)])
    records = pipeline.journal.tail.after(0)
    first, second = [await write_batch(sql, records, epoch=1) for _ in range(2)]
    assert (first.inserted, second.inserted) == (2, 0)
    # Also the repeated batch knows that it is the one that brought the message in.
    assert [p.message_id for p in first.arrived] == [p.message_id for p in second.arrived] == [7]
    assert (await write_batch(sql, records, epoch=2)).arrived == []
    assert await sql.fetchval("select count(*) from telegram_gateway.messages") == 2


async def test_a_post_that_may_be_old_is_served_only_on_the_databases_word(pipeline: Pipeline) -> None:
    await pipeline.journal.open_channel(Channel(-5, floor=10))
    pipeline.reader._channel_ids = pipeline.warmer._channel_ids = frozenset({*CHANNELS, -5})
    await pipeline.accept([post(7, "late", channel=-5)])
    assert (await pipeline.poll(-5)) == (Source.DATABASE, [])
    async with pipeline.running():
        await pipeline.flushed()
        await pipeline.trusted()
        assert (await pipeline.poll(-5)) == (Source.CACHE, ["late"])


async def test_an_acknowledgement_that_is_older_than_its_message_meets_it_on_arrival(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with pipeline.running("writer"):
        await pipeline.journal.append(lambda at: [Acknowledged(CHANNELS[0], 9, "tp-capital", at)])
        await pipeline.flushed()
        await pipeline.accept([post(9, "acknowledged before it came")])
        await pipeline.flushed()
    assert await sql.fetchval("select status from telegram_gateway.messages") == "published"


async def test_an_event_that_the_database_refuses_never_blocks_the_others(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    poison = Posted(CHANNELS[0], 2, Content(text="NUL \0 inside"), 0, 5, True)
    await pipeline.accept([post(1, "one")])
    await pipeline.journal.append(lambda _: [poison])
    await pipeline.accept([post(3, "three")])
    async with pipeline.running("writer"):
        await pipeline.flushed()
    stored = await sql.fetch("select message_id from telegram_gateway.messages order by 1")
    assert [row["message_id"] for row in stored] == [1, 3]
    aside = await sql.fetchrow("select message_id, error from telegram_gateway.poison_events")
    assert aside is not None
    assert aside["message_id"] == 2
    assert "NUL" in aside["error"] or "0x00" in aside["error"] or "null" in aside["error"].lower()
    assert pipeline.writer.poisoned == 1


async def test_a_bare_id_that_waits_in_two_channels_is_ambiguous_and_nothing_changes(
    pipeline: Pipeline,
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(5, "here"), post(5, "there", channel=OTHER), post(6, "alone")])
        await pipeline.trusted()
        with pytest.raises(AmbiguousMessage, match=r"-1001649127711.*channel"):
            await pipeline.acknowledge(6, 5)
        assert (await pipeline.poll())[1] == ["here", "alone"]
        assert await pipeline.acknowledge(5, channel=OTHER) == 1
        # Now it waits in one channel only.
        assert await pipeline.acknowledge(5, 6) == 2


async def test_an_acknowledgement_finds_its_message_by_whichever_store_is_up(pipeline: Pipeline) -> None:
    async with pipeline.running("writer"):
        await pipeline.accept([post(1, "stored"), post(2, "stored too")])
        await pipeline.flushed()
    assert await pipeline.acknowledge(1) == 1
    assert await pipeline.acknowledge(1, 999) == 0
    await pipeline.accept([post(3, "only in the journal")])
    pipeline.database.breaker.broke(float("inf"), "for the test")
    assert await pipeline.acknowledge(3) == 1
    with pytest.raises(Unavailable, match="channel"):
        await pipeline.acknowledge(2)
    assert await pipeline.acknowledge(2, channel=CHANNELS[0]) == 1


async def test_an_unknown_channel_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(UnknownChannel, match="-77"):
        await pipeline.poll(-77)
    with pytest.raises(UnknownChannel, match="-77"):
        await pipeline.acknowledge(1, channel=-77)


async def test_one_message_is_found_by_its_id_wherever_it_is(pipeline: Pipeline) -> None:
    wanted = message_uuid(CHANNELS[0], 1)
    await pipeline.accept([post(1, "one")])
    in_tail = await pipeline.reader.message(wanted)
    async with pipeline.running("writer"):
        await pipeline.flushed()
    stored = await pipeline.reader.message(wanted)
    assert in_tail == stored
    assert stored is not None
    await pipeline.accept([post(1, "one, edited", edit_date_s=5)])
    edited = await pipeline.reader.message(wanted)
    assert edited is not None
    assert msgspec.json.decode(edited)["text"] == "one, edited"
    pipeline.database.breaker.broke(float("inf"), "for the test")
    with pytest.raises(Unavailable):
        await pipeline.reader.message(message_uuid(CHANNELS[0], 404))


async def test_statuses_that_the_cache_does_not_keep_are_answered_by_the_database(pipeline: Pipeline) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "one"), post(2, "two")])
        await pipeline.acknowledge(1)
        await pipeline.flushed()
        await pipeline.trusted()
        assert await pipeline.poll(statuses=("published",)) == (Source.DATABASE, ["one"])
        assert await pipeline.poll(statuses=("received", "queued")) == (Source.CACHE, ["two"])
        assert await pipeline.poll(statuses=("published",), exclude_processed_by="tp-capital") == (
            Source.DATABASE,
            [],
        )


async def test_a_queued_row_of_the_old_system_is_served_to_who_asks_for_it(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with pipeline.running("writer"):
        await pipeline.accept([post(1, "one"), post(2, "two")])
        await pipeline.flushed()
    await sql.execute("update telegram_gateway.messages set status = 'queued' where message_id = 1")
    async with pipeline.running():
        await pipeline.trusted()
        assert await pipeline.poll(statuses=("received", "queued")) == (Source.DATABASE, ["one", "two"])
        assert await pipeline.poll() == (Source.CACHE, ["two"])


async def test_a_frozen_database_costs_one_poll_its_time_out_and_the_others_nothing(
    tmp_path: Path, servers: Servers, postgres: EmbeddedPostgres
) -> None:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url) as pipeline:
        await pipeline.database.ping()
        await pipeline.accept([post(1, "only in the journal")])
        postgres.suspend()
        try:
            with anyio.fail_after(4):
                assert await pipeline.poll() == (Source.JOURNAL, ["only in the journal"])
            with anyio.fail_after(0.5):
                for _ in range(20):
                    assert await pipeline.poll() == (Source.JOURNAL, ["only in the journal"])
        finally:
            postgres.resume()
        await pipeline.database.ping()
        assert await pipeline.poll() == (Source.DATABASE, ["only in the journal"])


async def test_a_frozen_cache_costs_one_poll_its_time_out_and_the_others_nothing(
    pipeline: Pipeline, valkey_server: EmbeddedValkey
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "one")])
        await pipeline.flushed()
        await pipeline.trusted()
        valkey_server.suspend()
        try:
            for _ in range(20):
                assert await pipeline.poll() == (Source.DATABASE, ["one"])
            assert pipeline.reasons.count("unavailable") <= 1
        finally:
            valkey_server.resume()
        await pipeline.trusted()
        assert await pipeline.poll() == (Source.CACHE, ["one"])


async def test_without_both_stores_nothing_that_waits_is_omitted(
    pipeline: Pipeline, postgres: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> None:
    async with pipeline.running():
        await pipeline.accept([post(1, "one"), post(2, "two"), post(9, "other", OTHER)])
        await pipeline.flushed()
        await pipeline.trusted()
        await pipeline.accept([post(3, "three")])
        # Both stores have it, and the journal does not.
        await pipeline.wait_until(lambda: not pipeline.journal.tail.has_post(Key(CHANNELS[0], 1)))
        try:
            await postgres.kill()
            await valkey_server.kill()
            assert await pipeline.poll() == (Source.JOURNAL, ["one", "two", "three"])
            assert await pipeline.acknowledge(2, channel=CHANNELS[0]) == 1
            await pipeline.accept([post(1, "one, edited", edit_date_s=1), post(4, "four")])
            # An empty cache proves nothing, and only the database could fill it.
            await valkey_server.restart()
            await pipeline.wait_until(lambda: pipeline.sync.history is not None)
            assert pipeline.sync.mark is None
            assert await pipeline.poll() == (Source.JOURNAL, ["one, edited", "three", "four"])
            assert await pipeline.poll(limit=1) == (Source.JOURNAL, ["one, edited"])
            assert await pipeline.poll(OTHER) == (Source.JOURNAL, ["other"])
        finally:
            await postgres.restart()
            await valkey_server.restart()
        await pipeline.flushed()
        # It was restarted once more: until that is noticed, the database answers, and the same.
        with anyio.fail_after(20):
            while (answer := await pipeline.poll())[0] is not Source.CACHE:
                assert answer[1] == ["one, edited", "three", "four"]
                await anyio.sleep(0.01)
        assert answer[1] == ["one, edited", "three", "four"]


async def test_a_right_that_was_taken_away_is_an_outage_and_not_a_crash(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with pipeline.running("writer"):
        await pipeline.accept([post(1, "stored")])
        await pipeline.flushed()
        await sql.execute("alter table telegram_gateway.messages rename to messages_elsewhere")
        await sql.execute("create view telegram_gateway.messages as select 1 as nothing")
        await pipeline.accept([post(2, "kept in the journal")])
        assert await pipeline.poll() == (Source.JOURNAL, ["kept in the journal"])
        await sql.execute("drop view telegram_gateway.messages")
        await sql.execute("alter table telegram_gateway.messages_elsewhere rename to messages")
        await pipeline.flushed()
    assert await pipeline.poll() == (Source.DATABASE, ["stored", "kept in the journal"])


async def test_the_databases_word_that_comes_after_the_acknowledgement_serves_nothing_again(
    pipeline: Pipeline,
) -> None:
    await pipeline.journal.open_channel(Channel(-1005, floor=10))
    pipeline.reader._channel_ids = pipeline.warmer._channel_ids = frozenset({*CHANNELS, -1005})
    pipeline.acknowledger._channel_ids = (*CHANNELS, -1005)
    async with pipeline.running():
        await pipeline.trusted()
        await pipeline.accept([post(7, "found late", channel=-1005)])
        await pipeline.flushed()
        assert await pipeline.acknowledge(7) == 1
        word = next(r.event for r in [*pipeline.journal.tail.after(pipeline.journal.head - 1)])
        assert isinstance(word, Acknowledged)
        late = Posted(-1005, 7, Content(text="found late"), 0, 1, True)
        await pipeline.journal.append(lambda _: [late])
        assert (await pipeline.poll(-1005))[1] == []
        await pipeline.trusted()
        assert await pipeline.poll(-1005) == (Source.CACHE, [])
        assert await pipeline.acknowledge(7) == 0


@pytest.mark.parametrize("mirrored", [True, False], ids=["known", "beyond the mirror's bound"])
async def test_a_message_that_is_read_again_with_a_newer_text_is_served_with_it(
    pipeline: Pipeline, mirrored: bool
) -> None:
    """It was edited while nobody looked, and what was known of it for comparison is gone."""
    if not mirrored:
        pipeline.sync.mirror._bound = 0
    async with pipeline.running():
        await pipeline.accept([post(1, "one"), post(2, "two")])
        await pipeline.flushed()
        await pipeline.trusted()
        content = Content(text="one, edited", telegram_date_us=1_730_649_600_000_000)
        await pipeline.journal.append(lambda at: [Posted(CHANNELS[0], 1, content, 5 << 20, at, False)])
        await pipeline.flushed()
        await pipeline.trusted()
        page = await pipeline.page()
        assert await pipeline.poll() == (Source.CACHE, ["one, edited", "two"])
        pipeline.sync.distrust("for the test")
        assert b",".join((await pipeline.page()).bodies) == b",".join(page.bodies)


async def test_the_database_gives_no_word_for_what_was_acknowledged_there_before_it_came(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await pipeline.journal.open_channel(Channel(-1005, floor=10))
    pipeline.reader._channel_ids = pipeline.warmer._channel_ids = frozenset({*CHANNELS, -1005})
    async with pipeline.running():
        await pipeline.trusted()
        # As another process acknowledges; nothing in this one or in the cache knows of it.
        await sql.execute(
            "insert into telegram_gateway.acknowledgements (channel_id, message_id, consumer, acknowledged_at) "
            "values ('-1005', 7, 'tp-capital', now())"
        )
        await pipeline.accept([post(7, "done already", channel=-1005), post(8, "waits", channel=-1005)])
        await pipeline.flushed()
        await pipeline.trusted()
        assert await pipeline.poll(-1005) == (Source.CACHE, ["waits"])


async def test_a_batch_that_waited_for_another_writer_merges_onto_what_that_one_stored(
    pipeline: Pipeline, sql: "asyncpg.Connection[asyncpg.Record]", servers: Servers
) -> None:
    """A daemon that was killed may leave a transaction behind that commits while its successor repeats the batch."""
    await pipeline.accept([post(1, "zzz, the first text"), post(1, "edited", edit_date_s=5)])
    await pipeline.acknowledge(1, channel=CHANNELS[0])
    posted, edited, acknowledged = pipeline.journal.tail.after(0)
    await write_batch(sql, [posted], epoch=1)
    before = sql.transaction()
    await before.start()
    await write_batch(sql, [edited], epoch=1)
    async with anyio.create_task_group() as tasks:
        successor = await asyncpg.connect(servers.dsn)
        tasks.start_soon(write_batch, successor, [edited, acknowledged], 1)
        waiting = await asyncpg.connect(servers.dsn)
        with anyio.fail_after(10):
            while not await waiting.fetchval("select count(*) from pg_locks where not granted"):
                await anyio.sleep(0.01)
        await before.commit()
    await waiting.close()
    await successor.close()
    row = await sql.fetchrow("select text, status from telegram_gateway.messages")
    assert row is not None
    assert tuple(row) == ("edited", "published")


async def test_a_crowd_of_polls_is_no_outage(pipeline: Pipeline) -> None:
    async with pipeline.running():
        await pipeline.accept([post(n, "x" * 500) for n in range(1, 501)])
        await pipeline.flushed()
        await pipeline.trusted()
        counts: list[tuple[Source, int]] = []

        async def poll() -> None:
            page = await pipeline.page()
            counts.append((page.source, page.count))

        async with anyio.create_task_group() as tasks:
            for _ in range(150):
                tasks.start_soon(poll)
    assert {count for _, count in counts} == {500}
    assert Source.JOURNAL not in {source for source, _ in counts}


async def test_whether_a_message_was_seen_is_right_whichever_store_knows(
    pipeline: Pipeline, valkey: "redis.asyncio.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, asked = str(CHANNELS[0]), [1, 2, 3, 4]

    async def seen() -> list[int]:
        return sorted(await pipeline.reader.seen(channel, asked))

    await pipeline.accept([post(1, "one"), post(3, "three")])
    # In the journal alone.
    assert await seen() == [1, 3]
    async with pipeline.running():
        await pipeline.flushed()
        await pipeline.trusted()
        await pipeline.acknowledge(1)
        await pipeline.accept([Gone(CHANNELS[0], 3)])
        await pipeline.flushed()
        await pipeline.trusted()
    assert pipeline.journal.backlog == len(pipeline.journal.tail) == 0
    # What was processed or deleted was seen; the cache knows those, the database the others.
    assert await seen() == [1, 3]
    asked = [1, 3]
    pipeline.database.breaker.broke(float("inf"), "for the test")
    assert await seen() == [1, 3]
    with pytest.raises(Unavailable, match="only it knows"):
        await pipeline.reader.seen(channel, [1, 2])
    pipeline.database.breaker.succeeded()
    # The cache has lost it, has something else under its name, or is down.
    asked = [1, 2, 3, 4]
    await valkey.delete(f"telegram:dedup:{channel}:1")
    await valkey.lpush(f"telegram:dedup:{channel}:2", "not ours")
    assert await seen() == [1, 3]
    await valkey.flushall()
    assert await seen() == [1, 3]

    async def down(*_: object) -> set[int]:
        raise CacheUnavailable("for the test")

    monkeypatch.setattr(pipeline.cache, "seen", down)
    assert await seen() == [1, 3]
    # Ids are a channel's own.
    assert await pipeline.reader.seen(str(OTHER), [1, 3]) == set()
    with pytest.raises(UnknownChannel, match="none that this gateway takes in"):
        await pipeline.reader.seen("-1", [1])


async def test_an_edit_between_a_backfilled_posts_flush_and_the_databases_word_is_not_undone(
    pipeline: Pipeline,
) -> None:
    async with pipeline.running():
        await pipeline.flushed()
        await pipeline.trusted()
    [posted] = await pipeline.journal.append(
        lambda at_us: [Posted(CHANNELS[0], 1, Content(text="first"), 0, at_us, False)]
    )
    await pipeline.journal.append(lambda at_us: [Edited(CHANNELS[0], 1, Content(text="edited"), 1, at_us)])
    async with pipeline.running("redis"):
        await pipeline.trusted()
    # What the writer does once it has stored the post; the edit was not in that batch.
    assert isinstance(posted.event, Posted)
    word = msgspec.structs.replace(posted.event, new=True)
    await pipeline.journal.vouch([word], posted.position)
    assert await pipeline.poll() == (Source.CACHE, ["edited"])
    async with pipeline.running("redis"):
        await pipeline.trusted()
    assert await pipeline.poll() == (Source.CACHE, ["edited"])
