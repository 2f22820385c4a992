"""A highly available cache on this machine: a master, a replica and three Sentinels, each a child of this process.

Measured with these time-outs: 2.2 to 2.4 s from the death of the master to the first write to the new one.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import anyio
import redis.exceptions

from telewarden.sandbox.ports import HOST, free_port
from telewarden.sandbox.processes import ServerFailed
from telewarden.sandbox.valkey import EmbeddedValkey

MASTER_NAME = "mymaster"
"""What the Sentinels call the master."""
NODES = ("first", "second")
"""The servers that hold data; the first one begins as the master."""
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
QUORUM = 2
DOWN_AFTER_MS = 1000
"""How long a server must be silent before a Sentinel takes it for dead."""
FAILOVER_TIMEOUT_MS = 3000
_PATIENCE_S = 40.0
_LOOK_S = 0.05
_ATTEMPTS = 5
_ASK_S = 1.0
# What a server that is down, frozen or starting gives. NOGOODSLAVE, INPROG and the like are ResponseErrors.
_NO_ANSWER = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, redis.exceptions.ResponseError)


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a server is. port: where it listens. announced: the port that clients and the other servers are told: its
    own, or that of a proxy before it. source: the loopback address that its own connections come from, by which a proxy
    can tell who connects; None: 127.0.0.1."""

    port: int
    announced: int
    source: str | None = None

    @classmethod
    def free(cls) -> Self:
        """A port that is free now, told as it is."""
        port = free_port()
        return cls(port, port)


class Topology:
    """A running master, replica and three Sentinels. Made by `start`; its servers can be killed, frozen and started
    again one by one. All waits raise ServerFailed when what they wait for does not come.

    A Sentinel has a server that it reconfigures write its new role down, so a server comes back in the role that it had
    last: a dead master as an empty master, until the Sentinels make it a replica, some 10 s later.
    """

    def __init__(
        self,
        servers: Mapping[str, EmbeddedValkey],
        seats: Mapping[str, Seat],
        *,
        password: str,
        sentinel_password: str,
    ) -> None:
        self.nodes = tuple(servers[name] for name in NODES)
        self.sentinels = tuple(servers[name] for name in SENTINELS)
        self._seats = seats
        self._password, self._sentinel_password = password, sentinel_password

    @classmethod
    @asynccontextmanager
    async def start(
        cls, folder: Path, *, program: Path | None = None, seats: Mapping[str, Seat] | None = None
    ) -> AsyncIterator[Self]:
        """Start all five, each in a folder of its own, and wait until they know each other; stop all at the end.

        program: None for the wheel's Valkey; or the path of a redis-server. seats: by name, for those of NODES and
        SENTINELS that have a proxy before them. Raises ServerFailed.
        """
        seats = {name: Seat.free() for name in (*NODES, *SENTINELS)} | dict(seats or {})
        password, sentinel_password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:

            async def started(
                name: str, password: str, lines: list[str], *, sentinel: bool
            ) -> EmbeddedValkey:
                source = seats[name].source
                extra = [*lines, *([f"bind-source-addr {source}"] if source else [])]
                return await stack.enter_async_context(
                    EmbeddedValkey.start(
                        folder / name,
                        port=seats[name].port,
                        password=password,
                        extra_config=extra,
                        program=program,
                        sentinel=sentinel,
                    )
                )

            servers = {}
            for name in NODES:
                lines = [*_replication(seats[name], password)]
                if name != NODES[0]:
                    lines.append(f"replicaof {HOST} {seats[NODES[0]].announced}")
                servers[name] = await started(name, password, lines, sentinel=False)
            for name in SENTINELS:
                lines = _watch(seats[name], seats[NODES[0]].announced, password)
                servers[name] = await started(name, sentinel_password, lines, sentinel=True)
            topology = cls(servers, seats, password=password, sentinel_password=sentinel_password)
            await topology.whole()
            yield topology

    @property
    def cache_settings(self) -> dict[str, object]:
        """The daemon's section [cache] for it."""
        return {
            "url": f"redis://:{self._password}@{MASTER_NAME}/0",
            "sentinels": [f"{HOST}:{self._seats[name].announced}" for name in SENTINELS],
            "sentinel_password": self._sentinel_password,
        }

    def seat(self, node: EmbeddedValkey) -> Seat:
        """Where a node is."""
        return self._seats[NODES[self.nodes.index(node)]]

    def other(self, node: EmbeddedValkey) -> EmbeddedValkey:
        """The node that is not this one."""
        return next(other for other in self.nodes if other is not node)

    async def master(self) -> EmbeddedValkey:
        """Whom the Sentinels that answer name, all of them the same one. Waits while they differ."""
        await _until("the Sentinels do not agree on a master", self._agreed)
        return await self._named_by_all()

    async def whole(self) -> None:
        """Wait until everything is up and knows each other, and the replica has all that its master had when asked."""
        await _until("the servers are not whole", self._is_whole)
        await self.in_sync()

    async def in_sync(self) -> None:
        """Wait until the replica has what its master had when asked."""
        master = await self.master()
        written = int((await _replication_of(master))["master_repl_offset"])

        async def has_it() -> bool:
            replica = await _replication_of(self.other(master))
            return (
                replica["role"] == "slave"
                and replica["master_port"] == self.seat(master).announced
                and replica["master_link_status"] == "up"
                and int(replica["slave_repl_offset"]) >= written
            )

        await _until("the replica does not come into step with its master", has_it)

    async def failed_over(self, new: EmbeddedValkey) -> None:
        """Wait until every Sentinel that answers names this node, and it is a master."""

        async def has() -> bool:
            return (await self._named()).issubset({new}) and (await _replication_of(new))["role"] == "master"

        await _until("the Sentinels do not fail over", has)

    async def fail_over(self) -> EmbeddedValkey:
        """Have the Sentinels promote the replica, though the master may live; gives the new master. The old one is made
        a replica by them afterwards."""
        new = self.other(await self.master())

        async def accepted() -> bool:
            # INPROG and NOGOODSLAVE are for the moment: an earlier one is not over yet.
            async with self.sentinels[0].connect(_ASK_S) as client:
                await client.execute_command("SENTINEL", "FAILOVER", MASTER_NAME)
            return True

        for _ in range(_ATTEMPTS):
            await _until("the Sentinels refuse to fail over", accepted)
            # One that they give up, such as for a replica that was busy, is not tried again by themselves.
            with anyio.move_on_after(2 * FAILOVER_TIMEOUT_MS / 1000):
                await self.failed_over(new)
                return new
        raise ServerFailed(f"the Sentinels gave up {_ATTEMPTS} fail-overs; their logs say why")

    async def follow(self, node: EmbeddedValkey) -> None:
        """Make a node the replica of the present master at once, as an operator does; the Sentinels take longer."""
        master = await self.master()

        async def told() -> bool:
            async with node.connect(_ASK_S) as client:
                await client.execute_command("REPLICAOF", HOST, self.seat(master).announced)
                await client.execute_command("CONFIG", "REWRITE")
            return True

        await _until("a server does not follow its new master", told)

    async def _is_whole(self) -> bool:
        if not await self._agreed():
            return False
        for sentinel in self.sentinels:
            async with sentinel.connect(_ASK_S) as client:
                state = await client.sentinel_master(MASTER_NAME)
                replicas = await client.sentinel_slaves(MASTER_NAME)
                await client.execute_command("SENTINEL", "CKQUORUM", MASTER_NAME)
            flags = [set(instance["flags"].split(",")) for instance in (state, *replicas)]
            if flags != [{"master"}, {"slave"}] or state["num-other-sentinels"] != len(SENTINELS) - 1:
                return False
        return True

    async def _agreed(self) -> bool:
        return len(await self._named()) == 1

    async def _named_by_all(self) -> EmbeddedValkey:
        (named,) = await self._named()
        return named

    async def _named(self) -> set[EmbeddedValkey]:
        """Every node that a Sentinel which answers takes for the master."""
        ports = set()
        for sentinel in self.sentinels:
            if sentinel.running:
                try:
                    async with sentinel.connect(_ASK_S) as client:
                        ports.add((await client.sentinel_get_master_addr_by_name(MASTER_NAME))[1])
                except _NO_ANSWER:
                    continue
        return {node for node in self.nodes if self.seat(node).announced in ports}


def _replication(seat: Seat, password: str) -> list[str]:
    return [
        f"masterauth {password}",
        f"replica-announce-ip {HOST}",
        f"replica-announce-port {seat.announced}",
        # A new replica waits for no other one to share its copy with.
        "repl-diskless-sync-delay 0",
        # A dead peer is noticed and tried again within seconds, not a minute.
        "repl-timeout 5",
        "repl-ping-replica-period 1",
    ]


def _watch(seat: Seat, master_port: int, password: str) -> list[str]:
    return [
        f"sentinel announce-ip {HOST}",
        f"sentinel announce-port {seat.announced}",
        f"sentinel monitor {MASTER_NAME} {HOST} {master_port} {QUORUM}",
        f"sentinel auth-pass {MASTER_NAME} {password}",
        f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {MASTER_NAME} {FAILOVER_TIMEOUT_MS}",
    ]


async def _replication_of(node: EmbeddedValkey) -> dict[str, Any]:
    async with node.connect(_ASK_S) as client:
        found: dict[str, Any] = await client.info("replication")
    return found


async def _until(otherwise: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds. A server that does not answer, or refuses, means not yet."""
    last: object = "it says no"
    try:
        with anyio.fail_after(_PATIENCE_S):
            while True:
                try:
                    if await holds():
                        return
                except _NO_ANSWER as error:
                    last = f"{type(error).__name__}: {error}"
                await anyio.sleep(_LOOK_S)
    except TimeoutError:
        raise ServerFailed(f"{otherwise} within {_PATIENCE_S:g} s; last: {last}") from None
