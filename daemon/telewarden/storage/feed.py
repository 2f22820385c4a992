"""The feed as the API asks for it: from memory, and from the database what memory does not reach back to."""

from collections import Counter
from collections.abc import Callable, Collection

import anyio

from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.feed_foresight import event_of
from telewarden.storage.feed_store import FeedStore
from telewarden.storage.feed_window import FeedWindow, Filter
from telewarden.storage.render import render_row
from telewarden_http.protocols import Unavailable
from telewarden_http.v1.feed_protocols import (
    CursorExpired,
    FeedChannel,
    FeedPage,
    FeedQuery,
)
from telewarden_http.v1.token import BEGINNING, Position

_LOOK_S = 0.25
MEMORY, DATABASE, JOURNAL = "memory", "database", "journal"
SOURCES = (MEMORY, DATABASE, JOURNAL)
"""Where events were read, as consumers are told: `journal` in memory, and not in the database yet."""


class WindowedFeed:
    """Implements the API's Feed. channels: those that are served, by id. served: events given out, by source."""

    def __init__(
        self,
        window: FeedWindow,
        store: FeedStore,
        *,
        served: Collection[int],
        described: Callable[[], Collection[FeedChannel]],
    ) -> None:
        self._window, self._store = window, store
        self._served, self._described = served, described
        self.served: Counter[str] = Counter()

    def channels(self) -> Collection[FeedChannel]:
        """Those that are served."""
        return self._described()

    def serves(self, channel: int) -> bool:
        """Whether a channel is."""
        return channel in self._served

    async def now(self) -> Position:
        """The newest event's position. Raises Unavailable."""
        if self._window.start is not None:
            return self._window.head
        try:
            return await self._store.head()
        except DatabaseUnavailable as error:
            raise _unavailable(error) from error

    async def page(self, after: Position | None, query: FeedQuery) -> FeedPage:
        """What there is after a position. Raises CursorExpired, Unavailable."""
        wanted = Filter(self._readable(query.channels), query.kinds)
        page = self._from_memory(BEGINNING if after is None else after, wanted, query.limit)
        if page is None:
            page = await self._from_database(after, wanted, query.limit)
        self.served[page.source] += len(page.events)
        return page

    async def grown(self, after: Position, query: FeedQuery) -> None:
        """Return when there may be something after a position."""
        window = self._window
        with window.waiter(Filter(query.channels, query.kinds)) as signal:
            if window.start is not None and after < window.start:
                # The database lacks what memory has let go already: it is catching up.
                await anyio.sleep(_LOOK_S)
                return
            while not window.matches_after(after, query.channels, query.kinds):
                await signal.wait()

    def _readable(self, channels: frozenset[int] | None) -> frozenset[int]:
        if channels is None:
            return frozenset(self._served)
        return frozenset(channel for channel in channels if channel in self._served)

    def _from_memory(self, after: Position, wanted: Filter, limit: int) -> FeedPage | None:
        if not self._window.covers(after):
            return None
        found = self._window.after(after, wanted, limit)
        ahead = bool(found.events) and found.events[-1].position > self._window.stored
        return FeedPage(found.events, found.next, found.more, JOURNAL if ahead else MEMORY)

    async def _from_database(self, after: Position | None, wanted: Filter, limit: int) -> FeedPage:
        # Noted before it is read: by then the database had all of this.
        complete = self._window.stored
        channels, kinds = sorted(wanted.channels or ()), sorted(wanted.kinds)
        since = after or BEGINNING
        try:
            while True:
                changes, floor = await self._store.kept_page(since, limit + 1, channels, kinds)
                if since >= floor:
                    break
                if after is not None:
                    raise CursorExpired(floor)
                since = floor
        except DatabaseUnavailable as error:
            raise _unavailable(error) from error
        more = len(changes) > limit
        del changes[limit:]
        events = [
            event_of(change.position, change.kind, change.key, change.at_us, render_row(change.row))
            for change in changes
            # One that is gone with its day is not kept any more, though something happened to it later.
            if change.row is not None
        ]
        reached = changes[-1].position if changes else since
        if more:
            return FeedPage(events, reached, True, DATABASE)
        reached = max(reached, complete)
        return FeedPage(
            events, reached, self._window.matches_after(reached, wanted.channels, wanted.kinds), DATABASE
        )


def _unavailable(error: DatabaseUnavailable) -> Unavailable:
    return Unavailable(
        f"the database is down ({error}), and what follows this token is not in memory; try again"
    )
