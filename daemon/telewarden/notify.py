"""What systemd is told over $NOTIFY_SOCKET; nothing happens where there is none (sd_notify(3))."""

import os
import time
from collections.abc import Mapping

import anyio
import sdnotify

EXTENSION_S = 15.0
"""How much more time a long start or recovery asks for at a time, in seconds; it asks three times as often."""


class Notifier:
    """Speaks to systemd. Its calls never block and never fail: a lost datagram is followed by another."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        # The package connects to what the process's own environment names; it is not asked where there is nothing.
        self._systemd = sdnotify.SystemdNotifier() if environment.get("NOTIFY_SOCKET") else None
        if self._systemd is not None and self._systemd.socket is not None:
            # A service manager that does not read must not hold the event loop up.
            self._systemd.socket.setblocking(False)
        usec = environment.get("WATCHDOG_USEC", "")
        pid = environment.get("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        self.watchdog_s = int(usec) / 1_000_000 if usec.isdigit() and ours else None
        """How long systemd waits for a sign of life, in seconds; None: no watchdog."""

    def close(self) -> None:
        """Give the socket up."""
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.close()

    def ready(self, status: str) -> None:
        """Polls can be answered."""
        self._say(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """A line for `systemctl status`."""
        self._say(f"STATUS={_line(text)}")

    def alive(self) -> None:
        """Pet the watchdog."""
        self._say("WATCHDOG=1")

    def reloading(self, status: str) -> None:
        """The settings are read again; `ready` ends it."""
        self._say(
            f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}\nSTATUS={_line(status)}"
        )

    def extend_timeout(self, seconds: float, status: str) -> None:
        """What is under way (start, reload, stop) goes on and needs up to that much longer from now on."""
        self._say(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}\nSTATUS={_line(status)}")

    async def extend_timeout_until(self, done: anyio.Event, what: str) -> None:
        """Ask for more time again and again until something is done; it stops by itself if the event loop does."""
        while not done.is_set():
            self.extend_timeout(EXTENSION_S, what)
            with anyio.move_on_after(EXTENSION_S / 3):
                await done.wait()

    def stopping(self, status: str) -> None:
        """The daemon ends itself."""
        self._say(f"STOPPING=1\nSTATUS={_line(status)}")

    def _say(self, message: str) -> None:
        if self._systemd is not None:
            self._systemd.notify(message)


def _line(text: str) -> str:
    # The package encodes as Latin-1; systemd reads UTF-8.
    return " ".join(text.split()).encode().decode("latin-1")
