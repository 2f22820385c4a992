"""What the parent of several serving processes and they say to each other, over their standard input and output.

Down go settings, one JSON object a line: on a pipe, since they hold secrets. Up goes what a service manager would be
told (sd_notify(3)), each message ended by an empty line. The end of either pipe is the end of whoever held it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, SecretStr

from telewarden.notify import Notifier
from telewarden.settings import Settings

WATCHDOG_S = 9.0
"""A child says that it is alive three times as often, in seconds."""

_MOST_BYTES = 3_000


def encode_settings(settings: Settings) -> bytes:
    """One line that holds all of them, secrets too."""
    return json.dumps(_plain(settings)).encode() + b"\n"


def decode_settings(line: bytes) -> Settings:
    """The settings of `encode_settings`."""
    return Settings.model_validate(json.loads(line))


def _plain(value: object) -> Any:
    match value:
        case BaseModel():
            return {name: _plain(inner) for name, inner in value}
        case Mapping():
            return {name: _plain(inner) for name, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case SecretStr():
            return value.get_secret_value()
        case None | bool() | int() | float():
            return value
        case _:
            return str(value)


class ParentNotifier(Notifier):
    """Tells the parent what otherwise the service manager is told. It never blocks: a lost message is followed by
    another.

    fd: the pipe, from then on not blocking.
    """

    def __init__(self, fd: int) -> None:
        super().__init__({})
        os.set_blocking(fd, False)
        self._fd = fd
        self.watchdog_s = WATCHDOG_S

    def _say(self, message: str) -> None:
        # Short enough for a pipe to take it whole or not at all (pipe(7), PIPE_BUF). Without a reader there is no
        # parent either, and the kernel ends this process.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._fd, message.encode("latin-1")[:_MOST_BYTES] + b"\n\n")


class Messages:
    """Cuts what comes from a child into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, str]]:
        """Each message that is complete with these bytes, by its variables."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for message in whole:
            lines = message.decode(errors="replace").splitlines()
            yield {name: value for name, _, value in (line.partition("=") for line in lines)}
