"""What costs a question to a store, asked seldom and remembered for a while."""

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from telewarden.storage.database import DatabaseUnavailable
from telewarden_http.protocols import Unavailable

log = structlog.get_logger(__name__)

_KEPT_TIMES = 3

T = TypeVar("T")


class Lately(Generic[T]):
    """ask: gives it; may raise DatabaseUnavailable, Unavailable. each_s: how old it may be before it is asked again."""

    def __init__(
        self, ask: Callable[[], Awaitable[T]], *, each_s: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._each_s, self._clock_s = ask, each_s, clock_s
        self._asked_s = self._answered_s = float("-inf")
        self._value: T | None = None

    @property
    def value(self) -> T | None:
        """As it was lately; None while nobody can tell."""
        is_fresh = self._clock_s() - self._answered_s <= self._each_s * _KEPT_TIMES
        return self._value if is_fresh else None

    def forget(self) -> None:
        """It is known to have changed: ask the next time."""
        self._asked_s = float("-inf")

    async def look(self) -> None:
        """Ask, if it is time to. Cancelled, it is asked again when that is due again."""
        now_s = self._clock_s()
        if now_s - self._asked_s < self._each_s:
            return
        self._asked_s = now_s
        try:
            self._value = await self._ask()
        except (DatabaseUnavailable, Unavailable) as error:
            log.debug("not_looked", error=str(error))
            self._value = None
        self._answered_s = self._clock_s()
