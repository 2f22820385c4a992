"""Behind a real PgBouncer in transaction mode: nothing fails, and a pool that is used up is waited for in bounds."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import asyncpg
import pytest

from support.pgbouncer import PREPARES_FROM, PROGRAM, pgbouncer, version
from support.pipeline import CHANNELS
from support.servers import Servers
from telewarden.messages import Acknowledged, Content, Key, Posted
from telewarden.storage.batch import write_batch
from telewarden.storage.consumers import DatabaseConsumers
from telewarden.storage.database import Database, DatabaseUnavailable, open_database
from telewarden.storage.migrate import check, upgrade
from telewarden.storage.tail import Record
from telewarden_http.v1.consumers_protocols import Outcome

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

STATEMENTS = 10_000
CACHES = [0, 100] if PROGRAM.exists() and version() >= PREPARES_FROM else [0]
"""Prepared statements kept: none, and, where this PgBouncer knows them, some."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place that PgBouncer's own user can reach."""
    made = Path(tempfile.mkdtemp(prefix="telewarden-test-"))
    made.chmod(0o711)
    yield made / "pgbouncer"
    shutil.rmtree(made)


async def mixed(database: Database, client: int, turns: int) -> int:
    """Statements of every kind; returns how many."""
    done = 0
    consumers, name = DatabaseConsumers(database), f"consumer {client}"
    for turn in range(turns):
        key = Key(CHANNELS[0], client * 1_000_000 + turn)
        post = Record(turn, Posted(*key, Content(text=f"{client}/{turn}"), 0, turn + 1, True), 0, 0)
        acknowledged = Record(turn, Acknowledged(*key, "tp-capital", turn + 2), 0, 0)
        for records in ([post], [acknowledged]):
            async with database.writing() as connection:
                await write_batch(connection, records, client)
        stored = await database.by_keys([key])
        assert stored[key].status == "published"
        assert await database.done([key]) == {key}
        rows = await database.waiting(CHANNELS[0], ["received"], None, 10)
        assert all(row["status"] == "received" for row in rows)
        assert (await database.channel_tops([CHANNELS[0]]))[CHANNELS[0]] >= key.message_id % 1_000_000
        # A batch of a new message is eight statements with its transaction, one of a known message nine.
        done += 8 + 9 + 1 + 1 + 2 + 1
        if turn % 10 == 0:
            leased = await consumers.lease(name, None, limit=1000, lease_s=3600)
            receipts = [each.receipt for each in leased.deliveries]
            settled = await consumers.acknowledge(name, receipts)
            assert {each.outcome for each in settled} <= {Outcome.ACKNOWLEDGED}
            assert (await consumers.state(name, None)) is not None
            done += 2 + 1 + 1
    return done


@pytest.mark.parametrize("cache", CACHES)
async def test_ten_thousand_statements_of_every_kind_and_none_fails(
    servers: Servers, folder: Path, cache: int
) -> None:
    async with pgbouncer(folder, servers.dsn) as dsn:
        # Also the upgrade goes through it: it is one transaction.
        await upgrade(dsn)
        assert await check(dsn) == []
        clients = 8
        turns = STATEMENTS // clients // 22 + 1
        counts: list[int] = []
        async with (
            open_database(dsn, statement_cache_size=cache) as database,
            anyio.create_task_group() as tasks,
        ):

            async def client(number: int) -> None:
                counts.append(await mixed(database, number, turns))

            for number in range(clients):
                tasks.start_soon(client, number)
        assert sum(counts) >= STATEMENTS
    connection = await asyncpg.connect(servers.dsn)
    assert await connection.fetchval("select count(*) from telegram_gateway.messages") == clients * turns
    await connection.close()


def is_down(database: Database) -> bool:
    """What the metric telewarden_database_up tells."""
    return database.breaker.failed


async def test_a_pool_that_is_used_up_is_waited_for_in_bounds(servers: Servers, folder: Path) -> None:
    await upgrade(servers.dsn)
    async with (
        pgbouncer(folder, servers.dsn, pool_size=1) as dsn,
        open_database(dsn, statement_cache_size=0) as database,
    ):
        await database.ping()
        greedy = await asyncpg.connect(dsn, statement_cache_size=0)
        transaction = greedy.transaction()
        await transaction.start()
        await greedy.execute("select 1")
        with anyio.fail_after(6), pytest.raises(DatabaseUnavailable, match="does not answer"):
            await database.waiting(CHANNELS[0], ["received"], None, 10)
        # The next one knows at once, and what watches the metric does too.
        assert is_down(database)
        with anyio.fail_after(0.5), pytest.raises(DatabaseUnavailable, match="is down"):
            await database.waiting(CHANNELS[0], ["received"], None, 10)
        await transaction.rollback()
        await database.ping()
        assert not is_down(database)
        assert list(await database.waiting(CHANNELS[0], ["received"], None, 10)) == []
        await greedy.close()
