"""Where a supervisor gets its time from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import anyio
from anyio.lowlevel import current_token


class Clock(Protocol):
    """Monotonic time in seconds, and waiting on the same time line."""

    def now(self) -> float:
        """Seconds since an arbitrary point."""

    async def sleep(self, delay_s: float) -> None:
        """Returns `delay_s` seconds later; can be cancelled."""


class LoopClock:
    """The running event loop's own clock; on trio that may be a virtual one. Made inside a running loop."""

    def __init__(self) -> None:
        # anyio.current_time() looks up the back-end on each call: five times what loop.time() takes, and
        # each beat asks for the time.
        loop = current_token().native_token
        self.now: Callable[[], float] = (
            loop.time if isinstance(loop, asyncio.AbstractEventLoop) else anyio.current_time
        )

    async def sleep(self, delay_s: float) -> None:
        """Returns `delay_s` seconds later."""
        await anyio.sleep(delay_s)
