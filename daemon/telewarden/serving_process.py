"""One of several processes that serve, as its parent starts it: `python -m telewarden.serving_process PARENT N OF FD`.

FD: the listening socket. Standard input: settings, see `process_words`. Standard output: what a service manager would
be told.
"""

import ctypes
import os
import signal
import socket
import sys
from collections import deque

import anyio
import structlog

from telewarden import logs
from telewarden.process_words import ParentNotifier, decode_settings
from telewarden.reload import Reloader
from telewarden.running import EXIT_UNUSABLE, supervise
from telewarden.serving import make_server
from telewarden.settings import Settings
from telewarden.share import Share
from telewarden.stores import open_shared_stores, refused_schema

_STDIN, _STDOUT = 0, 1
_PR_SET_PDEATHSIG = 1
_PIPE_BYTES = 65_536


def main(arguments: list[str]) -> int:
    """Serve until told to stop. Returns the process's exit status."""
    parent, number, of, fd = map(int, arguments)
    _end_with(parent)
    lines = _Lines()
    settings = decode_settings(lines.first())
    logs.configure(settings.log.level, settings.log.format)
    structlog.contextvars.bind_contextvars(process=number)
    with socket.socket(fileno=fd) as listener:
        share = Share(number, of, listener)
        return anyio.run(
            _serve, settings, share, lines, backend="asyncio", backend_options={"use_uvloop": True}
        )


def _end_with(parent: int) -> None:
    """Have the kernel end this process, however stuck it is, with the one that started it: PR_SET_PDEATHSIG(2const)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot be bound to the parent process")
    if os.getppid() != parent:
        sys.exit("the parent process has ended already")


async def _serve(settings: Settings, share: Share, lines: "_Lines") -> int:
    notifier = ParentNotifier(_STDOUT)
    refused = await refused_schema(settings)
    if refused is not None:
        print(f"telewarden: {refused}", file=sys.stderr)  # noqa: T201
        return EXIT_UNUSABLE
    newest = settings
    async with open_shared_stores(settings) as stores, anyio.create_task_group() as tasks:
        daemon = make_server(settings, stores, notifier, share)
        reloader = Reloader(settings, lambda: newest, daemon.takers)

        async def take_settings() -> None:
            nonlocal newest
            while True:
                newest = decode_settings(await lines.next())
                reloader.reload()

        tasks.start_soon(take_settings)
        status = await supervise(daemon, reloader)
        tasks.cancel_scope.cancel()
    return status


class _Lines:
    """Lines of standard input. At its end there are no more: the parent is gone, and the kernel ends this process."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def first(self) -> bytes:
        """Waits for it, before there is an event loop."""
        while not self._lines and self._read():
            pass
        if not self._lines:
            sys.exit("the parent process has ended before it sent settings")
        return self._lines.popleft()

    async def next(self) -> bytes:
        """Waits for it."""
        while not self._lines:
            await anyio.wait_readable(_STDIN)
            if not self._read():
                await anyio.sleep_forever()
        return self._lines.popleft()

    def _read(self) -> bool:
        data = os.read(_STDIN, _PIPE_BYTES)
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(whole)
        return bool(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
