"""Finds out who blocks the event loop: no heartbeat can tell, since nothing runs that would look at it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import anyio

from telewarden_supervisors.context import WorkerContext
from telewarden_supervisors.instance import Instance


@dataclass(frozen=True, slots=True)
class LoopBlocked:
    """The event loop has not turned for `after_s` seconds.

    worker: the path of the worker that runs and does not give way; None if the code that runs is in a task
        that a worker started itself, or in no worker.
    stack: what runs at this moment, outermost call first: "file:line function".
    """

    after_s: float
    worker: str | None
    stack: tuple[str, ...]


class LoopWatch:
    """A worker with a thread that reports when the event loop is blocked: `ChildSpec("loop watch", LoopWatch(…))`.

    timeout_s: how long the loop may take for one turn.
    on_blocked: is called once for each time the loop is blocked, in the watching thread, while it is blocked.
        It may write it down, or end the process; a worker cannot be interrupted from there. What it raises
        is the failure of the watch.

    It looks four times within `timeout_s`, so a report comes at most a quarter late.
    """

    def __init__(self, timeout_s: float, on_blocked: Callable[[LoopBlocked], None]) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s must be positive, got {timeout_s}")
        self._timeout_s = timeout_s
        self._interval_s = timeout_s / 4
        self._on_blocked = on_blocked
        self._turned_at = 0.0
        self._error: Exception | None = None

    async def __call__(self, ctx: WorkerContext) -> None:
        """Watches until it is cancelled. Raises what `on_blocked` raised."""
        self._turned_at = time.monotonic()
        self._error = None
        stop = threading.Event()
        # Not one of anyio's worker threads: it has to run before the loop turns again, and must not be waited
        # for. It ends as soon as `stop` is set.
        thread = threading.Thread(
            target=self._watch, args=(stop, threading.get_ident()), name="loop watch", daemon=True
        )
        thread.start()
        ctx.ready()
        try:
            while self._error is None:
                self._turned_at = time.monotonic()
                ctx.beat()
                await anyio.sleep(self._interval_s)
            raise self._error
        finally:
            stop.set()

    def _watch(self, stop: threading.Event, loop_thread: int) -> None:
        reported = 0.0
        while not stop.wait(self._interval_s):
            turned_at = self._turned_at
            after_s = time.monotonic() - turned_at
            if after_s > self._timeout_s and reported != turned_at:
                reported = turned_at
                try:
                    self._on_blocked(_report(after_s, sys._current_frames().get(loop_thread)))
                except Exception as error:  # noqa: BLE001 - raised by the worker as soon as the loop turns
                    self._error = error
                    return


def _report(after_s: float, frame: FrameType | None) -> LoopBlocked:
    worker = None
    calls = []
    while frame is not None:
        calls.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}")
        if worker is None and frame.f_code is Instance.run.__code__:
            worker = frame.f_locals["self"].path
        frame = frame.f_back
    return LoopBlocked(after_s, worker, tuple(reversed(calls)))
