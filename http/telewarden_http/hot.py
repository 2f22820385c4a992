"""The routes that consumers ask all the time, beside the Quart app: the same keys, views and errors for less time.

Only a request that is all right is answered here. Any other, and any error, is left to the app, which knows how to put
it.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import anyio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from telewarden_http.auth import Scope as KeyScope
from telewarden_http.connections import CLIENT, Client
from telewarden_http.gate import PRINCIPAL, Gate
from telewarden_http.routing import RAISED, admit

Ask = Callable[..., Awaitable[tuple[bytes, dict[str, str]]]]

_HEADERS: Final = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_BODY_HEADERS: Final = frozenset((b"content-length", b"transfer-encoding"))


@dataclass(frozen=True, slots=True)
class HotRoute:
    """A GET route without a body, which the Quart app has too, with the same template.

    path: a pattern; its groups go to `ask`, after who asks and the query string; it gives the body of the answer and
    headers of its own.
    """

    path: re.Pattern[str]
    template: str
    ask: Ask
    needs: KeyScope


class HotRoutes:
    """ASGI middleware before the Quart app, behind the boundary.

    send_timeout_s: an answer that its client takes longer to accept is given up, as the app does.
    """

    def __init__(self, app: Any, gate: Gate, routes: Sequence[HotRoute], *, send_timeout_s: float) -> None:
        self._app = app
        self._send_timeout_s = send_timeout_s
        self._gate = gate
        self._routes = routes

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one ASGI connection scope."""
        if scope["type"] == "http" and scope["method"] == "GET":
            for route in self._routes:
                match = route.path.fullmatch(scope["path"])
                if match is not None and not _has_body(scope):
                    await self._serve(route, match.groups(), scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _serve(
        self,
        route: HotRoute,
        arguments: Sequence[str],
        scope: HTTPScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        facts = cast(dict[str, Any], scope)
        answer: tuple[bytes, dict[str, str]] | None = None
        while (event := await receive())["type"] == "http.request" and event["more_body"]:
            pass  # there is no body, but its end belongs to the request
        client: Client | None = facts.get("state", {}).get(CLIENT)
        with anyio.CancelScope() as work:
            if client is not None:
                client.begin(work)
            try:
                admit(facts, route.template, route.needs, self._gate)
                answer = await route.ask(facts[PRINCIPAL], scope["query_string"], *arguments)
            except Exception as error:  # noqa: BLE001 (the app answers it)
                facts[RAISED] = error
            finally:
                if client is not None:
                    client.end(work)
        if RAISED in facts:
            await self._app(scope, receive, send)
        elif answer is not None:
            with anyio.move_on_after(self._send_timeout_s):
                await _send(send, *answer)


async def _send(send: ASGISendCallable, body: bytes, own: dict[str, str]) -> None:
    headers = [
        *_HEADERS,
        *((name.lower().encode(), value.encode()) for name, value in own.items()),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _has_body(scope: HTTPScope) -> bool:
    """Whether there is or may be one: the headers of HTTP/2 do not tell, and its end may never come."""
    return scope["http_version"] >= "2" or any(name in _BODY_HEADERS for name, _ in scope["headers"])
