"""A condition that tasks wait for: an event that can fire again and again."""

from collections.abc import Callable

import anyio


class Signal:
    """Wakes every waiter each time it fires; the waiter looks for itself whether what it waits for is true."""

    def __init__(self) -> None:
        # Made by the first that waits: to fire with nobody waiting costs nothing.
        self._event: anyio.Event | None = None

    def fire(self) -> None:
        """Wake whoever waits."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Until it fires next."""
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until a condition holds; it is looked at now and each time the signal fires."""
        while not condition():
            await self.wait()
