"""Single requests: what goes out, what comes back, and which error means what."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import httpx
import pytest

from support.fake_api import CHANNEL, KEY, FakeApi, FakeTransport, Fault, listening
from telewarden_http.client import (
    AsyncClient,
    Client,
    ClientError,
    CursorExpired,
    KeyRefused,
    Kind,
    NotFound,
    RateLimited,
    RequestRefused,
    Retry,
    ServerUnavailable,
)
from telewarden_http.client.calls import channels
from telewarden_http.client.reading import read
from telewarden_http.client.retry import Backoff


def client(api: FakeApi) -> Client:
    return Client("http://fake", KEY, http_transport=FakeTransport(api))


def test_importing_it_loads_nothing_of_the_server() -> None:
    program = (
        "import sys, telewarden_http.client\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'quart', 'hypercorn', 'telethon', "
        "'asyncpg', 'redis', 'sqlalchemy', 'pydantic', 'structlog', 'telewarden', 'trio', 'typer'}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (401, KeyRefused),
        (403, KeyRefused),
        (404, NotFound),
        (408, ServerUnavailable),
        (409, RequestRefused),
        (410, RequestRefused),
        (413, RequestRefused),
        (429, RateLimited),
        (500, ServerUnavailable),
        (503, ServerUnavailable),
        (302, RequestRefused),
        (599, ServerUnavailable),
    ],
)
def test_a_status_is_an_error_with_the_servers_words(
    api: FakeApi, status: int, kind: type[ClientError]
) -> None:
    api.fault("/v1/channels", Fault(status=status))
    with client(api) as it, pytest.raises(kind, match="as the test wants it") as raised:
        it.channels()
    assert type(raised.value) is kind
    assert raised.value.status == status


def test_an_expired_cursor_names_the_oldest(api: FakeApi) -> None:
    api.fault("/v1/channels", Fault(status=410, members={"oldest": "token"}))
    with client(api) as it, pytest.raises(CursorExpired) as raised:
        it.channels()
    assert raised.value.oldest == "token"


def test_a_body_that_is_no_problem_still_gives_words(api: FakeApi) -> None:
    with pytest.raises(ServerUnavailable, match="GET /v1/channels was answered 502 Bad Gateway"):
        read(channels(), 502, {}, b"<html>nginx</html>")
    with pytest.raises(RequestRefused, match="in the old shape"):
        read(channels(), 409, {}, b'{"success":false,"message":"in the old shape"}')


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("7", 7, 7),
        (format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True), 1, 600),
        (format_datetime(datetime.now(UTC) - timedelta(seconds=600), usegmt=True), 0, 0),
    ],
    ids=["seconds", "a date to come", "a date that is over"],
)
def test_retry_after_is_seconds_or_a_date(text: str, least: float, most: float) -> None:
    with pytest.raises(RateLimited) as raised:
        read(channels(), 429, httpx.Headers({"retry-after": text}), b"")
    assert raised.value.retry_after_s is not None
    assert least <= raised.value.retry_after_s <= most


@pytest.mark.parametrize("text", ["soon", "-3", "1.5", "²", ""])
def test_a_retry_after_that_makes_no_sense_counts_as_absent(text: str) -> None:
    with pytest.raises(ServerUnavailable) as raised:
        read(channels(), 503, {"Retry-After": text}, b"")
    assert raised.value.retry_after_s is None


def test_back_off_doubles_within_its_bounds_and_begins_anew_after_a_success() -> None:
    most = Backoff(Retry(first_s=1, most_s=10), uniform=lambda _, high: high)
    error = ServerUnavailable("down")
    assert [most.failed(error) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    most.succeeded()
    assert most.failed(error) == 1
    least = Backoff(Retry(first_s=1, most_s=10), uniform=lambda low, _: low)
    assert [least.failed(error) for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_back_off_is_never_shorter_than_the_server_asks_and_bounded_in_that_too() -> None:
    least = Backoff(Retry(first_s=1, most_s=10, obey_most_s=60), uniform=lambda low, _: low)
    assert least.failed(ServerUnavailable("busy", 503, 20)) == 20
    assert least.failed(ServerUnavailable("busy", 503, 0)) == 1
    assert least.failed(ServerUnavailable("busy", 503, 86_400)) == 60


def test_the_old_contract(api: FakeApi) -> None:
    api.post("one", "two", "three")
    with client(api) as it:
        found = it.unprocessed(CHANNEL, limit=2, statuses=("received", "queued"), exclude_processed_by="me")
        assert [(each.message_id, each.text) for each in found] == [("1", "one"), ("2", "two")]
        assert api.asked[-1].query == {
            "channel": CHANNEL,
            "limit": "2",
            "status": "received,queued",
            "excludeProcessedBy": "me",
        }
        assert it.mark_processed([1, "2"], processed_by="me", channel=CHANNEL).updated == 2
        assert api.processed == [{"messageIds": ["1", "2"], "processedBy": "me", "channel": CHANNEL}]
        with pytest.raises(RequestRefused, match="more than one channel") as refused:
            it.mark_processed([1], processed_by="me")
        assert refused.value.status == 409
        assert it.seen(CHANNEL, [1, "3", 99]) == {"1", "3"}
        assert api.asked[-1].path == f"/v1/messages/{CHANNEL}/seen"


def test_now_is_where_the_feed_ends(api: FakeApi) -> None:
    ids = api.post("one", "two")
    with client(api) as it:
        assert it.now() == ids[-1]


def test_a_consumer_is_configured_and_looked_at(api: FakeApi) -> None:
    api.post("one")
    with client(api) as it:
        changed = it.configure_consumer(
            channels=None, kinds=["edited"], max_deliveries=3, start=datetime(2026, 1, 2, tzinfo=UTC)
        )
        assert api.asked[-1].body == {
            "channels": None,
            "kinds": ["edited"],
            "maxDeliveries": 3,
            "start": "2026-01-02T00:00:00Z",
        }
        assert (changed.kinds, changed.max_deliveries) == ([Kind.EDITED], 3)
        it.configure_consumer(max_deliveries=4)
        assert api.asked[-1].body == {"maxDeliveries": 4}
        assert it.consumer().lag.waiting == 1
        assert [each.name for each in it.consumers()] == ["my-consumer"]
        assert it.dead_letters().messages == []
        assert it.retry_dead_letters() == 3
        assert api.asked[-1].body == {"receipts": None}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_both_clients_ask_the_same(backend: str) -> None:
    def asked(api: FakeApi) -> list[object]:
        return list(api.asked)

    blocking, tasks = FakeApi(), FakeApi()
    for api in (blocking, tasks):
        api.post("one", "two")
    with client(blocking) as it:
        it.channels()
        it.now()
        it.configure_consumer(start="now")
        it.consumer(), it.consumers(), it.dead_letters(limit=5, after="token"), it.retry_dead_letters(["1.1"])
        it.lease(limit=1, lease_s=5)
        it.acknowledge(["1.1"]), it.give_back(["1.1"], 5)
        it.unprocessed(CHANNEL), it.seen(CHANNEL, [1])
        it.mark_processed([1], processed_by="me", channel=CHANNEL)

    async def use() -> None:
        async with AsyncClient("http://fake", KEY, http_transport=FakeTransport(tasks)) as it:
            await it.channels()
            await it.now()
            await it.configure_consumer(start="now")
            await it.consumer()
            await it.consumers()
            await it.dead_letters(limit=5, after="token")
            await it.retry_dead_letters(["1.1"])
            await it.lease(limit=1, lease_s=5)
            await it.acknowledge(["1.1"])
            await it.give_back(["1.1"], 5)
            await it.unprocessed(CHANNEL)
            await it.seen(CHANNEL, [1])
            await it.mark_processed([1], processed_by="me", channel=CHANNEL)

    anyio.run(use, backend=backend)
    assert asked(tasks) == asked(blocking)


@pytest.mark.parametrize("url", ["127.0.0.1:4010", "ftp://x", "http://", "", "http://[::"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        Client(url, KEY)


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "line\n"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ValueError, match="the key must be printable ASCII") as refused:
        Client("http://fake", key)
    assert not key or key not in str(refused.value)


def test_nobody_there_is_told_with_the_address() -> None:
    with (
        Client("http://127.0.0.1:9", KEY, timeout_s=2) as it,
        pytest.raises(ServerUnavailable, match=r"nobody answers at http://127\.0\.0\.1:9/"),
    ):
        it.channels()


def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    api = FakeApi()
    with listening(api) as url, Client(url, KEY) as it:
        assert len(it.channels()) == 1


class Trickle(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """An answer that never ends, a byte at a time."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Drops())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Drops())


class Drops(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Spaces, for ever."""

    def __iter__(self):  # type: ignore[no-untyped-def]
        while True:
            yield b" "

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        while True:
            await anyio.sleep(0.001)
            yield b" "


def test_an_answer_that_trickles_is_given_up() -> None:
    with (
        Client("http://fake", KEY, timeout_s=0.05, http_transport=Trickle()) as it,
        pytest.raises(ServerUnavailable, match=r"no complete answer within 0\.05 s"),
    ):
        it.channels()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_answer_that_trickles_is_given_up_by_a_task_too(backend: str) -> None:
    async def use() -> None:
        async with AsyncClient("http://fake", KEY, timeout_s=0.05, http_transport=Trickle()) as it:
            with pytest.raises(ServerUnavailable, match=r"no complete answer within 0\.05 s"):
                await it.channels()

    anyio.run(use, backend=backend)
