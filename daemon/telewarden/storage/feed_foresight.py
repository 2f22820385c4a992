"""What will be an event of the feed, told from the journal before the database has it. Pure.

The database has the last word: a post is an event where it was inserted, an edit where it raised the stored version, a
deletion once, and only of a message that is stored. This says the same as far as it follows from what is known, and
stops at the first record of which it does not follow.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from telewarden.messages import (
    Acknowledged,
    Deleted,
    Edited,
    Event,
    Key,
    Posted,
    ReprocessRequested,
    State,
    key_of,
    lift,
    merge,
)
from telewarden.storage.feed_store import Change
from telewarden.storage.render import render, render_row
from telewarden.storage.rows import state_of
from telewarden.storage.tail import Record
from telewarden_http.v1.feed_protocols import DELETED, EDITED, POSTED, FeedEvent
from telewarden_http.v1.token import Position, encode
from telewarden_http.wire import iso_ms

MOST_KNOWN = 20_000


@dataclass(slots=True)
class _Known:
    """A stored message. deleted: its deletion was an event already; None where that is not known."""

    state: State
    deleted: bool | None


class Foresight:
    """Follows the feed's order through `learn` and `foresee`; knows the messages that it met last."""

    def __init__(self, *, most_known: int = MOST_KNOWN) -> None:
        self._most_known = most_known
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    def learn(self, changes: Sequence[Change]) -> list[FeedEvent]:
        """The events that the database holds, of those whose message is still there."""
        events = []
        for change in changes:
            if change.row is None:
                continue
            state = state_of(change.row)
            before = self._known.get(change.key)
            if change.kind == DELETED or (before is not None and before.deleted):
                deleted: bool | None = True
            else:
                # One that another process has deleted gets its event later.
                deleted = False if state.deleted_at_us is None else None
            self._keep(change.key, _Known(state, deleted))
            events.append(
                event_of(change.position, change.kind, change.key, change.at_us, render_row(change.row))
            )
        return events

    def foresee(self, epoch: int, records: Iterable[Record]) -> tuple[list[FeedEvent], int | None]:
        """The events that records of a journal will be, and the position up to which that is certain; None where it
        is not even of the first."""
        events: list[FeedEvent] = []
        reached = None
        for record in records:
            event, key = record.event, key_of(record.event)
            kind = self._kind(event, key)
            if kind is None:
                break
            reached = record.position
            if kind:
                at_us = event.received_at_us if isinstance(event, Posted) else record.accepted_at_us
                body = render(self._known[key].state)
                events.append(event_of(Position(epoch, record.position), kind, key, at_us, body))
        return events, reached

    def forget(self, key: Key) -> None:
        """The database refused something of a message: what becomes of it now only the database can say."""
        self._known.pop(key, None)

    def _kind(self, event: Event, key: Key) -> str | None:
        """What a record will be; empty for nothing, None where only the database can say."""
        known = self._known.get(key)
        if known is None:
            return self._kind_of_unknown(event, key)
        kind = ""
        match event:
            case Posted() | Edited() if event.version > known.state.version:
                kind = EDITED
            case Deleted() if known.deleted is None:
                return None
            case Deleted() if not known.deleted:
                kind = DELETED
        self._keep(key, _Known(merge(known.state, event), known.deleted or kind == DELETED))
        return kind

    def _kind_of_unknown(self, event: Event, key: Key) -> str | None:
        match event:
            case Posted(vouched=True) | Acknowledged() | ReprocessRequested():
                return ""
            case Posted(new=True):
                self._keep(key, _Known(lift(event), False))
                return POSTED
            case _:
                return None

    def _keep(self, key: Key, known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > self._most_known:
            self._known.popitem(last=False)


def event_of(position: Position, kind: str, key: Key, at_us: int, message: bytes) -> FeedEvent:
    """An event with its JSON. message: the message object of the contract."""
    body = (
        f'{{"id":"{encode(position)}","kind":"{kind}","channel":"{key.channel_id}","messageId":"{key.message_id}",'
        f'"at":"{iso_ms(at_us)}","message":'
    )
    return FeedEvent(position, key.channel_id, kind, body.encode() + message + b"}")
