"""The group `supervision`: what the supervisors cost, beside bare tasks that do the same without them."""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

import anyio
import anyio.lowlevel

from telewarden.sandbox.children import HEARTBEAT_TIMEOUT_S, bare, supervised
from telewarden.sandbox.figures import Figure
from telewarden_supervisors import Backoff, ChildSpec, Intensity, Supervisor, WorkerContext

BEAT_EVERY_S = 1.0
Crowd: TypeAlias = Callable[[int, float | None], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    beats: int = 200_000
    rounds: int = 9
    crashes: int = 1_000
    crash_rounds: int = 5
    children: int = 1_000
    idle_s: float = 6.0
    idle_rounds: int = 2


SIZES = Sizes()


async def measure() -> dict[str, Figure]:
    """All figures of the group, on the loop that runs this."""
    beat_us, call_us = await _beat_us()
    restart_us, by_hand_us = await _crash_to_ready_us()
    count = SIZES.children
    asleep, asleep_bare = await _idle_ms(None)
    beating, beating_bare = await _idle_ms(BEAT_EVERY_S)
    memory, memory_bare = await _memory_mb("supervised"), await _memory_mb("bare")
    return {
        "beat": Figure(beat_us, "µs", call_us, "<=", 1.0),
        "crash_to_ready": Figure(restart_us, "µs", by_hand_us, "<=", 2.0, of="ratio"),
        "idle_cpu": Figure(asleep, "ms/s", asleep_bare, "<=", 1.0),
        "idle_cpu_beating": Figure(beating, "ms/s", beating_bare, "<=", 2.0, of="ratio"),
        "memory": Figure(memory, "MB", memory_bare, "<=", 20.0),
        "memory_per_child": Figure(memory * 1000 / count, "KB", memory_bare * 1000 / count, "<=", 20.0),
    }


class _Empty:
    def call(self) -> None:
        """Nothing: what a call of a method costs by itself."""


async def _beat_us() -> tuple[float, float]:
    """(`ctx.beat()`, an empty method): µs a call, the median of some rounds that take turns."""
    beats: list[float] = []
    calls: list[float] = []

    async def worker(ctx: WorkerContext) -> None:
        ctx.ready()
        for _ in range(SIZES.rounds):
            beats.append(_call_us(ctx.beat))
            calls.append(_call_us(_Empty().call))
        supervisor.request_stop()
        await anyio.sleep_forever()

    supervisor = Supervisor("bench", [ChildSpec("beats", worker, heartbeat_timeout_s=60.0)])
    await supervisor.run()
    return median(beats), median(calls)


def _call_us(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(SIZES.beats):
        call()
    return (time.perf_counter() - began) / SIZES.beats * 1e6


class _Crashes:
    """A worker that is ready, lets others run once, and crashes; notes the time from each crash to the next ready."""

    def __init__(self) -> None:
        self.times_us: list[float] = []
        self.over = anyio.Event()
        self._crashed_at: float | None = None

    async def run(self, ready: Callable[[], None]) -> None:
        ready()
        if self._crashed_at is not None:
            self.times_us.append((time.perf_counter() - self._crashed_at) * 1e6)
        if len(self.times_us) == SIZES.crashes:
            self.over.set()
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        self._crashed_at = time.perf_counter()
        raise RuntimeError("a crash on purpose")


async def _crash_to_ready_us() -> tuple[float, float]:
    """(under a supervisor, by hand): the median of some rounds that take turns."""
    supervised_us: list[float] = []
    by_hand_us: list[float] = []
    for _ in range(SIZES.crash_rounds):
        supervised_us.append(await _restart_us())
        by_hand_us.append(await _restart_by_hand_us())
    return median(supervised_us), median(by_hand_us)


async def _restart_us() -> float:
    """From a crash to ready under a supervisor that waits for nothing: the median in µs."""
    crashes = _Crashes()
    child = ChildSpec("crashes", lambda ctx: crashes.run(ctx.ready), backoff=Backoff(initial_s=0.0))
    # Never too many, and hardly any remembered: crashes are rare where they are not made on purpose.
    supervisor = Supervisor("bench", [child], intensity=Intensity(1_000_000, period_s=0.001))
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        await crashes.over.wait()
        await supervisor.stop()
    return median(crashes.times_us)


async def _restart_by_hand_us() -> float:
    """The same by hand: a worker's task group fails with it, and is made anew.

    Whoever catches the error inside the task and starts another one there is quicker (a sixth of what the supervisor
    takes), but has no scope by which one worker can be cancelled and waited for.
    """
    crashes = _Crashes()

    def ready() -> None:
        pass

    async def restart() -> None:
        while True:
            try:
                async with anyio.create_task_group() as own:
                    own.start_soon(crashes.run, ready)
            except* RuntimeError:
                pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(restart)
        await crashes.over.wait()
        tasks.cancel_scope.cancel()
    return median(crashes.times_us)


async def _idle_ms(beat_every_s: float | None) -> tuple[float, float]:
    """(supervised, bare): what a crowd costs that only beats, if that; the median of some rounds that take turns."""
    costs: list[float] = []
    floors: list[float] = []
    for _ in range(SIZES.idle_rounds):
        costs.append(await _cpu_ms(supervised, beat_every_s))
        floors.append(await _cpu_ms(bare, beat_every_s))
    return median(costs), median(floors)


async def _cpu_ms(crowd: Crowd, beat_every_s: float | None) -> float:
    """CPU time of this process in ms for each second."""
    async with crowd(SIZES.children, beat_every_s):
        # Until then no beat is due, and the first ones all are at once.
        await anyio.sleep(min(HEARTBEAT_TIMEOUT_S + 0.5, SIZES.idle_s))
        began, cpu_began = time.perf_counter(), time.process_time()
        await anyio.sleep(SIZES.idle_s)
        seconds = time.perf_counter() - began
        return (time.process_time() - cpu_began) * 1000 / seconds


async def _memory_mb(crowd: str) -> float:
    """The growth of the resident memory of a fresh process in MB (10⁶ bytes)."""
    command = [sys.executable, "-m", "telewarden.sandbox.children", crowd, str(SIZES.children)]
    done = await anyio.run_process(command, stderr=None)
    return int(done.stdout) / 1e6
