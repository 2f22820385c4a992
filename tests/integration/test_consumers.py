"""Consumers in the database: what they are handed, and what becomes of it."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import anyio
import asyncpg
import msgspec
import pytest

from support.feed import CHANNEL, EPOCH, OTHER, WrittenFeed, empty_feed
from support.rivals import Rivals, audited, overlapping, receipts
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.storage import database as database_module
from telewarden.storage.consumers import COUNTED, DatabaseConsumers
from telewarden.storage.database import Database, open_database
from telewarden.storage.migrate import upgrade
from telewarden_http.protocols import Unavailable, UnknownChannel
from telewarden_http.v1.consumers_protocols import (
    Channels,
    ConsumerChange,
    ConsumerState,
    Delivery,
    Kind,
    Leased,
    Outcome,
    Settled,
    Start,
)
from telewarden_http.v1.receipts import Receipt
from telewarden_http.v1.token import BEGINNING, Position, encode

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
NAME = "parser"


@dataclass
class Consumer:
    """One consumer of a store, by the key of the test."""

    store: DatabaseConsumers
    sql: Sql
    name: str = NAME
    channels: Channels = None

    async def lease(self, limit: int = 100, lease_s: float = 30) -> Leased:
        return await self.store.lease(self.name, self.channels, limit=limit, lease_s=lease_s)

    async def get(self, limit: int = 100) -> list[Delivery]:
        return list((await self.lease(limit)).deliveries)

    async def ids(self, limit: int = 100) -> list[int]:
        return [each.message_id for each in await self.get(limit)]

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        return words(await self.store.acknowledge(self.name, receipts(deliveries)))

    async def nack(self, deliveries: Sequence[Delivery], delay_s: float = 0) -> list[Outcome]:
        return words(await self.store.return_(self.name, receipts(deliveries), delay_s))

    async def state(self) -> ConsumerState:
        state = await self.store.state(self.name, self.channels)
        assert state is not None
        return state

    async def expire(self) -> None:
        """Let the time of all leases and delays pass."""
        await self.sql.execute(
            "update telegram_gateway.deliveries set due_at = now() - interval '1 ms' where consumer = $1",
            self.name,
        )

    async def start(self, where: Start | datetime, **change: object) -> bool:
        return await self.store.configure(
            self.name,
            self.channels,
            ConsumerChange(start=where, **change),  # type: ignore[arg-type]
        )


def words(settled: Sequence[Settled]) -> list[Outcome]:
    return [each.outcome for each in settled]


@pytest.fixture(scope="module")
async def dsn(postgres: EmbeddedPostgres) -> str:
    await upgrade(postgres.dsn)
    return postgres.dsn


@pytest.fixture
async def sql(dsn: str) -> AsyncIterator[Sql]:
    """To a database with nothing in it."""
    connection = await asyncpg.connect(dsn)
    await empty_feed(connection)
    yield connection
    await connection.close()


@pytest.fixture
async def database(dsn: str, sql: Sql) -> AsyncIterator[Database]:
    async with open_database(dsn) as opened:
        yield opened


@pytest.fixture
async def feed(database: Database) -> WrittenFeed:
    return WrittenFeed(database)


@pytest.fixture
async def consumer(database: Database, sql: Sql) -> Consumer:
    return Consumer(DatabaseConsumers(database), sql)


def text(delivery: Delivery) -> str:
    found: str = msgspec.json.decode(delivery.body)["text"]
    return found


async def test_what_is_leased_comes_again_only_after_its_lease(feed: WrittenFeed, consumer: Consumer) -> None:
    await feed.post()
    assert await consumer.ids() == [], "a new consumer starts at now"
    await feed.post(3)
    first = await consumer.get(limit=2)
    assert [each.message_id for each in first] == [2, 3]
    assert [each.receipt for each in first] == [
        Receipt(Position(EPOCH, 2), 1),
        Receipt(Position(EPOCH, 3), 1),
    ]
    assert (first[0].kind, first[0].channel, text(first[0])) == (Kind.POSTED, str(CHANNEL), "text 2")
    assert await consumer.ids() == [4]
    leased = await consumer.lease()
    assert leased.deliveries == []
    assert 0 < (leased.again_in_s or 0) <= 30
    assert not leased.more
    await consumer.expire()
    again = await consumer.get()
    assert [(each.message_id, each.receipt.deliveries) for each in again] == [(2, 2), (3, 2), (4, 2)]
    # The work of the first delivery was done all the same.
    assert await consumer.acknowledge(first) == ["acknowledged", "acknowledged"]
    assert await consumer.acknowledge([*first, again[2]]) == ["already", "already", "acknowledged"]
    await consumer.expire()
    assert await consumer.ids() == []


async def test_a_receipt_that_was_never_given_is_unknown(feed: WrittenFeed, consumer: Consumer) -> None:
    never = [Receipt(Position(EPOCH, 7), 1)]
    store = consumer.store
    assert words(await store.acknowledge(NAME, never)) == ["unknown"]
    await consumer.lease()
    assert words(await store.acknowledge(NAME, never)) == ["unknown"]
    assert words(await store.return_(NAME, never, 0)) == ["unknown"]
    assert words(await store.extend(NAME, never, 1)) == ["unknown"]
    assert await store.revive(NAME, None, never) == 0


async def test_only_who_holds_the_lease_returns_or_extends_it(feed: WrittenFeed, consumer: Consumer) -> None:
    await consumer.lease()
    await feed.post(2)
    old = await consumer.get()
    await consumer.expire()
    assert await consumer.nack(old) == ["expired", "expired"]
    new = await consumer.get()
    assert await consumer.nack(old) == ["expired", "expired"]
    extended = await consumer.store.extend(NAME, receipts([*old, new[0]]), 3600)
    assert words(extended) == ["expired", "expired", "extended"]
    assert extended[2].until is not None
    assert extended[2].until > new[0].until

    assert await consumer.nack(new[:1]) == ["returned"]
    assert await consumer.nack(new[:1]) == ["expired"]
    [back] = await consumer.get()
    assert (back.message_id, back.receipt.deliveries) == (1, 3)
    assert await consumer.nack(new[1:], delay_s=60) == ["returned"]
    leased = await consumer.lease()
    assert leased.deliveries == []
    assert (await consumer.state()).lag.delayed == 1
    await consumer.expire()
    assert await consumer.ids() == [1, 2]
    assert await consumer.acknowledge(new) == ["acknowledged", "acknowledged"]
    assert await consumer.nack(new) == ["expired", "expired"]


async def test_after_too_many_deliveries_it_is_a_dead_letter(feed: WrittenFeed, consumer: Consumer) -> None:
    store = consumer.store
    await store.configure(NAME, None, ConsumerChange(max_deliveries=2))
    await feed.post(3)
    for _ in range(2):
        assert await consumer.ids() == [1, 2, 3]
        await consumer.expire()
    assert await consumer.ids() == []
    assert (await consumer.state()).lag.dead == 3
    page, following = await store.dead_letters(NAME, None, after=BEGINNING, limit=2)
    assert [(each.message_id, each.receipt.deliveries) for each in page] == [(1, 2), (2, 2)]
    assert following is not None
    rest, end = await store.dead_letters(NAME, None, after=following, limit=2)
    assert ([each.message_id for each in rest], end) == ([3], None)

    assert await consumer.acknowledge(page[:1]) == ["acknowledged"]
    assert await store.revive(NAME, None, receipts(page)) == 1
    [again] = await consumer.get()
    assert (again.message_id, again.receipt.deliveries) == (2, 3), "no two deliveries have the same receipt"
    assert await consumer.nack(page) == ["expired", "expired"]
    assert await store.revive(NAME, None, None) == 1
    assert await consumer.ids() == [3]
    # Returned for the last time it is dead at once.
    await consumer.expire()
    last = await consumer.get()
    assert await consumer.nack(last) == ["returned"] * 2
    assert (await consumer.state()).lag.dead == 2
    assert store.counts.died == 5
    assert (store.counts.first, store.counts.again) == (3, 3 + 1 + 1 + 2)


async def test_what_never_arrived_does_not_count(feed: WrittenFeed, consumer: Consumer) -> None:
    await consumer.store.configure(NAME, None, ConsumerChange(max_deliveries=1))
    await feed.post()
    for number in (1, 2, 3):
        [each] = await consumer.get()
        assert each.receipt.deliveries == number
        await consumer.store.give_back(NAME, [each.receipt])
    [each] = await consumer.get()
    await consumer.expire()
    await consumer.store.give_back(NAME, [Receipt(each.receipt.position, 1)])
    assert await consumer.ids() == []
    assert (await consumer.state()).lag.dead == 1


async def test_filters(feed: WrittenFeed, consumer: Consumer) -> None:
    await feed.post(2)
    await feed.post(2, OTHER)
    await consumer.start(Start.BEGINNING, kinds=[Kind.EDITED, Kind.DELETED])
    await feed.edit(1, "newer")
    await feed.delete(2)
    await feed.post()
    found = await consumer.get()
    assert [(each.kind, each.message_id, text(each)) for each in found] == [
        ("edited", 1, "newer"),
        ("deleted", 2, "text 2"),
    ]
    assert found[0].at == "2027-01-15T08:00:05.000Z"
    # What does not match was looked through too.
    assert (await consumer.state()).position == encode(Position(EPOCH, 7))
    assert await consumer.acknowledge(found) == ["acknowledged"] * 2
    await consumer.start(Start.BEGINNING, kinds=[Kind.POSTED], sets_channels=True, channels=[str(OTHER)])
    found = await consumer.get(limit=1)
    assert [(each.channel, each.message_id) for each in found] == [(str(OTHER), 1)]
    await consumer.store.configure(NAME, None, ConsumerChange(sets_channels=True))
    assert await consumer.ids() == [2, 3]
    with pytest.raises(UnknownChannel):
        await consumer.start(Start.NOW, sets_channels=True, channels=["-100123"])
    assert (await consumer.state()).kinds == ["posted"]


async def test_starts(feed: WrittenFeed, consumer: Consumer) -> None:
    await feed.post(2)
    await feed.edit(1, "newer")
    await feed.post(1, OTHER)
    await feed.edit(2, "newest")
    assert await consumer.start(Start.NOW, kinds=list(Kind))
    assert await consumer.ids() == []
    assert not await consumer.start(Start.BEGINNING)
    everything = await consumer.get()
    assert [each.receipt.position.position for each in everything] == [1, 2, 3, 4, 5]
    await consumer.acknowledge(everything)

    def time_of(position: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=feed.at_us(position))

    for position in range(1, 7):
        for since in (time_of(position), time_of(position) - timedelta(milliseconds=500)):
            await consumer.start(since)
            found = await consumer.get()
            assert [each.receipt.position.position for each in found] == list(range(position, 6)), since
            await consumer.acknowledge(found)
    await consumer.start(datetime(2000, 1, 1, tzinfo=UTC))
    in_flight = await consumer.get(limit=2)
    await consumer.start(Start.BEGINNING)
    assert [each.receipt.position.position for each in await consumer.get()] == [3, 4, 5], (
        "in flight stays so"
    )
    assert await consumer.acknowledge(in_flight) == ["acknowledged"] * 2


async def test_the_lag(feed: WrittenFeed, consumer: Consumer, sql: Sql) -> None:
    assert await consumer.store.state(NAME, None) is None
    await feed.post(2)
    await consumer.start(Start.BEGINNING)
    await feed.post(3, OTHER)
    await feed.edit(1, "newer")
    state = await consumer.state()
    assert (state.channels, state.kinds, state.max_deliveries) == (None, ["posted"], 10)
    assert state.position == encode(BEGINNING)
    assert (state.lag.waiting, state.lag.leased, state.lag.is_exact) == (5, 0, True)
    assert state.lag.oldest_waiting_at == "2027-01-15T08:00:01.000Z"
    first = await consumer.get(limit=2)
    await consumer.nack(first[:1])
    lag = (await consumer.state()).lag
    assert (lag.waiting, lag.leased, lag.delayed, lag.dead) == (4, 1, 0, 0)
    assert lag.oldest_waiting_at == "2027-01-15T08:00:01.000Z"
    limited = await consumer.store.state(NAME, {str(OTHER)})
    assert limited is not None
    assert (limited.channels, limited.lag.waiting, limited.lag.leased) == ([str(OTHER)], 3, 0)

    await sql.execute(
        "insert into telegram_gateway.message_keys"
        " (channel_id, message_id, id, created_at, content_version, status_at, epoch, position)"
        " select $1, 100 + n, gen_random_uuid(), now(), 0, now(), $2, 100 + n from generate_series(1, $3) n",
        str(CHANNEL),
        EPOCH,
        COUNTED + 5,
    )
    lag = (await consumer.state()).lag
    assert (lag.waiting, lag.leased, lag.is_exact) == (COUNTED, 1, False)


async def test_consumers_know_nothing_of_each_other(
    feed: WrittenFeed, consumer: Consumer, database: Database, sql: Sql
) -> None:
    other = Consumer(DatabaseConsumers(database), sql, "archive")
    await consumer.lease()
    await other.lease()
    await feed.post(2)
    mine, theirs = await consumer.get(), await other.get()
    assert [each.message_id for each in mine] == [each.message_id for each in theirs] == [1, 2]
    await consumer.acknowledge(mine)
    assert (await other.state()).lag.leased == 2
    assert [state.name for state in await consumer.store.all()] == ["archive", NAME]
    assert await consumer.store.drop("archive")
    assert not await consumer.store.drop("archive")
    assert await sql.fetchval("select count(*) from telegram_gateway.deliveries") == 0
    assert await other.acknowledge(theirs) == ["unknown"] * 2
    # The old contract's status is none of their business.
    assert await sql.fetchval("select count(*) from telegram_gateway.messages where status = 'received'") == 2


async def test_a_limited_key_takes_nothing_from_an_unlimited_one(
    feed: WrittenFeed, consumer: Consumer, database: Database, sql: Sql
) -> None:
    await consumer.lease()
    limited = Consumer(consumer.store, sql, NAME, frozenset({str(OTHER)}))
    await feed.post(3)
    await feed.post(1, OTHER)
    # It has to look through three events that are not for it, two at a time.
    looked = await limited.lease(limit=2)
    assert (looked.deliveries, looked.more, looked.again_in_s) == ([], True, None)
    assert [(each.channel, each.message_id) for each in await limited.get(limit=2)] == [(str(OTHER), 1)]
    assert not (await limited.lease()).more
    assert (await consumer.state()).lag.waiting == 3
    found = await consumer.get()
    assert [(each.channel, each.receipt.deliveries) for each in found] == [(str(CHANNEL), 1)] * 3
    await consumer.expire()
    assert [each.channel for each in await limited.get()] == [str(OTHER)]
    with pytest.raises(UnknownChannel):
        await limited.start(Start.NOW, sets_channels=True, channels=[str(CHANNEL)])

    # A consumer that a limited key makes is limited itself.
    own = Consumer(consumer.store, sql, "own", frozenset({str(OTHER)}))
    await own.lease()
    await feed.post()
    await feed.post(1, OTHER)
    assert [each.channel for each in await own.get()] == [str(OTHER)]
    assert await sql.fetchval("select count(*) from telegram_gateway.deliveries where consumer = 'own'") == 1


async def test_who_falls_behind_what_is_kept_is_told(feed: WrittenFeed, consumer: Consumer, sql: Sql) -> None:
    await consumer.start(Start.BEGINNING)
    other = Consumer(consumer.store, sql, "edits", None)
    await other.start(Start.NOW, kinds=[Kind.POSTED], sets_channels=True, channels=None)
    await feed.post(4)
    [held] = await consumer.get(limit=1)
    floor = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=feed.at_us(3))
    await sql.execute("select telegram_gateway.move_feed_floor($1)", floor)
    assert (await consumer.state()).skipped_by_retention, "what it held is gone"
    assert await consumer.acknowledge([held]) == ["already"]
    assert (await consumer.state()).lag.waiting == 2
    assert await consumer.ids() == [3, 4]
    assert not (await other.state()).skipped_by_retention
    assert await other.ids() == [3, 4]
    assert (await other.state()).skipped_by_retention
    await other.start(Start.BEGINNING)
    assert not (await other.state()).skipped_by_retention
    # A message whose row is gone all the same.
    await feed.post(2)
    await sql.execute("delete from telegram_gateway.messages where message_id = 5")
    await consumer.start(Start.NOW)
    await consumer.start(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=feed.at_us(5)))
    leased = await consumer.lease()
    assert [each.message_id for each in leased.deliveries] == [6]
    assert (leased.more, consumer.store.counts.skipped) == (True, 1)
    assert (await consumer.state()).skipped_by_retention


async def test_without_a_database_there_are_no_leases() -> None:
    async with open_database("postgresql://telegram@127.0.0.1:1/none") as database:
        store = DatabaseConsumers(database)
        with pytest.raises(Unavailable, match="read the feed meanwhile"):
            await store.lease(NAME, None, limit=1, lease_s=1)
        with pytest.raises(Unavailable):
            await store.acknowledge(NAME, [Receipt(Position(1, 1), 1)])


async def test_the_role_of_the_daemon_has_all_the_rights_that_it_needs(
    feed: WrittenFeed, dsn: str, sql: Sql
) -> None:
    await feed.post(2)
    await sql.execute("alter role telegram login password 'test'")
    rest = dsn.partition("@")[2]
    async with open_database(f"postgresql://telegram:test@{rest}") as database:
        consumer = Consumer(DatabaseConsumers(database), sql)
        await consumer.start(Start.BEGINNING)
        one, two = await consumer.get()
        assert await consumer.acknowledge([one]) == ["acknowledged"]
        assert await consumer.nack([two]) == ["returned"]
        assert (await consumer.state()).lag.waiting == 1
        assert await consumer.store.drop(NAME)


async def test_sixteen_instances_compete_and_none_has_what_another_has(
    feed: WrittenFeed, dsn: str, sql: Sql
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    count, chance = 600, random.Random(seed)
    await audited(sql)
    rivals = Rivals(NAME, count)
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        # Four processes with four connections each.
        stores = [DatabaseConsumers(await stack.enter_async_context(open_database(dsn))) for _ in range(4)]
        await stores[0].configure(NAME, None, ConsumerChange(max_deliveries=1000))
        for number in range(16):
            tasks.start_soon(rivals.compete, stores[number % 4], random.Random(seed + number))
        while feed.position < count:
            await feed.post(
                min(chance.randint(1, 20), count - feed.position), chance.choice((CHANNEL, OTHER))
            )
            await anyio.sleep(chance.random() / 100)
        with anyio.fail_after(60):
            await rivals.done.wait()
    await sql.execute("drop trigger audit on telegram_gateway.deliveries")
    assert await overlapping(sql) == []
    assert [receipt for receipt, times in rivals.received.items() if times > 1] == []
    assert rivals.acknowledged == Counter(Position(EPOCH, number) for number in range(1, count + 1))
    assert await sql.fetchval("select count(*) from telegram_gateway.deliveries") == 0
    for happened in (("ack", "already"), ("nack", "returned"), ("nack", "expired"), ("extend", "extended")):
        assert rivals.outcomes[happened[0], Outcome(happened[1])], f"{rivals.outcomes}: too tame a test"


async def test_a_new_journal_comes_behind_what_the_database_never_gave_a_number(
    feed: WrittenFeed, consumer: Consumer, database: Database, sql: Sql
) -> None:
    # As after a backup was put back, or the database made anew: the journal went on under its number.
    await sql.execute(
        "truncate telegram_gateway.epochs restart identity;"
        " insert into telegram_gateway.consumers (name, epoch, position, furthest_epoch, furthest_position)"
        " values ('ahead', 7, 1, 7, 1)"
    )
    await feed.post()
    assert await database.new_epoch() == 8
    await sql.execute("delete from telegram_gateway.consumers")
    assert await database.new_epoch() == 9, "also where nothing was stored under the last one"
    await sql.execute("truncate telegram_gateway.epochs restart identity")
    assert await database.new_epoch() == EPOCH + 1, "the number 1 has events"


async def test_an_old_message_that_is_stored_late_takes_nothing_newer_with_it(
    feed: WrittenFeed, consumer: Consumer, sql: Sql
) -> None:
    # As one that the database refused, and that was tried again much later: its time is the old one, its place new.
    await consumer.start(Start.BEGINNING)
    await feed.post(4)
    [held] = await consumer.get(limit=1)
    floor = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=feed.at_us(1))
    feed.start_us -= 86_400_000_000
    await feed.post()
    await feed.post(1, OTHER)
    await sql.execute("select telegram_gateway.move_feed_floor($1)", floor)
    assert await consumer.ids(limit=3) == [2, 3, 4]
    assert await consumer.acknowledge([held]) == ["acknowledged"]
    assert not (await consumer.state()).skipped_by_retention
    await sql.execute("select telegram_gateway.move_feed_floor($1)", floor + timedelta(seconds=2))
    assert await sql.fetchval("select position from telegram_gateway.feed_floor") == 2
    await sql.execute("select telegram_gateway.move_feed_floor($1)", floor + timedelta(days=1))
    assert await sql.fetchval("select position from telegram_gateway.feed_floor") == 6, "all of it is old now"


async def test_what_was_leased_but_could_not_be_read_does_not_count(
    feed: WrittenFeed, consumer: Consumer, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await consumer.start(Start.BEGINNING, max_deliveries=1)
    await feed.post(2)
    monkeypatch.setattr(database_module, "_LEASE_S", 0.5)
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        # As the upkeep does that drops a day: nobody reads a message.
        await other.execute("lock table telegram_gateway.messages in access exclusive mode")
        with pytest.raises(Unavailable):
            await consumer.lease()
    await other.close()
    assert [(each.message_id, each.receipt.deliveries) for each in await consumer.get()] == [(1, 2), (2, 2)]


async def test_a_start_at_a_time_passes_over_nothing_for_a_message_that_was_stored_late(
    feed: WrittenFeed, consumer: Consumer
) -> None:
    await feed.post(2)
    await feed.edit(1, "edited")
    await feed.post(2)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=feed.at_us(4))
    feed.start_us -= 86_400_000_000
    await feed.post(1, OTHER)
    await consumer.start(moment, kinds=list(Kind))
    assert [(each.channel, each.message_id) for each in await consumer.get()] == [
        (str(CHANNEL), 3),
        (str(CHANNEL), 4),
        (str(OTHER), 1),
    ]
