"""Whether it is worth asking a store that just failed (circuit breaker: Nygard, Release It!). Pure: time comes in."""

from enum import StrEnum


class Circuit(StrEnum):
    """closed: callers ask. open: nobody does. half-open: one caller finds out for all."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Closed while the store answers; after a failure open for a while, so that each caller need not find out anew.

    open_s: how long a failure keeps callers away, in seconds; after that one caller at a time tries. longest_s: each
    failure within stable_s of the one before doubles that, up to so much; without, it stays the same.
    """

    def __init__(
        self, open_s: float = 0.5, *, longest_s: float | None = None, stable_s: float = 10.0
    ) -> None:
        self._first_s, self._longest_s, self._stable_s = open_s, max(open_s, longest_s or open_s), stable_s
        self._open_s = open_s
        self._open_until: float | None = None
        self._broke_at: float | None = None
        self._trying = False
        self.last_error: str | None = None
        self._has_answered = False

    @property
    def works(self) -> bool:
        """The last call succeeded; before the first one nothing is known."""
        return self._has_answered and not self.failed

    @property
    def failed(self) -> bool:
        """The last call failed."""
        return self._open_until is not None

    @property
    def circuit(self) -> Circuit:
        """How it stands."""
        if self._open_until is None:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if self._trying else Circuit.OPEN

    def allows(self, now_s: float) -> bool:
        """A call may be tried. While broken, a permitted try keeps the others away until it is over."""
        if self._open_until is None:
            return True
        if now_s < self._open_until:
            return False
        self._open_until, self._trying = now_s + self._open_s, True
        return True

    def retry_in_s(self, now_s: float) -> float:
        """Seconds until a call may be tried; 0 for now."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now_s)

    def succeeded(self) -> None:
        """The store answered."""
        self._open_until, self._trying, self.last_error, self._has_answered = None, False, None, True

    def broke(self, now_s: float, error: str) -> None:
        """The store did not answer."""
        again = self._broke_at is not None and now_s - self._broke_at < self._open_s + self._stable_s
        self._open_s = min(self._open_s * 2, self._longest_s) if again else self._first_s
        self._broke_at = now_s
        self._open_until, self._trying, self.last_error = now_s + self._open_s, False, error

    def try_now(self, now_s: float) -> None:
        """Something has changed, such as which server it is: the next call may be tried at once."""
        self._open_s = self._first_s
        if self._open_until is not None:
            self._open_until = now_s
