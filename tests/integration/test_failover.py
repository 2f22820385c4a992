"""A real hot standby: what it refuses while it only reads, and how the daemon's parts find it once it is promoted."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import asyncpg
import pytest

from support.pipeline import open_pipeline, post
from support.standby import addresses, promote, standby_of
from support.told import Told
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.valkey import EmbeddedValkey
from telewarden.storage.migrate import current, upgrade
from telewarden_http.protocols import Source

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@dataclass(frozen=True)
class Pair:
    """A primary, and its standby."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres


@pytest.fixture
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    async with EmbeddedPostgres.start(folder / "primary") as primary:
        await upgrade(primary.dsn)
        async with standby_of(primary, folder / "standby") as standby:
            yield Pair(primary, standby)
            # Nobody is left to confirm what it writes as it stops.
            await primary.kill()


async def stored(server: EmbeddedPostgres) -> list[int]:
    sql = await asyncpg.connect(server.dsn)
    rows = await sql.fetch("select message_id from telegram_gateway.messages order by message_id")
    await sql.close()
    return [row["message_id"] for row in rows]


async def test_a_standby_answers_polls_and_is_waited_for_until_it_can_be_written(
    tmp_path: Path, pair: Pair, valkey_server: EmbeddedValkey
) -> None:
    told = Told()
    async with (
        open_pipeline(tmp_path, pair.standby.dsn, valkey_server.url) as pipeline,
        anyio.create_task_group() as tasks,
    ):
        await pipeline.accept([post(1, "one"), post(2, "two")])
        tasks.start_soon(pipeline.writer.run, told)
        await told.says("ReadOnlySQLTransactionError")
        await pipeline.accept([post(3, "three")])
        assert await pipeline.poll() == (Source.DATABASE, ["one", "two", "three"])
        await promote(pair.standby)
        await pipeline.flushed()
        tasks.cancel_scope.cancel()
    assert pipeline.writer.poisoned == 0
    assert await stored(pair.standby) == [1, 2, 3]


@pytest.mark.parametrize("end", ["killed", "frozen"])
async def test_the_other_address_takes_over_when_the_primary_is_gone(
    tmp_path: Path, pair: Pair, valkey_server: EmbeddedValkey, end: str
) -> None:
    """Frozen: it takes connections and never answers, as a machine does that hangs."""
    dsn = addresses(pair.primary, pair.standby, "?target_session_attrs=read-write")
    async with open_pipeline(
        tmp_path, dsn, valkey_server.url, batch_size=20, statement_timeout_s=2.0
    ) as pipeline:
        async with pipeline.running("writer"):
            for first in range(1, 401, 20):
                await pipeline.accept([post(n, f"signal {n}") for n in range(first, first + 20)])
                if first == 201:
                    await pipeline.wait_until(lambda: pipeline.journal.flushed > 0)
                    # In the middle of its work: the outcome of a batch may be unknown.
                    if end == "killed":
                        await pair.primary.kill()
                    else:
                        pair.primary.suspend()
            # Both refuse: one is gone, the other only reads.
            assert (await pipeline.poll())[1][-1] == "signal 400"
            await promote(pair.standby)
            await pipeline.wait_until(lambda: pipeline.journal.backlog == 0, timeout_s=60)
        await pipeline.database.ping()
        assert await pipeline.poll() == (Source.DATABASE, [f"signal {n}" for n in range(1, 401)])
        assert pipeline.writer.poisoned == 0
    assert await stored(pair.standby) == list(range(1, 401))
    # The commands find it too.
    assert await current(dsn) is not None
