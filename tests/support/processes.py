"""`telewarden run --role api --workers N` on real servers, and clients that know which process serves them."""

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from support.servers import Servers
from support.service_manager import ServiceManager, listening
from telewarden.sandbox.daemon import DaemonProcess, write_settings
from telewarden.sandbox.ports import free_port
from telewarden.sandbox.raw_http import Answer, Gone, RawConnection, get, raw_connection
from telewarden.storage.migrate import upgrade

CHANNEL, KEY = -1001649127710, "key-of-the-only-consumer"
HEALTH = get("/health")


@dataclass
class Processes:
    """A parent and its processes, running. manager: what the parent says to systemd."""

    parent: DaemonProcess
    manager: ServiceManager
    port: int
    own_port: int
    settings_file: Path

    def reload(self) -> None:
        """Have the settings read again. What was said so far is read first: a socket that is full takes no more."""
        assert self.manager.text
        self.parent.send(signal.SIGHUP)

    async def pids(self, count: int, *, without: int | None = None) -> list[int]:
        """The processes that answer, once there are so many."""
        found: set[int] = set()
        with anyio.fail_after(20):
            while len(found) < count or without in found:
                if without in found:
                    found.clear()
                async with raw_connection(self.port) as connection:
                    found.add(_process(await connection.ask(HEALTH)))
        return sorted(found)


def _process(answer: Answer) -> int:
    process: dict[str, int] = json.loads(answer.body)["process"]
    return process["pid"]


def poll(key: str = KEY) -> bytes:
    return get(f"/api/messages/unprocessed?channel={CHANNEL}", key)


@dataclass
class Crowd:
    """Clients that poll without a pause, each over a connection that it keeps as long as the server lets it.

    answered: polls by process. failed: polls that got no answer, by the process that should have given it; a status
    other than 200 counts too. reconnected: how often a connection that had failed was replaced.
    """

    port: int
    answered: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    connected: Counter[int] = field(default_factory=Counter)

    async def client(self) -> None:
        while True:
            try:
                async with raw_connection(self.port) as connection:
                    await self._polls(connection)
            except OSError as error:
                self.refused.append(str(error))

    async def _polls(self, connection: RawConnection) -> None:
        first = await connection.ask(HEALTH)
        pid = _process(first)
        self.connected[pid] += 1
        last = first.last
        while not last:
            try:
                answer = await connection.ask(poll())
            except Gone:
                self.failed[pid] += 1
                return
            last = answer.last
            (self.answered if answer.status == 200 else self.failed)[pid] += 1

    async def until_answered(self, *pids: int, more: int = 20) -> None:
        """Until each of these processes has answered so many polls from now on."""
        goal = {pid: self.answered[pid] + more for pid in pids}
        with anyio.fail_after(20):
            while any(self.answered[pid] < count for pid, count in goal.items()):
                await anyio.sleep(0.005)


@asynccontextmanager
async def crowd(processes: Processes, clients: int = 8) -> AsyncIterator[Crowd]:
    found = Crowd(processes.port)
    async with anyio.create_task_group() as tasks:
        for _ in range(clients):
            tasks.start_soon(found.client)
        yield found
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def serving_processes(folder: Path, servers: Servers, count: int) -> AsyncIterator[Processes]:
    """Started, and told ready; killed with the context, if they still run."""
    await servers.empty()
    await upgrade(servers.dsn)
    port, own_port = free_port(), _free_ports(count)
    settings_file = folder / "serving.toml"
    write_settings(
        settings_file,
        {
            "telegram": {"channels": [CHANNEL]},
            "database": {"dsn": servers.dsn},
            "cache": {"url": servers.cache_url},
            "http": {"port": port, "api_keys": {"parser": KEY}, "process_port": own_port},
            "log": {"format": "console"},
        },
    )
    parent = DaemonProcess(
        settings_file,
        folder / "serving.log",
        state_dir=folder / "state",
        url=f"http://127.0.0.1:{port}",
        api_key=KEY,
    )
    with listening(folder / "notify") as manager:
        watchdog = {"WATCHDOG_USEC": "600000"}
        parent.start(
            "--role", "api", "--workers", str(count), environment={**manager.environment, **watchdog}
        )
        try:
            await manager.until("READY=1")
            yield Processes(parent, manager, port, own_port, settings_file)
        finally:
            parent.kill()


def _free_ports(count: int) -> int:
    """The first of so many in a row."""
    while True:
        first = free_port()
        with ExitStack() as stack:
            try:
                for number in range(count):
                    stack.enter_context(socket.create_server(("127.0.0.1", first + number)))
            except OSError:
                continue
            return first


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def send(pid: int, number: int) -> None:
    os.kill(pid, number)
