"""Which user an embedded server runs as. PostgreSQL refuses to run as root; the others need not."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

_OVERFLOW_ID = 65534


@dataclass(frozen=True, slots=True)
class Account:
    """A user and its group."""

    uid: int
    gid: int

    def may_pass(self, path: Path) -> bool:
        """This user can go through every directory above a path, as written and as it is, by permission bits alone."""
        for folder in {*path.absolute().parents, *path.resolve().parents}:
            found = folder.stat()
            shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
            if not found.st_mode >> shift & 1:
                return False
        return True

    def own(self, path: Path) -> None:
        """Give a file or directory to this user."""
        os.chown(path, self.uid, self.gid)


def server_account() -> Account | None:
    """Whom servers run as: `nobody` when this process is root's; None, and so as this process's user, otherwise."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam("nobody")
    except KeyError:
        return Account(_OVERFLOW_ID, _OVERFLOW_ID)
    return Account(found.pw_uid, found.pw_gid)
