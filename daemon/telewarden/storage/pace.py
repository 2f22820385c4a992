"""How fast a warm goes: pages that block nobody for long, and pauses while there is live traffic. Pure."""

SMALLEST, FIRST, LARGEST = 25, 50, 250
"""Messages in a page; FIRST is also the most while there is live traffic, which waits while a page is put together."""
LONGEST_PAGE_S = 0.04
"""A page that takes longer to write is followed by smaller ones: the cache does nothing else meanwhile."""
BUSY_S = 1.0
"""Traffic counts as live for so long after it was seen."""
LONGEST_PAUSE_S = 0.25
_GROWTH = 25


class WarmPace:
    """Decides how large a warm's next page is, and how long to rest before it.

    share: the part of the time that a warm may work while there is live traffic; without any it does not rest.
    """

    def __init__(self, share: float = 0.5) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"a share of the time is above 0 and at most 1, not {share}")
        self.size = FIRST
        """Messages of the next page, at most."""
        self._share = share
        self._traffic: int | None = None
        self._busy_until_s: float | None = None

    def failed(self) -> None:
        """A page did not get through: the next try is with a smaller one, which may."""
        self.size = max(SMALLEST, self.size // 2)

    def wrote(self, page_s: float, write_s: float, *, traffic: int, now_s: float) -> float:
        """Seconds to rest now. page_s: what the page took in all; write_s: what the cache took for it.

        traffic: a counter of polls and accepted events.
        """
        if write_s > LONGEST_PAGE_S:
            self.size = max(SMALLEST, self.size // 2)
        elif write_s < LONGEST_PAGE_S / 2:
            self.size = min(LARGEST, self.size + _GROWTH)
        if self._traffic is not None and traffic != self._traffic:
            self._busy_until_s = now_s + BUSY_S
        self._traffic = traffic
        if self._busy_until_s is None or now_s >= self._busy_until_s:
            return 0.0
        self.size = min(self.size, FIRST)
        return min(page_s * (1 - self._share) / self._share, LONGEST_PAUSE_S)
