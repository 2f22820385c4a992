"""A service manager's side of sd_notify(3): a real socket, and what was said on it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio


class ServiceManager:
    """messages: each datagram so far, oldest first. environment: what the service is to be started with."""

    def __init__(self, listening: socket.socket, path: Path) -> None:
        self._listening = listening
        self.environment = {"NOTIFY_SOCKET": str(path)}
        self._messages: list[str] = []

    @property
    def messages(self) -> list[str]:
        """Each datagram so far, oldest first."""
        try:
            while True:
                self._messages.append(self._listening.recv(4096).decode())
        except BlockingIOError:
            return self._messages

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.messages)

    async def until(self, text: str, times: int = 1) -> None:
        """Until something was said so often."""
        with anyio.fail_after(20):
            while self.text.count(text) < times:
                await anyio.sleep(0.01)


@contextmanager
def listening(path: Path) -> Iterator[ServiceManager]:
    """Listens at a path that does not exist yet."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        yield ServiceManager(listener, path)
