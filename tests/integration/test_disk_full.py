"""A PostgreSQL whose disk is really full: the writer waits and says why, intake goes on, nothing is lost or doubled."""

import errno
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import asyncpg
import pytest

from support.pipeline import Pipeline, open_pipeline, post
from support.privileges import allowed
from support.told import Told
from telewarden.sandbox.accounts import server_account
from telewarden.sandbox.postgres import DATABASE, EmbeddedPostgres
from telewarden.sandbox.valkey import EmbeddedValkey
from telewarden_http.protocols import Source

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TEXT = "x" * 1_900
"""Small enough to stay in its row: a row is a quarter of a page."""


@dataclass(frozen=True)
class Disk:
    """A small file system in memory."""

    folder: Path

    def fill(self) -> None:
        """Leave no room on it."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def make_room(self) -> None:
        """Take away what filled it."""
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A disk of as many megabytes as the parameter says."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}m,mode=0755", "tmpfs", str(folder)]
    allowed("mounting a file system", *mount)
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
async def cache_url(valkey_server: EmbeddedValkey) -> str:
    return valkey_server.url


async def stored(dsn: str) -> list[int]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("select message_id from telegram_gateway.messages order by message_id")
    await connection.close()
    return [row["message_id"] for row in rows]


async def tablespace(dsn: str, name: str, folder: Path) -> None:
    """Make one in a new folder of the server's."""
    folder.mkdir(mode=0o700)
    account = server_account()
    if account is not None:
        account.own(folder)
    sql = await asyncpg.connect(dsn)
    await sql.execute(f"create tablespace {name} location '{folder}'")
    await sql.close()


async def accept(pipeline: Pipeline, first: int, last: int) -> None:
    await pipeline.accept([post(number, f"{number} {TEXT}") for number in range(first, last + 1)])


@pytest.mark.parametrize("disk", [8], indirect=True)
async def test_no_room_for_more_rows(
    tmp_path: Path, disk: Disk, cache_url: str, postgres: EmbeddedPostgres
) -> None:
    """The table's disk is full, the server works."""
    await tablespace(postgres.dsn, "small", disk.folder / "tablespace")
    connection = await asyncpg.connect(postgres.dsn)
    told = Told()
    async with (
        open_pipeline(tmp_path, postgres.dsn, cache_url) as pipeline,
        anyio.create_task_group() as tasks,
    ):
        await connection.execute(
            f"alter table telegram_gateway.messages_{datetime.now(UTC):%Y%m%d} set tablespace small"
        )
        tasks.start_soon(pipeline.writer.run, told)
        await accept(pipeline, 1, 10)
        await pipeline.flushed()
        disk.fill()
        await accept(pipeline, 11, 200)
        await told.says("DiskFullError")
        # Intake goes on meanwhile, and what came in is served.
        await accept(pipeline, 201, 210)
        source, texts = await pipeline.poll()
        assert (source, len(texts)) == (Source.DATABASE, 210)
        assert pipeline.journal.backlog == 200
        disk.make_room()
        await pipeline.flushed()
        tasks.cancel_scope.cancel()
    assert pipeline.writer.poisoned == 0
    assert await stored(postgres.dsn) == list(range(1, 211))
    await connection.execute("drop schema telegram_gateway cascade")
    await connection.execute("drop tablespace small")
    await connection.close()


@pytest.mark.parametrize("disk", [160], indirect=True)
async def test_no_room_for_the_servers_own_log(tmp_path: Path, disk: Disk, cache_url: str) -> None:
    """What it writes first of all (WAL) finds no room: it crashes, and cannot start while that is so."""
    told = Told()
    async with EmbeddedPostgres.start(disk.folder / "postgres") as postgres:
        # Its tables have room, on another disk.
        await tablespace(postgres.dsn, "roomy", tmp_path / "tablespace")
        sql = await asyncpg.connect(postgres.dsn.rpartition("/")[0] + "/postgres")
        await sql.execute(f"alter database {DATABASE} set tablespace roomy")
        await sql.close()
        async with (
            open_pipeline(tmp_path, postgres.dsn, cache_url) as pipeline,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(pipeline.writer.run, told)
            await accept(pipeline, 1, 10)
            await pipeline.flushed()
            disk.fill()
            for first in range(11, 20_011, 500):
                await accept(pipeline, first, first + 499)
            with anyio.fail_after(60):
                while "PANIC" not in postgres.log_file.read_text():
                    await anyio.sleep(0.05)
            await told.says("waiting for the database")
            await accept(pipeline, 20_011, 20_020)
            source, texts = await pipeline.poll(limit=30_000)
            assert (source, texts[-1]) == (Source.JOURNAL, f"20020 {TEXT}")
            disk.make_room()
            with anyio.fail_after(60):
                while pipeline.journal.backlog:
                    # It gave up, or is about to: whoever supervises it starts it again.
                    if not postgres.running:
                        await postgres.restart()
                    await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
        assert pipeline.writer.poisoned == 0
        assert await stored(postgres.dsn) == list(range(1, 20_021))
