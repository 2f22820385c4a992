"""The administrator's routes about consumers."""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

import msgspec
from quart import Response

from telewarden_http.answering import in_time
from telewarden_http.auth import Scope
from telewarden_http.responses import json_response
from telewarden_http.routing import Operation, Route
from telewarden_http.v1.administration import no_content
from telewarden_http.v1.administration_protocols import NotThere
from telewarden_http.v1.consumers_protocols import ConsumerAdmin, ConsumerState
from telewarden_http.v1.overview_protocols import Shape

_T = TypeVar("_T")
_BASE = "/v1/admin/consumers"
_DOWN = "The database, which keeps consumers, is down"


class ConsumerPath(msgspec.Struct):
    """consumer: its name."""

    consumer: str


class Consumers(Shape, frozen=True, kw_only=True):
    """Every consumer, by name."""

    consumers: list[ConsumerState]


class ConsumerAdminRoutes:
    """The handlers. answer_timeout_s: how long a request may take."""

    def __init__(self, consumers: ConsumerAdmin, answer_timeout_s: float) -> None:
        self._consumers = consumers
        self._answer_timeout_s = answer_timeout_s

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (
            Route(
                "GET",
                _BASE,
                self.all,
                Scope.ADMIN,
                Operation("The consumers and their lag", answers={200: Consumers, 503: _DOWN}),
            ),
            Route(
                "DELETE",
                # A name is whatever a key says, so a slash may be in it.
                f"{_BASE}/<path:consumer>",
                self.drop,
                Scope.ADMIN,
                Operation(
                    "Forget a consumer",
                    "With its place and what it was handed. Whoever polls by its name makes a new one, which starts at "
                    "now.",
                    path=ConsumerPath,
                    answers={204: "Done", 404: "There is no such consumer", 503: _DOWN},
                ),
            ),
        )

    async def all(self) -> Response:
        """`GET /v1/admin/consumers`"""
        found = Consumers(consumers=list(await self._in_time(self._consumers.all())))
        return json_response(msgspec.json.encode(found))

    async def drop(self, consumer: str) -> Response:
        """`DELETE /v1/admin/consumers/{consumer}`"""
        if not await self._in_time(self._consumers.drop(consumer)):
            raise NotThere(
                f"There is no consumer {consumer[:60]!r}; GET /v1/admin/consumers lists those there are"
            )
        return no_content()

    async def _in_time(self, answer: Awaitable[_T]) -> _T:
        return await in_time(answer, self._answer_timeout_s, "The database did not answer in time; try again")
