"""The daemon's metrics: the names that dashboards already use, and those of the new parts. Read when scraped."""

from collections import Counter as Counts
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telewarden.serving_health import CacheStanding
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal
from telewarden.telegram.intake import Lags, TelegramState
from telewarden.tree import workers
from telewarden.workers.writer import Writer
from telewarden_supervisors import ChildRestarted, Event, Supervisor


class ServingMetrics(Collector):
    """Of every process that serves. Looks at the parts when Prometheus asks, so that nothing has to keep a gauge."""

    def __init__(self, database: Database, cache: CacheStanding) -> None:
        self._database, self._cache = database, cache
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
        self, journal: Journal, database: Database, sync: CacheSync, writer: Writer, telegram: TelegramState
    ) -> None:
        super().__init__(database, sync)
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


class IntakeLags(Lags):
    """How late posts come, by how they came: which channels does Telegram delay?"""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._all = Histogram(
            "telewarden_intake_lag_seconds",
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
        self._all.labels(source).observe(lag_s)
        self._last.labels(str(channel_id), source).set(lag_s)


def fallback_counter(registry: CollectorRegistry) -> Counter:
    """Polls that the cache did not answer, by the reason; reasons are a few fixed words."""
    return Counter(
        "telewarden_cache_fallbacks_total",
        "Polls that the cache could not answer, by reason.",
        ["reason"],
        registry=registry,
    )


FALLBACK_REASONS = frozenset(
    {
        "not connected yet",
        "not warmed yet",
        "being warmed",
        "no cache",
        "unavailable",
        "other statuses",
        "not only plain messages wait",
        "a body has expired",
        "not a master",
        "no mark",
        "other mark",
        "other history",
        "overflow",
        "too large",
        "behind the journal",
    }
)


def bounded_reason(reason: str) -> str:
    """A fall-back reason as a label value: one of a fixed set."""
    return reason if reason in FALLBACK_REASONS else "down"


def _gauge(name: str, help_: str, value: float | bool) -> Metric:
    return GaugeMetricFamily(name, help_, value=float(value))


def _counter(name: str, help_: str, value: int) -> Metric:
    return CounterMetricFamily(name, help_, value=value)
