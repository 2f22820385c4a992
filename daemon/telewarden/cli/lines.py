"""Asks the running daemon something that it answers line by line, over its UNIX socket."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

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


def ask_lines(path: Path, request: "Request", kind: type[L], status: int) -> Iterator[L]:
    """The lines of the answer. Ends the command with that exit status where the daemon cannot be asked."""
    import msgspec

    from telewarden.control import LINE_BYTES

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SILENT_S)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as lines:
                while True:
                    line = msgspec.json.decode(lines.readline(LINE_BYTES), type=kind)
                    yield line
                    if line.done:
                        return
    except (FileNotFoundError, ConnectionRefusedError):
        fail(f"no daemon runs: nothing listens on {path}; start it, and try again", status)
    except TimeoutError:
        fail(f"the daemon said nothing for {_SILENT_S:g} s", status)
    except OSError as error:
        fail(f"cannot ask the daemon on {path}: {error.strerror or error}", status)
    except msgspec.DecodeError:
        fail(f"the daemon on {path} ended before it had finished", status)
