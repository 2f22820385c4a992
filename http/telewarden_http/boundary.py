"""The outermost layer: every request that enters here leaves with an answer and is counted once."""

import secrets
import traceback
from time import perf_counter
from typing import Any, Final, cast

import anyio
import structlog
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
    WebsocketScope,
)
from werkzeug.exceptions import HTTPException

from telewarden_http.metrics import CLIENT_GONE, OTHER, ApiMetrics
from telewarden_http.responses import failure_body
from telewarden_http.stopping import Stopping

ROUTE: Final = "telewarden.route"
"""Key of the ASGI scope under which a view leaves its route template for the metrics."""

WAITED: Final = "telewarden.waited_s"
"""Key of the ASGI scope under which a view leaves for how many seconds it waited because the client asked it to."""
STREAMS: Final = "telewarden.streams"
"""Key of the ASGI scope by which a view says that its answer goes on without end: what counts is when it begins."""

_LINGER_S = 3.0
_LINGER_BYTES = 64 * 1024 * 1024
_log = structlog.get_logger("telewarden_http")


class Boundary:
    """ASGI middleware around the Quart app: the last catch for errors, metrics, and a polite end of
    answers that are given before the request's body was read (RFC 9112, section 9.6), and of connections when
    the server stops."""

    def __init__(self, app: Any, metrics: ApiMetrics, stopping: Stopping) -> None:
        self._app = app
        self._metrics = metrics
        self._stopping = stopping

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
        exchange = _Exchange(receive, send, self._stopping if scope["http_version"] < "2" else None)
        scope["path"] = scope["path"] or "/"  # `GET ?x`: Quart expects a path to have a beginning
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except HTTPException as error:
            # Raised before there is a request that Quart could handle it for: a Host header beyond the rules.
            await exchange.answer(
                scope["path"], error.code or 400, f"The request cannot be used: {error.name}"
            )
        except Exception as error:  # noqa: BLE001 (no request may end without an answer)
            await exchange.answer(scope["path"], 500, internal_error(log_unexpected(error, scope)))
        finally:
            facts = cast(dict[str, Any], scope)
            ended = exchange.began if facts.get(STREAMS) and exchange.began else perf_counter()
            self._metrics.request(
                scope["method"],
                facts.get(ROUTE, OTHER),
                CLIENT_GONE if exchange.status is None else str(exchange.status),
                max(0.0, ended - started - facts.get(WAITED, 0.0)),
            )


class _Exchange:
    """One request and its answer: remembers the status, and whether the body has been received to its end.

    stopping: once it has begun, answers end their connections; None where one is not the answer's own.
    """

    __slots__ = (
        "_body_bytes",
        "_body_ended",
        "_receive",
        "_send",
        "_stopping",
        "_waiting",
        "began",
        "status",
    )

    def __init__(
        self, receive: ASGIReceiveCallable, send: ASGISendCallable, stopping: Stopping | None
    ) -> None:
        self._receive = receive
        self._stopping = stopping
        self._send = send
        self._body_ended = False
        self._body_bytes = 0
        self._waiting: anyio.Event | None = None
        self.status: int | None = None
        self.began: float | None = None

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
            if self._stopping is not None and self._stopping.begun:
                event["headers"] = [*event["headers"], (b"connection", b"close")]
        elif event["type"] == "http.response.body" and not event["more_body"] and not self._body_ended:
            await self._linger()
        await self._send(event)

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
    request_id = secrets.token_hex(8)
    facts = cast(dict[str, Any], scope)
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
