"""The reader: the cache if it is proven complete, else the database, each overlaid with the events that it has not
got yet; with neither, what the journal's tail and this process's memory have. The order matters: first the overlay is
noted, then the source is read.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from operator import itemgetter
from uuid import UUID

from telewarden.messages import Key, Posted, State, key_of, message_uuid
from telewarden.storage.cache import Cache, CacheUnavailable, Distrusted, Listed, Whole
from telewarden.storage.cache_sync import CacheSync, Memory
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import Journal
from telewarden.storage.overlay import overlay, removals, sure_posts
from telewarden.storage.render import render, render_row
from telewarden.storage.requested import served_channel
from telewarden.storage.rows import state_of
from telewarden.storage.tail import Record, fold
from telewarden_http.protocols import (
    Listing,
    ListQuery,
    Page,
    Source,
    Unavailable,
    UnprocessedQuery,
)

PLAIN_STATUSES = (frozenset({"received"}), frozenset({"received", "queued"}))
"""The polls that the pending sets can answer."""


class CacheCannotAnswer(Exception):
    """The cache holds no proof for this poll; the message is the reason."""


class Reader:
    """Answers polls. channel_ids: of which channels; may change. on_answer, on_seen: told, for the metrics, which
    source answered a poll, why the cache did not, and of how many messages it said whether they were seen."""

    def __init__(
        self,
        journal: Journal,
        database: Database,
        cache: Cache | None,
        sync: CacheSync,
        *,
        channel_ids: Collection[int],
        on_answer: Callable[[Source, str | None], None] = lambda source, reason: None,
        on_seen: Callable[[Source, int], None] = lambda source, count: None,
    ) -> None:
        self._journal, self._database, self._cache, self._sync = journal, database, cache, sync
        self._channel_ids = channel_ids
        self._on_answer, self._on_seen = on_answer, on_seen

    async def unprocessed(self, query: UnprocessedQuery) -> Page:
        """The waiting messages of one channel. Raises UnknownChannel."""
        channel_id = served_channel(query.channel, self._channel_ids)
        history = self._sync.history
        reason: str | None = None
        try:
            page = await self._from_cache(channel_id, query)
        except CacheCannotAnswer as error:
            reason = str(error)
            page = await self._from_elsewhere(channel_id, query)
        except CacheUnavailable as error:
            # Told at once, so that a frozen server costs one poll its time-out and not each until it is noticed.
            self._sync.disconnected(str(error), history)
            reason = "unavailable"
            page = await self._from_elsewhere(channel_id, query)
        self._on_answer(page.source, reason)
        return page

    async def listed(self, query: ListQuery) -> Listing:
        """Stored messages of any status, as the database has them: tens of milliseconds behind what was accepted, more
        while the writer catches up. Raises Unavailable."""
        return await listed(self._database, query)

    async def seen(self, channel: str, message_ids: Sequence[int]) -> set[int]:
        """Which messages were taken in: by the journal's tail, what the cache knows, else the database.

        Raises UnknownChannel, Unavailable when only the database could say and it is down.
        """
        channel_id = served_channel(channel, self._channel_ids)
        seen = {n for n in message_ids if self._journal.tail.has_post(Key(channel_id, n))}
        unsure = [n for n in message_ids if n not in seen]
        counts = {Source.JOURNAL: len(message_ids) - len(unsure)}
        history = self._sync.history
        if unsure and self._cache is not None and history is not None:
            try:
                seen |= await self._cache.seen(channel_id, unsure)
            except CacheUnavailable as error:
                self._sync.disconnected(str(error), history)
            counts[Source.CACHE] = len(unsure)
            unsure = [n for n in unsure if n not in seen]
            counts[Source.CACHE] -= len(unsure)
        if unsure:
            try:
                # What was in the tail above may be flushed and gone from it meanwhile, and is found here.
                seen |= await self._database.stored(channel_id, unsure)
            except DatabaseUnavailable as error:
                raise Unavailable(
                    "the database is down, and only it knows whether these messages were seen; try again"
                ) from error
            counts[Source.DATABASE] = len(unsure)
        for source, count in counts.items():
            self._on_seen(source, count)
        return seen

    async def message(self, message_id: UUID) -> bytes | None:
        """One message by its id. Raises Unavailable when only the database could say and it is down."""
        state = await self.state(message_id)
        return None if state is None else render(state)

    async def state(self, message_id: UUID) -> State | None:
        """The state of one message that has arrived. Raises Unavailable."""
        key = self._journal.tail.key(message_id)
        try:
            if key is None:
                stored = await self._database.by_id(message_id)
                if stored is None:
                    return None
                key = stored.key
            records = self._journal.tail.of_message(key)
            # Read after the overlay is noted: what is flushed meanwhile is in at least one of the two.
            states = await self._database.by_keys([key])
        except DatabaseUnavailable as error:
            if key is None:
                raise Unavailable(
                    "the database is down and the message is not a recent one; try again"
                ) from error
            records = self._journal.tail.of_message(key)
            states = {}
            if not any(isinstance(record.event, Posted) for record in records):
                raise Unavailable(
                    "the database is down and the message is not a recent one; try again"
                ) from None
        state = fold(records, states).get(key)
        return state if state is not None and state.exists else None

    async def _from_cache(self, channel_id: int, query: UnprocessedQuery) -> Page:
        mark = self._sync.trusted
        if self._cache is None or mark is None:
            raise CacheCannotAnswer("no cache" if self._cache is None else self._sync.standing)
        if frozenset(query.statuses) not in PLAIN_STATUSES:
            raise CacheCannotAnswer("other statuses")
        if not mark.plain and (query.exclude_processed_by is not None or len(query.statuses) > 1):
            raise CacheCannotAnswer("not only plain messages wait")
        if self._journal.tail.first > self._sync.applied + 1:
            raise CacheCannotAnswer("behind the journal")
        records = self._journal.tail.of_channel(channel_id, self._sync.applied)
        answer = await self._cache.read(
            mark.text,
            channel_id,
            query.limit + len(removals(records)),
            listed=bool(records),
            ask=[key.message_id for key in sure_posts(records)],
        )
        match answer:
            case Distrusted(reason):
                raise CacheCannotAnswer(reason)
            case Whole(bodies):
                return Page(bodies, Source.CACHE, len(bodies))
            case Listed():
                serve = (await self._overlaid(channel_id, answer, records))[: query.limit]
                return Page(serve, Source.CACHE, len(serve))

    async def _overlaid(self, channel_id: int, listed: Listed, records: Sequence[Record]) -> list[bytes]:
        """The cache's bodies, with the events that it has not got yet, and the bodies that have expired."""
        touched = {key_of(record.event) for record in records}
        answer: dict[Key, tuple[int, UUID, bytes]] = {}
        needed: list[Key] = []
        for waiting in listed.waiting:
            key = Key(channel_id, waiting.message_id)
            if waiting.body is None or key in touched:
                needed.append(key)
            else:
                answer[key] = (waiting.received_at_us, waiting.id, waiting.body)
        states = await self._states(needed)
        # The server may have lost the tombstones, this process remembers the latest.
        done = {Key(channel_id, message_id) for message_id in listed.done}
        done |= {key for key in touched if self._sync.mirror.is_done(key)}
        merged = overlay(states, records, done)
        for key in (*needed, *touched):
            state = merged.get(key)
            if state is not None and state.pending:
                answer[key] = (*_place(state), render(state))
        return [body for _, _, body in sorted(answer.values(), key=itemgetter(0, 1))]

    async def _states(self, keys: Sequence[Key]) -> dict[Key, State]:
        """The states of messages in the pending set: from memory, else from the database with the journal's tail."""
        mirrored = {key: self._sync.mirror.get(key) for key in keys}
        states = {key: state for key, state in mirrored.items() if state is not None}
        missing = frozenset(keys) - states.keys()
        if missing:
            own = [record for key in missing for record in self._journal.tail.of_message(key)]
            try:
                stored = await self._database.by_keys(list(missing))
            except DatabaseUnavailable as error:
                raise CacheCannotAnswer("a body has expired") from error
            states |= overlay(stored, own, frozenset())
            if not missing <= states.keys():
                raise CacheCannotAnswer("a body has expired")
        return states

    async def _from_elsewhere(self, channel_id: int, query: UnprocessedQuery) -> Page:
        try:
            return await self._from_database(channel_id, query)
        except DatabaseUnavailable:
            return self._from_tail(channel_id, query)

    async def _from_database(self, channel_id: int, query: UnprocessedQuery) -> Page:
        records = self._journal.tail.of_channel(channel_id, self._journal.flushed)
        touched = {key_of(record.event) for record in records}
        rows = await self._database.waiting(
            channel_id, query.statuses, query.exclude_processed_by, query.limit + len(touched)
        )
        if not records:
            return Page([render_row(row) for row in rows], Source.DATABASE, len(rows))
        states = {state.key: state for state in map(state_of, rows)}
        elsewhere = [key for key in touched if key not in states]
        # A message that only the overlay mentions may be stored with another status, or be acknowledged already.
        states |= await self._database.by_keys(elsewhere) if elsewhere else {}
        done = await self._database.done([key for key in elsewhere if key not in states])
        if done:
            # Stored only now: of other statuses than those that wait, it belongs into the answer all the same.
            states |= await self._database.by_keys(list(done))
        merged = overlay(states, records, done)
        return _page(merged.values(), query, Source.DATABASE)

    def _from_tail(self, channel_id: int, query: UnprocessedQuery) -> Page:
        """Without a store: what this process has in memory of the cache, and the journal's events since; without such a
        memory the journal's tail alone, which lacks older messages."""
        memory = self._sync.memory
        if memory is None or not self._remembers(memory, query):
            memory = Memory({}, 0, plain=True)
        records = self._journal.tail.of_channel(channel_id, memory.position)
        done = {key for key in (key_of(r.event) for r in records) if self._sync.mirror.is_done(key)}
        merged = overlay(memory.states.get(channel_id, {}), records, done)
        return _page(merged.values(), query, Source.JOURNAL)

    def _remembers(self, memory: Memory, query: UnprocessedQuery) -> bool:
        """Memory has all that this poll asks for, and the journal all that came since."""
        received_alone = query.exclude_processed_by is None and len(query.statuses) == 1
        return (
            frozenset(query.statuses) in PLAIN_STATUSES
            and (memory.plain or received_alone)
            and self._journal.tail.first <= memory.position + 1
        )


def _page(states: Iterable[State], query: UnprocessedQuery, source: Source) -> Page:
    serve = sorted((state for state in states if _matches(state, query)), key=_place)[: query.limit]
    return Page([render(state) for state in serve], source, len(serve))


def _place(state: State) -> tuple[int, UUID]:
    """Where a message comes in an answer: by its arrival, of equal ones by its id."""
    return state.received_at_us or 0, state.id or message_uuid(*state.key)


async def listed(database: Database, query: ListQuery) -> Listing:
    """Stored messages of any status. Raises Unavailable."""
    try:
        rows, total = await database.listed(query)
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, TimeoutError):
            raise Unavailable(
                'the list took too long; narrow it with "channelId", "from" and "to", or try again'
            ) from error
        raise Unavailable("the database is down, and only it can list messages; try again") from error
    bodies = [render_row(row) for row in rows[: query.limit]]
    return Listing(bodies, len(rows) > query.limit, total)


def _matches(state: State, query: UnprocessedQuery) -> bool:
    return (
        state.exists
        and state.deleted_at_us is None
        and state.effective_status in query.statuses
        and (query.exclude_processed_by is None or state.processed_by != query.exclude_processed_by)
    )
