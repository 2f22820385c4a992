"""Copies of the session in other folders, and back. A copy is the account: private, checked, and never used beside the
original."""

import os
import re
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from glob import escape
from pathlib import Path

from telewarden.telegram.session_file import (
    SessionDamaged,
    SessionFacts,
    SessionUnreadable,
    copy_session,
    draft_beside,
    owned,
    put_in_place,
    read_facts,
    remove,
    sync,
)

MAX_FOLDERS = 3
_STALE_S = 3600.0


class BackupFailed(Exception):
    """Nothing could be copied anywhere: it is the session itself that cannot be read."""


class RestoreRefused(Exception):
    """Nothing was restored; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one destination. file: the copy, None without one; problem: why not; removed: older copies."""

    folder: Path
    file: Path | None = None
    removed: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in place. aside: where the file went that was there before."""

    facts: SessionFacts
    aside: Path | None


def back_up(
    session_file: Path, folders: Sequence[Path], *, keep: int, now: datetime
) -> tuple[SessionFacts, list[Copied]]:
    """Copy the session, which may be in use, into each folder, and keep the newest copies there.

    now: in UTC, names the copies. A folder that cannot be written to does not keep the others from their copy. Raises
    BackupFailed.
    """
    try:
        facts = read_facts(session_file)
    except (SessionDamaged, SessionUnreadable, OSError) as error:
        raise BackupFailed(f"no copy was made: {error}") from error
    return facts, [_copy_into(folder, session_file, keep, now) for folder in folders]


def _copy_into(folder: Path, session_file: Path, keep: int, now: datetime) -> Copied:
    stem = session_file.stem
    copy = folder / f"{stem}-{now:%Y%m%dT%H%M%SZ}.session"
    draft = folder / f".{copy.name}.{os.getpid()}.partial"
    try:
        _make_folder(folder)
        remove(draft)
        try:
            copy_session(session_file, draft)
            draft.replace(copy)
        finally:
            remove(draft)
        sync(folder)
    except (SessionDamaged, SessionUnreadable) as error:
        return Copied(folder, problem=str(error))
    except OSError as error:
        return Copied(folder, problem=f"{error.strerror or error} ({error.filename or folder})")
    try:
        return Copied(folder, copy, removed=_remove_old(folder, stem, copy, keep))
    except OSError as error:
        return Copied(folder, copy, problem=f"older copies cannot be removed: {error.strerror or error}")


def _make_folder(folder: Path) -> None:
    """Make sure of a private folder. Only its last part is created: what is above may be a disk that is not there."""
    if not folder.parent.is_dir():
        raise SessionUnreadable(f"there is no folder {folder.parent}; is it a disk that is not mounted?")
    folder.mkdir(mode=0o700, exist_ok=True)
    known = folder.stat()
    mode = stat.S_IMODE(known.st_mode)
    if known.st_uid != os.geteuid():
        raise SessionUnreadable(
            f"{folder} belongs to the user with the id {known.st_uid}; name a folder below it"
        )
    if mode & 0o077:
        raise SessionUnreadable(
            f"others can enter {folder} (mode {mode:04o}); name a folder below it, or run: chmod 700 {folder}"
        )


def _remove_old(folder: Path, stem: str, newest: Path, keep: int) -> int:
    for draft in folder.glob(f".{escape(stem)}-*.partial*"):
        # Of a command that was killed; one that runs now is younger.
        if draft.stat().st_mtime < time.time() - _STALE_S:
            draft.unlink(missing_ok=True)
    others = [copy for copy in copies_in(folder, stem) if copy != newest]
    old = others[: len(others) - (keep - 1)] if len(others) >= keep else []
    for copy in old:
        remove(copy)
    return len(old)


def copies_in(folder: Path, stem: str) -> list[Path]:
    """The copies of a session in a folder, oldest first."""
    name = re.compile(re.escape(stem) + r"-\d{8}T\d{6}Z\.session")
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name) and path.is_file())


async def restore(
    copy: Path,
    session_file: Path,
    *,
    replace: bool,
    now: datetime,
    is_alive: Callable[[], Awaitable[str | None]],
) -> Restored:
    """Make a copy the session.

    It is refused beside an original that works: two users of one key end the key. is_alive: asks Telegram whether the
    original is accepted, and answers None if it is not, else why it must be taken for alive; asked only when there is
    one with another key. replace: do it all the same; the original is moved aside. Raises RestoreRefused, SessionInUse.
    """
    facts = _facts_of_a_copy(copy, session_file)
    with owned(session_file):
        if not replace:
            await _refuse_beside_a_live_original(facts, session_file, is_alive)
        with draft_beside(session_file, "restore") as draft:
            try:
                copy_session(copy, draft)
            except (SessionDamaged, SessionUnreadable, OSError) as error:
                raise RestoreRefused(f"nothing was restored: {error}") from error
            return Restored(facts, put_in_place(draft, session_file, now))


def _facts_of_a_copy(copy: Path, session_file: Path) -> SessionFacts:
    try:
        facts = read_facts(copy)
    except (SessionDamaged, SessionUnreadable, OSError) as error:
        raise RestoreRefused(f"nothing was restored: {error}") from error
    if session_file.exists() and copy.samefile(session_file):
        raise RestoreRefused(f"{copy} is the session itself; name a copy of it")
    return facts


async def _refuse_beside_a_live_original(
    facts: SessionFacts, session_file: Path, is_alive: Callable[[], Awaitable[str | None]]
) -> None:
    hint = "to restore all the same, which moves it aside: --replace"
    try:
        original = read_facts(session_file)
    except (FileNotFoundError, SessionDamaged):
        return
    except SessionUnreadable as error:
        raise RestoreRefused(f"nothing was restored: {error}") from error
    if original.digest == facts.digest:
        raise RestoreRefused(
            f"nothing was restored: {session_file} is there, is sound, and has the same key ({facts.digest}); {hint}"
        )
    why = await is_alive()
    if why is not None:
        raise RestoreRefused(f"nothing was restored: {session_file} has another key and {why}; {hint}")
