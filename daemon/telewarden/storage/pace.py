"""How fast a warm goes: pages that block nobody for long, and pauses while there is live traffic. Pure."""

SMALLEST, FIRST, LARGEST = 25, 100, 250
"""Messages in a page; FIRST is also the most while there is live traffic, which waits while a page is put together."""
LONGEST_PAGE_S = 0.04
"""A page that takes longer to write is followed by smaller ones: the cache does nothing else meanwhile."""
BUSY_S = 1.0
"""Traffic counts as live for so long after it was seen."""
LONGEST_REST_S = 0.25
LATE_S = 0.003
"""A rest that ends so much later than it should says that others have to wait too."""
FIRST_SHARE, LEAST_SHARE, MOST_SHARE = 0.5, 0.1, 0.8
"""Parts of the time that a warm may work beside live traffic."""
_MORE, _LESS, _GROWTH = 0.01, 0.8, 25


class WarmPace:
    """Decides how large a warm's next page is, and how long to rest before it.

    Without live traffic it does not rest. With some, its share of the time grows slowly while its rests end in time,
    and shrinks quickly when they end late (as TCP's window does: Jacobson, SIGCOMM 1988).
    """

    def __init__(self) -> None:
        self.size = FIRST
        """Messages of the next page, at most."""
        self.share = FIRST_SHARE
        """The part of the time that it works, beside live traffic."""
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
        return min(page_s * (1 - self.share) / self.share, LONGEST_REST_S)

    def rested(self, rest_s: float, took_s: float) -> None:
        """A rest is over. took_s: how long it was in the end."""
        if took_s - rest_s > LATE_S:
            self.share = max(LEAST_SHARE, self.share * _LESS)
        else:
            self.share = min(MOST_SHARE, self.share + _MORE)
