"""The outermost layer: every request that enters here leaves with an answer, is counted once, and has an id.

What holds for every answer is done here: its id, the fields that limits and CORS add, compression, the access log.
"""

import re
import secrets
import traceback
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final, cast

import anyio
import structlog
from anyio import to_thread
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    HTTPScope,
    Scope,
    WebsocketScope,
)
from werkzeug.exceptions import HTTPException

from telewarden_http.auth import Principal
from telewarden_http.compression import LARGE_BYTES, LEAST_BYTES, asks_for_gzip, can_be_smaller, smaller
from telewarden_http.cors import Cors
from telewarden_http.gate import EXTRA_HEADERS, PRINCIPAL
from telewarden_http.metrics import CLIENT_GONE, METHODS, OTHER, ApiMetrics
from telewarden_http.responses import failure_body
from telewarden_http.settings import ApiSettings
from telewarden_http.stopping import Stopping

ROUTE: Final = "telewarden.route"
"""Key of the ASGI scope under which a view leaves its route template for the metrics."""

WAITED: Final = "telewarden.waited_s"
"""Key of the ASGI scope under which a view leaves for how many seconds it waited because the client asked it to."""
STREAMS: Final = "telewarden.streams"
"""Key of the ASGI scope by which a view says that its answer goes on without end: what counts is when it begins."""

REQUEST_ID: Final = "telewarden.request_id"
"""Key of the ASGI scope under which a request's id is: its client's, if that is sane, else one of our own."""

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_LINGER_S = 3.0
_LINGER_BYTES = 64 * 1024 * 1024
_log = structlog.get_logger("telewarden_http")
_access = structlog.get_logger("telewarden_http.access")


class Boundary:
    """ASGI middleware around the Quart app: the last catch for errors, metrics, and a polite end of
    answers that are given before the request's body was read (RFC 9112, section 9.6), and of connections when
    the server stops."""

    def __init__(
        self,
        app: Any,
        metrics: ApiMetrics,
        stopping: Stopping,
        settings: ApiSettings,
        address: Callable[[dict[str, Any]], str],
    ) -> None:
        """address: where a request comes from, given its scope."""
        self._app = app
        self._metrics = metrics
        self._stopping = stopping
        self._cors = Cors(settings.cors_origins)
        self._logs = settings.access_log
        self._address = address

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one ASGI connection scope."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1000, "reason": None})

    async def _serve(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        started = perf_counter()
        facts = cast(dict[str, Any], scope)
        origin, packs = _prepare(facts)
        exchange = _Exchange(
            receive, send, self._stopping if scope["http_version"] < "2" else None, facts, packs=packs
        )
        scope["path"] = scope["path"] or "/"  # `GET ?x`: Quart expects a path to have a beginning
        try:
            if self._cors and origin is not None:
                if scope["method"] == "OPTIONS" and await self._preflight(exchange, facts, origin):
                    return
                facts[EXTRA_HEADERS] = self._cors.headers(origin)
            await self._app(scope, exchange.receive, exchange.send)
        except HTTPException as error:
            # Raised before there is a request that Quart could handle it for: a Host header beyond the rules.
            await exchange.answer(
                scope["path"], error.code or 400, f"The request cannot be used: {error.name}"
            )
        except Exception as error:  # noqa: BLE001 (no request may end without an answer)
            await exchange.answer(scope["path"], 500, internal_error(log_unexpected(error, scope)))
        finally:
            ended = exchange.began if facts.get(STREAMS) and exchange.began else perf_counter()
            status = CLIENT_GONE if exchange.status is None else str(exchange.status)
            self._metrics.request(
                scope["method"],
                facts.get(ROUTE, OTHER),
                status,
                max(0.0, ended - started - facts.get(WAITED, 0.0)),
            )
            if self._logs:
                self._log(facts, status, exchange.sent_bytes, perf_counter() - started)

    async def _preflight(self, exchange: "_Exchange", facts: dict[str, Any], origin: bytes) -> bool:
        """Answer a page's question whether it may ask, if this is one of a page that may."""
        asks = any(name == b"access-control-request-method" for name, _ in facts["headers"])
        headers = self._cors.preflight(origin) if asks else None
        if headers is None:
            return False
        facts[ROUTE] = "preflight"
        # No app is behind this that receives the request's end; without it the connection would linger, and the
        # request that this one asks for would wait behind it.
        with anyio.move_on_after(_LINGER_S):
            while not exchange.has_body:
                await exchange.receive()
        await exchange.send({"type": "http.response.start", "status": 204, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})
        return True

    def _log(self, facts: dict[str, Any], status: str, sent_bytes: int, seconds: float) -> None:
        """One line. The route, not the path, which a stranger writes and which may hold whatever."""
        who: Principal | None = facts.get(PRINCIPAL)
        _access.info(
            "request",
            request_id=facts[REQUEST_ID],
            method=facts["method"] if facts["method"] in METHODS else OTHER,
            route=facts.get(ROUTE, OTHER),
            status=status,
            key=None if who is None else who.name,
            source=self._address(facts),
            bytes=sent_bytes,
            duration_ms=round(seconds * 1000, 2),
        )


def _prepare(facts: dict[str, Any]) -> tuple[bytes | None, bool]:
    """Give a request its id. Returns its origin, and whether its client takes gzip."""
    request_id, origin, packs = None, None, False
    for name, value in facts["headers"]:
        if name == b"accept-encoding":
            packs = asks_for_gzip(value)
        elif name == b"origin":
            origin = value
        elif name == b"x-request-id" and _SANE_ID.fullmatch(value):
            request_id = value.decode()
    facts[REQUEST_ID] = request_id or secrets.token_hex(8)
    return origin, packs


class _Exchange:
    """One request and its answer: remembers the status, and whether the body has been received to its end.

    stopping: once it has begun, answers end their connections; None where one is not the answer's own. facts: the
    request's scope. packs: its client takes gzip.
    """

    __slots__ = (
        "_body_bytes",
        "_body_ended",
        "_facts",
        "_held",
        "_packs",
        "_receive",
        "_send",
        "_stopping",
        "_waiting",
        "began",
        "sent_bytes",
        "status",
    )

    def __init__(
        self,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        stopping: Stopping | None,
        facts: dict[str, Any],
        *,
        packs: bool,
    ) -> None:
        self._facts, self._packs = facts, packs
        self._held: HTTPResponseStartEvent | None = None
        self.sent_bytes = 0
        self._receive = receive
        self._stopping = stopping
        self._send = send
        self._body_ended = False
        self._body_bytes = 0
        self._waiting: anyio.Event | None = None
        self.status: int | None = None
        self.began: float | None = None

    @property
    def has_body(self) -> bool:
        """The request's body was received to its end, or given up."""
        return self._body_ended

    async def receive(self) -> ASGIReceiveEvent:
        event = await self._receive()
        if event["type"] == "http.request":
            self._body_bytes += len(event["body"])
            if event["more_body"] and self._body_bytes < _LINGER_BYTES:
                return event
        self._body_ended = True
        if self._waiting is not None:
            self._waiting.set()
        return event

    async def send(self, event: ASGISendEvent) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
            self.began = perf_counter()
            extra: list[tuple[bytes, bytes]] = [
                (b"x-request-id", self._facts[REQUEST_ID].encode()),
                *self._facts.get(EXTRA_HEADERS, ()),
            ]
            if self._stopping is not None and self._stopping.begun:
                extra.append((b"connection", b"close"))
            event["headers"] = [*event["headers"], *extra]
            if self._packs and can_be_smaller(event["status"], tuple(event["headers"])):
                self._held = event  # until it is known how long the body is
                return
        elif event["type"] == "http.response.body":
            await self._before_body(event)
            self.sent_bytes += len(event["body"])
        await self._send(event)

    async def _before_body(self, event: HTTPResponseBodyEvent) -> None:
        if self._held is not None:
            begin, self._held = self._held, None
            headers, body = tuple(begin["headers"]), event["body"]
            # Quart says of a whole body too that more comes, and then sends nothing more.
            is_whole = not event["more_body"] or (b"content-length", b"%d" % len(body)) in headers
            if is_whole and len(body) >= LEAST_BYTES:
                if len(body) < LARGE_BYTES:
                    begin["headers"], event["body"] = smaller(headers, body)
                else:
                    begin["headers"], event["body"] = await to_thread.run_sync(smaller, headers, body)
            await self._send(begin)
        if not event["more_body"] and not self._body_ended:
            await self._linger()

    async def answer(self, path: str, status: int, message: str) -> None:
        """Answer with a failure in the app's place, unless it has begun to."""
        if self.status is not None:
            return
        body, media_type = failure_body(path, status, message)
        headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def _linger(self) -> None:
        # The answer is out, but the server would now close a connection on which the client still sends, and
        # the reset would destroy the answer before the client has read it. So what comes is thrown away for
        # a while first: Quart's receiving task goes on to call `receive`, and drops what exceeds the limit.
        self._waiting = anyio.Event()
        with anyio.move_on_after(_LINGER_S):
            await self._waiting.wait()


def log_unexpected(error: Exception, scope: HTTPScope | WebsocketScope) -> str:
    """Log an error that nobody expected, with its traceback; gives the request id that the client gets to see."""
    facts = cast(dict[str, Any], scope)
    request_id: str = facts[REQUEST_ID]
    _log.error(
        "request failed unexpectedly",
        request_id=request_id,
        method=facts.get("method"),
        route=facts.get(ROUTE, OTHER),
        # As text: a renderer of tracebacks may show the variables, and with them the headers and their keys.
        traceback="".join(traceback.format_exception(error)),
    )
    return request_id


def internal_error(request_id: str) -> str:
    """All that a client learns of an unexpected error."""
    return f"Internal error; the log knows more under request id {request_id}"
