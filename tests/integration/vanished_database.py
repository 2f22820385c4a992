"""Run by test_timeouts.py in a network of its own, whose only interface it cuts: from then on packets to the database
vanish, as where its machine has lost its power. Prints what became of each of two statements."""

import fcntl
import socket
import struct
import sys
import tempfile
from pathlib import Path

import anyio

from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.storage.database import Database, DatabaseUnavailable, open_database
from telewarden.storage.migrate import upgrade

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
LONG_S = 600.0


def loopback(up: bool) -> None:
    """Switch this network's loopback interface on or off: see netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _GET_FLAGS, request), 16)
        flags = flags | _UP if up else flags & ~_UP
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", flags))


async def tried(database: Database, statement: str) -> str:
    """What became of a statement that may take very long."""
    try:
        async with database.writing() as connection:
            await connection.execute(statement, timeout=LONG_S)
    except DatabaseUnavailable as error:
        return str(error)
    return "it was answered"


async def main() -> None:
    """See above."""
    loopback(True)
    with tempfile.TemporaryDirectory(prefix="telewarden-test-") as folder:
        Path(folder).chmod(0o711)
        async with EmbeddedPostgres.start(Path(folder) / "postgres") as postgres:
            await upgrade(postgres.dsn)
            async with open_database(
                postgres.dsn, tcp_user_timeout_s=2.0, statement_timeout_s=LONG_S
            ) as database:
                await vanishes_while_it_works(database)
                await vanishes_while_idle(database)


async def vanishes_while_it_works(database: Database) -> None:
    """It has taken the statement: only probes can tell."""
    async with anyio.create_task_group() as tasks:

        async def long() -> None:
            print("working:", await tried(database, f"select pg_sleep({LONG_S})"), flush=True)

        tasks.start_soon(long)
        async with database.reading() as connection:
            while not await connection.fetchval(
                "select count(*) from pg_stat_activity where query like 'select pg_sleep%'"
            ):
                await anyio.sleep(0.01)
        loopback(False)
    loopback(True)


async def vanishes_while_idle(database: Database) -> None:
    """What is sent to it is never acknowledged."""
    print("before:", await tried(database, "select 1"), flush=True)
    loopback(False)
    print("idle:", await tried(database, "select 1"), flush=True)
    loopback(True)
    print("after:", await tried(database, "select 1"), flush=True)


if __name__ == "__main__":
    sys.exit(anyio.run(main, backend_options={"use_uvloop": "uvloop" in sys.argv}))
