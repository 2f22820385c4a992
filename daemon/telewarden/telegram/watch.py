"""When each watched channel's difference is asked for next. Pure: the time comes in.

Telegram pushes some channels late or never (see docs/how-it-works.md). What the official clients do for the channel
on the screen is done here for as many as the budget allows.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

_IDLE_S = 600.0
_RECOVER = 1.05
_LEAST = 0.05


@dataclass(slots=True)
class _Watched:
    due_s: float
    news_s: float
    is_first: bool


class WatchPlan:
    """A schedule over channels.

    rate_per_s: requests a second that watching may take. fastest_s: no channel is asked more often. slowest_s: nor,
    as far as the rate allows, less often. A channel with news is asked again after the shortest interval, one without
    ever less often. first: channels that are always asked as often as one with news.
    """

    def __init__(
        self, *, rate_per_s: float, fastest_s: float, slowest_s: float, first: Iterable[int] = ()
    ) -> None:
        self._rate_per_s = rate_per_s
        self._fastest_s, self._slowest_s = fastest_s, slowest_s
        self._first = frozenset(first)
        self._watched: dict[int, _Watched] = {}
        self._queue: list[tuple[float, int]] = []
        self._slowed = 1.0

    def watch(self, channel_ids: Iterable[int], now_s: float) -> None:
        """Watch these channels and no others; those that the rate does not allow are left out, the first ones last."""
        ranked = sorted(channel_ids, key=lambda channel_id: (channel_id not in self._first, channel_id))
        wanted = ranked[: self.most]
        self._watched = {
            channel_id: self._watched.get(channel_id)
            # Spread over one interval, so that they do not come all at once.
            or _Watched(now_s + self._fastest_s * n / len(wanted), now_s, channel_id in self._first)
            for n, channel_id in enumerate(wanted)
        }
        self._queue = [(watched.due_s, channel_id) for channel_id, watched in self._watched.items()]
        heapq.heapify(self._queue)

    @property
    def most(self) -> int:
        """How many channels can be watched."""
        return max(1, int(self._rate_per_s * self._slowest_s))

    @property
    def channel_ids(self) -> frozenset[int]:
        """Those that are watched."""
        return frozenset(self._watched)

    @property
    def interval_s(self) -> float:
        """The shortest interval that is possible now, in seconds."""
        return max(self._fastest_s, len(self._watched) / (self._rate_per_s * self._slowed))

    def wait_s(self, now_s: float) -> float | None:
        """How long until a channel is due; None if none is scheduled."""
        return max(0.0, self._queue[0][0] - now_s) if self._queue else None

    def take(self, now_s: float) -> int | None:
        """A channel that is due. It is out of the schedule until `answered` or `flooded` tells how it went."""
        while self._queue and self._queue[0][0] <= now_s:
            due_s, channel_id = heapq.heappop(self._queue)
            watched = self._watched.get(channel_id)
            if watched is not None and watched.due_s == due_s:
                return channel_id
        return None

    def has_news(self, channel_id: int, now_s: float) -> None:
        """Something came from a channel, on whatever way."""
        watched = self._watched.get(channel_id)
        if watched is not None:
            watched.news_s = now_s

    def answered(self, channel_id: int, now_s: float, *, has_news: bool) -> None:
        """Telegram answered, to the end."""
        self._slowed = min(1.0, self._slowed * _RECOVER)
        if has_news:
            self.has_news(channel_id, now_s)
        interval_s = self._interval_of(channel_id, now_s)
        # Counted from when it was due: what the answer took, and the wait for its turn, must not add up.
        watched = self._watched.get(channel_id)
        due_s = watched.due_s + interval_s if watched is not None else now_s
        self._schedule(channel_id, max(due_s, now_s + interval_s / 2))

    def put_off(self, channel_id: int, now_s: float, wait_s: float) -> None:
        """It cannot be asked before a while has passed, in seconds."""
        self._schedule(channel_id, now_s + max(wait_s, self.interval_s))

    def flooded(self, channel_id: int, now_s: float, wait_s: float) -> None:
        """Telegram asked to wait: watching slows down as a whole, and comes back little by little."""
        self._slowed = max(_LEAST, self._slowed / 2)
        self.put_off(channel_id, now_s, wait_s)

    def _interval_of(self, channel_id: int, now_s: float) -> float:
        watched = self._watched.get(channel_id)
        shortest_s = self.interval_s
        if watched is None or watched.is_first:
            return shortest_s
        idle_s = now_s - watched.news_s
        return max(shortest_s, min(shortest_s * (1 + idle_s / _IDLE_S), self._slowest_s))

    def _schedule(self, channel_id: int, due_s: float) -> None:
        watched = self._watched.get(channel_id)
        if watched is not None:
            watched.due_s = due_s
            heapq.heappush(self._queue, (due_s, channel_id))
