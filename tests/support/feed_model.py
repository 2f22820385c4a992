"""The journal, and what the writer makes of it in the database, in memory: what the feed is told by."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import asyncpg
import msgspec

from telewarden.messages import Content, Deleted, Edited, Event, Key, Posted, State, key_of, merge
from telewarden.storage.acceptance import Channel, Gone, Known, Observation, Seen, accept
from telewarden.storage.batch import kind_of_change, precedes, words
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.feed_store import Change, FeedStore
from telewarden.storage.rows import MESSAGE_COLUMNS, at, message_row
from telewarden.storage.signal import Signal
from telewarden.storage.tail import Record, Tail
from telewarden_http.v1.feed_protocols import KINDS
from telewarden_http.v1.token import BEGINNING, Position

CHANNEL = -1001


class Row(dict[str, Any]):
    """As asyncpg.Record: can be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.values()))


def row_of(state: State) -> asyncpg.Record:
    """A message as the database gives it."""
    row = Row(zip(MESSAGE_COLUMNS, message_row(state), strict=True))
    row |= {"content_version": state.version, "status_at": at(state.status_at_us)}
    return cast(asyncpg.Record, row)


class ModelJournal:
    """As storage.journal's, as far as the feed looks at it. forget: the tail keeps nothing that the database has."""

    def __init__(self, epoch: int | None = None) -> None:
        self.epoch = epoch
        self.flushed = 0
        self.tail = Tail()
        self.changed = Signal()
        self.forgets = False
        self._known: dict[Key, Known] = {}
        self._channel = Channel(CHANNEL)

    @property
    def head(self) -> int:
        return self.tail.head

    def observe(self, *observations: Observation) -> None:
        """What the listener saw."""
        for observation in observations:
            key = Key(observation.channel_id, observation.message_id)
            now_us = self.head * 1_000 + 1_000
            events, after, self._channel = accept(observation, self._known.get(key), self._channel, now_us)
            if after is not None:
                self._known[key] = after
            self.append(*events)

    def append(self, *events: Event) -> None:
        """Accept events as they are."""
        for event in events:
            self.tail.extend([Record(self.head + 1, event, self.head * 1_000 + 1_000, 1)])
        self.changed.fire()

    def prune(self) -> None:
        """Only the database knows older messages now, as after many others, or after the journal was lost."""
        self._known.clear()
        self._channel = msgspec.structs.replace(self._channel, floor=self._channel.top)


class ModelStore(FeedStore):
    """As the writer fills the database, and as the feed reads it. events: what it has recorded."""

    def __init__(self) -> None:
        self.up = True
        self.states: dict[Key, State] = {}
        self.at: dict[Key, Position] = {}
        self.events: list[Change] = []
        self.floor_at = BEGINNING
        self.asked = 0
        self.refused: set[int] = set()
        self.on_set_aside: Callable[[Key], None] = lambda key: None

    def flush(self, journal: ModelJournal, count: int, *, committed_only: bool = False) -> None:
        """A batch of the writer. committed_only: the process dies before it could note that."""
        if not self.up:
            return
        journal.epoch = journal.epoch or 1
        records = journal.tail.after(journal.flushed, count)
        if not records:
            return
        by_key: dict[Key, list[Record]] = {}
        for record in records:
            by_key.setdefault(key_of(record.event), []).append(record)
        arrived: list[Posted | Edited] = []
        for key, own in by_key.items():
            for record in [record for record in own if record.position in self.refused]:
                own.remove(record)
                self.on_set_aside(key)
            arrived += self._store(key, own, journal.epoch)
        self.events.sort(key=lambda change: change.position)
        if committed_only:
            return
        flushed = records[-1].position
        if arrived:
            keys = {key_of(event) for event in arrived}
            later = [r.event for k in keys for r in journal.tail.of_message(k) if r.position > flushed]
            journal.append(*arrived, *(event for event in later if not isinstance(event, Posted)))
        journal.flushed = flushed
        if journal.forgets:
            journal.tail.forget(flushed)
        journal.changed.fire()

    def _store(self, key: Key, records: Sequence[Record], epoch: int) -> list[Posted | Edited]:
        state = before = self.states.get(key)
        for record in records:
            stored_at = self.at.get(key)
            kind = None
            if stored_at is None or not precedes(record.position, epoch, *stored_at):
                kind = kind_of_change(state, record.event)
            state = merge(state, record.event)
            if kind is not None:
                self._record(Position(epoch, record.position), kind, key, record.accepted_at_us)
        posts = [record for record in records if isinstance(record.event, Posted)]
        if before is None:
            first = posts[0] if posts else None
            if first is not None and state is not None and state.exists:
                self.at[key] = Position(epoch, first.position)
                self._record(self.at[key], "posted", key, first.event.received_at_us)  # type: ignore[union-attr]
        else:
            first = next((r for r in posts if Position(epoch, r.position) == self.at[key]), None)
        if state is not None and state.exists:
            self.states[key] = state
        if first is not None and isinstance(first.event, Posted) and not first.event.new:
            return words(first.event, state)
        return []

    def _record(self, position: Position, kind: str, key: Key, at_us: int) -> None:
        deleted = any(change.kind == kind == "deleted" and change.key == key for change in self.events)
        if not deleted and all(change.position != position for change in self.events):
            self.events.append(Change(position, kind, key, at_us, None))

    async def page(
        self,
        after: Position,
        limit: int,
        channels: Sequence[int] | None = None,
        kinds: Collection[str] = KINDS,
    ) -> list[Change]:
        self._ask()
        found = [
            Change(change.position, change.kind, change.key, change.at_us, row_of(self.states[change.key]))
            for change in self.events
            if change.position > after
            and change.kind in kinds
            and (channels is None or change.key.channel_id in channels)
        ]
        return found[:limit]

    async def kept_page(
        self,
        after: Position,
        limit: int,
        channels: Sequence[int] | None = None,
        kinds: Collection[str] = KINDS,
    ) -> tuple[list[Change], Position]:
        return await self.page(after, limit, channels, kinds), self.floor_at

    async def head(self) -> Position:
        self._ask()
        return self.events[-1].position if self.events else BEGINNING

    async def floor(self) -> Position:
        self._ask()
        return self.floor_at

    def _ask(self) -> None:
        self.asked += 1
        if not self.up:
            raise DatabaseUnavailable("the database is down")


def seen(message_id: int, text: str, edit_date_s: int = 0) -> Seen:
    """A post as Telegram shows it."""
    return Seen(CHANNEL, message_id, Content(text=text), edit_date_s)


def gone(message_id: int) -> Gone:
    """It is deleted there."""
    return Gone(CHANNEL, message_id)


def deleted(message_id: int, at_us: int) -> Deleted:
    """A deletion as another process hands it over."""
    return Deleted(CHANNEL, message_id, at_us, "spam")
