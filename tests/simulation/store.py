"""What the simulated database holds, and what each SQL statement of storage/sql does to it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from telewarden.messages import Key
from telewarden.storage.rows import KEY_COLUMNS, MESSAGE_COLUMNS
from telewarden.storage.signal import Signal
from telewarden.storage.statements import statement

FLOOR = datetime(1970, 1, 1, tzinfo=UTC)
"""The poll floor: it never moves here."""


class Row(dict[str, Any]):
    """As asyncpg.Record: values by name; can be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.values()))


Values = dict[str, Any]
_WAITING = ("received", "queued")


@dataclass
class Store:
    """The tables. batches: transactions of write_batch under way, and which bring messages.

    Switches of the tests that break rules: early_acknowledgements: it is looked up whether a message was acknowledged
    before it came; batches_meet: those that bring messages run one at a time.
    """

    keys: dict[Key, Values] = field(default_factory=dict)
    messages: dict[tuple[UUID, datetime], Values] = field(default_factory=dict)
    acknowledged: dict[tuple[Key, str], datetime] = field(default_factory=dict)
    up: bool = True
    frozen: bool = False
    thawed: Signal = field(default_factory=Signal)
    early_acknowledgements: bool = True
    locks: dict[Key, object] = field(default_factory=dict)
    unlocked: Signal = field(default_factory=Signal)
    batches: dict[object, bool] = field(default_factory=dict)
    batches_meet: bool = True

    def mend(self) -> None:
        """It is up and answers."""
        self.up, self.frozen = True, False
        self.thawed.fire()

    def may_begin(self, owner: object, *, alone: bool) -> bool:
        """No batch is under way that this one may not run beside."""
        others = [exclusive for batch, exclusive in self.batches.items() if batch is not owner]
        return not (any(others) or (alone and others)) or not self.batches_meet

    def unlock(self, owner: object) -> None:
        """A transaction is over."""
        for key in [key for key, holder in self.locks.items() if holder is owner]:
            del self.locks[key]
        self.batches.pop(owner, None)
        self.unlocked.fire()

    def waiting(self) -> set[Key]:
        """Which messages wait, by its word."""
        return {
            _key(row["channel_id"], row["message_id"])
            for row in self.messages.values()
            if row["status"] == "received" and row["deleted_at"] is None
        }

    def row(self, key: Key) -> Values | None:
        """A message's row, if it is stored."""
        found = self.keys.get(key)
        return None if found is None else self.messages.get((found["id"], found["created_at"]))

    def state_row(self, message: Values) -> Row:
        """The columns {state} of a message."""
        key = self.keys.get(_key(message["channel_id"], message["message_id"]), {})
        return Row(message, content_version=key.get("content_version"), status_at=key.get("status_at"))

    def ordered(self, rows: Iterable[Values]) -> list[Values]:
        """By received_at, then id."""
        return sorted(rows, key=lambda row: (row["received_at"], row["id"].int))


def _key(channel_id: str, message_id: int) -> Key:
    return Key(int(channel_id), message_id)


def keys_of(channels: Sequence[str], ids: Sequence[int]) -> list[Key]:
    return [_key(*pair) for pair in zip(channels, ids, strict=True)]


def _waiting_open(
    store: Store, channel: str, statuses: Sequence[str], consumer: str | None, limit: int, _: datetime
) -> list[Row]:
    rows = [
        row
        for row in store.messages.values()
        if row["channel_id"] == channel
        and row["status"] in _WAITING
        and row["status"] in statuses
        and row["deleted_at"] is None
        and (consumer is None or msgspec.json.decode(row["metadata"]).get("processed_by") != consumer)
    ]
    found = [Row(store.state_row(row), poll_floor=FLOOR) for row in store.ordered(rows)[:limit]]
    return found or [Row(id=None, poll_floor=FLOOR)]


def _by_keys(store: Store, channels: Sequence[str], ids: Sequence[int]) -> list[Row]:
    rows = (store.row(key) for key in keys_of(channels, ids))
    return [store.state_row(row) for row in rows if row is not None]


def _done(store: Store, channels: Sequence[str], ids: Sequence[int]) -> list[Row]:
    acknowledged = {key for key, _ in store.acknowledged}
    found = []
    for key in keys_of(channels, ids):
        row = store.row(key)
        ended = row is not None and (row["status"] != "received" or row["deleted_at"] is not None)
        if ended or key in acknowledged:
            found.append(Row(channel_id=str(key.channel_id), message_id=key.message_id))
    return found


def _pending_page(store: Store, at: datetime, id_: UUID, limit: int, channel: str, _: datetime) -> list[Row]:
    rows = [
        row
        for row in store.messages.values()
        if row["status"] == "received"
        and row["deleted_at"] is None
        and row["channel_id"] == channel
        and (row["received_at"], row["id"].int) > (at, id_.int)
    ]
    return [store.state_row(row) for row in store.ordered(rows)[:limit]]


def _pending_count(store: Store, channels: Sequence[str], _: datetime) -> list[Row]:
    return [Row(count=sum(str(key.channel_id) in channels for key in store.waiting()))]


def _only_plain(store: Store, _: datetime) -> list[Row]:
    plain = not any(
        row["status"] in _WAITING
        and row["deleted_at"] is None
        and (row["status"] == "queued" or "processed_by" in msgspec.json.decode(row["metadata"]))
        for row in store.messages.values()
    )
    return [Row(plain=plain)]


def _stored(store: Store, channel: str, ids: Sequence[int]) -> list[Row]:
    return [Row(message_id=i) for i in ids if _key(channel, i) in store.keys]


def _lock_keys(store: Store, channels: Sequence[str], ids: Sequence[int]) -> list[Row]:
    return [
        Row(channel_id=str(key.channel_id), message_id=key.message_id)
        for key in sorted(keys_of(channels, ids))
        if key in store.keys
    ]


def _states(store: Store, channels: Sequence[str], ids: Sequence[int]) -> list[Row]:
    found = []
    for key in keys_of(channels, ids):
        if key in store.keys:
            message = store.row(key) or dict.fromkeys(MESSAGE_COLUMNS)
            found.append(Row(message | store.keys[key]))
    return found


def _acknowledged(store: Store, channels: Sequence[str], ids: Sequence[int]) -> list[Row]:
    wanted = set(keys_of(channels, ids)) if store.early_acknowledgements else set()
    return [
        Row(channel_id=str(key.channel_id), message_id=key.message_id, consumer=consumer, acknowledged_at=at)
        for (key, consumer), at in store.acknowledged.items()
        if key in wanted
    ]


def _acknowledge(
    store: Store,
    channels: Sequence[str],
    ids: Sequence[int],
    consumers: Sequence[str],
    ats: Sequence[datetime],
) -> list[Row]:
    for key, consumer, at in zip(keys_of(channels, ids), consumers, ats, strict=True):
        store.acknowledged[key, consumer] = max(store.acknowledged.get((key, consumer), at), at)
    return []


def _update_keys(
    store: Store,
    channels: Sequence[str],
    ids: Sequence[int],
    versions: Sequence[int],
    ats: Sequence[datetime],
) -> list[Row]:
    for key, version, at in zip(keys_of(channels, ids), versions, ats, strict=True):
        store.keys[key] |= {"content_version": version, "status_at": at}
    return []


def _update_messages(store: Store, *columns: Sequence[Any]) -> list[Row]:
    for values in zip(*columns, strict=True):
        message = dict(zip(MESSAGE_COLUMNS, values, strict=True))
        name = (message["id"], message["created_at"])
        if name in store.messages:
            store.messages[name] = message
    return []


def _nothing(store: Store, *_: object) -> list[Row]:
    return []


def insert(store: Store, table: str, rows: Iterable[Sequence[Any]]) -> None:
    """COPY into a table. Raises UniqueViolationError."""
    if table == "message_keys":
        for values in rows:
            row = dict(zip(KEY_COLUMNS, values, strict=True))
            key = _key(row["channel_id"], row["message_id"])
            if key in store.keys:
                raise asyncpg.UniqueViolationError(f"{key} is stored already")
            store.keys[key] = row
    elif table == "messages":
        for values in rows:
            row = dict(zip(MESSAGE_COLUMNS, values, strict=True))
            store.messages[row["id"], row["created_at"]] = row
    else:
        raise NotImplementedError(f"the simulation does not know table {table}")


READS: dict[str, Callable[..., list[Row]]] = {
    statement("waiting_open"): _waiting_open,
    statement("poll_floor"): lambda store: [Row(floor=FLOOR)],
    statement("by_keys"): _by_keys,
    statement("done"): _done,
    statement("pending_page"): _pending_page,
    statement("pending_count"): _pending_count,
    statement("only_plain"): _only_plain,
    statement("stored"): _stored,
    statement("lock_keys"): _lock_keys,
    statement("states"): _states,
    statement("acknowledged"): _acknowledged,
    "select 1 from telegram_gateway.message_keys limit 1": lambda store: [Row(one=1)],
    statement("new_epoch"): lambda store: [Row(epoch=1)],
}
"""Statements that answer, by their text."""

WRITES: dict[str, Callable[..., list[Row]]] = {
    statement("acknowledge"): _acknowledge,
    statement("update_keys"): _update_keys,
    statement("update_messages"): _update_messages,
    statement("begin_batch"): _nothing,
    statement("revise"): _nothing,
    statement("record_changes"): _nothing,
    statement("hand_over"): _nothing,
}
"""Statements that a transaction carries out when it is committed."""
