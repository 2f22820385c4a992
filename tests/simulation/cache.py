"""The stand-in for `telewarden.storage.cache.Cache`: a process's way to the servers, and what can go wrong on it."""

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import trio

from simulation.servers import Request, Server, Servers
from simulation.weather import TIMEOUT_S, Fate, Spawn, Weather
from telewarden.messages import Key
from telewarden.storage.cache import (
    CacheUnavailable,
    Distrusted,
    HistoryChanged,
    Listed,
    Turn,
    Whole,
    Write,
)
from telewarden.storage.cache_errors import Kind, Problem

T = TypeVar("T")


class SimulatedCache:
    """As Cache. Each call goes to the server that the process is connected to, and to any that calls itself master
    after the connection was lost, or now and then without that: the real one has many connections.

    spawn: starts what goes on without the process. sentinels: somebody tells who the master is. cut: the process
    reaches no server. wanders: how likely a call goes over an older connection.
    """

    def __init__(
        self,
        servers: Servers,
        weather: Weather,
        spawn: Spawn,
        say: Callable[[str], None],
        *,
        sentinels: bool = False,
        wanders: float = 0.0,
    ) -> None:
        self._servers, self._weather, self._spawn, self._say = servers, weather, spawn, say
        self._rng: random.Random = weather.rng
        self._sentinels, self._wanders = sentinels, wanders
        self._server: Server | None = None
        self.cut = False
        self.problem: Problem | None = None

    @property
    def address(self) -> str:
        """As Cache.address."""
        return self._server.name if self._server is not None else "none"

    async def connect(self) -> str:
        """As Cache.connect."""
        if self._sentinels:
            self._server = self._servers.primary
        return await self.history()

    async def follow(self, moved: Callable[[], None]) -> None:
        """As Cache.follow."""
        while self._sentinels:
            await trio.sleep(self._rng.uniform(0.1, 2.0))
            if self._server is not None and self._server is not self._servers.primary:
                moved()

    async def history(self) -> str:
        """As Cache.history."""

        def request(server: Server, _: float) -> tuple[bool, str]:
            return server.master, server.history

        master, history = await self._ask(request)
        if not master:
            self._server = None
            raise CacheUnavailable("the server is a replica, not a master")
        return history

    async def keeps(self) -> None:
        """As Cache.keeps: these servers throw nothing away."""
        await self._ask(lambda server, _: True)

    async def apply(self, history: str, writes: Iterable[Write], turn: Turn | None = None) -> None:
        """As Cache.apply."""
        given = tuple(writes)
        self._held(
            await self._ask(lambda server, now_s: server.apply(history, turn, given, now_s), writes=True)
        )

    async def read(
        self, mark: str, channel_id: int, limit: int, *, listed: bool = False, ask: Sequence[int] = ()
    ) -> Whole | Listed | Distrusted:
        """As Cache.read."""
        return await self._ask(
            # It takes a mark away which it finds to be wrong.
            lambda server, now_s: server.read(mark, channel_id, limit, listed, ask, now_s),
            writes=True,
        )

    async def read_proven(
        self, history: str, channel_id: int, limit: int, *, needs_plain: bool
    ) -> Whole | Listed | Distrusted:
        """As Cache.read_proven."""
        return await self.read(f"{history}:*:{'plain' if needs_plain else ''}", channel_id, limit)

    async def has_mark(self, history: str) -> bool:
        """As Cache.has_mark."""
        mark = await self._ask(lambda server, now_s: server.mark(now_s))
        return mark is not None and mark.startswith(f"{history}:")

    async def drop_mark(self, history: str) -> bool:
        """As Cache.drop_mark."""
        return await self._ask(lambda server, _: server.drop_mark(history), writes=True)

    async def taken_in(self, keys: Sequence[Key]) -> set[Key]:
        """As Cache.taken_in."""
        by_channel: dict[int, list[int]] = {}
        for key in keys:
            by_channel.setdefault(key.channel_id, []).append(key.message_id)
        return {Key(c, n) for c, ids in by_channel.items() for n in await self.seen(c, ids)}

    async def seen(self, channel_id: int, message_ids: Sequence[int]) -> set[int]:
        """As Cache.seen."""
        return await self._ask(lambda server, now_s: server.has_seen(channel_id, message_ids, now_s))

    async def done(self, keys: Sequence[Key]) -> set[Key]:
        """As Cache.done."""
        return await self._ask(lambda server, now_s: {key for key in keys if server.is_done(key, now_s)})

    async def clear(self, mark: str, channel_ids: Iterable[int] = ()) -> None:
        """As Cache.clear."""
        given = tuple(channel_ids)
        self._held(await self._ask(lambda server, _: server.clear(mark, given), writes=True))

    async def set_mark(self, mark: str, lease_ms: int) -> None:
        """As Cache.set_mark."""
        lease_s = lease_ms / 1000
        self._held(
            await self._ask(
                lambda server, now_s: server.set_mark(mark, lease_s, now_s, renew=False), writes=True
            )
        )

    async def renew(self, mark: str, lease_ms: int) -> None:
        """As Cache.renew."""
        lease_s = lease_ms / 1000
        self._held(
            await self._ask(
                lambda server, now_s: server.set_mark(mark, lease_s, now_s, renew=True), writes=True
            )
        )

    def lose(self) -> None:
        """The connection is gone."""
        self._server = None

    def _held(self, held: bool) -> None:
        if not held:
            raise HistoryChanged("the cache's replication history changed, or the mark is gone")

    async def _ask(self, request: Request[T], *, writes: bool = False) -> T:
        server = self._choose()
        execute = partial(self._execute, server, request, writes)
        if self._weather.is_late():
            self._spawn(self._late, server, execute, self._rng.uniform(TIMEOUT_S, 2.0))
            await trio.sleep(TIMEOUT_S)
            raise self._failed("timed out")
        await self._weather.trip()
        if self.cut:
            await trio.sleep(TIMEOUT_S)
            raise self._failed("timed out")
        if not server.up:
            raise self._failed("connection refused")
        if server.frozen:
            server.buffered.append(execute)
            await trio.sleep(TIMEOUT_S)
            raise self._failed("timed out")
        fate = self._weather.fate()
        if fate is Fate.LOST:
            raise self._failed("connection reset")
        answer = execute()
        await self._weather.trip()
        if fate is Fate.DONE_UNANSWERED or self.cut or not server.up:
            raise self._failed("connection reset")
        return answer

    def _execute(self, server: Server, request: Request[T], writes: bool) -> T:
        return self._servers.execute(server, request, trio.current_time(), writes=writes)

    async def _late(self, server: Server, execute: Callable[[], object], after_s: float) -> None:
        await trio.sleep(after_s)
        if server.up and not server.frozen:
            execute()

    def _choose(self) -> Server:
        masters = self._servers.masters
        if self._wanders and masters and self._rng.random() < self._wanders:
            return self._rng.choice(masters)
        if self._server is None and masters:
            self._server = self._rng.choice(masters)
        return self._server or self._servers.primary

    def _failed(self, text: str) -> CacheUnavailable:
        self._server = None
        self._say(f"cache: {text}")
        self.problem = Problem(Kind.UNREACHABLE, text)
        return CacheUnavailable(self.problem)
