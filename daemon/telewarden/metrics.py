"""The daemon's metrics: the names that dashboards already use, and those of the new parts. Read when scraped."""

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telewarden.serving_health import CacheStanding
from telewarden.storage.answers import Answers
from telewarden.storage.cache import Cache
from telewarden.storage.cache_errors import Kind
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal, wall_clock_us
from telewarden.telegram.intake import Lags, TelegramState
from telewarden.tree import workers
from telewarden.workers.writer import Writer
from telewarden_http.protocols import Source
from telewarden_supervisors import ChildRestarted, Event, Supervisor

INTAKE_LAG = "telewarden_intake_lag_seconds"


def buckets_of(registry: CollectorRegistry, histogram: str, labels: Mapping[str, str]) -> dict[float, float]:
    """The cumulative buckets of a histogram by their limits, over all that has these labels; empty before the first."""
    name = f"{histogram}_bucket"
    found: dict[float, float] = {}
    for metric in registry.restricted_registry([name]).collect():
        for sample in metric.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                limit = float(sample.labels["le"])
                found[limit] = found.get(limit, 0.0) + sample.value
    return dict(sorted(found.items()))


class ServingMetrics(Collector):
    """Of every process that serves. Looks at the parts when Prometheus asks, so that nothing has to keep a gauge."""

    def __init__(self, database: Database, cache: CacheStanding, answers: Answers) -> None:
        self._database, self._cache, self._answers = database, cache, answers
        self._restarts: Counts[str] = Counts()
        self.supervisor: Supervisor | None = None

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        yield _gauge(
            "telewarden_cache_complete",
            "1 while polls are answered by the cache.",
            self._cache.reason is None,
        )
        yield _gauge(
            "telewarden_database_up", "1 while the database answers.", not self._database.breaker.failed
        )
        restarts = CounterMetricFamily(
            "telewarden_worker_restarts", "Restarts of a worker.", labels=["worker"]
        )
        for name in self._workers():
            restarts.add_metric([name], self._restarts[name])
        yield restarts
        yield from self._answered()

    def _answered(self) -> Iterable[Metric]:
        answers = self._answers
        polls = CounterMetricFamily(
            "telewarden_polls", "Polls of waiting messages answered, by source.", labels=["source"]
        )
        seen = CounterMetricFamily(
            "telewarden_seen_checks",
            "Messages asked about, whether they were seen, by the source that knew.",
            labels=["source"],
        )
        for source in Source:
            polls.add_metric([source.value], answers.polls[source])
            seen.add_metric([source.value], answers.seen[source])
        fallbacks = CounterMetricFamily(
            "telewarden_cache_fallbacks", "Polls that the cache did not answer, by reason.", labels=["reason"]
        )
        for reason, count in answers.reasons.items():
            fallbacks.add_metric([reason], count)
        yield from (polls, seen, fallbacks)

    def _workers(self) -> Iterable[str]:
        found = workers(self.supervisor.snapshot()) if self.supervisor is not None else {}
        return {*found, *self._restarts}

    def count_restart(self, event: Event) -> None:
        """A subscriber of the supervision tree: restarts are counted for as long as the process lives."""
        if isinstance(event, ChildRestarted):
            self._restarts[event.path.rpartition("/")[2]] += 1


class DaemonMetrics(ServingMetrics):
    """The same, and what comes in."""

    def __init__(
        self,
        journal: Journal,
        database: Database,
        sync: CacheSync,
        writer: Writer,
        telegram: TelegramState,
        answers: Answers,
    ) -> None:
        super().__init__(database, sync, answers)
        self._journal, self._sync = journal, sync
        self._writer, self._telegram = writer, telegram

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        yield from super().collect()
        journal, telegram = self._journal, self._telegram
        yield _gauge(
            "telegram_connection_status", "1 while the connection to Telegram works.", telegram.connected
        )
        yield _gauge("telegram_session_loaded", "1 while the session is usable.", telegram.session_loaded)
        yield _counter("telegram_messages_received", "Events accepted from Telegram.", telegram.received)
        yield _counter("telegram_messages_published", "Messages stored in the database.", self._writer.stored)
        yield _counter(
            "telegram_publish_failures", "Events that the database refused.", self._writer.poisoned
        )
        yield _counter(
            "telegram_retry_attempts", "Connections to Telegram lost or refused.", telegram.reconnects
        )
        yield _gauge(
            "telegram_failure_queue_size", "Events that wait for the database to come back.", self._waiting()
        )
        yield _gauge("telewarden_journal_backlog_events", "Events not yet in the database.", journal.backlog)
        yield _gauge("telewarden_journal_backlog_bytes", "Size of those events.", journal.unflushed_bytes)
        yield _counter("gateway_cache_writes", "Events applied to the cache.", self._sync.writes)
        yield _counter("telewarden_cache_warms", "Times that filling the cache began.", self._sync.warms)
        floods = CounterMetricFamily(
            "telewarden_telegram_flood_waits", "Waits that Telegram asked for.", labels=["method"]
        )
        for method, count in telegram.floods.counts.items():
            floods.add_metric([method], count)
        yield floods
        yield _gauge("telewarden_watched_channels", "Channels that are asked for changes.", telegram.watched)
        yield _gauge(
            "telewarden_watch_interval_seconds",
            "How often those with news are asked, at present.",
            telegram.watch_interval_s,
        )

    def _waiting(self) -> int:
        return self._journal.backlog if self._database.breaker.failed else 0


class CacheErrors(Collector):
    """What was wrong with the cache's server, by kind; every kind from the start, so that the first one is a rise."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        errors = CounterMetricFamily(
            "telewarden_cache_errors",
            "Calls that the cache's server refused or did not answer, and servers that are unfit, by kind.",
            labels=["kind"],
        )
        for kind in Kind:
            errors.add_metric([kind.value], self._cache.errors[kind])
        yield errors


class NewestPost(NamedTuple):
    """When a channel's newest post was taken in, in microseconds since the epoch, and how long after its date."""

    at_us: int
    lag_s: float


class IntakeLags(Lags):
    """How late posts come, by how they came: which channels does Telegram delay?"""

    def __init__(self, registry: CollectorRegistry, clock_us: Callable[[], int] = wall_clock_us) -> None:
        self._clock_us = clock_us
        self.newest: dict[int, NewestPost] = {}
        """By channel."""
        self._all = Histogram(
            INTAKE_LAG,
            "From Telegram's date of a new post (whole seconds) to its acceptance, by source.",
            ["source"],
            buckets=(0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 3600),
            registry=registry,
        )
        self._last = Gauge(
            "telewarden_channel_lag_seconds",
            "The same of each channel's newest post.",
            ["channel", "source"],
            registry=registry,
        )

    def observe(self, source: str, channel_id: int, lag_s: float) -> None:
        """See `Lags`."""
        self.newest[channel_id] = NewestPost(self._clock_us(), lag_s)
        self._all.labels(source).observe(lag_s)
        self._last.labels(str(channel_id), source).set(lag_s)


def _gauge(name: str, help_: str, value: float | bool) -> Metric:
    return GaugeMetricFamily(name, help_, value=float(value))


def _counter(name: str, help_: str, value: int) -> Metric:
    return CounterMetricFamily(name, help_, value=value)
