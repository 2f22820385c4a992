"""A crowd of workers that do nothing, under a supervisor or in a bare task group, for the benchmarks to look at.

`python -m telewarden.sandbox.children supervised 1000` prints by how many bytes the resident memory of this fresh
process has grown when they all run; `bare` for the task group.
"""

import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from telewarden_supervisors import ChildSpec, Supervisor, WorkerContext

HEARTBEAT_TIMEOUT_S = 3.0


async def _live(phase: float, beat_every_s: float | None, beat: Callable[[], None]) -> None:
    if beat_every_s is None:
        await anyio.sleep_forever()
        return
    await anyio.sleep(beat_every_s * phase)
    while True:
        beat()
        await anyio.sleep(beat_every_s)


@asynccontextmanager
async def supervised(count: int, beat_every_s: float | None = None) -> AsyncIterator[None]:
    """So many children of one supervisor, all ready; each beats regularly, evenly spread, or sleeps for good."""

    def child(number: int) -> ChildSpec:
        async def worker(ctx: WorkerContext) -> None:
            ctx.ready()
            await _live(number / count, beat_every_s, ctx.beat)

        timeout_s = None if beat_every_s is None else HEARTBEAT_TIMEOUT_S
        return ChildSpec(f"child {number}", worker, heartbeat_timeout_s=timeout_s)

    supervisor = Supervisor("bench", [child(number) for number in range(count)])
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        yield
        await supervisor.stop()


@asynccontextmanager
async def bare(count: int, beat_every_s: float | None = None) -> AsyncIterator[None]:
    """The same work in so many tasks of one task group. A beat is what it takes to note the time."""
    beats: dict[int, float] = {}
    started = 0
    all_started = anyio.Event()

    async def worker(number: int) -> None:
        nonlocal started
        started += 1
        if started == count:
            all_started.set()

        def beat() -> None:
            beats[number] = time.monotonic()

        await _live(number / count, beat_every_s, beat)

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(worker, number, name=f"child {number}")
        await all_started.wait()
        yield
        tasks.cancel_scope.cancel()


CROWDS = {"supervised": supervised, "bare": bare}


def _resident_bytes() -> int:
    gc.collect()
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def _growth_bytes(kind: str, count: int) -> int:
    # The first one imports and caches what a crowd shares.
    async with CROWDS[kind](1):
        pass
    before = _resident_bytes()
    async with CROWDS[kind](count):
        return _resident_bytes() - before


if __name__ == "__main__":
    growth = anyio.run(_growth_bytes, sys.argv[1], int(sys.argv[2]), backend_options={"use_uvloop": True})
    sys.stdout.write(f"{growth}\n")
