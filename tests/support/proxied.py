"""A cache's master, replica and Sentinels, each behind a proxy that everybody else is told in its place.

Each server connects from a loopback address of its own, and clients from 127.0.0.1, so that the proxies can part any of
them from any other. The tests' own questions go past the proxies, to the servers' own ports.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support.proxy import BLACK_HOLE, Line, Proxy, open_proxy
from telewarden.sandbox.ports import HOST, free_port
from telewarden.sandbox.topology import NODES, SENTINELS, Seat, Topology
from telewarden.sandbox.valkey import EmbeddedValkey

CLIENTS = HOST
"""Where the daemon connects from."""
_SOURCES = {name: f"127.0.0.{number}" for number, name in enumerate((*NODES, *SENTINELS), start=11)}


@dataclass
class ProxiedTopology:
    """It, and the proxies by the names of the servers."""

    topology: Topology
    proxies: Mapping[str, Proxy]

    def name(self, server: EmbeddedValkey) -> str:
        """A server's name."""
        servers = dict(
            zip((*NODES, *SENTINELS), (*self.topology.nodes, *self.topology.sentinels), strict=True)
        )
        return next(name for name, other in servers.items() if other is server)

    def proxy(self, server: EmbeddedValkey) -> Proxy:
        """The one before a server."""
        return self.proxies[self.name(server)]

    def source(self, server: EmbeddedValkey) -> str:
        """Where a server's own connections come from."""
        return _SOURCES[self.name(server)]

    def part(
        self, some: Iterable[EmbeddedValkey], others: Iterable[EmbeddedValkey], *, clients: bool
    ) -> None:
        """Nothing passes any more between some servers and the others, either way; everything stays connected.

        clients: they are on the side of the first ones; otherwise on that of the others.
        """
        sides = [list(some), list(others)]
        for number, side in enumerate(sides):
            far = [self.source(server) for server in sides[1 - number]]
            if clients == bool(number):
                far.append(CLIENTS)
            for server in side:
                self.proxy(server).set(BLACK_HOLE, *far)

    def set_clients(self, server: EmbeddedValkey, line: Line) -> None:
        """How clients reach a server; the other servers reach it as before."""
        self.proxy(server).set(line, CLIENTS)

    def heal(self) -> None:
        """All lines are open."""
        for proxy in self.proxies.values():
            proxy.heal()


@asynccontextmanager
async def proxied_topology(folder: Path, *, program: Path | None = None) -> AsyncIterator[ProxiedTopology]:
    """Start the proxies, then the servers behind them."""
    async with AsyncExitStack() as stack:
        proxies, seats = {}, {}
        for name, source in _SOURCES.items():
            port = free_port()
            proxy = await stack.enter_async_context(open_proxy(port, free_port()))
            proxies[name] = proxy
            seats[name] = Seat(port, proxy.port, source)
        topology = await stack.enter_async_context(Topology.start(folder, program=program, seats=seats))
        yield ProxiedTopology(topology, proxies)
