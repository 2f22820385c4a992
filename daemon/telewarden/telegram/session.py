"""The session file: it holds the account's key, so it is private and belongs to one process at a time."""

import contextlib
import fcntl
import os
import stat
import time
from pathlib import Path

from telewarden.telegram.feed import SessionUnusable

LOGIN_HINT = "run: telewarden session login"
_LOOKS, _LOOK_S = 5, 0.02


class SessionInUse(Exception):
    """Another process owns the session."""


class SessionLock:
    """Owns a session for the life of the process, through a lock file beside it. Raises SessionInUse.

    Two processes on one session block each other's event loops, and two connections with one key end the key.
    """

    def __init__(self, session_file: Path) -> None:
        make_private_folder(session_file.parent)
        self._file = os.open(_lock_path(session_file), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        for left in range(_LOOKS - 1, -1, -1):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if left:
                    # `owner_of` may have it for a moment.
                    time.sleep(_LOOK_S)
                    continue
                owner = _read_owner(self._file)
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


def owner_of(session_file: Path) -> str | None:
    """The process that owns a session ("unknown" if it has not said), None without one. It changes nothing."""
    with contextlib.suppress(FileNotFoundError):
        file = os.open(_lock_path(session_file), os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_owner(file)
        finally:
            os.close(file)
    return None


def _lock_path(session_file: Path) -> Path:
    return session_file.with_name(session_file.name + ".lock")


def _read_owner(lock_file: int) -> str:
    return os.pread(lock_file, 32, 0).decode(errors="replace").strip() or "unknown"


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
