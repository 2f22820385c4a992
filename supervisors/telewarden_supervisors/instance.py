"""One run of one worker: its cancel scope, its context, and how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from telewarden_supervisors.errors import CancelledFromInside, leaves
from telewarden_supervisors.spec import Worker
from telewarden_supervisors.stack import waiting_stack


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a worker ended: it failed with `cause`, raised something that `passes` through, or neither."""

    cause: Exception | None = None
    passes: BaseException | None = None


class InstanceContext:
    """The `WorkerContext` of one instance."""

    __slots__ = ("_is_ready", "_now", "_on_ready", "last_beat", "name", "status_text")

    def __init__(self, name: str, now: Callable[[], float], on_ready: Callable[[], None]) -> None:
        self.name = name
        self.last_beat: float | None = None
        self.status_text = ""
        self._now = now
        self._on_ready = on_ready
        self._is_ready = False

    def ready(self) -> None:
        """See `WorkerContext`."""
        if not self._is_ready:
            self._is_ready = True
            self.beat()
            self._on_ready()

    def beat(self) -> None:
        """See `WorkerContext`."""
        self.last_beat = self._now()

    def status(self, text: str) -> None:
        """See `WorkerContext`."""
        self.status_text = text


class Instance:
    """A worker from its start to its end.

    Its scope is shielded: when the supervisor is cancelled, the supervisor stops its children itself, in
    order, each with its time-out.
    """

    def __init__(self, path: str, number: int, worker: Worker, context: InstanceContext) -> None:
        self.path = path
        self.number = number
        self.context = context
        self._worker = worker
        self._scope = anyio.CancelScope(shield=True)
        self._awaitable: Awaitable[None] | None = None

    def cancel(self) -> None:
        """Asks the worker to end."""
        self._scope.cancel()

    @property
    def stack(self) -> tuple[str, ...]:
        """Where the worker waits, outermost call first."""
        return waiting_stack(self._awaitable)

    async def run(self) -> Outcome:
        """Runs the worker to its end, whatever that is; raises nothing."""
        if self._scope.cancel_called:
            return Outcome()
        try:
            with self._scope:
                self._awaitable = self._worker(self.context)
                await self._awaitable
        except Exception as error:  # noqa: BLE001 - any error of a worker is a failure to be supervised
            return Outcome(cause=error)
        except BaseException as error:  # noqa: BLE001 - handed to the supervisor, which raises it or counts it
            return self._judged(error)
        return Outcome()

    def _judged(self, error: BaseException) -> Outcome:
        """The outcome for an error that is no `Exception`.

        Our own cancellation ends in the scope. One that comes out of it is foreign: on asyncio, a native
        one, or that of a future that the worker awaited.
        """
        cancelled = anyio.get_cancelled_exc_class()
        found = tuple(leaves(error))
        if not all(isinstance(leaf, (Exception, cancelled)) for leaf in found):
            return Outcome(passes=error)
        errors = [leaf for leaf in found if isinstance(leaf, Exception)]
        if errors:
            return Outcome(cause=ExceptionGroup("errors beside a cancellation", errors))
        if self._scope.cancel_called:
            return Outcome()
        supervisor, _, name = self.path.rpartition("/")
        cause = CancelledFromInside(supervisor, name)
        cause.__cause__ = error
        return Outcome(cause=cause)
