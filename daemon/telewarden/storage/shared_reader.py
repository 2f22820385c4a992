"""The reader of a process of the role `api`: the cache if somebody has proven it complete, else the database.

There is no journal to overlay: what the ingest process has accepted is seen here once it is in one of the two, which
takes milliseconds, and a lease at most while the cache hangs.
"""

from collections.abc import Callable, Collection, Sequence
from uuid import UUID

from telewarden.messages import Key
from telewarden.storage.cache import Cache, CacheUnavailable, Distrusted, Listed, Whole
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.reader import PLAIN_STATUSES, CacheCannotAnswer, listed
from telewarden.storage.render import render, render_row
from telewarden.storage.requested import served_channel
from telewarden.storage.shared_cache import SharedCache
from telewarden_http.protocols import (
    Listing,
    ListQuery,
    Page,
    Source,
    Unavailable,
    UnprocessedQuery,
)


class SharedReader:
    """Answers polls. channel_ids: of which channels; may change. on_answer, on_seen: told, for the metrics, which
    source answered a poll, why the cache did not, and of how many messages it said whether they were seen."""

    def __init__(
        self,
        database: Database,
        cache: Cache | None,
        shared: SharedCache,
        *,
        channel_ids: Collection[int],
        on_answer: Callable[[Source, str | None], None] = lambda source, reason: None,
        on_seen: Callable[[Source, int], None] = lambda source, count: None,
    ) -> None:
        self._database, self._cache, self._shared = database, cache, shared
        self._channel_ids = channel_ids
        self._on_answer, self._on_seen = on_answer, on_seen

    async def unprocessed(self, query: UnprocessedQuery) -> Page:
        """The waiting messages of one channel. Raises UnknownChannel, Unavailable with both stores down."""
        channel_id = served_channel(query.channel, self._channel_ids)
        history = self._shared.history
        reason: str | None = None
        try:
            page = await self._from_cache(channel_id, query)
        except CacheCannotAnswer as error:
            reason = str(error)
            page = await self._from_database(channel_id, query)
        except CacheUnavailable as error:
            self._shared.disconnected(str(error), history)
            reason = "unavailable"
            page = await self._from_database(channel_id, query)
        self._on_answer(page.source, reason)
        return page

    async def _from_database(self, channel_id: int, query: UnprocessedQuery) -> Page:
        try:
            rows = await self._database.waiting(
                channel_id, query.statuses, query.exclude_processed_by, query.limit
            )
        except DatabaseUnavailable as error:
            raise Unavailable("database and cache are down; try again") from error
        return Page([render_row(row) for row in rows], Source.DATABASE, len(rows))

    async def listed(self, query: ListQuery) -> Listing:
        """Stored messages of any status. Raises Unavailable."""
        return await listed(self._database, query)

    async def seen(self, channel: str, message_ids: Sequence[int]) -> set[int]:
        """Which messages were taken in: by what the cache knows, else the database. Raises UnknownChannel, Unavailable.

        What the ingest process took in this moment may be in neither yet.
        """
        channel_id = served_channel(channel, self._channel_ids)
        seen: set[int] = set()
        history = self._shared.history
        if self._cache is not None and history is not None:
            try:
                seen = await self._cache.seen(channel_id, message_ids)
            except CacheUnavailable as error:
                self._shared.disconnected(str(error), history)
        unsure = [n for n in message_ids if n not in seen]
        if unsure:
            try:
                seen |= await self._database.stored(channel_id, unsure)
            except DatabaseUnavailable as error:
                raise Unavailable(
                    "the database is down, and only it knows whether these messages were seen; try again"
                ) from error
        self._on_seen(Source.CACHE, len(message_ids) - len(unsure))
        self._on_seen(Source.DATABASE, len(unsure))
        return seen

    async def message(self, message_id: UUID) -> bytes | None:
        """One message by its id. Raises Unavailable."""
        try:
            state = await self._database.by_id(message_id)
        except DatabaseUnavailable as error:
            raise Unavailable("the database is down; try again") from error
        return render(state) if state is not None and state.exists else None

    async def _from_cache(self, channel_id: int, query: UnprocessedQuery) -> Page:
        history = self._shared.readable
        if self._cache is None or history is None:
            raise CacheCannotAnswer("no cache" if self._cache is None else self._shared.standing)
        if frozenset(query.statuses) not in PLAIN_STATUSES:
            raise CacheCannotAnswer("other statuses")
        needs_plain = query.exclude_processed_by is not None or len(query.statuses) > 1
        answer = await self._cache.read_proven(history, channel_id, query.limit, needs_plain=needs_plain)
        match answer:
            case Distrusted(reason):
                raise CacheCannotAnswer(reason)
            case Whole(bodies):
                return Page(bodies, Source.CACHE, len(bodies))
            case Listed():
                serve = await self._completed(channel_id, answer)
                return Page(serve, Source.CACHE, len(serve))

    async def _completed(self, channel_id: int, listed: Listed) -> list[bytes]:
        """The bodies, those that have expired from the database."""
        expired = [Key(channel_id, each.message_id) for each in listed.waiting if each.body is None]
        try:
            states = await self._database.by_keys(expired)
        except DatabaseUnavailable as error:
            raise CacheCannotAnswer("a body has expired") from error
        bodies = []
        for each in listed.waiting:
            if each.body is not None:
                bodies.append(each.body)
                continue
            state = states.get(Key(channel_id, each.message_id))
            if state is None:
                raise CacheCannotAnswer("a body has expired")
            if state.pending:
                bodies.append(render(state))
        return bodies
