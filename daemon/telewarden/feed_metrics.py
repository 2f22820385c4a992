"""The feed's metrics; read when scraped."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telewarden.storage.feed import SOURCES, WindowedFeed
from telewarden.storage.feed_window import FeedWindow
from telewarden_http.v1.token import Position


class FeedMetrics(Collector):
    """Of every process that serves the feed."""

    def __init__(self, feed: WindowedFeed, window: FeedWindow) -> None:
        self._feed, self._window = feed, window

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        served = CounterMetricFamily(
            "telewarden_feed_events",
            "Events of the feed given out, by where they were read.",
            labels=["source"],
        )
        for source in SOURCES:
            served.add_metric([source], self._feed.served[source])
        yield served
        window = self._window
        yield _gauge(
            "telewarden_feed_waiting", "Long polls and streams that wait for an event.", window.waiting
        )
        yield _gauge("telewarden_feed_window_events", "Events in memory.", len(window))
        yield _gauge("telewarden_feed_window_bytes", "Size of those events.", window.size_bytes)
        yield _gauge(
            "telewarden_feed_ahead_positions",
            "How far the feed in memory is ahead of the database, in positions of the journal.",
            _ahead(window.head, window.stored),
        )


def _ahead(head: Position, stored: Position) -> int:
    if head.epoch != stored.epoch:
        return head.position
    return max(0, head.position - stored.position)


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_, value=value)
