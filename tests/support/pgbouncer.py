"""A PgBouncer in transaction mode before a PostgreSQL: Debian's program, a child of this process, on 127.0.0.1."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from support.debian import needed
from telewarden.sandbox.accounts import server_account
from telewarden.sandbox.ports import HOST, free_port
from telewarden.sandbox.processes import ServerProcess

PROGRAM = Path("/usr/sbin/pgbouncer")
PREPARES_FROM = (1, 21)
"""The first version that knows prepared statements in transaction mode (max_prepared_statements)."""


def version() -> tuple[int, int]:
    """Of the program."""
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = said.split()[1].split(".")[:2]
    return int(major), int(minor)


@asynccontextmanager
async def pgbouncer(folder: Path, dsn: str, *, pool_size: int = 4) -> AsyncIterator[str]:
    """Start one in a folder; gives the DSN of the same database through it. pool_size: connections to the server."""
    needed(PROGRAM, "pgbouncer")
    server = urlsplit(dsn)
    name = server.path.removeprefix("/")
    port = free_port()
    settings = {
        "listen_addr": HOST,
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users.txt",
        "pool_mode": "transaction",
        "default_pool_size": pool_size,
        "max_client_conn": 200,
        **({"max_prepared_statements": 200} if version() >= PREPARES_FROM else {}),
    }
    lines = [
        "[databases]",
        f"{name} = host={HOST} port={server.port} dbname={name}",
        "[pgbouncer]",
        *(f"{key} = {value}" for key, value in settings.items()),
    ]
    account = server_account()
    folder.mkdir(mode=0o700)
    for file, text in {
        "pgbouncer.ini": "\n".join(lines),
        "users.txt": f'"{server.username}" "{server.password}"',
    }.items():
        (folder / file).write_text(text + "\n")
        if account is not None:
            account.own(folder / file)
    if account is not None:
        account.own(folder)
    through = f"postgresql://{server.username}:{server.password}@{HOST}:{port}/{name}"

    async def answers() -> bool:
        try:
            connection = await asyncpg.connect(through, timeout=2, statement_cache_size=0)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    process = ServerProcess(
        "PgBouncer",
        [PROGRAM, folder / "pgbouncer.ini"],
        folder=folder,
        log_file=folder / "pgbouncer.log",
        account=account,
    )
    try:
        await process.start(answers, 30.0)
        yield through
    finally:
        await process.stop(10.0)
