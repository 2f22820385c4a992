"""The overview as a stream, over a real port, on looks that a test gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
import pytest
from prometheus_client import CollectorRegistry

from telewarden_http.app import create_app, replace_keys, settings_of
from telewarden_http.v1.overview import OverviewRoutes

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio
STREAMS = 2
PATH = "/v1/admin/overview/stream"


@dataclass
class FakeOverviews:
    """Gives each who looks two looks, and then none."""

    looking_now: int = 0
    left: anyio.Event = field(default_factory=anyio.Event)

    async def overview(self) -> bytes:
        return b'{"look":0}'

    @contextmanager
    def looking(self) -> Iterator[FakeLooks]:
        self.looking_now += 1
        try:
            yield FakeLooks()
        finally:
            self.looking_now -= 1
            self.left.set()


@dataclass
class FakeLooks:
    count: int = 0

    async def next(self) -> bytes:
        self.count += 1
        if self.count > 2:
            await anyio.sleep_forever()
        return b'{"look":%d}' % self.count


@dataclass
class Looked:
    api: Api
    source: FakeOverviews

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Gateway-Token": self.api.gateway_token}


@pytest.fixture
def looked(api: Api) -> Looked:
    source = FakeOverviews()
    app = create_app(
        reader=api.reader,
        acknowledger=api.acknowledger,
        changer=api.changer,
        synchroniser=api.synchroniser,
        health=api.health,
        settings=settings_of(api.app),
        registry=CollectorRegistry(),
        groups=[OverviewRoutes(source, streams=STREAMS)],
    )
    return Looked(replace(api, app=app), source)


async def test_the_stream_tells_each_look_and_ends_with_the_server(looked: Looked) -> None:
    with anyio.fail_after(10):
        async with looked.api.served() as server, server.client() as client:
            async with client.stream("GET", PATH, headers=looked.headers) as answer:
                assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
                assert answer.headers["cache-control"] == "no-store"
                text = ""
                async for part in answer.aiter_text():
                    text += part
                    if '"look":2' in text:
                        server.stop.set()
            assert text.startswith(
                'retry: 2000\n\nevent: overview\ndata: {"look":1}\n\nevent: overview\ndata: {"look":2}\n\n'
            )
            await server.ended.wait()
    assert looked.source.looking_now == 0


async def test_more_streams_than_there_may_be_are_refused_until_one_leaves(looked: Looked) -> None:
    with anyio.fail_after(10):
        async with (
            looked.api.served() as server,
            server.client() as client,
            client.stream("GET", PATH, headers=looked.headers) as first,
        ):
            assert first.status_code == 200
            async with client.stream("GET", PATH, headers=looked.headers):
                while looked.source.looking_now < STREAMS:
                    await anyio.sleep(0.005)
                refused = await client.get(PATH, headers=looked.headers)
                assert refused.status_code == 429
                assert "2 streams of the overview are open already" in refused.json()["detail"]
            await looked.source.left.wait()
            async with client.stream("GET", PATH, headers=looked.headers) as again:
                assert again.status_code == 200


async def test_the_overview_is_asked_for_once(looked: Looked) -> None:
    answer = await looked.api.ask("GET", "/v1/admin/overview", headers=looked.headers)
    assert (answer.status, answer.json) == (200, {"look": 0})


async def test_the_stream_ends_when_its_key_is_right_no_more(
    looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telewarden_http.v1.overview.KEEP_ALIVE_S", 0.05)
    api = looked.api
    with anyio.fail_after(10):
        async with (
            api.served() as server,
            server.client() as client,
            client.stream("GET", PATH, headers=looked.headers) as answer,
        ):
            async for part in answer.aiter_text():
                if ":\n\n" in part:
                    replace_keys(api.app, replace(settings_of(api.app), gateway_tokens={}))
            assert answer.num_bytes_downloaded > 0
    assert looked.source.looking_now == 0


async def test_the_stream_is_not_begun_for_its_headers_alone(looked: Looked) -> None:
    async with looked.api.served() as server, server.client() as client:
        for _ in range(STREAMS + 1):
            answer = await client.head(PATH, headers=looked.headers)
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert looked.source.looking_now == 0
