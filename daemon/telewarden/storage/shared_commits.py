"""What a process of the role `api` writes: committed in the database, then told to the cache."""

from collections.abc import Sequence

from telewarden.messages import Event
from telewarden.storage.batch import NO_JOURNAL, write_batch
from telewarden.storage.cache import Cache, CacheUnavailable, HistoryChanged
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.shared_cache import SharedCache, Told
from telewarden.storage.tail import Record
from telewarden_http.protocols import Unavailable


class SharedCommits:
    """Commits events that make messages wait no more, and tells the cache of them."""

    def __init__(self, database: Database, cache: Cache | None, shared: SharedCache) -> None:
        self._database, self._cache, self._shared = database, cache, shared

    async def commit(self, events: Sequence[Event], at_us: int) -> None:
        """When this returns, they are committed. Raises Unavailable; then it is not known whether they are."""
        records = [Record(0, event, at_us, 0) for event in events]
        try:
            async with self._database.writing() as connection:
                await write_batch(connection, records, NO_JOURNAL)
        except DatabaseUnavailable as error:
            raise Unavailable(f"it could not be kept: {error}; try again") from error

    async def tell(self, told: Sequence[Told]) -> None:
        """Tell the cache before the answer goes out; what it may not have heard is owed to it, whatever happens."""
        if self._cache is None or not told:
            return
        history = self._shared.history
        heard = False
        try:
            if history is not None:
                await self._cache.apply(history, [each.write for each in told])
                heard = True
        except CacheUnavailable as error:
            self._shared.disconnected(str(error), history)
        except HistoryChanged as error:
            self._shared.distrust(str(error))
        finally:
            if heard and history is not None:
                self._shared.told(told, history)
            else:
                self._shared.owe(told)
