"""A damaged journal: put aside whole, and what of it is good taken into a new one. Synchronous.

Nothing starts from nothing in silence: what cannot be read is told, and asked for again.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from telewarden.messages import Deleted, Edited, Event, Posted
from telewarden.storage.acceptance import Channel
from telewarden.storage.journal_file import (
    SIDE_FILES,
    JournalFile,
    Registered,
    decode,
    encode,
    is_sound,
    lost_log,
)

_CHANNELS = "select channel_id, checkpoint, top, floor, origin, pts from channels"
_EVENTS = "select position, accepted_at_us, body, crc from events where position > ? order by position"
_REGISTRY = "select channel_id, name, start, added, paused from registry"


@dataclass
class Salvaged:
    """What is in a journal, and what became of it if it was damaged.

    reason: what was wrong; aside: where it is now. events: (accepted at, event), the good ones that the database may
    lack; bad: positions of those that are not what was written. unread: the parts that could not be read to their end.
    problems: all that is wrong, in words.
    """

    reason: str = ""
    aside: Path | None = None
    meta: dict[str, int] = field(default_factory=dict)
    head: int = 0
    events: list[tuple[int, Event]] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)
    channels: list[Channel] = field(default_factory=list)
    registered: list[Registered] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def salvage(path: Path, reason: str) -> Salvaged:
    """Put a damaged journal aside and make a new one at its place. Raises JournalError, OSError.

    What consumers said is in the new one at once; posts, edits and deletions wait there until their channel has been
    opened by the database's word (`Journal.open_channel`), so that reading begins no later than what was lost. A crash
    on the way leaves the old one where it was, or a new one that is whole: see `finish`.
    """
    found = inspect(path)
    found.reason = reason
    draft = path.with_name(f"{path.name}.salvaging")
    for suffix in ("", *SIDE_FILES):
        Path(f"{draft}{suffix}").unlink(missing_ok=True)
    file = JournalFile(draft)
    try:
        file.begin()
        _fill(file, found)
        file.commit()
    finally:
        file.close()
    Path(f"{draft}.head").unlink()
    draft.rename(_ready(path))
    found.aside = finish(path)
    return found


def finish(path: Path) -> Path | None:
    """Bring a new journal to its place, if one is ready. Returns where the old one is now."""
    if not _ready(path).exists():
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    # The old log first: beside the new file it would be taken for its own.
    for suffix in (*SIDE_FILES, ""):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    _ready(path).rename(path)
    return aside


def _ready(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")


def _fill(file: JournalFile, found: Salvaged) -> None:
    position = 0
    for at_us, event in found.events:
        if isinstance(event, Posted | Edited | Deleted):
            # Whether it is new is for the database to say.
            held = msgspec.structs.replace(event, new=False) if isinstance(event, Posted) else event
            file.hold(event.channel_id, at_us, encode(held))
        else:
            position += 1
            file.append([(position, at_us, encode(event))])
    for channel in found.channels:
        file.put_origin(channel.channel_id, channel.origin)
    for entry in found.registered:
        file.put_registered(entry)


def inspect(path: Path) -> Salvaged:
    """What is in a journal that nobody uses, damaged or not. Its files stay as they are. Raises OSError."""
    found = Salvaged()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".telewarden-journal-") as folder:
        copy = Path(folder) / "journal.sqlite"
        shutil.copyfile(path, copy)
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{path}-wal", f"{copy}-wal")
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            _check(db, found)
            _read(db, found)
    found.problems += [f"{part} cannot be read to the end" for part in found.unread]
    if found.bad:
        found.problems.append(f"{len(found.bad)} events, from {min(found.bad)} on, are not what was written")
    head = Path(f"{path}.head")
    if head.exists() and (lost := lost_log(head.read_bytes(), found.head)) is not None:
        found.problems.append(lost)
    return found


def _check(db: sqlite3.Connection, found: Salvaged) -> None:
    try:
        (said,) = db.execute("pragma quick_check(1)").fetchone()
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        found.problems.append(f"SQLite finds it damaged: {said}")


def _read(db: sqlite3.Connection, found: Salvaged) -> None:
    for name, value in _rows(db, found, "meta", "select name, value from meta"):
        found.meta[str(name)] = int(value)
    flushed = found.meta.get("flushed", 0)
    events: dict[int, tuple[int, Event]] = {}
    for direction in ("", " desc"):  # from both ends, as far as each can be read
        for position, at_us, body, crc in _rows(db, found, "events", _EVENTS + direction, flushed):
            if position in events:
                continue
            try:
                if not is_sound(position, at_us, body, crc):
                    raise ValueError
                events[position] = (at_us, decode(body))
            except (msgspec.MsgspecError, TypeError, ValueError):
                found.bad.add(position)
    found.events = [events[position] for position in sorted(events)]
    found.head = max([flushed, *events, *found.bad])
    for row in _rows(db, found, "channels", _CHANNELS):
        place = dict(zip(Channel.__struct_fields__, row, strict=True))
        with suppress(msgspec.ValidationError):
            found.channels.append(msgspec.convert(place, Channel))
    for row in _rows(db, found, "registry", _REGISTRY):
        found.registered.append(Registered(row[0], row[1], row[2], bool(row[3]), bool(row[4])))


def _rows(
    db: sqlite3.Connection, found: Salvaged, part: str, query: str, *values: object
) -> Iterator[tuple[Any, ...]]:
    """As far as they can be read."""
    try:
        yield from db.execute(query, values)
    except sqlite3.Error:
        if part not in found.unread:
            found.unread.append(part)
