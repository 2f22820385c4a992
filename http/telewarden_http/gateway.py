"""The routes of the old contract that show the gateway at a glance."""

from collections.abc import Awaitable, Sequence
from time import time_ns
from typing import Final, TypeVar

import msgspec
from prometheus_client import CollectorRegistry
from quart import Response, request

from telewarden_http.answering import in_time
from telewarden_http.auth import Scope
from telewarden_http.contract_shapes import (
    AuthStatus,
    CountersAnswer,
    MessageList,
    OverviewAnswer,
    QueueParameters,
    SessionAnswer,
    SummaryAnswer,
)
from telewarden_http.gateway_protocols import ChannelKeeper, Gateway
from telewarden_http.parameters import STATUSES, parse_queue
from telewarden_http.protocols import HealthReporter, Source, Unavailable
from telewarden_http.responses import json_response, success, success_list
from telewarden_http.routing import Operation, Route, principal
from telewarden_http.wire import iso_ms

_T = TypeVar("_T")
_RECENT: Final = 10
"""Messages that a summary shows."""
_FROM_DATABASE: Final = {"X-Telewarden-Source": Source.DATABASE.value}

COUNTERS: Final = {
    "connectionStatus": "telegram_connection_status",
    "messagesReceivedTotal": "telegram_messages_received_total",
    "messagesPublishedTotal": "telegram_messages_published_total",
    "publishFailuresTotal": "telegram_publish_failures_total",
    "retryAttemptsTotal": "telegram_retry_attempts_total",
    "failureQueueSize": "telegram_failure_queue_size",
}
"""What /api/telegram-gateway/metrics shows, and which metric of Prometheus each is."""


class GatewayRoutes:
    """The handlers. registry: what /metrics shows, so that both always say the same."""

    def __init__(
        self,
        gateway: Gateway,
        channels: ChannelKeeper,
        health: HealthReporter,
        registry: CollectorRegistry,
        answer_timeout_s: float,
    ) -> None:
        self._gateway, self._channels, self._health = gateway, channels, health
        self._registry = registry
        self._answer_timeout_s = answer_timeout_s

    def routes(self) -> Sequence[Route]:
        """All of them."""
        base = "/api/telegram-gateway"
        return (
            Route(
                "GET",
                f"{base}/overview",
                self.overview,
                Scope.READ,
                Operation(
                    "The gateway at a glance",
                    "Answered also while parts are down; they are null then.",
                    answers={200: OverviewAnswer},
                ),
            ),
            Route(
                "GET",
                f"{base}/metrics",
                self.metrics,
                Scope.READ,
                Operation("Counters of intake", answers={200: CountersAnswer}),
            ),
            Route(
                "GET",
                f"{base}/queue",
                self.queue,
                Scope.READ,
                Operation("What waits", query=QueueParameters, answers={200: MessageList}),
            ),
            Route(
                "GET",
                f"{base}/session",
                self.session,
                Scope.READ,
                Operation("Facts of the session", "Never its content.", answers={200: SessionAnswer}),
            ),
            Route(
                "GET",
                f"{base}/messages/summary",
                self.summary,
                Scope.READ,
                Operation("Totals by status, and the newest messages", answers={200: SummaryAnswer}),
            ),
            Route(
                "GET",
                f"{base}/auth/status",
                self.auth_status,
                Scope.READ,
                Operation("Whether the account is signed in", answers={200: AuthStatus}),
            ),
        )

    async def overview(self) -> Response:
        """`GET /api/telegram-gateway/overview`: answered also while parts are down; they are null then."""
        report = self._health.report()
        missing: dict[str, str] = {}
        data: dict[str, object] = {
            "timestamp": iso_ms(time_ns() // 1000),
            "health": {
                "status": "healthy" if report.live and report.ready else "unhealthy",
                "live": report.live,
                "ready": report.ready,
                "degraded": [{"what": d.what, "since": d.since, "effect": d.effect} for d in report.degraded],
            },
        }

        async def part(name: str, shown: Awaitable[object]) -> None:
            try:
                data[name] = await self._in_time(shown)
            except Unavailable as error:
                data[name] = None
                missing[name] = str(error)

        await part("connection", self._connection())
        await part("channels", self._channel_counts())
        await part("metrics", self._counters())
        await part("messages", self._totals())
        return json_response(success(data={**data, "missing": missing}))

    async def metrics(self) -> Response:
        """`GET /api/telegram-gateway/metrics`"""
        return json_response(success(data=await self._counters()))

    async def queue(self) -> Response:
        """`GET /api/telegram-gateway/queue`"""
        limit = parse_queue(request.scope["query_string"])
        listing = await self._in_time(self._gateway.queue(limit, principal().channels))
        pagination: dict[str, object] = {
            "total": len(listing.bodies) + listing.more if listing.total is None else listing.total,
            "limit": limit,
            "offset": 0,
            "hasMore": listing.more,
        }
        if listing.total is None:
            pagination["totalIsExact"] = False
        return json_response(success_list(listing.bodies, pagination=pagination), headers=_FROM_DATABASE)

    async def session(self) -> Response:
        """`GET /api/telegram-gateway/session`"""
        facts = await self._in_time(self._gateway.session())
        return json_response(
            success(
                data={
                    "exists": facts.exists,
                    "sizeBytes": facts.size_bytes,
                    "updatedAt": None if facts.updated_at_us is None else iso_ms(facts.updated_at_us),
                    "hash": facts.hash,
                    "problem": facts.problem,
                }
            )
        )

    async def summary(self) -> Response:
        """`GET /api/telegram-gateway/messages/summary`"""
        totals = await self._totals()
        recent = await self._in_time(self._gateway.recent(_RECENT, principal().channels))
        data = {**totals, "recent": [msgspec.Raw(body) for body in recent]}
        return json_response(success(data=data), headers=_FROM_DATABASE)

    async def auth_status(self) -> Response:
        """`GET /api/telegram-gateway/auth/status`"""
        return json_response(success(data=await self._connection()))

    async def _connection(self) -> dict[str, object]:
        connection = self._gateway.connection()
        return {
            "connected": connection.connected,
            "authorised": connection.authorised,
            "since": iso_ms(connection.since_us),
            "problem": connection.problem,
        }

    async def _channel_counts(self) -> dict[str, object]:
        found = [c for c in await self._channels.channels() if principal().may_read(str(c.channel_id))]
        return {"total": len(found), "active": sum(c.is_active for c in found)}

    async def _counters(self) -> dict[str, object]:
        wanted = {metric: name for name, metric in COUNTERS.items()}
        found = {
            wanted[sample.name]: int(sample.value)
            for family in self._registry.collect()
            for sample in family.samples
            if sample.name in wanted
        }
        if len(found) < len(COUNTERS):
            # Raises where nothing is taken in, with the words for it.
            self._gateway.connection()
            raise Unavailable("the counters of intake are not there yet; try again")
        return {name: found[name] for name in COUNTERS}

    async def _totals(self) -> dict[str, object]:
        totals = await self._in_time(self._gateway.totals(principal().channels))
        by_status = {status: totals.by_status.get(status, 0) for status in sorted(STATUSES)}
        return {"total": sum(by_status.values()), "byStatus": by_status, "totalIsExact": totals.is_exact}

    async def _in_time(self, answer: Awaitable[_T]) -> _T:
        return await in_time(answer, self._answer_timeout_s, "It was not known in time; try again")
