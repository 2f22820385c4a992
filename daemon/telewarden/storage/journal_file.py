"""The journal's file: SQLite, write-ahead log, every commit on disk before it counts.

Synchronous; one thread at a time.
"""

import os
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from telewarden.messages import Event
from telewarden.storage.acceptance import Channel, Known

FORMAT = 4
_SCHEMA = """
create table if not exists meta (name text primary key, value integer not null) without rowid;
create table if not exists events (position integer primary key, accepted_at_us integer not null, body blob not null,
    crc integer not null
);
create table if not exists held (
    number integer primary key, channel_id integer not null, accepted_at_us integer not null, body blob not null
);
create table if not exists origins (channel_id integer primary key, origin integer not null) without rowid;
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
    3: "alter table events add column crc integer not null default 0; "
    "update events set crc = checksum(position, accepted_at_us, body)",
}
"""What brings a file of an older format to the next one."""

encode = msgspec.msgpack.Encoder().encode
"""An event as the file keeps it."""
decode = msgspec.msgpack.Decoder(Event).decode
"""The same, read back. Raises msgspec's errors."""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_HEAD_DIGITS = 20


class JournalError(Exception):
    """The journal cannot be used; the message says what to do."""


class JournalDamaged(JournalError):
    """The file is not what was written to it."""


def is_damage(error: BaseException) -> bool:
    """SQLite says that the file is not what it should be."""
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE


def checksum(position: int, accepted_at_us: int, body: bytes) -> int:
    """Of an event as it is written."""
    return zlib.crc32(body, zlib.crc32(b"%d %d" % (position, accepted_at_us)))


def is_sound(position: int, accepted_at_us: int, body: bytes, crc: int) -> bool:
    """An event is what was written. Raises TypeError where its columns are not even of their kinds."""
    return checksum(position, accepted_at_us, body) == crc


def lost_log(told: bytes, head: int) -> str | None:
    """What is wrong with a journal that ends at a position, by what its .head file tells; None if nothing is."""
    if not told.isdigit() or int(told) <= head:
        return None
    return f"position {int(told)} was reached, and it ends at {head}: its write-ahead log is damaged or gone"


SIDE_FILES = ("-wal", "-shm", ".head")
"""What the names of the files beside a journal end in."""


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


def _unusable(path: Path, error: Exception) -> JournalError:
    return JournalError(
        f"journal {path}: {error}. Another Telewarden may be using it, or its folder is not writable; stop the other "
        "one, or set journal.file"
    )


class JournalFile:
    """One SQLite file, and beside it one that tells its newest position, by which a lost write-ahead log is noticed.

    Raises JournalDamaged where it is not what was written, JournalError when it cannot be opened, belongs to another
    format or is in use.
    """

    def __init__(self, path: Path) -> None:
        self._head = -1
        self._reached = 0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2.0)
        except (sqlite3.Error, OSError) as error:
            raise _unusable(path, error) from error
        try:
            self._open(path)
        except BaseException as error:
            # Whatever it was: who gets no journal cannot close it. The error goes on.
            self.close()
            if is_damage(error):
                raise JournalDamaged(f"journal {path} is damaged: {error}") from error
            if isinstance(error, sqlite3.Error | OSError):
                raise _unusable(path, error) from error
            raise

    def _open(self, path: Path) -> None:
        self._db.create_function("checksum", 3, checksum, deterministic=True)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        # One process: the lock is held until the file is closed, and a second process is told so.
        self._db.execute("pragma locking_mode = exclusive")
        self._db.execute("begin exclusive")
        found = self._db.execute("pragma quick_check(1)").fetchone()[0]
        if found != "ok":
            raise JournalDamaged(f"journal {path} is damaged: {found}")
        old = self._db.execute("select count(*) from sqlite_master where name = 'meta'").fetchone()[0]
        format_ = (self.meta("format") if old else None) or FORMAT
        while format_ in _UPGRADES:
            for statement in _UPGRADES[format_].split(";"):
                self._db.execute(statement)
            format_ += 1
        if format_ != FORMAT:
            raise JournalError(
                f"journal {path} has format {format_}, this version reads {FORMAT}; use the version that wrote it"
            )
        for statement in _SCHEMA.split(";"):
            self._db.execute(statement)
        self.set_meta("format", FORMAT)
        self._db.execute("commit")
        self._head = os.open(f"{path}.head", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._reached = self.head()
        lost = lost_log(os.pread(self._head, _HEAD_DIGITS, 0), self._reached)
        if lost is not None:
            raise JournalDamaged(f"journal {path}: {lost}")
        bad = self._db.execute(
            "select count(*), min(position) from events where crc <> checksum(position, accepted_at_us, body)"
        ).fetchone()
        if bad[0]:
            raise JournalDamaged(
                f"journal {path} is damaged: {bad[0]} events, from {bad[1]} on, are not what was written"
            )

    def close(self) -> None:
        """Give the file up."""
        self._db.close()
        if self._head >= 0:
            os.close(self._head)
            self._head = -1

    def begin(self) -> None:
        """Start the transaction that the following writes belong to."""
        self._db.execute("begin immediate")

    def commit(self) -> None:
        """Make the writes durable: when this returns they are on disk."""
        self._db.execute("commit")
        # Not synced: it is never ahead of what is.
        os.pwrite(self._head, b"%0*d" % (_HEAD_DIGITS, self._reached), 0)

    def rollback(self) -> None:
        """Undo the writes since `begin`."""
        if self._db.in_transaction:
            self._db.execute("rollback")
        self._reached = self.head()

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
        self._db.executemany(
            "insert into events values (?, ?, ?, ?)", [(*row, checksum(*row)) for row in rows]
        )
        if rows:
            self._reached = rows[-1][0]

    def hold(self, channel_id: int, accepted_at_us: int, body: bytes) -> None:
        """Keep an encoded event of a damaged journal until its channel is opened."""
        self._db.execute(
            "insert into held (channel_id, accepted_at_us, body) values (?, ?, ?)",
            (channel_id, accepted_at_us, body),
        )

    def take_held(self, channel_id: int) -> list[Event]:
        """A channel's held events, in their order; they are held no more."""
        rows = self._db.execute("select body from held where channel_id = ? order by number", (channel_id,))
        events = [decode(row[0]) for row in rows]
        self._db.execute("delete from held where channel_id = ?", (channel_id,))
        return events

    def held(self) -> int:
        """How many events are held."""
        return int(self._db.execute("select count(*) from held").fetchone()[0])

    def put_origin(self, channel_id: int, origin: int) -> None:
        """Keep where a channel's reading began in a damaged journal."""
        self._db.execute("insert or replace into origins values (?, ?)", (channel_id, origin))

    def origin(self, channel_id: int) -> int | None:
        """That; None where nothing is known of it."""
        row = self._db.execute("select origin from origins where channel_id = ?", (channel_id,)).fetchone()
        return None if row is None else int(row[0])

    def events(self, after: int) -> Iterable[tuple[int, int, Event, int]]:
        """(position, accepted at, event, size in bytes) of every event after a position, oldest first."""
        rows = self._db.execute(
            "select position, accepted_at_us, body from events where position > ? order by position", (after,)
        )
        for position, accepted_at_us, body in rows:
            yield position, accepted_at_us, decode(body), len(body)

    def forget(self, up_to: int) -> None:
        """Drop the events up to a position, to which `flushed` is set in the same transaction."""
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
            "select message_id from known where channel_id = ? and message_id between ? and ? "
            "and deleted = 0 and version >= 0",
            (channel_id, low, high),
        )
        return [row[0] for row in rows]

    def forget_known(self, channel_id: int, up_to: int) -> None:
        """Drop what is known of a channel's messages up to an id; the channel's floor must be at least that."""
        self._db.execute("delete from known where channel_id = ? and message_id <= ?", (channel_id, up_to))
