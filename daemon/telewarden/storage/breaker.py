"""Whether it is worth asking a store that just failed. Pure: the time comes in."""


class Breaker:
    """Closed while the store answers; after a failure open for a while, so that each caller need not find out anew.

    open_s: how long a failure keeps callers away, in seconds. After that one caller at a time tries.
    """

    def __init__(self, open_s: float = 0.5) -> None:
        self._open_s = open_s
        self._open_until: float | None = None
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

    def allows(self, now_s: float) -> bool:
        """A call may be tried. While broken, a permitted try keeps the others away until it is over."""
        if self._open_until is None:
            return True
        if now_s < self._open_until:
            return False
        self._open_until = now_s + self._open_s
        return True

    def succeeded(self) -> None:
        """The store answered."""
        self._open_until, self.last_error, self._has_answered = None, None, True

    def broke(self, now_s: float, error: str) -> None:
        """The store did not answer."""
        self._open_until, self.last_error = now_s + self._open_s, error
