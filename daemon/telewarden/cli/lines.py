"""Asks the running daemon over its UNIX socket: one request, one line or many in answer."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from telewarden.cli.options import fail

if TYPE_CHECKING:
    from telewarden.control import Request

_SILENT_S = 180.0


class Line(Protocol):
    """One line of an answer; the last one is done."""

    @property
    def done(self) -> bool:
        """No more lines come."""
        ...


L = TypeVar("L", bound=Line)


@contextmanager
def answers(
    path: Path, request: "Request", *, timeout_s: float, status: int, hint: str = "", silent: str, ended: str
) -> Iterator[BinaryIO]:
    """The lines of the daemon's answer. Ends the command, with that exit status, where it cannot be asked.

    timeout_s: between two lines. hint: what to do if no daemon runs. silent, ended: what to say when it does not answer
    in time, and when it answers no whole line.
    """
    import msgspec

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            # A daemon that refuses to listen has said why before it closed.
            with suppress(BrokenPipeError):
                connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as lines:
                yield lines
    except (FileNotFoundError, ConnectionRefusedError):
        fail(f"no daemon runs: nothing listens on {path}{hint}", status)
    except TimeoutError:
        fail(silent, status)
    except OSError as error:
        fail(f"cannot ask the daemon on {path}: {error.strerror or error}", status)
    except msgspec.DecodeError:
        fail(ended, status)


def ask_lines(path: Path, request: "Request", kind: type[L], status: int) -> Iterator[L]:
    """The lines of an answer of many. Ends the command with that exit status where the daemon cannot be asked."""
    import msgspec

    from telewarden.control import LINE_BYTES

    with answers(
        path,
        request,
        timeout_s=_SILENT_S,
        status=status,
        hint="; start it, and try again",
        silent=f"the daemon said nothing for {_SILENT_S:g} s",
        ended=f"the daemon on {path} ended before it had finished",
    ) as lines:
        while True:
            line = msgspec.json.decode(lines.readline(LINE_BYTES), type=kind)
            yield line
            if line.done:
                return
