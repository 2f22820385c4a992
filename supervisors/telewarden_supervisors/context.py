"""What a worker gets from its supervisor."""

from __future__ import annotations

from typing import Protocol


class WorkerContext(Protocol):
    """Handed to each worker; all calls are synchronous, cheap, and made on the worker's event loop."""

    @property
    def name(self) -> str:
        """The child's name, as in its specification."""

    def ready(self) -> None:
        """Says that the worker does its work now: the next sibling may start. Repeating it has no effect.

        It counts as the first beat (OTP: the return of a child's `init`).
        """

    def beat(self) -> None:
        """Says that the worker has made progress. Costs well under 1 µs; call it as often as you like."""

    def status(self, text: str) -> None:
        """Sets the line that `snapshot()` shows for this worker."""
