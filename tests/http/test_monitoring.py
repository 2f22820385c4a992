"""Health in its three questions, metrics with bounded labels, and the routes that do not exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Gauge

from telewarden_http.protocols import Degradation, HealthReport, Unavailable

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio


async def test_a_healthy_daemon_says_so(api: Api) -> None:
    answer = await api.ask("GET", "/health", headers={})

    assert answer.status == 200
    assert answer.json["status"] == "healthy"
    assert answer.json["service"] == "telewarden"
    assert answer.json["degraded"] == []


async def test_health_tells_the_time_as_the_contract_writes_it(api: Api) -> None:
    timestamp = (await api.ask("GET", "/health", headers={})).json["timestamp"]

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(timestamp)) < timedelta(minutes=1)


async def test_what_is_down_but_covered_is_told_and_still_healthy(api: Api) -> None:
    api.health.state = HealthReport(
        live=True,
        ready=True,
        degraded=[Degradation("database", "2025-03-01T12:00:00.000Z", "polls are answered by the cache")],
    )

    answer = await api.ask("GET", "/health", headers={})

    assert (answer.status, answer.json["status"]) == (200, "healthy")
    assert answer.json["degraded"] == [
        {
            "what": "database",
            "since": "2025-03-01T12:00:00.000Z",
            "effect": "polls are answered by the cache",
        }
    ]


@pytest.mark.parametrize(("live", "ready"), [(True, False), (False, True), (False, False)])
async def test_a_daemon_that_is_not_live_or_not_ready_is_unhealthy(api: Api, live: bool, ready: bool) -> None:
    api.health.state = HealthReport(live=live, ready=ready)

    answer = await api.ask("GET", "/health", headers={})

    assert (answer.status, answer.json["status"]) == (503, "unhealthy")


async def test_live_and_ready_are_separate_questions(api: Api) -> None:
    api.health.state = HealthReport(live=True, ready=False)

    assert (await api.ask("GET", "/health/live", headers={})).status == 200
    assert (await api.ask("GET", "/health/ready", headers={})).status == 503

    api.health.state = HealthReport(live=False, ready=True)

    assert (await api.ask("GET", "/health/live", headers={})).status == 503
    assert (await api.ask("GET", "/health/ready", headers={})).status == 200


async def test_facts_are_shown_but_never_hide_the_verdict(api: Api) -> None:
    details = {
        "status": "fine",
        "live": "?",
        "workers": {"listener": "running"},
        "started": datetime(2025, 3, 1),
    }
    api.health.state = HealthReport(live=False, ready=False, details=details)

    found = (await api.ask("GET", "/health", headers={})).json

    assert (found["status"], found["live"]) == ("unhealthy", False)
    assert found["workers"] == {"listener": "running"}


async def test_requests_are_counted_by_route_template(api: Api) -> None:
    await api.poll()
    await api.poll(limit="0")
    await api.ask("GET", "/api/messages/6e9f4a52-0d0b-5a3e-9d55-0a4b9f1c2d3e")
    await api.ask("GET", "/api/messages/7e9f4a52-0d0b-5a3e-9d55-0a4b9f1c2d3e")

    name, poll = "telegram_gateway_api_http_requests_total", "/api/messages/unprocessed"
    assert api.sample(name, method="GET", route=poll, status="200") == 1
    assert api.sample(name, method="GET", route=poll, status="400") == 1
    assert api.sample(name, method="GET", route="/api/messages/{id}", status="404") == 2


async def test_refused_and_failed_requests_are_counted_too(api: Api) -> None:
    await api.ask("GET", "/api/messages/unprocessed", headers={})
    api.reader.error = Unavailable("down")
    await api.poll()
    api.reader.error = ZeroDivisionError()
    await api.poll()

    for status in ("401", "503", "500"):
        labels = {"method": "GET", "route": "/api/messages/unprocessed", "status": status}
        assert api.sample("telegram_gateway_api_http_requests_total", **labels) == 1


async def test_strangers_cannot_add_labels(api: Api) -> None:
    for number in range(20):
        await api.ask("GET", f"/no/such/route/{number}", headers={})
        await api.ask(f"BREW{number}", "/health", headers={})

    name = "telegram_gateway_api_http_requests_total"
    assert api.sample(name, method="GET", route="other", status="404") == 20
    assert api.sample(name, method="other", route="other", status="405") == 20
    assert len([s for m in api.registry.collect() for s in m.samples if s.name == name]) == 2


async def test_durations_are_measured_by_route(api: Api) -> None:
    await api.poll()

    labels = {"method": "GET", "route": "/api/messages/unprocessed"}
    assert api.sample("telegram_gateway_api_http_request_duration_seconds_count", **labels) == 1
    assert (
        api.sample("telegram_gateway_api_http_request_duration_seconds_bucket", **labels, le="0.015")
        is not None
    )


async def test_metrics_show_the_whole_registry(api: Api) -> None:
    Gauge("telegram_connection_status", "Connected.", registry=api.registry).set(1)
    await api.poll()

    answer = await api.ask("GET", "/metrics", headers={})

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert b"\ntelegram_connection_status 1.0\n" in answer.body
    assert b'route="/api/messages/unprocessed",status="200"} 1.0\n' in answer.body


async def test_metrics_are_given_as_openmetrics_to_whom_asks(api: Api) -> None:
    answer = await api.ask(
        "GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_two_apis_do_not_share_a_registry(make_api: Callable[..., Api]) -> None:
    from telewarden_http.metrics import ApiMetrics

    registry = CollectorRegistry()
    ApiMetrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        ApiMetrics(registry)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nope",
        "/api",
        "/api/message",
        "/health/",
        "/health/x",
        "/api//messages/unprocessed",
        "/static/x",
    ],
)
async def test_an_unknown_route_is_not_found_in_the_contracts_shape(api: Api, path: str) -> None:
    answer = await api.ask("GET", path, headers={})

    assert answer.status == 404
    assert answer.refusal == "There is no such route"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/messages/unprocessed", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
        ("OPTIONS", "/metrics", "GET, HEAD"),
        ("BREW", "/health", "GET, HEAD"),
        ("PUT", "/api/messages/mark-processed", "POST"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(api: Api, method: str, path: str, allowed: str) -> None:
    answer = await api.ask(method, path)

    assert answer.status == 405
    assert set(allowed.split(", ")) <= set(answer.headers["allow"].split(", "))
    assert method in answer.refusal
