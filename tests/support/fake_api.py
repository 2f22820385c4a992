"""A server in memory that answers as the API does, for tests of its clients; and everything that goes wrong on the way.

One object answers all: a transport of httpx for both clients, and `listening` for programs that want a port.
"""

import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.lowlevel
import httpx

from telewarden_http.responses import failure_body
from telewarden_http.v1.token import BEGINNING, Position, decode, encode

KEY = "tw_fake-key-0123456789"
CHANNEL = "-1001649127710"
_LOOK_S = 0.005


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    status: answered so, without doing anything. lost: it is done, and the answer never comes. cut: the answer ends
    half-way. body: sent instead of the answer.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)
    refused: bool = False
    lost: bool = False
    cut: bool = False
    body: bytes | None = None


@dataclass
class Lease:
    """Of one event of the consumer."""

    deliveries: int
    leased: bool
    delay: int = 0
    done: bool = False


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


class FakeApi:
    """The feed of its channels and one consumer, which starts at the beginning. Leases end by `expire_leases` alone."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.leases: dict[int, Lease] = {}
        self.asked: list[Asked] = []
        self.oldest = 0
        self.processed: list[dict[str, Any]] = []
        self._faults: dict[str, deque[Fault]] = {}
        self._lock = threading.RLock()

    def post(self, *texts: str, channel: str = CHANNEL, kind: str = "posted") -> list[str]:
        """One event for each text. Their ids."""
        with self._lock:
            for text in texts:
                number = len(self.events) + 1
                message_id = str(number)
                event = {
                    "id": encode(Position(1, number)),
                    "kind": kind,
                    "channel": channel,
                    "messageId": message_id,
                    "at": "2026-01-02T03:04:05.678Z",
                    "message": message(channel, message_id, text),
                }
                self.events.append(event)
            return [event["id"] for event in self.events[-len(texts) :]]

    def fault(self, path: str, *faults: Fault) -> None:
        """They happen to the next requests of a path, one each."""
        with self._lock:
            self._faults.setdefault(path, deque()).extend(faults)

    def expire_leases(self) -> None:
        """All leases end now, and all delays."""
        with self._lock:
            for lease in self.leases.values():
                lease.leased, lease.delay = False, 0

    def expire_feed(self, number: int) -> str:
        """Events up to this one are kept no longer; gives the token to go on from."""
        self.oldest = number
        return encode(Position(1, number))

    @property
    def faults_left(self) -> int:
        """Faults that have not happened."""
        return sum(map(len, self._faults.values()))

    def done(self) -> list[str]:
        """The texts of what was acknowledged."""
        with self._lock:
            return [
                self.events[number - 1]["message"]["text"]
                for number, lease in sorted(self.leases.items())
                if lease.done
            ]

    def count(self, path: str) -> int:
        """Requests of a path so far."""
        with self._lock:
            return sum(each.path == path for each in self.asked)

    # What follows is the server.

    def next_fault(self, path: str) -> Fault:
        with self._lock:
            waiting = self._faults.get(path)
            return waiting.popleft() if waiting else Fault()

    def has_to_wait(self, asked: Asked, key: str | None) -> bool:
        """A long poll that has nothing to say yet."""
        if key != f"Bearer {KEY}":
            return False
        if asked.path == "/v1/feed":
            return asked.query["after"] != "now" and not self._page(asked.query)["events"]
        return asked.path == "/v1/messages" and not self._due()

    def answer(self, asked: Asked, key: str | None) -> tuple[int, bytes]:
        """Status and body."""
        with self._lock:
            try:
                if key != f"Bearer {KEY}":
                    raise Refused(403, "The key is not valid")
                return 200, json.dumps(self._answer(asked)).encode()
            except Refused as refused:
                body = failure_body(asked.path, refused.status, refused.detail)[0]
                return refused.status, json.dumps(json.loads(body) | refused.members).encode()

    def _answer(self, asked: Asked) -> Any:
        query, body = asked.query, asked.body
        match asked.method, asked.path:
            case "GET", "/v1/channels":
                return {"channels": [{"channel": CHANNEL, "label": "A channel", "active": True}]}
            case "GET", "/v1/feed":
                return self._page(query)
            case "GET", "/v1/messages":
                return self._lease(int(query["limit"]))
            case "POST", "/v1/acks":
                return self._settle(body["receipts"], self._ack)
            case "POST", "/v1/nacks":
                return self._settle(body["receipts"], lambda lease: self._nack(lease, body["delay"]))
            case "POST", "/v1/leases":
                return self._settle(body["receipts"], self._extend)
            case ("GET", "/v1/consumer") | ("PUT", "/v1/consumer"):
                return self._consumer() | ({k: v for k, v in body.items() if k != "start"} if body else {})
            case "GET", "/v1/admin/consumers":
                return {"consumers": [self._consumer()]}
            case "GET", "/v1/dead-letters":
                return {"messages": [], "next": None}
            case "POST", "/v1/dead-letters/retry":
                return {"retried": 3}
            case "GET", "/api/messages/unprocessed":
                wanted = [each["message"] for each in self.events if each["channel"] == query["channel"]]
                return {"success": True, "data": wanted[: int(query["limit"])], "count": len(wanted)}
            case "POST", "/api/messages/mark-processed":
                self.processed.append(body)
                ids = body["messageIds"]
                if "channel" not in body:
                    raise Refused(409, "These ids wait in more than one channel; send channel")
                data = {"requested": len(ids), "updated": len(ids), "processedBy": body["processedBy"]}
                return {"success": True, "message": "…", "data": data}
        if asked.path.endswith("/seen"):
            known = {each["messageId"] for each in self.events}
            return {"seen": [n for n in body["messages"] if n in known], "notSeen": []}
        raise Refused(404, "There is no such route")

    def _page(self, query: dict[str, str]) -> dict[str, Any]:
        after = query["after"]
        place = {"now": Position(1, len(self.events)), "beginning": Position(1, self.oldest)}.get(after)
        if place is None:
            place = decode(after)
            if place.position < self.oldest:
                raise Refused(410, "That is too old", {"oldest": encode(Position(1, self.oldest))})
        if place == BEGINNING:
            place = Position(1, 0)
        kinds, limit = query["kinds"].split(","), int(query["limit"])
        channels = query["channels"].split(",") if "channels" in query else None
        found: list[dict[str, Any]] = []
        reached = place.position
        for event in self.events[place.position :]:
            if len(found) == limit:
                break
            reached += 1
            if event["kind"] in kinds and (channels is None or event["channel"] in channels):
                found.append(event)
        return {
            "events": found,
            "next": encode(Position(1, reached)),
            "more": reached < len(self.events),
        }

    def _due(self) -> list[int]:
        return [
            number
            for number in range(1, len(self.events) + 1)
            if (lease := self.leases.get(number)) is None or not (lease.leased or lease.done or lease.delay)
        ]

    def _lease(self, limit: int) -> dict[str, Any]:
        given = []
        for number in self._due()[:limit]:
            lease = self.leases.setdefault(number, Lease(0, False))
            lease.leased, lease.deliveries = True, lease.deliveries + 1
            given.append(
                self.events[number - 1]
                | {
                    "receipt": f"{number}.{lease.deliveries}",
                    "leasedUntil": "2026-01-02T03:04:35.000Z",
                    "deliveries": lease.deliveries,
                }
            )
        return {"messages": given}

    def _settle(self, receipts: list[str], settle: Callable[[Lease], str]) -> dict[str, Any]:
        results = []
        for receipt in receipts:
            number, _, deliveries = receipt.partition(".")
            lease = self.leases.get(int(number)) if number.isdigit() else None
            if lease is None:
                result = "unknown"
            elif settle == self._ack or lease.deliveries == int(deliveries):
                result = settle(lease)
            else:
                result = "expired"
            until = {"leasedUntil": "2026-01-02T03:05:05.000Z"} if result == "extended" else {}
            results.append({"receipt": receipt, "result": result, **until})
        return {"results": results}

    def _ack(self, lease: Lease) -> str:
        result = "already" if lease.done else "acknowledged"
        lease.done, lease.leased = True, False
        return result

    def _nack(self, lease: Lease, delay: int) -> str:
        if lease.done or not lease.leased:
            return "expired"
        lease.leased, lease.delay = False, delay
        return "returned"

    def _extend(self, lease: Lease) -> str:
        return "extended" if lease.leased else "expired"

    def _consumer(self) -> dict[str, Any]:
        states = self.leases.values()
        return {
            "name": "my-consumer",
            "channels": None,
            "kinds": ["posted"],
            "maxDeliveries": 10,
            "createdAt": "2026-01-02T03:04:05.678Z",
            "position": encode(Position(1, len(self.events))),
            "lag": {
                "waiting": len(self._due()),
                "leased": sum(each.leased for each in states),
                "delayed": sum(each.delay > 0 for each in states),
                "dead": 0,
                "oldestWaitingAt": None,
                "isExact": True,
            },
        }


class Refused(Exception):
    """Answered with a problem."""

    def __init__(self, status: int, detail: str, members: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.members = status, detail, members or {}


def message(channel: str, message_id: str, text: str) -> dict[str, Any]:
    """A message object of the contract."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    absent = (
        "threadId caption mediaType telegramDate publishedAt failedAt queuedAt reprocessRequestedAt reprocessedAt "
        "deletedAt"
    )
    return {
        "id": f"00000000-0000-5000-8000-{int(message_id):012}",
        "channelId": channel,
        "messageId": message_id,
        "source": "mtproto",
        "messageType": "channel_post",
        "text": text,
        "mediaRefs": [],
        "status": "received",
        "receivedAt": now,
        "metadata": {},
        "createdAt": now,
        "updatedAt": now,
    } | dict.fromkeys(absent.split())


class FakeTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The way to a FakeApi, for both clients of httpx."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Waits in the thread."""
        asked, fault, wait_s = self._taken(request)
        key = request.headers.get("Authorization")
        by_s = time.monotonic() + wait_s
        while time.monotonic() < by_s and self._api.has_to_wait(asked, key):
            time.sleep(_LOOK_S)
        return self._answered(request, asked, fault)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Waits in the task."""
        asked, fault, wait_s = self._taken(request)
        key = request.headers.get("Authorization")
        await anyio.lowlevel.checkpoint()
        by_s = anyio.current_time() + wait_s
        while anyio.current_time() < by_s and self._api.has_to_wait(asked, key):
            await anyio.sleep(_LOOK_S)
        return self._answered(request, asked, fault)

    def _taken(self, request: httpx.Request) -> tuple[Asked, Fault, float]:
        asked = Asked(
            request.method,
            request.url.path,
            dict(request.url.params),
            json.loads(request.content) if request.content else None,
        )
        self._api.asked.append(asked)
        fault = self._api.next_fault(asked.path)
        if fault.refused:
            raise httpx.ConnectError("Connection refused", request=request)
        faulty = fault.status or fault.body is not None
        return asked, fault, 0.0 if faulty else float(asked.query.get("wait", 0))

    def _answered(self, request: httpx.Request, asked: Asked, fault: Fault) -> httpx.Response:
        if fault.status is not None:
            body = failure_body(asked.path, fault.status, "as the test wants it")[0]
            body = json.dumps(json.loads(body) | fault.members).encode()
            return httpx.Response(fault.status, headers=fault.headers, content=body)
        if fault.body is not None:
            return httpx.Response(200, content=fault.body)
        status, body = self._api.answer(asked, request.headers.get("Authorization"))
        if fault.lost:
            raise httpx.ReadError("Connection reset by peer", request=request)
        if fault.cut:
            return httpx.Response(status, stream=_Cut(body[: len(body) // 2]))
        return httpx.Response(status, content=body)


class _Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Half of a body, and then the connection is gone."""

    def __init__(self, half: bytes) -> None:
        self._half = half

    def __iter__(self) -> Iterator[bytes]:
        yield self._half
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


@contextmanager
def listening(api: FakeApi) -> Iterator[str]:
    """The fake on a port of its own; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(
                self.command, url.path, dict(parse_qsl(url.query)), json.loads(content) if content else None
            )
            api.asked.append(asked)
            key = self.headers.get("Authorization")
            by_s = time.monotonic() + float(asked.query.get("wait", 0))
            while time.monotonic() < by_s and api.has_to_wait(asked, key) and not ended.is_set():
                time.sleep(_LOOK_S)
            fault = api.next_fault(asked.path)
            status, body = api.answer(asked, self.headers.get("Authorization"))
            if fault.status is not None:
                status, body = fault.status, failure_body(asked.path, fault.status, "as the test wants it")[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    ended = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
