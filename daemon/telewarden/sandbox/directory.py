"""The private directory of an embedded server: its data, its password, its log; kept or thrown away."""

import re
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from telewarden.sandbox.accounts import Account
from telewarden.sandbox.processes import ServerFailed

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ServerDirectory:
    """What is where. data, password_file: belong to the account that the server runs as. holds_data: of an earlier
    start."""

    data: Path
    password_file: Path
    log_file: Path
    account: Account | None
    holds_data: bool

    def password(self, wanted: str | None) -> str:
        """The server's password, written down for this user's eyes only.

        wanted: None for the one written down, or else a generated one. Raises ServerFailed when it would need quoting
        in a URL or a configuration file, and when data that was kept has another one.
        """
        if wanted is not None and not _PLAIN.fullmatch(wanted):
            raise ServerFailed("a password of an embedded server has letters, digits, - and _ only")
        if self.password_file.exists():
            kept = self.password_file.read_text(encoding="ascii").strip()
            if wanted not in (None, kept):
                raise ServerFailed(
                    f"the data in {self.data} was made with another password, see {self.password_file}"
                )
            return kept
        if self.holds_data:
            raise ServerFailed(f"the password of the data in {self.data} is missing: {self.password_file}")
        password = wanted or secrets.token_urlsafe(24)
        self.write_private(self.password_file, f"{password}\n")
        return password

    def write_private(self, path: Path, text: str) -> None:
        """Write a file that only the server's account can read."""
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        if self.account is not None:
            self.account.own(path)


_REMOVE_S, _LOOK_S = 5.0, 0.02


@asynccontextmanager
async def private_directory(
    name: str, directory: Path | None, *, valuable: str, keep: bool, account: Account | None
) -> AsyncIterator[ServerDirectory]:
    """Make a server's directory, and remove its contents at the end unless they are to be kept.

    directory: None for a new temporary one. Only what belongs to the server is removed. valuable: a file that marks
    data worth keeping. Raises ServerFailed when such data of an earlier start would be thrown away.
    """
    place, whole = _make(name, directory, valuable, keep, account)
    try:
        yield place
    finally:
        if not keep:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(_remove, place, whole)


def _make(
    name: str, directory: Path | None, valuable: str, keep: bool, account: Account | None
) -> tuple[ServerDirectory, bool]:
    """The directory, and whether all of it is this server's: it was not there before."""
    whole = directory is None or not directory.exists()
    chosen = (
        Path(tempfile.mkdtemp(prefix=f"telewarden-{name}-")) if directory is None else directory.absolute()
    )
    chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = chosen / "data"
    place = ServerDirectory(
        data, chosen / "password", chosen / f"{name}.log", account, holds_data=(data / valuable).exists()
    )
    if place.holds_data and not keep:
        raise ServerFailed(
            f"{place.data} holds an earlier server's data; keep it with keep=True, or choose another directory"
        )
    if not data.exists():
        data.mkdir(mode=0o700)
        if account is not None:
            account.own(data)
    return place, whole


def _remove(place: ServerDirectory, whole: bool) -> None:
    _remove_tree(place.data.parent if whole else place.data)
    if not whole:
        place.password_file.unlink(missing_ok=True)


def _remove_tree(folder: Path) -> None:
    """Helpers of a server that was killed in the middle of its start may still write for a moment."""
    until_s = time.monotonic() + _REMOVE_S
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < until_s)
        if folder.exists():
            time.sleep(_LOOK_S)
