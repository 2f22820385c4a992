"""The end of a server, as those learn of it that wait: a long poll is answered at once, empty."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
from quart import Quart

_KEY: Final = "telewarden_stopping"


class Stopping:
    """Set when a server begins to end, before its connections get their time to end gracefully.

    An app may be served again after that, so it is taken back when a server begins. Costs a waiting request no task.
    """

    def __init__(self) -> None:
        self._begun = False
        self._waits: set[anyio.CancelScope] = set()

    @property
    def begun(self) -> bool:
        """The server ends: what would wait is to be answered with what there is."""
        return self._begun

    def begin(self) -> None:
        """End every wait, and let none begin."""
        self._begun = True
        for scope in self._waits:
            scope.cancel()

    def take_back(self) -> None:
        """A server begins: waits are waited again."""
        self._begun = False

    @contextmanager
    def waiting(self, most_s: float) -> Iterator[anyio.CancelScope]:
        """Wait inside of this, for at most so many seconds, and no longer than until the server ends.

        The scope it gives says by `cancelled_caught` that the wait was cut short. Only the wait itself belongs inside:
        what must not be done by halves (taking a lease, say) belongs behind it. A generator must not yield inside.

            with stopping.waiting(wait_s):
                await changed.wait_until(lambda: there_is_news())
            return what_there_is()
        """
        with anyio.move_on_after(most_s) as scope:
            if self._begun:
                scope.cancel()
            self._waits.add(scope)
            try:
                yield scope
            finally:
                self._waits.discard(scope)


def stopping_of(app: Quart) -> Stopping:
    """The one of an app, the same each time."""
    stopping: Stopping = app.extensions.setdefault(_KEY, Stopping())
    return stopping
