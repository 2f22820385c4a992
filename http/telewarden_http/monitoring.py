"""The routes that machines watch: health in its three questions, and metrics."""

from time import time_ns

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from quart import Response, request

from telewarden_http.protocols import HealthReporter
from telewarden_http.responses import encode, json_response
from telewarden_http.wire import iso_ms


class MonitoringRoutes:
    """The handlers of /health, /health/live, /health/ready and /metrics."""

    def __init__(self, health: HealthReporter, registry: CollectorRegistry, service: str) -> None:
        self._health = health
        self._registry = registry
        self._service = service

    async def overall(self) -> Response:
        """`GET /health`: 200 while live and ready, degraded or not, 503 otherwise; with all the facts."""
        report = self._health.report()
        degraded = [{"what": d.what, "since": d.since, "effect": d.effect} for d in report.degraded]
        facts = {"live": report.live, "ready": report.ready, "degraded": degraded}
        return self._answer(report.live and report.ready, {**report.details, **facts})

    async def live(self) -> Response:
        """`GET /health/live`: is a restart needed? 503 if so."""
        return self._answer(self._health.report().live, {})

    async def ready(self) -> Response:
        """`GET /health/ready`: can polls be answered right? 503 if not."""
        return self._answer(self._health.report().ready, {})

    async def metrics(self) -> Response:
        """`GET /metrics`: the registry as Prometheus text, or OpenMetrics to whom asks for it."""
        render, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(render(self._registry), content_type=content_type)

    def _answer(self, healthy: bool, facts: dict[str, object]) -> Response:
        head: dict[str, object] = {
            "status": "healthy" if healthy else "unhealthy",
            "service": self._service,
            "timestamp": iso_ms(time_ns() // 1000),
        }
        body = head | {name: fact for name, fact in facts.items() if name not in head}
        return json_response(encode(body), 200 if healthy else 503)
