"""Following the feed: what to do next, decided without doing it. The clients carry it out."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from telewarden_http.client import calls
from telewarden_http.client.answers import Event, FeedPage, Kind
from telewarden_http.client.cursors import CursorStore
from telewarden_http.client.errors import ClientError, CursorExpired, Transient
from telewarden_http.client.retry import Backoff, Retry

_KEEP_EVERY_S = 1.0
_EMPTY_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Ask:
    """Make this request, and tell `answered` or `failed`."""

    call: calls.Call[FeedPage]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Keep:
    """Save this token."""

    token: str


Step: TypeAlias = Ask | Pause | Keep | Event | None
"""An event is for the caller; None is the end."""


class Following:
    """One way through the feed.

    after: a token, "now" or "beginning". kept: the token of a store, which wins. keeps: there is a store.
    The cursor moves on when `step` is called after an event, which is when the caller came back for the next one.
    """

    def __init__(
        self,
        *,
        after: str,
        kept: str | None,
        keeps: bool,
        channels: Sequence[str] | None,
        kinds: Iterable[Kind | str],
        limit: int,
        wait_s: int,
        until_caught_up: bool,
        skip_expired: bool,
        backoff: Backoff,
    ) -> None:
        self._cursor = after if kept is None else kept
        self._kept = kept
        self._keeps = keeps
        self._kept_at_s: float | None = None
        self._channels = None if channels is None else tuple(channels)
        self._kinds = tuple(Kind(kind) for kind in kinds)
        self._limit = limit
        self._wait_s = 0 if until_caught_up else wait_s
        self._until_caught_up = until_caught_up
        self._skip_expired = skip_expired
        self._backoff = backoff
        self._events: deque[Event] = deque()
        self._in_hand: Event | None = None
        self._page: FeedPage | None = None
        self._pause_s: float | None = None
        self._placed = self._cursor != "now"
        self._asked_s = 0.0
        self._ended = False

    @property
    def unkept(self) -> str | None:
        """The token that is still to be saved when the caller stops; what it has in hand is not counted as done."""
        return self._cursor if self._keeps and self._placed and self._cursor != self._kept else None

    @property
    def log_level(self) -> int:
        """As `Backoff.log_level`, of the last failure that was waited out."""
        return self._backoff.log_level

    def step(self, now_s: float) -> Step:
        """What to do next. now_s: of a clock that never goes back."""
        if self._in_hand is not None:
            self._cursor, self._in_hand = self._in_hand.id, None
        if self._page is not None and not self._events:
            self._cursor, self._ended = self._page.next, self._until_caught_up and not self._page.more
            self._page = None
        if self._is_time_to_keep(now_s) and self.unkept is not None:
            self._kept, self._kept_at_s = self._cursor, now_s
            return Keep(self._cursor)
        if self._events:
            self._in_hand = self._events.popleft()
            return self._in_hand
        if self._ended:
            return None
        if self._pause_s is not None:
            pause, self._pause_s = Pause(self._pause_s), None
            return pause
        self._asked_s = now_s
        return Ask(self._call())

    def answered(self, page: FeedPage, now_s: float) -> None:
        """What an Ask gave."""
        self._backoff.succeeded()
        if self._placed and not page.events and page.next == self._cursor:
            # More that cannot be read yet is not asked for without pause either.
            took_s = now_s - self._asked_s
            self._pause_s = _EMPTY_PAUSE_S if page.more else empty_pause_s(self._wait_s, took_s)
        self._placed = True
        self._page = page
        self._events.extend(page.events)

    def failed(self, error: ClientError) -> None:
        """An Ask failed. Raises the error if asking again would not help."""
        match error:
            case Transient():
                self._pause_s = self._backoff.failed(error)
            case CursorExpired() if self._skip_expired and error.oldest != self._cursor:
                self._cursor = error.oldest
            case _:
                raise error

    def _call(self) -> calls.Call[FeedPage]:
        # "now" is asked for a token at once: were a long poll cut off, another "now" would leave out what came between.
        wait_s = self._wait_s if self._placed else 0
        return calls.feed(
            self._cursor, channels=self._channels, kinds=self._kinds, limit=self._limit, wait_s=wait_s
        )

    def _is_time_to_keep(self, now_s: float) -> bool:
        """At the end of each page, and each second in between: a sync for each event would cost more than the event."""
        if not self._events:
            return True
        if self._kept_at_s is None:
            self._kept_at_s = now_s
        return now_s - self._kept_at_s >= _KEEP_EVERY_S


def empty_pause_s(wait_s: int, took_s: float) -> float | None:
    """How long to wait after an empty answer: a server that stops gives them at once, and is not to be asked without
    pause meanwhile."""
    return _EMPTY_PAUSE_S if took_s < min(_EMPTY_PAUSE_S, wait_s) else None


def following(
    store: CursorStore | None,
    *,
    after: str,
    channels: Sequence[str] | None,
    kinds: Iterable[Kind | str],
    limit: int,
    wait_s: int,
    until_caught_up: bool,
    skip_expired: bool,
    retry: Retry,
) -> Following:
    """A way that begins where the store says. Raises ValueError for bounds, CursorFileUnusable."""
    for name, value, most in (("limit", limit, 1000), ("wait_s", wait_s, 60)):
        if not 1 <= value <= most:
            raise ValueError(f"{name} must be from 1 to {most}, not {value}")
    return Following(
        after=after,
        kept=None if store is None else store.load(),
        keeps=store is not None,
        channels=channels,
        kinds=kinds,
        limit=limit,
        wait_s=wait_s,
        until_caught_up=until_caught_up,
        skip_expired=skip_expired,
        backoff=Backoff(retry),
    )
