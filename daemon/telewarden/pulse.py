"""How fast things go, and how long they take, over the last seconds: counters and histograms, looked at regularly.

Nothing here keeps a count of its own; it remembers what the counters were. No I/O; the time comes in.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from telewarden_http.v1.overview_protocols import Latency, Rate

SHORT_S, LONG_S = 10.0, 60.0
"""Seconds that rates are told of; latencies are of the longer one."""
_COUNTERS_EACH_S = 1.0
_HISTOGRAMS_EACH_S = 5.0

Buckets = Mapping[float, float]
"""How many observations lasted at most so many seconds, by that limit; the limits ascend, the last one is infinite."""

T = TypeVar("T")


class Remembered(Generic[T]):
    """What something was at times of the last LONG_S seconds. each_s: no two of them are closer together."""

    def __init__(self, each_s: float) -> None:
        self._each_s = each_s
        self._looks: deque[tuple[float, T]] = deque()

    def is_due(self, now_s: float) -> bool:
        """It has not been looked at for so long."""
        return not self._looks or now_s - self._looks[-1][0] >= self._each_s

    def keep(self, value: T, now_s: float) -> None:
        """It is so now. The oldest look that is kept is at least LONG_S old, once there is one."""
        self._looks.append((now_s, value))
        while len(self._looks) > 1 and self._looks[1][0] <= now_s - LONG_S:
            self._looks.popleft()

    def before(self, age_s: float, now_s: float) -> tuple[float, T] | None:
        """(when, what it was) so many seconds ago, or as early as is known; None before the first look."""
        found = None
        for look in self._looks:
            if found is not None and look[0] > now_s - age_s:
                break
            found = look
        return found


class Pulse:
    """counters: each gives what it has counted so far. histograms: each gives its cumulative buckets."""

    def __init__(
        self,
        counters: Mapping[str, Callable[[], int]],
        histograms: Mapping[str, Callable[[], Buckets]],
        clock_s: Callable[[], float],
    ) -> None:
        self._counters, self._histograms, self._clock_s = counters, histograms, clock_s
        self._counted = {name: Remembered[int](_COUNTERS_EACH_S) for name in counters}
        self._timed = {name: Remembered[Buckets](_HISTOGRAMS_EACH_S) for name in histograms}

    def beat(self) -> None:
        """Look, where it is time to; to be called about twice a second."""
        now_s = self._clock_s()
        for name, counted in self._counted.items():
            if counted.is_due(now_s):
                counted.keep(self._counters[name](), now_s)
        for name, timed in self._timed.items():
            if timed.is_due(now_s):
                timed.keep(self._histograms[name](), now_s)

    def rate(self, name: str) -> Rate:
        """How fast a counter grows."""
        now_s, total = self._clock_s(), self._counters[name]()

        def over(age_s: float) -> float:
            look = self._counted[name].before(age_s, now_s)
            if look is None or now_s <= look[0]:
                return 0.0
            return round((total - look[1]) / (now_s - look[0]), 2)

        return Rate(ten_seconds=over(SHORT_S), minute=over(LONG_S), total=total)

    def latency(self, name: str) -> Latency | None:
        """How long it took lately; None where nothing was timed."""
        buckets = self._histograms[name]()
        look = self._timed[name].before(LONG_S, self._clock_s())
        before = look[1] if look is not None else {}
        return latency_of({limit: count - before.get(limit, 0.0) for limit, count in buckets.items()})


def latency_of(buckets: Buckets) -> Latency | None:
    """Median and 95th percentile of what cumulative buckets hold; None of nothing. Pure."""
    count = max(buckets.values(), default=0.0)
    if count <= 0:
        return None
    return Latency(
        p50_ms=round(quantile(buckets, 0.5) * 1000, 3),
        p95_ms=round(quantile(buckets, 0.95) * 1000, 3),
        count=int(count),
    )


def quantile(buckets: Buckets, share: float) -> float:
    """The value that a share of the observations do not exceed, interpolated within its bucket (as Prometheus's
    histogram_quantile does); the highest finite limit, where it lies beyond. Pure."""
    wanted = share * max(buckets.values())
    below, lower = 0.0, 0.0
    for limit, count in buckets.items():
        if count >= wanted:
            if limit == float("inf") or count == below:
                return lower
            return lower + (limit - lower) * (wanted - below) / (count - below)
        below, lower = count, limit
    return lower
