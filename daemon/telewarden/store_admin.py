"""Cache, journal and the events that the database refused, as the administrator's routes have them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from telewarden.cache_admin import CacheAdmin
from telewarden.storage.answers import Answers
from telewarden.storage.cache import Cache, CacheUnavailable
from telewarden.storage.cache_keys import CacheKeys, Proof
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.journal import Journal, wall_clock_us
from telewarden.storage.journal_file import JournalError
from telewarden.storage.poison import NoSuchPoison, PoisonShelf
from telewarden.storage.shared_cache import SharedCache
from telewarden_http.protocols import Source, Unavailable
from telewarden_http.v1.administration_protocols import (
    CacheReport,
    CacheServer,
    NotThere,
    OnlyServes,
    PendingSet,
    Poisoned,
    PoisonList,
)
from telewarden_http.v1.overview_protocols import CacheView, JournalView, WarmView


class IngestStores:
    """Implements StoreAdmin where messages are taken in. cache: None, and so admin, where none is configured."""

    def __init__(
        self,
        journal: Journal,
        shelf: PoisonShelf,
        sync: CacheSync,
        cache: Cache | None,
        admin: CacheAdmin | None,
        answers: Answers,
        *,
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._journal, self._shelf = journal, shelf
        self._sync, self._cache, self._admin, self._answers = sync, cache, admin, answers
        self._clock_us = clock_us

    def cache_view(self) -> CacheView | None:
        """How the cache stands, as far as this process knows without asking; None without one."""
        if self._cache is None:
            return None
        sync, journal = self._sync, self._journal
        behind = journal.tail.of_position(sync.applied + 1)
        progress = sync.progress
        return CacheView(
            server=None if self._cache.address is None else str(self._cache.address),
            trusted=sync.reason is None,
            reason=sync.reason,
            lag_events=journal.head - sync.applied,
            lag_s=0.0 if behind is None else self._age_s(behind.accepted_at_us),
            warms=sync.warms,
            warm=None
            if progress is None or progress.took_s is not None
            else WarmView(written=progress.written, total=progress.total, step=progress.step),
            **_polls(self._answers),
        )

    def journal_view(self, poison: int | None) -> JournalView:
        """How the journal is. poison: how many events were set aside."""
        journal = self._journal
        oldest = journal.tail.of_position(journal.flushed + 1)
        salvaged = journal.salvaged
        try:
            room_bytes = journal.room_bytes
        except OSError:
            room_bytes = None
        return JournalView(
            epoch=str(journal.epoch or 0),
            head=str(journal.head),
            flushed=str(journal.flushed),
            backlog_events=journal.backlog,
            backlog_bytes=journal.unflushed_bytes,
            room_bytes=room_bytes,
            is_full=room_bytes == 0,
            oldest_waiting_s=0.0 if oldest is None else self._age_s(oldest.accepted_at_us),
            poison=poison,
            salvage=[] if salvaged is None else [salvaged.reason, *salvaged.problems],
        )

    async def cache(self) -> CacheReport:
        """See the protocol."""
        if self._admin is None:
            return CacheReport(cache=None, server=None)
        status, channels = await self._admin.status()
        server = CacheServer(
            version=status.version,
            problem=status.problem,
            history=status.history,
            breaker=status.breaker,
            mark=status.mark,
            mark_is_ours=status.mark_ours,
            lease_ms=status.lease_ms,
            pending=[
                PendingSet(channel=str(c.channel_id), waiting=c.waiting, overflow=c.overflow)
                for c in channels
            ],
        )
        return CacheReport(cache=self.cache_view(), server=server)

    async def journal(self) -> JournalView:
        """See the protocol."""
        return self.journal_view(await self.poisoned())

    async def poisoned(self) -> int | None:
        """How many events wait for a decision; None while the database does not answer."""
        try:
            return await self._shelf.count()
        except DatabaseUnavailable:
            return None

    async def poison(self) -> PoisonList:
        """See the protocol."""
        try:
            rows, total = await self._shelf.rows()
        except DatabaseUnavailable as error:
            raise Unavailable(str(error)) from error
        events = [
            Poisoned(
                id=row.id,
                channel=str(row.channel_id),
                message_id=str(row.message_id),
                kind=row.kind,
                since=row.since,
                error=row.error,
            )
            for row in rows
        ]
        return PoisonList(events=events, total=total)

    async def retry(self, ids: Sequence[str]) -> int:
        """See the protocol."""
        return await _decided(self._shelf.retry, ids)

    async def drop(self, ids: Sequence[str]) -> int:
        """See the protocol."""
        return await _decided(self._shelf.drop, ids)

    def _age_s(self, at_us: int) -> float:
        return round(max(0.0, (self._clock_us() - at_us) / 1_000_000), 3)


class ServingStores:
    """Implements StoreAdmin in a process that only serves. cache: None where none is configured."""

    def __init__(self, shared: SharedCache, cache: Cache | None, answers: Answers) -> None:
        self._shared, self._cache, self._answers = shared, cache, answers
        self._keys = None if cache is None else CacheKeys(cache)

    def cache_view(self) -> CacheView | None:
        """See `IngestStores.cache_view`."""
        if self._cache is None:
            return None
        return CacheView(
            server=None if self._cache.address is None else str(self._cache.address),
            trusted=self._shared.reason is None,
            reason=self._shared.reason,
            lag_events=None,
            lag_s=None,
            warms=None,
            warm=None,
            **_polls(self._answers),
        )

    async def cache(self) -> CacheReport:
        """See the protocol."""
        if self._keys is None:
            return CacheReport(cache=None, server=None)
        version, problem, proof = None, None, Proof(None, 0)
        pending: list[PendingSet] = []
        try:
            version, proof = await self._keys.version(), await self._keys.proof()
            pending = [
                PendingSet(channel=str(channel), waiting=waiting, overflow=overflow)
                for channel, (waiting, overflow) in (await self._keys.waiting()).items()
            ]
        except CacheUnavailable as error:
            problem = str(error)
        server = CacheServer(
            version=version,
            problem=problem,
            history=self._shared.history,
            breaker=None,
            mark=proof.mark,
            mark_is_ours=False,
            lease_ms=proof.lease_ms,
            pending=pending,
        )
        return CacheReport(cache=self.cache_view(), server=server)

    async def journal(self) -> JournalView:
        """Raises OnlyServes."""
        raise OnlyServes("There is no journal here")

    async def poison(self) -> PoisonList:
        """Raises OnlyServes."""
        raise OnlyServes("Refused events are looked after where the journal is")

    async def retry(self, ids: Sequence[str]) -> int:
        """Raises OnlyServes."""
        raise OnlyServes("Refused events are accepted again into the journal")

    async def drop(self, ids: Sequence[str]) -> int:
        """Raises OnlyServes."""
        raise OnlyServes("Refused events are looked after where the journal is")


async def _decided(decide: Callable[[Sequence[str]], Awaitable[int]], ids: Sequence[str]) -> int:
    try:
        return await decide(ids)
    except NoSuchPoison as error:
        raise NotThere(str(error)) from error
    except (DatabaseUnavailable, JournalError) as error:
        raise Unavailable(str(error)) from error


def _polls(answers: Answers) -> dict[str, Any]:
    """The members of a CacheView that tell how polls were answered."""
    return {
        "polls": {source.value: answers.polls[source] for source in Source},
        "reasons": dict(answers.reasons.most_common()),
        "hit_rate": None if answers.hit_rate is None else round(answers.hit_rate, 4),
    }
