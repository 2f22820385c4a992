"""What holds for every answer: its id, its size, pages of other origins, the access log."""

from __future__ import annotations

import gzip
import threading
from typing import TYPE_CHECKING

import anyio
import pytest
import structlog

from telewarden_http import boundary
from telewarden_http.compression import Headers, asks_for_gzip, smaller
from telewarden_http.protocols import Listing, Page, Source
from telewarden_http.server import open_connections

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.conftest import Api

pytestmark = pytest.mark.anyio
POLL = "/api/messages/unprocessed?channel=-1001649127710"


async def test_every_answer_has_an_id_and_a_sane_one_is_kept(api: Api) -> None:
    for path in (POLL, "/health", "/nowhere"):
        answer = await api.ask("GET", path)
        assert len(answer.headers["x-request-id"]) == 16
    key = {"X-API-Key": api.consumer_key}
    kept = await api.ask("GET", POLL, headers=key | {"X-Request-Id": "trace-1.a_B"})
    assert kept.headers["x-request-id"] == "trace-1.a_B"
    for odd in ("a b", "x" * 65, 'a"b'):
        answer = await api.ask("GET", POLL, headers=key | {"X-Request-Id": odd})
        assert answer.headers["x-request-id"] != odd


@pytest.mark.parametrize("path", [POLL, "/api/messages"], ids=["beside Quart", "by Quart"])
async def test_a_large_answer_is_packed_for_those_who_ask(api: Api, path: str) -> None:
    bodies = [b'{"text":"%d BUY PETR4 at market, stop below the last low"}' % n for n in range(100)]
    api.reader.page = Page(bodies, Source.CACHE, 100)
    api.reader.listing = Listing(bodies, False, 100)
    async with api.served() as served, served.client() as client:
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
        async with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])
        bare = await client.head(path, headers={"Accept-Encoding": "gzip"})
    assert (bare.headers["content-encoding"], bare.content) == ("gzip", b"")
    assert int(bare.headers["content-length"]) == len(raw)
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert int(packed.headers["content-length"]) == len(raw) < len(plain.content) / 3
    assert gzip.decompress(raw) == packed.content == plain.content


async def test_a_very_large_answer_is_packed_beside_the_event_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def packed(headers: Headers, body: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
        threads.append(threading.current_thread() is threading.main_thread())
        return smaller(headers, body)

    monkeypatch.setattr(boundary, "smaller", packed)
    for size in (2_000, 200_000):
        api.reader.page = Page((b'{"text":"' + b"x" * size + b'"}',), Source.CACHE, 1)
        answer = await api.ask(
            "GET", POLL, headers={"X-API-Key": api.consumer_key, "Accept-Encoding": "gzip"}
        )
        assert len(gzip.decompress(answer.body)) > size
    assert threads == [True, False]


async def test_a_small_answer_stays_as_it_is(api: Api) -> None:
    answer = await api.ask("GET", POLL, headers={"X-API-Key": api.consumer_key, "Accept-Encoding": "gzip"})
    assert answer.status == 200
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("header", "asks"),
    [
        (b"gzip", True),
        (b"br, GZIP;q=0.5", True),
        (b"*", True),
        (b"gzip;q=0, *", False),
        (b"gzip; q=0.0", False),
        (b"identity", False),
        (b"br", False),
        (b"", False),
    ],
)
def test_who_asks_for_gzip(header: bytes, asks: bool) -> None:
    assert asks_for_gzip(header) is asks


async def test_pages_of_other_origins_may_not_ask_unless_they_are_named(
    api: Api, make_api: Callable[..., Api]
) -> None:
    page = {"Origin": "https://board.example"}
    asks = page | {"Access-Control-Request-Method": "GET"}
    assert (await api.ask("OPTIONS", POLL, headers=asks)).status == 405
    assert not any(name.startswith("access-control") for name in (await api.ask("GET", POLL)).headers)
    open_ = make_api(cors_origins=("https://board.example",))
    preflight = await open_.ask("OPTIONS", POLL, headers=asks)
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "https://board.example"
    assert "X-API-Key" in preflight.headers["access-control-allow-headers"]
    answer = await open_.ask("GET", POLL, headers=page | {"X-API-Key": open_.consumer_key})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, page["Origin"])
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers
    other = {"Origin": "https://evil.example"}
    assert (
        await open_.ask("OPTIONS", POLL, headers=other | {"Access-Control-Request-Method": "GET"})
    ).status == 405
    refused = await open_.ask("GET", POLL, headers=other | {"X-API-Key": open_.consumer_key})
    assert "access-control-allow-origin" not in refused.headers


async def test_what_a_page_asks_after_a_preflight_does_not_wait_behind_it(
    make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "_LINGER_S", 3600.0)
    page = {"Origin": "https://board.example"}
    open_ = make_api(cors_origins=(page["Origin"],))
    async with open_.served() as served, served.client() as client:
        with anyio.fail_after(20):
            preflight = await client.options(POLL, headers=page | {"Access-Control-Request-Method": "GET"})
            answer = await client.get(POLL, headers=page)
        assert (preflight.status_code, answer.status_code) == (204, 200)
        assert open_connections(served.app) == 1


async def test_the_access_log_has_a_line_a_request_and_no_secret(make_api: Callable[..., Api]) -> None:
    api = make_api(access_log=True)
    secret = "guessed-0123456789-secret"
    with structlog.testing.capture_logs() as logs:
        await api.ask("GET", POLL)
        await api.ask("GET", f"/api/messages/{secret}", headers={"X-API-Key": secret})
        await api.ask(
            "GET", f"/nowhere/{secret}\r\n?key={secret}", headers={"Authorization": f"Bearer {secret}"}
        )
    lines = [line for line in logs if line["event"] == "request"]
    assert [(line["route"], line["status"], line["key"]) for line in lines] == [
        ("/api/messages/unprocessed", "200", "parser"),
        ("/api/messages/{id}", "403", None),
        ("other", "404", None),
    ]
    assert all(line["duration_ms"] >= 0 and line["source"] and line["request_id"] for line in lines)
    assert lines[0]["bytes"] > 0
    assert secret not in str(logs)
    assert api.consumer_key not in str(logs)


async def test_by_default_there_is_no_access_log(api: Api) -> None:
    with structlog.testing.capture_logs() as logs:
        await api.poll()
    assert logs == []
