"""Taking times."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any


async def ms(call: Callable[[], Awaitable[Any]]) -> float:
    """How many milliseconds a call takes."""
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000


def p95(times: Sequence[float]) -> float:
    """The time that 19 of 20 stay below. There must be some."""
    return sorted(times)[int(len(times) * 0.95)]
