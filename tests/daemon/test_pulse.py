"""Rates and latencies of the last seconds."""

from math import inf

import pytest
from prometheus_client import CollectorRegistry, Histogram

from telewarden.metrics import buckets_of
from telewarden.pulse import Pulse, latency_of, quantile


class World:
    """Counters, and a clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.count = 0
        self.buckets: dict[float, float] = {}
        self.pulse = Pulse({"n": lambda: self.count}, {"t": lambda: dict(self.buckets)}, lambda: self.now_s)

    def beat(self, seconds: float, each: int) -> None:
        """So many seconds pass, in each of which so much is counted."""
        for _ in range(int(seconds * 2)):
            self.pulse.beat()
            self.now_s += 0.5
            self.count += each // 2


def test_a_rate_is_of_the_last_ten_seconds_and_of_the_last_minute() -> None:
    world = World()
    world.beat(120, 100)
    world.beat(10, 20)
    rate = world.pulse.rate("n")
    assert rate.ten_seconds == pytest.approx(20, rel=0.1)
    assert rate.minute == pytest.approx((50 * 100 + 10 * 20) / 60, rel=0.05)
    assert rate.total == 120 * 100 + 10 * 20


def test_before_the_first_look_and_at_once_after_it_nothing_is_fast() -> None:
    world = World()
    world.count = 500
    assert world.pulse.rate("n").ten_seconds == 0.0
    world.pulse.beat()
    assert (world.pulse.rate("n").minute, world.pulse.rate("n").total) == (0.0, 500)


def test_a_latency_forgets_what_was_longer_ago_than_a_minute() -> None:
    world = World()
    assert world.pulse.latency("t") is None
    world.buckets = {0.01: 0.0, 1.0: 100.0, inf: 100.0}
    world.beat(70, 0)
    assert world.pulse.latency("t") is None, "all of them were before"
    world.buckets = {0.01: 50.0, 1.0: 150.0, inf: 150.0}
    latency = world.pulse.latency("t")
    assert latency is not None
    assert latency.count == 50
    assert latency.p95_ms <= 10


@pytest.mark.parametrize(
    ("buckets", "share", "wanted"),
    [
        ({1.0: 10, 2.0: 20, inf: 20}, 0.5, 1.0),
        ({1.0: 10, 2.0: 20, inf: 20}, 0.75, 1.5),
        ({1.0: 0, 2.0: 4, inf: 4}, 0.5, 1.5),
        ({1.0: 1, inf: 10}, 0.95, 1.0),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(
    buckets: dict[float, float], share: float, wanted: float
) -> None:
    assert quantile(buckets, share) == pytest.approx(wanted)


def test_nothing_has_no_latency() -> None:
    assert latency_of({}) is None
    assert latency_of({1.0: 0, inf: 0}) is None


def test_the_buckets_of_a_histogram_are_those_with_the_labels() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("took", "Time.", ["method", "route"], buckets=(1, 2), registry=registry)
    histogram.labels("GET", "/a").observe(0.5)
    histogram.labels("GET", "/a").observe(9)
    histogram.labels("POST", "/a").observe(1.5)
    assert buckets_of(registry, "took", {"method": "GET"}) == {1.0: 1, 2.0: 1, inf: 2}
    assert buckets_of(registry, "took", {"route": "/a"}) == {1.0: 1, 2.0: 2, inf: 3}
    assert buckets_of(registry, "took", {"route": "/b"}) == {}
