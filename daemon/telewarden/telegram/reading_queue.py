"""Which channel's history is read next: what is missing first, what is only compared after it. One connection's."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from telewarden.storage.signal import Signal


class ReadingQueue:
    """A channel that somebody is at is given to nobody else meanwhile."""

    def __init__(self) -> None:
        self._missing: dict[int, bool] = {}
        self._to_compare: list[int] = []
        self._busy: set[int] = set()
        self._read: set[int] = set()
        self._changed = Signal()

    @property
    def is_idle(self) -> bool:
        """Nothing is missing, and nothing is being read."""
        return not self._missing and not self._read

    @property
    def is_comparing(self) -> bool:
        """The last round of comparisons is not over."""
        return bool(self._to_compare)

    def is_reading(self, channel_id: int) -> bool:
        """The channel's history has to be read, or is being read."""
        return channel_id in self._missing or channel_id in self._read

    def is_busy(self, channel_id: int) -> bool:
        """Somebody is at the channel."""
        return channel_id in self._busy

    def ask_for(self, channel_ids: Iterable[int], *, window: bool) -> None:
        """Something is missing of these channels. window: their newest posts have to be compared, too."""
        for channel_id in channel_ids:
            self._missing[channel_id] = self._missing.get(channel_id, False) or window
        self._changed.fire()

    def compare(self, channel_ids: list[int]) -> None:
        """A round: the newest posts of these channels are compared when nothing is missing."""
        self._to_compare = channel_ids
        self._changed.fire()

    async def wait(self) -> None:
        """Until there is a channel to read."""
        await self._changed.wait_until(lambda: self._next() is not None)

    @contextmanager
    def reading(self) -> Iterator[tuple[int, bool]]:
        """The next channel, and whether its newest posts are compared; there has to be one (see `wait`)."""
        channel_id = self._next()
        if channel_id is None:
            raise LookupError("there is no channel to read")
        window = self._missing.pop(channel_id, False)
        if channel_id in self._to_compare:
            self._to_compare.remove(channel_id)
            window = True
        self._read.add(channel_id)
        try:
            with self.at(channel_id):
                yield channel_id, window
        finally:
            self._read.discard(channel_id)
            self._changed.fire()

    @contextmanager
    def at(self, channel_id: int) -> Iterator[None]:
        """Be at a channel for another reason."""
        self._busy.add(channel_id)
        try:
            yield
        finally:
            self._busy.discard(channel_id)
            self._changed.fire()

    def _next(self) -> int | None:
        return next((c for c in (*self._missing, *self._to_compare) if c not in self._busy), None)
