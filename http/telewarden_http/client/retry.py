"""How long to wait before the same is asked again."""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from telewarden_http.client.errors import Transient


@dataclass(frozen=True, slots=True)
class Retry:
    """Bounds of the waiting, in seconds.

    first_s: after the first failure, doubled with each further one, up to most_s. obey_most_s: the longest wait that a
    server may ask for with Retry-After.
    """

    first_s: float = 0.25
    most_s: float = 30.0
    obey_most_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.most_s:
            raise ValueError(
                f"first_s must be above 0 and at most most_s, not {self.first_s} and {self.most_s}"
            )


class Backoff:
    """Counts failures in a row. Full jitter over the upper half, so that many clients do not come back as one.

    uniform: random.uniform, or a stand-in.
    """

    def __init__(self, retry: Retry, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._retry = retry
        self._uniform = uniform
        self._failures = 0

    @property
    def log_level(self) -> int:
        """How much the last failure is worth telling: only the first in a row is news."""
        return logging.WARNING if self._failures == 1 else logging.INFO

    def succeeded(self) -> None:
        """The next failure is a first one again."""
        self._failures = 0

    def failed(self, error: Transient) -> float:
        """How many seconds to wait now: never less than what the server asks for, within the bounds."""
        ceiling = min(self._retry.most_s, self._retry.first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        own = self._uniform(ceiling / 2, ceiling)
        if error.retry_after_s is None:
            return own
        asked = min(error.retry_after_s, self._retry.obey_most_s)
        return asked + self._uniform(0, ceiling / 2) if asked >= own else own
