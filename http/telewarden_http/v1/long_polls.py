"""How many requests may wait at once: in all, and of one key, so that nobody's waiting takes another's place."""

from collections.abc import Iterator
from contextlib import contextmanager

from quart import Quart

from telewarden_http.auth import Principal
from telewarden_http.errors import TooManyRequests
from telewarden_http.settings import ApiSettings


class LongPolls:
    """Counts the requests that wait: long polls and streams of server-sent events.

    most: in all. most_a_key: of one key's name.
    """

    def __init__(self, most: int, most_a_key: int) -> None:
        self.most, self.most_a_key = most, most_a_key
        self.count = 0
        self._of: dict[str, int] = {}

    def check(self, principal: Principal) -> None:
        """Raises TooManyRequests if none may wait besides."""
        of_key = self._of.get(principal.name, 0)
        if of_key >= self.most_a_key:
            raise TooManyRequests(
                f"{of_key} requests of this key wait already, and no more may at once; end one, or ask without waiting"
            )
        if self.count >= self.most:
            raise TooManyRequests(f"{self.count} requests wait already; try again, or ask without waiting")

    @contextmanager
    def counted(self, principal: Principal) -> Iterator[None]:
        """Inside, one request more waits, which was checked before."""
        name = principal.name
        self.count += 1
        self._of[name] = self._of.get(name, 0) + 1
        try:
            yield
        finally:
            self.count -= 1
            left = self._of[name] - 1
            if left:
                self._of[name] = left
            else:
                del self._of[name]

    @contextmanager
    def entered(self, principal: Principal) -> Iterator[None]:
        """Inside, one request more waits. Raises TooManyRequests."""
        self.check(principal)
        with self.counted(principal):
            yield


_EXTENSION = "telewarden_long_polls"


def keep_long_polls(app: Quart, settings: ApiSettings) -> None:
    """Have an app count its requests that wait."""
    app.extensions[_EXTENSION] = LongPolls(settings.long_polls, settings.long_polls_a_key)


def long_polls_of(app: Quart) -> LongPolls:
    """Those of an app of `create_app`."""
    polls: LongPolls = app.extensions[_EXTENSION]
    return polls
