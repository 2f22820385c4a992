"""Time and chance of a schedule: trio's virtual clock, a scheduler whose choices come from the schedule's own random
numbers, and no thread. A schedule is the same each time that it runs."""

import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import anyio.to_thread
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

EPOCH_S = 1_700_000_000.0
"""What the wall clock shows when a schedule begins."""


def now_s() -> float:
    """The virtual wall clock."""
    return EPOCH_S + trio.current_time()


def now_us() -> int:
    """The same in microseconds."""
    return int(now_s() * 1_000_000)


class _VirtualTime(ModuleType):
    """What the product finds under the name `time`."""

    def __init__(self) -> None:
        super().__init__("time")
        self.time, self.monotonic = now_s, trio.current_time
        self.time_ns = lambda: now_us() * 1000


@contextmanager
def _patched(rng: random.Random, delay_s: Callable[[], float]) -> Iterator[None]:
    async def run_sync(run: Callable[..., Any], *args: Any, **_: Any) -> Any:
        # What was done before a crash is done, also if nobody hears of it.
        await trio.sleep(delay_s())
        answer = run(*args)
        await trio.sleep(delay_s())
        return answer

    virtual = _VirtualTime()
    with pytest.MonkeyPatch.context() as patch, capture_logs():
        patch.setattr(anyio.to_thread, "run_sync", run_sync)
        # As hypothesis' plugin has it: tasks that could run at the same moment run in an order of the seed's choice.
        patch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
        chance = sys.modules["trio._core._run"]._r
        before = chance.getstate()
        chance.seed(rng.getrandbits(64))
        for name, module in list(sys.modules.items()):
            if name.startswith("telewarden.") and getattr(module, "time", None) is sys.modules["time"]:
                patch.setattr(module, "time", virtual)
        try:
            yield
        finally:
            chance.setstate(before)


def run(main: Callable[[], Awaitable[None]], rng: random.Random, delay_s: Callable[[], float]) -> None:
    """Run one schedule. delay_s: how long the disk takes, each way."""
    with _patched(rng, delay_s):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
