"""A session as a file: what it holds without telling the key, copied while it is in use, put in its place at once."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from glob import escape
from hashlib import sha256
from pathlib import Path

from telewarden.telegram.session import SessionInUse, SessionLock, make_private_folder

AUTH_KEY_BYTES = 256
_BUSY_S = 5.0
_ROLL_BACK_NEEDED = sqlite3.SQLITE_READONLY_ROLLBACK


class SessionDamaged(Exception):
    """A file is no session that could be used; the message says why."""


class SessionUnreadable(Exception):
    """A file cannot be looked at just now; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a session holds. digest: 16 hexadecimal digits that tell one key from another and say nothing else of it."""

    digest: str
    dc_id: int


def digest_of(auth_key: bytes) -> str:
    """A key's name: 64 bits of a hash. With 2048 random bits behind it nobody finds the key."""
    return sha256(b"telewarden session\0" + auth_key).hexdigest()[:16]


def read_facts(file: Path) -> SessionFacts:
    """Open a session read-only, check all of it, and tell what it is.

    It may be in use meanwhile. Raises FileNotFoundError, SessionDamaged, SessionUnreadable.
    """
    with _open_read_only(file) as database, _telling(file):
        return _facts(file, database)


def copy_session(file: Path, target: Path) -> SessionFacts:
    """Copy a session that may be in use, with SQLite's backup API, into a new private file; check and fsync the copy.

    Raises FileExistsError when there is a target, FileNotFoundError, SessionDamaged, SessionUnreadable, OSError. A copy
    that failed is removed.
    """
    with _open_read_only(file) as source:
        with _telling(file):
            facts = _facts(file, source)
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            with contextlib.closing(sqlite3.connect(target, timeout=_BUSY_S)) as copy:
                source.backup(copy)
            copied = read_facts(target)
            if copied.digest != facts.digest:
                raise SessionUnreadable(f"{file} got another key while it was copied; try again")
            sync(target)
        except sqlite3.Error as error:
            remove(target)
            raise SessionUnreadable(f"{file} cannot be copied to {target} ({error}); try again") from error
        except BaseException:
            # Also when it is interrupted: half a copy is no copy. The error goes on.
            remove(target)
            raise
    return copied


def put_in_place(draft: Path, session_file: Path, now: datetime) -> Path | None:
    """Make a finished draft the session; the file that was there is moved aside. Returns where to.

    The caller owns the session (`owned`). At every moment one of the two is in place.
    """
    aside = None
    sync(draft)
    if session_file.exists():
        aside = _free_name(session_file, now)
        os.link(session_file, aside)
        aside.chmod(0o600)
    journal = journal_of(session_file)
    if journal.exists():
        # SQLite would play it back into the new file.
        journal.replace(journal_of(aside) if aside is not None else journal.with_name(journal.name + ".old"))
    draft.replace(session_file)
    sync(session_file.parent)
    return aside


@contextmanager
def draft_beside(session_file: Path, purpose: str) -> Iterator[Path]:
    """A name in the session's folder for a file that is not finished. Whatever is there in the end is removed."""
    make_private_folder(session_file.parent)
    # Telethon adds ".session" to a name without it.
    draft = session_file.with_name(f".{session_file.stem}.{purpose}-{os.getpid()}.session")
    remove(draft)
    try:
        yield draft
    finally:
        remove(draft)


@contextmanager
def owned(session_file: Path) -> Iterator[None]:
    """Own the session for a while, and clear up after commands that were killed. Raises SessionInUse."""
    lock = SessionLock(session_file)
    try:
        for draft in session_file.parent.glob(f".{escape(session_file.stem)}.*-*.session*"):
            draft.unlink(missing_ok=True)
        _undo_unfinished(session_file)
        yield
    finally:
        lock.release()


def remove(file: Path) -> None:
    """Remove a session and its journal, if they are there."""
    for path in (file, journal_of(file)):
        path.unlink(missing_ok=True)


def journal_of(file: Path) -> Path:
    """Where SQLite keeps what it needs to undo an unfinished transaction."""
    return file.with_name(file.name + "-journal")


def sync(path: Path) -> None:
    """Have a file or a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_name(session_file: Path, now: datetime) -> Path:
    for number in range(1000):
        end = f"-{number}" if number else ""
        name = session_file.with_name(f"{session_file.name}.replaced-{now:%Y%m%dT%H%M%SZ}{end}")
        if not name.exists():
            return name
    raise FileExistsError(f"there are a thousand files like {name}; remove some")


@contextmanager
def _open_read_only(file: Path) -> Iterator[sqlite3.Connection]:
    with _telling(file):
        if not file.is_file():
            if file.exists():
                raise SessionDamaged(f"{file} is no file")
            raise FileNotFoundError(f"there is no file {file}")
        if not os.access(file, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        database = _connect(file, "ro")
        try:
            try:
                database.execute("select 1 from sqlite_master").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != _ROLL_BACK_NEEDED:
                    raise
                # A writer was killed in a transaction. The next one to write undoes it: us, if nobody owns the session.
                database.close()
                with owned(file):
                    pass
                database = _connect(file, "ro")
        except BaseException:
            # Whoever gets no connection cannot close it. The error goes on.
            database.close()
            raise
    with contextlib.closing(database):
        yield database


@contextmanager
def _telling(file: Path) -> Iterator[None]:
    """SQLite's errors, as this module's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise SessionUnreadable(f"{file} is being written to for more than {_BUSY_S:.0f} s") from error
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
            raise SessionUnreadable(f"{file} cannot be read ({error})") from error
        raise SessionDamaged(f"{file} is no session of Telethon ({error})") from error
    except sqlite3.DatabaseError as error:
        raise SessionDamaged(f"{file} is damaged, or no session ({error})") from error
    except SessionInUse as error:
        raise SessionUnreadable(str(error)) from error
    except PermissionError as error:
        raise SessionUnreadable(
            f"{file} cannot be read ({error.strerror}); run this as the user that the daemon runs as"
        ) from error


def _undo_unfinished(file: Path) -> None:
    """Have SQLite undo what a killed writer left unfinished. A damaged file stays as it is."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(_connect(file, "rw")) as database,
    ):
        database.execute("select 1 from sqlite_master").fetchone()


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_S)


def _facts(file: Path, database: sqlite3.Connection) -> SessionFacts:
    (verdict,) = database.execute("pragma integrity_check(1)").fetchone()
    if verdict != "ok":
        raise SessionDamaged(f"{file} is damaged ({verdict})")
    database.execute("select version from version").fetchone()
    row = database.execute("select dc_id, auth_key from sessions").fetchone()
    key = row[1] if row is not None else None
    if not isinstance(key, bytes) or not key:
        raise SessionDamaged(f"{file} holds no key: nobody has signed in with it")
    if len(key) != AUTH_KEY_BYTES:
        raise SessionDamaged(f"{file} holds a key of {len(key)} bytes instead of {AUTH_KEY_BYTES}")
    return SessionFacts(digest_of(key), int(row[0]))
