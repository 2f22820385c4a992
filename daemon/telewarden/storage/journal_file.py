"""The journal's file: SQLite, write-ahead log, every commit on disk before it counts.

Synchronous; one thread at a time.
"""

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from telewarden.messages import Event
from telewarden.storage.acceptance import Channel, Known

FORMAT = 3
_SCHEMA = """
create table if not exists meta (name text primary key, value integer not null) without rowid;
create table if not exists events (position integer primary key, accepted_at_us integer not null, body blob not null);
create table if not exists channels (
    channel_id integer primary key, checkpoint integer not null, top integer not null,
    floor integer not null, origin integer not null, pts integer not null
) without rowid;
create table if not exists known (
    channel_id integer not null, message_id integer not null, version integer not null,
    digest blob not null, at_us integer not null, deleted integer not null,
    primary key (channel_id, message_id)
) without rowid;
create table if not exists registry (
    channel_id integer primary key, name text not null, start text not null,
    added integer not null, paused integer not null
) without rowid;
"""

_UPGRADES = {
    1: "alter table channels add column pts integer not null default 0",
    # The registry is new, and made above; an older version would not know that channels were added.
    2: "select 1",
}
"""What brings a file of an older format to the next one."""

encode = msgspec.msgpack.Encoder().encode
"""An event as the file keeps it."""
_decode = msgspec.msgpack.Decoder(Event).decode


class JournalError(Exception):
    """The journal cannot be used; the message says what to do."""


class Registered(msgspec.Struct, frozen=True):
    """What an operator said of a channel while the daemon ran.

    name: how it was called then. start: where its reading begins, see `telewarden.channels.check_start`. added: it is
    taken in because of this, not because of the settings. paused: it is not taken in for now.
    """

    channel_id: int
    name: str = ""
    start: str = "now"
    added: bool = True
    paused: bool = False


class JournalFile:
    """One SQLite file. Raises JournalError when it cannot be opened, belongs to another format or is in use."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2.0)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            # One process: the lock is held until the file is closed, and a second process is told so.
            self._db.execute("pragma locking_mode = exclusive")
            self._db.execute("begin exclusive")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute("insert or ignore into meta values ('format', ?)", (FORMAT,))
            while (older := self.meta("format") or FORMAT) in _UPGRADES:
                self._db.execute(_UPGRADES[older])
                self.set_meta("format", older + 1)
            self._db.execute("commit")
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"journal {path}: {error}. Another Telewarden may be using it, or its folder is not writable; "
                "stop the other one, or set journal.file"
            ) from error
        found = self.meta("format")
        if found != FORMAT:
            self.close()
            raise JournalError(
                f"journal {path} has format {found}, this version reads {FORMAT}; use the version that wrote it"
            )

    def close(self) -> None:
        """Give the file up."""
        self._db.close()

    def begin(self) -> None:
        """Start the transaction that the following writes belong to."""
        self._db.execute("begin immediate")

    def commit(self) -> None:
        """Make the writes durable: when this returns they are on disk."""
        self._db.execute("commit")

    def rollback(self) -> None:
        """Undo the writes since `begin`."""
        if self._db.in_transaction:
            self._db.execute("rollback")

    def meta(self, name: str) -> int | None:
        """One of the journal's own numbers."""
        row = self._db.execute("select value from meta where name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def set_meta(self, name: str, value: int) -> None:
        """Keep one of the journal's own numbers."""
        self._db.execute("insert or replace into meta values (?, ?)", (name, value))

    def head(self) -> int:
        """The newest position ever given; positions are never given twice, also when all events are forgotten."""
        row = self._db.execute("select max(position) from events").fetchone()
        return max(int(row[0] or 0), self.meta("flushed") or 0)

    def append(self, rows: Sequence[tuple[int, int, bytes]]) -> None:
        """Write events: (position, accepted at, encoded event)."""
        self._db.executemany("insert into events values (?, ?, ?)", rows)

    def events(self, after: int) -> Iterable[tuple[int, int, Event, int]]:
        """(position, accepted at, event, size in bytes) of every event after a position, oldest first."""
        rows = self._db.execute(
            "select position, accepted_at_us, body from events where position > ? order by position", (after,)
        )
        for position, accepted_at_us, body in rows:
            yield position, accepted_at_us, _decode(body), len(body)

    def forget(self, up_to: int) -> None:
        """Drop the events up to a position."""
        self._db.execute("delete from events where position <= ?", (up_to,))

    def channels(self) -> list[Channel]:
        """Every channel's place."""
        rows = self._db.execute("select channel_id, checkpoint, top, floor, origin, pts from channels")
        return [Channel(*row) for row in rows]

    def put_channel(self, channel: Channel) -> None:
        """Keep a channel's place."""
        self._db.execute(
            "insert or replace into channels values (?, ?, ?, ?, ?, ?)",
            (
                channel.channel_id,
                channel.checkpoint,
                channel.top,
                channel.floor,
                channel.origin,
                channel.pts,
            ),
        )

    def registered(self) -> list[Registered]:
        """What operators said of channels."""
        rows = self._db.execute("select channel_id, name, start, added, paused from registry")
        return [Registered(row[0], row[1], row[2], bool(row[3]), bool(row[4])) for row in rows]

    def put_registered(self, entry: Registered) -> None:
        """Keep what an operator said of a channel."""
        self._db.execute(
            "insert or replace into registry values (?, ?, ?, ?, ?)",
            (entry.channel_id, entry.name, entry.start, entry.added, entry.paused),
        )

    def drop_registered(self, channel_id: int) -> None:
        """Forget what an operator said of a channel."""
        self._db.execute("delete from registry where channel_id = ?", (channel_id,))

    def known(self, channel_id: int, message_id: int) -> Known | None:
        """What is kept of a message."""
        row = self._db.execute(
            "select version, digest, at_us, deleted from known where channel_id = ? and message_id = ?",
            (channel_id, message_id),
        ).fetchone()
        return None if row is None else Known(row[0], row[1], row[2], bool(row[3]))

    def put_known(self, known: Mapping[tuple[int, int], Known]) -> None:
        """Keep what is known of messages, by (channel id, message id)."""
        self._db.executemany(
            "insert or replace into known values (?, ?, ?, ?, ?, ?)",
            [(*key, k.version, k.digest, k.at_us, k.deleted) for key, k in known.items()],
        )

    def known_between(self, channel_id: int, low: int, high: int) -> list[int]:
        """The ids from low to high, both included, that were accepted and are not known to be deleted."""
        rows = self._db.execute(
            "select message_id from known where channel_id = ? and message_id between ? and ? and deleted = 0",
            (channel_id, low, high),
        )
        return [row[0] for row in rows]

    def forget_known(self, channel_id: int, up_to: int) -> None:
        """Drop what is known of a channel's messages up to an id; the channel's floor must be at least that."""
        self._db.execute("delete from known where channel_id = ? and message_id <= ?", (channel_id, up_to))
