"""Which server is the cache: the one of the settings, or the master that Sentinel names.

Finding a master is redis-py's (`discover_master`); following it is done here, by whoever owns the connection.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import anyio
import redis.asyncio
from redis.asyncio.connection import BlockingConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

_SWITCHED = "+switch-master"
_LOOK_S = 1.0
_TURN_S = 2.0
_CONNECTIONS = 32
# RuntimeError: uvloop's word for a transport that was closed while it was written to.
_UNTOLD = (RedisError, OSError, TimeoutError, RuntimeError)


class CacheAddress(NamedTuple):
    """Where a server listens. port: 0 for a UNIX socket, whose path is the host."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


class FixedServer:
    """The one server that the settings name."""

    def __init__(self, url: str) -> None:
        parsed: dict[str, Any] = dict(parse_url(url))
        host = parsed.get("path") or parsed.get("host", "localhost")
        self._address = CacheAddress(str(host), 0 if "path" in parsed else int(parsed.get("port", 6379)))

    async def master(self) -> CacheAddress:
        """Its address."""
        return self._address

    async def follow(self, named: Callable[[CacheAddress], None]) -> None:
        """There is nothing to follow."""

    async def close(self) -> None:
        """There is nothing to close."""


class SentinelServers:
    """The master of a group that Sentinels watch.

    name: the group's name. sentinels: where they listen. parsed: what the cache's URL says of TLS, which goes for them
    too. timeout_s: how long each may take to answer. username, password: the Sentinels' own.
    """

    def __init__(
        self,
        name: str,
        sentinels: Sequence[tuple[str, int]],
        *,
        url: str,
        timeout_s: float,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._name = name
        parsed: dict[str, Any] = dict(parse_url(url))
        options = {key: value for key, value in parsed.items() if key.startswith("ssl_")}
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            list(sentinels),
            sentinel_kwargs={
                **options,
                "ssl": parsed.get("connection_class") is SSLConnection,
                "username": username,
                "password": password,
                "socket_timeout": timeout_s,
                "socket_connect_timeout": timeout_s,
                "retry": Retry(NoBackoff(), 0),
            },
        )

        # In this order now: redis-py puts the one that answered first.
        self._addresses = dict(zip(sentinels, self._sentinel.sentinels, strict=True))

    async def master(self) -> CacheAddress:
        """Whom the first Sentinel that answers names. Raises MasterNotFoundError, which tells what each said."""
        try:
            host, port = await self._sentinel.discover_master(self._name)
        except _UNTOLD as error:
            raise MasterNotFoundError(
                f"no Sentinel names a master for {self._name!r} that is up ({self._by_address(str(error))}); "
                "check cache.sentinels and the name in cache.url"
            ) from error
        return CacheAddress(str(host), int(port))

    def _by_address(self, said: str) -> str:
        """What redis-py says, with each Sentinel's address for all that is known of its client: older versions show the
        password among that."""
        for (host, port), sentinel in self._addresses.items():
            said = said.replace(repr(sentinel), f"{host}:{port}")
        return said

    async def follow(self, named: Callable[[CacheAddress], None]) -> None:
        """Tell whom Sentinel names: when it announces a fail-over, and each second, since an announcement may be lost.

        For ever. While no Sentinel answers nothing is told: the master that was named stays.
        """
        turn = 0
        while True:
            sentinels = self._sentinel.sentinels
            sentinel = sentinels[turn % len(sentinels)]
            turn += 1
            try:
                async with sentinel.pubsub() as announcements:
                    await announcements.subscribe(_SWITCHED)
                    while True:
                        await announcements.get_message(ignore_subscribe_messages=True, timeout=_LOOK_S)
                        await self._tell(named)
            except _UNTOLD:
                # The next one is listened to; the worker's status shows a master that does not answer.
                await anyio.sleep(_LOOK_S / len(sentinels))

    async def _tell(self, named: Callable[[CacheAddress], None]) -> None:
        try:
            named(await self.master())
        except MasterNotFoundError:
            # In the middle of a fail-over there is none; the one that was named stays.
            return

    async def close(self) -> None:
        """Close the connections to the Sentinels."""
        await self._sentinel.aclose()


Servers = FixedServer | SentinelServers


def client_for(url: str, address: CacheAddress, *, timeout_s: float) -> "redis.asyncio.Redis":
    """A client of one server, as the URL says but for its address. Nothing connects before it is needed; nothing is
    retried in here."""
    options: dict[str, Any] = dict(parse_url(url))
    if address.port:
        options |= {"host": address.host, "port": address.port}
    # A crowd of polls waits its turn for a connection; it is no outage.
    pool = BlockingConnectionPool(
        **options,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        max_connections=_CONNECTIONS,
        timeout=_TURN_S,
    )
    return redis.asyncio.Redis.from_pool(pool)
