"""The session file: it holds the account's key, so it is private and belongs to one process at a time."""

import fcntl
import os
import stat
from pathlib import Path

from telewarden.telegram.feed import SessionUnusable

LOGIN_HINT = "run: telewarden session login"


class SessionInUse(Exception):
    """Another process owns the session."""


class SessionLock:
    """Owns a session for the life of the process, through a lock file beside it. Raises SessionInUse.

    Two processes on one session block each other's event loops, and two connections with one key end the key.
    """

    def __init__(self, session_file: Path) -> None:
        make_private_folder(session_file.parent)
        path = session_file.with_name(session_file.name + ".lock")
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise SessionInUse(
                f"the session {session_file} is in use by process {owner}; stop it first, "
                "or set telegram.session_file to another session"
            ) from error
        os.truncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give the session up."""
        os.close(self._file)


def make_private_folder(folder: Path) -> None:
    """Create a folder that only its owner can enter. One that exists is left as it is."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def check_session_file(session_file: Path) -> None:
    """Make sure that the session is there and private. Raises SessionUnusable.

    A file that others can read is made private: it may have been created by another tool with a loose umask.
    """
    try:
        mode = session_file.stat().st_mode
    except OSError as error:
        raise SessionUnusable(
            f"there is no session at {session_file} ({error.strerror}); {LOGIN_HINT}"
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        session_file.chmod(0o600)
