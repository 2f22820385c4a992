"""No wait for the database is without end: when its machine has gone, and when its client has."""

import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import asyncpg
import pytest

from support.pipeline import open_pipeline, post
from support.privileges import allowed
from support.servers import Servers
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.storage.database import Database, open_database
from telewarden.storage.migrate import upgrade

pytestmark = [pytest.mark.integration]

SCRIPT = Path(__file__).with_name("vanished_database.py")
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
OPTIONS = {
    "user time-out, ms": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "first probe, s": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "between probes, s": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "probes": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
}


async def options_of(database: Database) -> dict[str, int]:
    """What the kernel has for a connection of the pool."""
    async with database.writing() as connection:
        await connection.fetchval("select 1")
        its_socket = connection._transport.get_extra_info("socket")
        return {name: its_socket.getsockopt(*option) for name, option in OPTIONS.items()}


def on(loop: str, use: Callable[[], Awaitable[None]]) -> None:
    """Run it on that kind of event loop."""
    anyio.run(use, backend_options={"use_uvloop": loop == "uvloop"})


@LOOPS
def test_the_kernel_ends_a_connection_to_a_machine_that_is_silent(loop: str, tmp_path: Path) -> None:
    sockets = tmp_path / "sockets"

    async def main() -> None:
        sockets.mkdir()
        sockets.chmod(0o777)
        settings = {"unix_socket_directories": str(sockets)}
        async with EmbeddedPostgres.start(tmp_path / "postgres", settings=settings) as postgres:
            await upgrade(postgres.dsn)
            async with open_database(postgres.dsn, tcp_user_timeout_s=7.5) as database:
                assert await options_of(database) == {
                    "user time-out, ms": 7500,
                    "keepalive": 1,
                    "first probe, s": 4,
                    "between probes, s": 2,
                    "probes": 3,
                }
            # A UNIX socket's other side is on this machine: there is nothing to set.
            local = postgres.dsn.replace(f"@127.0.0.1:{postgres.port}", "@") + (
                f"?host={sockets}&port={postgres.port}"
            )
            async with open_database(local) as database:
                await database.ping()

    on(loop, main)


@LOOPS
def test_a_database_whose_machine_vanishes_is_noticed_in_time(loop: str) -> None:
    """The statements may take ten minutes; only the kernel's time-out of two seconds can end them sooner."""
    allowed("a network of its own", "unshare", "--net", "true")

    async def main() -> None:
        with anyio.fail_after(60):
            done = await anyio.run_process(
                ["unshare", "--net", sys.executable, str(SCRIPT), loop], check=False, stderr=None
            )
        lines = dict(line.split(": ", 1) for line in done.stdout.decode().splitlines())
        assert done.returncode == 0
        lost = "the database does not answer (ConnectionDoesNotExistError"
        assert lines.pop("working").startswith(lost)
        assert lines.pop("idle").startswith(lost)
        assert lines == {"before": "it was answered", "after": "it was answered"}

    on(loop, main)


@pytest.mark.anyio
async def test_a_writer_that_falls_silent_in_a_transaction_keeps_its_locks_for_half_a_minute_at_most(
    tmp_path: Path, servers: Servers
) -> None:
    asked = "select current_setting('idle_in_transaction_session_timeout')"
    sql = await asyncpg.connect(servers.dsn)
    async with open_pipeline(tmp_path, servers.dsn, servers.cache_url) as pipeline:
        await sql.execute(
            f"""
            create table telegram_gateway.seen as {asked} as timeout limit 0;
            create function telegram_gateway.see() returns trigger language plpgsql as $$
            begin
                insert into telegram_gateway.seen {asked};
                return null;
            end $$;
            create trigger see after insert on telegram_gateway.messages execute function telegram_gateway.see();
            """
        )
        async with pipeline.running("writer"):
            await pipeline.accept([post(1, "one")])
            await pipeline.flushed()
        assert [row["timeout"] for row in await sql.fetch("select * from telegram_gateway.seen")] == ["30s"]
        # For that transaction alone: a connection that PgBouncer gives to others is as it was.
        async with pipeline.database.writing() as connection:
            assert await connection.fetchval(asked) == "0"
    await sql.close()
