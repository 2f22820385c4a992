"""The consumers' routes, on a store that a test speaks for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from telewarden_http.app import create_app, settings_of
from telewarden_http.protocols import Unavailable, UnknownChannel
from telewarden_http.v1 import receipts
from telewarden_http.v1.consumers import ConsumerRoutes
from telewarden_http.v1.consumers_protocols import (
    Channels,
    ConsumerChange,
    ConsumerState,
    Delivery,
    Kind,
    Lag,
    Leased,
    Outcome,
    Settled,
    Start,
)
from telewarden_http.v1.receipts import Receipt
from telewarden_http.v1.token import BEGINNING, Position, encode

if TYPE_CHECKING:
    from http.conftest import Answer, Api

pytestmark = pytest.mark.anyio

NAME = "parser"
NOTHING = Leased((), Position(1, 5), None, ("posted",), None, more=False)
STATE = ConsumerState(
    name=NAME,
    channels=None,
    kinds=[Kind.POSTED],
    max_deliveries=10,
    created_at="2026-01-01T00:00:00.000Z",
    position=encode(Position(1, 5)),
    skipped_by_retention=False,
    lag=Lag(waiting=1, leased=2, delayed=3, dead=4, oldest_waiting_at=None, is_exact=True),
)


def delivery(number: int, deliveries: int = 1) -> Delivery:
    return Delivery(
        Receipt(Position(1, number), deliveries),
        Kind.POSTED,
        "-1001",
        number,
        "2026-01-01T00:00:00.000Z",
        b'{"text":"hello"}',
        "2026-01-01T00:00:30.000Z",
    )


def leased(*deliveries: Delivery) -> Leased:
    return replace(NOTHING, deliveries=deliveries)


@dataclass
class FakeStore:
    """Answers in turn what a test gives it, the last of it again and again; notes what it is asked."""

    hands_out: list[Leased] = field(default_factory=lambda: [NOTHING])
    outcomes: dict[Receipt, Settled] = field(default_factory=dict)
    error: Exception | None = None
    state_: ConsumerState | None = STATE
    dead: tuple[Sequence[Delivery], Position | None] = ((), None)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    given_back: list[Receipt] = field(default_factory=list)
    hold: anyio.Event | None = None
    began: anyio.Event = field(default_factory=anyio.Event)
    returned: anyio.Event = field(default_factory=anyio.Event)

    async def lease(self, consumer: str, channels: Channels, *, limit: int, lease_s: float) -> Leased:
        self._note("lease", consumer, channels, limit, lease_s)
        self.began.set()
        if self.hold is not None:
            await self.hold.wait()
        return self.hands_out.pop(0) if len(self.hands_out) > 1 else self.hands_out[0]

    async def give_back(self, consumer: str, receipts: Sequence[Receipt]) -> None:
        self.given_back += receipts
        self.returned.set()

    async def acknowledge(self, consumer: str, receipts: Sequence[Receipt]) -> list[Settled]:
        return self._settled("acknowledge", consumer, receipts)

    async def return_(self, consumer: str, receipts: Sequence[Receipt], delay_s: float) -> list[Settled]:
        return self._settled("return", consumer, receipts, delay_s)

    async def extend(self, consumer: str, receipts: Sequence[Receipt], lease_s: float) -> list[Settled]:
        return self._settled("extend", consumer, receipts, lease_s)

    async def state(self, consumer: str, channels: Channels) -> ConsumerState | None:
        self._note("state", consumer, channels)
        return self.state_

    async def configure(self, consumer: str, channels: Channels, change: ConsumerChange) -> bool:
        self._note("configure", consumer, channels, change)
        return True

    async def dead_letters(
        self, consumer: str, channels: Channels, *, after: Position, limit: int
    ) -> tuple[Sequence[Delivery], Position | None]:
        self._note("dead", consumer, channels, after, limit)
        return self.dead

    async def revive(self, consumer: str, channels: Channels, receipts: Sequence[Receipt] | None) -> int:
        self._note("revive", consumer, channels, receipts)
        return 7

    def _settled(self, what: str, consumer: str, given: Sequence[Receipt], *more: float) -> list[Settled]:
        self._note(what, consumer, list(given), *more)
        return [self.outcomes[receipt] for receipt in given]

    def _note(self, *what: object) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error


@dataclass
class FakeWakes:
    """Wakes when a test says so."""

    waited: list[tuple[Position, Channels, tuple[str, ...]]] = field(default_factory=list)
    waiting: anyio.Event = field(default_factory=anyio.Event)
    news: anyio.Event = field(default_factory=anyio.Event)
    reached: Position = BEGINNING

    async def wait(self, after: Position, channels: Channels, kinds: Collection[str]) -> Position:
        self.waited.append((after, channels, tuple(kinds)))
        self.waiting.set()
        await self.news.wait()
        self.news = anyio.Event()
        return self.reached


@dataclass
class Consumers:
    """The app with these routes."""

    api: Api
    store: FakeStore
    wakes: FakeWakes

    async def get(self, path: str, **query: str) -> Answer:
        return await self.api.ask("GET", path, query=query)

    async def send(self, method: str, path: str, body: object) -> Answer:
        return await self.api.ask(method, path, body=json.dumps(body).encode())


@pytest.fixture
def consumers(api: Api) -> Consumers:
    store, wakes = FakeStore(), FakeWakes()
    app = create_app(
        reader=api.reader,
        acknowledger=api.acknowledger,
        changer=api.changer,
        synchroniser=api.synchroniser,
        health=api.health,
        settings=settings_of(api.app),
        registry=CollectorRegistry(),
        groups=[ConsumerRoutes(store, wakes)],
    )
    return Consumers(replace(api, app=app), store, wakes)


def problem(answer: Answer, status: int) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status == status
    detail: str = answer.json["detail"]
    return detail


def test_every_route_is_described_by_shapes_that_have_a_schema(consumers: Consumers) -> None:
    for route in ConsumerRoutes(consumers.store, consumers.wakes).routes():
        assert route.operation is not None
        shapes = [route.operation.query, route.operation.body, *route.operation.answers.values()]
        assert msgspec.json.schema_components([shape for shape in shapes if isinstance(shape, type)])


async def test_messages_are_handed_out_with_receipts(consumers: Consumers) -> None:
    consumers.store.hands_out = [leased(delivery(7, 2))]

    answer = await consumers.get("/v1/messages", limit="5", lease="60")

    assert answer.status == 200
    assert answer.json == {
        "messages": [
            {
                "id": encode(Position(1, 7)),
                "kind": "posted",
                "channel": "-1001",
                "messageId": "7",
                "at": "2026-01-01T00:00:00.000Z",
                "message": {"text": "hello"},
                "receipt": receipts.encode(Receipt(Position(1, 7), 2), NAME),
                "deliveries": 2,
                "leasedUntil": "2026-01-01T00:00:30.000Z",
            }
        ]
    }
    assert consumers.store.asked == [("lease", NAME, None, 5, 60)]
    assert (await consumers.api.ask("GET", "/v1/messages", headers={})).status == 401


async def test_nothing_is_leased_to_who_asks_for_the_headers_alone(consumers: Consumers) -> None:
    answer = await consumers.api.ask("HEAD", "/v1/messages")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    assert consumers.store.asked == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"lease": "0"},
        {"lease": "3601"},
        {"wait": "61"},
        {"wait": "x"},
        {"n": "1"},
    ],
)
async def test_what_is_out_of_range_is_refused(consumers: Consumers, query: dict[str, str]) -> None:
    detail = problem(await consumers.get("/v1/messages", **query), 400)
    assert next(iter(query)) in detail
    assert consumers.store.asked == []


async def test_each_receipt_has_a_result_and_a_bad_one_spoils_none(consumers: Consumers) -> None:
    first, second = (Receipt(Position(1, number), 1) for number in (1, 2))
    consumers.store.outcomes = {first: Settled(Outcome.ACKNOWLEDGED), second: Settled(Outcome.ALREADY)}
    one, two = receipts.encode(first, NAME), receipts.encode(second, NAME)
    theirs = receipts.encode(first, "archive")

    answer = await consumers.send("POST", "/v1/acks", {"receipts": [two, "?", one, two, theirs, ""]})

    assert answer.status == 200
    assert [(each["receipt"], each["result"]) for each in answer.json["results"]] == [
        (two, "already"),
        ("?", "unknown"),
        (one, "acknowledged"),
        (two, "already"),
        (theirs, "unknown"),
        ("", "unknown"),
    ]
    assert consumers.store.asked == [("acknowledge", NAME, [second, first])]
    assert (await consumers.send("POST", "/v1/acks", {"receipts": ["?"]})).json["results"][0][
        "result"
    ] == "unknown"
    assert len(consumers.store.asked) == 1


async def test_leases_are_returned_and_extended(consumers: Consumers) -> None:
    given = Receipt(Position(1, 1), 1)
    text = receipts.encode(given, NAME)
    consumers.store.outcomes = {given: Settled(Outcome.RETURNED)}
    answer = await consumers.send("POST", "/v1/nacks", {"receipts": [text], "delay": 86400})
    assert answer.json == {"results": [{"receipt": text, "result": "returned"}]}
    consumers.store.outcomes = {given: Settled(Outcome.EXTENDED, "2026-01-01T00:01:00.000Z")}
    answer = await consumers.send("POST", "/v1/leases", {"receipts": [text], "lease": 60})
    assert answer.json == {
        "results": [{"receipt": text, "result": "extended", "leasedUntil": "2026-01-01T00:01:00.000Z"}]
    }
    assert consumers.store.asked == [("return", NAME, [given], 86400), ("extend", NAME, [given], 60)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/acks", {}),
        ("/v1/acks", {"receipts": []}),
        ("/v1/acks", {"receipts": ["x"] * 1001}),
        ("/v1/acks", {"receipts": [1]}),
        ("/v1/acks", {"receipts": ["x"], "more": 1}),
        ("/v1/nacks", {"receipts": ["x"], "delay": 86401}),
        ("/v1/leases", {"receipts": ["x"]}),
        ("/v1/leases", {"receipts": ["x"], "lease": 0}),
        ("/v1/dead-letters/retry", {}),
    ],
)
async def test_a_body_that_is_not_right_is_refused(consumers: Consumers, path: str, body: object) -> None:
    assert problem(await consumers.send("POST", path, body), 400)
    assert consumers.store.asked == []


async def test_a_consumer_is_shown_and_set(consumers: Consumers) -> None:
    answer = await consumers.get("/v1/consumer")
    assert answer.json == {
        "name": NAME,
        "channels": None,
        "kinds": ["posted"],
        "maxDeliveries": 10,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "position": encode(Position(1, 5)),
        "skippedByRetention": False,
        "lag": {"waiting": 1, "leased": 2, "delayed": 3, "dead": 4, "oldestWaitingAt": None, "isExact": True},
    }
    consumers.store.asked.clear()
    sent: list[tuple[dict[str, object], ConsumerChange]] = [
        ({}, ConsumerChange()),
        ({"channels": None}, ConsumerChange(sets_channels=True)),
        ({"channels": ["-1001"]}, ConsumerChange(sets_channels=True, channels=["-1001"])),
        ({"channels": ["-1001\n"]}, ConsumerChange(sets_channels=True, channels=["-1001"])),
        ({"kinds": ["deleted", "edited", "deleted"]}, ConsumerChange(kinds=[Kind.DELETED, Kind.EDITED])),
        ({"maxDeliveries": 3, "start": "beginning"}, ConsumerChange(max_deliveries=3, start=Start.BEGINNING)),
        ({"start": "2026-01-02T03:04:05Z"}, ConsumerChange(start=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))),
        ({"start": "0001-01-01T00:00:00+14:00"}, ConsumerChange(start=datetime(1, 1, 1, tzinfo=UTC))),
        ({"start": "2026-01-02T03:04:05"}, ConsumerChange(start=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))),
    ]
    for body, change in sent:
        answer = await consumers.send("PUT", "/v1/consumer", body)
        assert (answer.status, answer.json["name"]) == (201, NAME)
        assert consumers.store.asked[-2] == ("configure", NAME, None, change)
    wrong_ones: list[dict[str, object]] = [
        {"channels": ["x"]},
        {"channels": []},
        {"kinds": []},
        {"kinds": ["new"]},
        {"maxDeliveries": 0},
        {"start": "soon"},
        {"name": "x"},
    ]
    for wrong in wrong_ones:
        assert problem(await consumers.send("PUT", "/v1/consumer", wrong), 400)
    assert problem(await consumers.send("PUT", "/v1/consumer", {"channels": [str(2**63)]}), 404)
    consumers.store.error = UnknownChannel("channel -1001 is none that this gateway takes in")
    assert "-1001" in problem(await consumers.send("PUT", "/v1/consumer", {"channels": ["-1001"]}), 404)
    consumers.store.error, consumers.store.state_ = None, None
    assert NAME in problem(await consumers.get("/v1/consumer"), 404)


async def test_dead_letters(consumers: Consumers) -> None:
    consumers.store.dead = ([delivery(3, 11)], Position(1, 3))
    answer = await consumers.get("/v1/dead-letters", limit="1")
    assert answer.json["next"] == encode(Position(1, 3))
    [letter] = answer.json["messages"]
    assert (letter["deadAt"], letter["deliveries"]) == ("2026-01-01T00:00:30.000Z", 11)
    await consumers.get("/v1/dead-letters", after=answer.json["next"])
    assert "token" in problem(await consumers.get("/v1/dead-letters", after="x"), 400)

    assert (await consumers.send("POST", "/v1/dead-letters/retry", {"receipts": None})).json == {"retried": 7}
    body = {"receipts": [letter["receipt"], "?"]}
    assert (await consumers.send("POST", "/v1/dead-letters/retry", body)).json == {"retried": 7}
    assert (await consumers.send("POST", "/v1/dead-letters/retry", {"receipts": ["?"]})).json == {
        "retried": 0
    }
    assert consumers.store.asked == [
        ("dead", NAME, None, BEGINNING, 1),
        ("dead", NAME, None, Position(1, 3), 100),
        ("revive", NAME, None, None),
        ("revive", NAME, None, [Receipt(Position(1, 3), 11)]),
    ]


async def test_without_a_database_it_says_when_to_come_again(consumers: Consumers) -> None:
    consumers.store.error = Unavailable("the database is down")
    for path in ("/v1/messages", "/v1/consumer", "/v1/dead-letters"):
        answer = await consumers.get(path)
        assert problem(answer, 503) == "the database is down"
        assert answer.headers["retry-after"] == "5"


async def test_a_long_poll_is_woken_by_news(consumers: Consumers) -> None:
    only = replace(NOTHING, channels=frozenset({"-1001"}), more=True)
    consumers.store.hands_out = [only, replace(only, more=False), leased(delivery(1))]
    answers: list[Answer] = []

    async def poll() -> None:
        answers.append(await consumers.get("/v1/messages", wait="60"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poll)
            await consumers.wakes.waiting.wait()
            assert len(consumers.store.asked) == 2, "where there is more it is asked for at once"
            consumers.wakes.news.set()
    assert len(answers[0].json["messages"]) == 1
    assert consumers.wakes.waited == [(Position(1, 5), frozenset({"-1001"}), ("posted",))]


async def test_an_event_that_is_not_handed_out_wakes_once(consumers: Consumers) -> None:
    consumers.wakes.reached = Position(1, 9)
    consumers.wakes.news.set()
    with anyio.fail_after(10):
        await consumers.get("/v1/messages", wait="1")
    assert [after for after, _, _ in consumers.wakes.waited] == [Position(1, 5), Position(1, 9)]


async def test_a_long_poll_is_woken_when_something_is_due(consumers: Consumers) -> None:
    consumers.store.hands_out = [replace(NOTHING, again_in_s=-1.0), leased(delivery(1))]
    with anyio.fail_after(10):
        answer = await consumers.get("/v1/messages", wait="60")
    assert len(answer.json["messages"]) == 1


async def test_a_long_poll_has_an_end(consumers: Consumers) -> None:
    assert (await consumers.get("/v1/messages")).json == {"messages": []}
    assert len(consumers.store.asked) == 1
    with anyio.fail_after(10):
        assert (await consumers.get("/v1/messages", wait="1")).json == {"messages": []}
    assert len(consumers.store.asked) == 3, "once more at its end"


async def test_a_server_that_stops_answers_long_polls_at_once(consumers: Consumers) -> None:
    answers = []
    with anyio.fail_after(10):
        async with (
            consumers.api.served() as served,
            served.client() as client,
            anyio.create_task_group() as tasks,
        ):

            async def poll() -> None:
                answers.append(await client.get("/v1/messages", params={"wait": 60}))

            tasks.start_soon(poll)
            await consumers.wakes.waiting.wait()
            served.stop.set()
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"messages": []})]
    assert len(consumers.store.asked) == 1, "nothing is leased to who may not get it any more"


async def gone(consumers: Consumers, until: Callable[[], anyio.Event]) -> None:
    """A client that asks, and goes away when something has happened."""
    async with consumers.api.served() as served:
        async with served.connect() as stream:
            request = f"GET /v1/messages?wait=60 HTTP/1.1\r\nHost: x\r\nX-API-Key: {consumers.api.consumer_key}\r\n\r\n"
            await stream.send(request.encode())
            await until().wait()
        if consumers.store.hold is not None:
            while not any(task.cancelling() for task in asyncio.all_tasks()):
                await anyio.sleep(0.005)
            consumers.store.hold.set()
            await consumers.store.returned.wait()


async def test_what_a_client_that_is_gone_would_have_got_is_given_back(consumers: Consumers) -> None:
    consumers.store.hands_out = [leased(delivery(1), delivery(2, 3))]
    consumers.store.hold = anyio.Event()
    with anyio.fail_after(10):
        await gone(consumers, lambda: consumers.store.began)
    assert consumers.store.given_back == [Receipt(Position(1, 1), 1), Receipt(Position(1, 2), 3)]


async def test_a_client_that_is_gone_does_not_wait(consumers: Consumers) -> None:
    with anyio.fail_after(10):
        await gone(consumers, lambda: consumers.wakes.waiting)
        assert len(consumers.store.asked) == 1
    assert consumers.store.given_back == []


positions = st.builds(Position, st.integers(0, 2**32 - 1), st.integers(0, 2**63 - 1))
given_receipts = st.builds(Receipt, positions, st.integers(1, 2**31 - 1))


@given(given_receipts, st.text(max_size=20), st.text(max_size=20))
def test_a_receipt_is_its_consumers_alone(receipt: Receipt, consumer: str, other: str) -> None:
    text = receipts.encode(receipt, consumer)
    assert receipts.decode(text, consumer) == receipt
    assert consumer == other or receipts.decode(text, other) is None


@given(given_receipts, st.integers(0, 26), st.characters())
def test_a_receipt_with_another_character_is_none(receipt: Receipt, place: int, character: str) -> None:
    text = receipts.encode(receipt, NAME)
    changed = text[:place] + character + text[place + 1 :]
    assert changed == text or receipts.decode(changed, NAME) is None


@given(st.text(max_size=40))
def test_any_text_may_be_asked_about(text: str) -> None:
    assert receipts.decode(text, NAME) is None
