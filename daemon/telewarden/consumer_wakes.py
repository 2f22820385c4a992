"""What wakes a consumer's long poll: something new in the feed that the database has, or something given back here."""

from collections.abc import Awaitable, Callable, Collection

import anyio

from telewarden.storage.feed_window import FeedWindow, Filter
from telewarden.storage.journal import Journal
from telewarden.storage.signal import Signal
from telewarden_http.v1.consumers_protocols import Channels
from telewarden_http.v1.token import Position

Stored = Callable[[Position], Awaitable[None]]
"""Until the database has everything up to a position."""


async def _follows_the_database(position: Position) -> None:
    """Stored, where memory has nothing that the database has not."""


class WindowWakes:
    """Implements Wakes by the newest events in memory. returned: fires when this process gave something back. stored:
    an event wakes only when it can be handed out, which the database does."""

    def __init__(
        self, window: FeedWindow, returned: Signal, *, stored: Stored = _follows_the_database
    ) -> None:
        self._window, self._returned, self._stored = window, returned, stored

    async def wait(self, after: Position, channels: Channels, kinds: Collection[str]) -> Position:
        """See Wakes."""
        wanted = Filter(None if channels is None else frozenset(map(int, channels)), frozenset(kinds))
        reached = after
        async with anyio.create_task_group() as tasks:

            async def returned() -> None:
                await self._returned.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(returned)
            reached = await self._news(after, wanted)
            tasks.cancel_scope.cancel()
        return reached

    async def _news(self, after: Position, wanted: Filter) -> Position:
        window = self._window
        with window.waiter(wanted) as signal:
            await signal.wait_until(lambda: window.matches_after(after, *wanted))
        head = window.head
        await self._stored(head)
        return head


def stored_in(journal: Journal) -> Stored:
    """By what the writer has taken from a journal. An event of another journal is in the database."""

    async def stored(position: Position) -> None:
        await journal.changed.wait_until(
            lambda: journal.epoch != position.epoch or journal.flushed >= position.position
        )

    return stored
