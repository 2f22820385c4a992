"""The API on fakes in memory; the fakes note what they are asked and answer what a test tells them to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import httpx
import pytest
from prometheus_client import CollectorRegistry
from quart import Quart

from telewarden_http.app import create_app
from telewarden_http.protocols import (
    HealthReport,
    Listing,
    ListQuery,
    Marked,
    MarkProcessed,
    Page,
    Source,
    SyncedChannel,
    SyncRequest,
    UnprocessedQuery,
)
from telewarden_http.routing import Routes
from telewarden_http.server import open_connections, serve
from telewarden_http.settings import ApiSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

CONSUMER_KEY = "consumer-key-7f2a"
OTHER_KEY = "other-key-91bc"
GATEWAY_TOKEN = "gateway-token-c04d"
CHANNEL = "-1001649127710"


@dataclass
class FakeReader:
    page: Page = field(default_factory=lambda: Page((), Source.CACHE, 0))
    messages: dict[UUID, bytes] = field(default_factory=dict)
    error: BaseException | None = None
    hangs: bool = False
    queries: list[UnprocessedQuery] = field(default_factory=list)
    listing: Listing = field(default_factory=lambda: Listing((), False, 0))
    lists: list[ListQuery] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    asked_seen: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    asked: anyio.Event = field(default_factory=anyio.Event)
    cancelled: anyio.Event = field(default_factory=anyio.Event)

    async def unprocessed(self, query: UnprocessedQuery) -> Page:
        self.queries.append(query)
        self.asked.set()
        if self.hangs:
            try:
                await anyio.sleep_forever()
            finally:
                self.cancelled.set()
        if self.error is not None:
            raise self.error
        return self.page

    async def seen(self, channel: str, message_ids: Sequence[int]) -> set[int]:
        self.asked_seen.append((channel, tuple(message_ids)))
        if self.error is not None:
            raise self.error
        return self.known & set(message_ids)

    async def listed(self, query: ListQuery) -> Listing:
        self.lists.append(query)
        if self.error is not None:
            raise self.error
        return self.listing

    async def message(self, message_id: UUID) -> bytes | None:
        if self.error is not None:
            raise self.error
        return self.messages.get(message_id)


@dataclass
class FakeAcknowledger:
    updated: int = 1
    error: BaseException | None = None
    requests: list[MarkProcessed] = field(default_factory=list)

    async def mark_processed(self, request: MarkProcessed) -> Marked:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return Marked(len(request.message_ids), self.updated)


@dataclass
class FakeChanger:
    messages: dict[UUID, bytes] = field(default_factory=dict)
    error: BaseException | None = None
    requests: list[tuple[str, UUID, str | None]] = field(default_factory=list)

    async def delete(self, message_id: UUID, reason: str | None) -> bytes | None:
        return self._change("delete", message_id, reason)

    async def reprocess(self, message_id: UUID, requested_by: str) -> bytes | None:
        return self._change("reprocess", message_id, requested_by)

    def _change(self, what: str, message_id: UUID, word: str | None) -> bytes | None:
        self.requests.append((what, message_id, word))
        if self.error is not None:
            raise self.error
        return self.messages.get(message_id)


@dataclass
class FakeSynchroniser:
    synced: list[SyncedChannel] = field(default_factory=list)
    error: BaseException | None = None
    requests: list[SyncRequest] = field(default_factory=list)

    async def sync(self, request: SyncRequest) -> list[SyncedChannel]:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return self.synced


@dataclass
class FakeHealth:
    state: HealthReport = field(default_factory=lambda: HealthReport(live=True, ready=True))

    def report(self) -> HealthReport:
        return self.state


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> str:
        """The message of the contract's failure; asserts that the body is one."""
        assert self.headers["content-type"] == "application/json"
        assert set(self.json) == {"success", "message"}
        assert self.json["success"] is False
        message: str = self.json["message"]
        return message


@dataclass
class Api:
    """The app with its fakes, and a consumer that knows a key."""

    app: Quart
    reader: FakeReader
    acknowledger: FakeAcknowledger
    changer: FakeChanger
    synchroniser: FakeSynchroniser
    health: FakeHealth
    registry: CollectorRegistry
    channel: str = CHANNEL
    consumer_key: str = CONSUMER_KEY
    other_key: str = OTHER_KEY
    gateway_token: str = GATEWAY_TOKEN

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; with the consumer's key unless headers are given."""
        client: Any = self.app.test_client()  # its declared type asks for every argument
        response = await client.open(
            path,
            method=method,
            query_string=dict(query) if isinstance(query, Mapping) else None,
            data=body,
            headers=dict({"X-API-Key": CONSUMER_KEY} if headers is None else headers),
        )
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, found, await response.get_data(as_text=False))

    async def poll(self, **query: str) -> Answer:
        return await self.ask("GET", "/api/messages/unprocessed", query={"channel": CHANNEL} | query)

    async def acknowledge(self, body: object) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.ask("POST", "/api/messages/mark-processed", body=data)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @asynccontextmanager
    async def served(self, graceful_timeout_s: float = 3.0) -> AsyncIterator[Served]:
        """The app on a real port of this machine."""
        stop, bound, ended = anyio.Event(), anyio.Event(), anyio.Event()
        ports: list[int] = []

        def on_bound(port: int) -> None:
            ports.append(port)
            bound.set()

        async def run() -> None:
            await serve(
                self.app,
                host="127.0.0.1",
                port=0,
                shutdown=stop.wait,
                on_bound=on_bound,
                graceful_timeout_s=graceful_timeout_s,
            )
            ended.set()

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await bound.wait()
            yield Served(ports[0], stop, ended, self.app)
            stop.set()


@dataclass
class Served:
    """A running server."""

    port: int
    stop: anyio.Event
    ended: anyio.Event
    app: Quart

    async def until_connections(self, count: int) -> None:
        """Until so many connections are open."""
        with anyio.fail_after(10):
            while open_connections(self.app) != count:
                await anyio.sleep(0.005)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"X-API-Key": CONSUMER_KEY},
            timeout=10,
            trust_env=False,
        )

    def connect(self) -> AbstractAsyncContextManager[anyio.abc.SocketStream]:
        return _connected(self.port)


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[anyio.abc.SocketStream]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield stream


@pytest.fixture
def make_api() -> Callable[..., Api]:
    """Makes an API; takes what differs from the usual settings, and further routes."""

    def make(*, groups: Sequence[Routes] = (), **differing: Any) -> Api:
        usual = ApiSettings(
            api_keys={"parser": CONSUMER_KEY, "archive": OTHER_KEY},
            gateway_tokens={"operator": GATEWAY_TOKEN},
            monitoring_needs_key=False,
        )
        reader, acknowledger, health, registry = (
            FakeReader(),
            FakeAcknowledger(),
            FakeHealth(),
            CollectorRegistry(),
        )
        changer, synchroniser = FakeChanger(), FakeSynchroniser()
        app = create_app(
            reader=reader,
            acknowledger=acknowledger,
            changer=changer,
            synchroniser=synchroniser,
            health=health,
            settings=replace(usual, **differing),
            registry=registry,
            groups=groups,
        )
        return Api(app, reader, acknowledger, changer, synchroniser, health, registry)

    return make


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()
