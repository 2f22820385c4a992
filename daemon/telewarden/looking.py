"""Makes an Overview: what each part knows of itself, and what the stores say when they are asked now and then."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from typing import Any

import anyio

from telewarden.lately import Lately
from telewarden.messages import State
from telewarden.newest_messages import message_view
from telewarden.pulse import Pulse
from telewarden.storage.database import Database
from telewarden.storage.journal import wall_clock_us
from telewarden.telegram.intake import TelegramState
from telewarden.worker_admin import TreeAdmin
from telewarden_http.protocols import HealthReporter
from telewarden_http.v1.consumers_protocols import ConsumerState
from telewarden_http.v1.overview_protocols import (
    CacheView,
    ChannelView,
    ConsumerView,
    DatabaseView,
    DegradedPart,
    FloodWait,
    HealthView,
    JournalView,
    Latencies,
    Overview,
    Rates,
    TelegramView,
)
from telewarden_http.wire import iso_ms

WAIT_S = 0.5
"""How long a look waits for stores; what they do not say until then is as it was said lately, or not known."""

RECEIVED, ACKNOWLEDGED, POLLS = "received", "acknowledged", "polls"
"""Counters of the Pulse; the first only where messages are taken in."""
POLL, POST = "poll", "post"
"""Its histograms; the second likewise."""


@dataclass(frozen=True)
class Ingest:
    """What only a process that takes in has."""

    journal: Callable[[], JournalView]
    telegram: Callable[[], TelegramView]


@dataclass(frozen=True)
class Looking:
    """The parts of a process that are looked at. role: of the process. channels, cache: as they know themselves.

    consumers, messages: of the database. asked: everything that may have to ask a store, those two too.
    """

    role: str
    health: HealthReporter
    pulse: Pulse
    tree: TreeAdmin
    database: Database
    channels: Callable[[], Sequence[ChannelView]]
    cache: Callable[[], CacheView | None]
    consumers: Lately[list[ConsumerView]]
    messages: Lately[list[State]]
    asked: Sequence[Lately[Any]]
    ingest: Ingest | None = None
    started_us: int = field(default_factory=wall_clock_us)
    started_s: float = field(default_factory=time.monotonic)

    async def look(self) -> Overview:
        """As all is now."""
        with anyio.move_on_after(WAIT_S):
            async with anyio.create_task_group() as tasks:
                for asked in self.asked:
                    tasks.start_soon(asked.look)
        report = self.health.report()
        channels = list(self.channels())
        labels = {int(channel.channel): channel.label for channel in channels}
        messages, breaker = self.messages.value, self.database.breaker
        return Overview(
            version=version_of("telewarden"),
            role=self.role,
            at=iso_ms(wall_clock_us()),
            started_at=iso_ms(self.started_us),
            uptime_s=round(time.monotonic() - self.started_s, 1),
            health=HealthView(
                live=report.live,
                ready=report.ready,
                degraded=[
                    DegradedPart(what=part.what, since=part.since, effect=part.effect)
                    for part in report.degraded
                ],
            ),
            rates=Rates(
                received=None if self.ingest is None else self.pulse.rate(RECEIVED),
                acknowledged=self.pulse.rate(ACKNOWLEDGED),
                polls=self.pulse.rate(POLLS),
            ),
            latency=Latencies(
                poll=self.pulse.latency(POLL),
                post=None if self.ingest is None else self.pulse.latency(POST),
            ),
            workers=self.tree.views(),
            channels=channels,
            consumers=self.consumers.value,
            journal=None if self.ingest is None else self.ingest.journal(),
            cache=self.cache(),
            database=DatabaseView(
                up=not breaker.failed, problem=breaker.last_error if breaker.failed else None
            ),
            telegram=None if self.ingest is None else self.ingest.telegram(),
            messages=None if messages is None else [message_view(state, labels) for state in messages],
        )


def consumer_view(state: ConsumerState) -> ConsumerView:
    """A consumer's backlog."""
    lag = state.lag
    return ConsumerView(
        name=state.name,
        waiting=lag.waiting,
        leased=lag.leased,
        delayed=lag.delayed,
        dead=lag.dead,
        oldest_waiting_at=lag.oldest_waiting_at,
        is_exact=lag.is_exact,
    )


def telegram_view(state: TelegramState, now_s: float) -> TelegramView:
    """The connection to Telegram. now_s: of the event loop's clock."""
    return TelegramView(
        connected=state.connected,
        session_loaded=state.session_loaded,
        problem=state.problem,
        caught_up=state.caught_up,
        reconnects=state.reconnects,
        watched=state.watched,
        watch_interval_s=round(state.watch_interval_s, 2),
        flood_waits=[
            FloodWait(
                method=method,
                channel=None if channel_id is None else str(channel_id),
                seconds=round(left_s, 1),
            )
            for (method, channel_id), left_s in state.floods.waiting(now_s).items()
        ],
    )
