"""One batch of the journal into the database: one transaction, the same merge as everywhere, harmless to repeat."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from asyncpg import UniqueViolationError

from telewarden.messages import (
    Acknowledged,
    Content,
    Deleted,
    Edited,
    Event,
    Key,
    Posted,
    State,
    key_of,
    merge,
    message_uuid,
)
from telewarden.storage.pool import Connection
from telewarden.storage.rows import (
    KEY_COLUMNS,
    MESSAGE_COLUMNS,
    at,
    message_columns,
    message_row,
    state_of,
    us_of,
)
from telewarden.storage.statements import statement
from telewarden.storage.tail import Record

NO_JOURNAL = 0
"""The epoch of what a process commits that keeps no journal."""


class LostRace(Exception):
    """Another process inserted the same message meanwhile; the batch must be repeated."""


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a batch did. arrived: posts that were not certainly new, that the database did not have and that wait now,
    as certain ones; each followed by its newest content, if it was edited meanwhile."""

    inserted: int
    changed: int
    arrived: Sequence[Posted | Edited]


@dataclass(frozen=True, slots=True)
class _Change:
    key: Key
    position: int
    kind: str
    at_us: int


@dataclass(slots=True)
class _Found:
    state: State | None
    epoch: int
    position: int


async def write_batch(connection: Connection, records: Sequence[Record], epoch: int) -> Flushed:
    """Store records in one transaction. epoch: of their journal, or NO_JOURNAL: then they have no positions, and their
    deletions wait for one. Raises LostRace, and whatever asyncpg raises."""
    by_key: dict[Key, list[Record]] = {}
    for record in records:
        by_key.setdefault(key_of(record.event), []).append(record)
    async with connection.transaction():
        await connection.execute(statement("begin_batch"), any(isinstance(r.event, Posted) for r in records))
        found = await _lock(connection, list(by_key))
        acknowledged = await _early_acknowledgements(connection, [k for k in by_key if k not in found])
        inserts: list[tuple[State, int]] = []
        updates: list[State] = []
        arrived: list[Posted | Edited] = []
        revisions: list[tuple[Key, int, Content]] = []
        changes: list[_Change] = []
        for key, events in by_key.items():
            before = found.get(key)
            state = before.state if before is not None else None
            merged = state
            for record in events:
                kind = None
                if before is None or not precedes(record.position, epoch, before.epoch, before.position):
                    kind = kind_of_change(merged, record.event)
                merged = merge(merged, record.event)
                if kind is not None:
                    changes.append(_Change(key, record.position, kind, record.accepted_at_us))
            for early in acknowledged.get(key, ()) if before is None else ():
                merged = merge(merged, early)
            first = _inserting(events, before, epoch)
            if before is None and merged is not None and merged.exists and first is not None:
                inserts.append((_with_id(merged), first.position))
            elif state is not None and merged is not None and merged != state:
                # The row's chunk is fixed by its first insertion.
                updates.append(msgspec.structs.replace(merged, created_at_us=state.created_at_us))
            if first is not None and isinstance(first.event, Posted) and not first.event.new:
                arrived += words(first.event, merged)
            if merged is not None and merged.exists:
                revisions += _earlier(key, state, events, merged)
        await _insert(connection, inserts, epoch)
        await _update(connection, updates)
        await _acknowledge(connection, records)
        await _revise(connection, revisions)
        await _record(connection, changes, epoch)
        if epoch == NO_JOURNAL:
            await _hand_over(connection, records)
    return Flushed(len(inserts), len(updates), arrived)


def precedes(position: int, epoch: int, of_epoch: int, of_position: int) -> bool:
    """Something was accepted before its message, which an earlier try of this same batch has brought: it was nothing
    then and is nothing now."""
    return epoch == of_epoch and position < of_position


def kind_of_change(state: State | None, event: Event) -> str | None:
    """What an event is in the feed, beside the insertion of its message; None where it changes nothing there."""
    if state is None or not state.exists:
        return None
    match event:
        case Edited() | Posted() if event.version > state.version:
            return "edited"
        case Deleted():
            return "deleted"
        case _:
            return None


def _inserting(events: Sequence[Record], before: _Found | None, epoch: int) -> Record | None:
    """The record that brings this message into the database: now, or in an earlier try of this same batch."""
    posts = [record for record in events if isinstance(record.event, Posted)]
    if before is None:
        return posts[0] if posts else None
    return next((r for r in posts if (before.epoch, before.position) == (epoch, r.position)), None)


def words(post: Posted, merged: State | None) -> list[Posted | Edited]:
    """The post, and its newest content: an edit may have been stored together with it, or before. Nothing of one that
    is done with already."""
    if merged is None or merged.content is None or not merged.pending:
        return []
    certain = msgspec.structs.replace(post, new=True, vouched=True)
    if merged.version <= post.version:
        return [certain]
    return [certain, Edited(*merged.key, merged.content, merged.version, merged.updated_at_us)]


def _with_id(state: State) -> State:
    return state if state.id is not None else msgspec.structs.replace(state, id=message_uuid(*state.key))


def _earlier(
    key: Key, state: State | None, events: Sequence[Record], merged: State
) -> list[tuple[Key, int, Content]]:
    if state is None and len(events) == 1:
        return []
    contents = {
        record.event.version: record.event.content
        for record in events
        if isinstance(record.event, Posted | Edited)
    }
    if state is not None and state.content is not None:
        contents[state.version] = state.content
    return [(key, version, content) for version, content in contents.items() if version < merged.version]


async def _lock(connection: Connection, keys: Sequence[Key]) -> dict[Key, _Found]:
    pairs = [str(k.channel_id) for k in keys], [k.message_id for k in keys]
    stored = await connection.fetch(statement("lock_keys"), *pairs)
    if not stored:
        return {}
    rows = await connection.fetch(
        statement("states"), [row["channel_id"] for row in stored], [row["message_id"] for row in stored]
    )
    found = {}
    for row in rows:
        state = state_of(row) if row["status"] is not None else None
        found[Key(int(row["channel_id"]), row["message_id"])] = _Found(state, row["epoch"], row["position"])
    return found


async def _early_acknowledgements(
    connection: Connection, keys: Sequence[Key]
) -> dict[Key, list[Acknowledged]]:
    if not keys:
        return {}
    rows = await connection.fetch(
        statement("acknowledged"), [str(k.channel_id) for k in keys], [k.message_id for k in keys]
    )
    early: dict[Key, list[Acknowledged]] = {}
    for row in rows:
        key = Key(int(row["channel_id"]), row["message_id"])
        event = Acknowledged(*key, row["consumer"], us_of(row["acknowledged_at"]))
        early.setdefault(key, []).append(event)
    return early


async def _insert(connection: Connection, inserts: Sequence[tuple[State, int]], epoch: int) -> None:
    if not inserts:
        return
    states = [state for state, _ in inserts]
    keys = [
        (
            str(state.channel_id),
            state.message_id,
            state.id,
            at(state.created_at_us or 0),
            state.version,
            at(state.status_at_us),
            epoch,
            position,
        )
        for state, position in inserts
    ]
    try:
        await _copy(connection, "message_keys", KEY_COLUMNS, keys)
    except UniqueViolationError as error:
        raise LostRace(f"another process stored some of these messages meanwhile ({error.detail})") from error
    await _copy(connection, "messages", MESSAGE_COLUMNS, [message_row(state) for state in states])


async def _copy(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Rows by COPY, which costs half of an INSERT."""
    await connection.copy_records_to_table(
        table, schema_name="telegram_gateway", columns=columns, records=rows
    )


async def _update(connection: Connection, updates: Sequence[State]) -> None:
    if not updates:
        return
    await connection.execute(
        statement("update_keys"),
        [str(s.channel_id) for s in updates],
        [s.message_id for s in updates],
        [s.version for s in updates],
        [at(s.status_at_us) for s in updates],
    )
    await connection.execute(statement("update_messages"), *message_columns(updates))


async def _acknowledge(connection: Connection, records: Sequence[Record]) -> None:
    latest: dict[tuple[Key, str], int] = {}
    for record in records:
        if isinstance(record.event, Acknowledged):
            name = (key_of(record.event), record.event.consumer)
            latest[name] = max(latest.get(name, 0), record.event.at_us)
    if latest:
        await connection.execute(
            statement("acknowledge"),
            [str(key.channel_id) for key, _ in latest],
            [key.message_id for key, _ in latest],
            [consumer for _, consumer in latest],
            [at(us) for us in latest.values()],
        )


async def _revise(connection: Connection, revisions: Sequence[tuple[Key, int, Content]]) -> None:
    if revisions:
        await connection.execute(
            statement("revise"),
            [str(key.channel_id) for key, _, _ in revisions],
            [key.message_id for key, _, _ in revisions],
            [version for _, version, _ in revisions],
            [content.text for _, _, content in revisions],
            [content.caption for _, _, content in revisions],
            [content.media_type for _, _, content in revisions],
            [content.media_refs.decode() for _, _, content in revisions],
            [content.metadata.decode() for _, _, content in revisions],
        )


async def _record(connection: Connection, changes: Sequence[_Change], epoch: int) -> None:
    if changes and epoch != NO_JOURNAL:
        await connection.execute(
            statement("record_changes"),
            [str(change.key.channel_id) for change in changes],
            epoch,
            [change.position for change in changes],
            [change.key.message_id for change in changes],
            [change.kind for change in changes],
            [at(change.at_us) for change in changes],
        )


async def _hand_over(connection: Connection, records: Sequence[Record]) -> None:
    deletions = [record.event for record in records if isinstance(record.event, Deleted)]
    if deletions:
        await connection.execute(
            statement("hand_over"),
            [str(event.channel_id) for event in deletions],
            [event.message_id for event in deletions],
            [at(event.at_us) for event in deletions],
            [event.reason for event in deletions],
        )
