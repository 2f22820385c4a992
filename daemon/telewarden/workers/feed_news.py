"""Word of mouth between processes: "there is news in the feed", over the cache's publish/subscribe.

It only makes things faster: whoever listens looks into the database by itself too, so that nothing depends on it.
"""

from functools import partial

import anyio
import structlog

from telewarden.storage.cache import Cache, CacheUnavailable
from telewarden.storage.cache_errors import Kind
from telewarden.storage.journal import Journal
from telewarden.storage.signal import Signal

log = structlog.get_logger(__name__)

FEED = "feed"
"""What is announced, after the cache's prefix."""
_AGAIN_S = 1.0
_REFUSED_AGAIN_S = 300.0


class Announcer:
    """Tells of what the journal has brought into the database."""

    def __init__(self, cache: Cache, journal: Journal) -> None:
        self._cache, self._journal = cache, journal

    async def run(self) -> None:
        """Until cancelled. What came meanwhile is told together."""
        while True:
            told = self._journal.flushed
            try:
                await self._cache.announce(FEED)
            except CacheUnavailable as error:
                await anyio.sleep(_pause_s(error))
            await self._journal.changed.wait_until(partial(self._has_more, told))

    def _has_more(self, told: int) -> bool:
        return self._journal.flushed != told


class News:
    """Hears of it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._heard = False
        self._signal = Signal()

    async def wait(self) -> None:
        """Until there was word since the last time."""
        await self._signal.wait_until(lambda: self._heard)
        self._heard = False

    async def listen(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async for _ in self._cache.announcements(FEED):
                    self._heard = True
                    self._signal.fire()
            except CacheUnavailable as error:
                await anyio.sleep(_pause_s(error))


def _pause_s(error: CacheUnavailable) -> float:
    """A server that does not allow it is not asked all the time: each refusal stands in its log."""
    if error.problem.kind in (Kind.NO_PERMISSION, Kind.MISSING_COMMAND):
        log.info(
            "feed_news_refused",
            problem=error.problem.text,
            effect="processes that only serve look for news each second",
        )
        return _REFUSED_AGAIN_S
    return _AGAIN_S
