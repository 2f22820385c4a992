"""What an operator sees of a running process at one moment: the shapes, and who gives them.

Times are ISO 8601 (UTC, milliseconds, "Z"), durations seconds unless the name says otherwise, channel and message ids
decimal strings. What a process does not have, or cannot tell at the moment, is null.
"""

from contextlib import AbstractContextManager
from typing import Protocol

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the shapes: names in camelCase on the wire."""


class DegradedPart(Shape, frozen=True, kw_only=True):
    """Something that is down but covered: what, since when, and what that means."""

    what: str
    since: str
    effect: str


class HealthView(Shape, frozen=True, kw_only=True):
    """The three questions of health. live: no restart of the process is needed. ready: polls are answered right."""

    live: bool
    ready: bool
    degraded: list[DegradedPart]


class Rate(Shape, frozen=True, kw_only=True):
    """Events a second over the last 10 s and the last minute; less right after the start. total: since the start."""

    ten_seconds: float
    minute: float
    total: int


class Rates(Shape, frozen=True, kw_only=True):
    """received: from Telegram; None in a process that only serves. acknowledged, polls: over HTTP, by this process."""

    received: Rate | None
    acknowledged: Rate
    polls: Rate


class Latency(Shape, frozen=True, kw_only=True):
    """Milliseconds at the median and at 95 of 100, of about the last minute. count: how many that is of."""

    p50_ms: float
    p95_ms: float
    count: int


class Latencies(Shape, frozen=True, kw_only=True):
    """poll: from a poll's headers to the last byte of its answer. post: from Telegram's date of a new post (whole
    seconds) to its acceptance. None where there was none."""

    poll: Latency | None
    post: Latency | None


class Transition(Shape, frozen=True, kw_only=True):
    """Something that happened to a worker.

    kind: started, restarted, ready, hangs, failed, finished, backing off, stopping, stopped, stuck; of a part of the
    tree also gave up. text: the cause, in words; empty where there is nothing to say.
    """

    at: str
    worker: str
    path: str
    kind: str
    text: str


class WorkerView(Shape, frozen=True, kw_only=True):
    """A worker, or a part of the tree that supervises others.

    path: its place below the root ("intake/listener"). state: waiting, starting, running, stopping, backing off,
    stuck, stopped, finished. since: of its last transition, as far as it is remembered. next_restart_in_s: while it
    backs off. history: its latest transitions, newest first (at most 20).
    """

    name: str
    path: str
    is_part: bool
    state: str
    since: str | None
    uptime_s: float | None
    restarts: int
    last_error: str | None
    next_restart_in_s: float | None
    last_beat_age_s: float | None
    status: str
    history: list[Transition]


class ChannelView(Shape, frozen=True, kw_only=True):
    """A channel. name: its public one, without @; empty without. label: what an operator calls it, else its title.

    active: false while paused. state: how it is, in words. source: settings, or added. checkpoint: up to which message
    id it is read; top: the newest known one; origin: ids up to it are not taken in. behind: ids between checkpoint and
    top that are still to be read. waiting: messages that no consumer of the old contract has processed.
    last_message_at: when the newest one was taken in; lag_ms: from Telegram's date of it (whole seconds) to then. None
    where that is not known.
    """

    channel: str
    label: str
    title: str
    name: str
    active: bool
    state: str
    source: str | None
    origin: str | None
    checkpoint: str | None
    top: str | None
    behind: int | None
    waiting: int | None
    last_message_at: str | None
    lag_ms: int | None


class ConsumerView(Shape, frozen=True, kw_only=True):
    """A consumer's backlog. dead: delivered too often without an acknowledgement. is_exact: waiting is counted to the
    end; else it is at least that many."""

    name: str
    waiting: int
    leased: int
    delayed: int
    dead: int
    oldest_waiting_at: str | None
    is_exact: bool


class JournalView(Shape, frozen=True, kw_only=True):
    """The journal. epoch: its number. head: the newest position; flushed: up to which all is in the database.

    backlog_events, backlog_bytes: accepted and not yet there. room_bytes: what it may still take in before intake
    stops; None if unknown. is_full: intake has stopped. oldest_waiting_s: age of the oldest that is not in the
    database. poison: events that the database refused and nobody decided on; None while it does not answer. salvage:
    what became of a journal that was damaged, one text each.
    """

    epoch: str
    head: str
    flushed: str
    backlog_events: int
    backlog_bytes: int
    room_bytes: int | None
    is_full: bool
    oldest_waiting_s: float
    poison: int | None
    salvage: list[str]


class WarmView(Shape, frozen=True, kw_only=True):
    """How far filling the cache is: messages written, of about total."""

    written: int
    total: int
    step: str


class CacheView(Shape, frozen=True, kw_only=True):
    """The cache. trusted: polls are answered by it; reason: why not. lag_events, lag_s: behind the journal; None in a
    process that only serves. waiting: messages in all pending sets. polls: answered, by source. hit_rate: by the cache,
    of all; None before the first. reasons: why it did not answer, with counts."""

    server: str | None
    trusted: bool
    reason: str | None
    lag_events: int | None
    lag_s: float | None
    warms: int | None
    warm: WarmView | None
    polls: dict[str, int]
    reasons: dict[str, int]
    hit_rate: float | None


class FloodWait(Shape, frozen=True, kw_only=True):
    """A wait that Telegram asked for. channel: None where it is about the account."""

    method: str
    channel: str | None
    seconds: float


class TelegramView(Shape, frozen=True, kw_only=True):
    """The connection to Telegram. problem: why nothing comes in. caught_up: every channel has been read to its end
    since it was made. watched: channels that are asked for changes; watch_interval_s: how often those with news."""

    connected: bool
    session_loaded: bool
    problem: str | None
    caught_up: bool
    reconnects: int
    watched: int
    watch_interval_s: float
    flood_waits: list[FloodWait]


class DatabaseView(Shape, frozen=True, kw_only=True):
    """The database. problem: the last error; None while it answers."""

    up: bool
    problem: str | None


class MessageView(Shape, frozen=True, kw_only=True):
    """One of the newest messages. text: its text or caption, cut to 300 characters (is_cut)."""

    channel: str
    label: str
    message_id: str
    text: str
    is_cut: bool
    media_type: str | None
    received_at: str
    telegram_date: str | None
    edited: bool
    deleted: bool


class Overview(Shape, frozen=True, kw_only=True):
    """All that the console shows.

    at: of this look. role: all or api. workers: in the order of their start, each part before its workers. consumers:
    None while the database does not answer. journal, telegram: None in a process that only serves. cache: None where
    none is configured. messages: the newest first, at most 20; None while nothing can tell them.
    """

    version: str
    role: str
    at: str
    started_at: str
    uptime_s: float
    health: HealthView
    rates: Rates
    latency: Latencies
    workers: list[WorkerView]
    channels: list[ChannelView]
    consumers: list[ConsumerView] | None
    journal: JournalView | None
    cache: CacheView | None
    database: DatabaseView
    telegram: TelegramView | None
    messages: list[MessageView] | None


class Looks(Protocol):
    """Looks at the process by one who stays."""

    async def next(self) -> bytes:
        """The next Overview that this one has not had, as JSON on one line: one at once, then one a second, and one at
        once when a worker changes. Cancelling it loses nothing."""
        ...


class OverviewSource(Protocol):
    """Looks at the process, once for all who look."""

    async def overview(self) -> bytes:
        """An Overview as it is now, or was less than a second ago, as JSON."""
        ...

    def looking(self) -> AbstractContextManager[Looks]:
        """For as long as somebody stays."""
        ...
