"""The consumers' metrics: what was handed out, and what became of it. By no consumer's name: those are not bounded."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from telewarden.storage.consumers import ConsumerCounts
from telewarden_http.v1.consumers_protocols import Outcome


class ConsumerMetrics(Collector):
    """Of one process. Looks at the counts when Prometheus asks."""

    def __init__(self, counts: ConsumerCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        counts = self._counts
        deliveries = CounterMetricFamily(
            "telewarden_consumer_deliveries",
            "Events handed to consumers, for the first time or again.",
            labels=["delivery"],
        )
        deliveries.add_metric(["first"], counts.first)
        deliveries.add_metric(["again"], counts.again)
        receipts = CounterMetricFamily(
            "telewarden_consumer_receipts",
            "Receipts that consumers sent, by what became of them.",
            labels=["result"],
        )
        for outcome in Outcome:
            receipts.add_metric([outcome.value], counts.outcomes[outcome])
        died = CounterMetricFamily(
            "telewarden_consumer_dead_letters", "Events that were delivered too often.", value=counts.died
        )
        skipped = CounterMetricFamily(
            "telewarden_consumer_skipped",
            "Events that were not handed out, since their message was gone with its day.",
            value=counts.skipped,
        )
        yield from (deliveries, receipts, died, skipped)
