"""`GET /v1/admin/overview`: what an operator sees, once or as a stream."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from quart import Response, current_app

from telewarden_http.auth import Scope
from telewarden_http.responses import json_response
from telewarden_http.routing import Operation, Route, key_check
from telewarden_http.sse import COMMENT, KEEP_ALIVE_S, event_stream, frame, retry
from telewarden_http.stopping import Stopping, stopping_of
from telewarden_http.v1.administration_protocols import TooMany
from telewarden_http.v1.overview_protocols import Overview, OverviewSource

STREAMS: Final = 32
"""How many may look at a time."""
_RETRY_MS: Final = 2000


class OverviewRoutes:
    """The handlers."""

    def __init__(self, source: OverviewSource, *, streams: int = STREAMS) -> None:
        self._source, self._most = source, streams
        self._streams = 0

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (
            Route(
                "GET",
                "/v1/admin/overview",
                self.overview,
                Scope.ADMIN,
                Operation("The process at a glance", answers={200: Overview}),
            ),
            Route(
                "GET",
                "/v1/admin/overview/stream",
                self.stream,
                Scope.ADMIN,
                Operation(
                    "The process at a glance, again and again",
                    'An event "overview" once a second, and at once when a worker changes; its data is what '
                    "GET /v1/admin/overview answers. Ends when the server stops, and when the key is valid no more.",
                    answers={200: "Events, each a look", 429: "Too many look already"},
                    media="text/event-stream",
                ),
            ),
        )

    async def overview(self) -> Response:
        """`GET /v1/admin/overview`"""
        return json_response(await self._source.overview())

    async def stream(self) -> Response:
        """`GET /v1/admin/overview/stream`"""
        if self._streams >= self._most:
            raise TooMany(
                f"{self._most} streams of the overview are open already; close one, or ask for it once"
            )
        return event_stream(self._frames(stopping_of(current_app), key_check()))

    async def _frames(
        self, stopping: Stopping, is_key_right: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        self._streams += 1
        try:
            yield retry(_RETRY_MS)
            with self._source.looking() as looks:
                while not stopping.begun and is_key_right():
                    body = b""
                    with stopping.waiting(KEEP_ALIVE_S):
                        body = await looks.next()
                    yield frame(body, event="overview") if body else COMMENT
        finally:
            self._streams -= 1
