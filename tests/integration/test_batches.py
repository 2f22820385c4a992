"""Batches of the journal in the database: whatever is written, however it is cut and repeated, is what merge says."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.histories import CHANNEL, consumers, contents, events, times
from support.pipeline import Pipeline, open_pipeline, post
from support.servers import Servers
from telewarden.messages import Acknowledged, Deleted, Edited, Event, Key, Posted, State, key_of, message_uuid
from telewarden.storage.batch import write_batch
from telewarden.storage.database import Database, open_database
from telewarden.storage.feed_store import FeedStore
from telewarden.storage.migrate import upgrade
from telewarden.storage.tail import Record, fold
from telewarden_http.v1.token import BEGINNING

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
IDS = (1, 2, 3)


@st.composite
def histories(draw: st.DrawFn) -> Sequence[Event]:
    """Events about some messages in any order, but as a journal has them: a message is posted before anything else but
    its acknowledgements. Some come twice."""
    posts = [
        draw(st.builds(Posted, st.just(CHANNEL), st.just(number), contents, st.just(0), times, st.booleans()))
        for number in IDS
    ]
    early = draw(
        st.lists(
            st.builds(Acknowledged, st.just(CHANNEL), st.sampled_from(IDS), consumers, times), max_size=3
        )
    )
    later = draw(st.lists(events(st.sampled_from(IDS)), max_size=12))
    return [*early, *draw(st.permutations(posts)), *later]


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    await upgrade(servers.dsn)
    async with open_database(servers.dsn) as opened:
        yield opened


@pytest.fixture
async def sql(servers: Servers) -> AsyncIterator[Sql]:
    connection = await asyncpg.connect(servers.dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def pipeline(tmp_path: Path, servers: Servers) -> AsyncIterator[Pipeline]:
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url) as opened:
        yield opened


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=histories(),
    cuts=st.lists(st.integers(0, 20), max_size=4),
    again=st.lists(st.integers(0, 20), max_size=2),
)
async def test_rows_are_what_merge_says(
    database: Database, sql: Sql, history: Sequence[Event], cuts: Sequence[int], again: Sequence[int]
) -> None:
    await sql.execute(
        "truncate telegram_gateway.messages, telegram_gateway.message_keys, telegram_gateway.acknowledgements, "
        "telegram_gateway.message_revisions, telegram_gateway.message_changes"
    )
    records = [Record(position, event, 0, 0) for position, event in enumerate(history, 1)]
    edges = [0, *sorted({min(cut, len(records)) for cut in cuts}), len(records)]
    batches = [records[low:high] for low, high in pairwise(edges) if low < high]
    # A batch whose outcome was not known comes again, with all that followed on it.
    for first in (0, *sorted(n % len(batches) for n in again)):
        for batch in batches[first:]:
            async with database.writing() as connection:
                await write_batch(connection, batch, 1)
    stored = await database.by_keys([Key(CHANNEL, number) for number in IDS])
    expected = {key: as_stored(state, stored[key]) for key, state in fold(records).items()}
    assert differences(stored, expected) == []
    early = {key_of(event): event for event in history if isinstance(event, Acknowledged)}
    kept = await sql.fetch(
        "select message_id, max(acknowledged_at) from telegram_gateway.acknowledgements group by 1"
    )
    assert {row["message_id"] for row in kept} == {key.message_id for key in early}
    assert await feed_of(database) == changes_of(history)


async def feed_of(database: Database) -> list[tuple[int, str, int]]:
    """The whole feed, two events at a time, as (position, kind, message id)."""
    feed, after, found = FeedStore(database), BEGINNING, []
    while page := await feed.page(after, 2):
        found += [(change.position.position, change.kind, change.key.message_id) for change in page]
        after = page[-1].position
    assert after == await feed.head()
    return found


def changes_of(history: Sequence[Event]) -> list[tuple[int, str, int]]:
    """What happened to the messages: each posted once, edited where its text became newer, deleted once."""
    versions: dict[int, int] = {}
    deleted = set()
    changes = []
    for position, event in enumerate(history, 1):
        number, kind = event.message_id, None
        if isinstance(event, Posted | Edited) and event.version > versions.get(number, -1):
            kind = "edited" if number in versions else "posted"
            versions[number] = event.version
        elif isinstance(event, Deleted) and number not in deleted:
            kind = "deleted"
            deleted.add(number)
        if kind is not None:
            changes.append((position, kind, number))
    return changes


def differences(stored: dict[Key, State], expected: dict[Key, State]) -> list[str]:
    assert stored.keys() == expected.keys()
    return [
        f"{key.message_id}.{name}: {getattr(stored[key], name)!r}, expected {getattr(state, name)!r}"
        for key, state in expected.items()
        for name in State.__struct_fields__
        if getattr(stored[key], name) != getattr(state, name)
    ]


def as_stored(state: State, row: State) -> State:
    """What merge gives, as a row shows it: with its id, in the day of its first insertion, and, once it is deleted,
    without the status that it had before."""
    status = row.status if state.deleted_at_us is not None else state.status
    return msgspec.structs.replace(
        state, id=message_uuid(*state.key), created_at_us=row.created_at_us, status=status
    )


# What says something of the database, and passes.
TRANSIENT = {
    "deadlock": "40P01",
    "serialisation failure": "40001",
    "statement time-out": "57014",
    "disk full": "53100",
    "out of memory": "53200",
    "too many connections": "53300",
    "read-only": "25006",
    "lock not available": "55P03",
    "server is shutting down": "57P01",
    "right taken away": "42501",
    "I/O error": "58030",
    "idle in transaction for too long": "25P03",
}
# What says something of the row.
ITS_OWN = {
    "value too long": "22001",
    "check violated": "23514",
    "index entry too long": "54000",
    "a trigger": "P0001",
}


async def raise_on_insert(sql: Sql, condition: str, sqlstate: str) -> None:
    await sql.execute(
        f"""
        create sequence telegram_gateway.tries;
        create function telegram_gateway.fail() returns trigger language plpgsql as $$
        begin
            if {condition} then
                raise exception 'injected' using errcode = '{sqlstate}';
            end if;
            return new;
        end $$;
        create trigger injected before insert on telegram_gateway.messages
            for each row execute function telegram_gateway.fail();
        """
    )


@pytest.mark.parametrize("sqlstate", TRANSIENT.values(), ids=TRANSIENT.keys())
async def test_what_is_the_databases_fault_is_tried_again_and_nothing_is_set_aside(
    pipeline: Pipeline, sql: Sql, sqlstate: str
) -> None:
    await pipeline.accept([post(number, f"signal {number}") for number in range(1, 6)])
    await raise_on_insert(sql, "nextval('telegram_gateway.tries') <= 2", sqlstate)
    async with pipeline.running("writer"):
        assert (await pipeline.poll())[1] == [f"signal {number}" for number in range(1, 6)]
        await pipeline.flushed()
    assert await sql.fetchval("select nextval('telegram_gateway.tries')") > 2
    assert await sql.fetchval("select count(*) from telegram_gateway.messages") == 5
    assert pipeline.writer.poisoned == 0


@pytest.mark.parametrize("sqlstate", ITS_OWN.values(), ids=ITS_OWN.keys())
async def test_what_is_a_rows_own_fault_is_set_aside_alone_and_can_be_tried_again(
    pipeline: Pipeline, sql: Sql, sqlstate: str
) -> None:
    await pipeline.accept([post(number, f"signal {number}") for number in range(1, 12)])
    await raise_on_insert(sql, "new.message_id = 7", sqlstate)
    async with pipeline.running("writer"):
        await pipeline.flushed()
        assert await stored_ids(sql) == [*range(1, 7), *range(8, 12)]
        (row,), total = await pipeline.shelf.rows()
        assert (total, row.message_id, row.kind, "injected" in row.error) == (1, 7, "posted", True)
        # Still refused: it is set aside anew. Mended: it is stored, and served.
        assert await pipeline.shelf.retry([row.id]) == 1
        await pipeline.flushed()
        (row,), total = await pipeline.shelf.rows()
        assert total == 1
        await sql.execute("drop trigger injected on telegram_gateway.messages")
        assert await pipeline.shelf.retry([row.id]) == 1
        await pipeline.flushed()
    assert await stored_ids(sql) == list(range(1, 12))
    assert await pipeline.shelf.rows() == ([], 0)
    assert sorted((await pipeline.poll())[1]) == sorted(f"signal {number}" for number in range(1, 12))


async def test_backends_that_are_ended_again_and_again_lose_and_double_nothing(
    pipeline: Pipeline, sql: Sql
) -> None:
    pipeline.writer.batch_size = 20
    async with pipeline.running("writer"):
        for first in range(1, 2001, 50):
            await pipeline.accept([post(number, f"signal {number}") for number in range(first, first + 50)])
            await sql.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        await pipeline.wait_until(lambda: pipeline.journal.backlog == 0, timeout_s=60)
    assert await stored_ids(sql) == list(range(1, 2001))
    assert pipeline.writer.poisoned == 0


async def test_a_table_that_somebody_locks_delays_the_writer_and_nobody_else(
    pipeline: Pipeline, sql: Sql
) -> None:
    await sql.execute("begin; lock table telegram_gateway.message_keys in share mode")
    async with pipeline.running("writer"):
        await pipeline.accept([post(1, "signal")])
        # Intake goes on, and so do polls.
        await pipeline.accept([post(2, "another")])
        assert (await pipeline.poll())[1] == ["signal", "another"]
        assert pipeline.journal.backlog == 2
        await sql.execute("commit")
        await pipeline.flushed()
    assert await stored_ids(sql) == [1, 2]


async def test_the_next_address_is_taken_when_the_first_is_dead_or_read_only(servers: Servers) -> None:
    await upgrade(servers.dsn)
    account, _, place = servers.dsn.removeprefix("postgresql://").rpartition("@")
    address, _, name = place.partition("/")
    dsn = f"postgresql://{account}@127.0.0.1:1,{address}/{name}?target_session_attrs=read-write"
    async with open_database(dsn) as database:
        await database.ping()


async def stored_ids(sql: Sql) -> list[int]:
    rows = await sql.fetch("select message_id from telegram_gateway.messages order by message_id")
    return [row["message_id"] for row in rows]


async def test_a_password_that_was_changed_is_waited_for(
    pipeline: Pipeline, sql: Sql, servers: Servers
) -> None:
    parts = urlsplit(servers.dsn)
    async with pipeline.running("writer"):
        await pipeline.accept([post(1, "before")])
        await pipeline.flushed()
        await sql.execute(f"alter role {parts.username} password 'another'")
        try:
            await sql.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
            await pipeline.accept([post(2, "meanwhile")])
            assert (await pipeline.poll())[1][-1:] == ["meanwhile"]
            assert pipeline.journal.backlog
        finally:
            await sql.execute(f"alter role {parts.username} password '{parts.password}'")
        await pipeline.flushed()
    assert await stored_ids(sql) == [1, 2]
