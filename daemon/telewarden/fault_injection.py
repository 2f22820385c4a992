"""Faults that a test puts into running workers. Nothing of it is there unless testing.worker_faults is set."""

import time
from enum import Enum

import anyio

from telewarden_supervisors import Worker, WorkerContext


class FaultKind(Enum):
    """What is to happen to a worker."""

    EXCEPTION = "exception"
    """it fails"""
    HANG = "hang"
    """it makes no progress any more, and never returns"""
    STUCK = "stuck"
    """the same, and it cannot be cancelled"""
    FREEZE = "freeze"
    """it blocks the event loop for ever"""


class InjectedFault(Exception):
    """A worker failed because a test wanted it to."""


class _Running:
    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.kind: FaultKind | None = None


class WorkerFaults:
    """Wraps workers, and breaks those that run."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    def wrap(self, name: str, worker: Worker) -> Worker:
        """The same worker, which `inject` can break."""

        async def breakable(ctx: WorkerContext) -> None:
            running = self._running[name] = _Running()
            try:
                with running.scope:
                    await worker(ctx)
                    return
            finally:
                if self._running.get(name) is running:
                    del self._running[name]
            await _suffer(name, running.kind)

        return breakable

    def inject(self, name: str, kind: FaultKind) -> bool:
        """Break a worker wherever it is at this moment; False if it does not run."""
        running = self._running.get(name)
        if running is None:
            return False
        running.kind = kind
        running.scope.cancel()
        return True


def _freeze() -> None:
    while True:
        time.sleep(60)


async def _suffer(name: str, kind: FaultKind | None) -> None:
    match kind:
        case FaultKind.EXCEPTION:
            raise InjectedFault(f"{name} was made to fail by a test")
        case FaultKind.HANG:
            await anyio.sleep_forever()
        case FaultKind.STUCK:
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()
        case FaultKind.FREEZE:
            _freeze()
        case None:
            raise AssertionError("nothing else cancels this scope")
