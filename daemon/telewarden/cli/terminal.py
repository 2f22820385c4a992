"""Text from Telegram on a terminal: it can do nothing there, and each message stays on its line."""

import sys
from datetime import UTC, datetime
from typing import Final

_JOINERS: Final = frozenset("\u200c\u200d")
"""Invisible, harmless, and needed by scripts and emoji."""
_NAMED: Final = {"\n": "⏎ ", "\r": "", "\t": " "}


def plain(text: str) -> str:
    """A text on one line. Whatever could move the cursor, colour, rename or turn round what follows is shown as its
    number (\\x1b, \\u202e)."""
    return "".join(
        character
        if character.isprintable() or character in _JOINERS
        else _NAMED.get(character, character.encode("unicode_escape").decode())
        for character in text
    )


def put(line: str) -> None:
    """One line on standard output at once, whatever its encoding knows."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def moment(at: datetime | None) -> str:
    """A time to the second, UTC."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
