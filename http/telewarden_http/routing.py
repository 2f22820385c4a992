"""Routes as values: what is served, who may ask, and what the OpenAPI document says of it."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, cast

from quart import Quart, Response, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from telewarden_http.auth import Principal, Scope
from telewarden_http.boundary import ROUTE
from telewarden_http.errors import QueryNotTaken
from telewarden_http.gate import PRINCIPAL, Gate

View = Callable[..., Awaitable[Response]]

RAISED: Final = "telewarden.raised"
"""Key of the ASGI scope of an error that is to be answered as if the route's view had raised it."""

_GATE: Final = "telewarden.gate"
_NONE: Final[Mapping[str, Sequence[str]]] = {}
_PLACEHOLDER = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")


@dataclass(frozen=True, slots=True)
class Operation:
    """What the OpenAPI document says of a route.

    path, query, body: msgspec structs that describe path parameters, query parameters and a JSON body. needs_body: it
    cannot be left out, though no member of it is required. answers: by
    status, the struct of the body, or a text: of a refusal, or where there is no JSON. media: the media type of such an
    answer (200). events: the route also streams server-sent events.
    """

    summary: str
    description: str = ""
    path: type | None = None
    query: type | None = None
    body: type | None = None
    needs_body: bool = False
    answers: Mapping[int, Any] = field(default_factory=dict)
    media: str | None = None
    events: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    rule: as werkzeug has it ("/v1/channels/<channel>/messages"). scope: what the key must allow; None: it needs none.
    """

    method: str
    rule: str
    view: View
    scope: Scope | None
    operation: Operation | None = None

    @property
    def template(self) -> str:
        """The path as metrics and documents write it ("/v1/channels/{channel}/messages")."""
        return _PLACEHOLDER.sub(r"{\1}", self.rule)


class Routes(Protocol):
    """A group of routes that belong together."""

    def routes(self) -> Sequence[Route]:
        """All of them."""
        ...


def fixed_paths(routes: Iterable[Route]) -> dict[str, list[str]]:
    """The paths that are not patterns, and the methods of each. A pattern of another route may match one of them too,
    /api/messages/{id} for one, and is not meant."""
    found: dict[str, list[str]] = {}
    for route in routes:
        if not _PLACEHOLDER.search(route.rule):
            methods = found.setdefault(route.rule, [])
            methods += [route.method, "HEAD"] if route.method == "GET" else [route.method]
    return found


def register(app: Quart, route: Route, gate: Gate, fixed: Mapping[str, Sequence[str]] = _NONE) -> None:
    """Serve a route. fixed: as `fixed_paths` gives them."""
    template, scope_needed = route.template, route.scope
    # Version 1 tells of what it does not know; the old contract ignores it.
    takes_no_query = route.rule.startswith("/v1/") and (
        route.operation is None or route.operation.query is None
    )

    async def guarded(**arguments: str) -> Response:
        facts = cast(dict[str, Any], request.scope)
        if (raised := facts.get(RAISED)) is not None:
            raise raised
        if request.path != template and request.path in fixed:
            raise MethodNotAllowed(fixed[request.path])
        facts[_GATE] = gate
        admit(facts, template, scope_needed, gate)
        if takes_no_query and facts["query_string"]:
            raise QueryNotTaken
        if any("\0" in value for value in arguments.values()):
            raise NotFound  # no name of anything has one, and the database would refuse to look for it
        return await route.view(**arguments)

    app.add_url_rule(
        route.rule, endpoint=f"{route.method} {route.rule}", view_func=guarded, methods=[route.method]
    )


def admit(facts: dict[str, Any], template: str, needed: Scope | None, gate: Gate) -> None:
    """What stands before every view. facts: the ASGI scope of the request, which notes the route and who asks.

    Raises what `Gate.admit` raises.
    """
    facts[ROUTE] = template
    if needed is not None:
        gate.admit(facts, needed)


def principal() -> Principal:
    """Who sent the request that is being answered. Raises KeyError on a route that needs no key."""
    return cast(Principal, cast(dict[str, Any], request.scope)[PRINCIPAL])


def key_check() -> Callable[[], bool]:
    """Tells, whenever it is called, whether the key of the request that is being answered is right still."""
    facts = cast(dict[str, Any], request.scope)
    gate: Gate = facts[_GATE]
    return partial(gate.is_still_right, facts)
