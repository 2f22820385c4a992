"""How channels are taken in: what an operator may set, and what is told of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from telewarden.telegram.pacing import FloodWaits


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """What the listener is told. Durations are in seconds.

    page: posts asked for in one request. window: newest posts that are compared for edits and deletions; window_s:
    the age up to which more of them are, up to window_limit, when a channel's changes cannot be told otherwise.
    probe_s, reconcile_s: intervals. requests_per_s: how often Telegram is asked anything; watch_share: the part of it
    that watching may take. fastest_s, slowest_s: see `WatchPlan`. first: channels that are watched before others.
    """

    page: int = 100
    window: int = 200
    window_s: float = 48 * 3600.0
    window_limit: int = 3000
    probe_s: float = 10.0
    reconcile_s: float = 60.0
    requests_per_s: float = 25.0
    watch_share: float = 0.8
    fastest_s: float = 1.0
    slowest_s: float = 15.0
    first: Sequence[int] = ()
    watched: bool = True


class Lags:
    """What is told of the time from Telegram's date of a new post (whole seconds) to its acceptance."""

    def observe(self, source: str, channel_id: int, lag_s: float) -> None:
        """A post was accepted. source: how it came: push, difference or history."""


@dataclass
class TelegramState:
    """How intake is, for health and metrics.

    problem: why nothing comes in, in words; None while it works. received: events accepted. caught_up: every channel
    has been read to its end since the connection was made. watched: how many channels are asked again and again, and
    watch_interval_s: how often those with news, in seconds. floods: what Telegram made wait. connected_changed_at:
    since when `connected` is as it is.
    """

    connected: bool = False
    session_loaded: bool = False
    problem: str | None = "not connected yet"
    received: int = 0
    reconnects: int = 0
    caught_up: bool = False
    watched: int = 0
    watch_interval_s: float = 0.0
    closed_channels: dict[int, str] = field(default_factory=dict)
    floods: FloodWaits = field(default_factory=FloodWaits)
    connected_changed_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now_connected(self, connected: bool) -> None:
        """The connection was made, or is lost."""
        if connected != self.connected:
            self.connected, self.connected_changed_at = connected, datetime.now(UTC)
