"""What the API counts, under the names that dashboards use already (CONTRACT.md §4)."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from telewarden_http.protocols import Source

OTHER: Final = "other"
"""The label of a route or method that the API does not know: strangers choose those, so they get one value."""

DURATIONS: Final = "telegram_gateway_api_http_request_duration_seconds"
"""The histogram of how long requests took."""

CLIENT_GONE: Final = "499"
"""The status of a request whose client went away before the answer (nginx's number)."""

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ApiMetrics:
    """Requests by method, route and status; their duration; answers to polls by the store that gave them.

    Raises ValueError if the registry already holds them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter(
            "telegram_gateway_api_http_requests",
            "HTTP requests answered, by route template.",
            ("method", "route", "status"),
            registry=registry,
        )
        durations = Histogram(
            DURATIONS,
            "Time from a request's headers to the last byte of its answer.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        answers = Counter(
            "telegram_gateway_api_answers",
            "Polls answered, by the store that answered.",
            ("source",),
            registry=registry,
        )
        self._requests = requests
        self._durations = durations
        self._answers = {source: answers.labels(source.value) for source in Source}
        # labels() takes a lock and builds a key each time; these take a look-up. As bounded as the labels are.
        self._counter: dict[tuple[str, str, str], Counter] = {}
        self._timer: dict[tuple[str, str], Histogram] = {}

    def request(self, method: str, route: str, status: str, seconds: float) -> None:
        """Count one request. route: the template, or OTHER. status: three digits."""
        if method not in METHODS:
            method = OTHER
        key = (method, route, status)
        counter = self._counter.get(key)
        if counter is None:
            counter = self._counter[key] = self._requests.labels(*key)
        counter.inc()
        timer = self._timer.get(key[:2])
        if timer is None:
            timer = self._timer[key[:2]] = self._durations.labels(*key[:2])
        timer.observe(seconds)

    def answer(self, source: Source) -> None:
        """Count one answer to a poll."""
        self._answers[source].inc()
