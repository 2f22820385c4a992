"""How long to wait before a failed child is started again, and how many restarts are too many."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with jitter and a cap; forgotten after a stable period.

    initial_s: the longest delay before the first restart; 0 restarts at once, always.
    factor: what each further failure multiplies the delay by, at least 1.
    cap_s: no delay is longer.
    jitter: the share of the delay that is random, 0 to 1. With 0.5 a delay of 8 s becomes 4 to 8 s, so
        that children that failed together do not come back together, and the cap stays a cap.
    reset_after_s: a child that was ready for this long starts from `initial_s` again when it fails.

    Raises ValueError for values outside these ranges. OTP has no back-off; the form is that of AWS's
    "Exponential Backoff And Jitter" ("equal jitter" at 0.5).
    """

    initial_s: float = 0.1
    factor: float = 2.0
    cap_s: float = 30.0
    jitter: float = 0.5
    reset_after_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.initial_s <= self.cap_s < math.inf:
            raise ValueError(f"0 <= initial_s <= cap_s must hold, got {self.initial_s} and {self.cap_s}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor must be at least 1, got {self.factor}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1, got {self.jitter}")
        if not self.reset_after_s >= 0:
            raise ValueError(f"reset_after_s must not be negative, got {self.reset_after_s}")

    def delay_s(self, attempt: int, draw: float) -> float:
        """The delay after failure number `attempt` (from 0) in a row; `draw` is a random number in [0, 1)."""
        if not self.initial_s:
            return 0.0
        try:
            longest = min(self.cap_s, self.initial_s * self.factor**attempt)
        except OverflowError:
            longest = self.cap_s
        return longest * (1.0 - self.jitter * draw)


@dataclass(frozen=True, slots=True)
class Intensity:
    """At most `restarts` restarts within `period_s` seconds; one more and the supervisor gives up.

    A restart exactly `period_s` ago still counts, as in OTP's `supervisor:add_restart/1`.
    The default of 5 in 60 s lets a child with the default back-off fail for some seconds, and ends a
    hopeless one before it has filled a log.

    Raises ValueError if `restarts` is negative or `period_s` is not positive.
    """

    restarts: int = 5
    period_s: float = 60.0

    def __post_init__(self) -> None:
        if self.restarts < 0:
            raise ValueError(f"restarts must not be negative, got {self.restarts}")
        if not self.period_s > 0:
            raise ValueError(f"period_s must be positive, got {self.period_s}")

    def counted(self, times: tuple[float, ...], now: float) -> tuple[float, ...]:
        """The times of the restarts that count at `now`, with one more at `now`; the latest that can matter."""
        edge = now - self.period_s
        recent = tuple(time for time in times if time >= edge)
        return (*recent[-self.restarts :], now) if self.restarts else (now,)
