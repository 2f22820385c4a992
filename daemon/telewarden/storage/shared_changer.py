"""Changes of single messages in a process of the role `api`: committed in the database, then told to the cache."""

from collections.abc import Callable
from uuid import UUID

from telewarden.messages import Deleted, Event, ReprocessRequested, State, merge
from telewarden.storage.cache import Cache
from telewarden.storage.changer import refuse_deleted
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import wall_clock_us
from telewarden.storage.render import render
from telewarden.storage.shared_cache import SharedCache, Told
from telewarden.storage.shared_commits import SharedCommits
from telewarden_http.protocols import Unavailable


class SharedChanger:
    """Changes messages without a journal. clock_s: seconds, as SharedCache's."""

    def __init__(
        self,
        database: Database,
        cache: Cache | None,
        shared: SharedCache,
        *,
        clock_s: Callable[[], float],
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._database = database
        self._commits = SharedCommits(database, cache, shared)
        self._clock_s, self._clock_us = clock_s, clock_us

    async def delete(self, message_id: UUID, reason: str | None) -> bytes | None:
        """Delete a message softly. Raises Unavailable."""
        state = await self._found(message_id)
        if state is None:
            return None
        key = state.key
        if state.deleted_at_us is None:
            state = await self._commit(state, lambda at_us: Deleted(*key, at_us, reason))
        return await self._told(state)

    async def reprocess(self, message_id: UUID, requested_by: str) -> bytes | None:
        """Have a message processed once more. Raises MessageIsDeleted, Unavailable."""
        state = await self._found(message_id)
        if state is None:
            return None
        refuse_deleted(state)
        changed = await self._commit(state, lambda at_us: ReprocessRequested(*state.key, requested_by, at_us))
        return await self._told(changed)

    async def _found(self, message_id: UUID) -> State | None:
        try:
            state = await self._database.by_id(message_id)
        except DatabaseUnavailable as error:
            raise Unavailable(
                "the database is down, and this process keeps changes there; try again"
            ) from error
        return state if state is not None and state.exists else None

    async def _commit(self, state: State, event: Callable[[int], Event]) -> State:
        # Not before what it changes, however the clocks of two machines differ.
        at_us = max(self._clock_us(), state.status_at_us + 1)
        change = event(at_us)
        await self._commits.commit([change], at_us)
        return merge(state, change)

    async def _told(self, state: State) -> bytes:
        """The answer, once the cache was told; also of what was done already, in case that it was not told then."""
        await self._commits.tell([Told(state.key, state.id, self._clock_s())])
        return render(state)
