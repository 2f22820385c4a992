"""The cache's keys looked at one by one, for operators: what a poll never needs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from telewarden.messages import Key
from telewarden.storage.cache import Cache

SCANNED_AT_ONCE = 500
_OURS = re.compile(
    rb"(msg|dedup|done):-?\d+:\d+|(pending|overflow):-?\d+|channel:-?\d+:recent|counts|mark|channels"
)
"""The keys of this system, after the prefix; `channels` was one of version 0.1.0. Others are somebody else's."""
_GLOB = re.compile(r"([*?\[\]\\^-])")


@dataclass(frozen=True, slots=True)
class Proof:
    """The completeness mark that is there, whoever set it, and for how long; lease_ms: 0 without one."""

    mark: str | None
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Removed:
    """What one step of a removal did. foreign: keys under the prefix that are none of ours, and stay. cursor: where the
    next step begins; 0 after the last."""

    ours: int
    foreign: int
    cursor: int


class CacheKeys:
    """Reads and removes keys of the connected server. Its methods raise CacheUnavailable."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._prefix = cache.prefix

    async def version(self) -> str:
        """Which server that is, such as "valkey 8.1.0" or "redis 7.2.4"."""
        info: dict[str, Any] = await self._cache.ask(lambda client: client.info("server"))
        name = str(info.get("server_name", "redis"))
        return f"{name} {info.get(f'{name}_version', info.get('redis_version', 'of unknown version'))}"

    async def proof(self) -> Proof:
        """The mark and its lease."""

        async def question(client: "redis.asyncio.Redis") -> list[Any]:
            async with client.pipeline(transaction=True) as pipe:
                pipe.get(f"{self._prefix}mark")
                pipe.pttl(f"{self._prefix}mark")
                answer: list[Any] = await pipe.execute()
            return answer

        mark, lease_ms = await self._cache.ask(question)
        return Proof(None if mark is None else mark.decode(), max(0, lease_ms))

    async def waiting(self) -> dict[int, tuple[int, bool]]:
        """How many messages wait in each channel that has a pending set, and whether those are too many to serve."""

        async def question(client: "redis.asyncio.Redis") -> dict[int, tuple[int, bool]]:
            counted: list[Any] = list(await client.hkeys(f"{self._prefix}counts"))
            channels = sorted(int(name) for name in counted if name.lstrip(b"-").isdigit())
            async with client.pipeline(transaction=False) as pipe:
                for channel in channels:
                    pipe.zcard(f"{self._prefix}pending:{channel}")
                    pipe.exists(f"{self._prefix}overflow:{channel}")
                answers = await pipe.execute()
            return {channel: (answers[2 * n], bool(answers[2 * n + 1])) for n, channel in enumerate(channels)}

        return await self._cache.ask(question)

    async def members(self, channel_id: int, after: tuple[int, int], limit: int) -> list[tuple[str, int]]:
        """Members of a pending set and their scores, in order. after: (score, how many of that score to skip)."""
        name = f"{self._prefix}pending:{channel_id}"
        found: list[Any] = await self._cache.ask(
            lambda client: client.zrangebyscore(
                name, after[0], "+inf", start=after[1], num=limit, withscores=True
            )
        )
        return [(member.decode(), int(score)) for member, score in found]

    async def scores(self, members: Sequence[tuple[int, str]]) -> list[int | None]:
        """The score of each (channel id, member); None for one that is not there."""

        async def question(client: "redis.asyncio.Redis") -> list[Any]:
            async with client.pipeline(transaction=False) as pipe:
                for channel_id, member in members:
                    pipe.zscore(f"{self._prefix}pending:{channel_id}", member)
                answer: list[Any] = await pipe.execute()
            return answer

        found = await self._cache.ask(question) if members else []
        return [None if score is None else int(score) for score in found]

    async def bodies(self, keys: Sequence[Key]) -> list[bytes | None]:
        """The bodies of messages; None for one that has expired."""
        names = [f"{self._prefix}msg:{key.channel_id}:{key.message_id}" for key in keys]
        found: list[Any] = await self._cache.ask(lambda client: client.mget(names)) if names else []
        return found

    async def done(self, keys: Sequence[Key]) -> set[Key]:
        """Which messages have a tombstone."""
        return await self._cache.done(keys)

    async def remove(self, cursor: int) -> Removed:
        """One step of removing every key of ours, and no other."""
        pattern = _GLOB.sub(r"\\\1", self._prefix) + "*"
        cut = len(self._prefix.encode())

        async def question(client: "redis.asyncio.Redis") -> Removed:
            following, found = await client.scan(cursor, match=pattern, count=SCANNED_AT_ONCE)
            names: list[bytes] = [bytes(name) for name in found]  # type: ignore[arg-type]
            ours = [name for name in names if _OURS.fullmatch(name[cut:])]
            removed = await client.unlink(*ours) if ours else 0
            return Removed(int(removed), len(names) - len(ours), int(following))

        return await self._cache.ask(question)
