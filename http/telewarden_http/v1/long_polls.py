"""How many requests may wait at once: in all, and of one key, so that nobody's waiting takes another's place."""

from collections.abc import Iterator
from contextlib import contextmanager

from telewarden_http.auth import Principal
from telewarden_http.errors import TooManyRequests


class LongPolls:
    """Counts the requests that wait: long polls and streams of server-sent events.

    most: in all. most_a_key: of one key's name.
    """

    def __init__(self, most: int, most_a_key: int) -> None:
        self.most, self.most_a_key = most, most_a_key
        self.count = 0
        self._of: dict[str, int] = {}

    @contextmanager
    def entered(self, principal: Principal) -> Iterator[None]:
        """Inside, one request more waits. Raises TooManyRequests."""
        name = principal.name
        of_key = self._of.get(name, 0)
        if of_key >= self.most_a_key:
            raise TooManyRequests(
                f"{of_key} requests of this key wait already, and no more may at once; end one, or ask without waiting"
            )
        if self.count >= self.most:
            raise TooManyRequests(f"{self.count} requests wait already; try again, or ask without waiting")
        self.count += 1
        self._of[name] = of_key + 1
        try:
            yield
        finally:
            self.count -= 1
            left = self._of[name] - 1
            if left:
                self._of[name] = left
            else:
                del self._of[name]
