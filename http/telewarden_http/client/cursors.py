"""Where a program keeps its place in the feed."""

import os
import re
import tempfile
from pathlib import Path
from typing import Protocol

from telewarden_http.client.errors import CursorFileUnusable

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,100}")


class CursorStore(Protocol):
    """Keeps one token. `feed` calls `save` after the work on the events up to it is done."""

    def load(self) -> str | None:
        """The token saved last; None if there was none yet."""
        ...

    def save(self, token: str) -> None:
        """Keep the token, whole or not at all."""
        ...


class CursorFile:
    """A token in a file of its own. It is written beside it, synced, and put in its place in one step."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> str | None:
        """The token in the file; None if there is no file. Raises CursorFileUnusable."""
        try:
            text = self._path.read_text("utf-8").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise CursorFileUnusable(
                f"the place in the feed cannot be read from {self._path}: {error}"
            ) from None
        if not _TOKEN.fullmatch(text):
            raise CursorFileUnusable(
                f"{self._path} does not hold a place in the feed; remove it to begin anew, or name another file"
            )
        return text

    def save(self, token: str) -> None:
        """Replace what the file holds. Raises CursorFileUnusable."""
        try:
            handle, beside = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(token + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                Path(beside).replace(self._path)
            except BaseException:
                Path(beside).unlink(missing_ok=True)
                raise
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise CursorFileUnusable(
                f"the place in the feed cannot be kept in {self._path}: {error}"
            ) from None


def as_store(given: "CursorStore | str | os.PathLike[str] | None") -> CursorStore | None:
    """A path is a file; anything else is a store already."""
    return CursorFile(given) if isinstance(given, str | os.PathLike) else given
