"""Acknowledgements of a process of the role `api`: committed in the database, then told to the cache."""

from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

from telewarden.messages import Acknowledged, Key, State
from telewarden.storage.cache import Cache, CacheUnavailable
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import wall_clock_us
from telewarden.storage.requested import channels_meant, unambiguous
from telewarden.storage.shared_cache import SharedCache, Told
from telewarden.storage.shared_commits import SharedCommits
from telewarden_http.protocols import Marked, MarkProcessed, Unavailable


class SharedAcknowledger:
    """Takes acknowledgements without a journal. channel_ids: may change. clock_s: seconds, as SharedCache's."""

    def __init__(
        self,
        database: Database,
        cache: Cache | None,
        shared: SharedCache,
        *,
        channel_ids: Collection[int],
        clock_s: Callable[[], float],
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._database, self._cache, self._shared = database, cache, shared
        self._commits = SharedCommits(database, cache, shared)
        self._channel_ids = channel_ids
        self._clock_s, self._clock_us = clock_s, clock_us

    async def mark_processed(self, request: MarkProcessed) -> Marked:
        """Acknowledge messages: when this returns, it is committed.

        Raises UnknownChannel, AmbiguousMessage (nothing is changed), Unavailable.
        """
        wanted = tuple(dict.fromkeys(request.message_ids))
        channels = channels_meant(request.channel, self._channel_ids, request.readable)
        candidates = [Key(c, n) for c in channels for n in wanted]
        try:
            stored = await self._database.by_keys(candidates)
        except DatabaseUnavailable as error:
            raise _unavailable() from error
        waiting: dict[Key, UUID | None] = {key: state.id for key, state in stored.items() if state.waits}
        done = {key: state.id for key, state in stored.items() if not state.waits}
        # Also of an id that waits somewhere: it may wait elsewhere too, and is ambiguous then.
        missing = [key for key in candidates if key not in stored]
        early = await self._not_stored_yet(wanted, missing, stored, blind=request.channel is not None)
        acknowledged = await self._done(early)
        waiting |= dict.fromkeys(key for key in early if key not in acknowledged)
        done |= dict.fromkeys(acknowledged)
        keys = unambiguous(waiting)
        if keys:
            await self._commit(keys, stored, request.processed_by)
        # Those too that were done already: an earlier answer may have been lost before the cache was told.
        told = [Told(key, row_id, self._clock_s()) for key, row_id in done.items()]
        await self._commits.tell([*told, *(Told(key, waiting[key], self._clock_s()) for key in keys)])
        return Marked(len(request.message_ids), len(keys))

    async def _done(self, keys: Sequence[Key]) -> set[Key]:
        """Which of some messages are acknowledged already, although they are not stored yet."""
        try:
            return await self._database.done(keys)
        except DatabaseUnavailable as error:
            raise _unavailable() from error

    async def _not_stored_yet(
        self, wanted: Sequence[int], missing: Sequence[Key], stored: Collection[Key], *, blind: bool
    ) -> Sequence[Key]:
        """Which of the missing were served from the cache before the writer had stored them.

        blind: the channel is certain, so that a cache which cannot be asked is no obstacle.
        """
        if self._cache is None or not missing:
            return []
        history = self._shared.history
        try:
            if history is None:
                raise CacheUnavailable(self._shared.reason or "not connected")
            return sorted(await self._cache.taken_in(missing))
        except CacheUnavailable as error:
            self._shared.disconnected(str(error), history)
            if blind:
                return missing
            if all(any(key.message_id == n for key in stored) for n in wanted):
                return []
            raise Unavailable(
                "the cache is down, so the channel of ids that are not stored yet cannot be found; "
                'send "channel" with the request, or try again'
            ) from error

    async def _commit(self, keys: Sequence[Key], stored: Mapping[Key, State], consumer: str) -> None:
        # Not before what it changes, however the clocks of two machines differ.
        now_us = max([self._clock_us(), *(stored[key].status_at_us + 1 for key in keys if key in stored)])
        await self._commits.commit([Acknowledged(*key, consumer, now_us) for key in keys], now_us)


def _unavailable() -> Unavailable:
    return Unavailable("the database is down, and this process keeps acknowledgements there; try again")
