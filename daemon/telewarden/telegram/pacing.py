"""How often Telegram may be asked, and what it has told us to wait for. Pure: the time comes in."""

from collections.abc import Mapping

METHOD_WIDE = 3
"""So many channels at once that are told to wait with one method mean that the method is meant, not the channels."""


class Budget:
    """A token bucket over all requests of the account, as a schedule (GCRA): each caller is given its moment.

    rate_per_s: requests a second in the long run. burst: how many may go at once after a quiet time.
    """

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._interval_s = 1.0 / rate_per_s
        self._tolerance_s = self._interval_s * (burst - 1)
        self._next_s = 0.0

    def reserve(self, now_s: float) -> float:
        """Take one request. Returns how long to wait before it is made, in seconds."""
        due_s = max(self._next_s, now_s)
        self._next_s = due_s + self._interval_s
        return max(0.0, due_s - self._tolerance_s - now_s)


class FloodWaits:
    """The waits that Telegram asked for, each for a method and, where it was asked of one, a channel.

    A wait of one channel holds back nothing else, until METHOD_WIDE channels wait with the same method at once. One
    that was asked for a request without a channel holds back that method alone. counts: how many there were, by method.
    """

    def __init__(self) -> None:
        self._until_s: dict[tuple[str, int | None], float] = {}
        self.counts: dict[str, int] = {}

    def asked(self, method: str, channel_id: int | None, wait_s: float, now_s: float) -> None:
        """Telegram asked to wait."""
        self.counts[method] = self.counts.get(method, 0) + 1
        self._drop_past(now_s)
        self._until_s[method, channel_id] = now_s + wait_s
        waiting = [until for (m, c), until in self._until_s.items() if m == method and c is not None]
        if len(waiting) >= METHOD_WIDE:
            self._until_s[method, None] = max(waiting)

    def wait_s(self, method: str, channel_id: int | None, now_s: float) -> float:
        """How long such a request still has to wait, in seconds; 0 if it may be made."""
        keys = ((method, channel_id), (method, None))
        return max(0.0, *(self._until_s.get(key, now_s) - now_s for key in keys))

    def waiting(self, now_s: float) -> Mapping[tuple[str, int | None], float]:
        """What waits now, and how much longer, in seconds."""
        self._drop_past(now_s)
        return {key: until - now_s for key, until in self._until_s.items()}

    def _drop_past(self, now_s: float) -> None:
        self._until_s = {key: until for key, until in self._until_s.items() if until > now_s}
