"""A hot standby of an embedded PostgreSQL: a copy made by pg_basebackup, which follows it until it is promoted."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import asyncpg

from telewarden.sandbox.accounts import server_account
from telewarden.sandbox.postgres import EmbeddedPostgres, embedded_bin


@asynccontextmanager
async def standby_of(primary: EmbeddedPostgres, folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Start one in a new folder. From then on the primary confirms nothing that the standby does not have."""
    folder.mkdir(mode=0o711)
    data = folder / "data"
    parts = urlsplit(primary.dsn)
    source = f"{primary.dsn.rpartition('/')[0]}/postgres"
    await anyio.run_process(
        [
            embedded_bin() / "pg_basebackup",
            f"--pgdata={data}",
            f"--dbname={source}",
            "--write-recovery-conf",
            "--checkpoint=fast",
        ]
    )
    password = folder / "password"
    password.write_text(f"{parts.password}\n")
    account = server_account()
    if account is not None:
        for path in (password, data, *data.rglob("*")):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    try:
        async with EmbeddedPostgres.start(folder, keep=True, password=parts.password) as standby:
            sql = await asyncpg.connect(primary.dsn)
            await sql.execute("alter system set synchronous_standby_names = '*'")
            await sql.execute("select pg_reload_conf()")
            with anyio.fail_after(30):
                while not await sql.fetchval(
                    "select count(*) from pg_stat_replication where sync_state = 'sync'"
                ):
                    await anyio.sleep(0.01)
            await sql.close()
            yield standby
    finally:
        shutil.rmtree(folder)


async def promote(standby: EmbeddedPostgres) -> None:
    """Make it the one that can be written."""
    sql = await asyncpg.connect(standby.dsn)
    # A primary now, which waits for nobody.
    await sql.execute("alter system reset synchronous_standby_names")
    assert await sql.fetchval("select pg_promote()")
    await sql.close()


def addresses(first: EmbeddedPostgres, second: EmbeddedPostgres, query: str = "") -> str:
    """A DSN that names both, in this order."""
    parts = urlsplit(first.dsn)
    places = ",".join(f"127.0.0.1:{server.port}" for server in (first, second))
    return f"postgresql://{parts.username}:{parts.password}@{places}{parts.path}{query}"
