"""What an operator does to the cache of a running daemon: look at it, warm it, compare it, empty it."""

import time
from collections.abc import AsyncGenerator, Callable

import anyio
import msgspec
import structlog

from telewarden.storage.answers import Answers
from telewarden.storage.breaker import Breaker
from telewarden.storage.cache import Cache, CacheUnavailable
from telewarden.storage.cache_keys import CacheKeys, Proof
from telewarden.storage.cache_sync import CacheSync, Progress
from telewarden.storage.cache_verify import CacheReport, CacheVerifier
from telewarden.storage.journal import Journal, wall_clock_us
from telewarden_http.protocols import Source

log = structlog.get_logger(__name__)

STILL_S = 60.0
"""A warm that does not move on for so long is no longer waited for."""
_LOOK_S = 0.2


class CacheRefused(Exception):
    """That cannot be done now; the message says why, and what to do."""


class WarmShown(msgspec.Struct, frozen=True, rename="camel"):
    """How far a warm is: messages written of about total; took_s: once it is over; blips: how often it waited for a
    store and went on from where it was."""

    written: int
    total: int
    step: str
    blips: int
    took_s: float | None


class ChannelWaiting(msgspec.Struct, frozen=True):
    """A channel's pending set. overflow: too many wait for the cache to serve them."""

    channel_id: int
    waiting: int
    overflow: bool


class CacheStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How the cache stands. Fields of the server are None, and problem says why, where it does not answer.

    reason: why polls are not answered by it; None if they are. mark: the completeness mark that is there, mark_ours:
    whether this daemon set it; lease_ms: how long it lasts unrenewed. waiting: in all pending sets. mirror: messages
    whose state is in memory; mirror_complete: all that wait. applied, head: positions in the journal; lag_events,
    lag_s: how far the cache is behind. warms: how many began. hit_rate: of all polls answered since the daemon began,
    those by the cache; None before the first.
    """

    server: str | None
    version: str | None
    problem: str | None
    history: str | None
    reason: str | None
    breaker: str
    mark: str | None
    mark_ours: bool
    lease_ms: int
    waiting: int
    mirror: int
    mirror_complete: bool
    applied: int
    head: int
    lag_events: int
    lag_s: float
    warms: int
    warm: WarmShown | None
    polls: dict[str, int]
    reasons: dict[str, int]
    seen_checks: dict[str, int]
    hit_rate: float | None


class CacheAdmin:
    """Acts for the operator. breaker: the Redis worker's."""

    def __init__(
        self,
        cache: Cache,
        sync: CacheSync,
        journal: Journal,
        verifier: CacheVerifier,
        answers: Answers,
        breaker: Breaker,
        *,
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._cache, self._sync, self._journal = cache, sync, journal
        self._verifier, self._answers, self._breaker = verifier, answers, breaker
        self._keys = CacheKeys(cache)
        self._clock_us = clock_us

    async def status(self) -> tuple[CacheStatus, list[ChannelWaiting]]:
        """As it is now. A server that does not answer is part of that."""
        version, problem, proof = None, None, Proof(None, 0)
        channels: list[ChannelWaiting] = []
        try:
            version, proof = await self._keys.version(), await self._keys.proof()
            channels = [ChannelWaiting(n, *found) for n, found in (await self._keys.waiting()).items()]
        except CacheUnavailable as error:
            problem = str(error)
        sync, journal, answers = self._sync, self._journal, self._answers
        behind = journal.tail.of_position(sync.applied + 1)
        status = CacheStatus(
            server=None if self._cache.address is None else str(self._cache.address),
            version=version,
            problem=problem,
            history=sync.history,
            reason=sync.reason,
            breaker=self._breaker.circuit.value,
            mark=proof.mark,
            mark_ours=sync.mark is not None and proof.mark == sync.mark.text,
            lease_ms=proof.lease_ms,
            waiting=sum(channel.waiting for channel in channels),
            mirror=len(sync.mirror),
            mirror_complete=sync.mirror.complete,
            applied=sync.applied,
            head=journal.head,
            lag_events=journal.head - sync.applied,
            lag_s=0.0 if behind is None else max(0.0, (self._clock_us() - behind.accepted_at_us) / 1_000_000),
            warms=sync.warms,
            warm=None if sync.progress is None else _shown(sync.progress),
            polls={source.value: answers.polls[source] for source in Source},
            reasons=dict(answers.reasons.most_common()),
            seen_checks={source.value: answers.seen[source] for source in Source},
            hit_rate=answers.hit_rate,
        )
        return status, channels

    async def warm(self) -> AsyncGenerator[WarmShown, None]:
        """Distrust the cache and follow the warm to its end; one that is under way is followed. Raises CacheRefused."""
        if self._sync.history is None:
            raise CacheRefused(
                f"the cache does not answer: {self._sync.reason}; it is warmed when it is back"
            )
        if self._sync.warm is None:
            before = self._sync.warms
            log.info("warm_asked_for")
            self._sync.distrust("an operator wants it warmed")
        else:
            before = self._sync.warms - 1
        async for shown in self._follow(before):
            yield shown

    async def _follow(self, before: int) -> AsyncGenerator[WarmShown, None]:
        """The first warm after so many that comes to its end."""
        moved_s, last = time.monotonic(), None
        while True:
            progress = self._sync.progress
            if progress is not None and progress.number > before:
                shown = _shown(progress)
                if shown != last:
                    moved_s, last = time.monotonic(), shown
                yield shown
                if shown.took_s is not None:
                    return
            if time.monotonic() - moved_s > STILL_S:
                raise CacheRefused(
                    f"the warm has not moved on for {STILL_S:g} s: {self._sync.reason}; it goes on by itself"
                )
            with anyio.move_on_after(_LOOK_S):
                await self._sync.changed.wait_until(lambda: self._sync.mark is not None)

    async def verify(self) -> AsyncGenerator[CacheReport, None]:
        """See `CacheVerifier.verify`."""
        async for report in self._verifier.verify():
            yield report

    async def flush(self) -> AsyncGenerator[tuple[int, int], None]:
        """Remove every key of this system, and no other: yields how many were removed, and how many others under the
        prefix were left. A warm follows by itself. Raises CacheRefused, CacheUnavailable."""
        if self._sync.history is None:
            raise CacheRefused(f"the cache does not answer: {self._sync.reason}")
        log.warning("cache_flush_asked_for", prefix=self._cache.prefix)
        removed = left = cursor = 0
        # Held, nothing is applied, and no warm begins that this would take keys from.
        async with self._sync.lock:
            self._sync.distrust("an operator has it emptied")
            while True:
                step = await self._keys.remove(cursor)
                removed, left, cursor = removed + step.ours, left + step.foreign, step.cursor
                yield removed, left
                if cursor == 0:
                    return


def _shown(progress: Progress) -> WarmShown:
    return WarmShown(progress.written, progress.total, progress.step, progress.blips, progress.took_s)
