"""The part of one process that serves beside others on the same port: it says which one it is."""

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from telewarden_http.protocols import HealthReport, HealthReporter


@dataclass(frozen=True, slots=True)
class Share:
    """number: from 1, kept by the process that takes this one's place. of: how many there are. listener: the socket
    that they share."""

    number: int
    of: int
    listener: socket.socket

    def own_port(self, first: int | None) -> int | None:
        """At which it alone is reached. first: that of the first process."""
        return None if first is None else first + self.number - 1

    def registry(self) -> CollectorRegistry:
        """Each sample has a label `process`: who asks for metrics gets those of whichever process answers."""
        return _Registry({"process": str(self.number)})

    def health(self, health: HealthReporter) -> HealthReporter:
        """Tells, besides, which process it is."""
        return _Health(health, {"number": self.number, "of": self.of, "pid": os.getpid()})


class _Registry(CollectorRegistry):
    def __init__(self, labels: Mapping[str, str]) -> None:
        super().__init__()
        self._own = dict(labels)

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            metric.samples = [
                sample._replace(labels={**self._own, **sample.labels}) for sample in metric.samples
            ]
            yield metric


class _Health:
    def __init__(self, health: HealthReporter, process: Mapping[str, object]) -> None:
        self._health, self._process = health, process

    def report(self) -> HealthReport:
        report = self._health.report()
        return replace(report, details={**report.details, "process": self._process})
