"""A condition that tasks wait for: an event that can fire again and again."""

from collections.abc import Callable

import anyio


class Signal:
    """Wakes every waiter each time it fires; the waiter looks for itself whether what it waits for is true."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def fire(self) -> None:
        """Wake whoever waits."""
        event, self._event = self._event, anyio.Event()
        event.set()

    async def wait(self) -> None:
        """Until it fires next."""
        await self._event.wait()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until a condition holds; it is looked at now and each time the signal fires."""
        while not condition():
            await self._event.wait()
