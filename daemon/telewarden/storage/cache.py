"""The cache through redis-py: a few atomic scripts, each of which first makes sure of the server that it runs on."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from itertools import chain
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import redis.asyncio
from redis.exceptions import RedisError

from telewarden.messages import Key, State, message_uuid
from telewarden.storage.cache_errors import Kind, Problem, classify, problem
from telewarden.storage.cache_servers import (
    CacheAddress,
    FixedServer,
    SentinelServers,
    Servers,
    client_for,
)

T = TypeVar("T")
ANSWER_BYTES = 8 * 1024 * 1024
"""The most that a poll takes from the cache: more may not come within its time-out, which would look like an outage."""
RECENT_LENGTH = 1_000
"""How many message ids `telegram:channel:{id}:recent` keeps."""


_FAILED = (RedisError, OSError, TimeoutError, RuntimeError)
"""RuntimeError: uvloop's word for a transport that was closed while it was written to."""
_LISTEN_S = 1.0

_REPLICATES = "if redis.replicate_commands then redis.replicate_commands() end\n"
"""Redis 6.2 may be told (`lua-replicate-commands no`) to repeat scripts on replicas, and then lets none write after
INFO; newer ones always repeat what a script did."""


class CacheUnavailable(Exception):
    """The cache does not do what it is asked, or not in time; it may have happened all the same.

    what: what is wrong; in words only, for a server that is not even asked.
    """

    def __init__(self, what: Problem | str) -> None:
        self.problem = what if isinstance(what, Problem) else Problem(Kind.UNREACHABLE, what)
        super().__init__(self.problem.text)


class HistoryChanged(Exception):
    """The server is no longer the master in the replication history that was warmed."""


class Operation(StrEnum):
    """What can happen to a message in the cache; see lua/apply.lua."""

    PEND = "pend"
    BODY = "body"
    SEEN = "seen"
    DROP = "drop"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Write:
    """One operation on one message. body: wire JSON; needed for PEND and BODY, optional for DONE.

    certain: the state's id is that of the member in the pending set; without, DONE looks for it.
    """

    operation: Operation
    state: State
    body: bytes = b""
    certain: bool = True


class Turn(NamedTuple):
    """Whose write it is: which warm's, and its number, greater with each.

    A write that its caller gave up on may come late, after others; then it changes nothing any more.
    """

    warm: str
    number: int


@dataclass(frozen=True, slots=True)
class Whole:
    """The bodies of a channel's pending messages, oldest first."""

    bodies: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pending message. id: which decides between equal times of arrival. body: None where it has expired."""

    message_id: int
    received_at_us: int
    id: UUID
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A channel's pending messages one by one, oldest first; and which of the ids that were asked about are done."""

    waiting: Sequence[Waiting]
    done: frozenset[int]


@dataclass(frozen=True, slots=True)
class Distrusted:
    """The cache holds no proof that it is complete; reason: why, in words."""

    reason: str


def member_of(state: State) -> str:
    """A message in its channel's pending set: its id (36 characters; equal times sort by it) and its message id."""
    return f"{state.id or message_uuid(*state.key)}:{state.message_id}"


class Cache:
    """The cache's few atomic operations. Made by `open_cache`.

    Its methods raise CacheUnavailable; those that name a history raise HistoryChanged if the server's is another.
    """

    def __init__(
        self,
        servers: Servers,
        client_of: Callable[[CacheAddress], "redis.asyncio.Redis"],
        *,
        prefix: str,
        body_ttl_s: int,
        dedup_ttl_s: int,
        tombstone_ttl_s: int,
        pending_bound: int,
    ) -> None:
        self._servers, self._client_of = servers, client_of
        self.address: CacheAddress | None = None
        """The server that is asked; None before the first `connect`."""
        self.errors: Counter[Kind] = Counter()
        """What was wrong, how often."""
        self.problem: Problem | None = None
        """What was wrong the last time."""
        self._server: _Server | None = None
        self._prefix = prefix
        self._settings = (body_ttl_s, tombstone_ttl_s, dedup_ttl_s, pending_bound, RECENT_LENGTH)

    async def connect(self) -> str:
        """Find the master and ask it from now on; returns its replication history, as `history` does."""
        try:
            address = await self._servers.master()
        except RedisError as error:
            raise self._unavailable(Problem(Kind.NO_MASTER, str(error))) from error
        if address != self.address:
            before, self._server = self._server, _Server(self._client_of(address))
            self.address = address
            if before is not None:
                # Who still waits for an answer of the old one gets none, and asks the database.
                await before.client.aclose()
        return await self.history()

    async def follow(self, moved: Callable[[], None]) -> None:
        """Tell when the master is another server than the one that is asked. Without Sentinel it ends at once."""

        def named(address: CacheAddress) -> None:
            if self.address is not None and address != self.address:
                moved()

        await self._servers.follow(named)

    async def close(self) -> None:
        """Close all connections."""
        if self._server is not None:
            await self._server.client.aclose()
        await self._servers.close()

    async def history(self) -> str:
        """The replication history (master_replid) of the master that is connected. Raises CacheUnavailable also
        for a replica, a node of a cluster, and a server that throws keys away."""
        info: dict[str, Any] = await self._call(self._connected().client.info())
        if info.get("role") != "master":
            raise self._unavailable(problem(Kind.READONLY))
        if info.get("cluster_enabled"):
            raise self._unavailable(problem(Kind.CLUSTER))
        self._must_keep(info)
        history = info.get("master_replid")
        if history is None:
            raise self._unavailable(
                Problem(
                    Kind.OTHER,
                    "the server does not tell its replication history (master_replid in INFO), without which nothing "
                    "in it can be proven; use one that does",
                )
            )
        return str(history)

    async def keeps(self) -> None:
        """Make sure that the server throws no keys away. Raises CacheUnavailable."""
        self._must_keep(await self._call(self._connected().client.info("memory")))

    def _must_keep(self, memory: dict[str, Any]) -> None:
        # Also volatile-*, which leaves the pending sets: a tombstone that is thrown away lets a message wait again.
        policy = memory.get("maxmemory_policy", "not told")
        if int(memory.get("maxmemory", 0)) > 0 and policy != "noeviction":
            raise self._unavailable(problem(Kind.EVICTS, f"maxmemory-policy is {policy}"))

    async def apply(self, history: str, writes: Iterable[Write], turn: Turn | None = None) -> None:
        """Apply operations, all or none. turn: None for those that are right at any time.

        Raises HistoryChanged also where the turn is over: after a FLUSHALL, or when another warm began.
        """
        arguments: list[str | bytes | int] = [self._prefix, history, *(turn or ("", 0)), *self._settings]
        for write in writes:
            arguments += self._arguments(write)
        if await self._run("apply", arguments) != 1:
            raise HistoryChanged("the cache's replication history changed, or it was flushed")

    def _arguments(self, write: Write) -> list[str | bytes | int]:
        state = write.state
        date_us = state.content.telegram_date_us if state.content is not None else None
        return [
            write.operation.value,
            str(state.channel_id),
            str(state.message_id),
            member_of(state) if write.certain else f"?{member_of(state)}",
            state.received_at_us or 0,
            write.body,
            "" if date_us is None else date_us // 1000,
        ]

    async def read(
        self, mark: str, channel_id: int, limit: int, *, listed: bool = False, ask: Sequence[int] = ()
    ) -> Whole | Listed | Distrusted:
        """A channel's pending messages, if the given mark proves them complete.

        listed: give them one by one even if all bodies are there. ask: message ids to look up tombstones for.
        """
        arguments = [self._prefix, mark, str(channel_id), limit, "1" if listed else "0", ANSWER_BYTES, *ask]
        answer = _answer(await self._run("read", arguments), ask)
        if isinstance(answer, Distrusted) and answer.reason == "wrong type":
            self._unavailable(problem(Kind.WRONG_TYPE))
        return answer

    async def read_proven(
        self, history: str, channel_id: int, limit: int, *, needs_plain: bool
    ) -> Whole | Listed | Distrusted:
        """The same for a process that sets no marks: whoever's mark proves them, in this history.

        needs_plain: only if every waiting message is a plain one (see only_plain.sql).
        """
        return await self.read(f"{history}:*:{'plain' if needs_plain else ''}", channel_id, limit)

    async def has_mark(self, history: str) -> bool:
        """Whether somebody's mark proves the cache complete, in this history."""
        mark = await self._call(self._connected().client.get(f"{self._prefix}mark"))
        return mark is not None and mark.startswith(f"{history}:".encode())

    async def drop_mark(self, history: str) -> bool:
        """Take the proof away, so that the ingest process warms anew. Whether there was one, in this history."""
        return bool(await self._run("mark", [self._prefix, f"{history}:", 0, "drop"]))

    async def seen(self, channel_id: int, message_ids: Sequence[int]) -> set[int]:
        """Which messages of a channel are known to have been taken in; see `taken_in`."""
        found = await self.taken_in([Key(channel_id, message_id) for message_id in message_ids])
        return {key.message_id for key in found}

    async def taken_in(self, keys: Sequence[Key]) -> set[Key]:
        """Which messages are known to have been taken in; of the others nothing is known. Needs no proof: what is there
        was put there by who took it in."""
        if not keys:
            return set()
        names = [f"{self._prefix}dedup:{key.channel_id}:{key.message_id}" for key in keys]
        found = await self._call(self._connected().client.mget(names))
        return {key for key, value in zip(keys, found, strict=True) if value is not None}

    async def done(self, keys: Sequence[Key]) -> set[Key]:
        """Which of some messages have a tombstone."""
        if not keys:
            return set()
        names = [f"{self._prefix}done:{key.channel_id}:{key.message_id}" for key in keys]
        found = await self._call(self._connected().client.mget(names))
        return {key for key, value in zip(keys, found, strict=True) if value is not None}

    async def clear(self, mark: str, channel_ids: Iterable[int] = ()) -> None:
        """Forget the mark and the pending sets, in one step: it is the turn of the warm that sets this mark in the end.

        channel_ids: of whom messages can be read afterwards.
        """
        if await self._run("clear", [self._prefix, mark, *map(str, channel_ids)]) != 1:
            raise HistoryChanged("the cache's replication history changed")

    async def set_mark(self, mark: str, lease_ms: int) -> None:
        """Declare the pending sets complete for so long. May be repeated. Raises HistoryChanged also where what the
        warm of this mark wrote is not all there any more."""
        if await self._run("mark", [self._prefix, mark, lease_ms, "set"]) != 1:
            raise HistoryChanged("the cache was emptied during the warm, or its replication history changed")

    async def renew(self, mark: str, lease_ms: int) -> None:
        """Declare them complete for so long from now; nothing for a lease that is not positive."""
        if await self._run("mark", [self._prefix, mark, lease_ms, "renew"]) != 1:
            raise HistoryChanged("the completeness mark is gone")

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return self._prefix

    async def ask(self, question: Callable[["redis.asyncio.Redis"], Awaitable[T]]) -> T:
        """Something else of the server: for operators, see `CacheKeys`."""
        answer: T = await self._call(question(self._connected().client))
        return answer

    async def announce(self, what: str) -> None:
        """Tell the processes that listen to `announcements` that there is news. A server that does not do this is well
        for all the rest, so it is no problem of the cache."""
        try:
            await self._connected().client.publish(f"{self._prefix}{what}", b"")
        except _FAILED as error:
            raise CacheUnavailable(classify(error)) from error

    async def announcements(self, what: str) -> AsyncIterator[None]:
        """Each time that news may have been announced, and first of all when the server listens; on a connection of its
        own, until that is lost."""
        try:
            async with self._connected().client.pubsub() as subscription:
                await subscription.subscribe(f"{self._prefix}{what}")
                while True:
                    if await subscription.get_message(timeout=_LISTEN_S) is not None:
                        yield
        except _FAILED as error:
            raise CacheUnavailable(classify(error)) from error

    def _connected(self) -> "_Server":
        if self._server is None:
            raise CacheUnavailable("not connected yet")
        return self._server

    async def _run(self, script: str, arguments: Sequence[str | bytes | int]) -> Any:
        return await self._call(self._connected().scripts[script](args=arguments))

    async def _call(self, call: Any) -> Any:
        try:
            return await call
        except _FAILED as error:
            raise self._unavailable(classify(error)) from error

    def _unavailable(self, what: Problem) -> CacheUnavailable:
        self.errors[what.kind] += 1
        self.problem = what
        return CacheUnavailable(what)


def _answer(answer: list[Any], ask: Sequence[int]) -> Whole | Listed | Distrusted:
    kind = answer[0].decode()
    if kind == "whole":
        return Whole(list(chain.from_iterable(answer[1])))
    if kind == "listed":
        scored = zip(answer[1][::2], answer[1][1::2], chain.from_iterable(answer[2]), strict=True)
        waiting = [
            Waiting(int(member[37:]), int(score), UUID(member[:36].decode()), body)
            for member, score, body in scored
        ]
        return Listed(waiting, frozenset(i for i, flag in zip(ask, answer[3], strict=True) if flag))
    return Distrusted(kind)


class _Server:
    """A client of one server, and the scripts that run there."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self.client = client
        self.scripts = {
            name: client.register_script(_source(name)) for name in ("apply", "read", "clear", "mark")
        }


def _source(name: str) -> str:
    script = files("telewarden.storage").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
    return _REPLICATES + script


@asynccontextmanager
async def open_cache(
    url: str,
    *,
    sentinels: Sequence[tuple[str, int]] = (),
    sentinel_username: str | None = None,
    sentinel_password: str | None = None,
    prefix: str = "telegram:",
    timeout_s: float = 0.25,
    body_ttl_s: int = 3600,
    dedup_ttl_s: int = 7200,
    tombstone_ttl_s: int = 7200,
    pending_bound: int = 10_000,
) -> AsyncIterator[Cache]:
    """The cache, whether it is up or not. Nothing connects before `Cache.connect`; nothing is retried in here.

    sentinels: who names the master; the URL's host is then the name of its group.
    """
    servers: Servers = FixedServer(url)
    if sentinels:
        name = (await servers.master()).host
        servers = SentinelServers(
            name,
            sentinels,
            url=url,
            timeout_s=timeout_s,
            username=sentinel_username,
            password=sentinel_password,
        )
    cache = Cache(
        servers,
        lambda address: client_for(url, address, timeout_s=timeout_s),
        prefix=prefix,
        body_ttl_s=body_ttl_s,
        dedup_ttl_s=dedup_ttl_s,
        tombstone_ttl_s=tombstone_ttl_s,
        pending_bound=pending_bound,
    )
    try:
        yield cache
    finally:
        await cache.close()
