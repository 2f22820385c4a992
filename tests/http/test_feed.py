"""The feed over HTTP, on a feed in memory: parameters, long polls, streams, what a key may see, how they end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from telewarden_http.app import gate_of, replace_keys, settings_of
from telewarden_http.auth import Principal, Scope
from telewarden_http.protocols import Unavailable
from telewarden_http.v1 import event_stream
from telewarden_http.v1.feed import FeedRoutes
from telewarden_http.v1.feed_protocols import (
    CursorExpired,
    FeedChannel,
    FeedEvent,
    FeedPage,
    FeedQuery,
)
from telewarden_http.v1.long_polls import long_polls_of
from telewarden_http.v1.token import BEGINNING, Position, encode

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio
NEWS, OTHER = -1001, -1002


class FakeFeed:
    """Events in a list, from a floor on."""

    def __init__(self) -> None:
        self.events: list[FeedEvent] = []
        self.floor = BEGINNING
        self.error: Exception | None = None
        self.waiting = 0
        self.refused = 0
        self.news = anyio.Event()

    def add(self, channel: int = NEWS, kind: str = "posted") -> str:
        position = Position(1, len(self.events) + 1)
        token = encode(position)
        body = json.dumps({"id": token, "kind": kind, "n": len(self.events) + 1}).encode()
        self.events.append(FeedEvent(position, channel, kind, body))
        self.wake()
        return token

    def wake(self) -> None:
        self.news.set()
        self.news = anyio.Event()

    def channels(self) -> list[FeedChannel]:
        return [FeedChannel(NEWS, "News", active=True), FeedChannel(OTHER, "", active=False)]

    def serves(self, channel: int) -> bool:
        return channel in (NEWS, OTHER)

    async def now(self) -> Position:
        return self.events[-1].position if self.events else BEGINNING

    async def page(self, after: Position | None, query: FeedQuery) -> FeedPage:
        if self.error is not None:
            self.refused += 1
            raise self.error
        if after is not None and after < self.floor:
            raise CursorExpired(self.floor)
        after = max(self.floor, after or BEGINNING)
        found = [event for event in self.events if event.position > after and self._wanted(event, query)]
        more = len(found) > query.limit
        found = found[: query.limit]
        return FeedPage(found, found[-1].position if more else max(after, await self.now()), more, "memory")

    def _wanted(self, event: FeedEvent, query: FeedQuery) -> bool:
        return event.kind in query.kinds and (query.channels is None or event.channel in query.channels)

    async def grown(self, after: Position, query: FeedQuery) -> None:
        self.waiting += 1
        try:
            await self.news.wait()
        finally:
            self.waiting -= 1

    async def until_waiting(self, count: int) -> None:
        with anyio.fail_after(5):
            while self.waiting != count:
                await anyio.sleep(0.005)


@pytest.fixture
def feed() -> FakeFeed:
    return FakeFeed()


@pytest.fixture
def api(make_api: Callable[..., Api], feed: FakeFeed) -> Api:
    return make_api(groups=[FeedRoutes(feed, 5.0)])


def kinds(body: Any) -> list[str]:
    return [event["kind"] for event in body["events"]]


async def test_page_after_page_each_event_comes_once(api: Api, feed: FakeFeed) -> None:
    for kind in ("posted", "edited", "deleted"):
        feed.add(kind=kind)
    first = await api.ask("GET", "/v1/feed", query={"limit": "2"})
    assert (first.status, kinds(first.json), first.json["more"]) == (200, ["posted", "edited"], True)
    assert first.headers["x-telewarden-source"] == "memory"
    assert first.json["next"] == first.json["events"][-1]["id"]
    second = await api.ask("GET", "/v1/feed", query={"after": first.json["next"]})
    assert (kinds(second.json), second.json["more"]) == (["deleted"], False)
    third = await api.ask("GET", "/v1/feed", query={"after": second.json["next"]})
    assert (third.json["events"], third.json["next"]) == ([], second.json["next"])
    now = await api.ask("GET", f"/v1/channels/{NEWS}/messages", query={"after": "now"})
    assert (now.json["events"], now.json["next"]) == ([], second.json["next"])


async def test_channels_and_kinds_select(api: Api, feed: FakeFeed) -> None:
    feed.add(NEWS)
    feed.add(OTHER, "edited")
    feed.add(NEWS, "edited")
    by_channel = await api.ask("GET", f"/v1/channels/{OTHER}/messages")
    assert [event["n"] for event in by_channel.json["events"]] == [2]
    by_kind = await api.ask("GET", "/v1/feed", query={"kinds": "edited", "channels": f"{NEWS},{OTHER}"})
    assert [event["n"] for event in by_kind.json["events"]] == [2, 3]
    listed = await api.ask("GET", "/v1/channels")
    assert listed.json == {
        "channels": [
            {"channel": "-1001", "label": "News", "active": True},
            {"channel": "-1002", "label": "", "active": False},
        ]
    }


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"limit": "0"}, ">= 1"),
        ({"limit": "1001"}, "<= 1000"),
        ({"limit": "many"}, "limit"),
        ({"wait": "61"}, "<= 60"),
        ({"wait": "nan"}, "wait"),
        ({"wait": "-1"}, ">= 0"),
        ({"kinds": "posted,sold"}, "must be some of posted, edited, deleted"),
        ({"kinds": ""}, "must be some of posted, edited, deleted"),
        ({"after": "AAAA"}, "not a token"),
        ({"after": encode(Position(1, 1))[:-1] + "_"}, "not a token"),
        ({"after": encode(Position(1, 2**63))}, "not a token"),
        ({"channels": "news"}, "channels"),
        ({"channels": ""}, "channels"),
        ({"channel": "-1001"}, "channel"),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(api: Api, query: dict[str, str], words: str) -> None:
    answer = await api.ask("GET", "/v1/feed", query=query)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert words in answer.json["detail"]


async def test_a_channel_that_is_not_there_is_not_found(api: Api) -> None:
    for path in ("/v1/channels/-1009/messages", f"/v1/feed?channels={NEWS},-1009"):
        answer = await api.ask("GET", path)
        assert answer.status == 404
        assert "-1009" in answer.json["detail"]
    assert (await api.ask("GET", "/v1/feed", headers={})).status == 401


async def test_a_key_that_is_limited_to_channels_sees_no_others(
    api: Api, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = Principal("limited", "limited", frozenset([Scope.READ]), frozenset([str(OTHER)]))
    monkeypatch.setattr(gate_of(api.app).keyring, "admit", lambda headers: limited)
    feed.add(NEWS)
    feed.add(OTHER)
    answer = await api.ask("GET", "/v1/feed")
    assert [event["n"] for event in answer.json["events"]] == [2]
    assert answer.json["next"] == encode(Position(1, 2))
    assert [c["channel"] for c in (await api.ask("GET", "/v1/channels")).json["channels"]] == [str(OTHER)]
    for path in (f"/v1/channels/{NEWS}/messages", f"/v1/feed?channels={OTHER},{NEWS}"):
        assert (await api.ask("GET", path)).status == 404


async def test_an_expired_token_says_where_to_go_on(api: Api, feed: FakeFeed) -> None:
    tokens = [feed.add() for _ in range(4)]
    feed.floor = Position(1, 2)
    expired = await api.ask("GET", "/v1/feed", query={"after": tokens[0]})
    assert (expired.status, expired.headers["content-type"]) == (410, "application/problem+json")
    assert expired.json["oldest"] == tokens[1]
    onward = await api.ask("GET", "/v1/feed", query={"after": expired.json["oldest"]})
    beginning = await api.ask("GET", "/v1/feed", query={"after": "beginning"})
    assert (
        [event["n"] for event in onward.json["events"]]
        == [3, 4]
        == [event["n"] for event in beginning.json["events"]]
    )


async def test_a_store_that_is_down_is_waited_for_by_the_client(api: Api, feed: FakeFeed) -> None:
    feed.error = Unavailable("the database is down")
    answer = await api.ask("GET", "/v1/feed", query={"wait": "5"})
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


async def test_a_long_poll_is_answered_when_something_that_matches_comes(api: Api, feed: FakeFeed) -> None:
    feed.add()
    async with api.served() as server, server.client() as client, anyio.create_task_group() as tasks:
        answers: list[httpx.Response] = []

        async def poll() -> None:
            params = {"after": "now", "wait": "60", "kinds": "deleted"}
            answers.append(await client.get("/v1/feed", params=params))

        tasks.start_soon(poll)
        await feed.until_waiting(1)
        feed.add(kind="edited")
        await feed.until_waiting(1)
        feed.add(kind="deleted")
        with anyio.fail_after(5):
            while not answers:
                await anyio.sleep(0.005)
    assert kinds(answers[0].json()) == ["deleted"]
    waited = api.sample(
        "telegram_gateway_api_http_request_duration_seconds_sum", method="GET", route="/v1/feed"
    )
    assert waited is not None


async def test_a_long_poll_ends_empty_after_its_time(api: Api, feed: FakeFeed) -> None:
    token = feed.add()
    answer = await api.ask("GET", "/v1/feed", query={"after": token, "wait": "0.05"})
    assert (answer.json["events"], answer.json["next"], answer.json["more"]) == ([], token, False)
    assert feed.waiting == 0


async def test_a_server_that_stops_answers_long_polls_and_ends_streams(api: Api, feed: FakeFeed) -> None:
    answers: list[httpx.Response] = []
    ended = anyio.Event()
    async with api.served() as server, server.client() as client, anyio.create_task_group() as tasks:

        async def poll() -> None:
            answers.append(await client.get("/v1/feed", params={"wait": "60"}))

        async def stream() -> None:
            async with _stream(client) as lines:
                async for _ in lines:
                    pass
            ended.set()

        tasks.start_soon(poll)
        tasks.start_soon(stream)
        await feed.until_waiting(2)
        server.stop.set()
        with anyio.fail_after(2.5):
            await server.ended.wait()
            await ended.wait()
    assert (answers[0].status_code, answers[0].json()["events"]) == (200, [])


async def test_so_many_of_a_key_wait_and_no_more(api: Api, feed: FakeFeed) -> None:
    polls = long_polls_of(api.app)
    polls.most_a_key = 2
    async with api.served() as server, server.client() as client, anyio.create_task_group() as tasks:

        async def stream() -> None:
            async with _stream(client) as lines:
                async for _ in lines:
                    pass

        async def poll() -> None:
            await client.get("/v1/feed", params={"wait": "60"})

        tasks.start_soon(poll)
        tasks.start_soon(stream)
        await feed.until_waiting(2)
        for headers in ({}, {"Accept": "text/event-stream"}):
            refused = await client.get("/v1/feed", params={"wait": "60"}, headers=headers)
            assert refused.status_code == 429
            assert refused.headers["content-type"] == "application/problem+json"
            assert int(refused.headers["retry-after"]) >= 1
        # Whoever does not wait, and every other key, goes on.
        assert (await client.get("/v1/feed")).status_code == 200
        other = await client.get("/v1/feed", params={"wait": "0.01"}, headers={"X-API-Key": api.other_key})
        assert other.status_code == 200
        tasks.cancel_scope.cancel()
    with anyio.fail_after(10):
        while polls.count:
            await anyio.sleep(0.005)


async def test_a_client_that_goes_away_waits_no_longer(api: Api, feed: FakeFeed) -> None:
    async with api.served() as server:
        for accept in ("application/json", "text/event-stream"):
            async with server.connect() as raw:
                await raw.send(_request(api.consumer_key, accept))
                await feed.until_waiting(1)
            await feed.until_waiting(0)


async def test_a_stream_brings_events_as_they_come_and_goes_on_where_it_was(api: Api, feed: FakeFeed) -> None:
    feed.add()
    async with api.served() as server, server.client() as client:
        async with _stream(client) as lines:
            assert await _next(lines) == {"retry": "2000"}
            first = await _next(lines)
            assert (first["event"], json.loads(first["data"])["n"]) == ("posted", 1)
            await feed.until_waiting(1)
            feed.add(kind="edited")
            second = await _next(lines)
            assert (second["event"], json.loads(second["data"])["n"]) == ("edited", 2)
        feed.add()
        async with _stream(client, {"Last-Event-ID": second["id"]}, after="now") as lines:
            assert await _next(lines) == {"retry": "2000"}
            assert json.loads((await _next(lines))["data"])["n"] == 3
    # What counts is when it began.
    took = api.sample(
        "telegram_gateway_api_http_request_duration_seconds_sum", method="GET", route="/v1/feed"
    )
    assert took is not None


async def test_a_stream_lives_through_an_outage_and_tells_when_its_place_is_gone(
    api: Api, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telewarden_http.v1.feed._STREAM_RETRY_S", 0.02)
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    token = feed.add()
    async with api.served() as server, server.client() as client, _stream(client, after=token) as lines:
        assert await _next(lines) == {"retry": "2000"}
        beat = await _next(lines)
        assert beat == {"": "", "id": token}, "a comment, and the place"
        feed.error = Unavailable("the database is down")
        feed.wake()
        with anyio.fail_after(5):
            while feed.refused < 2:  # asked again during the outage
                feed.wake()
                await anyio.sleep(0.005)
        feed.error = None
        feed.add()
        while "data" not in (event := await _next(lines)):
            pass
        assert json.loads(event["data"])["n"] == 2
        feed.floor = Position(1, 5)
        feed.wake()
        while "data" not in (event := await _next(lines)):
            pass
        assert (event["event"], json.loads(event["data"])["status"]) == ("gone", 410)
        assert json.loads(event["data"])["oldest"] == encode(Position(1, 5))
        assert [line async for line in lines] == []
    expired = await api.ask(
        "GET",
        "/v1/feed",
        headers={"X-API-Key": api.consumer_key, "Accept": "text/event-stream", "Last-Event-ID": token},
    )
    assert expired.status == 410, "before it begins it is a plain answer"


async def test_a_stream_ends_when_its_key_is_right_no_more(
    api: Api, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    async with api.served() as server, server.client() as client, _stream(client, after="now") as lines:
        assert await _next(lines) == {"retry": "2000"}
        await feed.until_waiting(1)
        settings = settings_of(api.app)
        replace_keys(api.app, replace(settings, requests_per_s=5.0))
        assert await _next(lines) == {"": "", "id": encode(BEGINNING)}, "it is right still"
        replace_keys(api.app, replace(settings, api_keys={}))
        feed.add()
        with anyio.fail_after(5):
            rest = [line async for line in lines]
    assert not any(line.startswith("data") for line in rest)


async def test_a_stream_is_not_begun_for_its_headers_alone(api: Api) -> None:
    async with api.served() as server, server.client() as client:
        answer = await client.head("/v1/feed", headers={"Accept": "text/event-stream"})
        assert (answer.status_code, answer.content) == (200, b"")
        with anyio.fail_after(5):
            assert (await client.get("/v1/channels")).status_code == 200, "on the same connection"
    assert long_polls_of(api.app).count == 0


async def test_nothing_is_read_ahead_for_a_client_that_does_not_read(api: Api, feed: FakeFeed) -> None:
    big = json.dumps({"text": "x" * 100_000}).encode()
    feed.events = [FeedEvent(Position(1, n), NEWS, "posted", big) for n in range(1, 1001)]
    asked: list[Position | None] = []
    page = feed.page

    async def noted(after: Position | None, query: FeedQuery) -> FeedPage:
        asked.append(after)
        return await page(after, query)

    feed.page = noted  # type: ignore[method-assign]
    async with api.served() as server, server.connect() as raw:
        await raw.send(_request(api.consumer_key, "text/event-stream"))
        await raw.receive(100)
        await anyio.wait_all_tasks_blocked()
        assert 1 <= len(asked) <= 3, "a page of ten megabytes waits; the next one is not read"


def _request(key: str, accept: str) -> bytes:
    return (
        f"GET /v1/feed?wait=60 HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nAccept: {accept}\r\n\r\n"
    ).encode()


@asynccontextmanager
async def _stream(
    client: httpx.AsyncClient, headers: dict[str, str] | None = None, **query: str
) -> AsyncIterator[AsyncIterator[str]]:
    sent = {"Accept": "text/event-stream"} | (headers or {})
    async with client.stream("GET", "/v1/feed", params=query, headers=sent) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield response.aiter_lines()


async def _next(lines: AsyncIterator[str]) -> dict[str, str]:
    """The fields of the next block."""
    fields: dict[str, str] = {}
    with anyio.fail_after(5):
        async for line in lines:
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
    raise AssertionError("the stream has ended")
