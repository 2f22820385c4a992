"""Any server program that speaks Redis' protocol, started as a test wants it: other versions, TLS, a cluster node."""

import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from support.debian import needed
from telewarden.sandbox.accounts import server_account
from telewarden.sandbox.directory import private_directory
from telewarden.sandbox.ports import HOST, free_port
from telewarden.sandbox.processes import ServerProcess
from telewarden.sandbox.valkey import embedded_program

DEBIAN = Path("/usr/bin/redis-server")
_OTHERS = "TELEWARDEN_TEST_REDIS_SERVERS"
_START_S, _STOP_S, _ASK_S = 30.0, 5.0, 5.0


def programs() -> list[str]:
    """The servers that tests are run against: the wheel's, Debian's, and those that the variable names."""
    others = os.environ.get(_OTHERS, "").split(os.pathsep)
    return ["valkey of the wheel", "redis of debian", *(path for path in others if path)]


def program(name: str) -> Path:
    """The path of one of `programs`; a test that cannot have Debian's is left out, or fails where all is required."""
    match name:
        case "valkey of the wheel":
            return embedded_program()
        case "redis of debian":
            return needed(DEBIAN, "redis-server")
        case path:
            return Path(path)


def version(path: Path) -> str:
    """What it calls itself, such as "Redis server v=7.0.15"."""
    told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    return told.stdout.partition(" sha")[0]


class CacheServer:
    """A running server without a password, on 127.0.0.1. Made by `start_cache_server`."""

    def __init__(
        self, process: ServerProcess, port: int, configuration: Path, options: str, scheme: str
    ) -> None:
        self.process, self.port, self.configuration = process, port, configuration
        self.folder = configuration.parent
        self._options, self._scheme = options, scheme

    def url(self, login: str = "", host: str = HOST, options: str | None = None) -> str:
        """Where to connect. login: "user:password". options: after the question mark, in place of its own."""
        tail = self._options if options is None else options
        return f"{self._scheme}://{login}{'@' if login else ''}{host}:{self.port}/0{tail}"

    def client(self, login: str = "") -> "redis.asyncio.Redis":
        """A client of the test's own, to be closed; it tries nothing twice."""
        return redis.asyncio.Redis.from_url(
            self.url(login),
            socket_timeout=_ASK_S,
            socket_connect_timeout=_ASK_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    async def start(self) -> None:
        """Start it, again if it has ended; what it saved is still there."""
        await self.process.start(self._answers, _START_S)

    async def stop(self) -> None:
        """End it in order."""
        await self.process.stop(_STOP_S)

    async def _answers(self) -> bool:
        async with self.client() as client:
            try:
                return bool(await client.ping())
            except redis.exceptions.BusyLoadingError:
                return True
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
                return False


@asynccontextmanager
async def start_cache_server(
    path: Path,
    directory: Path,
    *lines: str,
    tls: Sequence[str] = (),
    options: str = "",
) -> AsyncIterator[CacheServer]:
    """Start a server. lines: of its configuration. tls: lines that make its port one of TLS. options: of its URL."""
    account = server_account()
    async with private_directory("cache", directory, valuable="-", keep=True, account=account) as place:
        port = free_port()
        configuration = place.data / "server.conf"
        listen = (f"port 0\ntls-port {port}\n" + "\n".join(tls)) if tls else f"port {port}"
        text = "\n".join(
            (f"bind {HOST}", listen, f'dir "{place.data}"', 'save ""', "appendonly no", *lines, "")
        )
        place.write_private(configuration, text)
        process = ServerProcess(
            version(path), [path, configuration], folder=place.data, log_file=place.log_file, account=account
        )
        server = CacheServer(process, port, configuration, options, "rediss" if tls else "redis")
        try:
            await server.start()
            yield server
        finally:
            await server.process.kill()
